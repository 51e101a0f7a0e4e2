"""
Messages that must not go any more although they were promised a place: poison, and results for another identity.

Where one has its number already, a receipt takes its place, so that the numbers stay without a gap. Where the server
does not take receipts, the messages behind it give their numbers back.
"""

import sqlite3

from ...wire.message import RECEIPT
from .dead_letters import bury_txn
from .lanes import grow_txn
from .outbox import unnumber_txn
from .receipts import OBSOLETE, POISON, Receipt, leave_txn, replace_txn
from .records import State
from .state import read_position_txn, read_state_txn, update_state_txn


def set_aside_txn(txn: sqlite3.Connection, number: int, reason: str, now: int) -> None:
    """The server cannot take the message of this number: a person shall look at it. `reason` is for that person."""
    state, position = read_state_txn(txn), read_position_txn(txn)
    if position.sequence <= number < position.next_number:
        bury_txn(txn, number, reason)
        substitute_txn(txn, state, number, POISON, now)


def substitute_txn(txn: sqlite3.Connection, state: State, number: int, reason: str, now: int) -> None:
    """Take the message of this number out of the stream, and say so."""
    id, type, api, timestamp = txn.execute(
        "SELECT outbox.id, type, api, timestamp FROM outbox JOIN lane ON lane.id = lane WHERE number = ?",
        (number,),
    ).fetchone()
    receipt = _receipt(reason, type, id, timestamp)
    if type != RECEIPT and RECEIPT in state.accepted_types:
        replace_txn(txn, id, receipt, api=api, timestamp=now)
        return
    txn.execute("DELETE FROM outbox WHERE id = ?", (id,))
    unnumber_txn(txn, number)
    update_state_txn(txn, next_number=number)
    if type != RECEIPT:
        leave_txn(txn, receipt, api=state.api, timestamp=now)


def _receipt(reason: str, type: str, id: int, timestamp: int) -> Receipt:
    return Receipt(
        reason=reason, message_type=type, count=1, first=id, last=id, oldest=timestamp, newest=timestamp
    )


def drop_obsolete_results_txn(txn: sqlite3.Connection, state: State, secure_id: bytes, now: int) -> None:
    """The results of operations that came under any identity but this one, and are not acknowledged, go."""
    while number := _first_obsolete_txn(txn, state.sequence, secure_id):
        substitute_txn(txn, state, number[0], OBSOLETE, now)
    rows = txn.execute(
        "SELECT outbox.id, lane.id, type, timestamp, length(body) FROM outbox JOIN lane ON lane.id = lane"
        " WHERE secure_id IS NOT NULL AND secure_id <> ? AND number IS NULL",
        (secure_id,),
    ).fetchall()
    for id, lane, type, timestamp, size in rows:
        txn.execute("DELETE FROM outbox WHERE id = ?", (id,))
        grow_txn(txn, lane, -1, -size)
        leave_txn(txn, _receipt(OBSOLETE, type, id, timestamp), api=state.api, timestamp=now)


def _first_obsolete_txn(txn: sqlite3.Connection, sequence: int, secure_id: bytes) -> tuple[int] | None:
    row: tuple[int] | None = txn.execute(
        "SELECT number FROM outbox WHERE secure_id IS NOT NULL AND secure_id <> ? AND number >= ?"
        " ORDER BY number LIMIT 1",
        (secure_id, sequence),
    ).fetchone()
    return row
