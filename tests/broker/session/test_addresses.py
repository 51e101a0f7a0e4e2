"""A server with several addresses: one connection comes of it, and a server that is nowhere is tried again soon."""

from random import Random
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from fieldpost.broker.carriage.proxy import Proxies
from fieldpost.broker.carriage.trust import Trust
from fieldpost.broker.session.course import BASE, Course
from fieldpost.broker.session.keeper import Identity, Keeper
from fieldpost.broker.session.opener import Opener
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.wire.session.opening import Unusable
from tests.broker.session.channels import SWITCH, Collecting


class Resolver:
    """Knows two addresses for every name."""

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any, **__: Any) -> Any:
        """See IHostnameResolver."""
        receiver.resolutionBegan(self)
        for host in ("192.0.2.1", "192.0.2.2"):
            receiver.addressResolved(IPv4Address("TCP", host, portNumber))
        receiver.resolutionComplete()
        return receiver


@implementer(IReactorPluggableNameResolver)
class Network(MemoryReactorClock):
    """A reactor whose connections the test makes or refuses."""

    def __init__(self) -> None:
        super().__init__()
        resolver: Any = Resolver()
        self.nameResolver = resolver

    def installNameResolver(self, resolver: Any) -> Any:
        """See IReactorPluggableNameResolver."""

    @property
    def dialled(self) -> list[str]:
        """Addresses that were tried, in order."""
        return [client[0] for client in self.tcpClients]

    def refuse(self, number: int) -> None:
        """Nobody listens at the address of this attempt."""
        factory: Any = self.tcpClients[number][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    def accept(self, number: int) -> tuple[Any, StringTransport]:
        """Somebody does."""
        factory: Any = self.tcpClients[number][2]
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport


class AddressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = Network()
        self.opener = Opener(
            url="http://server.example/",
            reactor=self.network,
            now=lambda: 0.0,
            trust=Trust.in_system(environ={}),
            proxies=Proxies(),
            user_agent="fieldpost/1",
            is_plain=True,
        )
        self.inner = Collecting()

    def open(self) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.opener.open(lambda channel: self.inner))

    @pytest.mark.conformance("Z25", "F27")
    def test_the_first_that_connects(self) -> None:
        """A slow address does not hold up the next; whichever connects is asked, and the other is dropped."""
        opened = self.open()
        assert self.network.dialled == ["192.0.2.1"]
        self.network.advance(0.5)
        assert self.network.dialled == ["192.0.2.1", "192.0.2.2"]

        protocol, transport = self.network.accept(1)
        assert transport.value().startswith(b"GET /session/default HTTP/1.1\r\n")
        protocol.dataReceived(SWITCH + b"hello")
        self.network.advance(60)

        self.successResultOf(opened)
        assert self.inner.octets == b"hello"
        assert self.network.connectors[0].stoppedConnecting
        assert len(self.network.tcpClients) == 2

    @pytest.mark.conformance("Z26")
    def test_a_refused_address(self) -> None:
        """The next is tried within a moment."""
        opened = self.open()
        self.network.refuse(0)
        self.network.advance(1)
        self.network.refuse(1)
        self.network.advance(1)

        found = self.successResultOf(opened)
        assert isinstance(found, Unusable)
        assert "refused the connection" in found.text

    @pytest.mark.conformance("Z26")
    def test_nowhere(self) -> None:
        """When all failed, all are tried again soon; once one is connected, none is tried any more."""

        async def identity() -> Identity:
            return Identity(secure_id=None, insecure_id=None)

        random = Random(1)
        keeper = Keeper(
            opener=self.opener,
            course=Course(random=random),
            clock=self.network,
            random=random,
            identity=identity,
            handlers={},
            subscriptions=Subscriptions(clock=self.network),
            incarnation=b"client-1",
            new_octets=bytes,
        )
        keeper.start()
        self.network.pump([0.1] * 50)
        for number in (0, 1):
            self.network.refuse(number)
            self.network.pump([0.1] * 10)

        assert (
            BASE == 5.0
        )  # drawn from nought to this; the specification's list has one to two seconds, its section 5.2 this
        self.network.pump([0.1] * 50)
        assert self.network.dialled[2:] == ["192.0.2.1", "192.0.2.2"]
        protocol, _ = self.network.accept(2)
        protocol.dataReceived(SWITCH)
        self.network.pump([0.1] * 100)

        assert len(self.network.tcpClients) == 4
        keeper.stop()
