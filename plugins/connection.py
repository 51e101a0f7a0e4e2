"""
A plugin process's connection to the broker, there or not.

It is made anew whenever it is lost, after a pause that grows and is drawn by lot, so that the plugins of a machine do
not all come back at once. Over a new connection everything is said again in order: hello, with the same instance; which
messages are handled; then the batches that were not answered, under their numbers. What a broker stored before the loss
it knows by the number. So a message is stored once, and its `send` fires when it is.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.amp import CallProtocol, Disconnected
from ..runtime.doors import returns_deferred
from ..wire import cbor
from ..wire.errors import LocalProtocolError, RemoteProtocolError
from ..wire.local import (
    FAILED,
    MALFORMED,
    MAX_MESSAGE_OCTETS,
    NEWEST_VERSION,
    OLDEST_VERSION,
    TOO_LARGE,
    Attachment,
    Deliver,
    Event,
    ExchangeSoon,
    FetchAttachment,
    Handle,
    Hello,
    Nothing,
    Notification,
    OpenSession,
    Outcome,
    Output,
    Ping,
    Refused,
    Report,
    Session,
    Stored,
    Subscribe,
    Unavailable,
    Unsubscribe,
    Welcome,
)
from ..wire.message import Message, check_message
from ..wire.schema import to_map
from .errors import BufferFull, MessageRefused, PluginError, Stopped
from .outbox import Outbox, OutboxLimits, OutgoingBatch

T = TypeVar("T")

STOP_WITHIN = 3.0
"""Seconds in which the broker may take our last words."""

OnDeliver = Callable[[Deliver], Awaitable[Outcome]]
OnEvent = Callable[[Event], None]
OnWelcome = Callable[[Welcome], None]
OnNotification = Callable[[Notification], "Deferred[None]"]


@define(eq=False)
class _Topic:
    """One that a plugin hears. `since`: the highest number that it has dealt with."""

    heard: OnNotification
    since: int | None = None


@frozen(kw_only=True)
class ConnectionLimits:
    """How much waits for a broker that is away, and how long."""

    outbox: OutboxLimits = OutboxLimits()
    waiting_calls: int = 1_000
    """Calls other than send that may wait for a connection."""
    hello_within: float = 30.0
    """Seconds in which a broker must answer a hello."""
    first_pause: float = 0.1
    """Seconds. The longest pause before the first attempt to reconnect; it doubles with each."""
    longest_pause: float = 30.0


class NotConnected(PluginError):
    """There is no connection to the broker now; the text says why."""


class BrokerConnection:
    """
    The broker, as a plugin process sees it.

    `on_deliver` takes a message of the server and answers with what became of it; `on_event` hears of the `events`;
    `on_welcome` of each new connection. What they raise is logged, and hurts nobody. All happen in order.
    """

    log = Logger()

    def __init__(
        self,
        *,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        random: Random,
        new_id: Callable[[], str],
        plugins: Iterable[str],
        events: Iterable[str],
        on_deliver: OnDeliver,
        on_event: OnEvent,
        on_welcome: OnWelcome | None = None,
        limits: ConnectionLimits = ConnectionLimits(),
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._random = random
        self._hello = Hello(
            oldest=OLDEST_VERSION,
            newest=NEWEST_VERSION,
            instance=new_id(),
            plugins=tuple(plugins),
            events=tuple(events),
        )
        self._on_deliver = on_deliver
        self._on_event = on_event
        self._on_welcome = on_welcome
        self._limits = limits
        self._outbox = Outbox(limits.outbox)
        self._link: _Link | None = None
        self._handled: dict[str, dict[str, None]] = {}
        self._topics: dict[tuple[str, str], _Topic] = {}
        self._when_linked: list[Deferred[_Link]] = []
        self._when_flushed: list[Deferred[None]] = []
        self._pump_call: IDelayedCall | None = None
        self._retry_call: IDelayedCall | None = None
        self._store_failures = 0
        self._is_settling = False
        self._running: Deferred[None] | None = None
        self._trouble: str | None = None
        self.is_stopped = False

    # Start and stop

    def start(self) -> None:
        """Connect, and stay connected until `stop`."""
        self._running = Deferred.fromCoroutine(self._stay_connected())
        self._running.addErrback(self._failed)

    def stop(self) -> "Deferred[None]":
        """
        Disconnect. Messages that were not answered fail with Stopped; wait for `flushed` first to avoid it.

        The Deferred fires when the connection is closed. It is not started again.
        """
        self.is_stopped = True
        if self._pump_call is not None:
            self._pump_call.cancel()
            self._pump_call = None
        self._stop_retry()
        stopped = Stopped("this process is stopping; whether the message is stored is not known")
        self._outbox.drop_all(stopped)
        self._tell_if_flushed()
        waiting, self._when_linked = self._when_linked, []
        for linked in waiting:
            linked.errback(Failure(stopped))
        if self._running is None:
            return succeed(None)
        self._running.cancel()
        return self._running

    @property
    def is_connected(self) -> bool:
        """Whether the broker has answered the hello of the connection that is open."""
        return self._link is not None

    # What a plugin asks

    def send(
        self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
    ) -> "Deferred[None]":
        """
        Have a message stored; messages sent in one turn of the reactor travel together.

        Fires once the broker's disk has it. Fails with MessageRefused when the broker never takes it, with BufferFull
        at once when too much waits, with Stopped when the connection is stopped before.
        """
        if self.is_stopped:
            return fail(Stopped("this process is stopping; the message was not stored"))
        try:
            octets = _encode(check_message(message))
            if len(octets) > MAX_MESSAGE_OCTETS:
                return fail(
                    MessageRefused(
                        TOO_LARGE, f"a message of {len(octets)} octets; the most is {MAX_MESSAGE_OCTETS}"
                    )
                )
            answer = self._outbox.add(plugin, octets, session_id, urgent)
        except BufferFull:
            return fail()
        except (LocalProtocolError, RemoteProtocolError) as error:
            return fail(MessageRefused(MALFORMED, str(error)))
        if self._pump_call is None and self._link is not None and not self._is_settling:
            self._pump_call = self._clock.callLater(0, self._pump_turn)
        return answer

    def flushed(self) -> "Deferred[None]":
        """Fires when every message that was sent is answered."""
        flushed: Deferred[None] = Deferred()
        self._when_flushed.append(flushed)
        self._tell_if_flushed()
        return flushed

    @returns_deferred
    async def open_session(self, plugin: str, scope: str | None = None) -> str:
        """The session id in force for a scope. Waits for the broker; raises Refused when it must not be."""
        session: Session = await self._ask_patiently("open-session", OpenSession(plugin=plugin, scope=scope))
        return session.session_id

    @returns_deferred
    async def handle(self, plugin: str, types: Sequence[str]) -> None:
        """Have messages of these types delivered to a plugin, also over later connections; raises Refused."""
        known = self._handled.setdefault(plugin, {})
        new = {kind: None for kind in types if kind not in known}
        if not new:
            return
        await self._ask_patiently("handle", Handle(plugin=plugin, types=tuple(new)))
        known.update(new)

    @returns_deferred
    async def report(self, output: Output) -> None:
        """Tell what an operation writes; nobody hears it while the broker is away. Raises Refused."""
        if self._link is not None and self._link.is_open:
            with suppress(Disconnected):
                await self._link.call("output", output)

    @returns_deferred
    async def attachment(self, plugin: str, operation: int, id: int) -> bytes:
        """A file that an operation names which is with the plugin. Waits for the broker; raises Refused, which says why."""
        asked = FetchAttachment(plugin=plugin, operation=operation, id=id)
        found: Attachment = await self._ask_patiently("attachment", asked)
        return found.octets

    @returns_deferred
    async def subscribe(self, plugin: str, topic: str, heard: OnNotification) -> None:
        """Hear a topic for a plugin, also over later connections; raises Refused."""
        known = self._topics[plugin, topic] = _Topic(heard)
        try:
            await self._ask_patiently("subscribe", Subscribe(plugin=plugin, topic=topic, since=None))
        except RemoteProtocolError:
            if self._topics.get((plugin, topic)) is known:
                del self._topics[plugin, topic]
            raise

    @returns_deferred
    async def unsubscribe(self, plugin: str, topic: str) -> None:
        """Hear no more of it."""
        self._topics.pop((plugin, topic), None)
        if self._link is not None and self._link.is_open:
            with suppress(Disconnected):
                await self._link.call("unsubscribe", Unsubscribe(plugin=plugin, topic=topic))

    @returns_deferred
    async def request_exchange(self, at_once: bool = False) -> None:
        """Ask for an urgent exchange, or for one at once. Waits for the broker."""
        await self._ask("exchange", ExchangeSoon(at_once=at_once))

    @returns_deferred
    async def status(self) -> dict[str, Any]:
        """What the broker says of itself. Waits for the broker."""
        report: Report = await self._ask("status", Nothing())
        return report.status

    async def _ask(self, name: str, value: Any) -> Any:
        """Make a call that may be made twice: a connection that is lost meanwhile is waited for."""
        while True:
            link = await self._linked()
            with suppress(Disconnected):
                return await link.call(name, value)

    async def _ask_patiently(self, name: str, value: Any) -> Any:
        """The same, and ask again when the broker could not do it then."""
        failures = 0
        while True:
            try:
                return await self._ask(name, value)
            except Unavailable:
                failures += 1
                await self._pause(failures)

    def _linked(self) -> "Deferred[_Link]":
        """The connection, once there is one."""
        if self.is_stopped:
            return fail(Stopped("this process is stopping"))
        if self._link is not None and self._link.is_open:
            return succeed(self._link)
        if len(self._when_linked) >= self._limits.waiting_calls:
            return fail(BufferFull(f"{len(self._when_linked)} calls wait for the broker, and no more may"))
        linked: Deferred[_Link] = Deferred(self._when_linked.remove)
        self._when_linked.append(linked)
        return linked

    def _pause(self, failures: int) -> "Deferred[None]":
        return deferLater(self._clock, self._draw_pause(failures), lambda: None)

    def _draw_pause(self, failures: int) -> float:
        limits = self._limits
        longest = limits.longest_pause
        # Beyond so many doublings any base is above any cap, and a float would end.
        if failures < 32:
            longest = min(longest, limits.first_pause * 2.0**failures)
        return self._random.uniform(0.0, longest)

    # The connection

    async def _stay_connected(self) -> None:
        try:
            await self._keep_connecting()
        except CancelledError:  # by stop
            pass
        finally:
            await self._disconnect()

    async def _keep_connecting(self) -> None:
        failures = 0
        while not self.is_stopped:
            try:
                link = await self._connect()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever an endpoint may raise
                self._note(str(error) or type(error).__name__)
                failures += 1
            else:
                failures = 0
                await link.when_lost()
            if not self.is_stopped:
                await self._pause(failures)

    async def _connect(self) -> "_Link":
        link = await self._endpoint.connect(_LinkFactory(self))
        assert isinstance(link, _Link)  # our factory made it
        try:
            seconds = self._limits.hello_within
            welcome: Any = await link.call("hello", self._hello).addTimeout(seconds, self._clock, _no_welcome)
        except BaseException:
            link.cut()
            raise
        self._open(link, welcome)
        return link

    async def _disconnect(self) -> None:
        link = self._link
        if link is not None:
            lost = link.when_lost()
            link.close()
            # A broker that does not take our last words is not waited for.
            timer = self._clock.callLater(STOP_WITHIN, link.cut)
            await lost
            if timer.active():
                timer.cancel()

    def _open(self, link: "_Link", welcome: Welcome) -> None:
        self.log.info("connected to the broker")
        self._trouble = None
        self._link = link
        self._stop_retry()
        self._outbox.go_on()
        if self._on_welcome is not None:
            self._guarded(self._on_welcome, welcome)
        for plugin, types in self._handled.items():
            handled = link.call("handle", Handle(plugin=plugin, types=tuple(types)))
            handled.addErrback(self._not_handled, plugin)
        for (plugin, name), topic in self._topics.items():
            again = Subscribe(plugin=plugin, topic=name, since=topic.since)
            link.call("subscribe", again).addErrback(self._not_heard, plugin, name)
        waiting, self._when_linked = self._when_linked, []
        for linked in waiting:
            linked.callback(link)
        self._pump()

    def _lost(self, link: "_Link", reason: Failure) -> None:
        if self._link is link:
            self._link = None
            self._stop_retry()
            if not self.is_stopped:
                self._note(f"the connection was lost: {reason.getErrorMessage()}")

    def _note(self, trouble: str) -> None:
        """Log a trouble when it begins, not at each attempt."""
        if trouble != self._trouble and not self.is_stopped:
            self.log.warn(
                "no connection to the broker: {trouble}; what is sent waits, and it is tried again",
                trouble=trouble,
            )
        self._trouble = trouble

    def _not_handled(self, failure: Failure, plugin: str) -> None:
        if not failure.check(Disconnected):
            self.log.error(
                "{plugin}: the broker will not deliver to it any more: {reason}",
                plugin=plugin,
                reason=failure.getErrorMessage(),
            )

    def _not_heard(self, failure: Failure, plugin: str, topic: str) -> None:
        if not failure.check(Disconnected):
            self.log.error(
                "{plugin}: it hears nothing of {topic} any more: {reason}",
                plugin=plugin,
                topic=topic,
                reason=failure.getErrorMessage(),
            )

    # Batches

    def _pump_turn(self) -> None:
        self._pump_call = None
        self._pump()

    def _pump(self) -> None:
        """Say what may be said now."""
        link = self._link
        while link is not None and link.is_open and (batch := self._outbox.next_batch()) is not None:
            link.call_encoded("send", cbor.encode_known(to_map(batch.as_send()))).addCallbacks(
                self._stored, self._not_stored, callbackArgs=(batch,), errbackArgs=(batch,)
            ).addErrback(self._failed)

    def _stored(self, stored: Stored, batch: OutgoingBatch) -> None:
        if not self.is_stopped:
            self._store_failures = 0
            # What is sent in answer to this goes out below: no further turn of the reactor is needed.
            self._is_settling = True
            self._outbox.stored(batch, stored)
            self._is_settling = False
            self._settled()

    def _not_stored(self, failure: Failure, batch: OutgoingBatch) -> None:
        if self.is_stopped:
            return
        if failure.check(Disconnected):
            self._outbox.came_back(batch)
            return
        error = failure.value
        if isinstance(error, Unavailable):
            self._outbox.not_stored(batch)
        else:
            code = error.code if isinstance(error, RemoteProtocolError) else MALFORMED
            self._outbox.refused(batch, MessageRefused(code, str(error)))
        self._settled()

    def _settled(self) -> None:
        self._tell_if_flushed()
        if not self._outbox.is_stuck:
            self._pump()
        elif not self._outbox.flying and self._retry_call is None:
            self._store_failures += 1
            pause = self._draw_pause(self._store_failures)
            self._retry_call = self._clock.callLater(pause, self._retry)

    def _retry(self) -> None:
        self._retry_call = None
        self._outbox.go_on()
        self._pump()

    def _stop_retry(self) -> None:
        if self._retry_call is not None:
            self._retry_call.cancel()
            self._retry_call = None

    def _tell_if_flushed(self) -> None:
        if self._when_flushed and not self._outbox.messages:
            waiting, self._when_flushed = self._when_flushed, []
            for flushed in waiting:
                flushed.callback(None)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the connection to the broker failed", failure)

    # What the broker says

    async def _deliver(self, deliver: Deliver) -> Outcome:
        try:
            return await self._on_deliver(deliver)
        except Exception:  # noqa: BLE001 - a plugin's code
            self.log.failure(
                "message {number} failed in {plugin}", number=deliver.number, plugin=deliver.plugin
            )
            return Outcome(status=FAILED, result_text="the plugin failed; its log says how")

    async def _event(self, event: Event) -> Nothing:
        self._guarded(self._on_event, event)
        return Nothing()

    async def _notified(self, said: Notification) -> Nothing:
        topic = self._topics.get((said.plugin, said.topic))
        if topic is not None and (topic.since is None or said.seq != topic.since or said.gap):
            await topic.heard(said)
            topic.since = said.seq
        return Nothing()

    async def _pinged(self, ping: Ping) -> Nothing:
        if ping.plugin not in self._hello.plugins:
            raise Refused(f"no plugin `{ping.plugin[:64]}` runs in this process")
        return Nothing()

    def _guarded(self, function: Callable[[T], None], value: T) -> None:
        try:
            function(value)
        except Exception:  # noqa: BLE001 - a plugin's code
            self.log.failure("{value} was not taken", value=type(value).__name__)


class _Link(CallProtocol):
    """One connection."""

    def __init__(self, owner: BrokerConnection) -> None:
        super().__init__(
            responders={
                "deliver": owner._deliver,
                "event": owner._event,
                "notification": owner._notified,
                "ping": owner._pinged,
            }
        )
        self._owner = owner
        self._is_lost = False
        self._when_lost: list[Deferred[None]] = []

    def __str__(self) -> str:
        return "broker connection"

    def when_lost(self) -> "Deferred[None]":
        """Fires when the connection is lost."""
        lost: Deferred[None] = Deferred()
        if self._is_lost:
            lost.callback(None)
        else:
            self._when_lost.append(lost)
        return lost

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._is_lost = True
        # First the owner, so that what the calls' failure sets going finds no connection.
        self._owner._lost(self, reason)
        super().connectionLost(reason)
        waiting, self._when_lost = self._when_lost, []
        for lost in waiting:
            lost.callback(None)


class _LinkFactory(Factory):
    noisy = False

    def __init__(self, owner: BrokerConnection) -> None:
        self._owner = owner

    def buildProtocol(self, addr: "IAddress | None") -> _Link:
        """See Factory."""
        return _Link(self._owner)


_FLAT = frozenset({bool, bytes, float, int, str, type(None)})


def _encode(message: Message) -> bytes:
    """Of a message that holds nothing deeper the library alone can judge; the broker walks over it anyway."""
    if _FLAT.issuperset(map(type, message.values())):
        return cbor.encode_known(message)
    return cbor.encode(message)


def _no_welcome(_: object, seconds: float) -> None:
    raise NotConnected(f"the broker did not answer within {seconds:g} seconds; see whether its log says why")
