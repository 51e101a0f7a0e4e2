"""Kinds of fields."""

from typing import Any

import pytest

from fieldpost.wire.errors import Malformed
from fieldpost.wire.kinds import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OCTETS,
    SIMPLE,
    TEXT,
    Kind,
    kind_of,
    list_of,
    map_of,
    rows_of,
)

POINTS = rows_of(time=INTEGER, mean_load=NUMBER)
KINDS = [*SIMPLE.values(), list_of(TEXT), map_of(list_of(INTEGER)), POINTS, map_of(POINTS)]
RIGHT: list[tuple[Kind, Any]] = [
    (TEXT, "a"),
    (OCTETS, b"a"),
    (INTEGER, -1),
    (NUMBER, 1),
    (NUMBER, 0.5),
    (BOOLEAN, False),
    (ANYTHING, [None]),
    (list_of(TEXT), ["a", "b"]),
    (map_of(INTEGER), {"a": 1}),
    (POINTS, [[300, 0.5], [600, 1]]),
    (POINTS, ((300, 0.5),)),
]
WRONG: list[tuple[Kind, Any, str]] = [
    (TEXT, 1, "must be text, not an integer"),
    (TEXT, b"\xff", "must be text, not octets that are no UTF-8"),
    (OCTETS, None, "must be octets, not null"),
    (INTEGER, True, "must be an integer, not true or false"),
    (INTEGER, 2**63, "must be from -9223372036854775808 to 9223372036854775807"),
    (INTEGER, 1.0, "must be an integer, not float"),
    (NUMBER, "1", "must be a number, not text"),
    (NUMBER, True, "must be a number, not true or false"),
    (BOOLEAN, 1, "must be true or false, not an integer"),
    (list_of(TEXT), "ab", "must be a list, not text"),
    (list_of(TEXT), ["a", 1], "[1] must be text, not an integer"),
    (map_of(TEXT), [], "must be a map, not a list"),
    (map_of(TEXT), {1: "a"}, "[a key] must be text, not an integer"),
    (map_of(TEXT), {"k": 1}, "[k] must be text, not an integer"),
    (POINTS, [[300]], "[0] must have 2 values, not 1"),
    (POINTS, [[300, 0.5], [600, "x"]], "[1] [1] must be a number, not text"),
]


@pytest.mark.parametrize(("kind", "value"), RIGHT)
def test_what_is_right_stays_the_very_same_object(kind: Kind, value: Any) -> None:
    """So a message that needs no change is not encoded again."""
    assert kind.fit(value) is value


@pytest.mark.parametrize(("kind", "value", "text"), WRONG)
def test_what_is_wrong_is_refused_with_the_place(kind: Kind, value: Any, text: str) -> None:
    """The error says what was expected and what was there."""
    with pytest.raises(Malformed) as caught:
        kind.fit(value)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (TEXT, "hé".encode(), "hé"),
        (OCTETS, "hé", "hé".encode()),
        (list_of(TEXT), ["a", b"b"], ["a", "b"]),
        (map_of(OCTETS), {b"k": "v", "l": b""}, {"k": b"v", "l": b""}),
        (rows_of(name=TEXT), [["a"], [b"b"]], [["a"], ["b"]]),
    ],
)
def test_text_and_octets_are_taken_for_each_other(kind: Kind, value: Any, fitted: Any) -> None:
    """A peer that mixes them up is understood; what comes out is as declared."""
    assert kind.fit(value) == fitted


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
def test_what_a_kind_is_called_reads_as_that_kind(kind: Kind) -> None:
    """A declaration copied from the documentation means the same."""
    assert kind_of(kind.word) == kind


def test_the_columns_of_rows_are_known() -> None:
    """Whoever stores rows finds names and kinds."""
    assert kind_of("rows of time integer, mean-load number").columns == (
        ("time", INTEGER),
        ("mean-load", NUMBER),
    )


@pytest.mark.parametrize(
    "word",
    [
        "",
        "txt",
        "list of",
        "list of nothing",
        "rows of",
        "rows of time",
        "rows of a text, a text",
        "rows of A text",
    ]
    + ["rows of a list of text", "list of " * 20 + "text"],
)
def test_a_word_that_is_no_kind_is_refused(word: str) -> None:
    """A slip in a declaration is found when it is read."""
    with pytest.raises(Malformed):
        kind_of(word)
