"""Declarations of message types."""

import pytest

from fieldpost.wire.api import ApiLevel
from fieldpost.wire.declaration import Catalogue, Declaration, Field
from fieldpost.wire.errors import Malformed
from fieldpost.wire.kinds import INTEGER, OCTETS, TEXT

OLD, NEW = ApiLevel(3, 2), ApiLevel(3, 3)
NOTE = Declaration(
    type="note",
    fields=(
        Field(name="text", kind=TEXT, most=5),
        Field(name="level", kind=INTEGER, required=False),
        Field(name="author", kind=TEXT, required=False, nullable=True, since=NEW),
        Field(name="mark", kind=OCTETS, required=False, until=OLD),
        Field(name="mark", kind=TEXT, required=False, since=NEW),
    ),
)
CATALOGUE = Catalogue.of([NOTE])


def test_a_message_as_declared_stays_as_it_is() -> None:
    """It need not be encoded again."""
    message = {"type": "note", "text": "hello", "level": 1, "author": None, "more": [1]}

    assert CATALOGUE.fit(message) is message


def test_a_message_that_nobody_declared_stays_as_it_is() -> None:
    """Anybody may send a type of his own."""
    message = {"type": "else", "text": 1}

    assert CATALOGUE.fit(message) is message
    assert CATALOGUE.coerce(message, OLD) is message


def test_long_text_is_cut() -> None:
    """At so many characters as declared; all else is kept."""
    fitted = CATALOGUE.fit({"type": "note", "text": "hello, world", "more": 1})

    assert fitted == {"type": "note", "text": "hello", "more": 1}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "`note` needs a field `text` (text)"),
        ({"text": 1}, "`text` must be text, not an integer"),
        ({"text": None}, "`text` must be text, not null"),
        ({"text": "a", "level": "1"}, "`level` must be an integer, not text"),
    ],
)
def test_a_message_that_is_not_as_declared_is_refused(fields: dict[str, object], text: str) -> None:
    """The error names the field, at either door."""
    for check in (CATALOGUE.fit, lambda message: CATALOGUE.coerce(message, NEW)):
        with pytest.raises(Malformed) as caught:
            check({"type": "note", **fields})

        assert str(caught.value) == text


def test_an_incomplete_message_can_be_checked() -> None:
    """What is there must be right; what is not may come later."""
    message = {"type": "note", "level": 1}

    assert CATALOGUE.fit(message, complete=False) is message
    with pytest.raises(Malformed, match="`level` must be an integer"):
        CATALOGUE.fit({"type": "note", "level": "x"}, complete=False)


def test_the_level_decides_which_fields_there_are() -> None:
    """A server of an older level is not sent what it does not know."""
    message = {
        "type": "note",
        "text": b"hi",
        "author": "me",
        "mark": b"m",
        "more": 1,
        "api": b"3.2",
        "timestamp": 5,
    }
    envelope = {"type": "note", "api": b"3.2", "timestamp": 5}

    assert CATALOGUE.coerce(message, OLD) == {**envelope, "text": "hi", "mark": b"m"}
    assert CATALOGUE.coerce(message, NEW) == {**envelope, "text": "hi", "author": "me", "mark": "m"}


def test_a_type_is_declared_once() -> None:
    """A plugin cannot change what others rely on."""
    with pytest.raises(Malformed, match="`note` is declared already"):
        CATALOGUE.with_more([Declaration(type="note")])
