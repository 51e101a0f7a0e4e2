"""
A log of what strangers do, of which there cannot be more than somebody reads.

Anybody who can connect can have lines written, as many as connections can be made. So lines about strangers are
rationed: a burst of them, then a few each second. What is left out is counted, and the count stands before the next line.
Failures of our own are never left out.
"""

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

BURST = 200
EACH_SECOND = 5.0


class RationedLogger(Logger):
    """A logger for lines that strangers cause."""

    def __init__(
        self, namespace: str, *, clock: IReactorTime, burst: int = BURST, each_second: float = EACH_SECOND
    ) -> None:
        super().__init__(namespace)
        self._clock = clock
        self._burst = burst
        self._each_second = each_second
        self._left = float(burst)
        self._looked_at = clock.seconds()
        self._left_out = 0

    def emit(self, level: Any, format: str | None = None, **kwargs: Any) -> None:
        """See Logger. Any: levels are of another kind in each of Twisted's releases."""
        if level < LogLevel.critical and level > LogLevel.debug and not self._has_one():
            self._left_out += 1
            return
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            super().emit(LogLevel.warn, "{count} lines about strangers were left out", count=left_out)
        super().emit(level, format, **kwargs)

    def _has_one(self) -> bool:
        now = self._clock.seconds()
        passed, self._looked_at = max(0.0, now - self._looked_at), now
        self._left = min(float(self._burst), self._left + passed * self._each_second)
        if self._left < 1:
            return False
        self._left -= 1
        return True
