"""
Our requests of one session: they wait until it is open, then they are the reactor's.

While some still wait, those that come later wait behind them, so that all leave in the order in which they were made
(Z2, Z3).
"""

from ..errors import LocalProtocolError
from .events import Failed, Map
from .identity import Role
from .reactor import Reactor
from .waiting import Limit, Waiting


class Requests:
    """All of them."""

    def __init__(self, *, role: Role, reactor: Reactor, limit: Limit) -> None:
        self._reactor = reactor
        self._waiting = Waiting(role, limit)
        self._is_open = False
        self._may_ask = True
        self._over: str | None = None

    def open(self, *, may_ask: bool, now: float) -> list[Failed]:
        """There is a session; `may_ask`: the peer takes requests of ours. Those that cannot be made have failed."""
        self._is_open = True
        self._may_ask = may_ask
        return self.flush(now)

    def close(self, why: str) -> list[int]:
        """No more of them. The ids of those that still waited."""
        self._over = self._over or why
        return self._waiting.clear()

    def flush(self, now: float) -> list[Failed]:
        """Let those that waited go, as many as the peer takes."""
        if not self._waiting or not self._is_open:
            return []
        return self._waiting.flush(self._reactor, may_ask=self._may_ask, now=now)

    def request(
        self,
        name: bytes,
        args: Map,
        *,
        data: bytes | None = None,
        has_data: bool = False,
        bulk: bool = False,
        now: float,
    ) -> int:
        """
        Ask the peer for something; the id under which its events come. See Reactor.request.

        Before there is a session it waits for that. Raises Busy when as much waits or runs as may, and
        LocalProtocolError when the session is over or ending, or the peer takes no requests.
        """
        if self._over is not None:
            raise LocalProtocolError(f"the session is {self._over}: nothing can be asked any more")
        if not self._is_open or self._waiting:
            return self._waiting.put(name, args, data=data, has_data=has_data, bulk=bulk)
        if not self._may_ask:
            raise LocalProtocolError("the peer takes no requests: `push` was not agreed")
        return self._reactor.request(name, args, data=data, has_data=has_data, bulk=bulk, now=now)

    def send_data(self, request: int, octets: bytes, *, end: bool) -> None:
        """See Reactor.send_data. Raises Busy while more waits for the session than may."""
        if request in self._waiting:
            self._waiting.put_data(request, octets, end=end)
        else:
            self._reactor.send_data(request, octets, end=end)

    def cancel(self, request: int, reason: bytes | None = None) -> None:
        """Take a request back; nothing more is told of it. Raises LocalProtocolError when it is over."""
        if request in self._waiting:
            self._waiting.cancel(request)
        else:
            self._reactor.cancel(request, reason)
