"""Sessions over real sockets: TLS, plain TCP, UNIX."""

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet import ssl
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from fieldpost.runtime.doors import returns_deferred
from fieldpost.runtime.session.answers import Asked, Handler
from fieldpost.runtime.session.errors import SessionLost
from fieldpost.runtime.session.line import SessionLine
from fieldpost.runtime.session.peer import Peer
from fieldpost.wire.session.agreement import Offered, Profile
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.session import Session
from tests.certificates import Authority

reactor: Any = global_reactor  # Any: mypy does not know which one it is


class SessionFactory(Factory):
    """Lines of one role."""

    noisy = False

    def __init__(self, role: Role, handlers: dict[str, Handler]) -> None:
        self._role = role
        self._handlers = handlers
        self.peers: list[Peer] = []

    def buildProtocol(self, addr: "IAddress | None") -> SessionLine:
        """See IProtocolFactory."""
        is_server = self._role is Role.SERVER
        us = Profile(incarnation=b"12345678", nonce=bytes(32), id="s:server" if is_server else None)
        peer = Peer(clock=reactor, handlers=self._handlers, on_offered=_accept)
        self.peers.append(peer)
        session = Session(role=self._role, us=us, now=reactor.seconds())
        return SessionLine(session=session, peer=peer, clock=reactor, goodbye=0.2)


def _accept(peer: Peer, offered: Offered) -> None:
    peer.decide(connection=(b"12345678", 1), session=bytes(16))


@implementer(IOpenSSLTrustRoot)
class _Trusted:
    """Trusts the authorities in a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        context.load_verify_locations(self._path)


class Silent(Protocol):
    """Says nothing."""

    def __init__(self, gone: "Deferred[None]") -> None:
        self._gone = gone

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._gone.callback(None)


@pytest.mark.process
class SocketTests(TestCase):
    """Both ends in this process, with a real wire between."""

    timeout = 240

    def setUp(self) -> None:
        """A server's handlers."""
        self.server = SessionFactory(Role.SERVER, {"echo": _echo, "hold": lambda _: Deferred()})
        self.client = SessionFactory(Role.CLIENT, {"name": lambda _: ["Ada"]})
        self.authority = Authority()
        self.folder = Path(tempfile.mkdtemp())  # a short name: addresses of sockets hold 107 octets
        self.addCleanup(shutil.rmtree, self.folder)

    def _listen_tls(self) -> int:
        path = str(self.authority.issue("server.example").write(self.folder / "server.pem"))
        options = ssl.DefaultOpenSSLContextFactory(path, path, SSL.TLS_METHOD)
        port = reactor.listenSSL(0, self.server, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def _trust(self) -> Any:
        path = str(self.authority.write(self.folder / "ca.pem"))
        return ssl.optionsForClientTLS("server.example", trustRoot=_Trusted(path))

    @returns_deferred
    async def test_over_tls(self) -> None:
        """Calls both ways, a megabyte each, and a goodbye."""
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", self._listen_tls())
        await wrapClientTLS(self._trust(), tcp).connect(self.client)

        await self._talk()

    @returns_deferred
    async def test_over_a_unix_socket(self) -> None:
        """The same without TLS, where nobody else can listen."""
        path = str(self.folder / "session")
        port = reactor.listenUNIX(path, self.server)
        self.addCleanup(port.stopListening)
        await UNIXClientEndpoint(reactor, path).connect(self.client)

        await self._talk()

    async def _talk(self) -> None:
        there = self.client.peers[0]
        early = there.call("echo", {"n": 0})
        agreement = await there.opened
        here = self.server.peers[0]
        calls = [there.call("echo", {"n": n}, data=bytes(1_000_000)) for n in range(5)]
        name = here.call("name")

        assert agreement.peer.id == "s:server"
        assert await early == (0, None)
        assert await name == ("Ada",)
        assert await gatherResults(calls) == [(n, bytes(1_000_000)) for n in range(5)]
        assert await there.probe()
        held = there.call("hold")
        here.close("shutdown", retry_after=3)
        ending = await there.lost
        assert (ending.reason, ending.retry_after) == ("shutdown", 3)
        assert await held.addErrback(_reason) == "shutdown"
        assert (await here.lost).reason == "shutdown"

    @returns_deferred
    async def test_a_connection_that_is_cut(self) -> None:
        """Both ends hear of it, and calls under way fail."""
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", self._listen_tls())
        line = await wrapClientTLS(self._trust(), tcp).connect(self.client)
        there = self.client.peers[0]
        await there.opened
        held = there.call("hold")

        cast(SessionLine, line).cut()

        assert (await there.lost).reason == "lost"
        assert await held.addErrback(_reason) == "lost"
        assert (await self.server.peers[0].lost).reason == "lost"

    @returns_deferred
    async def test_a_server_that_never_shakes_hands(self) -> None:
        """Closing a connection whose TLS never began ends it, if not by itself then by cutting it."""
        gone: Deferred[None] = Deferred()
        silent = Factory.forProtocol(lambda: Silent(gone))
        port = reactor.listenTCP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        await wrapClientTLS(self._trust(), tcp).connect(self.client)
        there = self.client.peers[0]

        there.close("enough")

        assert (await there.lost).reason == "enough"
        await gone


def _echo(asked: Asked) -> list[Any]:
    return [asked.args[b"n"], asked.data]


def _reason(failure: Failure) -> str:
    failure.trap(SessionLost)
    assert isinstance(failure.value, SessionLost)
    return failure.value.reason
