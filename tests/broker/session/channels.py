"""A server's end of openings, in memory: it answers as the test says, with TLS where the test wants it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from zope.interface import implementer

from tests.certificates import Issued

reactor: Any = _reactor
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
SWITCH_TLS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2, fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
)


def said(status: str, *headers: str, body: str = "") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


class Collecting(Protocol):
    """What a channel is for, in these tests: it remembers."""

    def __init__(self) -> None:
        self.octets = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.octets += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.lost = reason


@implementer(IOpenSSLContextFactory)
class Tls:
    """The server's side of TLS."""

    def __init__(self, issued: Issued, *, protocols: tuple[bytes, ...] = ()) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        with tempfile.TemporaryDirectory() as folder:
            path = str(issued.write(Path(folder, "server.pem")))
            self.context.use_certificate_chain_file(path)
            self.context.use_privatekey_file(path)
        self.offered: list[bytes] = []

        def select(_: Any, offered: list[bytes]) -> bytes:
            self.offered = offered
            return offered[0]

        self.context.set_alpn_select_callback(select)

    def getContext(self) -> SSL.Context:
        """See the factories of Twisted."""
        return self.context


class Place(Protocol):
    """
    One connection to a server: reads a head, says `answer`; `then` is what has the channel behind it.

    With `inside`, TLS begins behind the answer.
    """

    def __init__(self, answer: bytes = b"", *, inside: Tls | None = None) -> None:
        self.answer = answer
        self.inside = inside
        self.head = b""
        self.then = Collecting()
        self.lost = False
        self._below: Any = None
        self._is_answered = False

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        if self._below is not None:
            self._below.dataReceived(data)
        elif self._is_answered:
            self.then.dataReceived(data)
        else:
            self.head += data
            if self.answer and b"\r\n\r\n" in self.head:
                self.say(self.answer)

    def say(self, answer: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        self._is_answered = True
        self.transport.write(answer)
        if self.inside is not None:
            factory = TLSMemoryBIOFactory(self.inside, False, Factory.forProtocol(lambda: self.then))
            factory.noisy = False
            self._below = factory.buildProtocol(cast(Any, None))
            self._below.makeConnection(self.transport)
        else:
            self.then.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.lost = True
        if self._below is not None:
            self._below.connectionLost(reason)

    @property
    def exporter(self) -> Callable[..., bytes]:
        """Of TLS inside."""
        exporter: Callable[..., bytes] = self._below._tlsConnection.export_keying_material
        return exporter


class Net:
    """Places by host and port; one that is not there refuses. Each of a list has one connection."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], list[Any]] = {}
        self.dialled: list[tuple[str, int]] = []
        self.pumps: list[IOPump] = []

    def put(self, host: str, port: int, *places: Any, tls: Tls | None = None) -> Any:
        """The next connections there get these; the last of them is given back."""
        waiting = self.places.setdefault((host, port), [])
        waiting.extend((place, tls) for place in places)
        return places[-1]

    def dial(self, host: str, port: int) -> Any:
        """See opener.Dial."""
        self.dialled.append((host, port))
        return _Endpoint(self, host, port)

    def flush(self) -> None:
        """Let the octets flow."""
        for _ in range(30):
            reactor.runUntilCurrent()  # TLS gathers small writes until the reactor's next turn
            for pump in tuple(self.pumps):
                pump.flush()


class _Endpoint:
    def __init__(self, net: Net, host: str, port: int) -> None:
        self._net = net
        self._key = (host, port)

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See IStreamClientEndpoint."""
        waiting = self._net.places.get(self._key, [])
        if not waiting:
            return fail(ConnectionRefusedError("nobody is there"))
        place, tls = waiting.pop(0)
        if isinstance(place, Deferred):
            return place
        if tls is not None:
            wrapping = TLSMemoryBIOFactory(tls, False, Factory.forProtocol(lambda: place))
            wrapping.noisy = False
            server: Any = wrapping.buildProtocol(cast(Any, None))
        else:
            server = place
        client = factory.buildProtocol(None)
        pump = connect(
            server, FakeTransport(server, isServer=True), client, FakeTransport(client, isServer=False)
        )
        self._net.pumps.append(pump)
        return succeed(client)
