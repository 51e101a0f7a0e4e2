"""What computers sent: stored many rows to a statement, read by cursor."""

from collections.abc import Sequence
from itertools import chain
from sqlite3 import Connection
from typing import Any

from attrs import frozen

from ..wire.message import Message

Row = tuple[str, int | None, bytes]
"""Type, timestamp, and the CBOR of the whole message, as it came."""

_CHUNKS = (512, 64, 8, 1)
"""Rows per statement. SQLite gives up the interpreter's lock once a statement, and these few stay prepared."""
_STATEMENTS = {
    count: "INSERT INTO message (computer, number, received, type, timestamp, body) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)
    for count in _CHUNKS
}


def row_of(message: Message, octets: bytes) -> Row:
    """How a message is stored, these being its own octets."""
    timestamp = message.get("timestamp")
    usable = type(timestamp) is int and -(2**63) <= timestamp < 2**63
    return message["type"], timestamp if usable else None, octets


def store_messages_txn(
    txn: Connection, *, computer: int, received: float, numbered: Sequence[tuple[int, Row]]
) -> int:
    """Add messages of a computer, in this order; the id of the first, behind which those of the others follow."""
    start = last = 0
    for count in _CHUNKS:
        statement = _STATEMENTS[count]
        while len(numbered) - start >= count:
            part = numbered[start : start + count]
            done = txn.execute(
                statement,
                list(chain.from_iterable((computer, number, received, *row) for number, row in part)),
            )
            last = done.lastrowid or 0
            start += count
    return last - len(numbered) + 1


@frozen(kw_only=True)
class StoredMessage:
    """A message as it lies in the database."""

    id: int
    computer: int
    number: int
    type: str
    timestamp: int | None
    received: float
    body: bytes


@frozen(kw_only=True)
class MessageQuery:
    """Which messages: those beyond the cursor `after`, of one computer, of one type."""

    after: int = 0
    limit: int = 100
    computer: int | None = None
    type: str | None = None
    conditions: tuple[tuple[str, Any], ...] = ()
    """More of what a message must be, in SQL (`Typed.condition`), each with the value for its second `?`."""
    max_octets: int = 8 * 1024 * 1024
    """Bodies beyond this stay for the next query; the first always comes."""


def list_messages_txn(txn: Connection, query: MessageQuery) -> list[StoredMessage]:
    """Messages in order of arrival."""
    found: list[StoredMessage] = []
    octets = 0
    for row in txn.execute(*_statement(query)):
        octets += len(row[6])
        if found and octets > query.max_octets:
            break
        found.append(
            StoredMessage(
                id=row[0],
                computer=row[1],
                number=row[2],
                type=row[3],
                timestamp=row[4],
                received=row[5],
                body=row[6],
            )
        )
    return found


def _statement(query: MessageQuery) -> tuple[str, list[Any]]:
    where: list[str] = ["id > ?"]
    values: list[Any] = [query.after]
    for column, value in (("computer", query.computer), ("type", query.type)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    for condition, value in query.conditions:
        where.append(condition)
        values += [query.after, value]
    columns = "id, computer, number, type, timestamp, received, body"
    text = f"SELECT {columns} FROM message WHERE {' AND '.join(where)} ORDER BY id LIMIT ?"
    return text, [*values, query.limit]
