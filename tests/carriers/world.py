"""
A machine and its server, whole but for processes and sockets: real broker parts and the real server, by session or by POST.

The broker's parts are joined as agent/session.py and agent/broker_service.py join them, with chance from the test's seed,
and with one plugin whose end the test holds. Between the two is a network in memory.
"""

from collections import deque
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from sqlite3 import Connection
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

from attrs import define, field
from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import Deferred, fail

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.http import HttpTransport
from fieldpost.broker.carriage.line import Timeouts
from fieldpost.broker.carriage.post import Poster
from fieldpost.broker.carriage.proxy import Proxies
from fieldpost.broker.carriage.transport import Reply, Request
from fieldpost.broker.carriage.trust import Trust
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.output import Outputs, Progress
from fieldpost.broker.registration import Account
from fieldpost.broker.session.answers import ServersRequests
from fieldpost.broker.session.course import Course
from fieldpost.broker.session.keeper import Identity, Keeper
from fieldpost.broker.session.opener import Opener
from fieldpost.broker.session.poll import Poll, poll_path
from fieldpost.broker.session.transport import SessionTransport
from fieldpost.broker.session.waking import Waking
from fieldpost.broker.store.records import NewMessage
from fieldpost.broker.store.store import Store
from fieldpost.broker.topics import Notice, TopicRelay
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.server.composition import build_server, open_server_database
from fieldpost.server.outgoing import Window
from fieldpost.server.parcel import ParcelLimits
from fieldpost.server.policy import CORE_TYPES, AcceptedTypes, Policy
from fieldpost.server.policy import Account as Door
from fieldpost.server.session.certificate import InsideTls, inside_tls
from fieldpost.server.session.door import Doors
from fieldpost.server.session.endpoint import Endpoint, Terms
from fieldpost.server.site import Site, SiteLimits
from fieldpost.wire import cbor
from fieldpost.wire.local import DONE, EXCHANGE_DONE, REGISTRATION_DONE, Outcome
from fieldpost.wire.message import Message
from tests.broker.fakes import Rig
from tests.broker.store.stores import START, add, clock_at, open_store
from tests.carriers.network import Lifetime, Manners, Network
from tests.certificates import Authority
from tests.fakes import InlineWriter
from tests.server.wired import TOKEN, WiredServer

P = ParamSpec("P")
T = TypeVar("T")
reactor: Any = twisted_reactor  # of which Twisted has no one interface
URL = "http://server.example/message-system"
TYPES = ("load", "disk")
SESSION, INSIDE, POST = "session", "session inside TLS", "POST"
CARRIERS = (SESSION, INSIDE, POST)
TIMEOUTS = Timeouts(connect=10.0, stall=60.0, total=300.0)


def policy_of(*types: str) -> Policy:
    """Three doors: who is let in at once, who waits, and the messages that are wanted."""
    return Policy(
        accounts={
            "open": Door(name="open", registration_key="key", auto_accept=True),
            "closed": Door(name="closed", registration_key="key"),
        },
        accepted=AcceptedTypes((*CORE_TYPES, *types)),
    )


def account(name: str = "open", key: str = "key") -> Account:
    """What a machine registers with."""
    return Account(
        account_name=name,
        computer_title="Press 7",
        hostname="press-7",
        registration_password=key,
        tags=None,
    )


class Thread(InlineWriter):
    """
    A writer in a thread of a process: it takes its time, may fail, and its process may die before or after any call.

    Its calls are carried out one after the other.
    """

    def __init__(self, world: "World", life: Lifetime, mortality: Callable[[], float] = float) -> None:
        self._world = world
        self._life = life
        self._mortality = mortality
        self._free_at = 0.0
        self._waiting: deque[Callable[[], object]] = deque()
        self.is_dead = False
        self.trouble: Exception | None = None

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        slowness = self._world.slowness
        if not slowness:
            return self._run(function, *args, **kwargs)
        now = self._life.seconds()
        self._free_at = max(now, self._free_at) + self._world.random.uniform(0, slowness)
        done: Deferred[T] = Deferred(lambda _: None)
        self._waiting.append(lambda: self._run(function, *args, **kwargs).chainDeferred(done))
        self._life.callLater(self._free_at - now, lambda: self._waiting.popleft()())
        return done

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if self.trouble is not None:
            return fail(self.trouble)
        random, mortality = self._world.random, self._mortality()
        if not self.is_dead and mortality and random.random() < mortality:
            self.is_dead = True
            if random.random() < 0.5:
                function(*args, **kwargs)
        return Deferred() if self.is_dead else super().run(function, *args, **kwargs)


@cache
def certified() -> tuple[Trust, InsideTls]:
    """Whom the agent trusts, and what the server shows."""
    authority = Authority()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        authority.write(place / "ca.pem")
        issued = authority.issue("server.example")
        (place / "cert.pem").write_bytes(issued.certificate)
        (place / "key.pem").write_bytes(issued.key)
        tls = inside_tls(place / "cert.pem", place / "key.pem")
        return Trust.in_file(str(place / "ca.pem")), tls


@define(kw_only=True)
class Terrain:
    """How a world is made."""

    carrier: str = SESSION
    account: str = "open"
    key: str = "key"
    types: tuple[str, ...] = TYPES
    messages: int = 100
    """Most of one payload."""
    parcel: ParcelLimits = field(factory=ParcelLimits)
    window: Window = field(factory=lambda: Window(messages=10))
    takes_sessions: bool = True


class Station(WiredServer):
    """One life of the server's process, over a database that outlives it."""

    def __init__(self, world: "World") -> None:
        terrain, random = world.terrain, world.random
        self.clock = self.life = Lifetime(world.clock)
        self.connection = world.database
        self.writer = Thread(world, self.life, lambda: world.server_mortality)
        self.server = build_server(
            connection=self.connection,
            writer=self.writer,
            decoder=Thread(world, self.life),
            clock=self.clock,
            policy=policy_of(*terrain.types),
            api_token=TOKEN,
            new_id=lambda: f"id-{next(world.ids)}",
            new_token=lambda: f"token-{next(world.ids)}".encode(),
            limits=terrain.parcel,
            new_octets=random.randbytes,
            window=terrain.window,
            takes_sessions=terrain.takes_sessions,
        )
        limits = SiteLimits(body_octets=terrain.parcel.octets)
        self.site = Site(front=self.server.front, clock=self.clock, limits=limits)
        self.endpoint = Endpoint(
            desk=self.server.desk,
            clock=self.clock,
            terms=Terms(plain=terrain.carrier != INSIDE, max_octets=terrain.parcel.octets),
            tls=certified()[1] if terrain.carrier == INSIDE else None,
            random=random.random,
        )
        self.doors = Doors(site=self.site, host=self.endpoint, clock=self.clock)
        self._takes_sessions = terrain.takes_sessions

    @property
    def listener(self) -> tuple[Doors | Site, Lifetime]:
        """See Network.serve."""
        return self.doors if self._takes_sessions else self.site, self.life

    def values(self, type: str, computer: int | None = None) -> list[Any]:
        """The `value` of the messages of a type that it has, in order."""
        return [message.get("value") for message in self.stored(computer) if message["type"] == type]

    def operate(self, type: str, computer: int = 1, **fields: Any) -> int:
        """Ask for an operation; its id."""
        asked = {"computer": computer, "type": type, "fields": fields}
        found: int = self.api("POST", "/operations", asked).json["id"]
        return found

    def operation(self, id: int) -> dict[str, Any]:
        """How it stands."""
        found: dict[str, Any] = self.api("GET", f"/operations/{id}").json
        return found

    def computers(self) -> list[dict[str, Any]]:
        """All of them, as the API shows them."""
        found: list[dict[str, Any]] = self.api("GET", "/computers").json["computers"]
        return found


@define
class Watched:
    """A transport, and how often payloads went by which way."""

    inner: SessionTransport
    post: "Counted"
    requests: list[Request] = field(factory=list)
    replies: list[Reply] = field(factory=list)
    most_together: int = 0
    _together: int = 0

    @property
    def depth(self) -> int:
        """See Transport."""
        return self.inner.depth

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        self.requests.append(request)
        self._together += 1
        self.most_together = max(self.most_together, self._together)
        try:
            reply = await self.inner.exchange(request)
        finally:
            self._together -= 1
        self.replies.append(reply)
        return reply


@define
class Counted:
    """The way by POST, which counts."""

    inner: HttpTransport
    count: int = 0

    @property
    def depth(self) -> int:
        """See Transport."""
        return self.inner.depth

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        self.count += 1
        return await self.inner.exchange(request)

    async def stop(self) -> None:
        """See Fallback."""
        await self.inner.stop()


class Agent:
    """One life of a broker's process, over a store that outlives it, and its one plugin, which handles `echo`."""

    def __init__(self, world: "World", store: Store, *, registers: Account | None) -> None:
        self.world = world
        self.store = store
        self.life = Lifetime(world.clock)
        random = world.random
        self.writer = Thread(world, self.life, lambda: world.broker_mortality)
        self.packer = Thread(world, self.life)
        self.subscriptions = Subscriptions(clock=self.life)
        self.topics = TopicRelay(upstream=self.subscriptions.subscribe)
        self.outputs = Outputs(clock=self.life)
        self.heard: list[Notice] = []
        self.post = Counted(HttpTransport(poster=self._poster(), worker=self.packer, now=world.clock.seconds))
        self.keeper = self._keeper()
        transport = SessionTransport(
            sessions=self.keeper,
            fallback=self.post,
            worker=self.packer,
            clock=self.life,
            within=TIMEOUTS.total,
            max_answer_octets=1_000_000,
        )
        self.transport = Watched(transport, self.post)
        self.rig = Rig.build(
            self.transport,
            clock=self.life,
            store=store,
            writer=self.writer,
            random=random,
            account=registers,
            limits=ExchangeLimits(messages=world.terrain.messages),
        )
        self.poll = self._poll()
        Waking(subscriptions=self.subscriptions, timetable=self.rig.timetable)
        for event in (EXCHANGE_DONE, REGISTRATION_DONE):
            self.rig.bus.listen(event, lambda _: self.keeper.check_identity())
        self.rig.delivery.register(("echo",), "plugin-1", self._carry_out)

    def start(self) -> "Agent":
        """As the broker's service does."""
        Deferred.fromCoroutine(self.rig.exchange.start())
        self.keeper.start()
        return self

    async def stop(self) -> None:
        """As the broker's service does."""
        await self.rig.exchange.stop()
        await self.keeper.stop()
        await self.poll.stop()
        await self.transport.inner.stop()

    def hear(self, topic: str) -> None:
        """The plugin subscribes."""

        async def take(notice: Notice) -> None:
            self.heard.append(notice)

        self.topics.subscribe(topic, None, take)

    def report(self, *values: Any, type: str = "load", octets: int = 0) -> None:
        """The plugin sends messages, with so much ballast, and they are stored."""
        add(self.store, *(self._message(type, value, octets) for value in values))
        self.rig.timetable.request(at_once=False)

    @property
    def is_live(self) -> bool:
        """Whether it has a session."""
        return bool(self.keeper.report()["carrier"] == "session")

    @property
    def seen(self) -> list[str]:
        """The events of the bus, in order."""
        return [name for name, _ in self.rig.events]

    def _message(self, type: str, value: Any, octets: int) -> NewMessage:
        body = {"type": type, "value": value, "ballast": self.world.random.randbytes(octets)}
        return NewMessage(type=type, body=cbor.encode(body), timestamp=START)

    def _carry_out(self, plugin: str, number: int, message: Message) -> "Deferred[Outcome]":
        """As the plugin's link does, for a plugin in the same process."""
        operation: int = message["operation-id"]
        self.world.carried_out.append(operation)
        self.outputs.begin(operation)
        self.outputs.add(operation, f"working on {message.get('word')}\n")
        self.outputs.progress(operation, Progress(topic="steps", position=1, total=2))
        done: Deferred[Outcome] = Deferred()

        def finish() -> None:
            self.outputs.end(operation)
            done.callback(Outcome(status=DONE, result_text=str(message.get("word"))))

        self.life.callLater(float(message.get("pause", self.world.pause())), finish)
        return done

    def _poster(self) -> Poster:
        return Poster(
            address=Address.of_server(URL),
            reactor=self.life,
            worker=self.packer,
            trust=certified()[0],
            proxies=Proxies(),
            max_answer_octets=1_000_000,
            user_agent="fieldpost/test",
            timeouts=TIMEOUTS,
            dial=self.world.network.dialler(self.life),
        )

    async def _identity(self) -> Identity:
        state = await self.writer.run(self.store.state)
        return Identity(secure_id=state.secure_id, insecure_id=state.insecure_id)

    def _keeper(self) -> Keeper:
        world = self.world
        self.incarnation = world.random.randbytes(8)
        opener = Opener(
            url=URL,
            reactor=self.life,
            now=world.clock.seconds,
            trust=certified()[0],
            proxies=Proxies(),
            user_agent="fieldpost/test",
            dial=world.network.dialler(self.life),
            is_plain=world.terrain.carrier != INSIDE,
        )
        requests = ServersRequests(
            ask=lambda urgency: self.rig.timetable.ask(urgency),
            links=_NoLinks(),
            outputs=self.outputs,
            log_lines=lambda most: ["a line of the log"][:most],
        )
        return Keeper(
            opener=opener,
            course=Course(random=world.random),
            clock=self.life,
            random=world.random,
            identity=self._identity,
            handlers=requests.handlers,
            subscriptions=self.subscriptions,
            incarnation=self.incarnation,
            new_octets=world.random.randbytes,
            on_live=lambda is_live: self.rig.timetable.set_live(is_live),
            on_change=lambda: self.poll.look(),
        )

    def _poll(self) -> Poll:
        return Poll(
            poster=self._poster(),
            path=poll_path(Address.of_server(URL)),
            sessions=self.keeper,
            subscriptions=self.subscriptions,
            identity=self._identity,
            clock=self.life,
            random=self.world.random,
            incarnation=self.incarnation,
            new_octets=self.world.random.randbytes,
            within=50.0,
        )


class _NoLinks:
    """No process of a plugin is connected."""

    def of_plugin(self, name: str) -> None:
        """See Links."""


class World:
    """A server, an agent, and what is between them. Octets arrive as soon as time passes, unless manners say otherwise."""

    def __init__(self, terrain: Terrain | None = None, *, random: Random | None = None) -> None:
        self.terrain = terrain or Terrain()
        self.random = random or Random(1)
        self.clock = clock_at()
        self.ids = count(1)
        self.carried_out: list[int] = []
        self.broker_mortality = self.server_mortality = 0.0
        """How likely a process dies at a transaction."""
        self.slowness = 0.0
        """Seconds that a thread takes over a call at most."""
        self.network = Network(self.clock, self.random, Manners(strips=self.terrain.carrier == POST))
        self.database: Connection = open_server_database(":memory:")
        self.server = self.open_server()
        self.agent = self.boot(open_store(clock=self.clock, accept=None))

    def close(self) -> None:
        """Nothing more happens."""
        self.agent.store.close()
        self.database.close()

    # The two processes

    def open_server(self) -> Station:
        """A new life of the server."""
        self.server = Station(self)
        self.network.serve = lambda: self.server.listener
        return self.server

    def kill_server(self) -> None:
        """Its process is gone, and nobody listens."""
        self.server.writer.is_dead = True
        self.server.life.end()
        self.network.serve = None
        self.network.forget(self.server.life)

    def boot(self, store: Store | None = None) -> Agent:
        """A new life of the broker."""
        registers = account(self.terrain.account, self.terrain.key)
        self.agent = Agent(self, store or self.agent.store, registers=registers).start()
        return self.agent

    def kill_broker(self) -> None:
        """Its process is gone; nothing but the store is left."""
        self.agent.writer.is_dead = True
        self.agent.life.end()
        self.network.forget(self.agent.life)

    def pause(self) -> float:
        """How long the plugin takes over an operation that does not say so."""
        return 0.0

    # Time

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, from one thing that happens to the next."""
        end = self.clock.seconds() + seconds
        while True:
            self._settle()
            due = self.clock.calls[0].getTime() if self.clock.calls else end
            if due >= end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))
        self._settle()

    def _settle(self) -> None:
        self.clock.advance(0)
        if self.terrain.carrier == INSIDE:
            # TLS gathers small writes until the turn of the one reactor that it knows.
            while self._has_turned():
                self.clock.advance(0)

    def _has_turned(self) -> bool:
        reactor.runUntilCurrent()
        return bool(self.clock.calls) and self.clock.calls[0].getTime() <= self.clock.seconds()

    def until(self, condition: Callable[[], object], within: float = 300.0) -> None:
        """Let time pass until something is so."""
        end = self.clock.seconds() + within
        while not condition():
            assert self.clock.seconds() < end, (self.agent.keeper.report(), self.agent.store.status())
            due = self.clock.calls[0].getTime() if self.clock.calls else end
            self.run(max(0.0, due - self.clock.seconds()))

    # What most tests begin with

    def settle_in(self) -> "World":
        """Let the machine become known, and its session open where there is to be one."""
        self.until(lambda: self.agent.store.state().secure_id is not None)
        if self.terrain.carrier == POST:
            self.until(lambda: self.agent.keeper.state.value == "by POST")
        else:
            self.until(lambda: self.has_own_session())
        self.run(1.0)
        return self

    def has_own_session(self) -> bool:
        """Whether the agent has a session in its own name."""
        secure_id = self.agent.store.state().secure_id
        return secure_id is not None and self.agent.keeper.peer_as(secure_id) is not None
