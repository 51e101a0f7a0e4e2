"""
One end of a session: octets in, events out, and the time as an argument (spec, 5 and 6).

Both ends are this class. A Session says hello at once, negotiates, and is then what its Reactor is, with keepalive and
goodbye around it. What is asked of it before there is a session gets its id and waits; what the peer may ask is bounded
by what `decide` was told. Whatever comes in, nothing is raised: it ends in events, of which at most one is an end
(see `agreement`), and until that end there is always a deadline.

All that moves the machine of `negotiation` stands here, which makes it long. Until the session is open each frame is
looked at alone. A frame that has no business there ends it, hellos and decisions have limits of their own, and what follows
the decision in the same piece has the session's.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from ..errors import LocalProtocolError, Malformed, RemoteProtocolError
from .agreement import (
    Agreement,
    Closed,
    HelloReceived,
    Offered,
    Opened,
    ProbeAnswered,
    ProbeFailed,
    Profile,
    Refused,
    SessionEvent,
)
from .decision import (
    VERSION,
    Decision,
    Refusal,
    decision_map,
    read_decision,
)
from .early import Early
from .events import (
    Aborted,
    Broken,
    DecisionReceived,
    Event,
    PeerClosed,
    Pinged,
    Ponged,
    Requested,
    Settings,
    word_of,
)
from .frame import Framer, FrameTooLarge
from .goodbye import Goodbye
from .handshake import Handshake, limits_from
from .hello import CREDIT, PUSH, Hello, hello_map, proof_map, read_hello, read_proof
from .identity import Evidence, Role
from .keepalive import Keepalive
from .limits import Limits, Pool
from .negotiation import HANDSHAKE, Move, Negotiation, State
from .reactor import Reactor
from .requests import Requests
from .values import CODECS
from .waiting import Limit

HANDSHAKE_SECONDS = 20.0
TIMEOUT, LOST, DEAD, SLOW = "timeout", "lost", "dead", "slow"
CLOSING = "closing"
"""Why a request that still waited is aborted when the session ends."""
NOT_REGISTERED = "not-registered"
AnyEvent = Event | SessionEvent


def _middle() -> float:
    return 0.5


class Session:
    """
    One end.

    `limits` is what we take. `random` gives floats from 0 up to 1, for jitter. `evidence` is what the carrier knows of
    the peer; None: for a client, that it has checked the server's certificate; for a server, nothing. `master_secret`
    is the secret with which a peer may prove that it is our master; brokers need none. `pool` counts the data that have
    come in part, with those of other sessions.
    """

    def __init__(
        self,
        *,
        role: Role,
        us: Profile,
        now: float,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        random: Callable[[], float] = _middle,
        evidence: Evidence | None = None,
        master_secret: bytes | None = None,
        waiting: Limit = Limit(),  # noqa: B008 - frozen
        handshake_seconds: float = HANDSHAKE_SECONDS,
        pool: Pool | None = None,
    ) -> None:
        self.role = role
        self.agreement: Agreement | None = None
        """None until there is a session."""
        self._limits = limits
        self._random = random
        self._now = now
        self._deadline = now + handshake_seconds
        """Of the handshake."""
        self._machine = Negotiation()
        self._handshake = Handshake(
            role=role, us=us, limits=limits, evidence=evidence, master_secret=master_secret
        )
        self._early = Early()
        self._framer = Framer(limits.frame)
        self._reactor = Reactor(
            role,
            limits=limits,
            peer_limits=Limits(),
            most_settings=2,
            pool=pool,
            unpacks=(),
        )
        self._requests = Requests(role=role, reactor=self._reactor, limit=waiting)
        self._goodbye = Goodbye(self._reactor)
        self._has_proved = not us.announces_proof
        self._allowed: frozenset[bytes] | None = None
        self._keepalive: Keepalive | None = None
        self._out: list[AnyEvent] = []
        requests, reactor = self._requests, self._reactor
        self.request, self.send_data, self.cancel = requests.request, requests.send_data, requests.cancel
        """Ours, before there is a session too; see Requests."""
        self.respond, self.fail, self.drop = reactor.respond, reactor.fail, reactor.drop
        self.output, self.progress = reactor.output, reactor.progress
        self.consume, self.unsent_of = reactor.consume, reactor.unsent_of
        """What the Reactor does alone; see there."""
        self._reactor.settings(hello_map(self._handshake.ours, says_last=role is Role.CLIENT))

    # What there is to know

    @property
    def state(self) -> State:
        """Where we stand."""
        return self._machine.state

    @property
    def peer_hello(self) -> Hello | None:
        """What the peer said of itself, once it did."""
        return self._handshake.theirs

    @property
    def is_master(self) -> bool:
        """Whether we decide; known once the peer's hello is here."""
        return self._handshake.is_master

    @property
    def unsent(self) -> int:
        """Octets that wait to be written."""
        return self._reactor.unsent

    # Octets and time

    def receive_data(self, octets: bytes, now: float) -> list[AnyEvent]:
        """Octets came."""
        self._now = now
        state = self._machine.state
        if state is State.CLOSED or not octets:
            return []
        if self._keepalive is not None:
            self._keepalive.heard(now)
        if state in HANDSHAKE:
            self._receive_early(octets)
        else:
            self._receive_frames(octets)
        return self._take_events()

    def receive_end(self, now: float) -> list[AnyEvent]:
        """The input has ended: nothing more will come."""
        self._now = now
        state = self._machine.state
        if state is not State.CLOSED:
            missing = self._early.end() if state in HANDSHAKE else self._framer.end()
            self._finish(self._goodbye.end or Closed(reason=LOST, by_peer=True, missing=missing))
        return self._take_events()

    def data_to_send(self, limit: int | None = None) -> bytes:
        """What is to be written now, at most `limit` octets."""
        return self._reactor.data_to_send(limit)

    @property
    def has_more(self) -> bool:
        """Whether the limit, and nothing else, kept `data_to_send` from giving more."""
        return self._reactor.has_more

    @property
    def most_data(self) -> int:
        """Octets of command data that the peer holds for all that we ask at once; what it has not told yet is the usual."""
        return self._reactor.peer_limits.data

    def next_deadline(self) -> float | None:
        """When to call `tick`; None once it is over."""
        state = self._machine.state
        if state is State.CLOSED:
            return None
        if self._keepalive is None:
            return self._deadline
        if self._reactor.unsent > self._limits.unsent_close or self._goodbye.is_done:
            return self._now
        first, goodbye, reactor = (
            self._keepalive.next_deadline(),
            self._goodbye.deadline,
            self._reactor.next_deadline(),
        )
        if goodbye is not None and goodbye < first:
            first = goodbye
        return first if reactor is None or first < reactor else reactor

    def tick(self, now: float) -> list[AnyEvent]:
        """Time has passed. Harmless when called too early."""
        self._now = now
        state = self._machine.state
        if state in HANDSHAKE:
            self._tick_handshake()
        elif state is not State.CLOSED:
            self._tick_session()
        return self._take_events()

    def _tick_handshake(self) -> None:
        if self._now >= self._deadline:
            text = f"negotiation timeout: no session after the time for it, while {self.state.value}"
            self._refuse(Refusal(code=TIMEOUT, text=text))

    def _tick_session(self) -> None:
        assert self._keepalive is not None
        now, goodbye = self._now, self._goodbye
        if self.unsent > self._limits.unsent_close:
            self._finish(Closed(reason=SLOW))
        elif self._keepalive.is_dead(now):
            goodbye.say(DEAD, now=now)
            self._finish(goodbye.end or Closed(reason=DEAD))
        elif goodbye.deadline is not None and now >= goodbye.deadline:
            self._finish(goodbye.end or Closed(reason=LOST))
        else:
            self._absorb_all(self._reactor.tick(now))
            self._tick_keepalive(self._keepalive)
            self._finish_when_drained()

    def _tick_keepalive(self, keepalive: Keepalive) -> None:
        if keepalive.fail_probe(self._now):
            self._out.append(ProbeFailed())
        cookie = keepalive.ping_due(self._now)
        if cookie is not None:
            self._reactor.ping(cookie)

    def _take_events(self) -> list[AnyEvent]:
        out, self._out = self._out, []
        return out

    # Frames

    def _receive_early(self, octets: bytes) -> None:
        early = self._early
        early.feed(octets)
        try:
            while self.state in HANDSHAKE and (frame := early.next()) is not None:
                self._absorb_all(self._reactor.receive(frame, self._now))
        except RemoteProtocolError as error:
            self._break(error.code, str(error))
        self._leave_early()

    def _leave_early(self) -> None:
        """What is left of the negotiation's input is the session's, a frame's beginning too."""
        if self.state not in HANDSHAKE:
            rest = self._early.take_rest()
            if rest and self.state is not State.CLOSED:
                self._receive_frames(rest)

    def _receive_frames(self, octets: bytes) -> None:
        reactor, now = self._reactor, self._now
        fault: FrameTooLarge | None = None
        try:
            frames = self._framer.feed(octets)
        except FrameTooLarge as error:
            frames, fault = error.frames, error
        for frame in frames:
            events = reactor.receive(frame, now)
            if events:
                self._absorb_all(events)
        if self.state is State.CLOSED:
            return
        if fault is not None:
            self._break(fault.code, str(fault))
            return
        if self.state is State.OPEN:
            self._out += self._requests.flush(self._now)
        self._finish_when_drained()

    def _absorb_all(self, events: Iterable[Event]) -> None:
        absorbers = self._ABSORBERS
        for event in events:
            absorb = absorbers.get(type(event))
            if absorb is None:
                self._out.append(event)
            else:
                absorb(self, event)

    # Hello and decision

    def _absorb_settings(self, event: Settings) -> None:
        try:
            if self.state is State.GREETING:
                self._hear_hello(read_hello(event.values))
            elif self.state in HANDSHAKE and self._handshake.awaits_proof:
                self._hear_proof(read_proof(event.values))
            else:
                self._break("settings-repeated", "a second hello")
        except Malformed as error:
            self._break("hello-malformed", f"the peer's hello: {error}")

    def _hear_hello(self, hello: Hello) -> None:
        handshake = self._handshake
        refusal = handshake.hear(hello)
        if refusal is not None:
            self._refuse(refusal)
        elif not handshake.is_master:
            self._machine.make(Move.HEAR_HIGHER)
            self._out.append(HelloReceived(hello=hello))
        else:
            self._machine.make(Move.HEAR_CLAIM if handshake.awaits_proof else Move.HEAR_LOWER)
            if not self._has_proved:
                self._out.append(HelloReceived(hello=hello))
            if not handshake.awaits_proof:
                self._out.append(Offered(hello=hello, proof=None))

    def _hear_proof(self, proof: bytes) -> None:
        self._handshake.proof = proof
        self._machine.make(Move.HEAR_PROOF)
        hello = self._handshake.theirs
        if self.state is State.OFFERED and hello is not None:
            self._out.append(Offered(hello=hello, proof=proof))

    def _absorb_decision(self, event: DecisionReceived) -> None:
        try:
            decision = read_decision(event.values)
        except Malformed as error:
            self._break("decision-malformed", f"the peer's decision: {error}")
            return
        if isinstance(decision, Refusal) and self.state in HANDSHAKE:
            self._finish(_refused(decision, by_peer=True))
        elif isinstance(decision, Decision) and self.state is State.AWAITING:
            self._hear_decision(decision)
        else:
            self._break("decision-unexpected", f"a decision while {self.state.value}")

    def _hear_decision(self, decision: Decision) -> None:
        fault = self._handshake.find_fault(decision)
        if fault is not None:
            self._refuse(fault)
            return
        self._machine.make(Move.HEAR_DECISION)
        self._open(self._handshake.agree(decision))

    def send_proof(self, proof: bytes) -> None:
        """
        Show the peer that we are who we say; once, when its hello is here, and only if it was announced.

        Raises LocalProtocolError otherwise. Nothing happens when it is over already.
        """
        if self.state is State.CLOSED:
            return
        if self._has_proved or self.state not in HANDSHAKE or self.peer_hello is None:
            raise LocalProtocolError("a proof goes out once, after the peer's hello, and only when announced")
        self._has_proved = True
        self._reactor.settings(proof_map(proof))

    def make_proof(self, secret: bytes) -> bytes:
        """What `send_proof` takes, under the secret that we share with the peer. After the peer's hello only."""
        if self.peer_hello is None:
            raise LocalProtocolError("a proof needs the peer's hello")
        return self._handshake.make_proof(secret)

    def is_proved_by(self, secret: bytes) -> bool:
        """Whether the peer's proof came and was made under this secret."""
        return self._handshake.is_proved_by(secret)

    def decide(
        self,
        *,
        connection: tuple[bytes, int],
        session: bytes | None = None,
        allowed: Iterable[bytes] | None = None,
        now: float,
    ) -> list[AnyEvent]:
        """
        Let there be a session, after Offered.

        `connection` is our incarnation and the number of this connection; `session` is for logs; `allowed` are the
        commands that the peer may call, None for all: others get the command error `not-registered`, its data are
        bounded by Limits.stranger_data, and it packs nothing. Raises LocalProtocolError when there is nothing to decide. Nothing happens when it is over already.
        """
        self._now = now
        if self.state is State.CLOSED:
            return []
        if not self._has_proved:
            raise LocalProtocolError("our own proof was announced and has to be sent before the decision")
        self._machine.make(Move.DECIDE)
        decision = self._handshake.decide(connection, session, packs=allowed is None)
        if allowed is not None:
            self._allowed = frozenset(allowed)
            self._reactor.distrust()
        self._reactor.decision(decision_map(decision))
        self._open(self._handshake.agree(decision))
        self._leave_early()
        return self._take_events()

    def refuse(self, code: str, text: str, retry_after: int | None = None, *, now: float) -> list[AnyEvent]:
        """
        Let there be none.

        Raises LocalProtocolError once there is one. Nothing happens when it is over already.
        """
        self._now = now
        if self.state in HANDSHAKE:
            self._refuse(Refusal(code=code, text=text, retry_after=retry_after))
        elif self.state is not State.CLOSED:
            raise LocalProtocolError("there is a session; close it")
        return self._take_events()

    def _refuse(self, refusal: Refusal) -> None:
        """The master says why in a decision; ranges that do not meet the other sees for itself; else a goodbye."""
        if self.peer_hello is not None and self.is_master:
            self._reactor.decision(decision_map(refusal))
        elif self.state is not State.GREETING or refusal.code != VERSION:
            self._reactor.close({b"reason": refusal.code.encode("ascii", "replace")})
        self._finish(_refused(refusal, by_peer=False))

    def _open(self, agreement: Agreement) -> None:
        self.agreement = agreement
        interval, dead_after = agreement.keepalive
        self._keepalive = Keepalive(
            interval=interval, dead_after=dead_after, now=self._now, random=self._random
        )
        self._reactor.agree(
            peer_limits=limits_from(agreement.peer),
            codec=CODECS[agreement.codec.encode()],
            encodings=tuple(map(str.encode, agreement.encodings)),
            credit=CREDIT in agreement.capabilities,
        )
        self._out.append(Opened(agreement=agreement))
        may_ask = self.role is Role.CLIENT or self._has(PUSH)
        self._out += self._requests.open(may_ask=may_ask, now=self._now)

    # Goodbyes

    def close(
        self, reason: str, retry_after: int | None = None, location: str | None = None, *, now: float
    ) -> list[AnyEvent]:
        """
        Say goodbye. What runs has five seconds to end; then, or when all has ended, comes Closed.

        Before there is a session this ends it at once. Nothing happens when goodbye was said already.
        """
        self._now = now
        if self.state in HANDSHAKE:
            self._reactor.close({b"reason": reason.encode("ascii", "replace")})
            self._finish(Closed(reason=reason))
        elif self.state is not State.CLOSED and not self._goodbye.is_said:
            self._goodbye.say(reason, retry_after, location, now=now)
            self._start_closing()
        return self._take_events()

    def _start_closing(self) -> None:
        self._machine.make(Move.GOODBYE)
        self._out += [Aborted(request, CLOSING) for request in self._requests.close(CLOSING)]
        self._finish_when_drained()

    def _absorb_goodbye(self, event: PeerClosed) -> None:
        said = self._goodbye.hear(event, self._now)
        if self.state in HANDSHAKE:
            text = f"the peer said goodbye before there was a session: {said.reason}"
            self._finish(Refused(code=said.reason, text=text, retry_after=said.retry_after, by_peer=True))
            return
        self._out.append(event)
        self._goodbye.say(said.reason, now=self._now)
        self._start_closing()

    def _finish_when_drained(self) -> None:
        if self.state is State.CLOSING and self._goodbye.is_done:
            self._finish(self._goodbye.end or Closed(reason=LOST))

    def _finish(self, end: Refused | Closed | Broken) -> None:
        """It is over: tell so of each request that will have no other end, then of the session."""
        self._machine.make(Move.END)
        text = end.reason if isinstance(end, Closed) else f"{end.code}: {end.text}"
        ended = self._reactor.end(self._now)
        self._out += [Aborted(event.request, text) for event in ended if type(event) is Aborted]
        self._out += [Aborted(request, text) for request in self._requests.close(self.state.value)]
        self._out.append(end)
        self._early.take_rest()

    def _break(self, code: str, text: str) -> None:
        """The peer broke a rule."""
        self._absorb_all(self._reactor.break_off(code, text))

    def _absorb_broken(self, event: Broken) -> None:
        self._finish(event)

    # Pings

    def probe(self, now: float) -> list[AnyEvent]:
        """Ask whether the peer lives: ProbeAnswered or ProbeFailed follows, for all who ask meanwhile."""
        self._now = now
        if self._keepalive is None or self.state is State.CLOSED:
            self._out.append(ProbeFailed())
        elif not self._keepalive.is_probing:
            self._reactor.ping(self._keepalive.probe(now))
        return self._take_events()

    def _absorb_ping(self, event: Pinged) -> None:
        self._reactor.pong(event.cookie)

    def _absorb_pong(self, event: Ponged) -> None:
        keepalive = self._keepalive
        if keepalive is not None and keepalive.answered(event.cookie, self._now):
            self._out.append(ProbeAnswered())

    # Requests of the peer

    def _absorb_request(self, event: Requested) -> None:
        if self.role is Role.CLIENT and not self._has(PUSH):
            self._break("push-not-agreed", f"request {event.request} without the capability `push`")
        elif self._allowed is not None and event.name not in self._allowed:
            name = word_of(event.name[:40])
            self._reactor.fail(
                event.request, NOT_REGISTERED, f"register first: `{name}` is for those who have"
            )
        else:
            self._out.append(event)

    def _has(self, capability: str) -> bool:
        return self.agreement is not None and capability in self.agreement.capabilities

    _ABSORBERS: ClassVar[dict[type, Callable[["Session", Any], None]]] = {
        Settings: _absorb_settings,
        DecisionReceived: _absorb_decision,
        PeerClosed: _absorb_goodbye,
        Pinged: _absorb_ping,
        Ponged: _absorb_pong,
        Requested: _absorb_request,
        Broken: _absorb_broken,
    }
    """What is not for the application alone; Any: each takes its own event."""


def _refused(refusal: Refusal, *, by_peer: bool) -> Refused:
    return Refused(
        code=refusal.code,
        text=refusal.text or refusal.code,
        retry_after=refusal.retry_after,
        versions=refusal.versions,
        by_peer=by_peer,
    )
