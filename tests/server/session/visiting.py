"""Agents of real session code before a whole server, without a socket."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from fieldpost.runtime.session.answers import Handler
from fieldpost.runtime.session.line import SessionLine
from fieldpost.runtime.session.peer import Peer
from fieldpost.server.session.certificate import InsideTls
from fieldpost.server.session.door import Door, Doors
from fieldpost.server.session.endpoint import Endpoint, Terms
from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.hello import Hello
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.opening import DEFAULT_SERVER, build_request
from fieldpost.wire.session.session import Session
from tests.runtime.session.pair import Wire
from tests.server.wired import WiredServer

NONCE = b"n" * 32
LOCAL = UNIXAddress("/run/fieldpost.sock")
REMOTE = IPv4Address("TCP", "192.0.2.7", 5000)


class Hosting:
    """A server with its doors."""

    def __init__(
        self,
        *,
        terms: Terms = Terms(),  # noqa: B008 - a frozen value
        tls: InsideTls | None = None,
        wired: WiredServer | None = None,
    ) -> None:
        self.wired = wired or WiredServer()
        self.clock = self.wired.clock
        self.endpoint = Endpoint(
            desk=self.wired.server.desk, clock=self.clock, terms=terms, tls=tls, random=lambda: 0.5
        )
        self.doors = Doors(site=self.wired.site, host=self.endpoint, clock=self.clock)
        self.agents: list[Agent] = []

    def agent(self, **given: Any) -> "Agent":
        """An agent that asks for a session, and says hello when it is let in."""
        found = Agent(self, **given)
        self.agents.append(found)
        self.run()
        return found

    def run(self) -> None:
        """Let everything arrive that was written."""
        self.clock.advance(0)
        while sum([agent.turn() for agent in self.agents]):
            self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.run()


class Knock:
    """A connection to the door."""

    def __init__(self, hosting: Hosting, address: IAddress = LOCAL) -> None:
        self.door: Door = hosting.doors.buildProtocol(address)
        self.theirs = Wire()
        self.theirs.peerAddr = address
        self.door.makeConnection(self.theirs)
        self.is_lost = False

    def lose(self) -> None:
        """The connection is gone, for the server."""
        if not self.is_lost:
            self.is_lost = True
            self.door.connectionLost(Failure(ConnectionDone()))


class Agent(Knock):
    """
    The agent's end.

    `id` and `secret` are its identity, if it has one; `handlers` are what the server may ask of it.
    """

    def __init__(
        self,
        hosting: Hosting,
        *,
        id: str | None = None,
        secret: bytes | None = None,
        incarnation: bytes = b"agent--1",
        attempt: int = 1,
        last: tuple[bytes, int] | None = None,
        handlers: Mapping[str, Handler] | None = None,
        server: str = DEFAULT_SERVER,
        address: IAddress = LOCAL,
    ) -> None:
        super().__init__(hosting, address)
        self.hosting = hosting
        self._secret = secret
        self.said = b""
        """All octets of the session that it sent."""
        self.heard = 0
        """How many octets came."""
        self.answer = b""
        clock = hosting.clock
        self.peer = Peer(clock=clock, handlers=handlers or {}, on_hello=self._prove)
        us = Profile(
            id=id,
            incarnation=incarnation,
            nonce=NONCE,
            attempt=attempt,
            last=last,
            announces_proof=secret is not None,
        )
        self.session = Session(role=Role.CLIENT, us=us, now=clock.seconds())
        self.line = SessionLine(session=self.session, peer=self.peer, clock=clock)
        self.ours = Wire()
        self.door.dataReceived(
            build_request(server=server, host="server.example", agent="test/1", inside=False)
        )
        self.answer, _, behind = self.theirs.take().partition(b"\r\n\r\n")
        self.is_in = self.answer.startswith(b"HTTP/1.1 101")
        if self.is_in:
            self.line.makeConnection(self.ours)
            self.line.dataReceived(behind)

    def _prove(self, peer: Peer, hello: Hello) -> None:
        if self._secret is not None:
            peer.prove(self._secret)

    def turn(self) -> bool:
        """Carry what was written in both directions; whether there was anything."""
        up, down = self.ours.take(), self.theirs.take()
        self.said += up
        self.heard += len(down)
        if up and not self.is_lost:
            self.door.dataReceived(up)
        if down and self.is_in:
            self.line.dataReceived(down)
        if self.theirs.disconnecting and not self.theirs.held and not self.is_lost:
            self.hang_up()
            return True
        return bool(up or down)

    def hang_up(self) -> None:
        """The connection is gone, for both."""
        self.lose()
        if self.is_in:
            self.line.connectionLost(Failure(ConnectionDone()))

    # What it asks

    def call(self, name: str, args: Any = None, **more: Any) -> list[Any]:
        """What a call brings: its values, or the error, once it is there."""
        found: list[Any] = []
        self.peer.call(name, args, **more).addBoth(found.append)
        self.hosting.run()
        return found

    def exchange(self, payload: Any, **args: Any) -> Any:
        """The payload of the answer, or the error."""
        octets = payload if isinstance(payload, bytes) else cbor.encode(payload)
        (found,) = self.call("exchange", {"api": b"3.3", **args}, data=octets)
        if isinstance(found, Failure):
            return found.value
        return ServerPayload.from_map(cbor.decode(found[0]))

    def subscribe(self, *topics: str, since: int | None = None) -> list[Any]:
        """What is notified, as maps; the list grows."""
        found: list[Any] = []
        args = {b"topics": [topic.encode() for topic in topics], b"since": since}
        self.peer.stream("subscribe", args, found.append)
        self.hosting.run()
        return found

    @property
    def is_open(self) -> bool:
        return self.peer.is_open

    @property
    def ending(self) -> Any:
        return self.peer.ending


def result_of(done: "Deferred[Any]") -> list[Any]:
    """What a Deferred fired with, once it has."""
    found: list[Any] = []
    done.addBoth(found.append)
    return found


def registered(hosting: Hosting, name: str = "r-1", **given: Any) -> Agent:
    """An agent of a computer that is registered and approved."""
    secure_id = hosting.wired.register(name)
    number = hosting.wired.connection.execute(
        "SELECT id FROM computer WHERE secure_id = ?", (secure_id,)
    ).fetchone()[0]
    return hosting.agent(id=f"a:{number}", secret=secure_id, **given)
