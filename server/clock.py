"""
The time of day, for what is written down; timers run by the reactor, whose own time is steady.

A clock that is set ends no session and holds no timer: those count seconds. What is stored and shown has the time of day.
"""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class DayClock:
    """A clock for parts that write times down, and may call later too."""

    def __init__(self, reactor: IReactorTime, *, now: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._now = now

    def seconds(self) -> float:
        """Seconds since 1970."""
        return self._now()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> IDelayedCall:
        """After so many seconds, however the time of day is set meanwhile."""
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Any:
        """See IReactorTime."""
        return self._reactor.getDelayedCalls()
