"""
Opening a channel for a session: from the configured address to a connection whose octets are the session's (spec, 5.2).

One HTTP/1.1 request with `Upgrade` goes out, and nothing behind it until the answer. What protects the channel follows
from the configured address alone: for `https` TLS is outside, for `http` it starts inside, behind the 101, and no answer
can change that. Redirects are followed as far as the party that sends them can vouch for where they lead: one that came
through TLS may name another host; one that came in the open, where anybody on the way may have written it, may not.

A host with several addresses is HostnameEndpoint's business: it tries them one after the other, a moment apart, and
keeps the first that connects (F27 as far as it goes: the losers are dropped while they connect, none gets as far as a
request).
"""

from collections.abc import Callable
from typing import Any, cast

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ...wire.errors import RemoteProtocolError
from ...wire.session.opening import (
    DEFAULT_SERVER,
    HEAD_SECONDS,
    INSIDE_OFFER,
    PLAIN_OFFER,
    SESSION_PATH,
    Denied,
    HeadReader,
    Later,
    Moved,
    Moves,
    NotHere,
    NoUpgrade,
    Outcome,
    Trail,
    Unusable,
    Upgraded,
    build_request_to,
    judge_answer,
)
from ...wire.session.proof import EXPORTER_LABEL, EXPORTER_OCTETS
from ..carriage.address import Address, AddressInvalid
from ..carriage.causes import explain, innermost
from ..carriage.proxy import Proxies, Proxy, ProxyRefused, Tunnel
from ..carriage.trust import Trust
from ..carriage.wording import printable

Dial = Callable[[str, int], IStreamClientEndpoint]
"""Makes the endpoint that leads to a host (a name or an IP address) and a port."""


@frozen(kw_only=True)
class Channel:
    """What is known of a channel that is open. `exporter`: of TLS that runs inside, to bind a proof to it."""

    url: str
    exporter: bytes | None


Build = Callable[[Channel], IProtocol]
"""Makes what the channel is for; it is connected then."""

Failing = NotHere | NoUpgrade | Denied | Later | Unusable
"""Why there is no channel; each has a `text` for people."""


def session_address(url: str, server: str = DEFAULT_SERVER) -> Address:
    """
    Where sessions begin: beside the exchange's path.

    Raises AddressInvalid.
    """
    address = Address.parse(url.strip())
    folder = address.target.partition("?")[0].rpartition("/")[0]
    return evolve(address, target=f"{folder}{SESSION_PATH}{server}")


class Opener:
    """
    Opens channels, one at a time.

    `trust` says whom TLS believes. `now` tells the time of day. `is_plain` leaves out the TLS inside, for tests alone.
    """

    log = Logger()

    def __init__(
        self,
        *,
        url: str,
        server: str = DEFAULT_SERVER,
        reactor: IReactorTime,
        now: Callable[[], float],
        trust: Trust,
        proxies: Proxies,
        user_agent: str,
        connect_within: float = 30.0,
        dial: Dial | None = None,
        is_plain: bool = False,
    ) -> None:
        """Raises AddressInvalid for a URL that leads nowhere."""
        self._address = session_address(url, server)
        self._clock = reactor
        self._now = now
        self._trust = trust
        self._proxies = proxies
        self._user_agent = user_agent
        self._dial = dial or (
            lambda host, port: HostnameEndpoint(reactor, host, port, timeout=connect_within)
        )
        self._is_plain = is_plain
        self._moves = Moves()

    async def open(self, build: Build, *, location: str | None = None) -> Channel | Failing:
        """
        The channel, connected to what `build` made, or why there is none.

        `location` is where the server itself, over a session, said to ask this time. Never raises for what a network or a server does; CancelledError when it is cancelled.
        """
        url = str(self._address)
        trail = Trail(url, self._moves)
        try:
            if location is not None:
                trail.follow(Moved(location=location, permanent=False))
            while True:
                found = await self._ask(trail.url, build)
                if not isinstance(found, Moved):
                    break
                self._check_move(trail.url, trail.follow(found))
        except (RemoteProtocolError, AddressInvalid) as error:
            found = Unusable(text=f"no session: {printable(str(error))}; {_FIX_URL}")
        if not isinstance(found, Channel):
            self._moves.forget(url)
        return found

    def _check_move(self, here: str, there: str) -> None:
        """Raises RemoteProtocolError where somebody on the way could have written what leads us there."""
        source, target = Address.parse(here), Address.parse(there)
        if not source.is_secure and source.host != target.host:
            raise RemoteProtocolError(
                "redirect",
                f"{source.authority} leads to another host, {target.host}, without TLS to vouch for it",
            )

    async def _ask(self, url: str, build: Build) -> Channel | Moved | Failing:
        address = Address.parse(url)
        proxy = self._proxies.for_address(address)
        inside = not address.is_secure and not self._is_plain
        knock = _Knock(
            request=self._request(address, inside),
            creator=_Watched(self._trust.creator(address.host)) if inside else None,
            clock=self._clock,
            now=self._now,
        )
        try:
            await self._road(address, proxy).connect(_KnockFactory(knock))
            outcome = await knock.answered
        except Exception as error:  # noqa: BLE001 - all that a network, a proxy and a server can do
            knock.abort()
            return self._failure(error, address, proxy, knock)
        if not isinstance(outcome, Upgraded):
            return outcome
        channel = Channel(url=url, exporter=knock.exporter())
        knock.hand_over(build(channel))
        return channel

    def _request(self, address: Address, inside: bool) -> bytes:
        port = f":{address.port}" if address.port != (443 if address.is_secure else 80) else ""
        host = f"[{address.host}]" if ":" in address.host else address.host
        return build_request_to(
            address.target,
            host=host + port,
            agent=self._user_agent,
            offer=", ".join(INSIDE_OFFER if inside else PLAIN_OFFER),
        )

    def _road(self, address: Address, proxy: Proxy | None) -> IStreamClientEndpoint:
        """The way to where the request is read: through the proxy, inside TLS, as the case may be."""
        place = address if proxy is None else proxy
        endpoint = self._dial(place.host, place.port)
        if proxy is not None:
            endpoint = Tunnel(endpoint=endpoint, proxy=proxy, address=address)
        if address.is_secure:
            endpoint = wrapClientTLS(_Negotiating(self._trust.creator(address.host)), endpoint)
        return endpoint

    def _failure(self, error: Exception, address: Address, proxy: Proxy | None, knock: "_Knock") -> Failing:
        cause = innermost(error)
        if isinstance(cause, CancelledError | ConnectingCancelledError):
            raise CancelledError() from error
        if isinstance(cause, ProxyRefused) and not address.is_secure:
            # It may make plain requests for us all the same.
            return NoUpgrade(text=str(cause))
        if isinstance(cause, _Silent):
            return Unusable(text=f"the server {address.authority} {cause}")
        reason = explain(error, address, proxy, shook=knock.shook or not address.is_secure)
        if reason is None:
            self.log.error("no session, for an unknown reason: {error!r}", error=cause)
            reason = f"no session ({printable(f'{type(cause).__name__}: {cause}')}); see the log"
        return Unusable(text=reason)


_FIX_URL = "set `url` in [server] to the server's address itself"
_CHECK_WAY = "check the port of `url` in [server], and what stands between"


class _Silent(Exception):
    """Too little came in time."""


@implementer(IOpenSSLClientConnectionCreator)
class _Watched:
    """Makes the TLS side of one connection, and keeps hold of it."""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator
        self.made: SSL.Connection | None = None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        self.made = self._creator.clientConnectionForTLS(tlsProtocol)
        return self.made


@implementer(IOpenSSLClientConnectionCreator)
class _Negotiating:
    """Makes the TLS side of connections that are for HTTP/1.1: HTTP/2 has no upgrade."""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = self._creator.clientConnectionForTLS(tlsProtocol)
        connection.set_alpn_protos([b"http/1.1"])
        return connection


@implementer(IHandshakeListener)
class _Knock(Protocol):
    """
    One request and its answer on one connection; after an upgrade, all that comes for whoever has it then.

    `answered` fires with the outcome, an Upgraded once TLS inside stands; it fails with the reason of the connection's end.
    """

    transport: ITCPTransport

    def __init__(
        self,
        *,
        request: bytes,
        creator: _Watched | None,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._request = request
        self._creator = creator
        self._clock = clock
        self._now = now
        self._reader = HeadReader()
        self._is_asking = True
        self._is_connected = False
        self._below: IProtocol | None = None
        """TLS inside, to which what comes goes then."""
        self._top: _Top | None = None
        self._timer: IDelayedCall | None = None
        self.shook = False
        """Whether a TLS handshake came to its end."""
        self.answered: Deferred[Outcome] = Deferred()

    # What Twisted says

    def connectionMade(self) -> None:
        """See Protocol."""
        self._is_connected = True
        self._arm("gave no answer to the request for a session")
        self.transport.write(self._request)

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener: of TLS outside."""
        self.shook = True

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._is_asking:
            self._read(data)
        elif self._below is not None:
            self._below.dataReceived(data)
        elif self._top is not None:
            self._top.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._is_connected = False
        self._disarm()
        if self._below is not None:
            self._below.connectionLost(reason)
        elif self._top is not None:
            self._top.connectionLost(reason)
        if not self.answered.called:
            # TLS knows better than the socket why it ended.
            self.answered.errback(reason if self._top is None else self._top.lost or reason)

    # What the opener says

    def hand_over(self, protocol: IProtocol) -> None:
        """From now on the channel is this one's, with what has come already."""
        assert self._top is not None  # it was an upgrade
        self._top.hand_over(protocol)

    def exporter(self) -> bytes | None:
        """Of TLS inside, when it stands."""
        made = None if self._creator is None else self._creator.made
        return None if made is None else bytes(made.export_keying_material(EXPORTER_LABEL, EXPORTER_OCTETS))

    def abort(self) -> None:
        """Nobody wants the connection any more."""
        self._disarm()
        self._is_asking = False
        if self._is_connected:
            self.transport.abortConnection()

    # The answer

    def _read(self, data: bytes) -> None:
        try:
            head = self._reader.feed(data)
        except RemoteProtocolError as error:
            text = f"what answers at the server's address does not speak HTTP ({error}); {_CHECK_WAY}"
            self._turn_away(Unusable(text=text))
            return
        if head is not None:
            self._judge(
                judge_answer(head, inside=self._creator is not None, left=self._reader.left, now=self._now())
            )

    def _judge(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Upgraded):
            self._turn_away(outcome)
            return
        self._is_asking = False
        self._top = _Top(self._shaken)
        if self._creator is None:
            self._disarm()
            self._top.makeConnection(self.transport)
            self._top.dataReceived(self._reader.left)
            self.answered.callback(outcome)
            return
        self._arm("did not come to terms about TLS inside the connection")
        top = self._top
        inside = TLSMemoryBIOFactory(self._creator, True, Factory.forProtocol(lambda: top))
        inside.noisy = False
        self._below = cast(IProtocol, inside.buildProtocol(cast(IAddress, None)))
        self._below.makeConnection(self.transport)

    def _shaken(self) -> None:
        """TLS inside stands, and the server has shown who it is."""
        self._disarm()
        self.shook = True
        if not self.answered.called:
            self.answered.callback(Upgraded())

    def _turn_away(self, outcome: Outcome) -> None:
        """Proxies keep a connection whose answer they have passed on: this end has to close it."""
        self.abort()
        if not self.answered.called:
            self.answered.callback(outcome)

    def _arm(self, what: str) -> None:
        self._disarm()
        self._timer = self._clock.callLater(HEAD_SECONDS, self._overdue, what)

    def _disarm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _overdue(self, what: str) -> None:
        self.abort()
        if not self.answered.called:
            self.answered.errback(Failure(_Silent(f"{what} within {HEAD_SECONDS:g} s; {_CHECK_WAY}")))


@implementer(IHandshakeListener)
class _Top(Protocol):
    """Stands for what the channel is for until that is made; keeps what comes meanwhile."""

    def __init__(self, shaken: Callable[[], None]) -> None:
        self._shaken = shaken
        self._early: list[bytes] = []
        self.lost: Failure | None = None
        self._inner: IProtocol | None = None

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self._shaken()

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._inner is None:
            self._early.append(data)
        else:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.lost = reason
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def hand_over(self, protocol: IProtocol) -> None:
        """It is there."""
        self._inner = protocol
        transport: Any = self.transport  # there is one, by now
        protocol.makeConnection(transport)
        early, self._early = b"".join(self._early), []
        if early:
            protocol.dataReceived(early)
        if self.lost is not None:
            protocol.connectionLost(self.lost)


class _KnockFactory(Factory):
    """For the one connection that is made."""

    noisy = False

    def __init__(self, knock: _Knock) -> None:
        self._knock = knock

    def buildProtocol(self, addr: "IAddress | None") -> _Knock:
        """See IProtocolFactory."""
        return self._knock
