"""
Tells the service manager that a process is up, how it is, and that it makes progress.

A sign of life is sent only after the service itself has answered: a process whose reactor turns while its store's
thread hangs is not alive, and is to be started anew.
"""

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..runtime.notify import ALIVE, READY, STOPPING, Notifier, status

EVERY = 10.0
"""Seconds between two looks, unless the service manager wants more."""


class Vital(Protocol):
    """A service that can be asked how it is."""

    async def when_ready(self) -> None:
        """Returns once the service does what it is for."""

    async def vitals(self) -> str:
        """How it is, in one line. Does not return while the service makes no progress."""


class Vitals:
    """Looks after one service, from start to stop."""

    log = Logger()

    def __init__(self, *, service: Vital, notifier: Notifier, clock: IReactorTime) -> None:
        self._service = service
        self._notifier = notifier
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._is_stopping = False
        interval = notifier.watchdog_interval
        self._every = EVERY if interval is None else min(EVERY, interval / 3)

    def start(self) -> None:
        """Say that the service is ready once it is, and go on from there."""
        self._run(self._begin())

    def stop(self) -> None:
        """The service is about to end."""
        self._is_stopping = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._notifier.say(STOPPING)

    async def _begin(self) -> None:
        await self._service.when_ready()
        await self._look(READY)

    async def _look(self, word: str = ALIVE) -> None:
        line = await self._service.vitals()
        if not self._is_stopping:
            self._notifier.say(word, status(line))
            self._next = self._clock.callLater(self._every, lambda: self._run(self._look()))

    def _run(self, work: Any) -> None:  # Any: a coroutine that returns nothing
        done: Deferred[None] = Deferred.fromCoroutine(work)
        done.addErrback(lambda failure: self.log.failure("the service cannot say how it is", failure))
