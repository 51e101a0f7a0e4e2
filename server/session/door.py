"""
The front door of every listener: one port serves sessions, exchanges by POST and the API (wire 5.2).

A connection that begins with `GET /session/` asks for a session. It is read up to the end of its header block and
answered here. All others belong to HTTP: as soon as the first octets show that, they are given to an HTTP channel of the site,
octet by octet as they came, and the door passes on what follows. When a request has been answered and the connection stays, the
next one is looked at again: proxies ask for a session on connections that they used before.

The channel is there from the start, with the connection as its transport. So the site's bounds hold for a connection
from its first moment, whatever becomes of it: the number of connections, the idle time, the time for a request. A session
takes the connection out of the channel's hands, but stays counted.
"""

from collections.abc import Callable
from typing import Protocol as TypingProtocol
from typing import cast

from attrs import frozen
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolNegotiationFactory,
    IReactorTime,
    ITCPTransport,
    ITLSTransport,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..site import Channel, Site
from .carrier import Carrier, carrier_of
from .certificate import Untaken

BEGINNING = b"GET /session/"
"""What a request for a session begins with, and no other."""
MAX_HEAD_OCTETS = 8 * 1024
MAX_HEAD_LINES = 64
HEAD_SECONDS = 20.0
LINGER_SECONDS = 30.0
"""After an answer that is no 101 the client has this long to close."""
_END = b"\r\n\r\n"


@frozen
class Theirs:
    """The connection belongs to HTTP; these octets came so far."""

    octets: bytes


@frozen
class Asked:
    """A whole header block that asks for a session, its empty line included, and what came behind it."""

    head: bytes
    rest: bytes


@frozen
class TooLong:
    """A header block that asks for a session and does not end within the limit."""

    cause: str


class Gate:
    """Reads until it is known what a connection wants. Sans-IO; it is used up when it says something."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def is_ours(self) -> bool:
        """Whether the request line has shown that a session is asked for."""
        return self._held.startswith(BEGINNING)

    def receive(self, octets: bytes) -> Theirs | Asked | TooLong | None:
        """What the octets decide; None when more are needed."""
        seen = len(self._held)
        self._held += octets
        if not self.is_ours:
            return None if BEGINNING.startswith(self._held) else Theirs(self._held)
        end = self._held.find(_END, max(0, seen - len(_END)))
        size = len(self._held) if end < 0 else end + len(_END)
        if size > MAX_HEAD_OCTETS:
            return TooLong(f"the header block is longer than {MAX_HEAD_OCTETS} octets")
        if self._held.count(b"\n", 0, size) - (end >= 0) > MAX_HEAD_LINES:  # the empty line is none of them
            return TooLong(f"the header block has more than {MAX_HEAD_LINES} lines")
        return None if end < 0 else Asked(self._held[:size], self._held[size:])


@frozen
class TurnedAway:
    """No session: these octets are the answer, then the connection ends."""

    answer: bytes


@frozen
class Welcome:
    """
    A session: these octets are the answer, then whatever `begin` makes has the connection.

    With `tls`, TLS begins between the two, and `begin` is called when its handshake is done.
    """

    answer: bytes
    begin: Callable[[ITransport], IProtocol]
    tls: "IOpenSSLServerConnectionCreator | None" = None


class Host(TypingProtocol):
    """Who judges what is asked at the door."""

    def receive(self, head: bytes, left: bytes, carrier: Carrier) -> TurnedAway | Welcome:
        """Answer a header block of ours; `left` is what came behind it. Never raises for anything in either."""

    def refuse_early(self, status: int, cause: str) -> bytes:
        """The answer to a head that never became whole."""


@implementer(IHandshakeListener)
class Door(Protocol):
    """
    One connection: at first nobody's, then HTTP's or a session's.

    `channel` has the connection as its transport from the start, and hears of its end, whoever has it then.
    """

    log = Logger()

    def __init__(self, *, channel: Channel, host: Host, clock: IReactorTime) -> None:
        self._channel = channel
        self._host = host
        self._clock = clock
        self._gate: Gate | None = Gate()
        self._owner: IProtocol | None = None
        self._deadline: IDelayedCall | None = None
        self._welcome: Welcome | None = None

    def connectionMade(self) -> None:
        """Nobody has asked for anything yet."""
        assert self.transport is not None
        self._channel.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """To whoever has the connection; while nobody has it, to the gate."""
        if self._owner is self._channel and self._channel.is_at_rest:
            self._owner, self._gate = None, Gate()
        if self._owner is not None:
            self._owner.dataReceived(data)
        elif self._gate is not None:
            self._decide(self._gate, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell both."""
        self._disarm()
        self._gate = None
        if isinstance(reason.value, Untaken):
            self._tell_of(str(reason.value))
        if self._owner is not None and self._owner is not self._channel:
            self._owner.connectionLost(reason)
        self._channel.connectionLost(reason)

    def _decide(self, gate: Gate, data: bytes) -> None:
        found = gate.receive(data)
        if found is None:
            if self._deadline is None:
                self._deadline = self._clock.callLater(HEAD_SECONDS, self._take_too_long, gate)
            return
        self._disarm()
        self._gate = None
        if isinstance(found, Theirs):
            self._owner = self._channel
            self._channel.dataReceived(found.octets)
        elif isinstance(found, TooLong):
            self._end(found.cause)
        else:
            self._serve(found)

    def _take_too_long(self, gate: Gate) -> None:
        """Only of a head of ours can it be said; what is not decided goes on as HTTP, with HTTP's own time."""
        self._deadline = None
        if gate.is_ours:
            self._gate = None
            cause = f"negotiation timeout: the header block was not complete after {HEAD_SECONDS:g} seconds"
            self._turn_away(self._host.refuse_early(408, cause))

    def _serve(self, asked: Asked) -> None:
        assert self.transport is not None
        found = self._host.receive(asked.head, asked.rest, carrier_of(self.transport))
        if isinstance(found, TurnedAway):
            self._turn_away(found.answer)
            return
        self._channel.step_aside()
        self.transport.write(found.answer)
        if found.tls is None:
            self._begin(found, asked.rest)
        else:
            self._welcome = found
            self._deadline = self._clock.callLater(HEAD_SECONDS, self._cut_off)
            cast(ITLSTransport, self.transport).startTLS(found.tls)

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener: TLS has begun, outside or inside."""
        welcome, self._welcome = self._welcome, None
        if welcome is not None:
            self._disarm()
            self._begin(welcome)

    def _begin(self, welcome: Welcome, early: bytes = b"") -> None:
        """Nothing that came before TLS ever gets here: the host refuses it."""
        assert self.transport is not None
        try:
            self._owner = welcome.begin(self.transport)
        except Exception:  # noqa: BLE001 - such as what a client's certificate holds; nothing else would end the connection
            self.log.failure("a session could not begin")
            self._cut_off()
            return
        self._owner.makeConnection(self.transport)
        if early:
            self._owner.dataReceived(early)

    def _end(self, cause: str) -> None:
        """Of a head that is too long more may be on its way: only the channel reads on."""
        self._tell_of(cause)
        self._owner = self._channel
        self._channel.end_with(self._host.refuse_early(400, cause))

    def _tell_of(self, cause: str) -> None:
        peer = carrier_of(cast(ITransport, self.transport)).peer
        self._channel.factory.events.warn("{peer} is turned away: {cause}", peer=peer, cause=cause)

    def _turn_away(self, answer: bytes) -> None:
        assert self.transport is not None
        self._channel.step_aside()
        self.transport.write(answer)
        self.transport.loseConnection()
        self._deadline = self._clock.callLater(LINGER_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        self._deadline = None
        cast(ITCPTransport, self.transport).abortConnection()

    def _disarm(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


@implementer(IProtocolNegotiationFactory)
class Doors(Factory):
    """Makes a door per connection, each with a channel of the site behind it."""

    noisy = False

    def __init__(self, *, site: Site, host: Host, clock: IReactorTime) -> None:
        self.site = site
        self._host = host
        self._clock = clock

    def buildProtocol(self, addr: "IAddress | None") -> Door:
        """A door for a connection from this address."""
        channel = self.site.buildProtocol(addr)
        assert isinstance(channel, Channel)
        return Door(channel=channel, host=self._host, clock=self._clock)

    def acceptableProtocols(self) -> list[bytes]:
        """What is offered under TLS: HTTP/1.1 alone, for HTTP/2 has no upgrade."""
        return self.site.acceptableProtocols()
