"""
The end of a session, said by close frames (spec, 5.10).

Each end says goodbye once; who hears one in a session answers with its own. Nothing new begins after the first, what runs may end, and
when both were said and nothing runs it is over; five seconds after the first it is over anyway.
"""

from .agreement import Closed
from .events import Map, PeerClosed, word_of
from .reactor import Reactor

DRAIN_SECONDS = 5.0
"""From the first goodbye to the end, whatever still runs."""


class Goodbye:
    """What was said of the end of one session."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._is_heard = False
        self.is_said = False
        """By us."""
        self.end: Closed | None = None
        """What it will be once it is over: after the first goodbye, whoever said it."""
        self.deadline: float | None = None
        """When it is over whatever runs; None before any goodbye."""

    def say(
        self, reason: str, retry_after: int | None = None, location: str | None = None, *, now: float
    ) -> None:
        """Say ours, unless it was said."""
        if self.is_said:
            return
        self.is_said = True
        self._begin(Closed(reason=reason), now)
        said: Map = {b"reason": reason.encode("ascii", "replace")}
        if retry_after is not None:
            said[b"retry-after"] = retry_after
        if location is not None:
            said[b"location"] = location.encode("ascii", "replace")
        self._reactor.close(said)

    def hear(self, event: PeerClosed, now: float) -> Closed:
        """The peer's, as it may stand in a log. It wants an answer."""
        self._is_heard = True
        heard = Closed(
            reason=word_of(event.reason) or "goodbye",
            by_peer=True,
            retry_after=None if event.retry_after is None else max(0, event.retry_after),
            location=word_of(event.location) if event.location else None,
        )
        self._begin(heard, now)
        return heard

    def _begin(self, end: Closed, now: float) -> None:
        if self.end is None:
            self.end, self.deadline = end, now + DRAIN_SECONDS

    @property
    def is_done(self) -> bool:
        """Whether the peer's was heard, which ours went before or follows at once, and nothing runs any more."""
        reactor = self._reactor
        return self._is_heard and not reactor.active + reactor.outstanding
