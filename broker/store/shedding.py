"""Shedding: the oldest waiting messages go when there are too many or they are too old, and a receipt says which."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice, takewhile

from attrs import define

from ...wire.message import RECEIPT
from .lanes import Lane, grow_txn, read_lanes_txn
from .outbox import Row, Waiting
from .receipts import AGE, SIZE, Receipt

MOST_AT_ONCE = 100_000
"""Messages that one transaction sheds; the rest goes with the next."""


@define
class Tally:
    """What of one lane is to go: its oldest messages, up to the id `last`."""

    first: int
    last: int
    oldest: int
    newest: int
    count: int = 0
    octets: int = 0

    @classmethod
    def from_row(cls, row: Row) -> "Tally":
        """Nothing yet, but this is where it begins."""
        return cls(first=row.id, last=row.id, oldest=row.timestamp, newest=row.timestamp)

    def add(self, row: Row) -> None:
        """Count the next in the lane."""
        self.last = row.id
        self.oldest = min(self.oldest, row.timestamp)
        self.newest = max(self.newest, row.timestamp)
        self.count += 1
        self.octets += row.size


def excess_txn(txn: sqlite3.Connection, max_octets: int) -> int:
    """How many octets too many wait. Receipts do not count."""
    (octets,) = txn.execute("SELECT sum(octets) FROM lane WHERE type <> ?", (RECEIPT,)).fetchone()
    return (octets or 0) - max_octets


def shed_excess_txn(txn: sqlite3.Connection, excess: int) -> list[Receipt]:
    """Drop the oldest messages of all lanes together, until they make up so many octets."""
    lanes = _lanes_txn(txn)
    with closing(Waiting(txn, lanes)) as waiting:
        tallies = _tally(_first_octets(waiting, excess))
    return _drop_txn(txn, lanes, tallies, SIZE)


def shed_old_txn(txn: sqlite3.Connection, before: float) -> list[Receipt]:
    """Drop the messages at the head of each lane whose timestamp is before this."""
    lanes = _lanes_txn(txn)
    tallies: dict[int, Tally] = {}
    for lane in lanes:
        with closing(Waiting(txn, [lane])) as waiting:
            old = takewhile(lambda row: row.timestamp < before, waiting)
            tallies |= _tally(islice(old, MOST_AT_ONCE))
    return _drop_txn(txn, lanes, tallies, AGE)


def _lanes_txn(txn: sqlite3.Connection) -> list[Lane]:
    return [lane for lane in read_lanes_txn(txn) if lane.count and lane.type != RECEIPT]


def _first_octets(rows: Iterable[Row], octets: int) -> Iterator[Row]:
    for row in islice(rows, MOST_AT_ONCE):
        yield row
        octets -= row.size
        if octets <= 0:
            return


def _tally(rows: Iterable[Row]) -> dict[int, Tally]:
    tallies: dict[int, Tally] = {}
    for row in rows:
        if row.lane not in tallies:
            tallies[row.lane] = Tally.from_row(row)
        tallies[row.lane].add(row)
    return tallies


def _drop_txn(
    txn: sqlite3.Connection, lanes: list[Lane], tallies: dict[int, Tally], reason: str
) -> list[Receipt]:
    types = {lane.id: lane.type for lane in lanes}
    for id, tally in tallies.items():
        txn.execute("DELETE FROM outbox WHERE number IS NULL AND lane = ? AND id <= ?", (id, tally.last))
        grow_txn(txn, id, -tally.count, -tally.octets)
    return [_receipt(reason, types[id], tally) for id, tally in tallies.items()]


def _receipt(reason: str, type: str, tally: Tally) -> Receipt:
    return Receipt(
        reason=reason,
        message_type=type,
        count=tally.count,
        first=tally.first,
        last=tally.last,
        oldest=tally.oldest,
        newest=tally.newest,
    )
