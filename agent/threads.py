"""Threads for what may block, such as a file server that does not answer."""

from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 16


class Threads:
    """
    Runs each function in a thread of its own, at most `limit` at a time, the others in order after them.

    The reactor's own pool would do, but a process waits for that pool at its end, so for a dead file server too. These
    threads end with the process.
    """

    def __init__(self, *, reactor: IReactorFromThreads, limit: int = MAX_THREADS) -> None:
        self._reactor = reactor
        self._limit = limit
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """The result or the failure comes with the Deferred, in the reactor's thread."""
        done: Deferred[T] = Deferred()

        def work() -> None:
            try:
                result: Any = function(*args, **kwargs)
            except BaseException:  # noqa: BLE001 - it travels to the caller, whatever it is
                result = Failure()
            self._reactor.callFromThread(self._finish, done, result)

        self._waiting.append(work)
        self._start_next()
        return done

    def _start_next(self) -> None:
        if self._waiting and self._running < self._limit:
            self._running += 1
            Thread(target=self._waiting.popleft(), name="plugin call", daemon=True).start()

    def _finish(self, done: "Deferred[Any]", result: Any) -> None:
        self._running -= 1
        self._start_next()
        done.callback(result)
