"""Kinds as declarations write them."""

from typing import Any

import pytest

from fieldpost.wire.catalogue.from_agents import AGENT_MESSAGES
from fieldpost.wire.catalogue.from_servers import SERVER_MESSAGES
from fieldpost.wire.errors import Malformed
from fieldpost.wire.kind_words import MOST_CHARACTERS, kind_of
from fieldpost.wire.kinds import (
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    OCTETS,
    SIMPLE,
    TEXT,
    Kind,
    either,
    list_of,
    map_of,
    record_of,
    rows_of,
    tuple_of,
)
from tests.wire.test_kinds import RIGHT, WRONG

ROWS = rows_of(time=INTEGER, mean_load=NUMBER)
PAIR = tuple_of(INTEGER, list_of(TEXT))
WORDS: list[tuple[str, Kind]] = [
    *SIMPLE.items(),
    ("list of text", list_of(TEXT)),
    ("map of list of integer", map_of(list_of(INTEGER))),
    ("map by integer of text", map_of(TEXT, by=INTEGER)),
    ("rows of time integer, mean-load number", ROWS),
    ("map by octets of rows of time integer, mean-load number", map_of(ROWS, by=OCTETS)),
    ("(integer, list of text)", PAIR),
    ("list of integer or (integer, list of text)", list_of(either(INTEGER, PAIR))),
    ("{}", record_of({})),
    ("{...}", record_of({}, loose=True)),
    (
        "{Name text, _size? integer or null, ...}",
        record_of({"Name": TEXT, "_size?": either(INTEGER, NULL)}, loose=True),
    ),
    ("rows of when integer, what {name text}", rows_of(when=INTEGER, what=record_of({"name": TEXT}))),
    ("(list of text) or boolean", either(list_of(TEXT), BOOLEAN)),
    ("{a {b {c text}}}", record_of({"a": record_of({"b": record_of({"c": TEXT})})})),
]
DECLARED = sorted(
    {
        item.kind.word
        for catalogue in (AGENT_MESSAGES, SERVER_MESSAGES)
        for declaration in catalogue.declarations.values()
        for item in declaration.fields
    }
)


@pytest.mark.parametrize(("word", "kind"), WORDS)
def test_words_and_kinds_are_one(word: str, kind: Kind) -> None:
    """A declaration copied from the documentation means the same."""
    assert kind.word == word
    assert kind_of(word) == kind


@pytest.mark.parametrize("word", DECLARED)
def test_all_that_is_built_in_can_be_written(word: str) -> None:
    """A plugin can declare whatever we declare."""
    assert kind_of(word).word == word


@pytest.mark.parametrize(("kind", "value"), RIGHT)
def test_what_was_read_takes_the_same(kind: Kind, value: Any) -> None:
    """Not only its name is the same."""
    assert kind_of(kind.word).fit(value) is value


@pytest.mark.parametrize(("kind", "value", "text"), WRONG)
def test_what_was_read_refuses_the_same(kind: Kind, value: Any, text: str) -> None:
    """In the same words."""
    with pytest.raises(Malformed) as caught:
        kind_of(kind.word).fit(value)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    "word", ["list  of\ttext", " {name   text,size?integer} ", "rows of a integer ,b text", "((text))"]
)
def test_space_does_not_matter(word: str) -> None:
    """Nor do brackets around one kind."""
    assert kind_of(kind_of(word).word) == kind_of(word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "there are text, octets"),
        ("txt", "'txt' is no kind; there are"),
        ("text text", "is no kind"),
        ("list of", "is no kind"),
        ("list of nothin", "is no kind"),
        ("map by number of text", "the keys of a map are text, integer, octets"),
        ("rows of", "is no name"),
        ("rows of time", "is no kind"),
        ("rows of a text, a text", "each name may be there once"),
        ("rows of A text", "'A' is no name"),
        ("(text", "is no kind"),
        ("()", "is no kind"),
        ("{a text", "is no kind"),
        ("{a text,}", "is no name"),
        ("{a text, A text}", "each name may be there once, whatever its spelling"),
        ("{..., a text}", "`...` comes last"),
        ("{9 text}", "is no kind"),
        ("text or", "is no kind"),
        ("or text", "is no kind"),
        ("text; DROP", "is no kind"),
        ("list of " * 20 + "text", "it is nested too deep"),
        ("(" * 500, "it is nested too deep"),
        ("{" * (MOST_CHARACTERS + 1), f"a kind may have {MOST_CHARACTERS} characters"),
        ("text or " * 2000 + "text", f"a kind may have {MOST_CHARACTERS} characters"),
    ],
)
def test_a_word_that_is_no_kind_is_refused(word: str, said: str) -> None:
    """A slip in a declaration is found when it is read."""
    with pytest.raises(Malformed) as caught:
        kind_of(word)

    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
