"""Kinds of fields."""

from typing import Any

import pytest

from fieldpost.wire.errors import Malformed
from fieldpost.wire.kinds import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NOTHING,
    NULL,
    NUMBER,
    OCTETS,
    TEXT,
    Kind,
    either,
    list_of,
    map_of,
    record_of,
    rows_of,
    tuple_of,
)

POINTS = rows_of(time=INTEGER, mean_load=NUMBER)
PAIR = tuple_of(INTEGER, TEXT)
STRICT = record_of({"name": TEXT, "size?": INTEGER})
LOOSE = record_of({"name": TEXT}, loose=True)
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
    (NULL, None),
    (list_of(NOTHING), []),
    (map_of(TEXT, by=INTEGER), {1: "a", -2: "b"}),
    (map_of(TEXT, by=OCTETS), {"a": "a"}),
    (PAIR, [1, "a"]),
    (PAIR, (1, "a")),
    (STRICT, {"name": "a"}),
    (STRICT, {"size": 1, "name": "a"}),
    (LOOSE, {"name": "a", "more": None, 1: 2}),
    (either(INTEGER, NULL), None),
    (either(TEXT, OCTETS), b"a"),
    (list_of(either(INTEGER, PAIR)), [1, [2, "b"], 3]),
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
    (NULL, 0, "must be null, not an integer"),
    (list_of(NOTHING), [None], "[0] must not be there, and is null"),
    (map_of(TEXT, by=INTEGER), {"1": "a"}, "[a key] must be an integer, not text"),
    (PAIR, [1], "must have 2 values, not 1"),
    (PAIR, ["a", "a"], "[0] must be an integer, not text"),
    (STRICT, [], "must be a map, not a list"),
    (STRICT, {"size": 1}, "needs a `name` (text)"),
    (STRICT, {"name": "a", "size": None}, "[size] must be an integer, not null"),
    (STRICT, {"name": "a", b"size": 1}, "must not have a \"b'size'\""),
    (LOOSE, {"more": 1}, "needs a `name` (text)"),
    (either(INTEGER, PAIR), "x", "must be integer or (integer, text), not text"),
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
        (map_of(TEXT, by=OCTETS), {b"k": "v"}, {"k": "v"}),
        (PAIR, (1, b"a"), [1, "a"]),
        (LOOSE, {"name": b"a", "more": b"b"}, {"name": "a", "more": b"b"}),
        (either(INTEGER, TEXT), b"a", "a"),
        (either(list_of(TEXT), list_of(OCTETS)), [b"\xff", "a"], [b"\xff", b"a"]),
    ],
)
def test_text_and_octets_are_taken_for_each_other(kind: Kind, value: Any, fitted: Any) -> None:
    """A peer that mixes them up is understood; what comes out is as declared."""
    assert kind.fit(value) == fitted


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (TEXT, "a", "a"),
        (POINTS, [[300, 0.5]], [(300, 0.5)]),
        (map_of(POINTS), {"a": [[300, 1]]}, {"a": [(300, 1)]}),
        (map_of(POINTS, by=OCTETS), {"eth0": [[300, 1]], "é": []}, {b"eth0": [(300, 1)], b"\\xe9": []}),
        (map_of(TEXT, by=INTEGER), {1: "a"}, {1: "a"}),
        (LOOSE, {"name": "a", "more": 1}, {"name": "a"}),
        (record_of({"pair": PAIR}), {"pair": [1, "a"]}, {"pair": (1, "a")}),
        (list_of(either(INTEGER, PAIR)), [1, [2, "b"]], [1, (2, "b")]),
        (rows_of(time=INTEGER, what=LOOSE), [[1, {"name": "a", "x": 2}]], [(1, {"name": "a"})]),
    ],
)
def test_landscape_reads_what_its_client_writes(kind: Kind, value: Any, written: Any) -> None:
    """Rows are tuples there, and a map has what is known of it."""
    assert kind.fit(value) is value
    assert kind.write(value) == written


def test_kinds_that_say_the_same_are_the_same() -> None:
    """Whoever made them."""
    assert len({record_of({"a?": TEXT}), record_of({"a?": TEXT}), record_of({"a": TEXT})}) == 2
    assert repr(PAIR) == "<(integer, text)>"
    assert TEXT != "text"
