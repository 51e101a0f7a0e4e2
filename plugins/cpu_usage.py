"""How busy the processors are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import psutil

from ..wire.message import Message
from .accumulator import Means, Point
from .context import Context
from .monitor import Monitor

MIN_SECONDS = 0.01
"""The kernel counts in hundredths of a second; a difference of less tells nothing."""


class Times(Protocol):
    """Seconds that all processors together spent in each state since the start: what `psutil.cpu_times` gives."""

    def _asdict(self) -> dict[str, Any]: ...


class CpuUsage(Monitor):
    """Sends `cpu-usage` with `cpu-usages`: a list of [time, busy share from 0 to 1]."""

    name = "cpu-usage"
    sends = ("cpu-usage",)
    scope = "cpu"

    def __init__(self, context: Context, read_times: Callable[[], Times] = psutil.cpu_times) -> None:
        super().__init__(context)
        self._read_times = read_times
        self._before: tuple[float, float] | None = None
        self._means = Means(step=self.settings.step, now=self.now())

    def read(self, now: float) -> Iterable[Point]:
        """See Monitor."""
        total, busy = _total_and_busy(self._read_times())
        before, self._before = self._before, (total, busy)
        if before is None:
            return self._means.cut(now)
        spent = total - before[0]
        if spent < MIN_SECONDS:
            return []
        share = min(1.0, max(0.0, (busy - before[1]) / spent))
        return self._means.add(now, [share])

    def close(self, now: float) -> Iterable[Point]:
        """See Monitor."""
        return self._means.cut(now)

    def word(self, points: Sequence[Point]) -> Message:
        """See Monitor."""
        return {"type": "cpu-usage", "cpu-usages": [[p.time, round(p.values[0], 4)] for p in points]}


def _total_and_busy(times: Times) -> tuple[float, float]:
    """Time of guests is counted in `user` and `nice` already. Waiting for a disk is idling."""
    states = times._asdict()
    total = sum(states.values()) - states.get("guest", 0) - states.get("guest_nice", 0)
    return total, total - states["idle"] - states.get("iowait", 0)
