"""How much goes through each network interface."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import psutil
from attrs import frozen

from ..wire.message import Message
from .accumulator import Point, Sums
from .context import Context
from .monitor import Monitor
from .text import travelling


class Octets(Protocol):
    """Counters of one interface: what `psutil.net_io_counters` gives per interface."""

    @property
    def bytes_recv(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...


ReadCounters = Callable[[], Mapping[str, Octets]]


def read_counters() -> Mapping[str, Octets]:
    """The kernel's own counters: psutil's guess at those that wrapped would hide those that were set back."""
    counters: Mapping[str, Octets] = psutil.net_io_counters(pernic=True, nowrap=False)
    return counters


_WRAP = 2**32
_NEAR_WRAP = _WRAP // 4 * 3


def grown(before: int, now: int) -> int:
    """
    How much was counted since.

    A counter that goes back was set to zero, and has counted since then what it shows; or it has 32 bits and wrapped,
    which is believed when it stood in the last quarter and now stands in the first.
    """
    if now >= before:
        return now - before
    wrapped = _NEAR_WRAP <= before < _WRAP and now < _WRAP - _NEAR_WRAP
    return now + _WRAP - before if wrapped else now


@frozen
class Traffic:
    """A point of one interface: octets in, octets out."""

    interface: str
    point: Point


class NetworkActivity(Monitor):
    """
    Sends `network-activity` with `activities`: per interface, a list of [time, octets in, octets out].

    Steps without traffic are left out, but for the first report: it names the interfaces that there are.
    """

    name = "network-activity"
    sends = ("network-activity",)
    scope = "network"

    def __init__(self, context: Context, read_counters: ReadCounters = read_counters) -> None:
        super().__init__(context)
        self._read_counters = read_counters
        self._before: dict[str, tuple[int, int]] = {}
        self._sums: dict[str, Sums] = {}
        self._reported_once = False

    def read(self, now: float) -> Iterable[Traffic]:
        """See Monitor."""
        counters = {name: (c.bytes_recv, c.bytes_sent) for name, c in self._read_counters().items()}
        points = self._forget_those_gone(counters, now)
        for name, found in counters.items():
            before = self._before.get(name)
            if before is None:
                self._sums[name] = Sums(step=self.settings.step, now=now)
            else:
                amounts = [grown(old, new) for old, new in zip(before, found, strict=True)]
                points += _traffic(name, self._sums[name].add(now, amounts))
        self._before = counters
        return self._worth_telling(points)

    def close(self, now: float) -> Iterable[Traffic]:
        """See Monitor."""
        points = [t for name, sums in self._sums.items() for t in _traffic(name, sums.cut(now))]
        told = self._worth_telling(points)
        self._reported_once = True
        return told

    def word(self, points: Sequence[Traffic]) -> Message:
        """See Monitor."""
        activities: dict[str, list[list[float]]] = {}
        for traffic in points:
            activities.setdefault(travelling(traffic.interface), []).append(
                [traffic.point.time, *traffic.point.values]
            )
        return {"type": "network-activity", "activities": activities}

    def _forget_those_gone(self, counters: Mapping[str, object], now: float) -> list[Traffic]:
        gone = [name for name in self._sums if name not in counters]
        return [traffic for name in gone for traffic in _traffic(name, self._sums.pop(name).cut(now))]

    def _worth_telling(self, points: Sequence[Traffic]) -> list[Traffic]:
        return [traffic for traffic in points if not self._reported_once or any(traffic.point.values)]


def _traffic(name: str, points: Iterable[Point]) -> list[Traffic]:
    return [Traffic(name, point) for point in points]
