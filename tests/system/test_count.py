"""The oracle of the system test sees what it is there for."""

import pytest

from .count import Counted, faults

LIVES = ["a", "b"]
ANSWERED: set[Counted] = {("a", 0), ("a", 1), ("b", 0)}


@pytest.mark.parametrize(
    ("received", "seen"),
    [
        ([("a", 0), ("a", 1), ("b", 0)], []),
        ([("a", 0), ("a", 1), ("a", 2), ("b", 0)], []),
        ([("a", 0), ("b", 0)], ["1 lost"]),
        ([("a", 0), ("a", 1), ("a", 1), ("b", 0)], ["1 doubled"]),
        ([("a", 1), ("a", 0), ("b", 0)], ["2 out of order"]),
        ([("b", 0), ("a", 0), ("a", 1)], ["3 out of order"]),
    ],
    ids=["all", "one more, unanswered", "one lost", "one twice", "another order", "another order of lives"],
)
def test_faults(received: list[Counted], seen: list[str]) -> None:
    """Messages that are lost, doubled or out of order are named; one that came although nobody said so is none."""
    assert [fault.split(":")[0] for fault in faults(ANSWERED, LIVES, received)] == seen
