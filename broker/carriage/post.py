"""
One letter to the server over HTTP, and its answer: a request that knows proxies, redirects, gzip and limits.

One request is under way at a time; the connection it used is kept a while for the next. What makes this more than a
call of Twisted's HTTP client:

- **Identity goes to one place.** A letter is sent to the configured server alone. A redirect is followed when the same
  party answers at its end, and never otherwise.
- **What is shown once is shown once.** When a kept connection turns out to be dead before any octet of an answer, the
  request is sent once more on a fresh one, without the headers that may not be repeated
  (docs/decisions/0003-repeated-post.md).
- **Everything ends.** Each wait has a limit, each answer has one, and each connection is closed when its poster is.
- **Nothing is raised but PostFailed** for what a network or a server does, and it says why, for a person.

Packing bodies may take long for large ones, so it is done where `worker` runs things, not in the reactor's thread.
"""

from collections.abc import Callable, Mapping

from attrs import define, evolve, field, frozen
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
from ...wire.compression import GZIP, WORTHWHILE_OCTETS, deflate
from ..errors import BrokerError
from .address import Address
from .answers import MAX_REASON_OCTETS, Answer, redirection, takes_gzip
from .causes import explain, innermost, is_unanswered
from .line import Body, Collected, Lines, Meter, Timeouts, WatchedEndpoint
from .proxy import Proxies, Proxy, Tunnel, explain_refusal
from .request_head import ExactHeaders
from .transport import Refused
from .trust import Trust
from .wording import printable, printable_octets

Dial = Callable[[str, int], IStreamClientEndpoint]
"""Makes the endpoint that leads to a host (a name or an IP address) and a port."""


@frozen(kw_only=True)
class Letter:
    """
    What one request says.

    A `method` of GET goes without body and length. `path` is path and query on the server; None for those of the configured address. `headers` are written in their order and
    spelling, behind `Host` and before `Content-Length`; `Accept-Encoding` and `User-Agent` are added where they do not
    name them. With
    `may_pack` the body goes in gzip once the server has said that it reads that. The headers `once` are left out when
    the letter has to be sent again.
    """

    method: str = "POST"
    path: str | None = None
    headers: Mapping[str, bytes]
    body: bytes = b""
    may_pack: bool = False
    once: frozenset[str] = frozenset()


class PostFailed(BrokerError):
    """
    No answer that anything could be read from: why, for a person.

    `status` is that of an answer which only sends us elsewhere, where we do not go; None when there was none.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class _Dead(PostFailed):
    """A kept connection was dead before any octet of an answer: the letter may be sent once more."""


@define(kw_only=True)
class _Sending:
    """A letter on its way."""

    letter: Letter
    packed: bytes | None = None
    """The body in gzip, once that is wanted."""
    is_repeated: bool = False

    @property
    def body(self) -> bytes:
        """What goes out."""
        return self.letter.body if self.packed is None else self.packed


@frozen(kw_only=True)
class _Attempt:
    """One request: to where, through what, and how."""

    address: Address
    proxy: Proxy | None
    headers: Headers
    method: bytes
    body: bytes

    @property
    def is_relayed(self) -> bool:
        """Whether the proxy itself makes the request, rather than a tunnel for ours."""
        return self.proxy is not None and not self.address.is_secure


class Poster:
    """
    Sends letters over HTTP/1.1.

    `reactor` keeps the time and, unless `dial` is given, makes the connections. `max_answer_octets` bounds an answer
    as it comes. A second letter waits for the first.
    """

    log = Logger()

    def __init__(
        self,
        *,
        address: Address,
        reactor: IReactorTime,
        worker: Writer,
        trust: Trust,
        proxies: Proxies,
        max_answer_octets: int,
        user_agent: str,
        timeouts: Timeouts,
        dial: Dial | None = None,
    ) -> None:
        self._address = address
        self._clock = reactor
        self._worker = worker
        self._trust = trust
        self._proxies = proxies
        self._timeouts = timeouts
        self._max_answer_octets = max_answer_octets
        self._user_agent = user_agent.encode("ascii")
        self._dial = dial or _dial_with(reactor, timeouts.connect)
        self._never_packs = self._packs = False
        self._turn = DeferredLock()
        self._lines = Lines()
        self._stopped = False
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = timeouts.idle
        self._pool.retryAutomatically = False

    @property
    def user_agent(self) -> bytes:
        """Who we say we are, where a letter does not."""
        return self._user_agent

    @property
    def max_answer_octets(self) -> int:
        """The largest answer that is read."""
        return self._max_answer_octets

    async def post(self, letter: Letter) -> Answer:
        """
        The answer, whatever its status.

        Raises PostFailed, and CancelledError when it is cancelled.
        """
        async with self._turn:
            self._check_running()
            return await self._carry(_Sending(letter=letter))

    async def stop(self) -> None:
        """End what is under way, close all connections; later letters fail at once."""
        self._stopped = True
        if self._lines.meter is not None:
            self._lines.meter.stop(_STOPS)
        self._pool.closeCachedConnections()
        await self._lines.abort()

    async def _carry(self, sending: _Sending) -> Answer:
        """Ask until an answer ends it: each way round the loop is open a bounded number of times."""
        path = sending.letter.path
        trail = [self._address if path is None else evolve(self._address, target=path)]
        while True:
            answer = await self._ask(sending, trail[-1])
            self._heed(answer)
            if answer.status == 415 and sending.packed is not None:
                sending.packed, self._never_packs = None, True
                continue
            further = redirection(answer, trail)
            if further is None:
                return answer
            if isinstance(further, Refused):
                raise PostFailed(further.reason, status=further.status)
            if answer.status == 308 and path is None:
                self.log.warn("the server moved for good: set `url` in [server] to {url}", url=str(further))
            trail.append(further)

    def _heed(self, answer: Answer) -> None:
        """Remember whether the server reads gzip; what it once refused it is not sent again."""
        said = takes_gzip(answer)
        if said is not None:
            self._packs = said

    async def _ask(self, sending: _Sending, address: Address) -> Answer:
        """
        One answer from one address.

        A kept connection that was dead is replaced once; what may have been seen, and may be seen once, stays behind.
        """
        try:
            return await self._post(await self._attempt(sending, address))
        except _Dead:
            self.log.debug("a kept connection to {place} was dead, asking again", place=address.authority)
        sending.is_repeated = True
        return await self._post(await self._attempt(sending, address))

    async def _attempt(self, sending: _Sending, address: Address) -> _Attempt:
        letter = sending.letter
        packs = letter.may_pack and self._packs and not self._never_packs
        if packs and sending.packed is None and len(letter.body) >= WORTHWHILE_OCTETS:
            sending.packed = await self._worker.run(deflate, letter.body)
        proxy = self._proxies.for_address(address)
        headers = {"Host": address.host_line.encode("ascii"), **self._headers(sending)}
        if proxy is not None and not address.is_secure and proxy.authorization:
            headers["Proxy-Authorization"] = proxy.authorization
        return _Attempt(
            address=address,
            proxy=proxy,
            headers=ExactHeaders(headers.items()),
            method=letter.method.encode("ascii"),
            body=sending.body,
        )

    def _headers(self, sending: _Sending) -> dict[str, bytes]:
        letter = sending.letter
        left_out = letter.once if sending.is_repeated else frozenset[str]()
        found = {name: value for name, value in letter.headers.items() if name not in left_out}
        found.setdefault("Accept-Encoding", GZIP.encode())
        found.setdefault("User-Agent", self._user_agent)
        if sending.packed is not None:
            found["Content-Encoding"] = GZIP.encode()
        return found

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
            attempt.method,
            str(attempt.address).encode("ascii"),
            attempt.headers,
            None if attempt.method == b"GET" else body,
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
            return PostFailed(f"the exchange with {place} was given up: {meter.broken}")
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
        return _Dead(reason) if not meter.fresh and is_unanswered(error) else PostFailed(reason)

    def _check_proxy(self, answer: Answer, attempt: _Attempt) -> None:
        if answer.status == 407 and attempt.proxy is not None:
            refusal = explain_refusal(
                attempt.proxy,
                status=answer.status,
                phrase=answer.phrase,
                schemes=[answer.header(b"proxy-authenticate")],
                target=attempt.address.authority,
            )
            raise PostFailed(str(refusal))

    def _check_running(self) -> None:
        if self._stopped:
            raise PostFailed(_STOPS)


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
