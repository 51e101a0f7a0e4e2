"""Points on their way to the broker: in order, bounded, each sent once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from ..wire.message import Message
from .context import Send
from .errors import MessageRefused

MAX_POINTS = 10_000
"""So many wait for a broker that is away or slow; then the oldest are dropped, and the log says so."""
MAX_POINTS_PER_MESSAGE = 1000


class Points:
    """
    The points of one plugin that the broker's disk does not have yet.

    A point is whatever `word` makes messages of.
    """

    def __init__(self, *, word: Callable[[Sequence[Any]], Message], send: Send, log: Logger) -> None:
        self._word = word
        self._send = send
        self._log = log
        self._waiting: list[Any] = []
        self._reporting = False

    def add(self, points: Iterable[Any]) -> None:
        """Keep them for the next report."""
        self._waiting += points
        too_many = len(self._waiting) - MAX_POINTS
        if too_many > 0:
            del self._waiting[:too_many]
            self._log.warn("the broker takes nothing for long: {count} old points dropped", count=too_many)

    async def report(self) -> None:
        """
        Send all that are there, one message after the other; nothing when a report is still going on.

        Raises what `send` fails with; then the points stay, unless they are such as the broker never takes.
        """
        if self._reporting:
            return
        self._reporting = True
        try:
            while self._waiting:
                await self._report_some()
        finally:
            self._reporting = False

    async def _report_some(self) -> None:
        """Points are taken out before, and put back when the broker did not take them: more come in meanwhile."""
        some, self._waiting = self._waiting[:MAX_POINTS_PER_MESSAGE], self._waiting[MAX_POINTS_PER_MESSAGE:]
        try:
            await self._send(self._word(some))
        except CancelledError:
            raise  # only the waiting was cancelled: the message is on its way
        except MessageRefused:
            self._log.error("{count} points are lost: the broker refuses them", count=len(some))
            raise
        except Exception:
            self._waiting = some + self._waiting
            raise
