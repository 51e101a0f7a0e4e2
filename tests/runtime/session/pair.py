"""The two ends of a session in memory: real sessions, real lines, and a wire between them that a test holds."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from fieldpost.runtime.session.answers import Handler
from fieldpost.runtime.session.calls import MAX_ANSWER
from fieldpost.runtime.session.line import SessionLine
from fieldpost.runtime.session.peer import Peer
from fieldpost.wire.session.agreement import Offered, Profile
from fieldpost.wire.session.hello import Hello
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.session import Session

CLIENT_LIFE = b"client-1"
SERVER_LIFE = b"server-1"


def _id_of(role: Role, secret: bytes | None) -> str | None:
    if role is Role.SERVER:
        return "s:server"
    return None if secret is None else "a:7"


class Wire(StringTransport):
    """
    One direction of a connection: keeps what is written until the test delivers it.

    With a capacity it tells its producer to pause when it holds as much, and to resume when it is empty, as real ones do.
    """

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self.held = bytearray()
        self.writes = 0
        self.is_cut = False
        self._is_full = False

    def write(self, data: bytes) -> None:
        """See ITransport."""
        self.held += data
        self.writes += 1
        if self.capacity is not None and len(self.held) >= self.capacity and self.producer is not None:
            self._is_full = True
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        self.is_cut = True
        self.disconnecting = True
        self.held.clear()

    def take(self, limit: int | None = None) -> bytes:
        """What the other end reads now."""
        octets = bytes(self.held[:limit])
        del self.held[: len(octets)]
        if self._is_full and not self.held:
            self._is_full = False
            if self.producer is not None:
                self.producer.resumeProducing()
        return octets


class End:
    """One end: its session, its peer (which is the other end, seen from here) and its line."""

    def __init__(
        self, session: Session, peer: Peer, clock: Clock, capacity: int | None, pause_at: int
    ) -> None:
        self.session = session
        self.peer = peer
        self.line = SessionLine(session=session, peer=peer, clock=clock, pause_at=pause_at)
        self.wire = Wire(capacity)
        self.is_connected = False

    def connect(self) -> None:
        """The connection is there."""
        self.is_connected = True
        self.line.makeConnection(self.wire)

    def lose(self, clean: bool = False) -> None:
        """The connection is gone."""
        if self.is_connected:
            self.is_connected = False
            self.line.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))


class Pair:
    """
    Two ends and the time.

    `client` and `server` are what each end's application holds: `client.call` asks the server.
    """

    def __init__(
        self,
        *,
        server: Mapping[str, Handler] | None = None,
        client: Mapping[str, Handler] | None = None,
        limits: Limits | None = None,
        client_limits: Limits | None = None,
        capacity: int | None = None,
        decides: bool = True,
        opens: bool = True,
        clock: Clock | None = None,
        pause_at: int = Limits().unsent_pause,
        max_answer: int = MAX_ANSWER,
        secret: bytes | None = None,
    ) -> None:
        self._max_answer = max_answer
        self._secret = secret
        """Of the client, when it has to prove who it is."""
        self._pause_at = pause_at
        self.clock = clock or Clock()
        self.offers: list[tuple[Peer, Offered]] = []
        self._decides = decides
        self.client_end = self._make_end(Role.CLIENT, client or {}, client_limits or Limits(), capacity)
        self.server_end = self._make_end(Role.SERVER, server or {}, limits or Limits(), capacity)
        self.client = self.client_end.peer
        self.server = self.server_end.peer
        self.ends = (self.client_end, self.server_end)
        if opens:
            self.open()

    def _make_end(
        self, role: Role, handlers: Mapping[str, Handler], limits: Limits, capacity: int | None
    ) -> End:
        us = Profile(
            incarnation=CLIENT_LIFE if role is Role.CLIENT else SERVER_LIFE,
            nonce=bytes(32),
            id=_id_of(role, self._secret),
            announces_proof=role is Role.CLIENT and self._secret is not None,
            attempt=1 if role is Role.CLIENT else None,
        )
        session = Session(role=role, us=us, limits=limits, now=self.clock.seconds())
        peer = Peer(
            clock=self.clock,
            handlers=handlers,
            on_offered=self._offered,
            on_hello=self._heard,
            max_answer=self._max_answer,
        )
        return End(session, peer, self.clock, capacity, self._pause_at)

    def _heard(self, peer: Peer, hello: Hello) -> None:
        if self._secret is not None:
            peer.prove(self._secret)

    def _offered(self, peer: Peer, offered: Offered) -> None:
        self.offers.append((peer, offered))
        if self._decides:
            peer.decide(connection=(SERVER_LIFE, 1), session=bytes(16))

    def open(self) -> None:
        """Connect, and let both say what they have to."""
        for end in self.ends:
            end.connect()
        self.settle()

    def settle(self) -> None:
        """Carry octets both ways until nobody has any."""
        for _ in range(100_000):
            self.clock.advance(0)
            if not sum([self.carry(self.client_end), self.carry(self.server_end)]):
                return
        raise AssertionError("the two never come to rest")

    def carry(self, sender: End, limit: int | None = None) -> int:
        """Carry octets of one end to the other; how many."""
        receiver = self.server_end if sender is self.client_end else self.client_end
        octets = sender.wire.take(limit)
        if octets and receiver.is_connected:
            receiver.line.dataReceived(octets)
        if sender.wire.disconnecting and not sender.wire.held:
            self.lose(clean=not sender.wire.is_cut)
        return len(octets)

    def lose(self, clean: bool = False) -> None:
        """The connection is gone, for both."""
        for end in self.ends:
            end.lose(clean)

    def wait(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, and what is said in it arrive."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.settle()


def result_of(deferred: "Deferred[Any]") -> Any:  # Any: whatever the test expects
    """What a Deferred fired with."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    if not results:
        raise AssertionError("it has not fired")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def error_of(deferred: "Deferred[Any]") -> BaseException:
    """The exception that a Deferred failed with."""
    try:
        found = result_of(deferred)
    except Exception as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError(f"it did not fail, it has {found!r}")
