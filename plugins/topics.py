"""The server's notifications as plugins hear them: by topic, in order, one at a time."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire.errors import FieldpostError
from ..wire.local import Notification as Said
from .activity import Activity


class Upstream(Protocol):
    """Where notifications come from."""

    def subscribe(
        self, plugin: str, topic: str, heard: "Callable[[Said], Deferred[None]]"
    ) -> "Deferred[None]":
        """From now on, also after a reconnect, hear what the server notifies of a topic; fails with Refused."""

    def unsubscribe(self, plugin: str, topic: str) -> "Deferred[None]":
        """Hear no more of it."""


@frozen(kw_only=True)
class Notification:
    """
    The newest that the server says of a topic; what it said before is out of date.

    `seq` grows within a topic. `gap`: earlier ones may have been missed, so look at the whole. Any: the value is between
    the server and the plugin.
    """

    topic: str
    seq: int
    value: Any
    gap: bool


Hear = Callable[[Notification], Awaitable[None] | None]


@define(eq=False)
class Subscription:
    """One handler of one topic, from `subscribe` until `cancel`."""

    topic: str
    _handler: Hear = field(repr=False)
    _owner: "PluginTopics" = field(repr=False)

    def cancel(self) -> None:
        """Hear no more; calling it again does nothing."""
        self._owner.cancel(self)


class PluginTopics:
    """The subscriptions of one plugin."""

    log = Logger()

    def __init__(self, *, broker: Upstream, plugin: str, activity: Activity) -> None:
        self._broker = broker
        self._plugin = plugin
        self._activity = activity
        self._topics: dict[str, list[Subscription]] = {}
        self._turns: dict[str, DeferredLock] = {}
        self._newest: dict[str, Notification] = {}

    def subscribe(self, topic: str, handler: Hear) -> Subscription:
        """
        Call the handler, plain or asynchronous, with what the server notifies of a topic.

        It is never called while a call of the same topic goes on. What it raises is logged.
        """
        subscription = Subscription(topic, handler, self)
        found = self._topics.setdefault(topic, [])
        found.append(subscription)
        newest = self._newest.get(topic)
        if len(found) == 1:
            asked = self._broker.subscribe(self._plugin, topic, self._heard)
            asked.addErrback(self._not_subscribed, topic)
        elif newest is not None:
            self._in_turn(topic, newest, (subscription,))
        return subscription

    def cancel(self, subscription: Subscription) -> None:
        """It hears no more."""
        found = self._topics.get(subscription.topic, [])
        if subscription not in found:
            return
        found.remove(subscription)
        if not found:
            del self._topics[subscription.topic]
            self._newest.pop(subscription.topic, None)
            asked = self._broker.unsubscribe(self._plugin, subscription.topic)
            asked.addErrback(self._not_told, subscription.topic)

    def _heard(self, said: Said) -> "Deferred[None]":
        """Fires when all handlers are done with it."""
        heard = Notification(topic=said.topic, seq=said.seq, value=said.value, gap=said.gap)
        self._newest[said.topic] = heard
        return self._in_turn(said.topic, heard, tuple(self._topics.get(said.topic, ())))

    def _in_turn(
        self, topic: str, heard: Notification, subscriptions: tuple[Subscription, ...]
    ) -> "Deferred[None]":
        turn = self._turns.setdefault(topic, DeferredLock())
        return Deferred.fromCoroutine(self._tell(turn, heard, subscriptions))

    async def _tell(
        self, turn: DeferredLock, heard: Notification, subscriptions: tuple[Subscription, ...]
    ) -> None:
        async with turn:
            for subscription in subscriptions:
                if subscription in self._topics.get(heard.topic, ()):
                    await self._activity.call(f"its handler of {heard.topic}", subscription._handler, heard)

    def _not_subscribed(self, failure: Failure, topic: str) -> None:
        known = failure.check(FieldpostError)
        self.log.error(
            "{plugin}: it hears nothing of {topic}: {reason}",
            plugin=self._plugin,
            topic=topic,
            reason=failure.getErrorMessage(),
            log_failure=None if known else failure,
        )

    def _not_told(self, failure: Failure, topic: str) -> None:
        self.log.debug(
            "{plugin}: {topic} was not given up: {reason}",
            plugin=self._plugin,
            topic=topic,
            reason=failure.getErrorMessage(),
        )
