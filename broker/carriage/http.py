"""
The exchange over plain HTTP: one POST out, one answer back (landscape 1.1).

One request is under way at a time; the connection it used is kept a while for the next. What makes this more than a
call of Twisted's HTTP client:

- **Identity goes to one place.** Secure id and token are sent to the configured server alone. A redirect is followed
  when the same party answers at its end, and never otherwise.
- **A token is shown once.** An exchange may be repeated, because its messages are numbered; its token may not, because
  a token shown twice means a clone. When a kept connection turns out to be dead before any octet of an answer, the
  request is sent once more on a fresh one, without the token (docs/decisions/0003-repeated-post.md).
- **Everything ends.** Each wait has a limit, each answer has one, and each connection is closed when its transport is.
- **Nothing is raised** for what a network or a server does: the reply says it, for a person.

Packing bodies and reading answers may take long for large ones, so they run where `worker` runs things, not in the
reactor's thread.
"""

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.web.client import URI, Agent, HTTPConnectionPool, ProxyAgent, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from ...runtime.writer import Writer
from ...wire.cbor import encode
from ...wire.compression import GZIP, WORTHWHILE_OCTETS, deflate
from ...wire.encoding import CBOR_TYPE
from ...wire.http import COMPUTER_ID, EXCHANGE_TOKEN, MESSAGE_API, is_credential
from .address import Address
from .answers import MAX_REASON_OCTETS, Answer, judge, redirection, takes_gzip
from .causes import explain, innermost, is_unanswered
from .line import Body, Collected, Lines, Meter, Timeouts, WatchedEndpoint
from .proxy import Proxies, Proxy, Tunnel, explain_refusal
from .transport import Refused, Reply, Request, Unreachable
from .trust import Trust
from .wording import printable, printable_octets

Dial = Callable[[str, int], IStreamClientEndpoint]
"""Makes the endpoint that leads to a host (a name or an IP address) and a port."""


@define(kw_only=True)
class _Parcel:
    """What one exchange sends."""

    request: Request
    plain: bytes
    packed: bytes | None = None
    """The same in gzip, once that is wanted."""
    shows_token: bool


@frozen(kw_only=True)
class _Attempt:
    """One request: to where, through what, and how."""

    address: Address
    proxy: Proxy | None
    headers: Headers
    body: bytes

    @property
    def is_relayed(self) -> bool:
        """Whether the proxy itself makes the request, rather than a tunnel for ours."""
        return self.proxy is not None and not self.address.is_secure


class _Failed(Exception):
    """A request that brought no answer: why, and whether it may be sent once more."""

    def __init__(self, reason: str, *, repeatable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.repeatable = repeatable


class HttpTransport:
    """
    A Transport over HTTP/1.1.

    `reactor` keeps the time and, unless `dial` is given, makes the connections. `max_answer_octets` bounds an answer,
    as it comes and unpacked. A second exchange waits for the first.
    """

    log = Logger()

    def __init__(
        self,
        *,
        url: str,
        reactor: IReactorTime,
        now: Callable[[], float],
        worker: Writer,
        trust: Trust,
        proxies: Proxies,
        max_answer_octets: int,
        user_agent: str,
        timeouts: Timeouts,
        compress: bool = True,
        dial: Dial | None = None,
    ) -> None:
        """`now` tells the time of day. Raises AddressInvalid for a URL that leads nowhere."""
        self._address = Address.of_server(url)
        self._clock = reactor
        self._now = now
        self._worker = worker
        self._trust = trust
        self._proxies = proxies
        self._timeouts = timeouts
        self._max_answer_octets = max_answer_octets
        self._user_agent = user_agent.encode("ascii")
        self._dial = dial or _dial_with(reactor, timeouts.connect)
        self._may_pack = compress
        self._packs = False
        self._turn = DeferredLock()
        self._lines = Lines()
        self._stopped = False
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = timeouts.idle
        self._pool.retryAutomatically = False

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        async with self._turn:
            try:
                return await self._carry(await self._parcel(request))
            except _Failed as failure:
                return Unreachable(reason=failure.reason)

    async def stop(self) -> None:
        """End what is under way, close all connections; later exchanges fail at once."""
        self._stopped = True
        if self._lines.meter is not None:
            self._lines.meter.stop(_STOPS)
        self._pool.closeCachedConnections()
        await self._lines.abort()

    async def _parcel(self, request: Request) -> _Parcel:
        self._check_running()
        if request.secure_id is not None and not is_credential(request.secure_id):
            raise _Failed(
                "the secure id that the server gave us fits in no header; remove this computer there, and register again"
            )
        shows_token = request.token is not None and is_credential(request.token)
        if request.token is not None and not shows_token:
            self.log.warn("the server's token fits in no header; this exchange goes without")
        plain = await self._worker.run(lambda: encode(request.payload.to_map()))
        return _Parcel(request=request, plain=plain, shows_token=shows_token)

    async def _carry(self, parcel: _Parcel) -> Reply:
        """Ask until an answer ends it: each way round the loop is open a bounded number of times."""
        trail = [self._address]
        while True:
            answer = await self._ask(parcel, trail[-1])
            self._heed(answer)
            if answer.status == 415 and parcel.packed is not None:
                parcel.packed, self._may_pack, self._packs = None, False, False
                continue
            further = redirection(answer, trail)
            if further is None:
                return await self._judge(answer)
            if isinstance(further, Refused):
                return further
            if answer.status == 308:
                self.log.warn("the server moved for good: set `url` in [server] to {url}", url=str(further))
            trail.append(further)

    async def _judge(self, answer: Answer) -> Reply:
        reply: Reply = await self._worker.run(judge, answer, limit=self._max_answer_octets, now=self._now())
        return reply

    def _heed(self, answer: Answer) -> None:
        """Remember whether the server reads gzip; what it once refused it is not sent again."""
        said = takes_gzip(answer)
        if said is not None:
            self._packs = said and self._may_pack

    async def _ask(self, parcel: _Parcel, address: Address) -> Answer:
        """
        One answer from one address.

        A kept connection that was dead is replaced once; the token, which may have been seen, stays behind.
        """
        try:
            return await self._post(await self._attempt(parcel, address))
        except _Failed as failure:
            if not failure.repeatable:
                raise
        self.log.debug("a kept connection to {place} was dead, asking again", place=address.authority)
        parcel.shows_token = False
        return await self._post(await self._attempt(parcel, address))

    async def _attempt(self, parcel: _Parcel, address: Address) -> _Attempt:
        if self._packs and parcel.packed is None and len(parcel.plain) >= WORTHWHILE_OCTETS:
            parcel.packed = await self._worker.run(deflate, parcel.plain)
        attempt = _Attempt(
            address=address,
            proxy=self._proxies.for_address(address),
            headers=self._headers(parcel),
            body=parcel.plain if parcel.packed is None else parcel.packed,
        )
        if attempt.is_relayed and attempt.proxy and attempt.proxy.authorization:
            attempt.headers.addRawHeader(b"Proxy-Authorization", attempt.proxy.authorization)
        return attempt

    def _headers(self, parcel: _Parcel) -> Headers:
        request = parcel.request
        found = {
            "Content-Type": CBOR_TYPE.encode(),
            "Content-Encoding": None if parcel.packed is None else GZIP.encode(),
            "Accept": CBOR_TYPE.encode(),
            "Accept-Encoding": GZIP.encode(),
            "User-Agent": self._user_agent,
            MESSAGE_API: bytes(request.payload.server_api),
            COMPUTER_ID: request.secure_id,
            EXCHANGE_TOKEN: request.token if parcel.shows_token else None,
        }
        return Headers({name.encode(): [value] for name, value in found.items() if value is not None})

    async def _post(self, attempt: _Attempt) -> Answer:
        """One request, within its limits; leaves no connection behind that cannot be used again."""
        self._check_running()
        go: Deferred[None] = Deferred()
        body = Body(octets=attempt.body)
        running = Deferred.fromCoroutine(self._request(go, attempt, body))
        meter = Meter(
            clock=self._clock,
            timeouts=self._timeouts,
            max_octets=self._max_answer_octets,
            give_up=running.cancel,
        )
        self._lines.meter = body.meter = meter
        go.callback(None)
        clean = False
        try:
            answer = await running
            clean = answer.whole and body.is_written
        except Exception as error:  # all that a network, a proxy and a server can do
            raise self._failure(error, attempt, meter) from error
        finally:
            meter.close()
            self._lines.meter = None
            if not clean:
                self._lines.abort()
        self._check_proxy(answer, attempt)
        return answer

    async def _request(self, go: "Deferred[None]", attempt: _Attempt, body: Body) -> Answer:
        await go
        response = await self._agent(attempt).request(
            b"POST", str(attempt.address).encode("ascii"), attempt.headers, body
        )
        limit = self._max_answer_octets if response.code == 200 else MAX_REASON_OCTETS
        collected = Collected(limit=limit)
        response.deliverBody(collected)
        try:
            await collected.done
        except ResponseFailed:
            if response.code == 200:
                raise
        return Answer(
            status=response.code,
            phrase=printable_octets(response.phrase, 80),
            headers=response.headers,
            body=collected.octets,
            whole=collected.whole,
        )

    def _agent(self, attempt: _Attempt) -> IAgent:
        road = self._road(attempt)
        agent: IAgent
        if attempt.is_relayed:
            agent = ProxyAgent(road, self._clock, self._pool)
        else:
            agent = Agent.usingEndpointFactory(self._clock, _OneRoad(road=road), self._pool)
        return agent

    def _road(self, attempt: _Attempt) -> WatchedEndpoint:
        """The way to where the request is read: through the proxy, inside TLS, as the case may be."""
        address, proxy = attempt.address, attempt.proxy
        host, port = (address.host, address.port) if proxy is None else (proxy.host, proxy.port)
        endpoint = self._dial(host, port)
        if address.is_secure:
            if proxy is not None:
                endpoint = Tunnel(endpoint=endpoint, proxy=proxy, address=address)
            endpoint = wrapClientTLS(self._trust.creator(address.host), endpoint)
        return WatchedEndpoint(route=(address.scheme, host, port), endpoint=endpoint, lines=self._lines)

    def _failure(self, error: Exception, attempt: _Attempt, meter: Meter) -> Exception:
        """What the end of a request without an answer means."""
        place = f"the server {attempt.address.authority}" + (
            f" through {attempt.proxy}" if attempt.proxy else ""
        )
        if meter.broken is not None:
            return _Failed(f"the exchange with {place} was given up: {meter.broken}")
        cause = innermost(error)
        if isinstance(cause, CancelledError | ConnectingCancelledError):
            return CancelledError()
        shook = meter.shook or not meter.fresh or not attempt.address.is_secure
        reason = explain(error, attempt.address, attempt.proxy, shook=shook)
        if reason is None:
            self.log.error(
                "the exchange with {place} failed in an unknown way: {error!r}", place=place, error=cause
            )
            words = printable(f"{type(cause).__name__}: {cause}")
            reason = f"the exchange with {place} failed ({words}); see the log, and report this as a fault of the agent"
        return _Failed(reason, repeatable=not meter.fresh and is_unanswered(error))

    def _check_proxy(self, answer: Answer, attempt: _Attempt) -> None:
        if answer.status == 407 and attempt.proxy is not None:
            refusal = explain_refusal(
                attempt.proxy,
                status=answer.status,
                phrase=answer.phrase,
                schemes=[answer.header(b"proxy-authenticate")],
                target=attempt.address.authority,
            )
            raise _Failed(str(refusal))

    def _check_running(self) -> None:
        if self._stopped:
            raise _Failed(_STOPS)


_STOPS = "the agent stops"


@implementer(IAgentEndpointFactory)
@frozen(kw_only=True)
class _OneRoad:
    """Leads all requests the same way."""

    road: IStreamClientEndpoint = field()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See IAgentEndpointFactory."""
        return self.road


def _dial_with(reactor: IReactorTime, timeout: float) -> Dial:
    """Connections by name, to the first of its addresses that answers."""
    return lambda host, port: HostnameEndpoint(reactor, host, port, timeout=timeout)
