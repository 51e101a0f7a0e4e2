"""
A network in memory: connections that take their time, fall into pieces, stall and break, under a clock and a chance that
a test holds.

What is promised is what TCP promises, and no more. Octets arrive in order, in pieces of any size, each after a while. The end of
a connection is heard by both sides, or by one of them long after the other; until then octets that were written may be
gone. A process that dies says nothing any more, and nobody calls it.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

FULL_OCTETS = 64 * 1024
"""What a connection holds until it tells its writer to pause."""


class Lifetime(Clock):
    """The clock of one process: it shows the world's time, and what was to happen later dies with the process."""

    def __init__(self, world: Clock) -> None:
        super().__init__()
        self._world = world
        self.is_over = False

    def seconds(self) -> float:
        """See IReactorTime."""
        return self._world.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """See IReactorTime."""
        call = self._world.callLater(delay, self._call, partial(callable, *args, **kw))
        if self.is_over:
            self._bury(call)
        return call

    def _call(self, what: Callable[[], object]) -> None:
        what()

    def end(self) -> None:
        """The process is dead."""
        self.is_over = True
        for call in tuple(self._world.calls):
            if getattr(call.func, "__self__", None) is self:
                self._bury(call)

    def _bury(self, call: Any) -> None:
        """It will never be called, and who cancels it (Python tidies up what the dead leave) does no harm."""
        self._world.calls.remove(call)
        call.canceller = call.resetter = lambda _: None


@define(kw_only=True)
class Manners:
    """
    How a network treats connections; chance rules within it.

    `strips` takes the wish for an upgrade out of a request, as an old proxy does.
    """

    latency: float = 0.0
    """Seconds that octets travel at most."""
    breaks: bool = False
    """Whether what was written arrives in pieces of any size."""
    strips: bool = False
    refuses: bool = False


@implementer(IConsumer)
class Socket:
    """One end of a connection: the transport of whatever lives there."""

    def __init__(self, pipe: "Pipe", clock: Lifetime, address: tuple[IPv4Address, IPv4Address]) -> None:
        self._pipe = pipe
        self.clock = clock
        self._host, self._peer = address
        self.other: Socket
        self.protocol: Any = None  # what Twisted calls; TLS puts itself before it
        self.out = bytearray()
        self.is_open = self.is_reading = True
        self.disconnecting = False
        self._producer: Any = None
        self._is_streaming = self._is_full = False
        self._tls: TLSMemoryBIOProtocol | None = None
        alsoProvides(self, ITCPTransport)

    # What protocols do with a transport

    def write(self, data: bytes) -> None:
        """See ITransport."""
        if self._tls is not None:
            self._tls.write(data)
        else:
            self.send(data)

    def writeSequence(self, data: Any) -> None:
        """See ITransport."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ITransport."""
        if self._tls is not None:
            self._tls.loseConnection()
        else:
            self.finish()

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        if self.is_open:
            self.out.clear()
            self.clock.callLater(0, self._pipe.break_off, self, ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        if self._tls is not None:
            self._tls.registerProducer(producer, streaming)
            return
        self._producer, self._is_streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        if self._tls is not None:
            self._tls.unregisterProducer()
        self._producer = None

    def pauseProducing(self) -> None:
        """See IPushProducer: read no more for now."""
        self.is_reading = False

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self.is_reading = True
        if self.other.out or self.other.disconnecting:
            self._pipe.carry_later(self.other)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self.loseConnection()

    def getHost(self) -> IPv4Address:
        """See ITransport."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """See ITransport."""
        return self._peer

    def getHandle(self) -> Any:
        """See ISSLTransport: under TLS, its connection."""
        return None if self._tls is None else self._tls.getHandle()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See ITCPTransport."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See ITCPTransport."""

    def startTLS(self, creator: Any) -> None:
        """See ITLSTransport: of the server's side."""
        factory = TLSMemoryBIOFactory(creator, False, Factory())
        factory.noisy = False
        tls = TLSMemoryBIOProtocol(factory, self.protocol, False)
        tls.makeConnection(_Below(self))
        self.protocol, self._tls = tls, tls
        alsoProvides(self, ISSLTransport)

    # Below TLS

    def send(self, data: bytes) -> None:
        """These octets travel."""
        if not self.is_open or self.disconnecting or not data:
            return
        self.out += data
        self._pipe.carry_later(self)
        if len(self.out) >= FULL_OCTETS and self._producer is not None and self._is_streaming:
            self._is_full = True
            self._producer.pauseProducing()

    def finish(self) -> None:
        """End, once all that was written has arrived."""
        if self.is_open and not self.disconnecting:
            self.disconnecting = True
            self._pipe.carry_later(self)

    def drained(self) -> None:
        """All that was written is gone: there is room again."""
        producer = self._producer
        if producer is not None and (self._is_full or not self._is_streaming):
            self._is_full = False
            producer.resumeProducing()

    def receive(self, octets: bytes) -> None:
        """They have arrived, unless nobody is there any more."""
        if self.is_open and not self.clock.is_over and not self.disconnecting:
            self.protocol.dataReceived(octets)

    def lose(self, reason: Exception) -> None:
        """This end hears that the connection is over."""
        if not self.is_open:
            return
        self.is_open = False
        self.out.clear()
        if not self.clock.is_over:
            self.protocol.connectionLost(Failure(reason))


class _Below:
    """The transport that TLS has: the socket without it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.write = socket.send
        self.loseConnection = socket.finish
        alsoProvides(self, ITCPTransport)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        self._socket._producer, self._socket._is_streaming = producer, streaming

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._socket._producer = None


class Pipe:
    """One connection. `client` and `server` are its ends."""

    def __init__(self, network: "Network", client: Lifetime, server: Lifetime) -> None:
        self._network = network
        near, far = IPv4Address("TCP", "192.0.2.7", 5000), IPv4Address("TCP", "192.0.2.1", 80)
        self.client = Socket(self, client, (near, far))
        self.server = Socket(self, server, (far, near))
        self.client.other, self.server.other = self.server, self.client
        self._head: bytearray | None = bytearray() if network.manners.strips else None
        self._is_coming: dict[int, bool] = {}
        self.stalled_until = 0.0
        self.cut_after: int | None = None
        """The connection breaks when so many octets more have arrived, in whichever direction."""

    @property
    def is_open(self) -> bool:
        """Whether any end believes so."""
        return self.client.is_open or self.server.is_open

    def carry_later(self, sender: Socket) -> None:
        """What it wrote arrives in a while."""
        if not self._is_coming.get(id(sender)):
            self._is_coming[id(sender)] = True
            wait = max(self._network.travel(), self.stalled_until - self._network.clock.seconds())
            self._network.clock.callLater(wait, self._carry, sender)

    def break_off(self, teller: Socket | None = None, reason: Exception | None = None) -> None:
        """The connection is gone: at once for the one who tells, in a while for the other."""
        for end in (self.client, self.server):
            if end is teller:
                end.lose(reason or ConnectionLost())
            else:
                self._network.clock.callLater(self._network.travel(), end.lose, ConnectionLost())

    def _carry(self, sender: Socket) -> None:
        self._is_coming[id(sender)] = False
        if self._network.clock.seconds() < self.stalled_until:
            self.carry_later(sender)
            return
        if not sender.other.is_reading and sender.other.is_open:
            return
        octets = self._take(sender)
        if octets:
            sender.other.receive(octets)
        if self.cut_after == 0:
            self.cut_after = None
            self.break_off()
        elif sender.out:
            self.carry_later(sender)
        elif sender.disconnecting and sender.is_open:
            sender.lose(ConnectionDone())
            sender.other.lose(ConnectionDone())
        elif octets:
            sender.drained()

    def _take(self, sender: Socket) -> bytes:
        size = self._network.piece(len(sender.out))
        if self.cut_after is not None:
            size = min(size, self.cut_after)
            self.cut_after -= size
        octets = bytes(sender.out[:size])
        del sender.out[:size]
        return self._stripped(octets) if sender is self.client else octets

    def _stripped(self, octets: bytes) -> bytes:
        """As an old proxy passes it on."""
        if self._head is None:
            return octets
        self._head += octets
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return b""
        self._head = None
        kept = [line for line in bytes(head).split(b"\r\n") if not line.lower().startswith(_HOP_BY_HOP)]
        return b"\r\n".join(kept) + end + rest


_HOP_BY_HOP = (b"upgrade:", b"connection: upgrade")


@define
class Network:
    """Where a server may be found, and all connections to it."""

    clock: Clock
    random: Random = field(factory=lambda: Random(1))
    manners: Manners = field(factory=Manners)
    serve: Callable[[], tuple[Any, Lifetime]] | None = None
    """What is connected to at the only address there is; None: nobody listens. Any: a factory of whatever kind."""
    pipes: list[Pipe] = field(factory=list)
    connected: int = 0

    def travel(self) -> float:
        """How long something takes."""
        return self.random.uniform(0, self.manners.latency) if self.manners.latency else 0.0

    def piece(self, most: int) -> int:
        """How much of what was written arrives together."""
        return self.random.randint(1, most) if self.manners.breaks and most else most

    def dialler(self, clock: Lifetime) -> Callable[[str, int], IStreamClientEndpoint]:
        """See opener.Dial: for the process with this clock."""
        return lambda host, port: _Endpoint(self, clock)

    @property
    def open(self) -> list[Pipe]:
        """The connections that somebody believes in."""
        self.pipes = [pipe for pipe in self.pipes if pipe.is_open]
        return self.pipes

    def cut(self) -> None:
        """Break all connections now."""
        for pipe in tuple(self.open):
            pipe.break_off()

    def forget(self, dead: Lifetime) -> None:
        """A process died: its system tells the other ends of its connections."""
        for pipe in tuple(self.open):
            if dead in (pipe.client.clock, pipe.server.clock):
                pipe.break_off()

    def connect(self, clock: Lifetime, factory: IProtocolFactory) -> "IProtocol | None":
        """The client's protocol, connected; None when nobody is there."""
        if self.serve is None or self.manners.refuses or clock.is_over:
            return None
        doors, server_clock = self.serve()
        pipe = Pipe(self, clock, server_clock)
        self.pipes.append(pipe)
        self.connected += 1
        client = factory.buildProtocol(_address(pipe.client))
        server = doors.buildProtocol(_address(pipe.server))
        assert client is not None and server is not None
        pipe.client.protocol, pipe.server.protocol = client, server
        server.makeConnection(pipe.server)
        client.makeConnection(pipe.client)  # type: ignore[arg-type] # it says at run time what it provides
        return client


def _address(socket: Socket) -> IAddress:
    return socket.getPeer()


@implementer(IStreamClientEndpoint)
@define
class _Endpoint:
    network: Network
    clock: Lifetime

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        connected: Deferred[IProtocol] = Deferred(lambda _: call.cancel())

        def arrive() -> None:
            client = self.network.connect(self.clock, protocolFactory)
            if client is None:
                connected.errback(ConnectionRefusedError("nobody listens"))
            else:
                connected.callback(client)

        call = self.clock.callLater(self.network.travel(), arrive)
        return connected
