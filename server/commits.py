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
from twisted.logger import Logger
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
    nothing of that work is stored. What happens in the database without being asked for here, because a rule of an exchange queues
    a message, is seen by watching. `trouble` is what the database last failed with, until it takes something again.
    """

    log = Logger()

    def __init__(self, *, connection: sqlite3.Connection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer
        self._waiting: deque[tuple[Work[Any], Deferred[Any]]] = deque()
        self._running = False
        self._stopped: Deferred[None] | None = None
        self.trouble: DatabaseError | None = None
        self._watches: list[tuple[Work[Any], Callable[[Any], None]]] = []

    def watch(self, look: Work[T], tell: Callable[[T], None]) -> None:
        """
        After each transaction that wrote, look at the database and tell what was found.

        `look` runs behind the sync, where the database is, and must only read; `tell` runs in the reactor's thread.
        """
        self._watches.append((look, tell))

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
            looks = [look for look, _ in self._watches]
            outcomes, seen = await self._writer.run(_commit, self._connection, works, looks)
        except DatabaseError as error:
            self.trouble = error
            return [Failure(error) for _ in works]
        except Exception:  # noqa: BLE001 - it travels to whoever gave the work
            return [Failure() for _ in works]
        if seen is not None:
            self.trouble = None
            self._tell(seen)
        return outcomes

    def _tell(self, seen: list[Any]) -> None:
        for (_, tell), (found, failure) in zip(self._watches, seen, strict=False):
            try:
                if failure is not None:
                    failure.raiseException()
                tell(found)
            except Exception:  # noqa: BLE001 - who watches must not disturb who commits
                self.log.failure("what was committed was not noticed")


def _commit(
    connection: sqlite3.Connection, works: list[Work[Any]], looks: list[Work[Any]]
) -> tuple[list[Any], list[Any] | None]:
    """Results and Failures, in order; and what was seen afterwards, None when nothing was written."""
    before = connection.total_changes
    with transaction(connection) as txn:
        outcomes = [_isolated(txn, work) for work in works]
    wrote = connection.total_changes > before
    return outcomes, [_seen(connection, look) for look in looks] if wrote else None


def _seen(connection: sqlite3.Connection, look: Work[Any]) -> Any:
    try:
        return look(connection), None
    except Exception:  # noqa: BLE001 - the commit is done and stays done
        return None, Failure()


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
