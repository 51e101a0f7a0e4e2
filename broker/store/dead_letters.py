"""Dead letters: messages that the server, or this agent, could not take, set aside for a person to look at."""

import sqlite3

from ...wire.api import ApiLevel
from .records import DeadLetter

MAX_DEAD_LETTERS = 1_000
MAX_DEAD_OCTETS = 64 * 1024 * 1024


def bury_txn(txn: sqlite3.Connection, number: int, reason: str) -> None:
    """Copy the message of this number to the dead letters; the oldest there give way."""
    txn.execute(
        "INSERT INTO dead_letter (number, type, api, timestamp, reason, body)"
        " SELECT number, type, api, timestamp, ?, body FROM outbox JOIN lane ON lane.id = lane WHERE number = ?",
        (reason, number),
    )
    _make_room_txn(txn)


def bury_incoming_txn(txn: sqlite3.Connection, number: int, reason: str, *, api: ApiLevel, now: int) -> None:
    """The same for the server's message of this number."""
    txn.execute(
        "INSERT INTO dead_letter (number, type, api, timestamp, reason, body)"
        " SELECT number, type, ?, ?, ?, body FROM inbox WHERE number = ?",
        (str(api), now, f"from the server: {reason}", number),
    )
    _make_room_txn(txn)


def _make_room_txn(txn: sqlite3.Connection) -> None:
    txn.execute(
        "DELETE FROM dead_letter WHERE id IN (SELECT id FROM"
        " (SELECT id, row_number() OVER later AS count, sum(length(body)) OVER later AS octets FROM dead_letter"
        " WINDOW later AS (ORDER BY id DESC)) WHERE count > ? OR octets > ?)",
        (MAX_DEAD_LETTERS, MAX_DEAD_OCTETS),
    )


def read_dead_letters_txn(txn: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The latest, newest first."""
    rows = txn.execute(
        "SELECT id, number, type, api, timestamp, reason, body FROM dead_letter ORDER BY id DESC LIMIT ?",
        (limit,),
    ).fetchall()
    return [
        DeadLetter(
            id=id,
            number=number,
            type=type,
            api=ApiLevel.parse(api),
            timestamp=timestamp,
            reason=reason,
            body=body,
        )
        for id, number, type, api, timestamp, reason, body in rows
    ]
