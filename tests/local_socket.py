"""The broker's end of the local socket in memory: the real store, the real intake, lines that a test holds."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect

from fieldpost.broker.attachments import AttachmentFailed
from fieldpost.broker.bus import Bus
from fieldpost.broker.local.grants import Grant, Grants
from fieldpost.broker.local.intake import Intake, IntakeLimits
from fieldpost.broker.local.peer import Peer
from fieldpost.broker.local.plugin_link import Broker, DeliverCall, LinkLimits, Links, PluginLink
from fieldpost.broker.output import Outputs
from fieldpost.broker.store.store import Store
from fieldpost.broker.topics import TopicRelay
from fieldpost.runtime.amp import CallProtocol
from fieldpost.wire import cbor
from fieldpost.wire.local import Hello, Nothing, Outcome, Send, Welcome
from fieldpost.wire.message import Message
from tests.broker.store.stores import START, open_store
from tests.fakes import InlineWriter

P = ParamSpec("P")
T = TypeVar("T")

UID = 7
OPERATOR = 0
LOAD = Grant(
    name="load",
    uids=frozenset({UID}),
    sends=frozenset({"load", "operation-result"}),
    handles=frozenset({"reload", "rest"}),
    subscribes=frozenset({"weather", "tides"}),
)
DISK = Grant(name="disk", uids=frozenset({UID, 8}), sends=frozenset({"disk"}))


class HeldWriter(InlineWriter):
    """A Writer that waits, while it is held, until the test lets it run its calls; it may be made to fail."""

    def __init__(self) -> None:
        self.is_held = False
        self.failures: list[Exception] = []
        """What the next calls end with, one each, in place of being run."""
        self._calls: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if not self.is_held:
            return self._run(lambda: function(*args, **kwargs))
        done: Deferred[T] = Deferred()
        self._calls.append((done, lambda: function(*args, **kwargs)))
        return done

    def _run(self, call: Callable[[], T]) -> "Deferred[T]":
        if self.failures:
            return fail(self.failures.pop(0))
        return super().run(call)

    def one(self) -> None:
        """Run the call that has waited longest."""
        done, call = self._calls.pop(0)
        self._run(call).chainDeferred(done)

    def go(self) -> None:
        """Run what waits, and hold no more."""
        self.is_held = False
        while self._calls:
            self.one()


def clock_now() -> Clock:
    clock = Clock()
    clock.advance(START)
    return clock


class Line:
    """A client in memory at one end, a PluginLink at the other; the test moves the octets."""

    def __init__(self, client: CallProtocol, link: PluginLink) -> None:
        self.client = client
        self.link = link
        self.pump: IOPump = connect(
            link, FakeTransport(link, isServer=True), client, FakeTransport(client, isServer=False)
        )

    def call(self, name: str, value: Any) -> "Deferred[Any]":
        """Say something and let the octets flow; the answer may be there or not."""
        answer = self.client.call(name, value)
        self.pump.flush()
        return answer

    def hello(
        self, *plugins: str, instance: str = "one", events: tuple[str, ...] = ()
    ) -> "Deferred[Welcome]":
        return self.call(
            "hello", Hello(oldest=1, newest=1, instance=instance, plugins=plugins, events=events)
        )

    def send(self, batch: int, *messages: Message | bytes, **more: Any) -> "Deferred[Any]":
        return self.call("send", batch_of(batch, *messages, **more))

    def lose(self) -> None:
        """The client's process is gone."""
        self.client.cut()
        self.pump.flush()


def batch_of(number: int, *messages: Message | bytes, plugin: str = "load", **more: Any) -> Send:
    octets = tuple(each if isinstance(each, bytes) else cbor.encode(each) for each in messages)
    return Send(plugin=plugin, batch=number, messages=octets, **more)


class FakeAttachments:
    """Has the files of `found`, by id."""

    def __init__(self) -> None:
        self.found: dict[int, bytes] = {}
        self.failures: list[Exception] = []
        """Raised by the next calls."""

    async def fetch(self, id: int) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        if id not in self.found:
            raise AttachmentFailed(f"attachment {id} cannot be fetched: it is not there")
        return self.found[id]


class LocalSocket:
    """All that stands behind the socket."""

    def __init__(
        self,
        *,
        store: Store | None = None,
        link_limits: LinkLimits = LinkLimits(),  # noqa: B008 - it is frozen
        intake_limits: IntakeLimits = IntakeLimits(),  # noqa: B008 - it is frozen
    ) -> None:
        self.clock = clock_now()
        self.store = store or open_store(clock=self.clock)
        self.writer = HeldWriter()
        self.bus = Bus()
        self.links = Links()
        self.upstream = Upstream()
        self.relay = TopicRelay(upstream=self.upstream.subscribe)
        self.outputs = Outputs(clock=self.clock)
        self.exchanges: list[bool] = []
        """The exchanges that were asked for: at once or not."""
        self.handled: dict[str, tuple[str, DeliverCall]] = {}
        """Who takes the types: plugin and callable."""
        self.status: Callable[[], Awaitable[dict[str, Any]]] = self._status
        self.attachments = FakeAttachments()
        self._link_limits = link_limits
        self.intake = Intake(
            store=self.store,
            writer=self.writer,
            clock=self.clock,
            now=self.clock.seconds,
            limits=intake_limits,
        )
        self.parts = Broker(
            store=self.store,
            writer=self.writer,
            intake=self.intake,
            grants=Grants([LOAD, DISK], operators={OPERATOR}),
            deliveries=self,
            events=self.bus,
            exchanges=self,
            topics=self.relay,
            outputs=self.outputs,
            attachments=self.attachments,
            status=lambda: self.status(),
            clock=self.clock,
        )

    # What a PluginLink asks for

    def request(self, *, at_once: bool) -> None:
        self.exchanges.append(at_once)

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Callable[[], None]:
        self.handled.update(dict.fromkeys(types, (plugin, deliver)))

        def forget() -> None:
            for kind in types:
                self.handled.pop(kind, None)

        return forget

    async def _status(self) -> dict[str, Any]:
        return {"well": True}

    # What a test asks for

    def link(self, *, uid: int = UID) -> PluginLink:
        return PluginLink(
            broker=self.parts,
            links=self.links,
            credentials=lambda _: Peer(uid=uid, gid=uid, pid=4711),
            limits=self._link_limits,
        )

    def line(self, *, uid: int = UID, client: CallProtocol | None = None) -> Line:
        return Line(client or Hearing(), self.link(uid=uid))

    def greeted(self, *plugins: str, **more: Any) -> Line:
        """A line whose client has said hello; `load` unless other plugins are named."""
        line = self.line()
        line.hello(*plugins or ("load",), **more)
        return line

    def stored(self) -> list[Message]:
        """The messages in the store, in order; they are not counted as sent."""
        outgoing = self.store.begin_exchange(max_messages=100_000, max_octets=2**40)
        return [cbor.decode(message.body) for message in outgoing.messages]


class Upstream:
    """The session's subscriptions: the test is the server."""

    def __init__(self) -> None:
        self.heard: dict[str, Callable[[Any], None]] = {}

    def subscribe(self, topic: str, heard: Callable[[Any], None]) -> Any:
        assert topic not in self.heard
        self.heard[topic] = heard
        return SimpleNamespace(cancel=lambda: self.heard.pop(topic))

    def notify(self, topic: str, seq: int, value: Any = None, *, gap: bool = False) -> None:
        self.heard[topic](SimpleNamespace(topic=topic, seq=seq, value=value, gap=gap))


class Hearing(CallProtocol):
    """A plugin's end that answers deliveries as the test says, and remembers deliveries and events."""

    def __init__(self) -> None:
        super().__init__(responders={"deliver": self._deliver, "event": self._event})
        self.delivered: list[Any] = []
        self.events: list[Any] = []
        self.outcome: Outcome | Exception | Deferred[Outcome] = Outcome(status="done")

    async def _deliver(self, deliver: Any) -> Outcome:
        self.delivered.append(deliver)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return await self.outcome if isinstance(self.outcome, Deferred) else self.outcome

    async def _event(self, event: Any) -> Nothing:
        self.events.append(event)
        return Nothing()


class BrokerInMemory:
    """An endpoint that leads to a LocalSocket, or to nobody while it is `away`."""

    def __init__(self, socket: LocalSocket) -> None:
        self.socket = socket
        self.is_away = False
        self.lines: list[Line] = []
        self.attempts = 0

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See IStreamClientEndpoint."""
        self.attempts += 1
        if self.is_away:
            return fail(ConnectionRefusedError("nobody is there"))
        client = factory.buildProtocol(None)
        self.lines.append(Line(client, self.socket.link()))
        return succeed(client)

    def settle(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(5):
            self.socket.clock.advance(0)
            for line in self.lines:
                line.pump.flush()

    def leave(self) -> None:
        """The broker is gone: its connections end, and nobody listens."""
        self.is_away = True
        for line in self.lines:
            line.link.cut()
        self.settle()

    def come_back(self, socket: LocalSocket | None = None) -> None:
        """There is a broker again; with its store as it was left, unless another is given."""
        self.is_away = False
        self.socket = socket or self.socket
        self.wait(60)

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.socket.clock.advance(0.25)
            self.settle()


def failure_of(deferred: "Deferred[Any]") -> Failure:
    """What a Deferred failed with; it is not reported any more."""
    found: list[Failure] = []
    deferred.addErrback(found.append)
    return found[0]
