"""What comes later: things that happen once and are waited for, and results of handlers of whatever colour."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutine
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Moment(Generic[T]):
    """
    Something that happens at most once, well or ill.

    Everybody who waits gets a Deferred of their own, so that nobody's callbacks change what another hears, and a
    failure that nobody waits for is no unhandled one.
    """

    def __init__(self) -> None:
        self._outcome: T | Failure | None = None
        self._waiting: list[Deferred[T]] = []
        self.is_over = False

    def when(self) -> "Deferred[T]":
        """Fires when it happens, or at once when it has; may be cancelled."""
        waiting: Deferred[T] = Deferred(self._forget)
        if self.is_over:
            self._tell(waiting)
        else:
            self._waiting.append(waiting)
        return waiting

    def happen(self, outcome: "T | Failure") -> None:
        """It happened. All but the first time this says nothing to anybody."""
        if self.is_over:
            return
        self.is_over, self._outcome = True, outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._tell(one)

    def _tell(self, waiting: "Deferred[T]") -> None:
        if isinstance(self._outcome, Failure):
            waiting.errback(self._outcome)
        else:
            waiting.callback(cast(T, self._outcome))

    def _forget(self, waiting: "Deferred[T]") -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)


def deferred_of(result: Any) -> "Deferred[Any] | None":  # Any: whatever a handler gave
    """The Deferred to wait for, of a Deferred, coroutine or other awaitable; None of what is there already."""
    if isinstance(result, Deferred):
        return result
    if iscoroutine(result):
        return Deferred.fromCoroutine(result)
    if isinstance(result, Awaitable):
        return Deferred.fromCoroutine(_awaited(result))
    return None


async def _awaited(result: Awaitable[T]) -> T:
    return await result


def run_handler(handler: Callable[..., Any], *args: Any) -> "Deferred[Any] | None":
    """Call a handler of either colour: the Deferred of what it goes on to do, or None when it is through."""
    return deferred_of(handler(*args))
