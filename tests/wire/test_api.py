"""API levels: read strictly, written back the same, compared as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.errors import Malformed

numbers = st.integers(0, 9_999)
levels = st.builds(ApiLevel, numbers, numbers)


@given(levels)
def test_a_level_is_read_as_it_was_written(level: ApiLevel) -> None:
    """In text, and in the octets of a payload."""
    assert ApiLevel.parse(str(level)) == level
    assert ApiLevel.parse(bytes(level)) == level


@given(numbers, numbers, numbers, numbers)
def test_levels_compare_by_major_then_minor_number(major: int, minor: int, other: int, another: int) -> None:
    """So 3.10 is newer than 3.9."""
    assert (ApiLevel(major, minor) < ApiLevel(other, another)) == ((major, minor) < (other, another))


def test_an_agent_starts_at_the_oldest_level() -> None:
    """Landscape 1.7: 3.2 at first, 3.3 once the server offers it."""
    assert (str(OLDEST_SERVER_API), bytes(NEWEST_SERVER_API)) == ("3.2", b"3.3")
    assert OLDEST_SERVER_API < NEWEST_SERVER_API


@pytest.mark.parametrize(
    "written",
    ["", "3", "3.", ".3", "3.3.3", " 3.3", "3.3\n", "-3.3", "3,3", "3.x", "10000.1", "3.3e1", "٣.٣", b"\xb3.\xb3", b"3.3\x00"],
)  # fmt: skip
def test_what_is_no_level_is_malformed(written: str | bytes) -> None:
    """Digits, a dot, digits: nothing else, and never many."""
    with pytest.raises(Malformed, match="not an API level"):
        ApiLevel.parse(written)


@given(st.text() | st.binary())
def test_anything_at_all_is_a_level_or_malformed(written: str | bytes) -> None:
    """A header can hold whatever somebody types."""
    try:
        level = ApiLevel.parse(written)
    except Malformed as error:
        assert len(str(error)) < 200
    else:
        assert ApiLevel.parse(str(level)) == level
