"""
Readings become points, one per step.

A monitor reads every half minute or so, but a server wants a point every five minutes, at the same times from every
machine. So time is cut at the multiples of a step. A point has the time of its cut, and stands for what was since the
point before it. Steps that are unlike the others are said by their time alone: `cut` ends one early (the first report
after a start, the last before the end).

What a reading tells about the time since the one before is shared out where a cut falls between the two. A gap that is
longer than a step (the machine slept), or a clock that was set back, is not shared out: the point before it ends with
the last reading, and nothing is made up for the time in between.
"""

from collections.abc import Sequence

from attrs import frozen


@frozen
class Point:
    """What accrued until `time`, in seconds since 1970."""

    time: int
    values: tuple[float, ...]


class Sums:
    """Amounts that accrue: octets, events. The sum of all points is the sum of all that was added."""

    def __init__(self, *, step: int, now: float) -> None:
        self._step = step
        self._last = now
        self._sums: list[float] = []

    def add(self, now: float, amounts: Sequence[float]) -> list[Point]:
        """Amounts since the last reading. The points that this completes: none or one."""
        last, self._last = self._last, now
        if not 0 <= now - last <= self._step:
            points = self._ended(last)
            self._count(amounts)
            return points
        cut = (last // self._step + 1) * self._step
        if now < cut:
            self._count(amounts)
            return []
        before = [_share(amount, (cut - last) / (now - last)) for amount in amounts]
        self._count(before)
        points = self._ended(cut)
        self._count([amount - early for amount, early in zip(amounts, before, strict=True)])
        return points

    def cut(self, now: float) -> list[Point]:
        """End the step now. The point that this makes, if anything was added since the last."""
        self._last = now
        return self._ended(now)

    def _count(self, amounts: Sequence[float]) -> None:
        sums = self._sums or [0] * len(amounts)
        self._sums = [old + new for old, new in zip(sums, amounts, strict=True)]

    def _ended(self, time: float) -> list[Point]:
        sums, self._sums = self._sums, []
        return [Point(int(time), tuple(sums))] if sums else []


class Means:
    """Levels: a share, an amount of memory. A point is their mean over time."""

    def __init__(self, *, step: int, now: float) -> None:
        self._step = step
        self._last = now
        self._sums = Sums(step=step, now=now)

    def add(self, now: float, levels: Sequence[float]) -> list[Point]:
        """Levels that held since the last reading. The points that this completes: none or one."""
        last, self._last = self._last, now
        if not 0 < now - last <= self._step:
            points = self._sums.cut(last)
            self._sums.cut(now)
        else:
            points = self._sums.add(now, [*(level * (now - last) for level in levels), now - last])
        return _means(points)

    def cut(self, now: float) -> list[Point]:
        """End the step now. The point that this makes, if anything was added since the last."""
        self._last = now
        return _means(self._sums.cut(now))


def _means(points: list[Point]) -> list[Point]:
    """The last value of each point is the time that the others were weighed with."""
    return [
        Point(point.time, tuple(value / point.values[-1] for value in point.values[:-1]))
        for point in points
        if point.values[-1] > 0
    ]


def _share(amount: float, share: float) -> float:
    """A part of an amount; whole amounts have whole parts."""
    return int(amount * share) if isinstance(amount, int) else amount * share
