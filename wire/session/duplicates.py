"""
A second connection of an id that already has one.

The master keeps one connection per id. Which of two it keeps follows from what the newcomer says of itself: the life it
is in (`incarnation`), how often that life has tried (`attempt`) and the last decision that it heard (`last`). The rules
are those of spec 3.4, changed by 5.5: a newer attempt of the same life wins at once, and nobody is turned away before
the live connection has answered a ping, so that a lost decision never locks an agent out until TCP gives up.

Two machines with one identity, made from one image, would replace each other for ever. `CloneWatch` sees them: a life
that comes back after another took its place is not a restart, since each start draws a new incarnation.
"""

from collections import deque

from attrs import frozen

RETRY_AFTER_SECONDS = 30
"""When a refused duplicate may come again."""
CLONE_CHANGES = 3
CLONE_WINDOW_SECONDS = 600.0


@frozen(kw_only=True)
class Offer:
    """What a newcomer says of itself."""

    incarnation: bytes | None
    attempt: int | None = None
    last: tuple[bytes, int] | None = None
    """Incarnation and number of the last decision that it heard."""


@frozen(kw_only=True)
class Live:
    """The connection that its id has now."""

    incarnation: bytes | None
    attempt: int | None = None
    sequence: int
    """The number in its decision."""
    opened_at: float = 0.0


@frozen(kw_only=True)
class Accept:
    """The newcomer replaces what is there."""

    why: str


@frozen(kw_only=True)
class Reject:
    """The newcomer is refused; the live connection stays as it is."""

    code: str
    text: str
    retry_after: int = RETRY_AFTER_SECONDS


@frozen(kw_only=True)
class Probe:
    """Ping the live connection first; with no answer the newcomer replaces it, else this is the refusal."""

    otherwise: Reject


Verdict = Accept | Probe | Reject


def judge(
    offer: Offer, live: Live | None, *, master: bytes, now: float, old_after: float | None = None
) -> Accept | Probe:
    """
    What becomes of a newcomer, its identity being proved. The first rule that fits decides.

    `master` is our own incarnation. `old_after`: a newcomer that does not say its incarnation replaces a connection of
    this age in seconds without being asked.
    """
    if live is None:
        return Accept(why="there is no other connection")
    if offer.incarnation is None:
        return _judge_ancient(live, now, old_after)
    if offer.incarnation != live.incarnation:
        return Accept(why="the peer has restarted")
    if offer.attempt is not None and live.attempt is not None and offer.attempt > live.attempt:
        return Accept(why="it is a newer attempt of the same process")
    return _judge_memory(offer.last, live.sequence, master)


def _judge_ancient(live: Live, now: float, old_after: float | None) -> Accept | Probe:
    if old_after is not None and now - live.opened_at >= old_after:
        return Accept(why="the other connection is old and the peer says no incarnation")
    return _probe("the peer does not say which process it is")


def _judge_memory(last: tuple[bytes, int] | None, sequence: int, master: bytes) -> Accept | Probe:
    if last is None:
        return _probe("the peer has not heard of it")
    if last[0] != master:
        return Accept(why="the peer knew an earlier process of ours")
    if last[1] == sequence:
        return Accept(why="the peer has left the connection that it knew")
    if last[1] < sequence:
        return _probe("the peer has not heard of the latest one")
    return _probe("the peer names a connection that was never decided")


def _probe(why: str) -> Probe:
    return Probe(otherwise=Reject(code="duplicate", text=f"another connection of this id answers; {why}"))


def after_probe(probe: Probe, *, answered: bool) -> Accept | Reject:
    """The verdict once the live connection was asked."""
    return probe.otherwise if answered else Accept(why="the other connection does not answer")


class CloneWatch:
    """
    Tells two machines with one identity from one that restarts.

    Holds the lives of the last ten minutes of each id that changed hands, so at most a few octets per id.
    """

    def __init__(self, *, changes: int = CLONE_CHANGES, window_seconds: float = CLONE_WINDOW_SECONDS) -> None:
        self._changes = changes
        self._window = window_seconds
        self._lives: dict[str, deque[tuple[float, bytes]]] = {}

    def is_clone(self, id: str, incarnation: bytes | None, now: float) -> bool:
        """Whether to accept this life would be one change too many between lives that come back."""
        lives = self._prune(id, now)
        if incarnation is None or not lives or lives[-1][1] == incarnation:
            return False
        came_back = any(life == incarnation for _, life in lives)
        return came_back and len(lives) > self._changes

    def accepted(self, id: str, incarnation: bytes | None, now: float) -> None:
        """Note that this life of an id has its connection now."""
        lives = self._prune(id, now)
        if incarnation is None or (lives and lives[-1][1] == incarnation):
            return
        kept = self._lives.setdefault(id, deque(maxlen=self._changes * 8))
        kept.append((now, incarnation))

    def refusal(self) -> Reject:
        """What the newer of the two hears."""
        text = (
            "two machines use this identity in turn: one of them was copied from the other; register one anew"
        )
        return Reject(code="clone", text=text, retry_after=int(self._window))

    def _prune(self, id: str, now: float) -> deque[tuple[float, bytes]]:
        lives = self._lives.get(id, deque())
        while len(lives) > 1 and now - lives[0][0] > self._window:
            lives.popleft()
        return lives
