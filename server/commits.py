"""
Group commit: work that waits while the disk syncs goes into the next transaction together.

One sync costs as much for fifty exchanges as for one. Each piece of work has a savepoint of its own, so that one that
fails takes nothing back but itself. Only what makes the whole transaction impossible, such as a full disk, fails all of
its pieces; nothing of them is stored then, and each may be given again.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..runtime.database import DatabaseError, transaction
from ..runtime.doors import returns_deferred
from ..runtime.writer import Writer
from .errors import Stopping

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
MOST_TOGETHER = 64


class Commits:
    """
    The one door to the database.

    Work given to `run` starts in the order in which it was given; its Deferred fires after the sync, or fails and
    nothing of that work is stored. `trouble` is what the database last failed with, until it takes something again.
    """

    def __init__(self, *, connection: sqlite3.Connection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer
        self._waiting: deque[tuple[Work[Any], Deferred[Any]]] = deque()
        self._running = False
        self._stopped: Deferred[None] | None = None
        self.trouble: DatabaseError | None = None

    def run(self, work: Work[T]) -> "Deferred[T]":
        """What the work returns. Raises, through the Deferred, what it raises, or a DatabaseError."""
        done: Deferred[T] = Deferred()
        if self._stopped is not None:
            done.errback(Stopping("the server is stopping; try again soon"))
            return done
        self._waiting.append((work, done))
        if not self._running:
            self._running = True
            self._drain()
        return done

    def stop(self) -> "Deferred[None]":
        """Take nothing more; fires when all that was given is committed."""
        self._stopped = Deferred() if self._running else succeed(None)
        return self._stopped

    @returns_deferred
    async def _drain(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(MOST_TOGETHER, len(self._waiting)))]
            outcomes = await self._outcomes([work for work, _ in together])
            for (_, done), outcome in zip(together, outcomes, strict=True):
                done.callback(outcome)
        self._running = False
        if self._stopped is not None:
            self._stopped.callback(None)

    async def _outcomes(self, works: list[Work[Any]]) -> list[Any]:
        try:
            outcomes, wrote = await self._writer.run(_commit, self._connection, works)
        except DatabaseError as error:
            self.trouble = error
            return [Failure(error) for _ in works]
        except Exception:  # noqa: BLE001 - it travels to whoever gave the work
            return [Failure() for _ in works]
        if wrote:
            self.trouble = None
        return outcomes


def _commit(connection: sqlite3.Connection, works: list[Work[Any]]) -> tuple[list[Any], bool]:
    """Results and Failures, in order; and whether anything was written."""
    before = connection.total_changes
    with transaction(connection) as txn:
        outcomes = [_isolated(txn, work) for work in works]
    return outcomes, connection.total_changes > before


def _isolated(txn: sqlite3.Connection, work: Work[Any]) -> Any:
    txn.execute("SAVEPOINT work")
    try:
        outcome = work(txn)
    except sqlite3.OperationalError:
        raise
    except Exception:  # noqa: BLE001 - it travels to whoever gave the work
        txn.execute("ROLLBACK TO work")
        outcome = Failure()
    txn.execute("RELEASE work")
    return outcome
