"""Things that happen once, and handlers of either colour."""

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from fieldpost.runtime.session.later import Moment, deferred_of
from tests.runtime.session.pair import error_of, result_of


def test_everybody_who_waits_is_told() -> None:
    """Before and after it happens, each by a Deferred of their own."""
    moment: Moment[int] = Moment()
    before = moment.when()
    before.addCallback(lambda value: value + 1)
    also = moment.when()

    moment.happen(1)
    moment.happen(2)

    assert [result_of(one) for one in (before, also, moment.when())] == [2, 1, 1]


def test_it_may_go_ill() -> None:
    """A failure reaches those who wait, and nobody's log when nobody does."""
    moment: Moment[int] = Moment()
    moment.happen(Failure(ZeroDivisionError()))

    assert isinstance(error_of(moment.when()), ZeroDivisionError)


def test_waiting_can_be_given_up() -> None:
    """One who gives up takes nothing from the others."""
    moment: Moment[int] = Moment()
    first, second = moment.when(), moment.when()

    first.cancel()
    moment.happen(1)

    assert isinstance(error_of(first), CancelledError)
    assert result_of(second) == 1


class Waitable:
    """Awaitable, and nothing else."""

    def __await__(self) -> Generator[Any, Any, int]:
        return succeed(3).__await__()


def test_results_of_every_colour() -> None:
    """Deferreds, coroutines and other awaitables are waited for; all else is there already."""

    async def coroutine() -> int:
        return 2

    fired: Deferred[int] = succeed(1)
    assert deferred_of(fired) is fired
    for result, value in ((coroutine(), 2), (Waitable(), 3)):
        later = deferred_of(result)
        assert later is not None
        assert result_of(later) == value
    there: list[Any] = [None, [], 5, iter([])]
    assert all(deferred_of(result) is None for result in there)
