"""
Topics of the operator's own: what programs publish through the API, for one computer or for all.

They are kept in memory, the newest of each, for who comes later. Numbers are milliseconds of the time of day, so that they
go on rising after a restart; what must survive one belongs into a message.
"""

from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from ...wire import cbor
from ...wire.errors import Malformed, RemoteProtocolError
from ...wire.message import TYPE_RULE, is_type
from ...wire.session.subscription import MAX_TOPIC_OCTETS
from ...wire.session.values import CODECS, RowReader
from ..errors import Refused
from .notices import MESSAGES, Publisher
from .registry import Registry

MOST_TOPICS = 1_000
MOST_OCTETS = 64 * 1024
_CODEC = CODECS[b"cbor"]
_LIMITS = cbor.Limits(octets=2 * MOST_OCTETS, depth=12, items=8_000)
"""Inside a notification there is less room than in a value alone."""


@frozen
class _Note:
    seq: int
    value: Any


class Bulletin:
    """What was published, for whom. The scope of a computer is its number, in text."""

    def __init__(self, *, clock: IReactorTime, topics: Publisher, registry: Registry) -> None:
        self._clock = clock
        self._topics = topics
        self._registry = registry
        self._notes: dict[tuple[int | None, str], _Note] = {}
        self._seq = 0

    def publish(self, topic: str, value: Any, computer: int | None = None) -> int:
        """
        This is the newest of a topic; its number. Any: whatever travels.

        Raises Malformed for a name or a value that does not travel, Refused when there are too many topics.
        """
        _check(topic, value)
        key = (computer, topic)
        if key not in self._notes and len(self._notes) >= MOST_TOPICS:
            raise Refused(409, f"there are {MOST_TOPICS} topics", "publish under a name that is in use")
        self._seq = max(self._seq + 1, int(self._clock.seconds() * 1000))
        note = self._notes[key] = _Note(self._seq, value)
        for reached in self._registry.reachable():
            if computer in (None, reached):
                self._topics.publish(str(reached), topic, note.value, note.seq)
        return note.seq

    def welcome(self, computer: int) -> None:
        """Let a computer that has just come, if it is still there, hear what was published; of a topic for all and for it, the newer."""
        if not self._registry.is_reachable(computer):
            return
        found: dict[str, _Note] = {}
        for (scope, topic), note in self._notes.items():
            if scope in (None, computer) and (topic not in found or note.seq > found[topic].seq):
                found[topic] = note
        for topic, note in found.items():
            self._topics.publish(str(computer), topic, note.value, note.seq)


def _check(topic: str, value: Any) -> None:
    if topic == MESSAGES:
        raise Malformed(f"the topic {MESSAGES} is the server's own; name another")
    if not is_type(topic) or len(topic) > MAX_TOPIC_OCTETS:
        raise Malformed(f"a topic's name must be {TYPE_RULE}, of at most {MAX_TOPIC_OCTETS} characters")
    octets = _CODEC.encode(value)
    if len(octets) > MOST_OCTETS:
        raise Malformed(f"a topic's value is at most {MOST_OCTETS} octets; this has {len(octets)}")
    try:
        RowReader(_CODEC, _LIMITS).feed(octets)
    except RemoteProtocolError as error:
        raise Malformed(f"no computer could read this: {error}") from None
