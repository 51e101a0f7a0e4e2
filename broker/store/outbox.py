"""
The outbox: messages to the server, in order of arrival, until it is sure that the server has them.

A message waits in its lane without a number. Just before it is first sent it gets the next number, durably, and keeps it
however often it is sent: a resend can never put other content under a number that the server may have seen. What is
acknowledged stays, as the kept generation, until the next acknowledgement, in case the server lost it after all.

    kept            unacknowledged            waiting, lane by lane
    [8][9]          [10][11][12]              (a)(c)(f)  (b)(d)  (e)
            sequence ^           ^ next_number

Numbers have no gap. docs/decisions/0002-outbox-lanes.md has the reasons.
"""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import field, frozen

from ...wire.api import ApiLevel
from ...wire.sequence import Verdict, judge_answer
from .lanes import Lane, grow_txn
from .records import QueuedMessage
from .state import Position, parse_level, update_state_txn

_CHUNKS = (512, 64, 8, 1)
_INSERTS = {
    rows: "INSERT INTO outbox (lane, timestamp, secure_id, body) VALUES " + ", ".join(["(?, ?, ?, ?)"] * rows)
    for rows in _CHUNKS
}
_WIDTH = 4


def insert_txn(txn: sqlite3.Connection, values: list[Any]) -> None:
    """
    Add rows; `values` holds lane, timestamp, secure id and body of each, one row after the other.

    Many rows to a statement: SQLite lets go of the interpreter once per statement, not once per row.
    """
    start = 0
    for rows in _CHUNKS:
        width = rows * _WIDTH
        while len(values) - start >= width:
            txn.execute(_INSERTS[rows], values[start : start + width])
            start += width


@frozen
class Row:
    """A message while it is looked at; `number` is None while it waits. `body` is read where it is needed."""

    id: int
    number: int | None
    lane: int
    timestamp: int
    size: int


def numbered_txn(txn: sqlite3.Connection, first: int, limit: int) -> list[Row]:
    """The rows from this number on, by number."""
    rows = txn.execute(
        "SELECT id, number, lane, timestamp, length(body) FROM outbox WHERE number >= ? ORDER BY number LIMIT ?",
        (first, limit),
    )
    return [Row(*row) for row in rows.fetchall()]


class Waiting:
    """
    The waiting rows of some lanes, in order, read as they are asked for.

    To be closed before the rows are changed: an open cursor would see the change.
    """

    def __init__(self, txn: sqlite3.Connection, lanes: list[Lane]) -> None:
        self._ranks = {lane.id: lane.rank for lane in lanes}
        self._cursors = [
            txn.execute(
                "SELECT id, number, lane, timestamp, length(body) FROM outbox"
                " WHERE number IS NULL AND lane = ? ORDER BY id",
                (lane.id,),
            )
            for lane in lanes
        ]

    def __iter__(self) -> Iterator[Row]:
        rows = [(Row(*row) for row in cursor) for cursor in self._cursors]
        return heapq.merge(*rows, key=lambda row: (self._ranks[row.lane], row.id))

    def close(self) -> None:
        """Forget the rest."""
        for cursor in self._cursors:
            cursor.close()


def _at_least_one(count: int) -> int:
    return max(count, 1)


@frozen(kw_only=True)
class Room:
    """How much one payload may hold, but one message at least."""

    messages: int = field(converter=_at_least_one)
    octets: int


def fill(rows: Iterable[Row], room: Room, levels: dict[int, str]) -> list[Row]:
    """
    The rows that go into one payload: the first ones, of one level that the server speaks, as far as there is room.

    `levels` has the level of each lane that it speaks.
    """
    taken: list[Row] = []
    octets = 0
    for row in rows:
        octets += row.size
        level = levels.get(row.lane)
        if level is None or len(taken) >= room.messages:
            break
        if taken and (octets > room.octets or level != levels[taken[0].lane]):
            break
        taken.append(row)
    return taken


def number_txn(txn: sqlite3.Connection, rows: list[Row], next_number: int) -> None:
    """Give the next numbers to those of the rows that have none."""
    waiting = [row for row in rows if row.number is None]
    txn.executemany(
        "UPDATE outbox SET number = ? WHERE id = ?",
        ((number, row.id) for number, row in enumerate(waiting, next_number)),
    )
    _shrink_txn(txn, waiting)
    update_state_txn(txn, next_number=next_number + len(waiting))


def _shrink_txn(txn: sqlite3.Connection, rows: list[Row]) -> None:
    """Note that these rows wait no more."""
    counts = Counter(row.lane for row in rows)
    octets: Counter[int] = Counter()
    for row in rows:
        octets[row.lane] += row.size
    for lane, count in counts.items():
        grow_txn(txn, lane, -count, -octets[lane])


def read_numbered_txn(txn: sqlite3.Connection, first: int, count: int) -> tuple[QueuedMessage, ...]:
    """The messages of that many numbers."""
    rows = txn.execute(
        "SELECT number, type, timestamp, body FROM outbox JOIN lane ON lane.id = lane"
        " WHERE number >= ? AND number < ? ORDER BY number",
        (first, first + count),
    )
    return tuple(
        QueuedMessage(number=number, type=type, timestamp=timestamp, body=body)
        for number, type, timestamp, body in rows
    )


def has_queued_txn(txn: sqlite3.Connection, type: str, api: ApiLevel) -> bool:
    """Whether a message of this type, of a level up to this one, waits or has no acknowledgement."""
    rows = txn.execute(
        "SELECT api FROM lane WHERE type = :type AND (count > 0 OR EXISTS (SELECT 1 FROM outbox WHERE lane = lane.id"
        " AND number >= (SELECT sequence FROM state)))",
        {"type": type},
    )
    return any(parse_level(level) <= api for (level,) in rows.fetchall())


def kept_txn(txn: sqlite3.Connection, sequence: int) -> int:
    """How many acknowledged messages are kept."""
    (first,) = txn.execute("SELECT min(number) FROM outbox WHERE number IS NOT NULL").fetchone()
    return 0 if first is None else max(0, sequence - first)


def drop_kept_txn(txn: sqlite3.Connection, sequence: int) -> None:
    """Forget what was acknowledged."""
    txn.execute("DELETE FROM outbox WHERE number < ?", (sequence,))


def judge_txn(txn: sqlite3.Connection, position: Position, expected: int) -> Verdict:
    """What the number that the server expects means for the messages that have been numbered."""
    return judge_answer(
        sequence=position.sequence,
        kept=kept_txn(txn, position.sequence),
        sent=position.unacknowledged,
        expected=expected,
    )


def settle_txn(txn: sqlite3.Connection, position: Position, expected: int, verdict: Verdict) -> Position:
    """Move on, or back, to the number that the server expects (landscape 1.8)."""
    if verdict in (Verdict.ACKNOWLEDGED, Verdict.AHEAD):
        drop_kept_txn(txn, position.sequence)
    next_number = position.next_number
    if verdict.resynchronizes:
        unnumber_txn(txn, _FIRST)
        next_number = expected
    update_state_txn(txn, sequence=expected, next_number=next_number)
    return Position(sequence=expected, next_number=next_number)


_FIRST = -(2**63)
"""Below every number."""


def unnumber_txn(txn: sqlite3.Connection, first: int) -> None:
    """Let the messages from this number on wait in their lanes again, in their old places."""
    lost = txn.execute(
        "SELECT lane, count(*), sum(length(body)) FROM outbox WHERE number >= ? GROUP BY lane", (first,)
    ).fetchall()
    txn.execute("UPDATE outbox SET number = NULL WHERE number >= ?", (first,))
    for lane, count, octets in lost:
        grow_txn(txn, lane, count, octets)


def release_txn(txn: sqlite3.Connection, position: Position) -> None:
    """
    Take the numbers of messages that the server has just said it does not have, so that others may go before them.

    Only to be called when an answer is in hand: the server may have what was sent before without one.
    """
    unnumber_txn(txn, position.sequence)
    update_state_txn(txn, next_number=position.sequence)
