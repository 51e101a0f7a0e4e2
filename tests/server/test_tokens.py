"""Tokens tell an agent's latest word from a clone's."""

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.server.tokens import MOST, Presented, Token, Tokens


def numbered() -> Callable[[], bytes]:
    numbers = count()
    return lambda: b"%d" % next(numbers)


ONE, TWO = Tokens.read(b"b", None), Tokens.read(b"b", b"a")


@pytest.mark.parametrize(
    ("presented", "tokens", "expected"),
    [
        (None, Tokens(), Presented.ABSENT),
        (b"a", Tokens(), Presented.ABSENT),
        (None, TWO, Presented.ABSENT),
        (b"b", ONE, Presented.NEWEST),
        (b"b", TWO, Presented.NEWEST),
        (b"a", TWO, Presented.OLDER),
        (b"c", TWO, Presented.FOREIGN),
        (b"a", ONE, Presented.FOREIGN),
        (b"", ONE, Presented.FOREIGN),
    ],
)
def test_judgement(presented: bytes | None, tokens: Tokens, expected: Presented) -> None:
    """Only a token that is known and unused vouches; without one the secure id must do."""
    assert expected == tokens.judge(presented)


@given(st.lists(st.booleans(), max_size=MOST))
def test_what_is_noted_is_read(kinds: list[bool]) -> None:
    """A database gives back what it was given; `newest` alone when there is nothing else."""
    new = numbered()
    tokens = Tokens(tuple(Token(new(), free=free) for free in kinds[:-1] if free))
    tokens = Tokens((*tokens.given, *(Token(new(), free=free) for free in kinds[-1:])))

    assert Tokens.read(tokens.newest, tokens.note) == tokens


def test_so_many_and_no_more() -> None:
    """Requests without a token do not fill the database."""
    tokens, new = Tokens(), numbered()
    for _ in range(100):
        tokens = tokens.after(None, new)

    assert len(tokens.given) == MOST


@given(st.lists(st.sampled_from(["fine", "answer lost", "request lost", "late", "deliver"]), max_size=30))
def test_an_agent_alone_is_never_taken_for_two(steps: list[str]) -> None:
    """Whatever of its requests and answers is lost, and however late up to seven of its requests arrive."""
    new = numbered()
    tokens, held = Tokens(), None
    late: list[bytes | None] = []

    def take(presented: bytes | None) -> Presented:
        nonlocal tokens
        tokens = Tokens.read(tokens.newest, tokens.note)
        judged = tokens.judge(presented)
        if judged is not Presented.FOREIGN:
            tokens = tokens.after(presented, new)
        return judged

    for step in [*steps, "fine", "fine"]:
        if step == "deliver":
            for request in late:
                take(request)
            late = []
            continue
        presented, held = held, None
        if step == "late":
            late = [*late, presented][-(MOST - 1) :]
        elif step != "request lost":
            assert take(presented) is not Presented.FOREIGN
            held = tokens.newest if step == "fine" else None


@given(st.lists(st.sampled_from(["original", "copy"]), min_size=1, max_size=10), st.integers(0, 3))
def test_two_with_one_identity_are_found(order: list[str], lost: int) -> None:
    """Wherever the copy was made, whoever comes next, and though answers were lost: one of them is told."""
    new = numbered()
    tokens = Tokens().after(None, new)
    held = {"original": tokens.newest, "copy": tokens.newest}
    for _ in range(lost):
        tokens = tokens.after(None, new)
        held["original"] = tokens.newest

    for who in [*order, "original", "copy", "original", "copy"]:
        if tokens.judge(held[who]) is Presented.FOREIGN:
            return
        tokens = tokens.after(held[who], new)
        held[who] = tokens.newest
    raise AssertionError(f"nobody was told: {order}")
