"""
What computers with a session are told at once (wire 5.12): that messages wait, and whatever the operator publishes.

Messages are found where they are queued, in the database, after the commit that queued them: so whatever rule queued them,
none is forgotten, and nothing is told that a full disk could still take back.
"""

from functools import partial
from sqlite3 import Connection
from typing import Any, Protocol

from attrs import frozen

from ..commits import Commits

MESSAGES = "messages"
"""The topic; its value is a map of `pending`, `seq` and `urgent`, its number the highest id in the computer's queue."""
MOST_COUNTED = 100


class Publisher(Protocol):
    """runtime.session's Topics. Any: the value is whatever travels."""

    def publish(self, scope: str, topic: str, value: Any, seq: int | None = None) -> object:
        """This is the newest of a topic now."""


class Present(Protocol):
    """Who is there."""

    def is_reachable(self, computer_id: int) -> bool:
        """Whether a computer can hear."""


@frozen(kw_only=True)
class Waiting:
    """What a computer has not been sent yet."""

    computer: int
    seq: int
    pending: int
    """Counted up to 100."""
    is_urgent: bool
    """An operation is among them."""


def waiting_txn(txn: Connection, computer_id: int) -> Waiting | None:
    """What waits for a computer; None when nothing does."""
    query = (
        "SELECT max(id), count(*), max(operation IS NOT NULL) FROM"
        " (SELECT id, operation FROM outgoing WHERE computer = ? AND number IS NULL ORDER BY id DESC LIMIT ?)"
    )
    seq, pending, is_urgent = txn.execute(query, (computer_id, MOST_COUNTED)).fetchone()
    if seq is None:
        return None
    return Waiting(computer=computer_id, seq=seq, pending=pending, is_urgent=bool(is_urgent))


class Watch:
    """Sees what was queued since it last looked. Lives in the database's thread."""

    def __init__(self, seen: int) -> None:
        self._seen = seen

    @classmethod
    def begin(cls, connection: Connection) -> "Watch":
        """From now on."""
        return cls(_newest(connection))

    def look(self, connection: Connection) -> list[Waiting]:
        """The computers for which something new waits."""
        newest = _newest(connection)
        query = "SELECT DISTINCT computer FROM outgoing WHERE id > ? AND number IS NULL"
        computers = [row[0] for row in connection.execute(query, (self._seen,))]
        found = [waiting_txn(connection, computer) for computer in computers]
        self._seen = max(newest, self._seen)
        return [waiting for waiting in found if waiting is not None]


def _newest(connection: Connection) -> int:
    """Ids rise and are never used again."""
    found: int = connection.execute("SELECT coalesce(max(id), 0) FROM outgoing").fetchone()[0]
    return found


class Notices:
    """Publishes to the sessions that are there. A computer's scope is its number, in text."""

    def __init__(self, *, commits: Commits, watch: Watch, topics: Publisher, present: Present) -> None:
        self._commits = commits
        self._topics = topics
        self._present = present
        commits.watch(watch.look, self._found)

    async def refresh(self, computer_id: int) -> None:
        """Publish what waits for a computer that has just come, if it is still there then. Raises DatabaseError."""
        waiting = await self._commits.run(partial(waiting_txn, computer_id=computer_id))
        if waiting is not None:
            self._found([waiting])

    def _found(self, found: list[Waiting]) -> None:
        for waiting in found:
            if self._present.is_reachable(waiting.computer):
                self._publish(waiting)

    def _publish(self, waiting: Waiting) -> None:
        value = {b"pending": waiting.pending, b"seq": waiting.seq, b"urgent": waiting.is_urgent}
        self._topics.publish(str(waiting.computer), MESSAGES, value, waiting.seq)
