"""
Connections of the HTTP transport, and the limits of what happens on them.

A `Line` sits between a connection and Twisted's HTTP client, and sees every octet that comes. The `Meter` of the
request that is under way counts those octets and holds the clocks: time to connect, time in which nothing moves, time
in all. `Lines` knows every connection there is, so that none outlives its transport.

What moves is what comes, and what the peer acknowledges of ours. The second is not visible in Twisted: a whole body
may lie in the kernel and trickle out over a slow link. So before a request is given up the kernel is asked.
"""

import fcntl
import sys
import termios
from collections.abc import Callable
from typing import cast

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from .request_head import LengthLast


@frozen(kw_only=True)
class Timeouts:
    """How long a request may take, in seconds."""

    connect: float = 30.0
    """Until there is a connection: name, TCP, and the proxy's consent."""
    stall: float = 120.0
    """Without any octet from the server, nor one of ours acknowledged."""
    total: float = 3_600.0
    """From begin to end, however well it goes."""
    idle: int = 30
    """That a connection is kept for the next request."""


MAX_HEAD_OCTETS = 32_768
MAX_HEAD_LINES = 500
"""Room for status and header lines. Twisted sets no limit, and the time that 22.4 takes grows with their square."""


class Head:
    """How far the head of an answer has come, with those of the 1xx answers before it."""

    def __init__(self) -> None:
        self._status: bytes | None = None
        self._rest = b""
        self._lines = 0
        self._octets = 0
        self._ended = False

    @property
    def is_bounded(self) -> bool:
        """Whether it may go on."""
        return self._ended or (self._octets <= MAX_HEAD_OCTETS and self._lines <= MAX_HEAD_LINES)

    def feed(self, data: bytes) -> None:
        """More octets of the answer came."""
        if self._ended:
            return
        self._octets += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.rstrip(b"\r"))
            if self._ended:
                return

    def _take(self, line: bytes) -> None:
        self._lines += 1
        if self._status is None:
            self._status = line
        elif not line:
            self._ended = not _is_interim(self._status)
            self._status = None


def _is_interim(status: bytes) -> bool:
    """Whether a status line is of a 1xx answer, read as Twisted reads it."""
    try:
        return 100 <= int(status.split(b" ", 2)[1]) < 200
    except (IndexError, ValueError):
        return False


class Meter:
    """
    What one request may take.

    When it takes more, `broken` says so in words and `give_up` is called, once.
    """

    def __init__(
        self, *, clock: IReactorTime, timeouts: Timeouts, max_octets: int, give_up: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._max_octets = max_octets
        self._left = max_octets + MAX_HEAD_OCTETS
        self._head = Head()
        self._give_up = give_up
        self._line: Line | None = None
        self._unacknowledged: int | None = None
        self._connecting = False
        self._stall: IDelayedCall = clock.callLater(timeouts.stall, self._expired)
        self._total: IDelayedCall = clock.callLater(timeouts.total, self._outlived)
        self._open = True
        self.fresh = False
        """Whether a connection was made for this request, rather than a kept one used."""
        self.shook = False
        """Whether a TLS handshake came to its end."""
        self.broken: str | None = None

    def connecting(self) -> None:
        """There is no connection yet."""
        self.fresh = self._connecting = True
        self._restart(self._timeouts.connect)

    def connected(self, line: "Line") -> None:
        """There is one now."""
        self._line = line
        self._connecting = False
        self.moved()

    def moved(self) -> None:
        """Something went out or came in."""
        self._unacknowledged = None
        self._restart(self._timeouts.stall)

    def received(self, data: bytes) -> None:
        """This came in."""
        self._left -= len(data)
        self._head.feed(data)
        if not self._head.is_bounded:
            self.stop(
                f"the answer's head is larger than {MAX_HEAD_OCTETS} octets or {MAX_HEAD_LINES} lines; {_LESS}"
            )
        elif self._left < 0:
            self.stop(f"the answer is larger than the {self._max_octets} octets allowed; {_LESS}")
        else:
            self.moved()

    def stop(self, reason: str) -> None:
        """Give the request up."""
        if self._open:
            self.close()
            self.broken = reason
            self._give_up()

    def close(self) -> None:
        """The request is over."""
        self._open = False
        for call in (self._stall, self._total):
            if call.active():
                call.cancel()

    def _restart(self, seconds: float) -> None:
        if self._stall.active():
            self._stall.reset(seconds)
        elif self._open:
            self._stall = self._clock.callLater(seconds, self._expired)

    def _expired(self) -> None:
        left = self._line.unacknowledged() if self._line else 0
        if self._connecting:
            self.stop(f"there was no connection within {self._timeouts.connect:g} s; {_CHECK_WAY}")
        elif left and (self._unacknowledged is None or left < self._unacknowledged):
            self._unacknowledged = left
            self._restart(self._timeouts.stall)
        else:
            self.stop(f"nothing came or went for {self._timeouts.stall:g} s; {_CHECK_LOAD}")

    def _outlived(self) -> None:
        self.stop(f"it took more than {self._timeouts.total:g} s in all; {_CHECK_LOAD}")


_LESS = "see what answers there, and let the server send less at a time"
_CHECK_WAY = "check its port, and the network and firewalls between"
_CHECK_LOAD = "check the network, and that the server is not overloaded"


@implementer(IHandshakeListener)
class Line(Protocol):
    """One connection: everything that comes passes through here to the HTTP client inside."""

    transport: ITCPTransport

    def __init__(self, *, lines: "Lines", inner: IProtocol) -> None:
        self._lines = lines
        self.inner = inner

    def connectionMade(self) -> None:
        """See Protocol."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._lines.made(self)
        self.inner.makeConnection(cast(ITransport, LengthLast(self.transport)))

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self._lines.shook()

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._lines.received(data):
            self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.inner.connectionLost(reason)
        self._lines.lost(self)

    def unacknowledged(self) -> int:
        """How many octets the kernel still holds for the peer; 0 where that cannot be known."""
        try:
            answer = fcntl.ioctl(self.transport.fileno(), termios.TIOCOUTQ, bytes(4))  # type: ignore[attr-defined]
        except (AttributeError, OSError, ValueError):
            return 0
        return int.from_bytes(answer, sys.byteorder)


class Lines:
    """All connections of one transport; `meter` is the meter of the request that is under way."""

    def __init__(self) -> None:
        self._all: set[Line] = set()
        self._waiting: list[Deferred[None]] = []
        self.meter: Meter | None = None

    def connecting(self) -> None:
        """A connection is going to be made."""
        if self.meter is not None:
            self.meter.connecting()

    def made(self, line: Line) -> None:
        """A connection was made."""
        self._all.add(line)
        if self.meter is not None:
            self.meter.connected(line)

    def shook(self) -> None:
        """TLS began on one of them."""
        if self.meter is not None:
            self.meter.shook = True
            self.meter.moved()

    def received(self, data: bytes) -> bool:
        """This came on one of them; whether it may be read."""
        meter = self.meter
        if meter is None:
            return True
        meter.received(data)
        return meter.broken is None

    def lost(self, line: Line) -> None:
        """A connection ended."""
        self._all.discard(line)
        while self._waiting and not self._all:
            self._waiting.pop().callback(None)

    def abort(self) -> "Deferred[None]":
        """End all connections, at once; fires when they are gone."""
        if not self._all:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        for line in tuple(self._all):
            line.transport.abortConnection()
        return gone


class _LineFactory(Factory):
    """Puts a Line around each protocol of the HTTP client."""

    noisy = False

    def __init__(self, *, lines: Lines, inner: IProtocolFactory) -> None:
        self._lines = lines
        self._inner = inner

    def buildProtocol(self, addr: "IAddress | None") -> Line:
        """See IProtocolFactory."""
        inner = cast(IProtocol, self._inner.buildProtocol(cast(IAddress, addr)))
        return Line(lines=self._lines, inner=inner)


@implementer(IStreamClientEndpoint)
@frozen(kw_only=True)
class WatchedEndpoint:
    """An endpoint whose connections are Lines; two with the same route are the same to a pool of connections."""

    route: tuple[str, str, int]
    endpoint: IStreamClientEndpoint = field(eq=False)
    lines: Lines = field(eq=False)

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        self.lines.connecting()
        connected = self.endpoint.connect(_LineFactory(lines=self.lines, inner=protocolFactory))
        return connected.addCallback(lambda line: cast(Line, line).inner)


CHUNK_OCTETS = 16_384


@implementer(IBodyProducer, IPushProducer)
class Body:
    """A body that is written as fast as the connection takes it, and says so to the meter."""

    def __init__(self, *, octets: bytes) -> None:
        self.length = len(octets)
        self.meter: Meter | None = None
        self._octets = octets
        self._position = 0
        self._paused = False
        self._consumer: IConsumer | None = None
        self._written: Deferred[None] = Deferred(lambda _: self.stopProducing())

    @property
    def is_written(self) -> bool:
        """Whether all of it went out."""
        return self._position == self.length

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """See IBodyProducer."""
        self._consumer = consumer
        self.resumeProducing()
        return self._written

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._paused = False
        while self._consumer is not None and not self._paused:
            chunk = self._octets[self._position : self._position + CHUNK_OCTETS]
            self._position += len(chunk)
            self._consumer.write(chunk)
            if self.meter is not None:
                self.meter.moved()
            if self.is_written:
                self._consumer = None
                self._written.callback(None)

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._paused = True

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self._consumer = None


class Collected(Protocol):
    """
    Gathers the body of an answer, up to a limit.

    `done` fires when the body ended or reached the limit; which of the two, `whole` says. It fails when the body was cut.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._octets = 0
        self.whole = False
        self.done: Deferred[None] = Deferred()

    @property
    def octets(self) -> bytes:
        """What came, at most as much as the limit."""
        return b"".join(self._pieces)[: self._limit]

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._octets <= self._limit:
            self._pieces.append(data)
            self._octets += len(data)
        if self._octets > self._limit and not self.done.called:
            self.done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole = True
            self.done.callback(None)
        else:
            self.done.errback(reason)
