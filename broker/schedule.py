"""
When the next exchange comes (landscape 1.9). A pure object: it is told the time and what happened, and says what is due.

There is always at most one plan: an exchange at a moment, and before it a moment at which plugins are told, so that they
flush what they have gathered. What moves the plan:

*   *Start*: an urgent exchange, at a random moment of the interval's second half, so that a hall of machines that
    got its power back does not call as one.
*   *Asking*: an urgent exchange is due within the urgent interval, one at once now. Asking moves a plan forward, never
    back: urgent never postpones. Asked during an exchange it counts for the next one (fault L12).
*   *A live session*: what is urgent goes at once, all but a moment in which more may come along. A session that opens is
    proof that the server is there: it ends a back-off, unless the server asked for that.
*   *A good exchange*: the normal interval, shortened by a random tenth; or what was asked for meanwhile; or at once
    when the server took messages and more are pending, so that a backlog drains.
*   *A failed one*: back-off. Until that delay is over nobody gets an earlier exchange by asking; what was asked for
    before the failure is settled by the attempt that follows.

All that is asked for at once without the server having taken messages is rationed: after `MAX_RUSHED` in a row it waits
the urgent interval. Otherwise a server that forgets us in every answer, or a plugin gone mad, would make the two of us
spin. What the server itself calls for has a ration of its own, far above what operators need: it knows what it can
take, but this machine is not to spin for it either.

Everything is clamped to what survives (fault L11): intervals to `MIN_INTERVAL`..`MAX_INTERVAL`, the announcement to now.
"""

from enum import Enum
from random import Random

from attrs import evolve, field, frozen

from ..wire.errors import FieldpostError
from .backoff import Backoff

MIN_INTERVAL = 1.0
MAX_INTERVAL = 7 * 86_400.0
"""Seconds. A server may slow its agents down, but not lose them."""
MAX_RUSHED = 8
MAX_CALLED = 200
CALLED_EACH_SECOND = 20.0
"""Exchanges that the server calls for: so many at once, and so many each second from then on."""
LIVE_URGENT = 0.1
"""Seconds that what is urgent waits for company while a session is live."""
ANNOUNCE_LEAD = 10.0
"""Seconds between the announcement of an exchange and the exchange."""
NORMAL_SPREAD = 0.1
FIRST_SPREAD = 0.5
"""How much of an interval chance may take off it."""


class ScheduleError(FieldpostError):
    """The schedule was told of something that cannot happen in its state: a mistake of ours."""


class Urgency(Enum):
    """How soon somebody wants an exchange."""

    NORMAL = "normal"
    URGENT = "urgent"
    AT_ONCE = "at once"
    CALLED = "called for by the server"


class State(Enum):
    """Where the schedule stands."""

    STOPPED = "stopped"
    WAITING = "waiting"
    """An exchange is planned."""
    ANNOUNCED = "announced"
    """The same, and plugins have been told."""
    EXCHANGING = "exchanging"


class Input(Enum):
    """What may happen to it."""

    START = "start"
    STOP = "stop"
    ASK = "ask"
    ANNOUNCE = "announce"
    BEGIN = "begin"
    FINISH = "finish"


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.STOPPED, Input.START): State.WAITING,
    (State.STOPPED, Input.STOP): State.STOPPED,
    (State.STOPPED, Input.ASK): State.STOPPED,
    (State.STOPPED, Input.FINISH): State.STOPPED,
    (State.WAITING, Input.STOP): State.STOPPED,
    (State.WAITING, Input.ASK): State.WAITING,
    (State.WAITING, Input.ANNOUNCE): State.ANNOUNCED,
    (State.WAITING, Input.BEGIN): State.EXCHANGING,
    (State.ANNOUNCED, Input.STOP): State.STOPPED,
    (State.ANNOUNCED, Input.ASK): State.ANNOUNCED,
    (State.ANNOUNCED, Input.BEGIN): State.EXCHANGING,
    (State.EXCHANGING, Input.STOP): State.STOPPED,
    (State.EXCHANGING, Input.ASK): State.EXCHANGING,
    (State.EXCHANGING, Input.FINISH): State.WAITING,
}
"""All that moves the schedule; a pair that is not here is an error. docs/exchange.md shows it."""


def clamp_interval(interval: float) -> float:
    """The nearest interval that an agent survives (fault L11)."""
    return float(max(MIN_INTERVAL, min(MAX_INTERVAL, interval)))


def _clamp_drain(interval: float) -> float:
    return float(max(0.0, min(MAX_INTERVAL, interval)))


@frozen(kw_only=True)
class Intervals:
    """Seconds between exchanges, as configured or as the server has set them; clamped."""

    normal: float = field(default=900.0, converter=clamp_interval)
    urgent: float = field(default=60.0, converter=clamp_interval)
    drain: float = field(default=0.0, converter=_clamp_drain)
    """Before the next exchange while a backlog drains."""

    def changed(self, *, normal: float | None, urgent: float | None) -> "Intervals":
        """With what the server has set in place of what is configured."""
        return evolve(
            self,
            normal=self.normal if normal is None else normal,
            urgent=self.urgent if urgent is None else urgent,
        )


@frozen
class Good:
    """An exchange went well. `draining`: the server took messages, and more are pending."""

    draining: bool = False


@frozen
class Bad:
    """An exchange failed. `retry_after`: seconds that the server asked us to stay away."""

    retry_after: float | None = None


class Due(Enum):
    """What it is time for."""

    ANNOUNCEMENT = "announcement"
    EXCHANGE = "exchange"


class Schedule:
    """One plan and what moves it. All times are float seconds of one clock."""

    def __init__(self, *, intervals: Intervals, backoff: Backoff, random: Random) -> None:
        self._intervals = intervals
        self._backoff = backoff
        self._random = random
        self._state = State.STOPPED
        self._at: float | None = None
        self._announce_at: float | None = None
        self._not_before = 0.0
        self._asked = Urgency.NORMAL
        self._is_rush = False
        self._rushed = 0
        self._is_called = False
        self._calls = float(MAX_CALLED)
        """How many the server may still call for now, as of `_counted_at`."""
        self._counted_at: float | None = None
        self._is_live = False
        self._is_told_to_wait = False

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def exchange_at(self) -> float | None:
        """When the next exchange is planned."""
        return self._at

    @property
    def failures(self) -> int:
        """How many steps of back-off weigh on the next attempt."""
        return self._backoff.steps

    @property
    def intervals(self) -> Intervals:
        """Those in force."""
        return self._intervals

    def use_intervals(self, intervals: Intervals) -> None:
        """In force from the next plan on."""
        self._intervals = intervals

    def set_live(self, is_live: bool, now: float) -> None:
        """Whether a session is open from now on."""
        self._is_live = is_live
        if is_live and not self._is_told_to_wait:
            self._not_before = 0.0
            if self._backoff.steps and self._at is not None:
                self._advance(self._at, now, Urgency.URGENT)

    def start(self, now: float) -> None:
        """Plan the first exchange."""
        self._move(Input.START)
        self._plan(now, self._spread(self._intervals.urgent, FIRST_SPREAD))

    def stop(self) -> None:
        """Forget the plan."""
        self._move(Input.STOP)
        self._at = self._announce_at = None

    def ask(self, urgency: Urgency, now: float) -> None:
        """Somebody wants an exchange; see the module for what comes of it."""
        self._move(Input.ASK)
        if self._state is State.EXCHANGING:
            self._asked = max(self._asked, urgency, key=_ORDER.index)
        elif self._at is not None and urgency is not Urgency.NORMAL:
            self._advance(self._at, now, urgency)

    def begin(self) -> None:
        """An exchange begins, planned or not."""
        self._move(Input.BEGIN)
        self._rushed = self._rushed + 1 if self._is_rush else 0
        self._calls -= self._is_called
        self._is_called = False
        self._at = self._announce_at = None
        self._asked = Urgency.NORMAL

    def finish(self, outcome: Good | Bad, now: float) -> None:
        """It ended; plan the next."""
        self._move(Input.FINISH)
        if self._state is State.STOPPED:
            return
        if isinstance(outcome, Bad):
            self._is_told_to_wait = outcome.retry_after is not None
            delay = self._backoff.failed(outcome.retry_after)
            self._plan(now, delay, not_before=now + delay)
            return
        self._is_told_to_wait = False
        self._backoff.succeeded()
        if outcome.draining:
            self._plan(now, self._intervals.drain)
        else:
            self._plan(now, self._delay(self._asked, now), is_rush=self._is_rushed(self._asked))
            self._is_called = self._asked is Urgency.CALLED

    def next_deadline(self) -> float | None:
        """When to call `tick`."""
        return self._at if self._announce_at is None else self._announce_at

    def tick(self, now: float) -> Due | None:
        """What is due. After an announcement ask again; an exchange stays due until it begins."""
        if self._announce_at is not None and self._announce_at <= now:
            self._move(Input.ANNOUNCE)
            self._announce_at = None
            return Due.ANNOUNCEMENT
        return Due.EXCHANGE if self._at is not None and self._at <= now else None

    def _move(self, happened: Input) -> None:
        try:
            self._state = TRANSITIONS[self._state, happened]
        except KeyError:
            raise ScheduleError(f"{happened.value} cannot happen to a schedule {self._state.value}") from None

    def _plan(self, now: float, delay: float, *, is_rush: bool = False, not_before: float = 0.0) -> None:
        """What comes at once is not announced: nobody could flush in no time."""
        self._not_before = not_before
        self._at = now + delay
        self._announce_at = max(now, self._at - ANNOUNCE_LEAD) if delay > LIVE_URGENT else None
        self._is_rush = is_rush

    def _advance(self, planned: float, now: float, urgency: Urgency) -> None:
        """Move the plan forward, never back, and not into the time of a back-off."""
        at = max(now + self._delay(urgency, now), self._not_before)
        if at >= planned:
            return
        self._at = at
        self._is_called = urgency is Urgency.CALLED
        self._is_rush = self._is_rushed(urgency)
        if self._announce_at is not None:
            self._announce_at = max(now, at - ANNOUNCE_LEAD) if at > now + LIVE_URGENT else None

    def _is_rushed(self, urgency: Urgency) -> bool:
        """Whether an exchange asked for like this comes off the ration."""
        hurries = urgency is Urgency.AT_ONCE or (urgency is Urgency.URGENT and self._is_live)
        return hurries and self._rushed < MAX_RUSHED

    def _delay(self, urgency: Urgency, now: float) -> float:
        if urgency is Urgency.NORMAL:
            return self._spread(self._intervals.normal, NORMAL_SPREAD)
        if urgency is Urgency.CALLED:
            return max(0.0, 1.0 - self._count_calls(now)) / CALLED_EACH_SECOND
        if not self._is_rushed(urgency):
            return self._intervals.urgent
        return 0.0 if urgency is Urgency.AT_ONCE else min(LIVE_URGENT, self._intervals.urgent)

    def _count_calls(self, now: float) -> float:
        """How many exchanges the server may call for now."""
        passed = 0.0 if self._counted_at is None else max(0.0, now - self._counted_at)
        self._counted_at = now
        self._calls = min(float(MAX_CALLED), self._calls + passed * CALLED_EACH_SECOND)
        return self._calls

    def _spread(self, interval: float, part: float) -> float:
        return interval * (1.0 - self._random.uniform(0.0, part))


_ORDER = tuple(Urgency)
