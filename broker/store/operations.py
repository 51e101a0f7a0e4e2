"""
Operations: under which identity each came, since its result is owed to that identity alone (landscape 1.11), and where
that result is queued, since until the server has it the same id means the same operation.
"""

import sqlite3

OPERATIONS_KEPT = 10_000


def note_operation_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> None:
    """An operation came; the oldest that we know of is forgotten."""
    made = txn.execute(
        "INSERT INTO operation (operation_id, secure_id) VALUES (?, ?)", (operation_id, secure_id)
    )
    assert made.lastrowid is not None
    txn.execute("DELETE FROM operation WHERE id <= ?", (made.lastrowid - OPERATIONS_KEPT,))


def note_result_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None, outbox: int) -> None:
    """Its result is queued in this row of the outbox."""
    txn.execute(
        "UPDATE operation SET result = ? WHERE id ="
        " (SELECT max(id) FROM operation WHERE operation_id = ? AND secure_id IS ?)",
        (outbox, operation_id, secure_id),
    )


def is_answered_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> bool:
    """Whether its result is on its way, and the server has not said that it has it."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM operation JOIN outbox ON outbox.id = result"
        " WHERE operation_id = ? AND operation.secure_id IS ?"
        " AND (number IS NULL OR number >= (SELECT sequence FROM state)))"
    )
    return bool(txn.execute(query, (operation_id, secure_id)).fetchone()[0])


def is_obsolete_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> bool:
    """Whether the operation came, but never under this identity."""
    rows = txn.execute("SELECT secure_id FROM operation WHERE operation_id = ?", (operation_id,)).fetchall()
    return bool(rows) and (secure_id,) not in rows
