"""
The subscriber's side of subscriptions: topics, and the handlers that hear of them.

A subscription outlives sessions. Whenever there is one, `attach` asks it for every topic, from the number up to which
the topic was heard before; where sessions cannot be had, `wait_args` and `heard` do the same by asking again and again.
The handlers cannot tell the difference (spec/wire.md N19, N23). Of a handler it is promised:

- it is called with the newest of what is new, in order, and not again before it is through: until the Deferred or
  coroutine that it gave is done. So one that is told of a `gap`, and puts in order what builds on the topic, hears the
  newest of what came meanwhile when it has done so, and not before (Z27);
- it may hear of the same thing twice, and of two things at once: what it is told is how things stand, not what happened;
- what it raises is logged, and it will hear of the next thing all the same;
- it hears nothing of lost sessions, closed servers and renewals.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...wire.cbor import Value
from ...wire.errors import Malformed
from ...wire.session.events import Map
from ...wire.session.subscription import (
    MAX_WAIT,
    MIN_LEASE,
    SUBSCRIBE,
    Granted,
    Listening,
    Notification,
    read_value,
    renewal,
    subscribe_args,
    wait_args,
)
from .calls import OnValue, Stream
from .errors import CallCancelled, CommandFailed, SessionLost
from .later import run_handler

OnNotification = Callable[[Notification], object]

RETRY = 60.0
"""Seconds until a topic is asked for again that was refused, or ended before its time."""
_UNKNOWN = "unknown-command"


class Publisher(Protocol):
    """A peer, as subscriptions need it."""

    def stream(self, name: str, args: Map | None, on_value: OnValue) -> Stream:
        """Ask for what stays open."""


class Subscription:
    """One topic and its handler."""

    def __init__(self, owner: "Subscriptions", topic: str, handler: OnNotification) -> None:
        self._owner = owner
        self._handler = handler
        self._listening = Listening(topic)
        self._streams: list[Stream] = []
        """The newest last; more than one while a renewal is not granted yet."""
        self._timer: IDelayedCall | None = None
        self._is_over = False

    @property
    def topic(self) -> str:
        """What it is about."""
        return self._listening.topic

    @property
    def since(self) -> int | None:
        """The number up to which the topic has been heard; None for not at all."""
        return self._listening.since

    def cancel(self) -> None:
        """Hear no more of it: the handler is not called again."""
        self._is_over = True
        self._owner.forget(self)
        self.stop()

    # One session after the other

    def ask(self) -> None:
        """Subscribe, or renew: the answer before is let go once this one is granted."""
        self._disarm()
        publisher = self._owner.publisher
        if publisher is None:
            return
        granted: list[float] = []  # when; at most one

        def hear(value: Value) -> None:
            self._hear(stream, granted, value)

        stream = publisher.stream(SUBSCRIBE, subscribe_args(self.topic, self.since), hear)
        self._streams.append(stream)
        stream.ended.addCallbacks(lambda _: self._ended(stream, granted), self._failed, errbackArgs=(stream,))
        stream.ended.addErrback(lambda failure: self._owner.log.failure("a subscription went wrong", failure))

    def stop(self) -> None:
        """Let go of all answers."""
        self._disarm()
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.cancel()

    def _hear(self, stream: Stream, granted: list[float], value: Value) -> None:
        if stream not in self._streams:
            return
        try:
            said = read_value(value)
            if isinstance(said, Granted):
                if not granted:
                    granted.append(self._owner.clock.seconds())
                    self._stand(stream, said.lease)
            else:
                self.heard(said)
        except Malformed as error:
            self._owner.log.warn(
                "{topic}: a notification that is none: {why}", topic=self.topic, why=str(error)
            )
            self._streams.remove(stream)
            stream.cancel()
            self._arm(RETRY)

    def _stand(self, stream: Stream, lease: float) -> None:
        """It is granted: those before it have done their service."""
        at = self._streams.index(stream)
        older, self._streams = self._streams[:at], self._streams[at:]
        for one in older:
            one.cancel()
        self._arm(renewal(lease))

    def _ended(self, stream: Stream, granted: list[float]) -> None:
        """The publisher ended it: the lease was over, or there is no telling why."""
        if stream in self._streams:
            self._streams.remove(stream)
            stood = self._owner.clock.seconds() - granted[0] if granted else 0.0
            if not self._streams:
                self.ask() if stood >= MIN_LEASE else self._arm(RETRY)

    def _failed(self, failure: Failure, stream: Stream) -> None:
        if stream not in self._streams:
            return
        self._streams.remove(stream)
        if failure.check(SessionLost, CallCancelled):
            self._disarm()
            return
        error = failure.value
        if not isinstance(error, CommandFailed):
            self._owner.log.failure("`{topic}` could not be subscribed to", failure, topic=self.topic)
        elif error.code == _UNKNOWN:
            self._owner.log.info("the peer has no subscriptions: `{topic}` is not heard of", topic=self.topic)
            return
        else:
            self._owner.log.warn("`{topic}`: {why}", topic=self.topic, why=str(error))
        self._arm(RETRY)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self._owner.clock.callLater(seconds, self._renew)

    def _renew(self) -> None:
        self._timer = None
        self.ask()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The handler

    def heard(self, notification: Notification) -> None:
        """
        This is the newest, from wherever it comes.

        Raises Malformed when it is of another topic.
        """
        if notification.topic != self.topic:
            raise Malformed(f"it is about `{notification.topic}`")
        if not self._is_over and self._listening.hear(notification):
            self._serve()

    def _serve(self) -> None:
        """Let the handler see what there is, unless it is at work."""
        while not self._is_over:
            notification = self._listening.take()
            if notification is None or self._is_working_on(notification):
                return

    def _is_working_on(self, notification: Notification) -> bool:
        try:
            doing = run_handler(self._handler, notification)
        except Exception:  # noqa: BLE001 - it is logged, and does not end the subscription (N20)
            self._owner.log.failure("the handler of `{topic}` failed", topic=self.topic)
            doing = None
        if doing is None:
            self._listening.done()
            return False
        doing.addErrback(
            lambda failure: self._owner.log.failure(
                "the handler of `{topic}` failed", failure, topic=self.topic
            )
        )
        doing.addCallback(self._worked)
        return True

    def _worked(self, _: object) -> None:
        self._listening.done()
        self._serve()


class Subscriptions:
    """All subscriptions of one side."""

    log = Logger()

    def __init__(self, *, clock: IReactorTime) -> None:
        self.clock = clock
        self.publisher: Publisher | None = None
        """Whoever is asked now."""
        self._all: list[Subscription] = []

    def subscribe(self, topic: str, handler: OnNotification) -> Subscription:
        """Let this handler hear of a topic, from now until it is cancelled."""
        subscription = Subscription(self, topic, handler)
        self._all.append(subscription)
        subscription.ask()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """It is cancelled."""
        if subscription in self._all:
            self._all.remove(subscription)

    def attach(self, publisher: Publisher) -> None:
        """There is a session, or will be: hear of everything through it."""
        self.detach()
        self.publisher = publisher
        for subscription in tuple(self._all):
            subscription.ask()

    def detach(self) -> None:
        """Hear nothing more through the session, if there is one."""
        self.publisher = None
        for subscription in tuple(self._all):
            subscription.stop()

    def wait_args(self, seconds: float = MAX_WAIT) -> Map | None:
        """What to ask `wait` where no session can be had; None when nobody wants to hear of anything."""
        since = {subscription.topic: subscription.since for subscription in self._all}
        return wait_args(since, seconds) if since else None

    def heard(self, values: Iterable[Value]) -> None:
        """
        The answer to `wait`.

        Raises Malformed when it is none.
        """
        for said in [read_value(value) for value in values]:
            for subscription in tuple(self._all):
                if isinstance(said, Notification) and subscription.topic == said.topic:
                    subscription.heard(said)
