"""The declarations of the built-in types."""

from pathlib import Path
from typing import Any

import pytest

from fieldpost.wire import bpickle
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.catalogue import AGENT_MESSAGES, MAX_RESULT_TEXT, SERVER_MESSAGES, coerce
from fieldpost.wire.message import BROKER_TYPES
from tests.wire.catalogue_page import page

CAPTURED = [
    pytest.param(message, ApiLevel.parse(message.get("api", b"3.3")), id=f"{file.stem} {message['type']}")
    for file in sorted((Path(__file__).parent / "landscape").glob("*.req"))
    if not file.name.startswith("03")
    for message in bpickle.decode(file.read_bytes().partition(b"\r\n\r\n")[2])["messages"]
]
ANSWERED = [
    pytest.param(message, id=f"{file.stem} {message['type']}")
    for file in sorted((Path(__file__).parent / "landscape").glob("*.rsp"))
    if not file.name.startswith("03")
    for message in bpickle.decode(file.read_bytes())["messages"]
]
REGISTER: dict[str, Any] = {
    "type": "register",
    "account_name": "a",
    "computer_title": "t",
    "hostname": "h",
    "registration_password": None,
    "tags": None,
}


@pytest.mark.parametrize(("message", "api"), CAPTURED)
def test_what_the_real_client_sent_is_as_declared(message: dict[str, Any], api: ApiLevel) -> None:
    """Nothing is taken from its messages, nothing is changed in them."""
    assert AGENT_MESSAGES.fit(message) is message
    assert coerce(message, api) == message


@pytest.mark.parametrize("message", ANSWERED)
def test_what_the_real_client_took_fits(message: dict[str, Any]) -> None:
    """The answers that it accepted are answers by our declarations."""
    message = {
        **message,
        "type": message["type"].decode() if type(message["type"]) is bytes else message["type"],
    }

    assert SERVER_MESSAGES.fit(message) == message


def test_a_registration_for_an_old_server_has_no_new_fields() -> None:
    """What came with API 3.3 is not sent to a server of 3.2."""
    message = {**REGISTER, "ubuntu_pro_info": "{}", "vm-info": "kvm", "other": 1}

    assert coerce(message, OLDEST_SERVER_API) == {**REGISTER, "vm-info": b"kvm"}
    assert coerce(message, NEWEST_SERVER_API) == {**REGISTER, "vm-info": b"kvm", "ubuntu_pro_info": "{}"}


def test_a_result_is_cut() -> None:
    """A script's endless output does not make an endless message."""
    message = {
        "type": "operation-result",
        "operation-id": 1,
        "status": 6,
        "result-text": "x" * (MAX_RESULT_TEXT + 1),
    }

    assert len(AGENT_MESSAGES.fit(message)["result-text"]) == MAX_RESULT_TEXT


def test_all_that_the_broker_takes_is_declared() -> None:
    """The broker's own reactions have their documentation."""
    assert set(BROKER_TYPES) <= SERVER_MESSAGES.declarations.keys() | {"register"}


def test_the_page_is_written_from_the_declarations() -> None:
    """Whoever changes one writes the other: python -m tests.wire.catalogue_page >docs/messages.md"""
    assert (Path(__file__).parents[2] / "docs" / "messages.md").read_text() == page()
