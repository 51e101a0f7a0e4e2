"""The schedule on a clock: one timer, armed for whatever comes next."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..wire.local import IMPENDING_EXCHANGE
from .bus import EXCHANGE_DUE, Bus
from .schedule import Bad, Due, Good, Intervals, Schedule, State, Urgency


class Timetable:
    """
    Carries a Schedule: passes on what happens to it and tells on the bus what is due.

    It knows no exchange. Whoever carries out exchanges listens to EXCHANGE_DUE and says `begin` and `finish`.
    """

    log = Logger()

    def __init__(self, *, clock: IReactorTime, schedule: Schedule, bus: Bus) -> None:
        self._clock = clock
        self._schedule = schedule
        self._bus = bus
        self._configured = schedule.intervals
        self._timer: IDelayedCall | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not stopped since."""
        return self._schedule.state is not State.STOPPED

    @property
    def intervals(self) -> Intervals:
        """Those in force."""
        return self._schedule.intervals

    @property
    def failures(self) -> int:
        """Steps of back-off."""
        return self._schedule.failures

    @property
    def seconds_left(self) -> float | None:
        """Until the next exchange; None while there is one, or when stopped."""
        at = self._schedule.exchange_at
        return None if at is None else max(0.0, at - self._clock.seconds())

    def start(self) -> None:
        """Plan the first exchange."""
        self._schedule.start(self._clock.seconds())
        self._arm()

    def stop(self) -> None:
        """Plan none any more."""
        self._schedule.stop()
        self._arm()

    def ask(self, urgency: Urgency) -> None:
        """Somebody wants an exchange."""
        self._schedule.ask(urgency, self._clock.seconds())
        self._arm()

    def request(self, *, at_once: bool) -> None:
        """The same, for plugins."""
        self.ask(Urgency.AT_ONCE if at_once else Urgency.URGENT)

    def set_live(self, is_live: bool) -> None:
        """Whether a session with the server is open from now on."""
        self._schedule.set_live(is_live, self._clock.seconds())
        self._arm()

    def begin(self) -> None:
        """An exchange begins."""
        self._schedule.begin()
        self._arm()

    def finish(self, outcome: Good | Bad) -> None:
        """It ended; the next is planned when this returns."""
        self._schedule.finish(outcome, self._clock.seconds())
        self._arm()

    def override(self, *, exchange: int | None, urgent_exchange: int | None) -> None:
        """What the server has set goes before what is configured; None leaves that."""
        self._schedule.use_intervals(self._configured.changed(normal=exchange, urgent=urgent_exchange))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._schedule.next_deadline()
        if deadline is not None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        due = self._schedule.tick(self._clock.seconds())
        if due is Due.EXCHANGE:
            self._tell(EXCHANGE_DUE)
            return
        if due is Due.ANNOUNCEMENT:
            self._tell(IMPENDING_EXCHANGE)
        self._arm()

    def _tell(self, event: str) -> None:
        telling = Deferred.fromCoroutine(self._bus.fire(event))
        telling.addErrback(lambda failure: self.log.failure("an event was not told", failure))
