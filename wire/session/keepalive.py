"""
Whether the other end lives (spec, 5.10 and 5.5).

Silence is what counts: any octet received is life, and only when nothing came for the interval is a ping sent. When
nothing came for the deadline behind that either, the peer is dead. A probe is a question asked now, which a pong alone
answers: octets that were on their way when a peer died prove nothing.

Times are float seconds of one clock, passed in. `random` gives floats from 0 up to 1.
"""

from collections.abc import Callable

JITTER = 0.1
PROBE_SECONDS = 5.0
"""What a probe waits for where no round trip is known yet."""
LEAST_PROBE_SECONDS = 1.0
PROBE_ROUND_TRIPS = 3
SMOOTHING = 0.125
"""Weight of a new round trip against those before."""
_COOKIE_OCTETS = 8


class Keepalive:
    """The silence of one connection."""

    __slots__ = (
        "_cookies",
        "_dead_after",
        "_heard_at",
        "_interval",
        "_ping_after",
        "_pinged_at",
        "_probe",
        "_random",
        "round_trip",
    )

    def __init__(
        self, *, interval: float, dead_after: float, now: float, random: Callable[[], float]
    ) -> None:
        self._interval = interval
        self._dead_after = dead_after
        self._random = random
        self._heard_at = now
        self._pinged_at: dict[bytes, float] = {}
        self._probe: tuple[bytes, float] | None = None
        self._cookies = 0
        self._ping_after: float | None = self._draw()
        self.round_trip: float | None = None
        """Smoothed, in seconds; None until the first pong."""

    def heard(self, now: float) -> None:
        """Octets came."""
        self._heard_at = now
        if self._ping_after is None:
            self._ping_after = self._draw()

    def answered(self, cookie: bytes, now: float) -> bool:
        """A pong came. True: it is the answer to the probe."""
        sent = self._pinged_at.pop(cookie, None)
        if sent is None:
            return False
        sample = max(0.0, now - sent)
        known = self.round_trip
        self.round_trip = sample if known is None else known + SMOOTHING * (sample - known)
        if self._probe is None or self._probe[0] != cookie:
            return False
        self._probe = None
        return True

    @property
    def is_probing(self) -> bool:
        """Whether a probe has no answer yet."""
        return self._probe is not None

    def probe(self, now: float) -> bytes:
        """The cookie of the ping to send. While a probe runs there is no other: ask `is_probing` first."""
        known = self.round_trip
        wait = PROBE_SECONDS if known is None else max(LEAST_PROBE_SECONDS, PROBE_ROUND_TRIPS * known)
        cookie = self._ping(now)
        self._probe = cookie, now + wait
        return cookie

    def next_deadline(self) -> float:
        """When to call `tick`."""
        silent_at = self._heard_at + (self._dead_after if self._ping_after is None else self._ping_after)
        return silent_at if self._probe is None else min(silent_at, self._probe[1])

    def is_dead(self, now: float) -> bool:
        """Whether the silence has lasted too long."""
        return now >= self._heard_at + self._dead_after

    def fail_probe(self, now: float) -> bool:
        """Whether a probe's time is up; then it is over."""
        if self._probe is None or now < self._probe[1]:
            return False
        self._probe = None
        return True

    def ping_due(self, now: float) -> bytes | None:
        """The cookie of a ping to send for the silence so far; one for each silence."""
        if self._ping_after is None or now < self._heard_at + self._ping_after:
            return None
        self._ping_after = None
        return self._ping(now)

    def _ping(self, now: float) -> bytes:
        """A cookie, remembered. Those of before that have no answer are few: one for each silence, one for a probe."""
        self._cookies += 1
        cookie = self._cookies.to_bytes(_COOKIE_OCTETS, "big")
        self._pinged_at[cookie] = now
        if len(self._pinged_at) > 4:
            self._pinged_at.pop(next(iter(self._pinged_at)))
        return cookie

    def _draw(self) -> float:
        return min(self._interval * (1 + JITTER * (2 * self._random() - 1)), self._dead_after)
