"""
A week in the life of an agent, in seconds: outages, lost answers, restarts, busy servers, poison.

What a plugin was told is stored arrives once and in order; what the server asks for has exactly one result.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, ParamSpec, TypeVar

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from fieldpost.broker.carriage.transport import Refused, Request, Unreachable
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.store.store import Store
from fieldpost.runtime.amp import Disconnected
from fieldpost.wire.local import DONE, FAILED, Outcome
from fieldpost.wire.message import Message
from tests.broker.fakes import ACCOUNT, FAIR, ModelServer, Rig, Weather
from tests.broker.store.stores import add, clock_at, new, open_store
from tests.fakes import InlineWriter

P = ParamSpec("P")
T = TypeVar("T")
HOUR = 3_600.0
DAY = 24 * HOUR
WEEK = 7 * DAY
TYPES = ("load", "disk")


class MortalWriter(InlineWriter):
    """A writer whose process may die before or after any transaction; nothing comes back from then on."""

    def __init__(self, dies: Callable[[], bool], half: Callable[[], bool]) -> None:
        self._dies = dies
        self._half = half
        self.is_dead = False

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if not self.is_dead and self._dies():
            self.is_dead = True
            if self._half():
                function(*args, **kwargs)
        return Deferred() if self.is_dead else super().run(function, *args, **kwargs)


@define
class Machine:
    """One agent with one plugin, and a server; chance rules over all that lies between them."""

    random: Random
    depth: int = 1
    clock: Clock = field(factory=clock_at)
    sent: dict[str, int] = field(factory=lambda: dict.fromkeys(TYPES, 0))
    asked: list[int] = field(factory=list)
    carried_out: Counter[int] = field(factory=Counter)
    restarts: int = 0
    mortality: float = 0.0
    writer: MortalWriter = field(init=False)
    bad_weather: Counter[str] = field(factory=Counter)
    outage_until: float = 0.0
    server: ModelServer = field(init=False)
    store: Store = field(init=False)
    rig: Rig = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = ModelServer(*TYPES, weather=self.weather, depth=self.depth)
        self.server.travel = lambda: deferLater(self.clock, self.random.uniform(0, 20))
        self.store = open_store(clock=self.clock, accept=None)
        self.rig = self.boot()

    def boot(self) -> Rig:
        self.writer = MortalWriter(
            lambda: self.random.random() < self.mortality, lambda: self.random.random() < 0.5
        )
        rig = Rig.build(
            self.server,
            clock=self.clock,
            store=self.store,
            writer=self.writer,
            account=ACCOUNT,
            random=self.random,
            limits=ExchangeLimits(messages=20),
        )
        Deferred.fromCoroutine(rig.exchange.start())
        rig.delivery.register(("reboot",), "plugin-1", self.carry_out)
        return rig

    def crash(self) -> None:
        """Killed at this moment: nothing but the store is left, and an exchange in flight is never answered."""
        self.restarts += 1
        self.writer.is_dead = True
        for call in tuple(self.clock.getDelayedCalls()):
            call.cancel()
        self.rig = self.boot()

    def weather(self, request: Request) -> Weather:
        if self.clock.seconds() < self.outage_until:
            return self.strike("outage", Weather(reply=Unreachable(reason="outage")))
        draw = self.random.random()
        if draw < 0.03:
            return self.strike("busy", Weather(reply=Refused(status=503, reason="busy", retry_after=60)))
        if draw < 0.06:
            return self.strike("lost answer", Weather(loses_answer=True))
        if draw < 0.1 and len(request.payload.messages) > 1:
            return self.strike("too large", Weather(reply=Refused(status=413, reason="too large")))
        return FAIR

    def strike(self, kind: str, weather: Weather) -> Weather:
        self.bad_weather[kind] += 1
        return weather

    def carry_out(self, plugin: str, number: int, message: Message) -> "Deferred[Outcome]":
        id = message["operation-id"]
        self.carried_out[id] += 1
        answer: Deferred[Outcome] = Deferred()
        draw = self.random.random()
        if draw < 0.05:
            answer.errback(Disconnected("crashed"))
        else:
            status = FAILED if draw < 0.1 else DONE
            # A crash of the broker cancels the call: the answer then never comes.
            self.clock.callLater(self.random.uniform(0, 600), answer.callback, Outcome(status=status))
        return answer

    def live(self, duration: float, *, crashes: bool = True) -> None:
        end = self.clock.seconds() + duration
        while self.clock.seconds() < end:
            self.happen(crashes)
            self.clock.advance(self.random.uniform(1, 300))
            if self.writer.is_dead:
                self.crash()

    def happen(self, crashes: bool) -> None:
        draw = self.random.random()
        if draw < 0.3:
            self.report(self.random.choice(TYPES), self.random.choice((1, 1, 1, 5, 200)))
        elif draw < 0.35 and self.server.computers:
            self.asked.append(self.server.operate("reboot"))
        elif draw < 0.36:
            self.outage_until = self.clock.seconds() + self.random.uniform(0, 8 * HOUR)
        elif draw < 0.38 and crashes:
            self.crash()

    def report(self, type: str, count: int) -> None:
        add(self.store, *(new(type, self.sent[type] + place) for place in range(count)))
        self.sent[type] += count
        self.rig.timetable.request(at_once=False)

    def settle(self) -> None:
        """Good weather, until all is through."""
        self.outage_until = self.mortality = 0.0
        self.server.weather = lambda _: FAIR
        self.crash()
        self.clock.pump([10.0] * 3_000)

    def results(self) -> dict[int, int]:
        return {id: len(self.server.results(id)) for id in self.asked}

    def arrived(self) -> dict[str, list[Any]]:
        return {type: self.server.stored(type) for type in TYPES}

    def account(self) -> None:
        """Nothing lost, nothing doubled, everything answered, nothing left."""
        assert self.arrived() == {type: list(range(count)) for type, count in self.sent.items()}
        assert self.results() == dict.fromkeys(self.asked, 1)
        assert max(self.carried_out.values(), default=0) <= 1
        assert len(self.server.computers) == 1
        status = self.store.status()
        assert (status.pending, status.held, status.incoming) == (0, 0, 0)
        assert not any(message["type"] == "receipt" for message in self.server.computer.stored)


@pytest.mark.parametrize("depth", [1, 4])
def test_a_week(depth: int) -> None:
    """A week with outages, lost answers, refusals and crashes loses nothing and doubles nothing."""
    machine = Machine(Random(7), depth=depth, mortality=0.001)

    machine.live(WEEK)
    machine.settle()

    machine.account()
    assert machine.restarts > 10
    assert sum(machine.sent.values()) > 10_000
    assert len(machine.asked) > 50
    assert (depth > 1) == any(request.follows for request in machine.server.requests)
    assert min(machine.bad_weather[kind] for kind in ("outage", "busy", "lost answer", "too large")) > 5


def test_a_quiet_week_is_cheap() -> None:
    """An agent with nothing to say makes an exchange per normal interval, and no more."""
    machine = Machine(Random(7))
    machine.server.weather = lambda _: FAIR
    machine.clock.pump([10.0] * 60)
    before = len(machine.server.requests)

    machine.clock.pump([30.0] * int(WEEK / 30))

    exchanges = len(machine.server.requests) - before
    assert WEEK / 950 <= exchanges <= WEEK / 810


@pytest.mark.parametrize("hours", [1, 12])
def test_an_outage_is_over(hours: int) -> None:
    """However long the server was away, its agents are back within two hours, not all at once."""
    machines = [Machine(Random(seed)) for seed in range(30)]
    for machine in machines:
        machine.server.weather = lambda _: Weather(reply=Unreachable(reason="outage"))
        machine.clock.pump([60.0] * 60 * hours)
        machine.server.weather = lambda _: FAIR
        machine.server.requests.clear()

    back = []
    for machine in machines:
        waited = 0.0
        while not machine.server.requests:
            machine.clock.advance(10)
            waited += 10
        back.append(waited)

    assert max(back) <= 7_200
    assert len(set(back)) > 20


@given(st.integers(), st.integers(1, 6))
@settings(max_examples=15)
def test_any_day(seed: int, depth: int) -> None:
    """The same for any day that chance can make."""
    machine = Machine(Random(seed), depth=depth, mortality=0.01)

    machine.live(DAY)
    machine.settle()

    machine.account()
