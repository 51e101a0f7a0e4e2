"""Whole exchanges over sessions that break, and by POST that fails: nothing is lost, nothing doubled, nobody a clone."""

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from fieldpost.broker.carriage.transport import Answered, Refused, Reply, Request, Unreachable
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.session.course import Course
from fieldpost.broker.session.keeper import Identity, Keeper
from fieldpost.broker.session.transport import SessionTransport
from fieldpost.broker.session.waking import Waking
from fieldpost.runtime.session.answers import Asked
from fieldpost.runtime.session.errors import CommandError
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.runtime.session.topics import Topics
from fieldpost.wire import cbor
from fieldpost.wire.local import DONE, EXCHANGE_DONE, REGISTRATION_DONE, Outcome
from fieldpost.wire.payload import ClientPayload
from tests.broker.fakes import ACCOUNT, ModelServer, NoSpread, RecordingPlugin, Rig
from tests.broker.session.server_side import ServerInMemory
from tests.fakes import InlineWriter


class Both:
    """A model of the server, reached by session and by POST; chance breaks either."""

    def __init__(self, seed: int, *, breaks: float) -> None:
        self.random = Random(seed)
        self.breaks = breaks
        self.model = ModelServer("load")
        self.over_session = self.by_post = 0

    def chance(self) -> bool:
        return self.random.random() < self.breaks


class World:
    """Agent and server joined, with one clock."""

    def __init__(self, seed: int, *, breaks: float) -> None:
        self.both = Both(seed, breaks=breaks)
        self.names: dict[Any, bytes | None] = {}
        transport: Any = self
        self.rig = Rig.build(transport, account=ACCOUNT, limits=ExchangeLimits(messages=3))
        self.clock: Clock = self.rig.clock
        self.server = ServerInMemory(self.clock, {"exchange": self.answer, "subscribe": self.subscribe})
        self.topics = Topics(clock=self.clock)
        self.subscriptions = Subscriptions(clock=self.clock)
        random = NoSpread(seed)
        self.keeper = Keeper(
            opener=self.server,
            course=Course(random=random),
            clock=self.clock,
            random=random,
            identity=self.identity,
            handlers={},
            subscriptions=self.subscriptions,
            incarnation=b"client-1",
            new_octets=bytes,
            on_live=self.rig.timetable.set_live,
        )
        Waking(subscriptions=self.subscriptions, timetable=self.rig.timetable)
        for event in (EXCHANGE_DONE, REGISTRATION_DONE):
            self.rig.bus.listen(event, lambda _: self.keeper.check_identity())
        self.transport = SessionTransport(
            sessions=self.keeper,
            fallback=self.posting(),
            worker=InlineWriter(),
            clock=self.clock,
            within=60.0,
            max_answer_octets=1_000_000,
        )
        self.plugin = RecordingPlugin(answers=lambda _: Outcome(status=DONE))
        self.rig.delivery.register(("go",), self.plugin.name, self.plugin.deliver)
        self.rig.start()
        self.keeper.start()
        self.pass_time(70)

    # The agent's way

    @property
    def depth(self) -> int:
        return self.transport.depth

    async def exchange(self, request: Request) -> Reply:
        return await self.transport.exchange(request)

    async def identity(self) -> Identity:
        state = self.rig.store.state()
        return Identity(secure_id=state.secure_id, insecure_id=state.insecure_id)

    def posting(self) -> Any:
        both = self.both

        class Posting:
            depth = 1

            async def exchange(self, request: Request) -> Reply:
                assert not request.follows
                both.by_post += 1
                if both.chance():
                    return Unreachable(reason="lost on the way")
                reply = await both.model.exchange(request)
                return Unreachable(reason="lost on the way back") if both.chance() else reply

            async def stop(self) -> None:
                """Nothing."""

        return Posting()

    # The server's

    async def answer(self, asked: Asked) -> list[Any]:
        if self.both.chance():
            return await self.cut()
        assert asked.data is not None
        hello = self.server.peer.hello
        assert hello is not None
        secure_id = self.secret_of(hello.id)
        request = Request(
            payload=ClientPayload.from_map(cbor.decode(asked.data)),
            secure_id=secure_id,
            token=asked.args.get(b"token"),
            follows=asked.args.get(b"quiet") is True,
        )
        self.both.over_session += 1
        reply = await self.both.model.exchange(request)
        if self.both.chance():
            return await self.cut()
        if isinstance(reply, Refused):
            raise CommandError("refused", reply.reason, status=reply.status)
        assert isinstance(reply, Answered)
        return [cbor.encode(reply.payload.to_map())]

    def secret_of(self, id: str | None) -> bytes | None:
        return None if id is None else self.both.model.computers[int(id[2:]) - 1].secure_id

    def subscribe(self, asked: Asked) -> Any:
        return self.topics.subscribe(asked, "us")

    def cut(self) -> "Deferred[list[Any]]":
        """At the end of this turn: a connection does not vanish from under a handler, whose answer never comes."""
        self.clock.callLater(0, self.server.links[-1].lose)
        return Deferred()

    # Time

    def pass_time(self, seconds: float) -> None:
        self.server.wait(seconds, step=0.25)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.conformance("Z17", "N23")
def test_nothing_is_lost_or_doubled(seed: int) -> None:
    """Messages are stored once, in order; operations are given once; over two carriers that both break."""
    world = World(seed, breaks=0.0)
    assert world.both.model.computer.approved
    world.both.breaks = 0.25
    operations = []
    for batch in range(12):
        for n in range(10):
            world.rig.store.put({"type": "load", "value": batch * 10 + n})
        world.rig.timetable.request(at_once=False)
        operations.append(world.both.model.operate("go", value=batch))
        world.pass_time(20)

    world.both.breaks = 0.0
    world.pass_time(900)

    model = world.both.model
    assert model.stored("load") == list(range(120))
    assert world.plugin.values == list(range(12))
    for operation in operations:
        (result,) = model.results(operation)
        assert result["status"] == 6
    assert len(model.computers) == 1
    assert world.both.over_session > 20
    assert world.both.by_post > 0


def test_a_notification_brings_an_operation_at_once() -> None:
    """Not at the next interval."""
    world = World(1, breaks=0.0)
    world.pass_time(120)
    before = world.clock.seconds()
    world.both.model.operate("go", value=1)
    world.topics.publish("us", "messages", {b"pending": 1}, 1)

    world.pass_time(0.5)

    assert world.plugin.values == [1]
    assert world.clock.seconds() - before < 1


def test_registration_over_a_session_without_a_name() -> None:
    """Then the session is had in the name that came of it."""
    world = World(1, breaks=0.0)
    world.pass_time(60)

    assert [offer.hello.id for offer in world.server.offers] == [None, "a:1"]
    assert world.rig.report()["registration"]["is-registered"]
