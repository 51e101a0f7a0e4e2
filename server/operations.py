"""
Operations: what an operator asks of a computer, and what came of it.

    queued -> sent -> delivered -> succeeded | failed

*Sent* when an answer carried it, *delivered* when the computer acknowledged its number; the result may come at any time
after it was sent and counts once.
"""

from sqlite3 import Connection
from typing import Any

from attrs import field, frozen

from ..wire import cbor
from ..wire.message import FAILED, RESYNCHRONIZE, SUCCEEDED, Message
from .outgoing import queue_message_txn

_STATUS_OF: dict[int | None, str] = {FAILED: "failed", SUCCEEDED: "succeeded"}
STATUSES = ("queued", "sent", "delivered", "succeeded", "failed")
MAX_RESULT_TEXT = 100_000
"""Longer texts of results are cut here; the message that brought them is stored whole."""


@frozen(kw_only=True)
class Operation:
    """One operation; the columns are explained in the schema."""

    id: int
    computer: int
    type: str
    fields: bytes = field(repr=False)
    status: str
    created: float
    sent: float | None
    finished: float | None
    result_code: int | None
    result_text: str | None


_SELECT = "SELECT id, computer, type, fields, status, created, sent, finished, result_code, result_text FROM operation"
_NAMES = tuple(_SELECT.removeprefix("SELECT ").removesuffix(" FROM operation").split(", "))


def _operation(row: tuple[Any, ...]) -> Operation:
    return Operation(**dict(zip(_NAMES, row, strict=True)))


def add_operation_txn(
    txn: Connection, *, computer: int, type: str, fields: dict[str, Any], now: float
) -> Operation:
    """Note an operation and queue its message."""
    columns = "(computer, type, fields, status, created)"
    row = (computer, type, cbor.encode(fields), "queued", now)
    found = txn.execute(f"INSERT INTO operation {columns} VALUES (?, ?, ?, ?, ?)", row).lastrowid
    assert found is not None
    queue_message_txn(txn, computer, {**fields, "type": type, "operation-id": found}, operation=found)
    operation = find_operation_txn(txn, found)
    assert operation is not None
    return operation


def find_operation_txn(txn: Connection, operation_id: int) -> Operation | None:
    """The operation of this id."""
    row = txn.execute(f"{_SELECT} WHERE id = ?", (operation_id,)).fetchone()
    return None if row is None else _operation(row)


def list_operations_txn(
    txn: Connection, *, after: int, limit: int, computer: int | None = None, status: str | None = None
) -> list[Operation]:
    """Operations in order of their id, those beyond `after`."""
    where, values = "id > ?", [after, computer, computer, status, status, limit]
    where += " AND (? IS NULL OR computer = ?) AND (? IS NULL OR status = ?)"
    return [_operation(row) for row in txn.execute(f"{_SELECT} WHERE {where} ORDER BY id LIMIT ?", values)]


@frozen(kw_only=True)
class Result:
    """What a computer says came of an operation."""

    operation: int
    status: str
    code: int | None = None
    text: str | None = None


def read_result(message: Message) -> Result | None:
    """
    The result in a message, if it answers an operation.

    A `resynchronize` that names an operation is the answer to that request. What a result gets wrong never hides
    that there is one: without a usable status the operation failed.
    """
    number = message.get("operation-id")
    if type(number) is not int or not 0 < number < 2**63:
        return None
    if message["type"] == RESYNCHRONIZE:
        return Result(operation=number, status="succeeded")
    code, text = message.get("result-code"), message.get("result-text")
    status = _STATUS_OF.get(_plain_int(message.get("status")))
    if status is None:
        return Result(operation=number, status="failed", text="the computer's result has no usable status")
    return Result(
        operation=number,
        status=status,
        code=_plain_int(code),
        text=text[:MAX_RESULT_TEXT] if type(text) is str else None,
    )


def _plain_int(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def finish_operation_txn(txn: Connection, computer: int, result: Result, now: float) -> bool:
    """Note a result; False when this computer has no such operation open: unknown, another's, or answered."""
    query = "SELECT operation FROM operation_alias WHERE id = ?"
    (operation,) = txn.execute(query, (result.operation,)).fetchone() or (result.operation,)
    found = txn.execute(
        "UPDATE operation SET status = ?, result_code = ?, result_text = ?, finished = ?"
        " WHERE id = ? AND computer = ? AND status IN ('sent', 'delivered')",
        (result.status, result.code, result.text, now, operation, computer),
    )
    txn.execute("DELETE FROM operation_alias WHERE operation = ?", (operation,))
    return found.rowcount == 1
