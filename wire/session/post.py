"""
A session in a POST: hello and requests in the body, hello, decision and answers in the answer (spec, 5.11).

For networks in which nothing upgrades. The client does not wait: what it asks stands behind its hello. So it offers one
codec, and proves no id by secret, since it has not seen the server's nonce; who it is, the request's headers or arguments
say. The server always decides, sends nothing before the body has ended, and then each answer when it is ended. Ids and
encodings begin anew with each POST. The decision's `upgrade` says whether the server takes sessions, so that a client can
come back to them.

Both ends are this class. It ends like a session: with Refused, Broken or Closed, an Aborted before it for each request
that has no answer. A server that is told Broken answers 400 with what `data_to_send` has.
"""

from collections.abc import Iterable

from attrs import evolve

from ..errors import LocalProtocolError, Malformed
from .agreement import Agreement, Closed, Opened, Profile, Refused, SessionEvent
from .decision import PROOF, Decision, Refusal, decision_map, read_decision
from .events import (
    Aborted,
    Broken,
    DecisionReceived,
    Event,
    Map,
    PeerClosed,
    Pinged,
    Ponged,
    Requested,
    Settings,
)
from .frame import Frame, Framer, FrameTooLarge, FrameType
from .handshake import Handshake, limits_from
from .hello import Hello, hello_map, read_hello
from .identity import Evidence, Role
from .limits import Limits
from .negotiation import Move, Negotiation, State
from .reactor import Reactor
from .values import CODECS

POST_PATH = "/exchange"
MEDIA_TYPE = "application/x-fieldpost-frames"
"""Of the body and the answer."""
"""Of the command `wait`, which stands in for a subscription."""
MOST_FRAMES = 4_096
"""In a body or an answer: they are looked at in one go, while nobody else is served."""
_PIECE_OCTETS = 64 * 1024
DONE, LOST = "done", "lost"
_FIRST = frozenset(
    {FrameType.HELLO, FrameType.DECISION, FrameType.ERROR, FrameType.CLOSE, FrameType.EXTENSION}
)
"""What may come before there is an agreement."""
AnyEvent = Event | SessionEvent


class Post:
    """
    One end of one POST.

    `evidence` is as for a Session. On a server, `allowed` are the commands that may be called, None for all, and
    `upgrade` tells clients whether sessions are to be had.
    """

    def __init__(
        self,
        *,
        role: Role,
        us: Profile,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        evidence: Evidence | None = None,
        allowed: Iterable[bytes] | None = None,
        upgrade: bool | None = None,
    ) -> None:
        if us.announces_proof:
            raise LocalProtocolError("a POST cannot carry a proof: it would need the other's nonce first")
        codecs = us.codecs[:1] if role is Role.CLIENT else us.codecs
        self.role = role
        self.agreement: Agreement | None = None
        """None until there is one."""
        self.upgrade: bool | None = upgrade
        """On a client: what the server said."""
        self._us = evolve(us, capabilities=(), codecs=codecs, encodings=())
        self._handshake = Handshake(
            role=role, us=self._us, limits=limits, evidence=evidence, master_secret=None
        )
        self._machine = Negotiation()
        self._framer = Framer(max(limits.frame, Limits().frame))  # the client sends before it knows ours
        codec = CODECS[codecs[0].encode()]
        is_server = role is Role.SERVER
        # A client cannot know how many requests the server takes in parts before its body has gone.
        self._reactor = reactor = Reactor(
            role,
            limits=limits,
            peer_limits=Limits(partial=1),
            codec=codec,
            deferred=is_server,
            unpacks=(),
        )
        self._frames_left = MOST_FRAMES
        self._allowed = None if allowed is None else frozenset(allowed)
        self._out: list[AnyEvent] = []
        self.respond, self.fail, self.drop = reactor.respond, reactor.fail, reactor.drop
        self.output, self.progress = reactor.output, reactor.progress
        """What the Reactor does alone; see there."""
        reactor.settings(hello_map(self._handshake.ours, says_last=False))

    @property
    def state(self) -> State:
        """Where we stand."""
        return self._machine.state

    # Octets

    def data_to_send(self, limit: int | None = None) -> bytes:
        """On a client, the body; on a server what there is of the answer, once the body has ended."""
        return self._reactor.data_to_send(limit)

    def receive_data(self, octets: bytes, now: float) -> list[AnyEvent]:
        """More of the body, or of the answer. Nothing is raised."""
        for start in range(0, len(octets), _PIECE_OCTETS):
            if self.state is State.CLOSED:
                break
            self._receive_piece(octets[start : start + _PIECE_OCTETS], now)
        return self._take_events()

    def _receive_piece(self, octets: bytes, now: float) -> None:
        fault: FrameTooLarge | None = None
        try:
            frames = self._framer.feed(octets)
        except FrameTooLarge as error:
            frames, fault = error.frames, error
        self._frames_left -= len(frames)
        if self._frames_left < 0:
            self._break("flood", f"more than {MOST_FRAMES} frames")
            return
        for frame in frames:
            self._receive(frame, now)
        if fault is not None and self.state is not State.CLOSED:
            self._break(fault.code, str(fault))

    def receive_end(self, now: float) -> list[AnyEvent]:
        """That was all of it."""
        missing = self._framer.end()
        if self.state is not State.CLOSED:
            if missing is not None:
                self._break("truncated", missing)
            elif self.role is Role.CLIENT:
                self._end_answer(now)
            elif self.agreement is None:
                self._break("no-hello", "the body ended before its hello did")
            else:
                self._out += self._reactor.end(now)
        return self._take_events()

    def _end_answer(self, now: float) -> None:
        is_whole = self.state is State.OPEN and not self._reactor.outstanding
        self._finish(Closed(reason=DONE if is_whole else LOST, by_peer=True), now)

    def _take_events(self) -> list[AnyEvent]:
        out, self._out = self._out, []
        return out

    # Frames

    def _receive(self, frame: Frame, now: float) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is not State.OPEN and frame.type not in _FIRST:
            self._break("early-frame", f"a frame of type {frame.type} before there is an agreement")
            return
        for event in self._reactor.receive(frame, now):
            self._absorb(event, now)

    def _absorb(self, event: Event, now: float) -> None:
        if isinstance(event, Settings):
            self._absorb_hello(event, now)
        elif isinstance(event, DecisionReceived):
            self._absorb_decision(event, now)
        elif isinstance(event, Requested) and self._allowed is not None and event.name not in self._allowed:
            self.fail(event.request, "not-registered", "register first: this is for those who have")
        elif isinstance(event, Broken):
            self._finish(event, now)
        elif not isinstance(event, (Pinged, Ponged, PeerClosed)):
            self._out.append(event)

    def _absorb_hello(self, event: Settings, now: float) -> None:
        try:
            hello = read_hello(event.values)
        except Malformed as error:
            self._break("hello-malformed", f"the peer's hello: {error}")
            return
        refusal = self._handshake.hear(hello) or self._find_fault(hello)
        if self.role is Role.CLIENT:
            self._hear_server(refusal, now)
        else:
            self._decide(refusal, now)

    def _find_fault(self, hello: Hello) -> Refusal | None:
        if self.role is Role.SERVER and hello.proof is not None:
            return Refusal(code=PROOF, text="a POST cannot carry a proof; say who you are in the request")
        return None

    def _hear_server(self, refusal: Refusal | None, now: float) -> None:
        if refusal is not None:
            self._refuse(refusal, now, by_peer=False)
        else:
            self._machine.make(Move.HEAR_HIGHER)

    def _decide(self, refusal: Refusal | None, now: float) -> None:
        if refusal is not None:
            self._reactor.decision(decision_map(refusal))
            self._refuse(refusal, now, by_peer=False)
            return
        self._machine.make(Move.HEAR_LOWER)
        terms = self._handshake.terms
        assert terms is not None
        decision = Decision(
            version=terms.version, codec=terms.codec, encodings=terms.encodings, upgrade=self.upgrade
        )
        self._reactor.decision(decision_map(decision))
        self._machine.make(Move.DECIDE)
        self._open(decision)

    def _absorb_decision(self, event: DecisionReceived, now: float) -> None:
        try:
            decision = read_decision(event.values)
        except Malformed as error:
            self._break("decision-malformed", f"the peer's decision: {error}")
            return
        if isinstance(decision, Refusal) and self.role is Role.CLIENT:
            self._refuse(decision, now, by_peer=True)
        elif isinstance(decision, Refusal) or self.state is not State.AWAITING:
            self._break("decision-unexpected", f"a decision while {self.state.value}")
        else:
            self._hear_decision(decision, now)

    def _hear_decision(self, decision: Decision, now: float) -> None:
        fault = self._handshake.find_fault(decision)
        if fault is not None:
            self._refuse(fault, now, by_peer=False)
            return
        self._machine.make(Move.HEAR_DECISION)
        self.upgrade = decision.upgrade
        self._open(decision)

    def _open(self, decision: Decision) -> None:
        agreement = self.agreement = self._handshake.agree(decision)
        reactor = self._reactor
        reactor.peer_limits = limits_from(agreement.peer)
        reactor.codec = CODECS[agreement.codec.encode()]
        self._out.append(Opened(agreement=agreement))

    # Ends

    def _refuse(self, refusal: Refusal, now: float, *, by_peer: bool) -> None:
        end = Refused(
            code=refusal.code,
            text=refusal.text or refusal.code,
            retry_after=refusal.retry_after,
            versions=refusal.versions,
            by_peer=by_peer,
        )
        self._finish(end, now)

    def _break(self, code: str, text: str) -> None:
        for event in self._reactor.break_off(code, text):
            self._absorb(event, 0.0)

    def _finish(self, end: Refused | Closed | Broken, now: float) -> None:
        self._machine.make(Move.END)
        text = end.reason if isinstance(end, Closed) else f"{end.code}: {end.text}"
        ended = self._reactor.end(now)
        self._out += [Aborted(event.request, text) for event in ended if type(event) is Aborted]
        self._out.append(end)

    # Requests of a client

    def request(
        self, name: bytes, args: Map, *, data: bytes | None = None, bulk: bool = False, now: float = 0.0
    ) -> int:
        """
        Ask for something; the id under which its events come.

        Before the first octet of the answer only. Raises Busy and LocalProtocolError.
        """
        if self.role is not Role.CLIENT or self.state is not State.GREETING:
            raise LocalProtocolError("a POST asks for all it wants before its answer begins")
        return self._reactor.request(name, args, data=data, bulk=bulk, now=now)
