"""
HTTP/1.1 on Twisted's channel, with bounds on everything that a client controls.

The channel's own request class puts bodies into temporary files, however long they are, and parses forms that nobody
here asks for. Ours keeps the body in memory, never more than the limit, and hands the finished call to the front.

A request that is turned away early, for its length or because it takes too long, is answered at once. But closing a
connection whose client is still sending would destroy that answer on its way (the kernel resets the connection). So
what still comes is read and dropped for a while, and the connection is closed when the client is done. Where a head is
too long nobody knows when that is: then it is closed when nothing has come for a moment.
"""

from collections.abc import Callable
from io import BytesIO
from typing import cast

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProtocolNegotiationFactory,
    IReactorTime,
    ITCPTransport,
)
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import INonQueuedRequestFactory
from zope.interface import implementer, provider

from ..runtime.doors import returns_deferred
from ..runtime.session.later import Moment
from ..wire.http import MAX_EXCHANGE_OCTETS
from .call import Answer, Call, refusal_answer
from .crowd import Crowd, origin_of
from .errors import Refused
from .front import RETRY_AFTER, Front
from .ration import RationedLogger

_SECONDS_PER_CROWD = 60.0
"""A crowd from one address is told of once in so long: it comes again as often as it is sent away."""
_LINGER_FACTOR = 4
"""A client that was turned away may still send this many times the limit before it is cut off."""

_QUIET_SECONDS = 2.0
"""A client that was turned away while it sent its head, and sends nothing for so long, is done."""


@frozen(kw_only=True)
class SiteLimits:
    """What one client, and all of them together, may take."""

    body_octets: int = MAX_EXCHANGE_OCTETS
    all_bodies_octets: int = 8 * MAX_EXCHANGE_OCTETS
    """Of all bodies being received or worked on."""
    connections: int = 5_000
    connections_per_address: int = 2_000
    """Of them, from one address (see Crowd); 0: any number."""
    idle: float = 60
    """Seconds without an octet."""
    request: float = 600
    """Seconds for a request from its first line to its last octet."""
    linger: float = 30
    """Seconds in which the rest of a refused request is dropped before the connection is cut."""


_LIMITS = SiteLimits()
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")


@implementer(IProtocolNegotiationFactory)
class Site(http.HTTPFactory):
    """Makes a channel per connection, and counts what they hold."""

    noisy = False

    def __init__(self, *, front: Front, clock: IReactorTime, limits: SiteLimits = _LIMITS) -> None:
        super().__init__(timeout=limits.idle, reactor=clock)
        self.front = front
        self.events = RationedLogger(__name__, clock=clock)
        self.limits = limits
        self.connections = 0
        self.crowd = Crowd(limits.connections_per_address)
        self.crowds = RationedLogger(__name__, clock=clock, burst=1, each_second=1 / _SECONDS_PER_CROWD)
        self.body_octets = 0
        self.protocol = Channel  # type: ignore[assignment] # the base names its private proxy as the type

    def startFactory(self) -> None:
        """Nothing: the access log of the base class is not ours."""

    def stopFactory(self) -> None:
        """See startFactory."""

    def acceptableProtocols(self) -> list[bytes]:
        """What is offered under TLS: HTTP/1.1 alone, whatever is installed."""
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """One line per request that is answered, for debugging."""
        text = "{method} {uri} from {peer}: {status}"
        self.events.debug(
            text, method=request.method, uri=request.uri, peer=str(request.client), status=request.code
        )


class Channel(http.HTTPChannel):
    """
    One connection.

    The base class closes it when nothing comes for a while. That does not help against a client that sends an octet
    now and then; so there is also a deadline for each request to be complete.
    """

    factory: Site

    def __init__(self) -> None:
        super().__init__()
        self.requestFactory = Request  # type: ignore[assignment] # a subclass, and the base wants the very class
        self._counted = False
        self._origin: str | None = None
        self._deadline: IDelayedCall | None = None
        self._is_fresh = False
        self._is_ending = False
        self._is_ended = False
        self._dropped = 0

    def connectionMade(self) -> None:
        """Cut it off at once when there are too many."""
        super().connectionMade()
        self._log = self.factory.events  # the base class has lines on each connection that it closes
        self._counted = True
        self._origin = origin_of(self.getPeer())
        self.factory.connections += 1
        self._arm(self.factory.limits.request, self._take_too_long)
        most = self.factory.limits.connections
        if not self.factory.crowd.enter(self._origin):
            text = "{origin} is cut off: {most} connections from there are open (`limits.connections-per-address`)"
            self.factory.crowds.warn(text, origin=self._origin, most=self.factory.crowd.most)
            self.cut_off()
        elif self.factory.connections > most:
            text = "{peer} is cut off: {most} connections are open"
            self.factory.events.warn(text, peer=str(self.getPeer()), most=most)
            self.cut_off()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override] # the base is not annotated
        """Count it off."""
        self.disarm()
        if self._counted:
            self.factory.connections -= 1
            self.factory.crowd.leave(self._origin)
        self._counted = False
        super().connectionLost(reason)

    @property
    def is_at_rest(self) -> bool:
        """Whether a request was answered, the connection stays, and nothing of a next request has come."""
        return self._is_fresh and not self._buffer

    def dataReceived(self, data: bytes) -> None:
        """More of a request, or of what nobody reads any more."""
        self._is_fresh = False
        if self._is_ending:
            self._drop(len(data))
        else:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """A line of a head, also one that came together with the request before."""
        self._is_fresh = False
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line that is longer than a head may be."""
        self._refuse_head()

    def end_with(self, answer: bytes) -> None:
        """Write this last, to a client that may still be sending: drop what comes, and close when nothing does."""
        self._is_ending, self._is_fresh, self.persistent = True, False, 0
        self.clearLineBuffer()
        self._arm(self.factory.limits.linger, self.cut_off)
        self.setTimeout(_QUIET_SECONDS)
        self.write(answer)

    def timeoutConnection(self) -> None:
        """Nothing has come for a while."""
        if self._is_ending:
            self._stop_dropping()
        else:
            super().timeoutConnection()

    def step_aside(self) -> None:
        """Let another protocol have the connection; it stays counted until it is lost."""
        self.disarm()
        self.setTimeout(None)
        cast(IConsumer, self.transport).unregisterProducer()

    def requestDone(self, request: http.Request) -> None:
        """The answer is written: wait for the next request, or for the connection to close."""
        if self.persistent:
            self._arm(self.factory.limits.request, self._take_too_long)
        else:
            self._arm(self.factory.limits.linger, self.cut_off)
        self._is_fresh = bool(self.persistent)
        super().requestDone(request)

    def disarm(self) -> None:
        """No deadline: the request is complete."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def linger(self) -> None:
        """A refusal is written while the client still sends: give it some time to read."""
        self.persistent = 0
        self._arm(self.factory.limits.linger, self.cut_off)

    def cut_off(self) -> None:
        """Close without waiting for the client."""
        self.disarm()
        cast(ITCPTransport, self.transport).abortConnection()

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        self.disarm()
        self._deadline = self.factory.reactor.callLater(seconds, then)

    def _take_too_long(self) -> None:
        if self.requests:
            self.requests[-1].take_too_long()
        else:
            self.cut_off()

    def _drop(self, octets: int) -> None:
        self.resetTimeout()  # of no effect once there is none
        self._dropped += octets
        if self._dropped > _LINGER_FACTOR * self.factory.limits.body_octets:
            self._stop_dropping()

    def _stop_dropping(self) -> None:
        self.setTimeout(None)
        if not self._is_ended:
            self._is_ended = True
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """The channel's way out for what is no HTTP: as it is, but saying something."""
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self._refuse_head()
        elif self.requests and self.requests[-1].startedWriting:
            self.cut_off()
        else:
            self.write(_octets_of(_no_http(), "Bad Request"))
            self.loseConnection()

    def _refuse_head(self) -> None:
        if self.requests and self.requests[-1].startedWriting:
            self.cut_off()
            return
        refused = _head_too_long(self.totalHeadersSize, self.maxHeaders)
        text = "{peer} is turned away: {cause}"
        self.factory.events.warn(text, peer=_peer_of(self.getPeer()), cause=refused.cause)
        self.end_with(_octets_of(refused, "Request Header Fields Too Large"))


@provider(INonQueuedRequestFactory)
class Request(http.Request):
    """One request on its way in, and its answer on the way out."""

    channel: Channel

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._site = channel.factory
        self._body = BytesIO()
        self._reserved = 0
        self._dropped = 0
        self._turned_away = False
        self._gone: Moment[None] = Moment()

    def take_too_long(self) -> None:
        """The deadline has passed."""
        seconds = self._site.limits.request
        cause = f"the request was not complete after {seconds:g} seconds"
        self._turn_away(Refused(408, cause, "send less in one request"))

    # what the channel calls

    def parseCookies(self) -> None:
        """Nothing here has any."""

    def gotLength(self, length: int | None) -> None:
        """The headers are complete; `length` is None for a chunked body."""
        most = self._site.limits.body_octets
        if self._turned_away:
            self.requestHeaders.removeHeader(b"expect")
        elif length is not None and length > most:
            self._turn_away(_too_long(most))

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body."""
        if self._turned_away:
            self._drop(len(data))
            return
        most = self._site.limits.body_octets
        if self._reserved + len(data) > most:
            self._turn_away(_too_long(most))
        elif self._reserve(len(data)):
            self._body.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is here."""
        self.channel.disarm()
        if (
            version not in _VERSIONS and not self._turned_away
        ):  # Twisted 22.4 takes any word for one, and repeats it
            self._turn_away(_no_http())
        if self._turned_away:
            self.channel.persistent = 0
            self.finish()
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self._serve()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        self._release()
        self._gone.happen(None)
        super().connectionLost(reason)

    # inside

    @returns_deferred
    async def _serve(self) -> None:
        answer = await self._site.front.answer(self._call())
        self._release()
        if not self._gone.is_over:
            self._write(answer)
            self.finish()

    def _call(self) -> Call:
        path, _, query = self.uri.decode("latin-1").partition("?")
        body, self._body = self._body.getvalue(), BytesIO()
        return Call(
            method=self.method.decode("latin-1"),
            path=path,
            query=query,
            headers=self.requestHeaders,
            body=body,
            peer=_peer_of(self.client),
            gone=self._gone,
        )

    def _write(self, answer: Answer, *, close: bool = False) -> None:
        self.setResponseCode(answer.status)
        for name, value in _headers_of(answer, close=close, now=self._site.reactor.seconds()):
            self.responseHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        self.write(answer.body)

    def _turn_away(self, refused: Refused) -> None:
        """Answer now, read on without keeping anything, close when the client is done or the time is up."""
        self._turned_away = True
        self._body = BytesIO()
        self._release()
        text = "{peer} is turned away: {cause}"
        self._site.events.warn(text, peer=_peer_of(self.client), cause=refused.cause)
        # An answer is there: the client must not be asked for the body any more.
        self.requestHeaders.removeHeader(b"expect")
        self.method, self.clientproto = b"POST", b"HTTP/1.1"
        self._write(refusal_answer(refused), close=True)
        self.channel.linger()

    def _drop(self, octets: int) -> None:
        self._dropped += octets
        if self._dropped > _LINGER_FACTOR * self._site.limits.body_octets:
            # Read no more, but let the answer leave: all this may have come in one piece with what was answered.
            self.channel.loseConnection()

    def _reserve(self, octets: int) -> bool:
        """
        Claim room for what has come; without room the request is turned away.

        Not for what is announced: then a few clients that send nothing could take all there is.
        """
        if self._site.body_octets + octets > self._site.limits.all_bodies_octets:
            self._turn_away(_too_busy())
            return False
        self._site.body_octets += octets
        self._reserved += octets
        return True

    def _release(self) -> None:
        self._site.body_octets -= self._reserved
        self._reserved = 0


def _peer_of(client: object) -> str:
    return client.host if isinstance(client, (IPv4Address, IPv6Address)) else "a local client"


def _no_http() -> Refused:
    next_step = "check the client, or the proxy before it"
    return Refused(400, "this is no HTTP/1.1 request that can be read", next_step)


def _head_too_long(octets: int, fields: int) -> Refused:
    cause = f"the head of the request is longer than {octets} octets, or has more than {fields} fields"
    return Refused(431, cause, "send a shorter path, and fewer and shorter headers")


def _octets_of(refused: Refused, reason: str) -> bytes:
    """The answer to what never became a request."""
    answer = refusal_answer(refused)
    head = "".join(f"{name}: {value}\r\n" for name, value in _headers_of(answer, close=True))
    return f"HTTP/1.1 {refused.status} {reason}\r\n{head}\r\n".encode() + answer.body


def _too_long(limit: int) -> Refused:
    return Refused(413, f"the body is longer than the {limit} octets allowed", "send less in one request")


def _too_busy() -> Refused:
    return Refused(
        503,
        "the server holds as many bodies as it can",
        f"try again in {RETRY_AFTER} seconds",
        headers=(("Retry-After", str(RETRY_AFTER)),),
    )


def _headers_of(answer: Answer, *, close: bool = False, now: float | None = None) -> list[tuple[str, str]]:
    headers = [*answer.headers, ("Content-Length", str(len(answer.body))), ("Server", "fieldpost")]
    if now is not None:
        headers.append(("Date", http.datetimeToString(now).decode("ascii")))
    if close:
        headers.append(("Connection", "close"))
    return headers
