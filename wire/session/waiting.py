"""
Requests that were made before there is a session.

They have their ids already, and leave in their order behind the decision (Z2), as many as the peer takes at a time. One
that is taken back, or that cannot be made under what was agreed, keeps its place until then: the ids of the others stay
as they were told.
"""

from attrs import define, field, frozen

from ..cbor import encode
from ..errors import LocalProtocolError
from .events import CommandError, Failed, Map, atom_of
from .identity import Role
from .outcome import Busy
from .reactor import Reactor

_MAP_ROOM = 32
"""Octets of a request's map beside its name and arguments, and some."""


@frozen(kw_only=True)
class Limit:
    """How much may wait."""

    requests: int = 64
    octets: int = 1024 * 1024
    """Of maps and data together."""


@define(kw_only=True)
class _Waiter:
    """One request."""

    request: int
    name: bytes
    args: Map
    data: bytes | None
    has_data: bool
    bulk: bool
    octets: int
    more: list[tuple[bytes, bool]] = field(factory=list)
    """Data given piece by piece, and whether it was the last."""
    is_cancelled: bool = False


class Waiting:
    """All of them, in order, and the ids that their reactor will give them."""

    def __init__(self, role: Role, limit: Limit) -> None:
        self._limit = limit
        self._next = 1 if role is Role.CLIENT else 2
        self._octets = 0
        self._waiters: dict[int, _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, request: int) -> bool:
        return request in self._waiters

    def put(self, name: bytes, args: Map, *, data: bytes | None, has_data: bool, bulk: bool) -> int:
        """One more; its id. Raises Busy, and LocalProtocolError for what does not travel."""
        octets = len(name) + len(encode(args)) + len(data or b"")
        if len(self._waiters) >= self._limit.requests:
            raise Busy(f"{self._limit.requests} requests wait for the session already")
        self._check_room(octets)
        request = self._next
        self._next += 2
        self._octets += octets
        self._waiters[request] = _Waiter(
            request=request, name=name, args=args, data=data, has_data=has_data, bulk=bulk, octets=octets
        )
        return request

    def put_data(self, request: int, octets: bytes, *, end: bool) -> None:
        """More data of one. Raises Busy, and LocalProtocolError for a request that takes none."""
        waiter = self._waiters[request]
        has_all = waiter.data is not None or (waiter.more and waiter.more[-1][1])
        if has_all or waiter.is_cancelled or not waiter.has_data:
            raise LocalProtocolError(
                f"request {request} takes no data: it announced none, or has all, or is over"
            )
        self._check_room(len(octets))
        self._octets += len(octets)
        waiter.octets += len(octets)
        waiter.more.append((octets, end))

    def _check_room(self, octets: int) -> None:
        if self._octets + octets > self._limit.octets:
            raise Busy(f"{self._octets} octets wait for the session already; more has to wait outside")

    def cancel(self, request: int) -> None:
        """Take one back. Raises LocalProtocolError when it was already."""
        waiter = self._waiters[request]
        if waiter.is_cancelled:
            raise LocalProtocolError(f"request {request} is over: there is nothing to cancel")
        waiter.is_cancelled = True
        waiter.more.clear()
        waiter.data = None
        self._octets -= waiter.octets

    def clear(self) -> list[int]:
        """Give them all up. The ids of those that somebody still waits for."""
        lost = [one.request for one in self._waiters.values() if not one.is_cancelled]
        self._waiters.clear()
        return lost

    def flush(self, reactor: Reactor, *, may_ask: bool, now: float) -> list[Failed]:
        """Let go as many as the peer takes; those that cannot be made have failed."""
        failed = []
        for waiter in list(self._waiters.values()):
            fault = None if waiter.is_cancelled else _find_fault(waiter, reactor, may_ask=may_ask)
            try:
                _send(waiter, reactor, is_void=waiter.is_cancelled or fault is not None, now=now)
            except Busy:
                break
            del self._waiters[waiter.request]
            self._octets -= 0 if waiter.is_cancelled else waiter.octets
            if fault is not None:
                failed.append(Failed(waiter.request, fault, False))
        return failed


def _send(waiter: _Waiter, reactor: Reactor, *, is_void: bool, now: float) -> None:
    """Raises Busy. Of one that is void nothing leaves; its id is used up."""
    if is_void:
        reactor.cancel(reactor.request(b"", {}, has_data=True, now=now))
        return
    reactor.request(
        waiter.name, waiter.args, data=waiter.data, has_data=waiter.has_data, bulk=waiter.bulk, now=now
    )
    for octets, end in waiter.more:
        reactor.send_data(waiter.request, octets, end=end)


def _find_fault(waiter: _Waiter, reactor: Reactor, *, may_ask: bool) -> CommandError | None:
    """Why a request cannot be made under what was agreed."""
    if not may_ask:
        return _error("no-push", "the peer takes no requests")
    try:
        octets = len(reactor.codec.encode(waiter.args)) + len(waiter.name) + _MAP_ROOM
    except LocalProtocolError as error:
        return _error("unencodable", str(error))
    most = reactor.peer_limits.request
    return _error("too-large", f"the peer takes requests of {most} octets") if octets > most else None


def _error(code: str, text: str) -> CommandError:
    return CommandError(code.encode(), (atom_of(text),), kind=b"local")
