"""
Lanes: the messages of one type and one API level that wait for their first sending.

Each lane keeps its count and its octets in the same transaction as its rows, so that totals cost nothing. A lane is held
while the server does not accept its type or does not speak its level: that is worked out when asked, so a change of the
accepted types moves no message.
"""

import sqlite3

from attrs import frozen

from ...wire.api import ApiLevel
from ...wire.message import RECEIPT, REGISTER
from .records import LaneStatus, State
from .state import parse_level

MAX_LANES = 4_096
"""Types times levels: what a plugin may make the store keep apart."""


@frozen(kw_only=True)
class Lane:
    """One lane; `count` and `octets` are of the messages without a number."""

    id: int
    type: str
    api: ApiLevel
    count: int
    octets: int

    def is_held(self, state: State) -> bool:
        """Whether the server would not take its messages now."""
        if state.is_landscape and state.secure_id is None and self.type != REGISTER:
            return True
        return self.type not in state.accepted_types or self.api > state.api

    def status(self, state: State) -> LaneStatus:
        """The lane as a person wants to see it."""
        return LaneStatus(
            type=self.type, api=self.api, count=self.count, octets=self.octets, held=self.is_held(state)
        )

    @property
    def rank(self) -> int:
        """Receipts go first: they say what is missing."""
        return 0 if self.type == RECEIPT else 1


def read_lanes_txn(txn: sqlite3.Connection) -> list[Lane]:
    """All lanes, empty ones too."""
    rows = txn.execute("SELECT id, type, api, count, octets FROM lane")
    return [
        Lane(id=id, type=type, api=parse_level(api), count=count, octets=octets)
        for id, type, api, count, octets in rows
    ]


def sendable(lanes: list[Lane], state: State) -> list[Lane]:
    """The lanes whose messages may go out now, without the empty ones."""
    return [lane for lane in lanes if lane.count and not lane.is_held(state)]


def spoken(lanes: list[Lane], state: State) -> dict[int, str]:
    """The level of each lane, by its id, where the server speaks it."""
    return {lane.id: str(lane.api) for lane in lanes if lane.api <= state.api}


def lane_txn(txn: sqlite3.Connection, type: str, api: ApiLevel) -> int:
    """The id of a lane, made when there is none."""
    found = _find_txn(txn, type, api)
    if found is None:
        made = txn.execute("INSERT INTO lane (type, api) VALUES (?, ?)", (type, str(api)))
        found = made.lastrowid
        assert found is not None
    return found


def limited_lane_txn(txn: sqlite3.Connection, type: str, api: ApiLevel) -> int | None:
    """The same, but None when that would be one lane too many."""
    found = _find_txn(txn, type, api)
    if found is None and _count_txn(txn) < MAX_LANES:
        return lane_txn(txn, type, api)
    return found


def drop_empty_lanes_txn(txn: sqlite3.Connection) -> None:
    """Forget lanes that nothing is in."""
    txn.execute(
        "DELETE FROM lane WHERE count = 0 AND id NOT IN (SELECT lane FROM outbox WHERE number IS NOT NULL)"
    )


def _find_txn(txn: sqlite3.Connection, type: str, api: ApiLevel) -> int | None:
    row = txn.execute("SELECT id FROM lane WHERE type = ? AND api = ?", (type, str(api))).fetchone()
    return row[0] if row else None


def _count_txn(txn: sqlite3.Connection) -> int:
    count: int = txn.execute("SELECT count(*) FROM lane").fetchone()[0]
    return count


def grow_txn(txn: sqlite3.Connection, lane: int, count: int, octets: int) -> None:
    """Note that a lane has this much more; less, when negative."""
    txn.execute("UPDATE lane SET count = count + ?, octets = octets + ? WHERE id = ?", (count, octets, lane))


def recount_txn(txn: sqlite3.Connection) -> None:
    """Work the counts out from the rows: slow, for when they cannot be known otherwise."""
    txn.execute("UPDATE lane SET count = 0, octets = 0")
    txn.execute(
        "UPDATE lane SET count = found.count, octets = found.octets FROM"
        " (SELECT lane, count(*) AS count, sum(length(body)) AS octets FROM outbox WHERE number IS NULL GROUP BY lane)"
        " AS found WHERE found.lane = lane.id"
    )
