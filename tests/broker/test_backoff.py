"""Staying away from a server that failed."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.broker.backoff import MAX_RETRY_AFTER, Backoff
from tests.broker.fakes import NoSpread, SteadyRandom


def a_backoff(random: Random | None = None) -> Backoff:
    return Backoff(base=60.0, cap=7_200.0, random=random or SteadyRandom())


def test_windows_double_up_to_the_cap() -> None:
    """Each failure in a row doubles the time within which the next attempt is drawn, up to two hours."""
    backoff = a_backoff()

    windows = [backoff.failed() for _ in range(10)]

    assert windows == [60, 120, 240, 480, 960, 1_920, 3_840, 7_200, 7_200, 7_200]


def test_full_jitter() -> None:
    """The delay is drawn from the whole window: two agents that failed together do not come back together."""
    delays = [Backoff(base=60.0, cap=7_200.0, random=Random(seed)).failed() for seed in range(1_000)]

    assert all(0 <= delay <= 60 for delay in delays)
    assert min(delays) < 1 and max(delays) > 59
    assert 25 < sum(delays) / len(delays) < 35


def test_success_goes_one_step_down() -> None:
    """A server that limps is not forgiven at the first success."""
    backoff = a_backoff()
    for _ in range(3):
        backoff.failed()

    backoff.succeeded()

    assert backoff.steps == 2
    assert backoff.failed() == 240


def test_success_without_failure() -> None:
    """Successes do not pile up."""
    backoff = a_backoff()

    backoff.succeeded()

    assert (backoff.steps, backoff.window) == (0, 0.0)


def test_success_after_the_cap_counts() -> None:
    """However long the server was away, a few successes are enough: steps beyond the cap are not counted."""
    backoff = a_backoff()
    for _ in range(1_000):
        backoff.failed()

    assert backoff.steps == 8


def test_retry_after_is_the_least() -> None:
    """Nobody comes back before the time that the server named."""
    assert a_backoff(NoSpread()).failed(retry_after=500.0) == 500.0


def test_retry_after_that_is_shorter_than_the_delay() -> None:
    """A server cannot ask for more haste than our own back-off allows."""
    assert a_backoff().failed(retry_after=5.0) == 60.0


@pytest.mark.parametrize("absurd", [1e9, float("inf")])
def test_retry_after_is_bounded(absurd: float) -> None:
    """A server that asks for years of silence gets a day."""
    assert a_backoff().failed(retry_after=absurd) == MAX_RETRY_AFTER


@pytest.mark.parametrize("nonsense", [0.0, -5.0, float("nan"), float("-inf")])
def test_retry_after_that_is_no_time(nonsense: float) -> None:
    """A Retry-After without sense counts for nothing."""
    assert a_backoff(NoSpread()).failed(retry_after=nonsense) == 0.0


@given(st.lists(st.booleans(), max_size=60), st.integers())
def test_never_beyond_the_cap(ends: list[bool], seed: int) -> None:
    """Whatever comes, a delay is between nothing and the cap."""
    backoff = a_backoff(Random(seed))

    for failed in ends:
        if failed:
            assert 0.0 <= backoff.failed() <= 7_200.0
        else:
            backoff.succeeded()
