"""Waiting at most so long, without touching what is waited for."""

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from fieldpost.plugins import wait_at_most
from fieldpost.testing import result_of


def test_what_comes_in_time_is_said_to() -> None:
    """And what it fires with is still its own."""
    clock = Clock()
    awaited: Deferred[int] = Deferred()
    waited = wait_at_most(awaited, 5, clock)

    clock.advance(4)
    awaited.callback(3)

    assert result_of(waited) is True
    assert result_of(awaited) == 3
    assert clock.getDelayedCalls() == []


def test_what_is_there_already_needs_no_time() -> None:
    """Not even a turn of the reactor."""
    assert result_of(wait_at_most(succeed(1), 0, Clock())) is True


def test_what_does_not_come_is_given_up_and_left_alone() -> None:
    """It may come later, and nobody minds."""
    clock = Clock()
    awaited: Deferred[int] = Deferred()
    waited = wait_at_most(awaited, 5, clock)

    clock.advance(5)

    assert result_of(waited) is False
    awaited.callback(3)
    assert result_of(awaited) == 3


def test_giving_up_waiting_stops_the_timer() -> None:
    """And leaves what was waited for alone."""
    clock = Clock()
    awaited: Deferred[int] = Deferred()
    waited = wait_at_most(awaited, 5, clock)
    failed: list[object] = []
    waited.addErrback(lambda failure: failed.append(failure.check(CancelledError)))

    waited.cancel()
    awaited.callback(3)

    assert failed == [CancelledError]
    assert clock.getDelayedCalls() == []
    assert result_of(awaited) == 3


def test_giving_up_after_the_end_changes_nothing() -> None:
    """It is over."""
    clock = Clock()
    awaited: Deferred[int] = Deferred()
    waited = wait_at_most(awaited, 5, clock)
    clock.advance(5)

    waited.cancel()

    assert result_of(waited) is False
