"""
The inbox: messages of the server, stored together with its sequence number, then delivered.

A delivery is journaled: begun before a handler sees the message, ended with what the handler made of it. What is left
begun after a stop had an outcome that nobody knows.
"""

import sqlite3
from typing import Any

from ...wire import cbor
from ...wire.errors import LocalProtocolError, RemoteProtocolError
from ...wire.message import Message
from ...wire.payload import WRECK
from .operations import is_answered_txn, note_operation_txn
from .records import Incoming, State
from .state import update_state_txn

_COLUMNS = "number, type, operation_id, secure_id, body"


def receive_txn(txn: sqlite3.Connection, state: State, messages: tuple[Message, ...]) -> int:
    """
    Take what the server sent, and its sequence number on; how many are new.

    An operation that is here already, undelivered, or whose result is on its way, is the same one sent twice (fault L7).
    """
    taken = 0
    for number, message in enumerate(messages, state.server_sequence):
        operation_id = _operation_id(message)
        if operation_id is None or not _is_known_txn(txn, operation_id, state.secure_id):
            _insert_txn(txn, number, message, operation_id, state.secure_id)
            taken += 1
    if messages:
        update_state_txn(txn, server_sequence=state.server_sequence + len(messages))
    return taken


def _operation_id(message: Message) -> int | None:
    """One that is no integer, or beyond any column, cannot be answered: such a message is no operation."""
    value = message.get("operation-id")
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _is_known_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> bool:
    row = txn.execute(
        "SELECT 1 FROM inbox WHERE operation_id = ? AND secure_id IS ?", (operation_id, secure_id)
    ).fetchone()
    return row is not None or is_answered_txn(txn, operation_id, secure_id)


def _insert_txn(
    txn: sqlite3.Connection, number: int, message: Message, operation_id: int | None, secure_id: bytes | None
) -> None:
    try:
        body = cbor.encode(message)
    except LocalProtocolError as error:
        # Better one message that nobody can take than a stream that never goes on (fault L6).
        message = {"type": WRECK, "cause": str(error)}
        body = cbor.encode(message)
    txn.execute(
        "INSERT INTO inbox (number, type, operation_id, secure_id, body) VALUES (?, ?, ?, ?, ?)",
        (number, message["type"], operation_id, secure_id, body),
    )
    if operation_id is not None:
        note_operation_txn(txn, operation_id, secure_id)


def next_incoming_txn(txn: sqlite3.Connection, limit: int, after: int) -> list[Incoming]:
    """The first behind this number that no delivery was begun for, by number."""
    return _read_txn(txn, "WHERE started = 0 AND number > ? ORDER BY number LIMIT ?", after, limit)


def started_txn(txn: sqlite3.Connection) -> list[Incoming]:
    """Those whose delivery was begun and not ended."""
    return _read_txn(txn, "WHERE started = 1 ORDER BY number")


def find_txn(txn: sqlite3.Connection, number: int) -> Incoming | None:
    """The message of this number, if it is still here."""
    found = _read_txn(txn, "WHERE number = ?", number)
    return found[0] if found else None


def _read_txn(txn: sqlite3.Connection, condition: str, *values: Any) -> list[Incoming]:
    rows = txn.execute(f"SELECT {_COLUMNS} FROM inbox {condition}", values).fetchall()
    return [
        Incoming(
            number=number,
            type=type,
            operation_id=operation_id,
            secure_id=secure_id,
            message=_decode(type, body),
        )
        for number, type, operation_id, secure_id, body in rows
    ]


def _decode(type: str, body: bytes) -> Message:
    try:
        message: Message = cbor.decode(body)
    except RemoteProtocolError as error:
        return {"type": WRECK, "cause": f"a message of type {type} was damaged on the disk: {error}"}
    return message


def start_txn(txn: sqlite3.Connection, number: int, started: bool = True) -> None:
    """Note that a handler gets it, or that it is to be delivered again."""
    txn.execute("UPDATE inbox SET started = ? WHERE number = ?", (started, number))


def finish_txn(txn: sqlite3.Connection, number: int) -> None:
    """It is delivered."""
    txn.execute("DELETE FROM inbox WHERE number = ?", (number,))
