"""
How long to stay away from a server that failed us, so that a fleet never comes back as one.

Full jitter: after the n-th step the delay is drawn evenly between nothing and `base * 2**(n-1)`, at most `cap`. A
failure goes one step up, a success one step down (landscape 1.9), so that a server that limps is left alone longer than
one that stumbled once. What the server asks for with `Retry-After` is the least that it gets, within reason.
"""

from random import Random

MAX_RETRY_AFTER = 86_400.0
"""Seconds. A server that asks for more silence than a day has its clock or its mind wrong."""


class Backoff:
    """Counts failures; draws delays. `base` and `cap` are seconds; `random` is the only source of chance."""

    def __init__(self, *, base: float, cap: float, random: Random) -> None:
        self._base = base
        self._cap = cap
        self._random = random
        self._steps = 0

    @property
    def steps(self) -> int:
        """How many failures weigh on us."""
        return self._steps

    @property
    def window(self) -> float:
        """The longest delay that may be drawn now, seconds."""
        return min(self._cap, self._base * 2.0 ** (self._steps - 1)) if self._steps else 0.0

    def failed(self, retry_after: float | None = None) -> float:
        """One step up; seconds until the next attempt, never less than what the server asked for."""
        if self.window < self._cap:
            self._steps += 1
        return max(self._random.uniform(0.0, self.window), _bounded(retry_after))

    def succeeded(self) -> None:
        """One step down."""
        self._steps = max(0, self._steps - 1)


def _bounded(retry_after: float | None) -> float:
    """What we grant of a server's wish; one that is no number of seconds counts for nothing."""
    if retry_after is None or not retry_after > 0:
        return 0.0
    return min(retry_after, MAX_RETRY_AFTER)
