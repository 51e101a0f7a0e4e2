"""The declarations of the built-in types."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldpost.wire import bpickle, cbor
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.catalogue.fields import MAX_RESULT_TEXT
from fieldpost.wire.catalogue.from_agents import AGENT_MESSAGES, coerce
from fieldpost.wire.catalogue.from_servers import SERVER_MESSAGES
from fieldpost.wire.declaration import Catalogue
from fieldpost.wire.errors import Malformed
from fieldpost.wire.message import BROKER_TYPES
from tests.wire.catalogue_page import page
from tests.wire.catalogue_samples import FROM_AGENTS, FROM_SERVERS, MOUNT, SNAP, USER, Sample, received
from tests.wire.values import of_type

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


ALL = [pytest.param(AGENT_MESSAGES, one, id=f"agent {one.type}") for one in FROM_AGENTS] + [
    pytest.param(SERVER_MESSAGES, one, id=f"server {one.type}") for one in FROM_SERVERS
]
ENVELOPE = {"api": b"3.3", "timestamp": 1700000000}
NEVER: Any = 1.5j
"""No kind takes it; `anything` does, and no field that is nothing else."""


def names(samples: tuple[Sample, ...]) -> set[str]:
    return {one.type for one in samples}


def test_all_types_of_landscape_are_declared() -> None:
    """47 that its client sends, 42 that its server sends; of ours there is one more."""
    assert (len(FROM_AGENTS), len(names(FROM_AGENTS))) == (47, 47)
    assert (len(FROM_SERVERS), len(names(FROM_SERVERS))) == (42, 42)
    assert AGENT_MESSAGES.declarations.keys() == names(FROM_AGENTS) | {"receipt"}
    assert SERVER_MESSAGES.declarations.keys() == names(FROM_SERVERS)


@pytest.mark.parametrize(("catalogue", "sample"), ALL)
def test_a_sample_is_as_declared(catalogue: Catalogue, sample: Sample) -> None:
    """With all fields, with those that it needs; as it is sent, as it is read, through either encoding."""
    for message in (sample.full, sample.least):
        read = bpickle.decode(bpickle.encode(message))
        stored = cbor.decode(cbor.encode(read))

        assert catalogue.fit(read) is read
        assert catalogue.fit(stored) is stored
        assert received(catalogue.coerce(stored, NEWEST_SERVER_API)) == stored


@pytest.mark.parametrize(("catalogue", "sample"), ALL)
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_as_declared_travels(catalogue: Catalogue, sample: Sample, data: st.DataObject) -> None:
    """It is stored as it is, and Landscape reads the same, but for what is not for it."""
    declaration = catalogue.declarations[sample.type]
    message = data.draw(of_type(declaration))
    theirs = {
        name: value
        for name, value in message.items()
        if not any(item.own for item in declaration.fields if item.name == name)
    }

    assert catalogue.fit(message) is message
    assert cbor.decode(cbor.encode(message)) == message
    assert received(catalogue.coerce(message, NEWEST_SERVER_API)) == theirs


@pytest.mark.parametrize(("catalogue", "sample"), ALL)
def test_no_field_of_a_sample_is_left_out(catalogue: Catalogue, sample: Sample) -> None:
    """Each is declared; each that is declared and not our own is in the sample, and needed where it is declared so."""
    declared = catalogue.declarations[sample.type].fields_at(NEWEST_SERVER_API)

    theirs = {item.name: item.required for item in declared if not item.own}
    theirs = {name: needed for name, needed in theirs.items() if name not in ("container_info", "vm_info")}
    assert theirs == {**dict.fromkeys(sample.needed, True), **dict.fromkeys(sample.others, False)}


@pytest.mark.parametrize("sample", FROM_AGENTS, ids=lambda one: one.type)
def test_landscape_gets_what_its_client_would_send(sample: Sample) -> None:
    """Octet by octet: rows as tuples, octets as octets, nothing of our own; whatever encoding it was stored in."""
    told = {**received(sample.full), **ENVELOPE, "colour": "red"}

    written = coerce(cbor.decode(cbor.encode(told)), NEWEST_SERVER_API)

    assert bpickle.encode(written) == bpickle.encode({**sample.full, **ENVELOPE})


@pytest.mark.parametrize("sample", FROM_AGENTS, ids=lambda one: one.type)
def test_an_old_server_gets_the_fields_of_its_level(sample: Sample) -> None:
    """All types but one have the same fields at both levels."""
    newest = {
        "juju-info",
        "clone_secure_id",
        "ubuntu_pro_info",
        "hostagent_uid",
        "installation_request_id",
        "authenticated_attach_code",
        "machine_id",
    }
    expected = {name: value for name, value in sample.full.items() if name not in newest}

    assert coerce(received(sample.full), OLDEST_SERVER_API) == expected
    assert (expected == sample.full) == (sample.type != "register")


@pytest.mark.parametrize(("catalogue", "sample"), ALL)
def test_what_is_missing_or_wrong_is_named(catalogue: Catalogue, sample: Sample) -> None:
    """Whoever writes a plugin or asks the API reads which field it is."""
    for name in sample.needed:
        with pytest.raises(Malformed, match=f"needs a field `{name}`"):
            catalogue.fit({key: value for key, value in sample.full.items() if key != name})
    for name in {**sample.needed, **sample.others}:
        with pytest.raises(Malformed, match=f"^`{name}` "):
            catalogue.fit({**sample.full, name: NEVER})


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("active-process-info", {"add-processes": [{"pid": 1}]}, "`add-processes`[0] needs a `name` (text)"),
        ("users", {"create-users": [{**USER, "shell": "sh"}]}, "`create-users`[0] must not have a 'shell'"),
        (
            "users",
            {"create-users": [{**USER, "enabled": 1}]},
            "`create-users`[0] [enabled] must be true or false, not an integer",
        ),
        (
            "packages",
            {"installed": [[1, 2, 3]]},
            "`installed`[0] must be integer or (integer, integer), not a list",
        ),
        (
            "ceph-usage",
            {"ring-id": "r", "data-points": [], "ceph-usages": [1]},
            "`ceph-usages`[0] must not be there, and is an integer",
        ),
        ("custom-graph", {"data": {"x": {}}}, "`data`[a key] must be an integer, not text"),
        ("cpu-usage", {"cpu-usages": [[300]]}, "`cpu-usages`[0] must have 2 values, not 1"),
        ("snaps", {"snaps": {"installed": [], "removed": []}}, "`snaps` must not have a 'removed'"),
        (
            "mount-info",
            {"mount-info": [[1, {**MOUNT, "total-space": "5"}]]},
            "`mount-info`[0] [1] [total-space] must be an integer, not text",
        ),
    ],
)
def test_what_is_wrong_deep_inside_is_named(kind: str, fields: dict[str, Any], said: str) -> None:
    """With the way to it."""
    with pytest.raises(Malformed) as caught:
        AGENT_MESSAGES.fit({"type": kind, **fields})

    assert str(caught.value) == said


def test_what_others_may_add_is_kept_and_not_sent_on() -> None:
    """Where a map may hold more, our server has it; a Landscape server does not."""
    message = {"type": "snaps", "snaps": {"installed": [{**SNAP, "colour": "red"}]}}

    assert AGENT_MESSAGES.fit(message) is message
    assert coerce(message, NEWEST_SERVER_API) == {"type": "snaps", "snaps": {"installed": [SNAP]}}


def test_our_own_fields_stay_with_us() -> None:
    """No Landscape server is sent what it does not know."""
    message = {
        "type": "computer-info",
        "hostname": "h",
        "architecture": "x",
        "kernel": "6",
        "processors": 2,
        "distribution": "D",
    }

    assert AGENT_MESSAGES.fit(message) is message
    assert coerce(message, NEWEST_SERVER_API) == {"type": "computer-info", "hostname": "h"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("operation-result", "result-text"),
        ("change-packages-result", "result-text"),
        ("fde-recovery-key", "result-text"),
        ("package-reporter-result", "err"),
    ],
)
def test_long_texts_are_cut(kind: str, name: str) -> None:
    """A script's endless output does not make an endless message."""
    (sample,) = (one for one in FROM_AGENTS if one.type == kind)

    assert (
        len(AGENT_MESSAGES.fit({**sample.full, name: "x" * (MAX_RESULT_TEXT + 1)})[name]) == MAX_RESULT_TEXT
    )
    cut = {
        item.name
        for one in AGENT_MESSAGES.declarations.values()
        for item in one.fields
        if item.most == MAX_RESULT_TEXT
    }
    assert cut == {"err", "result-text"}


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


def test_all_that_the_broker_takes_is_declared() -> None:
    """The broker's own reactions have their documentation."""
    assert set(BROKER_TYPES) <= SERVER_MESSAGES.declarations.keys() | {"register"}


def test_the_page_is_written_from_the_declarations() -> None:
    """Whoever changes one writes the other: python -m tests.wire.catalogue_page >docs/messages.md"""
    assert (Path(__file__).parents[2] / "docs" / "messages.md").read_text() == page()
