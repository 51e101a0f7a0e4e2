"""What can be read of a damaged store, row by row, put into a new one; and the new one made to hold together."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote

from ...runtime.database import DatabaseBroken, path_of, transaction
from ...wire import cbor
from ...wire.api import OLDEST_SERVER_API
from ...wire.errors import RemoteProtocolError
from ...wire.message import RECEIPT, check_message
from .first_page import copy_with_first_page, pad
from .lanes import lane_txn, read_lanes_txn, recount_txn
from .outbox import unnumber_txn
from .receipts import CORRUPT, Receipt, leave_txn
from .state import create_state_txn, read_position_txn, read_state_txn, update_state_txn

UNKNOWN = "unknown"
"""`message-type` of a receipt about messages of which nothing is left."""

_TABLES = ("state", "session", "feed", "operation", "feed_answer", "inbox", "dead_letter", "lane", "outbox")
_ROWS_AT_ONCE = 1_000
_MOST_HOLES = 100_000


def salvage(
    path: str, target: sqlite3.Connection, *, spare: str, new_id: Callable[[], str], now: int
) -> None:
    """
    Copy what can be read of the store at `path` into a new, empty one.

    `spare` is a path for a copy that may be needed for it; whatever is there afterwards is of no use any more.

    Raises DatabaseFull when the disk has no room; OSError and sqlite3.Error when files cannot be read or made at all.
    """
    pad(path)
    if not _copy_all(path, target):
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if copy_with_first_page(path, spare, path_of(target)):
            _copy_all(spare, target)
    with transaction(target) as txn:
        _repair_txn(txn, new_id, now)


def _copy_all(path: str, target: sqlite3.Connection) -> bool:
    """Whether the file has tables at all."""
    with closing(_open_readonly(path)) as source:
        for table in _TABLES:
            _copy(source, target, table)
        return bool(_columns(source, "state"))


def _open_readonly(path: str) -> sqlite3.Connection:
    source = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
    source.text_factory = lambda octets: octets.decode("utf-8", "replace")
    return source


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    columns = [column for column in _columns(target, table) if column in _columns(source, table)]
    if columns:
        rows = readable_rows(source, table, columns)
        places = ", ".join("?" * len(columns))
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({places})"
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            with transaction(target) as txn:
                for row in some:
                    # A value that its column does not allow is damage, too.
                    with suppress(sqlite3.IntegrityError):
                        txn.execute(insert, row)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    except sqlite3.Error:
        return []


_LAST = 2**62


def readable_rows(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """
    The rows of a table that can be read.

    Where reading breaks off it goes on further down, in growing steps; then it comes back up to the damage.
    """
    stretch = partial(_Stretch, source, table, columns)
    low, step, damage = -1, 1, None
    while low < _LAST:
        rows = stretch(low=low)
        for row in rows:
            if damage is not None:
                yield from stretch(low=damage, high=rows.low, upwards=True)
                step, damage = 1, None
            yield row
        if rows.is_whole:
            break
        damage = rows.low if damage is None else damage
        low, step = rows.low + step, step * 2
    if damage is not None:
        yield from stretch(low=damage, upwards=True)


class _Stretch:
    """Rows between two ids, as far as they can be read; `low` and `high` close in on what is left."""

    def __init__(
        self,
        source: sqlite3.Connection,
        table: str,
        columns: list[str],
        *,
        low: int,
        high: int = _LAST,
        upwards: bool = False,
    ) -> None:
        self._source = source
        self._sql = (
            f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid > ? AND rowid < ?"
            f" ORDER BY rowid {'DESC' if upwards else 'ASC'}"
        )
        self._upwards = upwards
        self.low = low
        self.high = high
        self.is_whole = False

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._read("")
            self.is_whole = True
        except sqlite3.Error:
            # Python asks SQLite for one row ahead: the last row before the damage has not been given out.
            with suppress(sqlite3.Error):
                yield from self._read(" LIMIT 1")

    def _read(self, limit: str) -> Iterator[tuple[Any, ...]]:
        for id, *row in self._source.execute(self._sql + limit, (self.low, self.high)):
            if self._upwards:
                self.high = id
            else:
                self.low = id
            yield tuple(row)


def _repair_txn(txn: sqlite3.Connection, new_id: Callable[[], str], now: int) -> None:
    create_state_txn(txn, new_id())
    _repair_state_txn(txn)
    _repair_lanes_txn(txn)
    lost = _lost_txn(txn)
    _repair_numbers_txn(txn, now)
    recount_txn(txn)
    api = read_state_txn(txn).api
    for receipt in lost or [Receipt(reason=CORRUPT, message_type=UNKNOWN, count=0)]:
        leave_txn(txn, receipt, api=api, timestamp=now)


def _repair_state_txn(txn: sqlite3.Connection) -> None:
    """What the server will tell again may go, if only the identity stays."""
    try:
        read_state_txn(txn)
    except DatabaseBroken:
        update_state_txn(txn, api=str(OLDEST_SERVER_API), accepted_types="[]")
    txn.execute(
        "UPDATE state SET server_sequence = max(server_sequence, (SELECT ifnull(max(number), -1) + 1 FROM inbox))"
    )


def _repair_lanes_txn(txn: sqlite3.Connection) -> None:
    """A lane that is gone is known again by its messages; what does not even say its type is lost."""
    orphans = txn.execute(
        "SELECT lane, body, min(id) FROM outbox WHERE lane NOT IN (SELECT id FROM lane) GROUP BY lane"
    ).fetchall()
    api = read_state_txn(txn).api
    for orphan, body, _ in orphans:
        try:
            type = check_message(cbor.decode(body))["type"]
        except RemoteProtocolError:
            txn.execute("DELETE FROM outbox WHERE lane = ?", (orphan,))
        else:
            lane = lane_txn(txn, type, api)
            txn.execute("UPDATE outbox SET lane = ? WHERE lane = ?", (lane, orphan))


def _lost_txn(txn: sqlite3.Connection) -> list[Receipt]:
    """The lanes say how many messages waited in them."""
    found = dict(txn.execute("SELECT lane, count(*) FROM outbox WHERE number IS NULL GROUP BY lane"))
    counted = {lane: lane.count - found.get(lane.id, 0) for lane in read_lanes_txn(txn)}
    return [
        Receipt(reason=CORRUPT, message_type=lane.type, count=count)
        for lane, count in counted.items()
        if count > 0
    ]


def _repair_numbers_txn(txn: sqlite3.Connection, now: int) -> None:
    """
    Numbers must have no gap, and mean what they meant: the server may have seen them.

    A message that is lost leaves its number to a receipt. Where even that cannot be, all are numbered anew.
    """
    position = read_position_txn(txn)
    if not 0 <= position.unacknowledged <= _MOST_HOLES:
        unnumber_txn(txn, -(2**63))
        update_state_txn(txn, next_number=position.sequence)
        return
    unnumber_txn(txn, position.next_number)
    (kept, first) = txn.execute(
        "SELECT count(*), min(number) FROM outbox WHERE number < ?", (position.sequence,)
    ).fetchone()
    if kept and kept != position.sequence - first:
        txn.execute("DELETE FROM outbox WHERE number < ?", (position.sequence,))
    found = {
        number
        for (number,) in txn.execute("SELECT number FROM outbox WHERE number >= ?", (position.sequence,))
    }
    for number in range(position.sequence, position.next_number):
        if number not in found:
            _fill_txn(txn, number, now)


def _fill_txn(txn: sqlite3.Connection, number: int, now: int) -> None:
    receipt = Receipt(reason=CORRUPT, message_type=UNKNOWN, count=1)
    txn.execute(
        "INSERT INTO outbox (lane, number, timestamp, subject, body) VALUES (?, ?, ?, ?, ?)",
        (lane_txn(txn, RECEIPT, read_state_txn(txn).api), number, now, receipt.subject, receipt.encode()),
    )
