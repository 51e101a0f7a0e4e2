"""
The other end of a session, as application code of either end knows it: it can be called, and it calls.

A Peer lives as long as its session. It may be called before the session is open: the session keeps the calls, in order,
behind the decision (spec/wire.md Z2), and they fail when there is none (Z9). When the session ends, everything that has
no answer fails once with SessionLost (Z17), then `lost` fires; whoever wants to come back reads there when and where.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...wire.cbor import Value
from ...wire.session.agreement import (
    Agreement,
    Closed,
    HelloReceived,
    Offered,
    Opened,
    ProbeAnswered,
    ProbeFailed,
    Refused,
    SessionEvent,
)
from ...wire.session.events import (
    Aborted,
    Broken,
    Cancelled,
    Event,
    Failed,
    Output,
    PeerClosed,
    Progress,
    Requested,
    Responded,
)
from ...wire.session.hello import Hello
from ...wire.session.session import Session
from .answers import Answers, Handler
from .calls import MAX_ANSWER, Args, Calls, OnOutput, OnProgress, OnSent, OnValue, Stream
from .errors import LOST, TEXTS, SessionLost, SessionRefused
from .later import Moment


@frozen(kw_only=True)
class Ending:
    """How a session ended."""

    reason: str
    """A short word: `lost`, `slow`, the peer's own, or ours."""
    text: str
    """For people."""
    by_peer: bool = False
    """The peer said so."""
    retry_after: float | None = None
    """Seconds, after which the peer wants to be asked again; add jitter."""
    location: str | None = None
    """Where the peer sends us."""


class Carrier(Protocol):
    """The connection below, as a Peer needs it."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing can be written now."""

    def wake(self) -> None:
        """There is something to write."""

    def finish(self) -> None:
        """Say the last words and end."""


Deciding = Callable[["Peer", Offered], object]
Proving = Callable[["Peer", Hello], object]


class Peer:
    """
    What the other end can be asked, and what it may ask.

    `on_offered` is called when it is for this side to decide whether there will be a session: it answers with `decide` or
    `refuse`, then or later. `on_hello` is called when the peer has said who it is and a proof of ours may be due: `prove`.
    `max_answer` are the octets of an answer that is kept until it is whole.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        handlers: Mapping[str, Handler],
        on_offered: Deciding | None = None,
        on_hello: Proving | None = None,
        max_answer: int = MAX_ANSWER,
        log: Logger | None = None,
    ) -> None:
        self._clock = clock
        self._max_answer = max_answer
        self._handlers = handlers
        self._on_offered = on_offered
        self._on_hello = on_hello
        if log is not None:
            self.log = log
        self._opened: Moment[Agreement] = Moment()
        self._lost: Moment[Ending] = Moment()
        self._probed: Moment[bool] | None = None
        self.ending: Ending | None = None
        """How the session ends, once that has begun."""
        self.hello: Hello | None = None
        """What the peer said of itself; None until it did. Believe it when the session is open."""
        self.agreement: Agreement | None = None
        """What is in force; None until the session is open."""

    def start(self, session: Session, carrier: Carrier) -> None:
        """This is the session, and its connection. A SessionLine calls it when it is made."""
        self._session = session
        self._carrier = carrier
        self._calls = Calls(
            session=session,
            now=self._clock.seconds,
            wake=carrier.wake,
            max_answer=self._max_answer,
            log=self.log,
        )
        self._answers = Answers(
            session=session,
            handlers=self._handlers,
            is_paused=lambda: carrier.is_paused,
            wake=carrier.wake,
            log=self.log,
        )
        self._takers: dict[type, Callable[[Any], object]] = {  # Any: each takes its own kind of event
            Responded: self._calls.responded,
            Requested: self._answers.requested,
            Failed: self._calls.failed,
            Output: self._calls.output,
            Progress: self._calls.progress,
            Cancelled: self._answers.cancelled,
            Aborted: self._aborted,
            Offered: self._offered,
            HelloReceived: self._heard,
            Opened: self._open,
            Refused: self._refused,
            PeerClosed: self._peer_closes,
            Closed: self._closed,
            Broken: self._broke,
            ProbeAnswered: self._answered,
            ProbeFailed: self._unanswered,
        }

    # Calls

    def call(
        self,
        name: str,
        args: Args | None = None,
        *,
        data: bytes | None = None,
        bulk: bool = False,
        on_value: OnValue | None = None,
        on_output: OnOutput | None = None,
        on_progress: OnProgress | None = None,
        on_sent: OnSent | None = None,
    ) -> "Deferred[tuple[Value, ...]]":
        """
        Ask the peer; fires with the values of the answer, or with none of them when `on_value` has them one by one.

        Fails with CommandFailed, SessionLost, TooManyCalls, or with LocalProtocolError when the arguments do not
        travel. To cancel it is to take the call back; it fails with CallCancelled. `bulk` says that the data are worth
        packing, and hold no secrets beside what others may have chosen. `on_sent` is called when all of it has left, unless
        it ends before: calls take turns, and a short one overtakes a long one that still leaves.
        """
        return self._calls.call(name, args, data, bulk, on_value, on_output, on_progress, on_sent)

    def stream(self, name: str, args: Args | None, on_value: OnValue) -> Stream:
        """Ask for an answer that stays open."""
        return Stream(self._calls.call(name, args, on_value=on_value))

    def tell(self, name: str, args: Args | None = None) -> None:
        """Ask for something whose answer nobody waits for; the log has it when it fails."""
        told = self.call(name, args)
        told.addErrback(lambda failure: self.log.info("`{name}`: {why}", name=name, why=str(failure.value)))

    @property
    def unanswered(self) -> int:
        """How many of our calls have no answer yet."""
        return len(self._calls)

    @property
    def at_work(self) -> int:
        """How many of the peer's calls are not answered yet."""
        return len(self._answers)

    # The session

    @property
    def opened(self) -> "Deferred[Agreement]":
        """Fires when the session is open; fails with SessionRefused, or SessionLost. A new one each time."""
        return self._opened.when()

    @property
    def lost(self) -> "Deferred[Ending]":
        """Fires when the connection is over, however that came; never fails. A new one each time."""
        return self._lost.when()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made now that go out at once."""
        return self.agreement is not None and self.ending is None

    def decide(
        self, *, connection: tuple[bytes, int], session: bytes, allowed: Iterable[str] | None = None
    ) -> None:
        """
        Let there be a session.

        `connection` is our incarnation and the number of this connection, `session` a name for logs, `allowed` the
        commands that the peer may call, None for all that there are. Raises LocalProtocolError when there is nothing to
        decide any more, because the peer went or waited too long.
        """
        names = None if allowed is None else frozenset(name.encode() for name in allowed)
        now = self._clock.seconds()
        self._take_now(self._session.decide(connection=connection, session=session, allowed=names, now=now))

    def refuse(self, code: str, text: str, retry_after: int | None = None) -> None:
        """Let there be none."""
        now = self._clock.seconds()
        self._take_now(self._session.refuse(code, text, retry_after=retry_after, now=now))

    def is_proved_by(self, secret: bytes) -> bool:
        """Whether the peer showed that it has this secret: for `on_offered`."""
        return self._session.is_proved_by(secret)

    def prove(self, secret: bytes) -> None:
        """Show the peer that we have it: in `on_hello`, when our profile announced a proof."""
        self._session.send_proof(self._session.make_proof(secret))
        self._carrier.wake()

    def close(self, reason: str, retry_after: int | None = None, location: str | None = None) -> None:
        """Say goodbye. What is under way has a few seconds to end; nothing new begins."""
        if self.ending is None:
            self._end_with(_goodbye(reason, False, None, None))
            now = self._clock.seconds()
            self._take_now(self._session.close(reason, retry_after=retry_after, location=location, now=now))

    def probe(self) -> "Deferred[bool]":
        """Whether the peer lives: asks it now, unless that is being asked already."""
        if self._lost.is_over:
            return succeed(False)
        if self._probed is None:
            self._probed = Moment()
            probed = self._probed.when()
            self._take_now(self._session.probe(self._clock.seconds()))
            return probed
        return self._probed.when()

    # What comes

    def take(self, events: Sequence[Event | SessionEvent]) -> None:
        """
        What the session tells, one after the other in order.

        What goes wrong with one does not touch those behind it (Z22).
        """
        if events and type(events[-1]) in _ENDS:
            self._end_with(_ending_of(events[-1]))  # those before it, which it ends, are to know why
        takers = self._takers
        rest = iter(events)
        while True:
            try:
                for event in rest:
                    taker = takers.get(type(event))
                    if taker is not None:
                        taker(event)
                return
            except Exception:  # noqa: BLE001 - it is logged; whatever it was, the next event is another's
                self.log.failure("what a peer sent could not be handled")

    def produce(self) -> bool:
        """There is room: let those say more who wait for that; whether they did."""
        return self.agreement is not None and (self._calls.produce() | self._answers.produce())

    def end(self, reason: str) -> None:
        """The connection is over. If nobody had said why, this is why."""
        if self.ending is None:
            self.ending = Ending(reason=reason, text=TEXTS.get(reason, reason))
        lost = self._lost_error()
        self._calls.lose(lost)
        self._answers.lose()
        self._opened.happen(Failure(lost))
        if self._probed is not None:
            self._probed.happen(False)
        self._lost.happen(self.ending)

    def _lost_error(self) -> SessionLost:
        ending = self.ending
        if ending is None:
            return SessionLost(LOST)
        return SessionLost(ending.reason, ending.text)

    def _end_with(self, ending: Ending) -> None:
        """Let no new call begin. The first to say why is right."""
        if self.ending is None:
            self.ending = ending
            self._calls.close(self._lost_error())
            self._answers.part()

    def _take_now(self, events: Sequence[Event | SessionEvent]) -> None:
        """What the session tells because we asked something of it."""
        self.take(events)
        self._carrier.wake()

    def _aborted(self, event: Aborted) -> None:
        if not self._calls.aborted(event, self._lost_error()):
            self._answers.aborted(event)

    def _offered(self, event: Offered) -> None:
        self.hello = event.hello
        if self._on_offered is None:
            self.refuse("internal", "nobody decides about sessions here")
        else:
            self._on_offered(self, event)

    def _heard(self, event: HelloReceived) -> None:
        self.hello = event.hello
        if self._on_hello is not None:
            self._on_hello(self, event.hello)

    def _open(self, event: Opened) -> None:
        self.agreement = event.agreement
        self.hello = event.agreement.peer
        self._calls.resume()
        self._opened.happen(event.agreement)

    def _refused(self, event: Refused) -> None:
        self._opened.happen(Failure(_refusal_of(event)))
        self._carrier.finish()

    def _peer_closes(self, event: PeerClosed) -> None:
        self._end_with(_ending_of(event))

    def _closed(self, _: Closed) -> None:
        self._carrier.finish()

    def _broke(self, event: Broken) -> None:
        self.log.warn("session broken: {text} ({code})", text=event.text, code=event.code)
        self._carrier.finish()

    def _answered(self, _: ProbeAnswered) -> None:
        self._conclude(True)

    def _unanswered(self, _: ProbeFailed) -> None:
        self._conclude(False)

    def _conclude(self, lives: bool) -> None:
        probed, self._probed = self._probed, None
        if probed is not None:
            probed.happen(lives)


_ENDS = frozenset({Refused, Closed, Broken})


def _refusal_of(event: Refused) -> SessionRefused:
    return SessionRefused(
        event.code,
        event.text,
        retry_after=event.retry_after,
        by_peer=event.by_peer,
        versions=event.versions,
    )


def _ending_of(event: Event | SessionEvent) -> Ending:
    """What an end, or the peer's goodbye, says."""
    if isinstance(event, Refused):
        text = str(_refusal_of(event))
        return Ending(reason=event.code, text=text, by_peer=event.by_peer, retry_after=event.retry_after)
    if isinstance(event, Broken):
        return Ending(reason=event.code, text=f"the peer broke a rule: {event.text}")
    if isinstance(event, PeerClosed):
        reason, where = event.reason, event.location
        return _goodbye(_text(reason), True, event.retry_after, None if where is None else _text(where))
    if isinstance(event, Closed):
        ending = _goodbye(event.reason, event.by_peer, event.retry_after, event.location)
        return evolve(ending, text=f"{ending.text}: {event.missing}") if event.missing else ending
    return Ending(reason=LOST, text=TEXTS[LOST])


def _goodbye(reason: str, by_peer: bool, retry_after: float | None, location: str | None) -> Ending:
    who = "the peer" if by_peer else "this side"
    return Ending(
        reason=reason,
        text=TEXTS.get(reason, f"{who} ended it: {reason}"),
        by_peer=by_peer,
        retry_after=retry_after,
        location=location,
    )


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
