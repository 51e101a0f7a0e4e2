"""A server in memory for a keeper: it takes sessions, and answers as the test says."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fieldpost.broker.session.opener import Channel, Failing
from fieldpost.runtime.session.answers import Handler
from fieldpost.runtime.session.line import SessionLine
from fieldpost.runtime.session.peer import Peer
from fieldpost.wire.session.agreement import Offered, Profile
from fieldpost.wire.session.identity import Evidence, Role
from fieldpost.wire.session.session import Session
from tests.runtime.session.pair import Wire

SERVER_LIFE = b"server-1"
SERVER_ID = "s:here"


class Link:
    """One connection: the broker's line, the server's, and the wires between."""

    def __init__(self, client: Any, server: SessionLine) -> None:
        self.lines = (client, server)
        self.wires = (Wire(), Wire())
        self.is_open = True
        self.carried = [0, 0]
        """Octets that each of them wrote."""
        for line, wire in zip(self.lines, self.wires, strict=True):
            line.makeConnection(wire)

    def carry(self) -> int:
        """Move what was written; end what was closed. How many octets."""
        moved = 0
        for mine, other in ((0, 1), (1, 0)):
            octets = self.wires[mine].take()
            moved += len(octets)
            self.carried[mine] += len(octets)
            if octets and self.is_open:
                self.lines[other].dataReceived(octets)
            if self.wires[mine].disconnecting and self.is_open and not self.wires[mine].held:
                self.lose(clean=not self.wires[mine].is_cut)
        return moved

    def lose(self, *, clean: bool = False) -> None:
        """The connection is gone, for both ends."""
        if self.is_open:
            self.is_open = False
            for line in self.lines:
                line.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))


class ServerInMemory:
    """
    Takes the place of an Opener, and of the server behind it.

    `answers` are what attempts end in, in turn, where they are no channel; an empty list lets all through. `decide` is
    called with each offer.
    """

    def __init__(self, clock: Clock, handlers: dict[str, Handler] | None = None) -> None:
        self.clock = clock
        self.handlers: dict[str, Handler] = handlers or {}
        self.answers: list[Failing | Awaitable[Failing]] = []
        self.locations: list[str | None] = []
        self.offers: list[Offered] = []
        self.peers: list[Peer] = []
        self.links: list[Link] = []
        self.secret: bytes | None = None
        self.proved: list[bool] = []
        self.exporter: bytes | None = None
        self.decide: Callable[[Peer, Offered], None] = self._decide

    async def open(
        self, build: Callable[[Channel], IProtocol], *, location: str | None = None
    ) -> Channel | Failing:
        """See Opener."""
        self.locations.append(location)
        if self.answers:
            answer = self.answers.pop(0)
            return await answer if isinstance(answer, Deferred) else answer  # type: ignore[return-value]
        channel = Channel(url="https://server.example/session/default", exporter=self.exporter)
        session = Session(
            role=Role.SERVER,
            us=Profile(incarnation=SERVER_LIFE, nonce=bytes(32), id=SERVER_ID),
            evidence=Evidence(exporter=self.exporter),
            now=self.clock.seconds(),
        )

        def offered(peer: Peer, offer: Offered) -> None:
            self.offers.append(offer)
            if self.secret is not None:
                self.proved.append(session.is_proved_by(self.secret))
            self.decide(peer, offer)

        peer = Peer(clock=self.clock, handlers=self.handlers, on_offered=offered)
        self.peers.append(peer)
        server = SessionLine(session=session, peer=peer, clock=self.clock)
        self.links.append(Link(build(channel), server))
        return channel

    def _decide(self, peer: Peer, offer: Offered) -> None:
        peer.decide(connection=(SERVER_LIFE, len(self.offers)), session=bytes(16))

    @property
    def peer(self) -> Peer:
        """The broker, as the server sees it."""
        return self.peers[-1]

    def settle(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(1_000):
            self.clock.advance(0)
            if not sum(link.carry() for link in self.links):
                return
        raise AssertionError("the two never come to rest")

    def wait(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, and what is said in it arrive."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.settle()
