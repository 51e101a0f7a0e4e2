"""
Whatever happens to the carrier, nothing is lost and nothing doubled.

Days in the life of a machine and its server, from a seed: connections break at any octet in either direction, stall, or
live on at one end alone; proxies stop letting sessions pass and begin again; both processes are killed, between transactions or in
one of them, and say goodbye or do not; the server is away, busy, or hangs. In the end the weather is good, and
everything must have arrived once and in order, and each operation must have one result.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from fieldpost.runtime.database import DatabaseFull
from fieldpost.server.outgoing import Window
from tests.carriers.network import Manners, Pipe
from tests.carriers.world import POST, TYPES, Terrain, World
from tests.server.wired import TOKEN, request_octets

HOUR = 3_600.0
DAY = 24 * HOUR
CALM = Manners(latency=0.05, breaks=True)


class Trial(World):
    """A world in which chance has a say."""

    def __init__(self, seed: int, *, carrier: str = "session", mortality: float = 0.0) -> None:
        super().__init__(
            Terrain(carrier=carrier, messages=20, window=Window(messages=5)), random=Random(seed)
        )
        latency = self.random.choice((0.01, 0.2, 2.0))
        self.network.manners = evolve(CALM, latency=latency, strips=carrier == POST)
        self.mortality = self.broker_mortality = self.server_mortality = mortality
        self.slowness = self.random.choice((0.0, 0.001, 0.1))
        self.sent = dict.fromkeys(TYPES, 0)
        self.struck: Counter[str] = Counter()
        self.closed_at: float | None = None
        """When the server was killed that is not back yet."""
        self.is_powerless = False
        self.went_by_session = self.went_by_post = self.together = 0
        self.events: tuple[tuple[float, Callable[[], object]], ...] = (
            (10.0, self.report),
            (4.0, self.ask),
            (2.0, self.cut),
            (3.0, self.cut_soon),
            (1.5, self.stall),
            (1.5, self.sever),
            (0.7, self.toggle_proxy),
            (0.7, self.crash_server),
            (0.7, self.crash_broker),
            (0.4, self.power_cut),
            (0.4, self.stop_broker),
            (0.4, self.stop_server),
            (0.4, self.fill_disk),
            (0.4, self.refuse_connections),
        )

    def live(self, duration: float) -> None:
        """Let things happen for so long."""
        end = self.clock.seconds() + duration
        weights = [weight for weight, _ in self.events]
        while self.clock.seconds() < end:
            ((_, event),) = self.random.choices(self.events, weights)
            self.struck[getattr(event, "__name__", "")] += 1
            event()
            self.run(self.random.choice((0.1, 1.0, 10.0, 100.0)) * self.random.random())
            self.tend()

    def tend(self) -> None:
        """Whoever died is started again, in a while."""
        if self.agent.writer.is_dead:
            self.crash_broker()
        if self.closed_at is None and self.server.writer.is_dead:
            self.crash_server()
        if self.closed_at is not None and self.clock.seconds() >= self.closed_at:
            self.closed_at = None
            self.open_server()

    # What happens

    def report(self) -> None:
        type, count = self.random.choice(TYPES), self.random.choice((1, 1, 1, 5, 100))
        first = self.sent[type]
        self.sent[type] += count
        octets = self.random.choice((0, 0, 0, 2_000))
        self.agent.report(*range(first, first + count), type=type, octets=octets)

    def ask(self) -> None:
        """The operator asks; what comes of the request, if the server is not well, is in its database."""
        if self.closed_at is None:
            channel, _ = self.server.connect()
            channel.dataReceived(ASK)

    def cut(self) -> None:
        self.network.cut()

    def cut_soon(self) -> None:
        for pipe in self.network.open:
            pipe.cut_after = self.random.choice((1, 10, 100, 1_000, 10_000)) * self.random.randint(1, 10)

    def stall(self) -> None:
        for pipe in self.network.open:
            pipe.stalled_until = self.clock.seconds() + self.random.choice((1.0, 20.0, 100.0, DAY))

    def sever(self) -> None:
        """One end hears of the end of its connection, the other does not."""
        for pipe in self.network.open:
            self.half(pipe)

    def half(self, pipe: Pipe) -> None:
        pipe.stalled_until = self.clock.seconds() + DAY
        end = self.random.choice((pipe.client, pipe.server))
        end.lose(ConnectionError("it seems so"))

    def toggle_proxy(self) -> None:
        manners = self.network.manners
        strips = not manners.strips or self.terrain.carrier == POST
        self.network.manners = evolve(manners, strips=strips)

    def crash_server(self) -> None:
        if self.closed_at is None:
            self.kill_server()
            self.closed_at = self.clock.seconds() + self.random.choice((0.0, 5.0, 600.0))

    def crash_broker(self) -> None:
        self.note()
        self.kill_broker()
        self.boot()

    def power_cut(self) -> None:
        """Nobody tells the server that the machine is gone."""
        self.note()
        self.agent.writer.is_dead = True
        self.agent.life.end()
        for pipe in self.network.open:
            pipe.stalled_until = self.clock.seconds() + DAY
        self.boot()

    def stop_broker(self) -> None:
        self.note()
        stopping: Deferred[None] = Deferred.fromCoroutine(self.agent.stop())
        stopping.addErrback(lambda _: None)
        self.run(30.0)
        self.crash_broker()

    def stop_server(self) -> None:
        if self.closed_at is None:
            self.server.endpoint.drain()
            self.run(self.random.choice((0.0, 8.0)))
            self.crash_server()

    def fill_disk(self) -> None:
        writer = self.server.writer
        writer.trouble = DatabaseFull("the disk is full")
        self.server.life.callLater(
            self.random.choice((10.0, HOUR)), partial(setattr, writer, "trouble", None)
        )

    def refuse_connections(self) -> None:
        self.network.manners = evolve(self.network.manners, refuses=True)
        healed: Callable[[], None] = lambda: setattr(self.network.manners, "refuses", False)
        self.clock.callLater(self.random.choice((10.0, HOUR)), healed)

    def pause(self) -> float:
        return self.random.choice((0.0, 1.0, 300.0))

    # The end

    def note(self) -> None:
        """Remember which way things went in a life."""
        transport = self.agent.transport
        self.went_by_post += self.agent.post.count
        self.went_by_session += len(transport.requests) - self.agent.post.count
        self.together = max(self.together, transport.most_together)

    def settle(self) -> None:
        """Good weather, until all is through."""
        self.broker_mortality = self.server_mortality = 0.0
        self.network.manners = evolve(CALM, strips=self.terrain.carrier == POST)
        self.closed_at = None
        self.kill_server()
        self.open_server()
        self.crash_broker()
        end = self.clock.seconds() + 12 * HOUR
        while not self.is_through():
            assert self.clock.seconds() < end, (self.agent.keeper.report(), self.agent.store.status())
            self.run(30.0)
        self.note()

    def is_through(self) -> bool:
        status = self.agent.store.status()
        left = status.pending + status.held + status.incoming + status.unacknowledged
        open = self.database.execute("SELECT count(*) FROM operation WHERE status NOT IN (?, ?)", ENDED)
        return left == 0 and open.fetchone()[0] == 0 and self.agent.store.state().secure_id is not None

    def account(self) -> None:
        """Nothing lost, nothing doubled, nothing out of order, everything answered once, one machine."""
        arrived = {type: self.server.values(type) for type in TYPES}
        assert arrived == {type: list(range(count)) for type, count in self.sent.items()}
        stored = self.server.stored()
        results = Counter(m["operation-id"] for m in stored if m["type"] == "operation-result")
        asked = [row[0] for row in self.database.execute("SELECT id FROM operation")]
        assert results == dict.fromkeys(asked, 1)
        assert max(Counter(self.carried_out).values(), default=0) <= 1
        assert self.database.execute("SELECT count(*) FROM computer").fetchone() == (1,)
        assert not any(message["type"] == "receipt" for message in stored)
        numbers = [row[0] for row in self.database.execute("SELECT number FROM message ORDER BY id")]
        assert numbers == sorted(set(numbers))
        assert self.agent.store.dead_letters(10) == []


ENDED = ("succeeded", "failed")
ASK = request_octets(
    "POST",
    "/api/v1/operations",
    b'{"computer": 1, "type": "echo", "fields": {"word": "x"}}',
    {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
)


def try_out(seed: int, duration: float, **chances: Any) -> Trial:
    """Live, and give account."""
    trial = Trial(seed, **chances)
    trial.live(duration)
    trial.settle()
    trial.account()
    return trial


def test_a_shift() -> None:
    """Hours in which all of this happens."""
    trial = try_out(7, 5 * HOUR, mortality=0.002)

    assert trial.went_by_session > 20 and trial.went_by_post > 20 and trial.together > 1
    assert min(trial.struck.values()) >= 1 and len(trial.struck) == len(trial.events)
    assert sum(trial.sent.values()) > 1_000
    trial.close()


@given(st.integers(0, 2**32))
@settings(max_examples=settings().max_examples // 14)
def test_any_hour(seed: int) -> None:
    """The same for any hour that chance can make."""
    try_out(seed, HOUR, mortality=0.005).close()


@given(st.integers(0, 2**32))
@settings(max_examples=settings().max_examples // 25)
def test_any_hour_by_post(seed: int) -> None:
    """And where sessions never pass."""
    try_out(seed, HOUR, carrier=POST, mortality=0.005).close()
