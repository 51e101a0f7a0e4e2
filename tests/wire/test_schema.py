"""Maps as classes: what is written is read, what is wrong is named with its place."""

from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import Malformed
from fieldpost.wire.schema import (
    BOOLEAN,
    INTEGER,
    MAP,
    NATURAL,
    OCTETS,
    TEXT,
    Read,
    field_of,
    from_map,
    integer_of,
    list_of,
    map_of,
    optional,
    to_map,
)

from .values import values


@frozen(kw_only=True)
class Leg:
    """A part."""

    length_mm: int = field_of(NATURAL)


@frozen(kw_only=True)
class Table:
    """A whole with parts, and one field of each sort."""

    legs: tuple[Leg, ...] = field_of(list_of(map_of(Leg)), default=())
    best_leg: Leg | None = field_of(optional(map_of(Leg)), default=None)
    colour: str | None = field_of(optional(TEXT), default=None)
    names: tuple[str, ...] = field_of(list_of(TEXT), name="all_names")
    weight: int = field_of(INTEGER, default=7, write=lambda weight: weight + 100)


KINDS: dict[str, tuple[Read, list[Any], str]] = {
    "text": (TEXT, ["", "a"], "must be text"),
    "octets": (OCTETS, [b"", b"a"], "must be octets"),
    "boolean": (BOOLEAN, [True, False], "must be true or false"),
    "map": (MAP, [{}, {"a": 1}], "must be a map"),
    "integer": (INTEGER, [0, -1, 2**63 - 1, -(2**63)], "must be an integer"),
    "natural": (NATURAL, [0, 2**63 - 1], "must be an integer"),
}
SAMPLES = {"text": "a", "octets": b"a", "an integer": 1, "true or false": True, "a list": [1], "a map": {1: 2}, "null": None, "float": 1.5}  # fmt: skip


# There and back


def test_a_map_has_the_names_of_the_wire() -> None:
    """Dashes for underscores unless the field says otherwise; parts are maps; lists are lists."""
    table = Table(names=("a", "b"), legs=(Leg(length_mm=3),), best_leg=Leg(length_mm=4), colour="red")

    assert to_map(table) == {
        "legs": [{"length-mm": 3}],
        "best-leg": {"length-mm": 4},
        "colour": "red",
        "all_names": ["a", "b"],
        "weight": 107,
    }


@given(
    st.builds(
        Table,
        names=st.lists(st.text(), max_size=3).map(tuple),
        legs=st.lists(st.builds(Leg, length_mm=st.integers(0, 2**63 - 1)), max_size=3).map(tuple),
        colour=st.none() | st.text(),
    )
)
def test_what_is_written_is_read(table: Table) -> None:
    """All of it; fields that are None do not travel."""
    written = to_map(table)

    assert from_map(Table, {**written, "weight": table.weight}) == table
    assert ("colour" in written) == (table.colour is not None)


def test_fields_with_a_default_may_be_missing() -> None:
    """So an older side can leave them out."""
    assert from_map(Table, {"all_names": []}) == Table(names=())


def test_unknown_fields_are_ignored() -> None:
    """So a newer side can add some, under keys of any kind."""
    assert from_map(Leg, {"length-mm": 1, "wood": "oak", b"length-mm": 2, 3: 4}) == Leg(length_mm=1)


def test_null_stands_for_an_optional_field_that_is_missing() -> None:
    """Some languages write it so."""
    assert from_map(Table, {"all_names": [], "colour": None}).colour is None


# What is wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_takes_what_is_of_its_kind(kind: str) -> None:
    """As it is."""
    read, samples, _ = KINDS[kind]

    assert [read(sample) for sample in samples] == samples


@pytest.mark.parametrize("word", SAMPLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_field_refuses_what_is_of_another_kind(kind: str, word: str) -> None:
    """True is no integer, octets are no text; the error names both kinds."""
    read, samples, wanted = KINDS[kind]
    sample = SAMPLES[word]

    if type(sample) is type(samples[0]):
        assert read(sample) == sample
    else:
        with pytest.raises(Malformed, match=f"^{wanted}, not {word}$"):
            read(sample)


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**63, 2**8_000])
def test_an_integer_that_no_database_holds_is_refused(number: int) -> None:
    """Of whatever length."""
    with pytest.raises(Malformed, match="must be from -9223372036854775808 to 9223372036854775807"):
        INTEGER(number)


def test_a_natural_number_is_not_below_0() -> None:
    """It counts something."""
    with pytest.raises(Malformed, match="must be from 0 to 9223372036854775807"):
        NATURAL(-1)


def test_an_integer_may_have_a_range_of_its_own() -> None:
    """Both ends are within."""
    read = integer_of(2, 3)

    assert [read(2), read(3)] == [2, 3]
    for number in (1, 4):
        with pytest.raises(Malformed, match="must be from 2 to 3"):
            read(number)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "Table must be a map, not null"),
        ([], "Table must be a map, not a list"),
        (1.5, "Table must be a map, not float"),
        ({}, "`all_names` is missing"),
        ({"all_names": "a"}, "`all_names` must be a list, not text"),
        ({"all_names": None}, "`all_names` must be a list, not null"),
        ({"all_names": ["a", b"b"]}, "`all_names`[1] must be text, not octets"),
        ({"all_names": [], "colour": 3}, "`colour` must be text, not an integer"),
        ({"all_names": [], "best-leg": 3}, "`best-leg` must be a map, not an integer"),
        ({"all_names": [], "best-leg": {}}, "`best-leg`.`length-mm` is missing"),
        ({"all_names": [], "legs": [{"length-mm": 1}, 3]}, "`legs`[1] must be a map, not an integer"),
        (
            {"all_names": [], "legs": [{"length-mm": "1"}]},
            "`legs`[0].`length-mm` must be an integer, not text",
        ),
        ({"all_names": [], "weight": True}, "`weight` must be an integer, not true or false"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: Any, fault: str) -> None:
    """However deep it stands."""
    with pytest.raises(Malformed) as caught:
        from_map(Table, value)

    assert str(caught.value) == fault


def test_an_error_that_is_a_sentence_of_its_own_follows_its_place() -> None:
    """A field's reader may say what it likes."""

    def read(value: Any) -> Any:
        raise Malformed("this is not wanted")

    with pytest.raises(Malformed, match=r"^\[0\]: this is not wanted$"):
        list_of(read)(["a"])


@given(
    values | st.dictionaries(st.sampled_from(["legs", "best-leg", "colour", "all_names", "weight"]), values)
)
def test_any_value_at_all_is_such_a_map_or_malformed(value: Any) -> None:
    """Nothing else ever leaves the reading."""
    try:
        assert isinstance(from_map(Table, value), Table)
    except Malformed as error:
        assert len(str(error)) < 300
