"""Messages that the broker itself has for the server."""

import sqlite3

from ...wire import cbor
from ...wire.message import OPERATION_RESULT, RESYNCHRONIZE, Message
from .lanes import grow_txn, lane_txn
from .operations import note_result_txn
from .outbox import insert_txn
from .records import OperationResult, State
from .sessions import drop_sessions_txn

MAX_RESULT_TEXT = 100_000
"""Characters; what is longer is cut (landscape 1.5)."""
_COLUMNS = ("api", "timestamp")
"""Keys of a message that the outbox keeps beside the body."""


def put_txn(
    txn: sqlite3.Connection, state: State, message: Message, *, now: int, secure_id: bytes | None = None
) -> int:
    """Queue a message; its row. `secure_id` is the identity that its operation came under, for a result."""
    body = cbor.encode({key: value for key, value in message.items() if key not in _COLUMNS})
    lane = lane_txn(txn, message["type"], state.api)
    insert_txn(txn, [lane, message.get("timestamp", now), secure_id, body])
    (row,) = txn.execute("SELECT last_insert_rowid()").fetchone()
    grow_txn(txn, lane, 1, len(body))
    return int(row)


def put_result_txn(
    txn: sqlite3.Connection, state: State, operation_id: int, result: OperationResult, now: int
) -> None:
    """Queue how an operation ended."""
    text = result.result_text
    fields = {
        "type": OPERATION_RESULT,
        "operation-id": operation_id,
        "status": result.status,
        "result-code": result.result_code,
        "result-text": None if text is None else text[:MAX_RESULT_TEXT],
    }
    message = {key: value for key, value in fields.items() if value is not None}
    row = put_txn(txn, state, message, now=now, secure_id=state.secure_id)
    note_result_txn(txn, operation_id, state.secure_id, row)


def resynchronize_txn(
    txn: sqlite3.Connection,
    state: State,
    now: int,
    *,
    operation_id: int | None = None,
    scopes: tuple[str, ...] | None = None,
) -> None:
    """Say that all is told afresh from here on, and let what plugins still hold from before be refused."""
    message: Message = {"type": RESYNCHRONIZE}
    if operation_id is not None:
        message["operation-id"] = operation_id
    put_txn(txn, state, message, now=now)
    drop_sessions_txn(txn, scopes)
