"""The other ends of the HTTP transport: a real web server, and a peer that says what it is told to."""

import re
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, TypeVar

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.http import Request as WebRequest
from twisted.web.resource import Resource
from twisted.web.server import Site

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.http import OWN, HttpTransport
from fieldpost.broker.carriage.line import Timeouts
from fieldpost.broker.carriage.post import Poster
from fieldpost.broker.carriage.proxy import Proxies
from fieldpost.broker.carriage.transport import Request
from fieldpost.broker.carriage.trust import Trust
from fieldpost.wire.api import NEWEST_SERVER_API
from fieldpost.wire.cbor import encode
from fieldpost.wire.digest import types_digest
from fieldpost.wire.encoding import CBOR_TYPE
from fieldpost.wire.message import Message
from fieldpost.wire.payload import ClientPayload, ServerPayload

from ...certificates import Issued
from ...fakes import InlineWriter

T = TypeVar("T")

reactor: Any = _reactor
"""The real one; it has more interfaces than a type can say."""

HOST = "127.0.0.1"
ANSWER = ServerPayload(server_api=NEWEST_SERVER_API, server_uuid="a-server", messages=({"type": "hello"},))
ANSWER_OCTETS = encode(ANSWER.to_map())


def a_request(
    *, messages: tuple[Message, ...] = (), secure_id: bytes | None = b"id-1", token: bytes | None = b"token-1"
) -> Request:
    """Something to carry."""
    payload = ClientPayload(
        accepted_types=types_digest([]),
        messages=messages,
        next_expected_sequence=0,
        sequence=0,
        server_api=NEWEST_SERVER_API,
        total_messages=len(messages),
    )
    return Request(payload=payload, secure_id=secure_id, token=token)


LARGE = ({"type": "large", "text": "word " * 1_000},)
"""Messages that are worth packing."""


@frozen(kw_only=True)
class Seen:
    """A request that a server got; header names in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


class Web(Resource):
    """
    A server's exchange: `replies` are used one after the other, then all is well again.

    A reply sets status and headers of a request and returns the body, or NOT_DONE_YET.
    """

    isLeaf = True

    def __init__(self, *replies: Callable[[WebRequest], Any]) -> None:
        super().__init__()
        self.replies = list(replies)
        self.seen: list[Seen] = []
        self.connections: list[Any] = []

    def render(self, request: WebRequest) -> Any:
        """See IResource."""
        headers = {
            name.decode().lower(): values[0].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.seen.append(Seen(target=request.uri.decode(), headers=headers, body=_content(request)))
        self.connections.append(request.channel)
        return self.replies.pop(0)(request) if self.replies else well(request)


def _content(request: Any) -> bytes:
    body: bytes = request.content.read()
    return body


def well(request: WebRequest) -> bytes:
    """The answer of a good exchange."""
    request.setHeader(b"Content-Type", CBOR_TYPE.encode())
    return ANSWER_OCTETS


def says(
    status: int, body: bytes = b"", kind: str | None = None, **headers: str
) -> Callable[[WebRequest], bytes]:
    """Another answer; underscores in header names become dashes."""

    def reply(request: WebRequest) -> bytes:
        request.setResponseCode(status)
        if kind is not None:
            request.setHeader(b"Content-Type", kind.encode())
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-").encode(), value.encode("latin-1"))
        return body

    return reply


class Saying(Protocol):
    """Reads a whole request, says some octets, and closes unless told to stay."""

    def __init__(self, octets: bytes, *, stays: bool = False) -> None:
        self._octets = octets
        self._stays = stays
        self.read = b""
        self.asked = False

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.read += data
        head, end, body = self.read.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self.read, self.asked = b"", True
            self.answer()

    def answer(self) -> None:
        """Say it."""
        assert self.transport is not None
        self.transport.write(self._octets)
        if not self._stays:
            self.transport.loseConnection()


def serving(build: Callable[[], Protocol]) -> Any:
    """A factory of such protocols, in order of connection."""
    factory: Any = Factory.forProtocol(build)
    factory.noisy = False
    return factory


def in_turn(*protocols: Protocol) -> Any:
    """A factory that gives each connection the next of these."""
    waiting = list(protocols)
    return serving(lambda: waiting.pop(0))


async def turn() -> None:
    """Let the reactor do what is to be done."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


async def until(condition: Callable[[], bool]) -> None:
    """Let the reactor work until something is so."""
    while not condition():
        await turn()


class _Tracked(WrappingFactory):
    """Knows its connections, so that a test can wait for their end."""

    noisy = False

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self._gone: Deferred[None] | None = None

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """See WrappingFactory."""
        super().unregisterProtocol(p)
        if self._gone is not None and not self.protocols:
            self._gone.callback(None)

    def gone(self) -> "Deferred[None]":
        """Fires when there is no connection."""
        if not self.protocols:
            return succeed(None)
        self._gone = Deferred()
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()
        return self._gone


def temporary(case: TestCase) -> Path:
    """A folder that is gone when the test ends."""
    folder = Path(mkdtemp())
    case.addCleanup(rmtree, folder)
    return folder


def listen(case: TestCase, factory: Any, certificate: Issued | None = None, interface: str = HOST) -> int:
    """Serve on a free port until the test ends; its number."""
    tracked = _Tracked(Site(factory) if isinstance(factory, Resource) else factory)
    if certificate is None:
        port = reactor.listenTCP(0, tracked, interface=interface)
    else:
        path = str(certificate.write(temporary(case) / "server.pem"))
        options = ssl.DefaultOpenSSLContextFactory(path, path, SSL.TLS_METHOD)
        port = reactor.listenSSL(0, tracked, options, interface=interface)
    case.addCleanup(tracked.gone)
    case.addCleanup(port.stopListening)
    number: int = port.getHost().port
    return number


TIMEOUTS = Timeouts(connect=30, stall=120, total=3_600, idle=30)


def a_poster(case: TestCase, url: str, **changes: Any) -> Poster:
    """What carries letters; it is stopped when the test ends."""
    settings: dict[str, Any] = {
        "reactor": reactor,
        "worker": InlineWriter(),
        "trust": Trust.in_system(environ={}),
        "proxies": Proxies(),
        "timeouts": TIMEOUTS,
        "max_answer_octets": 100_000,
        "user_agent": "fieldpost/0.1",
    }
    poster = Poster(address=Address.of_server(url), **(settings | changes))
    case.addCleanup(lambda: started(poster.stop()))
    return poster


def a_transport(case: TestCase, url: str, *, compress: bool = True, **changes: Any) -> HttpTransport:
    """The transport under test; it is stopped when the test ends."""
    poster = a_poster(case, url, **changes)
    manner = evolve(OWN, packs=compress)
    return HttpTransport(poster=poster, worker=InlineWriter(), now=time.time, manner=manner)


def started(coroutine: "Coroutine[Deferred[Any], Any, T]") -> "Deferred[T]":
    """The Deferred of a coroutine that runs beside the test."""
    return Deferred.fromCoroutine(coroutine)
