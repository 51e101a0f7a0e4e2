"""Arrivals: batches of plugins on their way into the outbox, checked against sessions, identities and repetition."""

import sqlite3
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

from attrs import define, field

from ...wire.local import MALFORMED, OBSOLETE_OPERATION, OBSOLETE_SESSION, TOO_LARGE, Refusal, Stored
from .feeds import answered_txn, feed_txn, note_answer_txn
from .lanes import MAX_LANES, grow_txn, limited_lane_txn
from .operations import is_obsolete_txn
from .outbox import insert_txn
from .records import Batch
from .sessions import has_session_txn
from .state import Stamp

_MAX_TIMESTAMP = 2**62


@define
class _Growth:
    """What one lane gets."""

    lane: int
    count: int = 0
    octets: int = 0


@define
class Arrivals:
    """The batches of one transaction: their rows are gathered, then written together by `write_txn`."""

    txn: sqlite3.Connection
    stamp: Stamp
    _rows: list[Any] = field(factory=list)
    _growths: dict[str, _Growth | None] = field(factory=dict)

    def take_txn(self, batch: Batch) -> Stored:
        """The answer to one batch: a new one, or that which it got when it came before."""
        feed = feed_txn(self.txn, batch.instance)
        answer = answered_txn(self.txn, feed, batch.number)
        if answer is None:
            answer = self._gather_txn(batch)
            note_answer_txn(self.txn, feed, batch.number, answer)
        return answer

    @property
    def octets(self) -> int:
        """How much was gathered."""
        return sum(growth.octets for growth in self._growths.values() if growth)

    def write_txn(self) -> None:
        """Put what was gathered into the outbox."""
        insert_txn(self.txn, self._rows)
        for growth in self._growths.values():
            if growth:
                grow_txn(self.txn, growth.lane, growth.count, growth.octets)

    def _gather_txn(self, batch: Batch) -> Stored:
        if batch.session_id is None or has_session_txn(self.txn, batch.plugin, batch.session_id):
            refused = self._gather_messages_txn(batch)
        else:
            refused = [_refusal(index, OBSOLETE_SESSION) for index in _places(batch)]
        stored = len(batch.messages) - len(refused)
        everything = sorted([*batch.refused, *refused], key=lambda refusal: refusal.index)
        return Stored(stored=stored, refused=tuple(everything))

    def _gather_messages_txn(self, batch: Batch) -> list[Refusal]:
        """This loop is the cost of every message, hence its shape."""
        refused = []
        rows, growths = self._rows, self._growths
        for index, message in zip(_places(batch), batch.messages, strict=False):
            type, body, timestamp = message.type, message.body, message.timestamp
            growth = growths[type] if type in growths else self._growth_txn(type)
            if growth is None:
                refused.append(_refusal(index, TOO_LARGE))
            elif not -_MAX_TIMESTAMP < timestamp < _MAX_TIMESTAMP:
                refused.append(_refusal(index, MALFORMED))
            elif message.operation_id is not None and self._is_obsolete_txn(message.operation_id):
                refused.append(_refusal(index, OBSOLETE_OPERATION))
            else:
                secure_id = None if message.operation_id is None else self.stamp.secure_id
                rows += (growth.lane, timestamp, secure_id, body)
                growth.count += 1
                growth.octets += len(body)
        return refused

    def _growth_txn(self, type: str) -> _Growth | None:
        lane = limited_lane_txn(self.txn, type, self.stamp.api)
        self._growths[type] = growth = None if lane is None else _Growth(lane)
        return growth

    def _is_obsolete_txn(self, operation_id: int) -> bool:
        return is_obsolete_txn(self.txn, operation_id, self.stamp.secure_id)


def _places(batch: Batch) -> Iterator[int]:
    """Where each of the messages stood in the batch as the plugin sent it."""
    gone = {refusal.index for refusal in batch.refused}
    return islice((index for index in count() if index not in gone), len(batch.messages))


_TEXTS = {
    OBSOLETE_SESSION: "its session was ended by a resynchronize; open a new one and report afresh",
    OBSOLETE_OPERATION: "its operation came under another identity of this computer; nobody waits for the result",
    MALFORMED: "its timestamp is beyond all time; give seconds since 1970",
    TOO_LARGE: f"the store keeps {MAX_LANES} message types apart, and this would be one more; use fewer types",
}


def _refusal(index: int, code: str) -> Refusal:
    return Refusal(index=index, code=code, text=_TEXTS[code])
