"""The fake broker, and the real connection with a real broker behind it, as one thing to test."""

from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect

from fieldpost.broker.bus import Bus
from fieldpost.broker.local.grants import EVERY_TYPE, Grant, Grants
from fieldpost.broker.local.intake import Intake
from fieldpost.broker.local.peer import Peer
from fieldpost.broker.local.plugin_link import Broker as BrokerParts
from fieldpost.broker.local.plugin_link import DeliverCall, Links, PluginLink
from fieldpost.broker.output import Outputs
from fieldpost.broker.store.store import Store
from fieldpost.broker.topics import TopicRelay
from fieldpost.plugins.connection import BrokerConnection, ConnectionLimits
from fieldpost.plugins.context import Broker
from fieldpost.plugins.outbox import OutboxLimits
from fieldpost.testing import FakeBroker, result_of
from fieldpost.wire import cbor
from fieldpost.wire.local import DONE, EVENTS, Deliver, Event, Outcome
from fieldpost.wire.message import Message
from tests.broker.store.stores import open_store
from tests.fakes import InlineWriter
from tests.local_socket import FakeAttachments, Upstream

MAX_WAITING = 5


class Heard:
    """What the broker said, and what the plugin makes of it."""

    def __init__(self) -> None:
        self.deliveries: list[Message] = []
        self.events: list[Event] = []

    def on_deliver(self, delivery: Deliver) -> "Deferred[Outcome]":
        self.deliveries.append(delivery.message)
        return succeed(Outcome(status=DONE, result_text="well"))

    def on_event(self, event: Event) -> None:
        self.events.append(event)


class Side(Protocol):
    """What a test needs of either."""

    heard: Heard

    @property
    def broker(self) -> Broker: ...

    def settle(self) -> None: ...

    def close(self) -> None: ...

    def stored(self) -> list[tuple[Message, bool]]:
        """Messages, and whether an exchange was asked for with them."""

    def away(self) -> None: ...

    def back(self) -> None: ...

    def drop_sessions(self) -> None: ...

    def exchanges(self) -> int: ...

    def deliver(self, message: Message) -> "Deferred[Outcome]": ...

    def fire(self, name: str, **details: Any) -> None: ...

    def notify(self, topic: str, value: Any) -> None: ...


class FakeSide:
    """fieldpost.testing's."""

    def __init__(self) -> None:
        self.heard = Heard()
        self._fake = FakeBroker(max_waiting=MAX_WAITING)
        self._fake.listen(on_deliver=self.heard.on_deliver, on_event=self.heard.on_event)
        self.broker: Broker = self._fake

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def stored(self) -> list[tuple[Message, bool]]:
        return [(kept.message, kept.urgent) for kept in self._fake.stored]

    def away(self) -> None:
        self._fake.away()

    def back(self) -> None:
        self._fake.back()

    def drop_sessions(self) -> None:
        self._fake.drop_sessions()

    def exchanges(self) -> int:
        return self._fake.exchanges_asked

    def deliver(self, message: Message) -> "Deferred[Outcome]":
        return self._fake.deliver("load", message)

    def fire(self, name: str, **details: Any) -> None:
        self._fake.fire(name, **details)

    def notify(self, topic: str, value: Any) -> None:
        self._fake.notify(topic, value)


class RealSide:
    """A BrokerConnection, and over a line in memory the broker's end with its store."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.clock = Clock()
        self.store: Store = open_store(":memory:", accept=("seen", "other", "text-message"))
        self._bus = Bus()
        self._deliver: dict[str, DeliverCall] = {}
        self._asked = 0
        self._is_away = False
        self._links = Links()
        self._upstream = Upstream()
        self._notified = 0
        self._pump: IOPump | None = None
        self._parts = BrokerParts(
            store=self.store,
            writer=InlineWriter(),
            intake=Intake(store=self.store, writer=InlineWriter(), clock=self.clock, now=self.clock.seconds),
            grants=Grants(
                [
                    Grant(
                        name="load",
                        uids=frozenset({7}),
                        sends=frozenset({EVERY_TYPE}),
                        handles=frozenset({EVERY_TYPE}),
                        subscribes=frozenset({EVERY_TYPE}),
                    )
                ],
                operators=(),
            ),
            deliveries=self,
            events=self._bus,
            exchanges=self,
            topics=TopicRelay(upstream=self._upstream.subscribe),
            outputs=Outputs(clock=self.clock),
            attachments=FakeAttachments(),
            status=self._status,
            clock=self.clock,
        )
        self._connection = BrokerConnection(
            endpoint=self,  # type: ignore[arg-type]  # it has the one method
            clock=self.clock,
            random=Random(0),
            new_id=lambda: "instance",
            plugins=["load"],
            events=EVENTS,
            on_deliver=self.heard.on_deliver,
            on_event=self.heard.on_event,
            limits=ConnectionLimits(outbox=OutboxLimits(messages=MAX_WAITING)),
        )
        self.broker: Broker = self._connection
        self._connection.start()
        self.settle()

    # The line

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See IStreamClientEndpoint."""
        if self._is_away:
            return fail(ConnectionRefusedError())
        client = factory.buildProtocol(None)
        server = PluginLink(
            broker=self._parts, links=self._links, credentials=lambda _: Peer(uid=7, gid=7, pid=7)
        )
        self._pump = connect(
            server, FakeTransport(server, isServer=True), client, FakeTransport(client, isServer=False)
        )
        return succeed(client)

    def settle(self) -> None:
        for _ in range(3):
            self.clock.advance(0)
            if self._pump is not None:
                self._pump.flush()

    def away(self) -> None:
        self._is_away = True
        for link in self._links:
            link.close()
        self.settle()

    def back(self) -> None:
        self._is_away = False
        self.clock.pump([1.0] * 60)
        self.settle()

    def close(self) -> None:
        self._connection.stop()
        self.settle()

    # The broker

    def stored(self) -> list[tuple[Message, bool]]:
        sent = self.store.begin_exchange(max_messages=100, max_octets=1_000_000).messages
        return [(cbor.decode(message.body), self._asked > 0) for message in sent]

    def drop_sessions(self) -> None:
        self.store.resynchronize(operation_id=None, scopes=None)

    def exchanges(self) -> int:
        return self._asked

    def deliver(self, message: Message) -> "Deferred[Outcome]":
        return self._deliver[message["type"]]("load", 1, message)

    def fire(self, name: str, **details: Any) -> None:
        result_of(Deferred.fromCoroutine(self._bus.fire(name, **details)))

    def notify(self, topic: str, value: Any) -> None:
        self._notified += 1
        if topic in self._upstream.heard:
            self._upstream.notify(topic, self._notified, value)

    def request(self, *, at_once: bool) -> None:
        """See plugin_link.Exchanges."""
        self._asked += 1

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Any:
        """See plugin_link.Deliveries."""
        self._deliver.update(dict.fromkeys(types, deliver))
        return lambda: None

    async def _status(self) -> dict[str, Any]:
        return {}
