"""
Computers that are waited for: what is asked of one that has no session goes to its next.

A call waits for a bounded time, in order with the others for its computer, before the first session as between two (wire
Z18, Z19). Of one that has left with a session nothing is kept here: whether it was carried out when the session is lost
nobody knows, so it is not made again. What needs no answer is told to who is there, and never waits.
"""

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..errors import Refused, Stopping
from .output import Callee

MOST_WAITING = 1_000
"""Calls, for all computers together."""
MOST_FOR_ONE = 64
"""Of these for one computer: as many as an agent runs at once."""


class Awaited:
    """Who waits for which computer."""

    def __init__(self, *, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[int, deque[Deferred[Callee | None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, computer_id: int, seconds: float) -> "Deferred[Callee | None]":
        """
        The computer's next session; None when there is none in time. To cancel it is to wait no longer.

        Raises Refused when too many wait.
        """
        waiting = self._waiting.get(computer_id, deque())
        if len(waiting) >= MOST_FOR_ONE or len(self) >= MOST_WAITING:
            raise _too_many()
        found: Deferred[Callee | None] = Deferred(lambda one: one.callback(None))
        timer = self._clock.callLater(seconds, found.cancel)

        def ended(callee: "Callee | None") -> "Callee | None":
            if timer.active():
                timer.cancel()
            waiting.remove(found)
            if not waiting:
                del self._waiting[computer_id]
            return callee

        found.addBoth(ended)
        waiting.append(found)
        self._waiting[computer_id] = waiting
        return found

    def come(self, computer_id: int, callee: Callee) -> None:
        """There is a session, or will be: it is for those who wait, in order; what they begin by that comes behind them (Z3)."""
        while computer_id in self._waiting:
            self._waiting[computer_id][0].callback(callee)

    def stop(self) -> None:
        """Nobody comes any more."""
        while self._waiting:
            waiting = next(iter(self._waiting.values()))
            waiting[0].errback(Stopping("the server is stopping; try again soon"))


def _too_many() -> Refused:
    cause = f"{MOST_FOR_ONE} calls wait for this computer, or {MOST_WAITING} for all"
    return Refused(503, cause, "try again in a minute", headers=(("Retry-After", "60"),))
