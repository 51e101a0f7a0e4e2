"""Operations: under which identity each came, since its result is owed to that identity alone (landscape 1.11)."""

import sqlite3

OPERATIONS_KEPT = 10_000


def note_operation_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> None:
    """An operation came; the oldest that we know of is forgotten."""
    made = txn.execute(
        "INSERT INTO operation (operation_id, secure_id) VALUES (?, ?)", (operation_id, secure_id)
    )
    assert made.lastrowid is not None
    txn.execute("DELETE FROM operation WHERE id <= ?", (made.lastrowid - OPERATIONS_KEPT,))


def is_obsolete_txn(txn: sqlite3.Connection, operation_id: int, secure_id: bytes | None) -> bool:
    """Whether the operation came, but never under this identity."""
    rows = txn.execute("SELECT secure_id FROM operation WHERE operation_id = ?", (operation_id,)).fetchall()
    return bool(rows) and (secure_id,) not in rows
