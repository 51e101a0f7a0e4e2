"""What a reader makes of the counting plugin's book, whenever he looks and whatever a kill left."""

import pytest

from .book import entries

BOOK = "\na start.\na 0.\na 10.\n"
ENTRIES = [("a", "start"), ("a", "0"), ("a", "10")]


def test_each_whole_line_is_an_entry() -> None:
    assert entries(BOOK) == ENTRIES


@pytest.mark.parametrize("length", range(len(BOOK)))
def test_a_line_that_is_being_written_is_no_entry_yet(length: int) -> None:
    """Wherever the text ends, what is read is what was written whole, and nothing else."""
    seen = entries(BOOK[:length])

    assert seen == ENTRIES[: len(seen)]
    assert len(seen) == BOOK[:length].count(".")


@pytest.mark.parametrize("length", range(len(BOOK)))
def test_the_line_that_a_kill_left_does_not_touch_the_next_life(length: int) -> None:
    whole = entries(BOOK[:length])

    assert entries(f"{BOOK[:length]}\nb start.\nb 0.\n") == [*whole, ("b", "start"), ("b", "0")]
