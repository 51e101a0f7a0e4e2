"""Tokens tell an agent's latest word from a clone's."""

import pytest

from fieldpost.server.tokens import Presented, judge_token


@pytest.mark.parametrize(
    ("presented", "current", "previous", "expected"),
    [
        (None, None, None, Presented.ABSENT),
        (b"a", None, None, Presented.ABSENT),
        (None, b"a", b"b", Presented.ABSENT),
        (b"a", b"a", None, Presented.FRESH),
        (b"a", b"b", b"a", Presented.FRESH),
        (b"c", b"b", b"a", Presented.FOREIGN),
        (b"a", b"b", None, Presented.FOREIGN),
        (b"", b"b", None, Presented.FOREIGN),
    ],
)
def test_judgement(
    presented: bytes | None, current: bytes | None, previous: bytes | None, expected: Presented
) -> None:
    """Only a token that is known and unused vouches; without one the secure id must do."""
    assert expected == judge_token(presented, current=current, previous=previous)
