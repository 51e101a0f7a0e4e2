"""
The server's notifications, given to plugins by topic.

A notification says how a thing stands now, not what happened; so of several the newest is enough. The broker hears each
topic that any plugin wants once, keeps the newest of it, and gives it to each of them at its own pace: one at a time,
and the next is what is newest then. Who comes later, or comes back having dealt with less, gets the newest at once.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .errors import BrokerError

MAX_TOPICS = 24
"""That all plugins together may hear: each is a request that stays open, and the server takes 64 of these at a time."""
Forget = Callable[[], None]
"""Takes back a registration; calling it again does nothing."""


class TooManyTopics(BrokerError):
    """No further topic is heard now."""


@frozen(kw_only=True)
class Notice:
    """The newest of a topic. `gap`: earlier ones may have been missed. Any: the value is between server and plugin."""

    topic: str
    seq: int
    value: Any
    gap: bool = False


Listener = Callable[[Notice], Awaitable[None]]
"""Takes a notice; while it has not ended it gets no other."""


class Cancellable(Protocol):
    """A subscription."""

    def cancel(self) -> object:
        """Hear no more."""


class Upstream(Protocol):
    """Where topics are heard: the session's subscriptions."""

    def __call__(self, topic: str, heard: Callable[[Any], None], /) -> Cancellable:
        """Call `heard` with each notification of the topic: `topic`, `seq`, `value`, `gap`."""


@define(eq=False)
class _Ear:
    """One plugin that listens to one topic."""

    listener: Listener
    since: int | None
    is_gap: bool = False
    is_busy: bool = False
    is_gone: bool = False

    def compare(self, newest: Notice | None) -> None:
        """A lower number is a server's that counts anew: news all the same, and nobody knows what was missed before it."""
        if newest is not None and self.since is not None and self.since > newest.seq:
            self.since, self.is_gap = None, True


@define(eq=False)
class _Topic:
    upstream: Cancellable | None = None
    newest: Notice | None = None
    ears: list[_Ear] = field(factory=list)


class TopicRelay:
    """Between the session's subscriptions and the plugins'."""

    log = Logger()

    def __init__(self, *, upstream: Upstream) -> None:
        self._upstream = upstream
        self._topics: dict[str, _Topic] = {}

    def subscribe(self, topic: str, since: int | None, listener: Listener) -> Forget:
        """
        Hear a topic from now on, and at once when there is something newer than `since`; until the answer is called.

        Raises TooManyTopics.
        """
        found = self._topics.get(topic)
        if found is None:
            if len(self._topics) >= MAX_TOPICS:
                raise TooManyTopics(
                    f"the plugins of this machine hear {MAX_TOPICS} topics already; let one be given up first"
                )
            found = self._topics[topic] = _Topic()
            found.upstream = self._upstream(topic, lambda heard: self._heard(topic, heard))
        ear = _Ear(listener, since)
        ear.compare(found.newest)
        found.ears.append(ear)
        self._attend(found, ear)
        return lambda: self._forget(topic, ear)

    def _heard(self, topic: str, heard: Any) -> None:
        found = self._topics.get(topic)
        if found is None:
            return
        found.newest = Notice(topic=topic, seq=heard.seq, value=heard.value, gap=False)
        for ear in tuple(found.ears):
            ear.is_gap = ear.is_gap or bool(heard.gap)
            ear.compare(found.newest)
            self._attend(found, ear)

    def _attend(self, topic: _Topic, ear: _Ear) -> None:
        if not ear.is_busy and _wants(topic, ear):
            ear.is_busy = True
            done = Deferred.fromCoroutine(self._tell(topic, ear))
            done.addErrback(lambda failure: self.log.failure("a notification was not given on", failure))

    async def _tell(self, topic: _Topic, ear: _Ear) -> None:
        try:
            while _wants(topic, ear):
                notice = topic.newest
                assert notice is not None  # or it were not wanted
                gap, ear.is_gap, ear.since = ear.is_gap, False, notice.seq
                await ear.listener(evolve(notice, gap=gap))
        finally:
            ear.is_busy = False

    def _forget(self, topic: str, ear: _Ear) -> None:
        ear.is_gone = True
        found = self._topics.get(topic)
        if found is None or ear not in found.ears:
            return
        found.ears.remove(ear)
        if not found.ears:
            del self._topics[topic]
            if found.upstream is not None:
                found.upstream.cancel()


def _wants(topic: _Topic, ear: _Ear) -> bool:
    newest = topic.newest
    return not ear.is_gone and newest is not None and (ear.since is None or newest.seq > ear.since)


class Silence:
    """An Upstream that never says anything: there is no server."""

    def __call__(self, topic: str, heard: Callable[[Any], None], /) -> "Silence":
        """See Upstream."""
        return self

    def cancel(self) -> None:
        """See Cancellable."""
