"""
Where sessions begin: what is asked at the door is answered, and who was let in becomes a visit.

What protects a session follows from the listener alone, never from what a client would like: TLS outside, a socket of
this machine, or else TLS inside with the server's certificate. Only settings can allow less. A certificate that the client
shows in either TLS is evidence of who it is; the channel itself is evidence only where TLS is inside, since TLS outside may
end at a proxy, and the client cannot tell.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IProtocol, IReactorTime, ITransport

from ...wire.errors import RemoteProtocolError
from ...wire.http import MAX_EXCHANGE_OCTETS
from ...wire.session.identity import NOTHING_KNOWN, SERVER, Evidence
from ...wire.session.limits import KIB, MIB, Limits
from ...wire.session.opening import TLS_TOKEN, Accepted, Answer, Head, answer, judge_request, parse_head
from ..ration import RationedLogger
from .carrier import Carrier, Cover, tls_of
from .certificate import InsideTls, exporter_of, key_name_of
from .door import TurnedAway, Welcome
from .registry import SHUTDOWN
from .visit import Desk, Visit

BUSY_SECONDS = 60.0
"""When to come back while there are as many sessions as there may be."""
GRACE_SECONDS = 1.0
"""At a stop, beyond the five that a session takes to end."""
DRAIN_SECONDS = 5.0


@frozen(kw_only=True)
class Terms:
    """What the settings say of sessions."""

    plain: bool = False
    max_sessions: int = 4_000
    ping: float = 25.0
    drain: float = 5.0
    moved: Mapping[str, str] = MappingProxyType({})
    max_octets: int = MAX_EXCHANGE_OCTETS
    """Longest data of a command."""

    def limits(self) -> Limits:
        """What a session takes: no more than what agents of ours send, for there are many of them."""
        return Limits(data=self.max_octets, partial=4, request=64 * KIB, answer=MIB, streams=2)


class Endpoint:
    """
    Lets agents in, and sees them out at a stop.

    `tls` is what begins TLS inside; `random` gives floats from 0 up to 1.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        clock: IReactorTime,
        terms: Terms,
        tls: InsideTls | None,
        random: Callable[[], float],
    ) -> None:
        self._log = RationedLogger(__name__, clock=clock)
        self._desk = desk
        self._clock = clock
        self._terms = terms
        self._tls = tls
        self._random = random
        self._visits: set[Visit] = set()
        self._draining = False
        self.id = SERVER + desk.uuid

    def __len__(self) -> int:
        return len(self._visits)

    # At the door

    def receive(self, head: bytes, left: bytes, carrier: Carrier) -> TurnedAway | Welcome:
        """See Host."""
        try:
            found = self._judge(parse_head(head), left, carrier)
        except RemoteProtocolError as error:
            found = answer(400, str(error))
        if isinstance(found, tuple):
            accepted, inside = found
            return Welcome(
                answer=accepted.octets,
                begin=lambda transport: self._begin(transport, carrier, inside),
                tls=self._tls if inside else None,
            )
        text = "{peer} gets no session: {status} {why}"
        self._log.info(text, peer=carrier.peer, status=found.status, why=found.text)
        return TurnedAway(found.octets)

    def refuse_early(self, status: int, cause: str) -> bytes:
        """See Host."""
        return answer(status, cause).octets

    def _judge(self, head: Head, left: bytes, carrier: Carrier) -> tuple[Accepted, bool] | Answer:
        inside = self._is_inside(head, carrier)
        if isinstance(inside, Answer):
            return inside
        found = judge_request(
            head,
            is_served=lambda id: id == self.id,
            inside=inside,
            moved=self._terms.moved,
            draining_seconds=self._busy_seconds(),
            left=left,
        )
        if isinstance(found, Answer):
            return found
        place = self._terms.moved.get(found.server)
        if place is not None:
            return answer(303, f"this server is at {place}", (("Location", place),))
        return found, inside

    def _is_inside(self, head: Head, carrier: Carrier) -> bool | Answer:
        """Whether TLS begins inside; or why there can be no session."""
        if carrier.cover is not Cover.NONE:
            return False
        wants_inside = TLS_TOKEN.lower() in head.tokens("upgrade")
        if self._tls is not None:
            return wants_inside or not self._terms.plain
        if self._terms.plain and not wants_inside:
            return False
        text = "this listener has no TLS, and no certificate for TLS inside a session is configured (`session.certificate-file`)"
        return answer(501, text)

    def _busy_seconds(self) -> float | None:
        if self._draining:
            return self._come_back()
        return BUSY_SECONDS if len(self._visits) >= self._terms.max_sessions else None

    def _come_back(self) -> int:
        """Seconds, spread, so that not all return at once."""
        return max(1, round(self._terms.drain * (1 + self._random())))

    # Inside

    def _begin(self, transport: ITransport, carrier: Carrier, inside: bool) -> IProtocol:
        visit = Visit(
            desk=self._desk,
            clock=self._clock,
            evidence=_evidence(transport, carrier, inside=inside),
            address=carrier.peer,
            limits=self._terms.limits(),
            ping=self._terms.ping,
            random=self._random,
            strangers_log=self._log,
        )
        self._visits.add(visit)
        visit.peer.lost.addCallback(lambda _: self._visits.discard(visit))
        return visit.line

    def drain(self) -> "Deferred[None]":
        """Let nobody in any more, and say goodbye to all; fires when they are gone, after six seconds at the latest."""
        self._draining = True
        visits = list(self._visits)
        for visit in visits:
            visit.peer.close(SHUTDOWN, retry_after=self._come_back())
        drained: Deferred[None] = Deferred()
        timer = self._clock.callLater(DRAIN_SECONDS + GRACE_SECONDS, self._cut, drained)

        def gone(_: object) -> None:
            if timer.active():
                timer.cancel()
                drained.callback(None)

        DeferredList([visit.peer.lost for visit in visits]).addCallback(gone)
        return drained

    def _cut(self, drained: "Deferred[None]") -> None:
        for visit in list(self._visits):
            visit.line.cut()
        drained.callback(None)


def _evidence(transport: ITransport, carrier: Carrier, *, inside: bool) -> Evidence:
    """What TLS shows, its handshake done."""
    if not inside and carrier.cover is not Cover.TLS:
        return NOTHING_KNOWN
    tls = tls_of(transport)
    return Evidence(key=key_name_of(tls), exporter=exporter_of(tls) if inside else None)
