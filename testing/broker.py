"""A broker in memory: what a plugin says to it is kept for the test, and the test says what it answers."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed

from ..plugins.errors import BufferFull, MessageRefused
from ..wire import cbor
from ..wire.catalogue.from_agents import AGENT_MESSAGES
from ..wire.declaration import Declaration
from ..wire.errors import LocalProtocolError, RemoteProtocolError
from ..wire.local import (
    MALFORMED,
    MAX_MESSAGE_OCTETS,
    OBSOLETE_SESSION,
    RESYNCHRONIZE_CLIENTS,
    TOO_LARGE,
    Deliver,
    Event,
    Notification,
    Outcome,
    Output,
    Refused,
)
from ..wire.message import Message, check_message

OnDeliver = Callable[[Deliver], "Deferred[Outcome]"]
OnEvent = Callable[[Event], None]
OnNotification = Callable[[Notification], "Deferred[None]"]


@frozen
class Kept:
    """A message that the broker stored, as its disk would have it."""

    plugin: str
    message: Message
    session_id: str | None
    urgent: bool


class FakeBroker:
    """
    Takes the place of `plugins.connection.BrokerConnection`, and of the broker behind it.

    It stores at once, unless it is `away`: then everything waits, in order, until it is `back`. `stored` is what it has.
    """

    def __init__(self, *, max_waiting: int = 1000) -> None:
        self.stored: list[Kept] = []
        self.handled: dict[str, tuple[str, ...]] = {}
        self.exchanges_asked = 0
        self.reported: list[Output] = []
        """What operations wrote, and how far they came."""
        self.attachments: dict[int, bytes] = {}
        """Files that may be fetched, by id."""
        self.topics: dict[tuple[str, str], OnNotification] = {}
        """Who hears what: plugin and topic."""
        self._notified = 0
        self._sessions: dict[tuple[str, str | None], str] = {}
        self._known: set[str] = set()
        self._opened = 0
        self._refusals: dict[str, MessageRefused] = {}
        self._catalogue = AGENT_MESSAGES
        self._is_away = False
        self._waiting: list[Callable[[], object]] = []
        self.max_waiting = max_waiting
        self._on_deliver: OnDeliver | None = None
        self._on_event: OnEvent | None = None
        self._number = 0

    def listen(self, *, on_deliver: OnDeliver, on_event: OnEvent) -> None:
        """Say who hears what the broker says."""
        self._on_deliver = on_deliver
        self._on_event = on_event

    # What a plugin asks

    def send(
        self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
    ) -> "Deferred[None]":
        """See BrokerConnection.send."""
        try:
            octets = cbor.encode(self._catalogue.fit(check_message(message)))
        except (LocalProtocolError, RemoteProtocolError) as error:
            return fail(MessageRefused(MALFORMED, str(error)))
        if len(octets) > MAX_MESSAGE_OCTETS:
            return fail(MessageRefused(TOO_LARGE, f"a message of {len(octets)} octets is too large"))
        if len(self._waiting) >= self.max_waiting:
            return fail(BufferFull(f"{len(self._waiting)} messages wait for the broker already"))
        kept = Kept(plugin, cbor.decode(octets), session_id, urgent)
        return self._when_there(lambda: self._store(kept))

    def open_session(self, plugin: str, scope: str | None = None) -> "Deferred[str]":
        """See BrokerConnection.open_session."""
        return self._when_there(lambda: self._open_session(plugin, scope))

    def handle(self, plugin: str, types: Sequence[str]) -> "Deferred[None]":
        """See BrokerConnection.handle."""
        return self._when_there(lambda: self._handle(plugin, types))

    def request_exchange(self, at_once: bool = False) -> "Deferred[None]":
        """See BrokerConnection.request_exchange. They are counted."""
        return self._when_there(self._ask_exchange)

    def report(self, output: Output) -> "Deferred[None]":
        """See BrokerConnection.report. They are kept, unless it is away."""
        if not self._is_away:
            self.reported.append(output)
        return succeed(None)

    def attachment(self, plugin: str, operation: int, id: int) -> "Deferred[bytes]":
        """See BrokerConnection.attachment. Any operation may have any of `attachments`."""
        return self._when_there(lambda: self._attachment(id))

    def subscribe(self, plugin: str, topic: str, heard: OnNotification) -> "Deferred[None]":
        """See BrokerConnection.subscribe."""
        self.topics[plugin, topic] = heard
        return self._when_there(lambda: None)

    def unsubscribe(self, plugin: str, topic: str) -> "Deferred[None]":
        """See BrokerConnection.unsubscribe."""
        self.topics.pop((plugin, topic), None)
        return succeed(None)

    # What a test does

    @property
    def messages(self) -> list[Message]:
        """The stored messages, in order."""
        return [kept.message for kept in self.stored]

    def away(self) -> None:
        """From now on nothing is answered."""
        self._is_away = True

    def back(self) -> None:
        """Answer what waits, in order."""
        self._is_away = False
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer()

    def declare(self, *declarations: Declaration) -> None:
        """Take messages of these types as they are declared, such as by `Manifest.read(...).declarations`."""
        self._catalogue = self._catalogue.with_more(declarations)

    def refuse(self, type: str, code: str, text: str) -> None:
        """Refuse messages of this type from now on."""
        self._refusals[type] = MessageRefused(code, text)

    def accept(self, type: str) -> None:
        """Take messages of this type again."""
        self._refusals.pop(type, None)

    def drop_sessions(self, *scopes: str) -> None:
        """Forget the sessions of these scopes, or all, and tell nobody: as when a plugin was away meanwhile."""
        for (plugin, scope), session_id in tuple(self._sessions.items()):
            if not scopes or scope in scopes:
                del self._sessions[plugin, scope]
                self._known.discard(session_id)

    def resynchronize(self, *scopes: str) -> None:
        """The server lost track of these scopes, or of everything."""
        self.drop_sessions(*scopes)
        self.fire(RESYNCHRONIZE_CLIENTS, scopes=list(scopes) if scopes else None)

    def fire(self, event: str, /, **details: Any) -> None:  # Any: whatever travels
        """Tell the plugins that something happened."""
        if self._on_event is None:
            raise AssertionError("nobody listens: call `listen` first")
        self._on_event(Event(name=event, details=details))

    def notify(self, topic: str, value: Any = None, *, gap: bool = False) -> "list[Deferred[None]]":
        """The server notifies of a topic. Each Deferred fires when a plugin is done with it."""
        self._notified += 1
        return [
            heard(Notification(plugin=plugin, topic=topic, seq=self._notified, value=value, gap=gap))
            for (plugin, name), heard in tuple(self.topics.items())
            if name == topic
        ]

    def deliver(self, plugin: str, message: Message) -> "Deferred[Outcome]":
        """Hand a message of the server to a plugin."""
        if self._on_deliver is None:
            raise AssertionError("nobody listens: call `listen` first")
        self._number += 1
        return self._on_deliver(Deliver(plugin=plugin, number=self._number, message=check_message(message)))

    # Inside

    def _when_there(self, answer: Callable[[], Any]) -> "Deferred[Any]":
        """Any: each caller's own kind of answer."""
        if not self._is_away:
            return _answered(answer)
        waiting: Deferred[Any] = Deferred()
        self._waiting.append(lambda: _answered(answer).chainDeferred(waiting))
        return waiting

    def _store(self, kept: Kept) -> None:
        refusal = self._refusals.get(kept.message["type"])
        if refusal is not None:
            raise MessageRefused(refusal.code, str(refusal))
        if kept.session_id is not None and kept.session_id not in self._known:
            raise MessageRefused(OBSOLETE_SESSION, f"session {kept.session_id} is not in force")
        self.stored.append(kept)

    def _open_session(self, plugin: str, scope: str | None) -> str:
        key = plugin, scope
        if key not in self._sessions:
            self._opened += 1
            self._sessions[key] = f"session-{self._opened}"
            self._known.add(self._sessions[key])
        return self._sessions[key]

    def _handle(self, plugin: str, types: Sequence[str]) -> None:
        self.handled[plugin] = (*self.handled.get(plugin, ()), *types)

    def _attachment(self, id: int) -> bytes:
        if id not in self.attachments:
            raise Refused(f"there is no attachment {id}; put it into `attachments` of this broker")
        return self.attachments[id]

    def _ask_exchange(self) -> None:
        self.exchanges_asked += 1


def _answered(answer: Callable[[], Any]) -> "Deferred[Any]":
    try:
        return succeed(answer())
    except (MessageRefused, Refused):
        return fail()
