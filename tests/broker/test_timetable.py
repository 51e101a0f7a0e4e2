"""The schedule on a clock."""

from functools import partial

from twisted.internet.task import Clock

from fieldpost.broker.backoff import Backoff
from fieldpost.broker.bus import EXCHANGE_DUE, Bus, Details
from fieldpost.broker.schedule import Bad, Good, Intervals, Schedule, Urgency
from fieldpost.broker.timetable import Timetable
from fieldpost.wire.local import IMPENDING_EXCHANGE
from tests.broker.fakes import NoSpread


class Told:
    """A timetable, and what it told when."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = Bus()
        random = NoSpread()
        schedule = Schedule(
            intervals=Intervals(), backoff=Backoff(base=60.0, cap=7_200.0, random=random), random=random
        )
        self.timetable = Timetable(clock=self.clock, schedule=schedule, bus=self.bus)
        self.told: list[tuple[str, float]] = []
        for name in (EXCHANGE_DUE, IMPENDING_EXCHANGE):
            self.bus.listen(name, partial(self._note, name))

    def _note(self, name: str, _: Details) -> None:
        self.told.append((name, self.clock.seconds()))
        if name == EXCHANGE_DUE:
            self.timetable.begin()


def test_announces_then_says_due() -> None:
    """Plugins hear ten seconds ahead; then it is time."""
    told = Told()
    told.timetable.start()

    told.clock.pump([1.0] * 70)

    assert told.told == [(IMPENDING_EXCHANGE, 50.0), (EXCHANGE_DUE, 60.0)]


def test_one_timer() -> None:
    """However often somebody asks, one timer is armed."""
    told = Told()
    told.timetable.start()

    for _ in range(100):
        told.timetable.request(at_once=False)

    assert len(told.clock.getDelayedCalls()) == 1


def test_request_at_once() -> None:
    """A plugin may ask for an exchange at once."""
    told = Told()
    told.timetable.start()

    told.timetable.request(at_once=True)
    told.clock.advance(0)

    assert told.told == [(EXCHANGE_DUE, 0.0)]


def test_request_of_urgency_advances_a_normal_plan() -> None:
    """Urgent is within the urgent interval."""
    told = Told()
    told.timetable.start()
    told.clock.pump([1.0] * 60)
    told.timetable.finish(Good())
    assert told.timetable.seconds_left == 900.0

    told.timetable.request(at_once=False)

    assert told.timetable.seconds_left == 60.0


def test_stopped_tells_nothing() -> None:
    """After a stop there is no timer, and asking is no use."""
    told = Told()
    told.timetable.start()

    told.timetable.stop()
    told.timetable.ask(Urgency.AT_ONCE)
    told.clock.advance(10_000)

    assert told.told == []
    assert not told.timetable.is_running
    assert told.timetable.seconds_left is None
    assert told.clock.getDelayedCalls() == []


def test_override_of_the_intervals() -> None:
    """What the server sets goes before the configuration, and what it does not set is as configured."""
    told = Told()

    told.timetable.override(exchange=300, urgent_exchange=None)

    assert (told.timetable.intervals.normal, told.timetable.intervals.urgent) == (300.0, 60.0)
    told.timetable.override(exchange=None, urgent_exchange=30)
    assert (told.timetable.intervals.normal, told.timetable.intervals.urgent) == (900.0, 30.0)


def test_failures_show() -> None:
    """For the status."""
    told = Told()
    told.timetable.start()
    told.timetable.begin()

    told.timetable.finish(Bad())

    assert told.timetable.failures == 1


def test_a_timer_that_fires_early_is_armed_again() -> None:
    """A clock that was set back a little must not lose the exchange."""
    told = Told()
    told.timetable.start()
    told.clock.advance(50)
    assert told.told == [(IMPENDING_EXCHANGE, 50.0)]

    told.clock.rightNow = 40.0
    told.clock.getDelayedCalls()[0].reset(0)
    told.clock.advance(0)

    assert told.told == [(IMPENDING_EXCHANGE, 50.0)]
    told.clock.advance(20)
    assert told.told[1:] == [(EXCHANGE_DUE, 60.0)]


def test_asking_on_the_announcement() -> None:
    """A plugin that flushes an urgent message when it is told leaves one timer behind."""
    told = Told()

    def listener(_: Details) -> None:
        told.told.append(("asked", told.clock.seconds()))
        told.timetable.ask(Urgency.URGENT)

    told.bus.listen(IMPENDING_EXCHANGE, listener)
    told.timetable.start()

    told.clock.advance(50)

    assert ("asked", 50.0) in told.told
    assert len(told.clock.getDelayedCalls()) == 1
