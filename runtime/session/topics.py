"""
The publisher's side of subscriptions: topics by scope, and those who listen.

A scope is whoever may hear the topics in it, such as one computer. What handlers answer to `subscribe` and `wait` is
made here. A subscriber whose line is not clear is told the newest when it is, and nothing of what came before.
"""

from collections.abc import Hashable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ...wire.cbor import Value
from ...wire.session.subscription import (
    Feed,
    Topic,
    read_subscribe,
    read_wait,
    write_granted,
    write_notification,
)
from .answers import Asked
from .errors import CommandError

LEASE = 600.0
"""Seconds."""
MAX_LISTENERS = 64
"""Open subscriptions and waits in one scope."""
MAX_TOPICS = 64
"""Of which nothing was ever published, in one scope: their names come from peers."""


@define(eq=False)
class _Scope:
    topics: dict[str, Topic] = field(factory=dict)
    listeners: set["_Subscriber | _Waiter"] = field(factory=set)


class Topics:
    """All topics of all scopes."""

    def __init__(self, *, clock: IReactorTime, lease: float = LEASE) -> None:
        self._clock = clock
        self._lease = lease
        self._scopes: dict[Hashable, _Scope] = {}

    def publish(self, scope: Hashable, topic: str, value: Value, seq: int | None = None) -> bool:
        """
        This is the newest of a topic; whether that is news.

        Without a number it is the one after the last: let numbers that must outlive this process come from what
        outlives it.
        """
        there = self._scopes.setdefault(scope, _Scope())
        is_news = self._topic(there, topic).publish(value, seq)
        if is_news:
            for listener in tuple(there.listeners):
                listener.tell()
        return is_news

    def forget(self, scope: Hashable) -> None:
        """There is nothing more to say in a scope. Whoever still listens hears the next that is published."""
        there = self._scopes.get(scope)
        if there is not None and not there.listeners:
            del self._scopes[scope]

    def listeners(self, scope: Hashable) -> int:
        """How many listen."""
        there = self._scopes.get(scope)
        return len(there.listeners) if there else 0

    def subscribe(self, asked: Asked, scope: Hashable) -> "Deferred[tuple[Value, ...]]":
        """Answer a `subscribe`; the answer stays open until the lease ends or the subscriber leaves."""
        since = read_subscribe(asked.args)
        there, feed = self._enter(scope, since)
        subscriber = _Subscriber(asked=asked, feed=feed, scope=there)
        subscriber.begin(self._clock, self._lease)
        return subscriber.over

    def wait(self, asked: Asked, scope: Hashable) -> "Deferred[tuple[Value, ...]]":
        """Answer a `wait`: with what is new as soon as there is something, or with nothing when the time is over."""
        since, seconds = read_wait(asked.args)
        there, feed = self._enter(scope, since)
        waiter = _Waiter(feed=feed, scope=there)
        waiter.begin(self._clock, seconds)
        return waiter.over

    def _enter(self, scope: Hashable, since: dict[str, int | None]) -> tuple[_Scope, Feed]:
        there = self._scopes.setdefault(scope, _Scope())
        unheard = {name for name, topic in there.topics.items() if topic.seq == 0}
        if len(unheard.union(since.keys() - there.topics.keys())) > MAX_TOPICS:
            raise CommandError("busy", f"{MAX_TOPICS} topics are waited for here already")
        if len(there.listeners) >= MAX_LISTENERS:
            raise CommandError("busy", f"{MAX_LISTENERS} listen here already; let one end first")
        return there, Feed([self._topic(there, name) for name in since], since)

    def _topic(self, there: _Scope, name: str) -> Topic:
        topic = there.topics.get(name)
        if topic is None:
            topic = there.topics[name] = Topic(name)
        return topic


@define(eq=False)
class _Subscriber:
    """An open answer."""

    asked: Asked
    feed: Feed
    scope: _Scope
    over: "Deferred[tuple[Value, ...]]" = field(init=False)
    _is_waiting: bool = field(init=False, default=False)

    def begin(self, clock: IReactorTime, lease: float) -> None:
        """Grant it, and say what is new already."""
        self.scope.listeners.add(self)
        timer = clock.callLater(lease, lambda: self.over.callback(()))
        self.over = Deferred()

        def ended(answer: Value) -> Value:
            self.scope.listeners.discard(self)
            if timer.active():
                timer.cancel()
            return answer

        self.over.addBoth(ended)
        self.asked.is_standing = True
        try:
            self.asked.send(write_granted(lease))
            self._say()
        except Exception:
            self.over.callback(())  # it was taken back already, and listens to nothing
            raise

    def tell(self) -> None:
        """Something is new."""
        if self._is_waiting or self.asked.is_over:
            return
        if self.asked.is_clear:
            self._say()
        else:
            self._is_waiting = True
            self.asked.when_clear(self._cleared)

    def _cleared(self) -> None:
        self._is_waiting = False
        self._say()

    def _say(self) -> None:
        for notification in self.feed.take():
            self.asked.send(write_notification(notification))


@define(eq=False)
class _Waiter:
    """An answer that is put off."""

    feed: Feed
    scope: _Scope
    over: "Deferred[tuple[Value, ...]]" = field(init=False, factory=Deferred)

    def begin(self, clock: IReactorTime, seconds: float) -> None:
        """Answer now, or wait."""
        self.scope.listeners.add(self)
        timer = clock.callLater(seconds, lambda: self.over.callback(()))

        def ended(answer: Value) -> Value:
            self.scope.listeners.discard(self)
            if timer.active():
                timer.cancel()
            return answer

        self.over.addBoth(ended)
        self.tell()

    def tell(self) -> None:
        """Something is new, perhaps."""
        news = self.feed.take()
        if news and not self.over.called:
            self.over.callback(tuple(map(write_notification, news)))
