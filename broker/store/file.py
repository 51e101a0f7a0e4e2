"""The store's file through good and bad days: opened, replaced when it is damaged, written to while the disk is full."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import TypeVar

from ...runtime.database import (
    MEMORY,
    DatabaseBroken,
    DatabaseError,
    DatabaseFull,
    open_database,
    seal,
    transaction,
    translated,
)
from .lanes import drop_empty_lanes_txn, read_lanes_txn
from .quarantine import clear_workbench, finish_swap, quarantined, swap
from .records import StoreLimits
from .reserve import Reserve
from .salvage import salvage
from .state import create_state_txn, is_used_txn, read_state_txn

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""What is done in one transaction."""

_APPLICATION_ID = 0x46505354
"""`FPST`: marks the file as a store of ours."""
_SCHEMA = files(__package__) / "schema"


_SPARE_PAGES = 1_024
_FEW_PAGES = 256
"""Small enough for the log to hold them while the disk is full."""
_MANY_PAGES = 4_096
_MUCH = 1024 * 1024
"""Octets for which the reserve has no room to spare."""


class StoreFile:
    """
    Runs transactions on one file.

    A full disk: what makes room goes on, on the space of the reserve; `run_new`, which takes in more, is refused.
    A damaged file: a new one takes its place, with all that could be read, and the transaction is run again, on that.
    """

    def __init__(
        self, path: str, *, limits: StoreLimits, new_id: Callable[[], str], now: Callable[[], float]
    ) -> None:
        self._path = path
        self._new_id = new_id
        self._now = now
        self._reserve = Reserve(f"{path}.reserve", 0 if path == MEMORY else limits.reserve_octets)
        self._connection: sqlite3.Connection | None = self._open()
        self.is_refusing = False
        """Whether what came last was refused."""
        with suppress(DatabaseFull):
            self._reserve.restore()

    @property
    def is_full(self) -> bool:
        """Whether the disk had no room for the reserve when it was last needed."""
        return not self._reserve.is_whole

    def quarantined(self) -> tuple[str, ...]:
        """Damaged files that were put aside."""
        return quarantined(self._path)

    def run(self, work: Work[T]) -> T:
        """One transaction that may use the reserve."""
        try:
            return self._run_once(work)
        except DatabaseFull:
            released, emptied = self._reserve.release(), self._empty_log()
            if not (released or emptied):
                raise
        return self._run_once(work)

    def run_new(self, work: Work[T]) -> T:
        """
        One transaction that may not.

        Raises DatabaseFull, with nothing stored.
        """
        self.is_refusing = True
        self._hold_reserve()
        try:
            result = self._run_once(work)
        except DatabaseFull:
            self._make_room()
            self._hold_reserve()
            result = self._run_once(work)
        self.is_refusing = False
        return result

    def require_room(self, octets: int) -> None:
        """
        To be asked in a transaction that writes much: it goes to the log first, then to the file, and takes both times.

        In the file it takes unused pages first. Raises DatabaseFull when the disk has no room for the rest; the reserve
        is for others.
        """
        if octets >= _MUCH and self._path != MEMORY:
            disk = os.statvfs(self._path)
            if disk.f_bavail * disk.f_frsize < octets + max(0, octets - self._unused_octets()):
                raise DatabaseFull(
                    f"{self._path}: {octets} octets cannot be stored now; free twice as much on its disk"
                )

    def give_back(self) -> None:
        """Return to the disk what a backlog took, but for a little that the next one will want."""
        with suppress(DatabaseError):
            self._shrink(keep=_SPARE_PAGES, most=_MANY_PAGES)

    def close(self) -> None:
        """All is on the disk already."""
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _live(self) -> sqlite3.Connection:
        """The connection; opened, when a replacement failed before and is to be tried again."""
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _run_once(self, work: Work[T]) -> T:
        try:
            return self._try(work)
        except DatabaseBroken:
            self.close()
            self._replace()
            return self._try(work)

    def _try(self, work: Work[T]) -> T:
        with transaction(self._live()) as txn:
            return work(txn)

    def _hold_reserve(self) -> None:
        """The disk may be full of what we have dropped since: give that back, little by little, and look again."""
        while not self._reserve.is_whole:
            try:
                self._reserve.restore()
            except DatabaseFull:
                if not self._make_room():
                    raise

    def _make_room(self) -> bool:
        """
        Give the disk the log, and a few unused pages of the file; whether there was anything to give.

        SQLite begins its log anew only after a commit, so never while all are refused. To empty it the file may have
        to grow first: the reserve is lent for that.
        """
        emptied = self._empty_log()
        if self._log_octets() and self._reserve.release():
            emptied = self._empty_log()
        with suppress(DatabaseFull):
            if self._shrink(keep=0, most=_FEW_PAGES):
                return self._empty_log()
        return emptied

    def _unused_octets(self) -> int:
        connection = self._live()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        octets: int = free * size
        return octets

    def _shrink(self, *, keep: int, most: int) -> int:
        """Cut unused pages off the file; how many."""
        connection = self._live()
        with translated(self._path):
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            count: int = max(0, min(free - keep, most))
            if count:
                # `execute` would stop after the first page.
                connection.executescript(f"PRAGMA incremental_vacuum({count})")
        return count

    def _empty_log(self) -> bool:
        """
        Put what the log holds where it belongs, so that the log begins anew and needs no more space.

        Whether it had anything and has nothing now.
        """
        had = self._log_octets()
        with suppress(DatabaseError), translated(self._path):
            self._live().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return had > 0 and not self._log_octets()

    def _log_octets(self) -> int:
        try:
            return os.path.getsize(f"{self._path}-wal")
        except OSError:
            return 0

    def _open(self) -> sqlite3.Connection:
        with translated(self._path):
            finish_swap(self._path)
        try:
            return self._open_whole()
        except DatabaseBroken:
            self._replace()
        except DatabaseFull:
            if not self._reserve.release():
                raise
        return self._open_whole()

    def _open_whole(self) -> sqlite3.Connection:
        """Raises DatabaseBroken when the file does not hold what every store holds."""
        connection = open_database(self._path, _SCHEMA, application_id=_APPLICATION_ID)
        try:
            with transaction(connection) as txn:
                if not is_used_txn(txn):
                    create_state_txn(txn, self._new_id())
                read_state_txn(txn)
                drop_empty_lanes_txn(txn)
                read_lanes_txn(txn)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection

    def _replace(self) -> None:
        self._reserve.release()
        with translated(self._path):
            workbench, spare = clear_workbench(self._path)
            self._salvage_into(workbench, spare)
            swap(self._path, workbench)
            clear_workbench(self._path)

    def _salvage_into(self, workbench: str, spare: str) -> None:
        connection = open_database(workbench, _SCHEMA, application_id=_APPLICATION_ID)
        try:
            salvage(self._path, connection, spare=spare, new_id=self._new_id, now=int(self._now()))
            seal(connection)
        finally:
            connection.close()
