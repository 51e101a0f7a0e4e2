"""One plugin process, connected: what it may ask of the broker, and what the broker tells it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

from attrs import frozen
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from ...runtime.amp import CallProtocol, Disconnected
from ...runtime.database import DatabaseError
from ...runtime.writer import Writer
from ...wire.errors import LocalProtocolError, RemoteProtocolError
from ...wire.local import (
    DONE,
    EVENTS,
    FAILED,
    MAX_BODY_OCTETS,
    MAX_OUTPUT_CHARACTERS,
    MAX_TOPIC_LENGTH,
    NOT_HANDLED,
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
    Send,
    Session,
    Stored,
    Subscribe,
    Unavailable,
    Unsubscribe,
    Welcome,
    choose_version,
)
from ...wire.message import Message
from ..attachments import AttachmentFailed, ids_in
from ..output import Outputs, Progress
from ..store.records import State
from ..topics import Listener, Notice, TooManyTopics
from .grants import Grant, Grants
from .intake import Intake, Source
from .peer import Peer, PeerUnknown

P = ParamSpec("P")
T = TypeVar("T")

DeliverCall = Callable[[str, int, Message], "Deferred[Outcome]"]
"""
Gives a plugin, by name, a message from the server, by number.

The Deferred fires with what the plugin made of it, and fails with Disconnected alone: nobody knows then how far the
plugin came.
"""
Details = Mapping[str, Any]
Forget = Callable[[], None]
"""Takes back a registration; calling it again does nothing."""


class Storage(Protocol):
    """What of the store is needed here."""

    def state(self) -> State:
        """What the server told us."""

    def last_batch(self, instance: str) -> int:
        """Highest number stored of an instance, 0 for none."""

    def open_session(self, plugin: str, scope: str | None) -> str:
        """The session id in force."""


class Deliveries(Protocol):
    """Gives the server's messages to the plugins that take them."""

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Forget:
        """From now on `deliver` takes messages of these types for the plugin, until the answer is called."""


class Events(Protocol):
    """Where events are heard."""

    def listen(self, name: str, listener: Callable[[Details], None], /) -> Forget:
        """Call the listener whenever the event happens."""


class Exchanges(Protocol):
    """Where an exchange is asked for."""

    def request(self, *, at_once: bool) -> object:
        """An urgent exchange, or one at once. Nobody waits for it."""


class Topics(Protocol):
    """Where the server's notifications are heard."""

    def subscribe(self, topic: str, since: int | None, listener: Listener) -> Forget:
        """Give the listener what is newer, and what comes, until the answer is called. Raises TooManyTopics."""


class Attachments(Protocol):
    """Where files of operations come from."""

    async def fetch(self, id: int) -> bytes:
        """Raises AttachmentFailed, and DatabaseError."""


Status = Callable[[], Awaitable[dict[str, Any]]]
"""What `fieldpost status` shows."""


@frozen(kw_only=True)
class LinkLimits:
    """What one connection may ask for."""

    hello_within: float = 30.0
    """Seconds until a connection that has said no hello is closed."""
    hello_octets: int = 64 * 1024
    """Longest call before hello."""
    instance_length: int = 64
    plugins: int = 256
    types: int = 256
    """Message types in one call of handle."""
    sessions: int = 256
    """Scopes for which one connection may open sessions."""
    scope_length: int = 64
    unanswered: int = 1_000
    """A plugin with so many deliveries and events unanswered is disconnected."""
    ping_within: float = 5.0
    """Seconds in which a plugin's process answers a ping."""


USUAL_LIMITS = LinkLimits()


@frozen(kw_only=True)
class Broker:
    """All parts of the broker that a connection speaks to."""

    store: Storage
    writer: Writer
    intake: Intake
    grants: Grants
    deliveries: Deliveries
    events: Events
    exchanges: Exchanges
    topics: Topics
    outputs: Outputs
    attachments: Attachments
    status: Status
    clock: IReactorTime


class Links:
    """All connections of plugin processes that are open."""

    def __init__(self) -> None:
        self._open: set[PluginLink] = set()
        self._by_instance: dict[str, PluginLink] = {}
        # A source whose connection is gone lives on while batches of it wait.
        self._sources: WeakValueDictionary[str, Source] = WeakValueDictionary()
        self._when_none: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator["PluginLink"]:
        return iter(tuple(self._open))

    def of_plugin(self, name: str) -> "PluginLink | None":
        """The newest connection of a process that said that it has this plugin."""
        found = [link for link in self._by_instance.values() if name in link.plugins]
        return found[-1] if found else None

    def add(self, link: "PluginLink") -> None:
        """It is open."""
        self._open.add(link)

    def claim(self, instance: str, link: "PluginLink") -> Source:
        """
        From now on this connection is the one of that instance.

        A process that lost its connection may be back before we have seen the loss: the old connection is closed, and
        what it brought and is not on its way to the disk is left to the new one.
        """
        former_source = self._sources.get(instance)
        if former_source is not None:
            former_source.abandon()
        former = self._by_instance.pop(instance, None)
        if former is not None and former is not link:
            former.abort("its process has connected anew")
        source = self._sources[instance] = Source(instance)
        self._by_instance[instance] = link
        return source

    def remove(self, link: "PluginLink") -> None:
        """It is closed."""
        self._open.discard(link)
        for instance in [instance for instance, owner in self._by_instance.items() if owner is link]:
            del self._by_instance[instance]
        if not self._open:
            waiting, self._when_none = self._when_none, []
            for none in waiting:
                none.callback(None)

    def when_none(self) -> "Deferred[None]":
        """Fires when no connection is open."""
        none: Deferred[None] = Deferred()
        if self._open:
            self._when_none.append(none)
        else:
            none.callback(None)
        return none


@frozen(kw_only=True)
class _Client:
    """Who said hello."""

    grants: dict[str, Grant]
    source: Source


class PluginLink(CallProtocol):
    """
    The broker's end of a connection to a plugin process.

    Nothing is done for it before a hello that names only plugins which its user may run.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        links: Links,
        credentials: Callable[[Any], Peer],
        limits: LinkLimits = USUAL_LIMITS,
    ) -> None:
        super().__init__(
            responders={
                "hello": self._hello,
                "open-session": self._open_session,
                "send": self._send,
                "handle": self._handle,
                "exchange": self._exchange,
                "status": self._status,
                "output": self._output,
                "attachment": self._attachment,
                "subscribe": self._subscribe,
                "unsubscribe": self._unsubscribe,
            },
            max_octets=limits.hello_octets,
        )
        self._broker = broker
        self._links = links
        self._credentials = credentials
        self._limits = limits
        self._peer: Peer | None = None
        self._client: _Client | None = None
        self._is_greeting = False
        self._scopes: set[tuple[str, str | None]] = set()
        self._handled: set[tuple[str, str]] = set()
        self._forgets: list[Forget] = []
        self._heard_topics: dict[tuple[str, str], Forget] = {}
        self._operations: Counter[tuple[str, int]] = Counter()
        self._files: dict[tuple[str, int], frozenset[int]] = {}
        self._hello_timer: IDelayedCall | None = None

    def __str__(self) -> str:
        if self._peer is None:
            return "plugin socket, a peer unknown"
        names = ", ".join(self._client.grants) if self._client else ""
        return f"plugin socket, process {self._peer.pid} of user {self._peer.uid} ({names or 'no plugin'})"

    # What the broker tells the plugin

    def deliver(self, plugin: str, number: int, message: Message) -> "Deferred[Outcome]":
        """See DeliverCall."""
        if self._is_deaf():
            return fail(Disconnected("the plugin's process takes no more messages"))
        operation = message.get("operation-id")
        if type(operation) is int:
            self._begin(plugin, operation)
            self._files[plugin, operation] = ids_in(message)
        outcome = self.call("deliver", Deliver(plugin=plugin, number=number, message=message))
        if type(operation) is int:
            outcome.addBoth(self._end, plugin, operation)
        return outcome.addCallbacks(_known_outcome, _no_outcome)

    def _begin(self, plugin: str, operation: int) -> None:
        self._operations[plugin, operation] += 1
        self._broker.outputs.begin(operation)

    def _end(self, outcome: T, plugin: str, operation: int) -> T:
        self._operations[plugin, operation] -= 1
        if not self._operations[plugin, operation]:
            del self._operations[plugin, operation]
            del self._files[plugin, operation]
        self._broker.outputs.end(operation)
        return outcome

    def notify(self, event: Event) -> None:
        """Tell of an event. Nobody hears whether the plugin liked it."""
        if not self._is_deaf():
            self.call("event", event).addErrback(self._not_notified, event.name)

    @property
    def plugins(self) -> Collection[str]:
        """The plugins of this process; none before it has said hello."""
        return () if self._client is None else tuple(self._client.grants)

    def ping(self, plugin: str) -> "Deferred[bool]":
        """Whether the plugin's process answers in time. One that is too old to know the question answers as well."""
        if self._is_deaf():
            return succeed(False)
        answer: Deferred[Any] = self.call("ping", Ping(plugin=plugin))
        answer.addTimeout(self._limits.ping_within, self._broker.clock)
        return answer.addCallbacks(lambda _: True, _is_an_answer)

    async def _notified(self, plugin: str, notice: Notice) -> None:
        """Ends when the plugin is done with it. One that cannot take it now hears it when it is back."""
        if self._is_deaf():
            return
        said = Notification(
            plugin=plugin, topic=notice.topic, seq=notice.seq, value=notice.value, gap=notice.gap
        )
        try:
            await self.call("notification", said)
        except (Disconnected, RemoteProtocolError, LocalProtocolError) as error:
            self._not_notified(Failure(error), f"notification of {notice.topic}")

    def _is_deaf(self) -> bool:
        if self.unanswered >= self._limits.unanswered:
            self.abort(f"it leaves {self.unanswered} deliveries and events unanswered")
        return not self.is_open

    def _not_notified(self, failure: Failure, event: str) -> None:
        if not failure.check(Disconnected):
            self.log.warn(
                "{who}: event {event} was not taken: {reason}",
                who=str(self),
                event=event,
                reason=failure.getErrorMessage(),
            )

    def _heard(self, name: str, details: Details) -> None:
        self.notify(Event(name=name, details=dict(details)))

    def retire(self) -> None:
        """Take no more calls; those that came are answered."""
        self.hold("the broker is stopping")

    # What the plugin asks

    async def _hello(self, hello: Hello) -> Welcome:
        if self._client is not None or self._is_greeting:
            raise Refused("this connection has said hello already")
        version = choose_version(hello.oldest, hello.newest)
        self._check_hello(hello)
        assert self._peer is not None  # set before anything is read
        grants = self._broker.grants.admit(hello.plugins, self._peer)
        # The user is part of it, so that nobody can speak for an instance of another user.
        instance = f"{self._peer.uid}:{hello.instance}"
        source = self._links.claim(instance, self)
        self._is_greeting = True
        try:
            state, last_batch = await self._in_writer(self._look_up, instance)
        finally:
            self._is_greeting = False
        self._greet(_Client(grants=grants, source=source), hello.events)
        return Welcome(
            version=version,
            accepted_types=state.accepted_types,
            registered=state.secure_id is not None,
            server_uuid=state.server_uuid,
            last_batch=last_batch,
        )

    def _check_hello(self, hello: Hello) -> None:
        limits = self._limits
        if not 0 < len(hello.instance) <= limits.instance_length:
            raise Refused(f"`instance` must have 1 to {limits.instance_length} characters")
        if len(hello.plugins) > limits.plugins:
            raise Refused(f"{len(hello.plugins)} plugins in one process; {limits.plugins} are allowed")

    def _look_up(self, instance: str) -> tuple[State, int]:
        return self._broker.store.state(), self._broker.store.last_batch(instance)

    def _greet(self, client: _Client, events: Iterable[str]) -> None:
        if not self.is_open:
            return
        self._client = client
        self._stop_hello_timer()
        self.allow(MAX_BODY_OCTETS)
        # Names that we do not know are of a newer version than ours: nothing of the kind happens here.
        for name in dict.fromkeys(name for name in events if name in EVENTS):
            self._forgets.append(self._broker.events.listen(name, partial(self._heard, name)))
        self.log.info("{who}: connected", who=str(self))

    async def _send(self, send: Send) -> Stored:
        client = self._greeted()
        intake = self._broker.intake
        taken = intake.take(client.source, self._grant(send.plugin), send)
        if intake.is_full:
            self.hold("the store is slow")
            intake.when_roomy(partial(self.release, "the store is slow"))
        try:
            stored = await taken
        except Unavailable:
            # The store lets go of what was acknowledged when the server says so again: that may be all the room there is.
            self._broker.exchanges.request(at_once=False)
            raise
        if send.urgent and stored.stored:
            self._broker.exchanges.request(at_once=False)
        return stored

    async def _open_session(self, asked: OpenSession) -> Session:
        self._grant(asked.plugin)
        limits = self._limits
        if asked.scope is not None and not 0 < len(asked.scope) <= limits.scope_length:
            raise Refused(f"`scope` must have 1 to {limits.scope_length} characters, or be left out")
        self._scopes.add((asked.plugin, asked.scope))
        if len(self._scopes) > limits.sessions:
            self._scopes.discard((asked.plugin, asked.scope))
            raise Refused(f"a process may open sessions for {limits.sessions} scopes")
        return Session(
            session_id=await self._in_writer(self._broker.store.open_session, asked.plugin, asked.scope)
        )

    async def _handle(self, handle: Handle) -> Nothing:
        grant = self._grant(handle.plugin)
        if len(handle.types) > self._limits.types:
            raise Refused(f"{len(handle.types)} types in one call; send at most {self._limits.types}")
        for kind in handle.types:
            if not grant.may_handle(kind):
                raise Refused(
                    f"plugin `{grant.name}` may not handle `{kind[:64]}`; name it under `handles` in the plugin's "
                    "manifest, unless it is one of the broker's own types"
                )
        new = tuple(dict.fromkeys(kind for kind in handle.types if (grant.name, kind) not in self._handled))
        if new:
            self._handled.update((grant.name, kind) for kind in new)
            self._forgets.append(self._broker.deliveries.register(new, grant.name, self.deliver))
        return Nothing()

    async def _exchange(self, soon: ExchangeSoon) -> Nothing:
        self._greeted()
        self._broker.exchanges.request(at_once=soon.at_once)
        return Nothing()

    async def _status(self, _: Nothing) -> Report:
        self._greeted()
        return Report(status=await self._broker.status())

    async def _output(self, output: Output) -> Nothing:
        self._grant(output.plugin)
        if (output.plugin, output.operation) not in self._operations:
            raise Refused(f"operation {output.operation} is not with plugin `{output.plugin}` now")
        outputs = self._broker.outputs
        outputs.add(output.operation, output.text[-MAX_OUTPUT_CHARACTERS:])
        if output.topic is not None:
            progress = Progress(
                topic=output.topic[:MAX_TOPIC_LENGTH], position=output.position, total=output.total
            )
            outputs.progress(output.operation, progress)
        return Nothing()

    async def _attachment(self, asked: FetchAttachment) -> Attachment:
        grant = self._grant(asked.plugin)
        if asked.id not in self._files.get((grant.name, asked.operation), ()):
            raise Refused(
                f"operation {asked.operation}, if it is with plugin `{grant.name}` at all, names no attachment {asked.id}"
            )
        try:
            return Attachment(octets=await self._broker.attachments.fetch(asked.id))
        except AttachmentFailed as error:
            raise Refused(str(error)) from error
        except DatabaseError as error:
            raise Unavailable(f"the broker's store cannot do it now: {error}") from error

    async def _subscribe(self, asked: Subscribe) -> Nothing:
        grant = self._grant(asked.plugin)
        if not 0 < len(asked.topic) <= MAX_TOPIC_LENGTH:
            raise Refused(f"`topic` must have 1 to {MAX_TOPIC_LENGTH} characters")
        if not grant.may_subscribe(asked.topic):
            raise Refused(
                f"plugin `{grant.name}` may not hear `{asked.topic}`; name it under `subscribes` in the plugin's manifest"
            )
        self._forget_topic(asked.plugin, asked.topic)
        listener = partial(self._notified, asked.plugin)
        try:
            forget = self._broker.topics.subscribe(asked.topic, asked.since, listener)
        except TooManyTopics as error:
            raise Refused(str(error)) from error
        self._heard_topics[asked.plugin, asked.topic] = forget
        return Nothing()

    async def _unsubscribe(self, asked: Unsubscribe) -> Nothing:
        self._grant(asked.plugin)
        self._forget_topic(asked.plugin, asked.topic)
        return Nothing()

    def _forget_topic(self, plugin: str, topic: str) -> None:
        forget = self._heard_topics.pop((plugin, topic), None)
        if forget is not None:
            forget()

    def _greeted(self) -> _Client:
        if self._client is None:
            raise Refused("say hello first, and wait for the answer")
        return self._client

    def _grant(self, plugin: str) -> Grant:
        grant = self._greeted().grants.get(plugin)
        if grant is None:
            raise Refused(f"this process did not name plugin `{plugin[:64]}` in its hello")
        return grant

    async def _in_writer(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._broker.writer.run(function, *args, **kwargs)
        except DatabaseError as error:
            raise Unavailable(f"the broker's store cannot do it now: {error}") from error

    # Twisted's side

    def connectionMade(self) -> None:
        """See Protocol."""
        super().connectionMade()
        self._links.add(self)
        try:
            self._peer = self._credentials(self.transport)
        except PeerUnknown as error:
            self.abort(str(error))
        else:
            self._hello_timer = self._broker.clock.callLater(
                self._limits.hello_within, self.abort, "it said no hello in time"
            )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol. What it registered is taken back first, so that nothing is given to it any more."""
        self._stop_hello_timer()
        forgets, self._forgets = [*self._forgets, *self._heard_topics.values()], []
        self._heard_topics.clear()
        for forget in forgets:
            forget()
        if self._client is not None:
            self.log.info("{who}: disconnected", who=str(self))
        super().connectionLost(reason)
        self._links.remove(self)

    def _stop_hello_timer(self) -> None:
        if self._hello_timer is not None and self._hello_timer.active():
            self._hello_timer.cancel()


def _is_an_answer(failure: Failure) -> bool:
    return not failure.check(Disconnected, TimeoutError)


def _known_outcome(outcome: Outcome) -> Outcome:
    if outcome.status in (DONE, FAILED, NOT_HANDLED):
        return outcome
    return _failed(f"the plugin answered with status `{outcome.status[:64]}`, which says nothing here")


def _no_outcome(failure: Failure) -> Outcome:
    """The plugin's own error is an outcome; that it is gone is none."""
    error = failure.trap(RemoteProtocolError, LocalProtocolError)
    if error is LocalProtocolError:
        return _failed(f"the message could not be given to the plugin: {failure.getErrorMessage()}")
    return _failed(f"the plugin did not take the message: {failure.getErrorMessage()}")


def _failed(text: str) -> Outcome:
    return Outcome(status=FAILED, result_text=text)
