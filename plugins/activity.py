"""What a plugin is doing now: every call into it that has not ended."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..runtime.doors import following, returns_deferred
from .patience import wait_at_most

P = ParamSpec("P")
T = TypeVar("T")


class Activity:
    """
    The calls into one plugin.

    `log` is the plugin's; what a guarded call raises ends there.
    """

    def __init__(self, *, plugin: str, log: Logger, clock: IReactorTime) -> None:
        self._plugin = plugin
        self._log = log
        self._clock = clock
        self._active: set[Deferred[Any]] = set()

    def call(
        self, what: str, function: Callable[P, Awaitable[None] | None], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Deferred[None]":
        """Call a method of the plugin, plain or asynchronous. The Deferred never fails."""
        return self.track(self._guarded(what, function, args, kwargs))

    def track(self, active: "Deferred[T]") -> "Deferred[T]":
        """Remember it while it lasts, so that it can be cancelled and waited for."""

        def ended(result: Any) -> Any:
            self._active.discard(active)
            return result

        self._active.add(active)
        return active.addBoth(ended)

    def cancel(self) -> None:
        """Cancel all that goes on; each call ends when it has cleaned up."""
        for active in tuple(self._active):
            active.cancel()

    def ended(self, within: float) -> "Deferred[bool]":
        """Fires when all that goes on now has ended, with True, or after so many seconds with False."""
        done = DeferredList([following(active) for active in self._active])
        return wait_at_most(done, max(0, within), self._clock)

    @returns_deferred
    async def _guarded(
        self, what: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Any: `call` has checked that the arguments are the function's."""
        try:
            await result_of(function, *args, **kwargs)
        except CancelledError:
            self._log.debug("{plugin}: {what} was cancelled", plugin=self._plugin, what=what)
        except Exception:  # noqa: BLE001 - a plugin may raise anything
            self._log.failure("{plugin}: {what} failed", plugin=self._plugin, what=what)


async def result_of(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a function that may be plain or asynchronous gives in the end. Any: it is the plugin author's."""
    result = function(*args, **kwargs)
    return await result if isawaitable(result) else result
