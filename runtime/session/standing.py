"""
Calls to a peer that comes and goes.

While there is no session a call waits for the next, for a bounded time and in order; before the first as between two
(spec/wire.md Z18, Z19). A call that has left with a session is that session's: it is not made again when the session is
lost, because nobody knows whether it was carried out.
"""

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ...wire.cbor import Value
from .calls import Args
from .errors import CallCancelled, SessionLost, TooManyCalls
from .peer import Peer

WAIT = 30.0
"""Seconds that a call waits for a session."""
MAX_WAITING = 1_000
NONE = "no-session"


class _Waiting:
    def __init__(self, name: str, args: Args | None, options: dict[str, Any]) -> None:
        self.name, self.args, self.options = name, args, options
        self.timer: IDelayedCall | None = None
        self.made: Deferred[tuple[Value, ...]] | None = None
        self.answer: Deferred[tuple[Value, ...]]


class StandingCalls:
    """Calls whichever peer is there."""

    def __init__(self, *, clock: IReactorTime, wait: float = WAIT) -> None:
        self._clock = clock
        self._wait = wait
        self._peer: Peer | None = None
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def attach(self, peer: Peer) -> None:
        """There is a session, or will be: make the calls that waited, in order, before any other."""
        while self._waiting:  # what is called from within comes behind these (Z3)
            self._make(self._waiting.popleft(), peer)
        self._peer = peer

    def detach(self) -> None:
        """There is none: let calls wait."""
        self._peer = None

    def call(
        self,
        name: str,
        args: Args | None = None,
        **options: Any,  # Any: those of Peer.call
    ) -> "Deferred[tuple[Value, ...]]":
        """As Peer.call, now or when there is a session; fails with SessionLost when there is none in time."""
        if self._peer is not None:
            return self._peer.call(name, args, **options)
        if len(self._waiting) >= MAX_WAITING:
            return fail(TooManyCalls(f"{MAX_WAITING} calls wait for a session already; let some end first"))
        waiting = _Waiting(name, args, options)
        waiting.answer = Deferred(lambda _: self._cancel(waiting))
        waiting.timer = self._clock.callLater(self._wait, self._expired, waiting)
        self._waiting.append(waiting)
        return waiting.answer

    def tell(self, name: str, args: Args | None = None) -> None:
        """As Peer.tell. Raises SessionLost when there is no session: nothing would remember what was told."""
        if self._peer is None:
            raise SessionLost(NONE, f"`{name}` was not said: there is no session")
        self._peer.tell(name, args)

    def _make(self, waiting: _Waiting, peer: Peer) -> None:
        if waiting.timer is not None and waiting.timer.active():
            waiting.timer.cancel()
        waiting.made = peer.call(waiting.name, waiting.args, **waiting.options)
        waiting.made.chainDeferred(waiting.answer)

    def _cancel(self, waiting: _Waiting) -> None:
        if waiting.made is not None:
            waiting.made.cancel()
            return
        self._forget(waiting)
        waiting.answer.errback(Failure(CallCancelled("the call was taken back")))

    def _expired(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        text = f"`{waiting.name}` was not asked: there was no session within {self._wait:g} s"
        waiting.answer.errback(Failure(SessionLost(NONE, text)))

    def _forget(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        if waiting.timer is not None and waiting.timer.active():
            waiting.timer.cancel()
