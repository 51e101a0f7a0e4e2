"""
Subscriptions: what is new, said once, and only as fast as it is taken (spec/wire.md 4).

A topic is a level, not a row of events: it has a newest value and the number of that value, and who knows the newest
has missed nothing. So a subscriber that is slow, or was away, is told one thing, the newest. A late, doubled or lost
notification costs at most one look too many.

`Topic` and `Feed` are the publisher's: what there is to say, and what one subscriber has been told of it. `Listening` is
the subscriber's: what it has heard of one topic, and what its handler is yet to see. The wire between them:

- `subscribe` has `topics`, a list of names, and `since`: the number up to which the subscriber knows them, or none. Its
  response stays open. First comes `{lease}`: seconds after which it ends, unless it is asked for again before. Then one
  map for each notification: `{topic, seq, value}`, and `gap` when the publisher cannot tell what was missed.
- `wait`, for where nothing stays open, has `topics`, a map of name and number (or null), and `seconds`. It is answered
  with notifications as soon as there are some, or without any when the time is over.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from ..errors import Malformed

Value = Any
"""What the codec of the session carries."""

SUBSCRIBE = "subscribe"
WAIT = "wait"

MAX_TOPICS = 32
"""In one request."""
MAX_TOPIC_OCTETS = 64
MAX_SEQ = 2**63 - 1
MAX_WAIT = 50.0
"""Seconds. Proxies end what is silent for 60 (spec/wire.md 5.11)."""
MIN_LEASE = 2.0
"""Seconds; a shorter one is taken for this, or a publisher could keep its subscribers busy."""
MAX_LEASE = 86_400.0
RENEW_AT = 2 / 3
"""Of the lease."""

_TOPICS, _SINCE, _SECONDS = b"topics", b"since", b"seconds"
_TOPIC, _SEQ, _VALUE, _GAP, _LEASE = b"topic", b"seq", b"value", b"gap", b"lease"


@frozen(kw_only=True)
class Notification:
    """The newest value of a topic."""

    topic: str
    seq: int
    value: Value
    gap: bool = False
    """The publisher cannot tell what was missed before this: ask for everything anew."""


@frozen(kw_only=True)
class Granted:
    """The publisher's word that a subscription stands, and for how many seconds."""

    lease: float


# What the publisher has and says


class Topic:
    """The newest value of something, and its number; 0 while there is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seq = 0
        self.value: Value = None

    def publish(self, value: Value, seq: int | None = None) -> bool:
        """
        This is the newest value now; whether that is news.

        A number that has not grown is not: who subscribes later gets the value, who has subscribed is not told.
        """
        number = self.seq + 1 if seq is None else seq
        is_news = number > self.seq
        self.seq = max(self.seq, number)
        self.value = value
        return is_news

    def news(self, since: int | None) -> Notification | None:
        """What somebody must hear who knows the topic up to this number, or not at all."""
        if since == self.seq or (since is None and self.seq == 0):
            return None
        # A number that we never gave: it is of a life that we have no memory of.
        gap = since is not None and since > self.seq
        return Notification(topic=self.name, seq=self.seq, value=self.value, gap=gap)


class Feed:
    """What one subscriber has been told of its topics."""

    def __init__(self, topics: Iterable[Topic], since: Mapping[str, int | None]) -> None:
        self._told = {topic.name: since.get(topic.name) for topic in topics}
        self._topics = tuple(topics)

    def take(self) -> list[Notification]:
        """
        What is to be said now, which counts as said.

        Of each topic at most the newest: ask only when the subscriber's line is free, and a slow one is told less
        often rather than later and later.
        """
        news = [topic.news(self._told[topic.name]) for topic in self._topics]
        said = [notification for notification in news if notification is not None]
        for notification in said:
            self._told[notification.topic] = notification.seq
        return said


# What the subscriber has heard


class Listening:
    """
    What has been heard of one topic, through one connection after the other.

    `take` gives what the handler is to see now, and nothing more until it is `done` with that. Whatever is heard in
    between collapses to the newest.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.since: int | None = None
        """The number up to which the topic has been heard: what to name when it is subscribed to anew."""
        self.is_handled = False
        """Whether the handler is at work on what was taken."""
        self._next: Notification | None = None

    def hear(self, notification: Notification) -> bool:
        """Keep this for the handler; whether it was news. What is old or doubled, as after a renewal, is not."""
        if not notification.gap and self.since is not None and notification.seq <= self.since:
            return False
        missed = self._next is not None and self._next.gap
        self.since = notification.seq
        self._next = (
            notification
            if notification.gap or not missed
            else Notification(
                topic=notification.topic, seq=notification.seq, value=notification.value, gap=True
            )
        )
        return True

    def take(self) -> Notification | None:
        """What the handler is to see now; None when there is nothing, or it is at work."""
        if self.is_handled or self._next is None:
            return None
        notification, self._next = self._next, None
        self.is_handled = True
        return notification

    def done(self) -> None:
        """The handler is through, however that went."""
        self.is_handled = False


def renewal(lease: float) -> float:
    """In how many seconds to ask anew for what was granted for so long."""
    return min(max(lease, MIN_LEASE), MAX_LEASE) * RENEW_AT


# The maps that travel


def subscribe_args(topic: str, since: int | None) -> dict[bytes, Value]:
    """What `subscribe` carries."""
    args: dict[bytes, Value] = {_TOPICS: [topic.encode()]}
    if since is not None:
        args[_SINCE] = since
    return args


def read_subscribe(args: Mapping[Any, Value]) -> dict[str, int | None]:
    """
    The topics that a `subscribe` names, and since when.

    Raises Malformed.
    """
    since = _number_or_none(args.get(_SINCE), _SINCE)
    topics = args.get(_TOPICS)
    if not isinstance(topics, (list, tuple)) or not 0 < len(topics) <= MAX_TOPICS:
        raise Malformed(f"`topics` is no list of 1 to {MAX_TOPICS} names")
    return {_read_topic(name): since for name in topics}


def wait_args(since: Mapping[str, int | None], seconds: float) -> dict[bytes, Value]:
    """What `wait` carries."""
    return {
        _TOPICS: {topic.encode(): number for topic, number in since.items()},
        _SECONDS: int(min(seconds, MAX_WAIT)),
    }


def read_wait(args: Mapping[Any, Value]) -> tuple[dict[str, int | None], float]:
    """
    The topics that a `wait` names with their numbers, and how long to wait.

    Raises Malformed.
    """
    topics = args.get(_TOPICS)
    if not isinstance(topics, dict) or not 0 < len(topics) <= MAX_TOPICS:
        raise Malformed(f"`topics` is no map of 1 to {MAX_TOPICS} names")
    seconds = args.get(_SECONDS, 0)
    if type(seconds) is not int or seconds < 0:
        raise Malformed("`seconds` is no number of seconds")
    since = {_read_topic(name): _number_or_none(number, _SINCE) for name, number in topics.items()}
    return since, min(float(seconds), MAX_WAIT)


def write_granted(lease: float) -> dict[bytes, Value]:
    """What an open response begins with."""
    return {_LEASE: int(lease)}


def write_notification(notification: Notification) -> dict[bytes, Value]:
    """A notification as it travels."""
    values: dict[bytes, Value] = {
        _TOPIC: notification.topic.encode(),
        _SEQ: notification.seq,
        _VALUE: notification.value,
    }
    if notification.gap:
        values[_GAP] = True
    return values


def read_value(value: Value) -> Granted | Notification:
    """
    What a value of an open response, or of the answer to `wait`, says.

    Raises Malformed.
    """
    if not isinstance(value, dict):
        raise Malformed("a notification that is no map")
    if _LEASE in value:
        return Granted(lease=float(_number(value[_LEASE], _LEASE)))
    return Notification(
        topic=_read_topic(value.get(_TOPIC)),
        seq=_number(value.get(_SEQ), _SEQ),
        value=value.get(_VALUE),
        gap=value.get(_GAP) is True,
    )


def _read_topic(name: Value) -> str:
    if not isinstance(name, bytes) or not 0 < len(name) <= MAX_TOPIC_OCTETS:
        raise Malformed(f"a topic's name is 1 to {MAX_TOPIC_OCTETS} octets")
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a topic's name is not ASCII") from None


def _number(value: Value, key: bytes) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise Malformed(f"`{key.decode()}` is no number from 0 to {MAX_SEQ}")
    return value


def _number_or_none(value: Value, key: bytes) -> int | None:
    return None if value is None else _number(value, key)
