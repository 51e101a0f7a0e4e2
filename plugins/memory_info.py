"""How much memory is free."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import psutil

from ..wire.message import Message
from .accumulator import Means, Point
from .context import Context
from .monitor import Monitor

MIB = 1024 * 1024


class Available(Protocol):
    """What `psutil.virtual_memory` gives."""

    @property
    def available(self) -> int:
        """Octets that programs could have without swapping."""


class Free(Protocol):
    """What `psutil.swap_memory` gives."""

    @property
    def free(self) -> int:
        """Octets."""


def read_swap() -> Free:
    """As `psutil.swap_memory`, which warns where a container hides figures that we do not look at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        swap: Free = psutil.swap_memory()
        return swap


class MemoryInfo(Monitor):
    """Sends `memory-info` with `memory-info`: a list of [time, free memory in MiB, free swap in MiB]."""

    name = "memory-info"
    sends = ("memory-info",)
    scope = "memory"

    def __init__(
        self,
        context: Context,
        read_memory: Callable[[], Available] = psutil.virtual_memory,
        read_swap: Callable[[], Free] = read_swap,
    ) -> None:
        super().__init__(context)
        self._read_memory = read_memory
        self._read_swap = read_swap
        self._means = Means(step=self.settings.step, now=self.now())

    def read(self, now: float) -> Iterable[Point]:
        """See Monitor."""
        return self._means.add(now, [self._read_memory().available, self._free_swap()])

    def close(self, now: float) -> Iterable[Point]:
        """See Monitor."""
        return self._means.cut(now)

    def word(self, points: Sequence[Point]) -> Message:
        """See Monitor."""
        rows = [[point.time, *(round(octets / MIB) for octets in point.values)] for point in points]
        return {"type": "memory-info", "memory-info": rows}

    def _free_swap(self) -> int:
        """A machine or container may have no swap, and nowhere to read of it."""
        try:
            return self._read_swap().free
        except OSError:
            return 0
