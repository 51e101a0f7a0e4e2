"""What a message is, and what is none."""

from typing import Any

import pytest
from hypothesis import given

from fieldpost.wire.errors import Malformed
from fieldpost.wire.message import BROKER_TYPES, MAX_TYPE_LENGTH, check_message, is_type

from .values import messages, values


@given(messages)
def test_a_message_passes_as_it_is(message: dict[str, Any]) -> None:
    """Nothing is added, taken away or copied."""
    before = repr(message)

    assert check_message(message) is message
    assert repr(message) == before


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "must be a map, not NoneType"),
        ([], "must be a map, not list"),
        ("register", "must be a map, not str"),
        ({}, "needs a `type` that is text"),
        ({"type": b"register"}, "needs a `type` that is text"),
        ({"type": None}, "needs a `type` that is text"),
        ({"type": ""}, "`type` must be 1 to 64 printable characters"),
        ({"type": "x" * 65}, "`type` must be 1 to 64 printable characters"),
        ({"type": "a\nb"}, "`type` must be 1 to 64 printable characters"),
        ({"type": "a;b"}, "characters without `;`"),
        ({"type": "a", b"x": 1}, "keys of a message must be text, not bytes"),
        ({"type": "a", 1: 1}, "keys of a message must be text, not int"),
    ],
)
def test_what_is_no_message_is_malformed_and_says_why(value: Any, fault: str) -> None:
    """The one who sent it can mend it."""
    with pytest.raises(Malformed) as caught:
        check_message(value)

    assert fault in str(caught.value)


@given(values)
def test_any_value_at_all_is_a_message_or_malformed(value: Any) -> None:
    """Nothing else ever leaves the check, and what it says stays short."""
    for candidate in (value, {"type": value}):
        try:
            check_message(candidate)
        except Malformed as error:
            assert len(str(error)) < 200


def test_a_type_may_have_as_many_characters_as_the_limit() -> None:
    """And need not be ASCII."""
    assert is_type("x" * MAX_TYPE_LENGTH)
    assert is_type("größe")
    assert all(map(is_type, BROKER_TYPES))


def test_what_is_inside_a_message_is_its_senders_affair() -> None:
    """Keys there may be octets or numbers."""
    message = {"type": "a", "a": {b"\x00": 1, 2: 3}}

    assert check_message(message) is message
