"""How full the store is, worked out from the lanes: the same cost whatever waits in them."""

import sqlite3

from .lanes import Lane, read_lanes_txn, sendable
from .outgoing import pending
from .records import State, StoreStatus
from .state import Position, read_position_txn, read_state_txn


def status_txn(txn: sqlite3.Connection, *, full: bool, quarantined: tuple[str, ...]) -> StoreStatus:
    """All that the store can say of itself."""
    state, position, lanes = read_state_txn(txn), read_position_txn(txn), read_lanes_txn(txn)
    return StoreStatus(
        pending=pending(state, position, lanes),
        held=sum(lane.count for lane in lanes if lane.is_held(state)),
        octets=sum(lane.octets for lane in lanes) + _unacknowledged_octets_txn(txn, position),
        unacknowledged=position.unacknowledged,
        oldest_pending=_oldest_txn(txn, state, position, lanes),
        incoming=_count_txn(txn, "inbox"),
        dead_letters=_count_txn(txn, "dead_letter"),
        sequence=state.sequence,
        server_sequence=state.server_sequence,
        full=full,
        quarantined=quarantined,
        lanes=tuple(lane.status(state) for lane in lanes if lane.count),
    )


def _count_txn(txn: sqlite3.Connection, table: str) -> int:
    count: int = txn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def _unacknowledged_octets_txn(txn: sqlite3.Connection, position: Position) -> int:
    """Of at most a few payloads. The length of a body is known without reading it."""
    query = "SELECT total(length(body)) FROM outbox WHERE number >= ?"
    return int(txn.execute(query, (position.sequence,)).fetchone()[0])


def _oldest_txn(txn: sqlite3.Connection, state: State, position: Position, lanes: list[Lane]) -> int | None:
    """The first of each lane and the first that has a number: what came first is oldest, or nearly."""
    heads = [txn.execute("SELECT timestamp FROM outbox WHERE number = ?", (position.sequence,)).fetchone()]
    heads += [
        txn.execute(
            "SELECT timestamp FROM outbox WHERE number IS NULL AND lane = ? ORDER BY id LIMIT 1", (lane.id,)
        ).fetchone()
        for lane in sendable(lanes, state)
    ]
    return min((head[0] for head in heads if head), default=None)
