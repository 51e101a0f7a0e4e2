"""When the next exchange comes: landscape 1.9, rule by rule."""

from itertools import product
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.broker.backoff import Backoff
from fieldpost.broker.schedule import (
    ANNOUNCE_LEAD,
    LIVE_URGENT,
    MAX_CALLED,
    MAX_INTERVAL,
    MAX_RUSHED,
    MIN_INTERVAL,
    TRANSITIONS,
    Bad,
    Due,
    Good,
    Input,
    Intervals,
    Schedule,
    ScheduleError,
    State,
    Urgency,
)
from tests.broker.fakes import NoSpread, SteadyRandom

DOCS = Path(__file__).parents[2] / "docs" / "exchange.md"


def a_schedule(random: Random | None = None, **intervals: float) -> Schedule:
    random = random or NoSpread()
    return Schedule(
        intervals=Intervals(**intervals),
        backoff=Backoff(base=60.0, cap=7_200.0, random=random),
        random=random,
    )


def started(random: Random | None = None, **intervals: float) -> Schedule:
    schedule = a_schedule(random, **intervals)
    schedule.start(0.0)
    return schedule


def after(outcome: Good | Bad, *asked: Urgency, random: Random | None = None, **intervals: float) -> Schedule:
    """A schedule whose first exchange, during which this was asked, ended so at 1000 s."""
    schedule = started(random, **intervals)
    schedule.begin()
    for urgency in asked:
        schedule.ask(urgency, 990.0)
    schedule.finish(outcome, 1_000.0)
    return schedule


# The machine


def bring_to(state: State) -> Schedule:
    schedule = a_schedule()
    if state is not State.STOPPED:
        schedule.start(0.0)
    if state is State.ANNOUNCED:
        schedule.tick(50.0)
    if state is State.EXCHANGING:
        schedule.begin()
    return schedule


def apply(schedule: Schedule, happened: Input) -> None:
    calls = {
        Input.START: lambda: schedule.start(0.0),
        Input.STOP: schedule.stop,
        Input.ASK: lambda: schedule.ask(Urgency.URGENT, 0.0),
        Input.ANNOUNCE: lambda: schedule.tick(50.0),
        Input.BEGIN: schedule.begin,
        Input.FINISH: lambda: schedule.finish(Good(), 60.0),
    }
    calls[happened]()


PAIRS = [pair for pair in product(State, Input) if pair[1] is not Input.ANNOUNCE]


@pytest.mark.parametrize(("state", "happened"), PAIRS)
def test_every_pair(state: State, happened: Input) -> None:
    """What may happen in a state leads where the table says; what may not is an error."""
    schedule = bring_to(state)
    assert schedule.state is state

    if (state, happened) in TRANSITIONS:
        apply(schedule, happened)
        assert schedule.state is TRANSITIONS[state, happened]
    else:
        with pytest.raises(ScheduleError, match=happened.value):
            apply(schedule, happened)
        assert schedule.state is state


def test_announcement_is_the_schedule_s_own_input() -> None:
    """Only a plan that waits is announced, and once."""
    schedule = bring_to(State.WAITING)

    assert schedule.tick(50.0) is Due.ANNOUNCEMENT
    assert schedule.state is State.ANNOUNCED
    assert schedule.tick(50.0) is None


def test_happy_path() -> None:
    """Start, announcement, exchange, and again after the normal interval."""
    schedule = a_schedule()
    schedule.start(0.0)
    assert schedule.next_deadline() == 50.0
    assert schedule.tick(50.0) is Due.ANNOUNCEMENT
    assert schedule.next_deadline() == 60.0
    assert schedule.tick(60.0) is Due.EXCHANGE
    schedule.begin()
    assert schedule.next_deadline() is None
    schedule.finish(Good(), 61.0)
    assert schedule.next_deadline() == 951.0
    assert schedule.exchange_at == 961.0
    schedule.stop()
    assert schedule.next_deadline() is None


def table() -> str:
    """The machine as docs/exchange.md shows it."""
    lines = [
        "| state | " + " | ".join(happened.value for happened in Input) + " |",
        "|---" * (len(Input) + 1) + "|",
    ]
    for state in State:
        cells = [TRANSITIONS.get((state, happened)) for happened in Input]
        words = " | ".join("" if cell is None else cell.value for cell in cells)
        lines.append(f"| **{state.value}** | {words} |")
    return "\n".join(lines)


def test_docs_show_the_table() -> None:
    """The page on the exchange shows the machine that runs."""
    assert table() in DOCS.read_text("utf-8")


def test_docs_show_the_back_off() -> None:
    """The page's figures are the ones that are drawn from."""
    backoff = Backoff(base=60.0, cap=7_200.0, random=SteadyRandom())
    windows = " | ".join(f"{backoff.failed():g}" for _ in range(9))

    assert f"| {windows} |" in DOCS.read_text("utf-8")


# The rules


def test_first_exchange_is_urgent() -> None:
    """After a start the server hears of us within the urgent interval."""
    assert started().exchange_at == 60.0


def test_first_exchange_is_spread() -> None:
    """Machines that start together do not call together."""
    moments = {started(Random(seed)).exchange_at for seed in range(200)}

    assert len(moments) == 200
    assert all(moment is not None and 30.0 <= moment <= 60.0 for moment in moments)


def test_normal_interval_is_spread() -> None:
    """A fleet loses its step: up to a tenth comes off the normal interval, never onto it."""
    moments = [after(Good(), random=Random(seed)).exchange_at for seed in range(200)]

    assert all(moment is not None and 1_810.0 <= moment <= 1_900.0 for moment in moments)
    assert len(set(moments)) == 200


def test_announced_ten_seconds_before() -> None:
    """Plugins get time to flush."""
    schedule = after(Good())

    assert schedule.next_deadline() == 1_900.0 - ANNOUNCE_LEAD


@pytest.mark.parametrize("interval", [1, 5, 9, 10])
def test_l11_short_intervals_are_announced_now(interval: int) -> None:
    """Intervals below the lead do not stop exchanges: the announcement comes at once (fault L11)."""
    schedule = after(Good(), normal=interval)

    assert schedule.next_deadline() == 1_000.0
    assert schedule.tick(1_000.0) is Due.ANNOUNCEMENT
    assert schedule.next_deadline() == 1_000.0 + interval


@pytest.mark.parametrize("absurd", [0, -1, -(10**400), 0.5, float("-inf")])
def test_l11_intervals_are_clamped_below(absurd: float) -> None:
    """No interval is so short that agent or server drown in exchanges."""
    intervals = Intervals().changed(normal=absurd, urgent=absurd)

    assert (intervals.normal, intervals.urgent) == (MIN_INTERVAL, MIN_INTERVAL)


@pytest.mark.parametrize("absurd", [10**400, 1e300, float("inf"), float("nan")])
def test_l11_intervals_are_clamped_above(absurd: float) -> None:
    """No interval is so long that the agent is lost."""
    intervals = Intervals(normal=absurd, urgent=absurd, drain=absurd)

    assert (intervals.normal, intervals.urgent) == (MAX_INTERVAL, MAX_INTERVAL)
    assert intervals.drain in (0.0, MAX_INTERVAL)


def test_urgent_moves_a_normal_one_forward() -> None:
    """Asked between exchanges, an urgent one comes within the urgent interval, and is announced."""
    schedule = after(Good())

    schedule.ask(Urgency.URGENT, 1_100.0)

    assert schedule.exchange_at == 1_160.0
    assert schedule.next_deadline() == 1_150.0


def test_urgent_never_postpones() -> None:
    """Asking again and again does not push an urgent exchange away."""
    schedule = after(Good())
    schedule.ask(Urgency.URGENT, 1_100.0)

    for second in range(1_101, 1_160):
        schedule.ask(Urgency.URGENT, float(second))

    assert schedule.exchange_at == 1_160.0


def test_asking_normally_moves_nothing() -> None:
    """A normal exchange is planned anyway."""
    schedule = after(Good())

    schedule.ask(Urgency.NORMAL, 1_100.0)

    assert schedule.exchange_at == 1_900.0


def test_at_once() -> None:
    """Asked at once it is due now, without an announcement that nobody could use."""
    schedule = after(Good())

    schedule.ask(Urgency.AT_ONCE, 1_100.0)

    assert schedule.tick(1_100.0) is Due.EXCHANGE


def test_urgent_after_the_announcement() -> None:
    """Plugins are not told twice of one exchange."""
    schedule = after(Good())
    assert schedule.tick(1_890.0) is Due.ANNOUNCEMENT

    schedule.ask(Urgency.AT_ONCE, 1_891.0)

    assert schedule.tick(1_891.0) is Due.EXCHANGE


def test_l12_urgency_asked_during_an_exchange() -> None:
    """What was asked while an exchange ran is not lost (fault L12)."""
    assert after(Good(), Urgency.URGENT).exchange_at == 1_060.0


def test_l12_the_sooner_of_two_counts() -> None:
    """Asked twice during an exchange, the more urgent one stays."""
    assert after(Good(), Urgency.AT_ONCE, Urgency.URGENT).exchange_at == 1_000.0


def test_urgency_is_settled_by_an_exchange() -> None:
    """A good exchange ends urgent mode."""
    schedule = after(Good(), Urgency.URGENT)
    schedule.begin()
    schedule.finish(Good(), 1_100.0)

    assert schedule.exchange_at == 2_000.0


def test_draining() -> None:
    """While the server takes a backlog, exchanges follow each other at once, unannounced."""
    schedule = after(Good(draining=True))

    assert schedule.tick(1_000.0) is Due.EXCHANGE


def test_draining_slowly() -> None:
    """Who configures a pause between them gets it, with the announcement."""
    schedule = after(Good(draining=True), drain=60.0)

    assert (schedule.next_deadline(), schedule.exchange_at) == (1_050.0, 1_060.0)


def test_failure_backs_off() -> None:
    """After failures the next attempt comes within windows that double."""
    schedule = started(SteadyRandom())
    delays = []
    for _ in range(4):
        schedule.begin()
        schedule.finish(Bad(), 1_000.0)
        assert schedule.exchange_at is not None
        delays.append(schedule.exchange_at - 1_000.0)

    assert delays == [60.0, 120.0, 240.0, 480.0]
    assert schedule.failures == 4


def test_retry_after() -> None:
    """The server's own wish is kept."""
    assert after(Bad(retry_after=600.0)).exchange_at == 1_600.0


@pytest.mark.parametrize("urgency", [Urgency.URGENT, Urgency.AT_ONCE])
def test_nobody_shortens_a_back_off(urgency: Urgency) -> None:
    """A plugin with much to say does not make a fleet hammer a server that is down."""
    schedule = after(Bad(retry_after=600.0))

    schedule.ask(urgency, 1_001.0)

    assert schedule.exchange_at == 1_600.0


def test_back_off_ends_with_success() -> None:
    """After a success the intervals are the ordinary ones, and asking helps again."""
    schedule = after(Bad(retry_after=600.0))
    schedule.begin()
    schedule.finish(Good(), 1_700.0)
    assert schedule.exchange_at == 2_600.0

    schedule.ask(Urgency.URGENT, 1_700.0)

    assert schedule.exchange_at == 1_760.0


def test_at_once_is_rationed() -> None:
    """A server that wants another exchange after each does not make us spin: after a few it is urgent only."""
    schedule = after(Good(), Urgency.AT_ONCE)
    delays = []
    for _ in range(2 * MAX_RUSHED + 2):
        assert schedule.exchange_at is not None
        delays.append(schedule.exchange_at - 1_000.0)
        schedule.begin()
        schedule.ask(Urgency.AT_ONCE, 1_000.0)
        schedule.finish(Good(), 1_000.0)

    assert delays == ([0.0] * MAX_RUSHED + [60.0]) * 2


def test_at_once_is_rationed_between_exchanges_too() -> None:
    """The same goes for a plugin that asks whenever an exchange is over, however it mixes its words."""
    schedule = after(Good())
    rushed = 0
    for _ in range(MAX_RUSHED + 1):
        schedule.ask(Urgency.URGENT, 1_000.0)
        schedule.ask(Urgency.AT_ONCE, 1_000.0)
        rushed += schedule.exchange_at == 1_000.0
        schedule.begin()
        schedule.finish(Good(), 1_000.0)

    assert rushed == MAX_RUSHED


def test_draining_is_not_rationed() -> None:
    """A backlog goes on as long as the server takes it."""
    schedule = after(Good(draining=True))
    for _ in range(100):
        assert schedule.exchange_at == 1_000.0
        schedule.begin()
        schedule.ask(Urgency.AT_ONCE, 1_000.0)
        schedule.finish(Good(draining=True), 1_000.0)


def test_the_servers_calls_have_a_ration_of_their_own() -> None:
    """It calls when it has something, and knows what it can take: far more than others may."""
    schedule = after(Good())
    for _ in range(10 * MAX_RUSHED):
        schedule.ask(Urgency.CALLED, 1_000.0)
        assert schedule.tick(1_000.0) is Due.EXCHANGE
        schedule.begin()
        schedule.finish(Good(), 1_000.0)


@pytest.mark.parametrize("is_during", [True, False])
def test_a_server_that_calls_without_end(is_during: bool) -> None:
    """Its calls have a ration, far above what anybody needs: the machine does not spin for it."""
    schedule, now, exchanges = after(Good()), 1_000.0, 0

    while now < 1_100.0:
        if not is_during or not exchanges:
            schedule.ask(Urgency.CALLED, now)
        if schedule.tick(now) is Due.EXCHANGE:
            schedule.begin()
            if is_during:
                schedule.ask(Urgency.CALLED, now)
            schedule.finish(Good(), now)
            exchanges += 1
        now += 0.002
    assert exchanges in range(MAX_CALLED + 1_800, MAX_CALLED + 2_010)


def test_calls_after_a_pause() -> None:
    """A server that called too often may do so again after a while, and what is planned beside is not delayed."""
    schedule = after(Good())
    for _ in range(2 * MAX_CALLED):
        schedule.ask(Urgency.CALLED, 1_000.0)
        schedule.begin()
        schedule.finish(Good(), 1_000.0)

    schedule.ask(Urgency.AT_ONCE, 1_000.0)
    assert schedule.exchange_at == 1_000.0
    schedule.begin()
    schedule.finish(Good(), 1_000.0)
    schedule.ask(Urgency.CALLED, 1_000.0 + 2 * MAX_CALLED)

    assert schedule.exchange_at == 1_000.0 + 2 * MAX_CALLED


def test_a_call_during_an_exchange_is_answered_after_it() -> None:
    """Once."""
    schedule = after(Good(), Urgency.CALLED, Urgency.CALLED)

    assert schedule.exchange_at == 1_000.0


def test_urgent_is_soon_while_a_session_is_live() -> None:
    """After a moment for company, unannounced."""
    schedule = after(Good())
    schedule.set_live(True, 1_000.0)

    schedule.ask(Urgency.URGENT, 1_100.0)

    assert (schedule.next_deadline(), schedule.exchange_at) == (1_100.0 + LIVE_URGENT,) * 2


def test_urgent_is_rationed_while_a_session_is_live() -> None:
    """A plugin that finds everything urgent gets the urgent interval, as over POST."""
    schedule = after(Good())
    schedule.set_live(True, 1_000.0)
    delays = []
    for _ in range(MAX_RUSHED + 2):
        schedule.ask(Urgency.URGENT, 1_000.0)
        assert schedule.exchange_at is not None
        delays.append(schedule.exchange_at - 1_000.0)
        schedule.begin()
        schedule.finish(Good(), 1_000.0)

    assert delays == pytest.approx([LIVE_URGENT] * MAX_RUSHED + [60.0, LIVE_URGENT])


def test_urgent_waits_again_when_the_session_is_gone() -> None:
    """Without one there is only the interval."""
    schedule = after(Good())
    schedule.set_live(True, 1_000.0)
    schedule.set_live(False, 1_000.0)

    schedule.ask(Urgency.URGENT, 1_100.0)

    assert schedule.exchange_at == 1_160.0


def test_a_session_that_opens_ends_a_back_off() -> None:
    """The server is there: what failed is tried again."""
    schedule = after(Bad(), random=SteadyRandom())

    schedule.set_live(True, 1_010.0)

    assert schedule.exchange_at == 1_010.0 + LIVE_URGENT


def test_a_session_that_opens_leaves_the_servers_own_wish() -> None:
    """It said when it wants to hear from us."""
    schedule = after(Bad(retry_after=600.0))

    schedule.set_live(True, 1_010.0)
    schedule.ask(Urgency.CALLED, 1_010.0)

    assert schedule.exchange_at == 1_600.0


def test_a_session_that_opens_hurries_nothing_else() -> None:
    """A fleet that connects after a restart of its server does not exchange as one."""
    schedule = after(Good())

    schedule.set_live(True, 1_010.0)

    assert schedule.exchange_at == 1_900.0


def test_new_intervals_count_from_the_next_plan_on() -> None:
    """An exchange that is planned stays where it is."""
    schedule = after(Good())

    schedule.use_intervals(evolve(schedule.intervals, normal=300.0))

    assert schedule.exchange_at == 1_900.0
    schedule.begin()
    schedule.finish(Good(), 2_000.0)
    assert schedule.exchange_at == 2_300.0


def test_stop_during_an_exchange() -> None:
    """What ends after a stop plans nothing."""
    schedule = started()
    schedule.begin()
    schedule.stop()

    schedule.finish(Good(draining=True), 5.0)

    assert (schedule.state, schedule.next_deadline()) == (State.STOPPED, None)


# All of them at once

URGENCIES = st.sampled_from(Urgency)
OUTCOMES = st.one_of(
    st.builds(Good, st.booleans()),
    st.builds(Bad, st.one_of(st.none(), st.floats(min_value=0, max_value=10_000))),
)
STEPS = st.one_of(
    st.tuples(st.just("ask"), URGENCIES),
    st.tuples(st.just("wait"), st.floats(min_value=0, max_value=2_000)),
    st.tuples(st.just("finish"), OUTCOMES),
)
LENGTHS = st.floats(min_value=0, max_value=5_000)


@given(st.lists(STEPS, max_size=50), st.integers(), LENGTHS, LENGTHS)
def test_rules_hold_whatever_happens(
    steps: list[tuple[str, object]], seed: int, normal: float, urgent: float
) -> None:
    """There is always a plan, asking never moves it back, and it is never in the past when it is made."""
    schedule = started(Random(seed), normal=normal, urgent=urgent)
    now, announced = 0.0, 0

    for kind, value in steps:
        before = schedule.exchange_at
        if kind == "ask":
            assert isinstance(value, Urgency)
            schedule.ask(value, now)
            assert before is None or (schedule.exchange_at is not None and schedule.exchange_at <= before)
        elif kind == "wait":
            assert isinstance(value, float)
            now += value
            while (due := schedule.tick(now)) is Due.ANNOUNCEMENT:
                announced += 1
                assert announced == 1
            if due is Due.EXCHANGE:
                schedule.begin()
                announced = 0
        elif schedule.state is State.EXCHANGING:
            assert isinstance(value, Good | Bad)
            schedule.finish(value, now)
            assert schedule.exchange_at is not None and now <= schedule.exchange_at
        exchanging = schedule.state is State.EXCHANGING
        deadline = schedule.next_deadline()
        assert (deadline is None) == exchanging
        assert exchanging or (deadline is not None and schedule.exchange_at is not None)
        assert deadline is None or schedule.exchange_at is None or deadline <= schedule.exchange_at


@given(st.lists(st.tuples(st.floats(0, 10), URGENCIES), max_size=40), st.floats(1, 1_000))
def test_urgent_comes_in_time(asked: list[tuple[float, Urgency]], urgent: float) -> None:
    """However many ask, an exchange comes within the urgent interval of the first who called it urgent."""
    schedule = after(Good(), urgent=urgent, normal=100_000.0)
    now, first = 1_000.0, None

    for pause, urgency in asked:
        now += pause
        if schedule.exchange_at is not None and now >= schedule.exchange_at:
            return
        schedule.ask(urgency, now)
        if first is None and urgency is not Urgency.NORMAL:
            first = now
        if first is not None:
            assert schedule.exchange_at is not None and schedule.exchange_at <= first + urgent
