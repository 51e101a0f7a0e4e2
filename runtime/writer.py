"""The one thread that owns a database connection, so that a slow disk never stops the reactor."""

import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


SWITCH_INTERVAL = 0.001
"""
Seconds after which a thread that computes lets another in, for the whole process.

SQLite lets go of the interpreter at every step. While the reactor is busy each step then waits this long to get it back,
so that at Python's own 0.005 a transaction of ten steps would lose a twentieth of a second.
"""


class Writer(Protocol):
    """Runs functions one after the other, in the order in which they were given."""

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """The result or the failure of the call comes with the Deferred."""


class WriterThread:
    """
    A Writer with a thread of its own.

    Everything given before `stop` is run; the Deferred of `stop` fires after the last. All Deferreds fire in the
    reactor's thread.
    """

    def __init__(self, *, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stopped: Deferred[None] = Deferred()
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """See Writer.run."""
        done: Deferred[T] = Deferred()

        def call() -> None:
            try:
                result: Any = function(*args, **kwargs)
            except BaseException:  # noqa: BLE001 - it travels to the caller, whatever it is
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, result)

        self._calls.put(call)
        return done

    def stop(self) -> "Deferred[None]":
        """Run what was given, then end the thread."""
        self._calls.put(None)
        return self._stopped

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
        self._reactor.callFromThread(self._stopped.callback, None)
