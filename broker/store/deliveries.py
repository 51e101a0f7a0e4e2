"""Deliveries: how a message of the server ends, and the answer that an operation is owed."""

import sqlite3

from ...wire.message import FAILED, OPERATION_RESULT
from .dead_letters import bury_incoming_txn
from .inbox import find_txn, finish_txn, start_txn, started_txn
from .own_messages import put_result_txn
from .receipts import OBSOLETE, UNUSABLE, Receipt, leave_txn
from .records import Conclusion, Incoming, OperationResult, State
from .state import read_state_txn

_UNKNOWN_OUTCOME = OperationResult(
    status=FAILED,
    result_text="The outcome is unknown: the agent stopped while the operation was under way. "
    "Look at the machine before asking again.",
)


def finish_delivery_txn(
    txn: sqlite3.Connection, number: int, result: OperationResult | None, now: int
) -> Conclusion:
    """Take the message out of the inbox, and queue the result when the server that asked still waits for it."""
    incoming = find_txn(txn, number)
    if incoming is None:
        return Conclusion.UNKNOWN
    finish_txn(txn, number)
    if incoming.operation_id is None or result is None:
        return Conclusion.DONE
    state = read_state_txn(txn)
    if incoming.secure_id != state.secure_id:
        _say_obsolete_txn(txn, state, now)
        return Conclusion.OBSOLETE
    put_result_txn(txn, state, incoming.operation_id, result, now)
    return Conclusion.ANSWERED


def refuse_incoming_txn(txn: sqlite3.Connection, number: int, reason: str, now: int) -> Conclusion:
    """Set a message of the server aside that nothing here can take, and tell the server."""
    incoming, state = find_txn(txn, number), read_state_txn(txn)
    if incoming is None:
        return Conclusion.UNKNOWN
    bury_incoming_txn(txn, number, reason, api=state.api, now=now)
    if incoming.operation_id is None:
        receipt = Receipt(
            reason=UNUSABLE,
            message_type=incoming.type,
            count=1,
            first=number,
            last=number,
            oldest=now,
            newest=now,
        )
        leave_txn(txn, receipt, api=state.api, timestamp=now)
    return finish_delivery_txn(txn, number, OperationResult(status=FAILED, result_text=reason), now)


def _say_obsolete_txn(txn: sqlite3.Connection, state: State, now: int) -> None:
    receipt = Receipt(reason=OBSOLETE, message_type=OPERATION_RESULT, count=1, oldest=now, newest=now)
    leave_txn(txn, receipt, api=state.api, timestamp=now)


def recover_deliveries_txn(txn: sqlite3.Connection, now: int) -> list[Incoming]:
    """
    After a stop: what was under way and is an operation failed, for all that anyone knows; the rest is new again.

    Returns the operations that were given up.
    """
    started = started_txn(txn)
    for incoming in started:
        if incoming.operation_id is None:
            start_txn(txn, incoming.number, started=False)
        else:
            finish_delivery_txn(txn, incoming.number, _UNKNOWN_OUTCOME, now)
    return [incoming for incoming in started if incoming.operation_id is not None]
