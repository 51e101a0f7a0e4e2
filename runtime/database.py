"""
One SQLite file of ours: made, brought up to date, refused or given back, and its errors in our words.

A folder of numbered `.sql` files is the schema: `0001.sql` makes the file, each later one changes it. The number of the
last is the file's version. A file may say in its first line `-- oldest-compatible: N`, the oldest program (by its own
last number) that can still use the file afterwards; without that line only programs that know the number can.

Every commit is synced before it returns (WAL, `synchronous=FULL`): NORMAL may lose one when the power is cut.
"""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.resources.abc import Traversable

from attrs import frozen

from ..wire.errors import FieldpostError

MEMORY = ":memory:"


class DatabaseError(FieldpostError):
    """Root of what can be wrong with a database file."""


class DatabaseUnavailable(DatabaseError):
    """It cannot be written or read now; later it may, without anyone's help to this program."""


class DatabaseFull(DatabaseUnavailable):
    """The disk takes no more: it is full, over quota, read-only or failing. Nothing of the call is stored."""


class DatabaseBroken(DatabaseError):
    """The file is no database, or its content is damaged."""


class DatabaseNewer(DatabaseError):
    """The file was written by a newer program, and this one cannot use it."""


_KINDS: dict[int, type[DatabaseError]] = {
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_IOERR: DatabaseFull,
    sqlite3.SQLITE_READONLY: DatabaseFull,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnavailable,
    sqlite3.SQLITE_PERM: DatabaseUnavailable,
    sqlite3.SQLITE_BUSY: DatabaseUnavailable,
    sqlite3.SQLITE_LOCKED: DatabaseUnavailable,
    sqlite3.SQLITE_PROTOCOL: DatabaseUnavailable,
    sqlite3.SQLITE_CORRUPT: DatabaseBroken,
    sqlite3.SQLITE_NOTADB: DatabaseBroken,
}
_NEXT_STEPS: dict[type[DatabaseError], str] = {
    DatabaseFull: "free space on its disk and look into the system's log for disk errors",
    DatabaseUnavailable: "see that its folder exists, belongs to this user, and that no other program holds the file",
    DatabaseBroken: "put it aside and start with a new file, or restore it from a backup",
    DatabaseError: "this is a mistake of the program; please report it",
}


_MAKE_WRITABLE = "let this user write there, on a disk that is not mounted read-only; the system's log says why it became so"


def translate(error: sqlite3.Error, path: str) -> DatabaseError:
    """The error of ours that stands for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind = _KINDS.get(code, DatabaseError)
    next_step = _MAKE_WRITABLE if code == sqlite3.SQLITE_READONLY else _NEXT_STEPS[kind]
    return kind(f"{path}: {error}; {next_step}")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Inside, no raw error of SQLite or of the system gets out."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except OSError as error:
        raise _translate_system(error, path) from error


def _translate_system(error: OSError, path: str) -> DatabaseError:
    kind = DatabaseFull if error.errno in _FULL else DatabaseUnavailable
    next_step = _MAKE_WRITABLE if error.errno == errno.EROFS else _NEXT_STEPS[kind]
    return kind(f"{error.filename or path}: {error.strerror}; {next_step}")


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """
    One transaction: committed and synced when the block ends, as if it had never been when it raises.

    Raises DatabaseFull, DatabaseBroken and the other errors above in place of SQLite's.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
    except sqlite3.Error as error:
        raise translate(error, path_of(connection)) from error


def _roll_back(connection: sqlite3.Connection) -> None:
    """End what is open. SQLite has often done it already; a broken file may refuse even this."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def path_of(connection: sqlite3.Connection) -> str:
    """Where the file of a connection is."""
    try:
        found = connection.execute("PRAGMA database_list").fetchone()
    except sqlite3.Error:
        return "the database"
    return str(found[2]) if found and found[2] else MEMORY


@frozen(kw_only=True)
class Step:
    """One numbered file of a schema."""

    version: int
    oldest_compatible: int
    sql: str


_NUMBERED = re.compile(r"(\d{4})[^/]*\.sql\Z", re.ASCII)
_COMPATIBLE = re.compile(r"-- oldest-compatible: (\d+)\n", re.ASCII)


def read_schema(folder: Traversable) -> list[Step]:
    """The steps of a schema, in order."""
    files = {file.name: file for file in folder.iterdir() if _NUMBERED.match(file.name)}
    return [_read_step(files[name], int(name[:4])) for name in sorted(files)]


def _read_step(file: Traversable, version: int) -> Step:
    sql = file.read_text("utf-8")
    said = _COMPATIBLE.match(sql)
    return Step(version=version, oldest_compatible=int(said[1]) if said else version, sql=_shorten(sql))


def _shorten(sql: str) -> str:
    """
    Without comments and spare space: SQLite keeps the words of the schema in the file.

    A schema that fits into the first page has no other page to lose.
    """
    return re.sub(r"\s+", " ", re.sub(r"--.*", "", sql))


def open_database(path: str, schema: Traversable, *, application_id: int) -> sqlite3.Connection:
    """
    The file at `path`, made when missing, brought up to date when older (after a copy to `PATH.vN`).

    `application_id` marks our files, so that another program's database is not mistaken for one. The connection is in
    autocommit mode, to be used with `transaction`, and may move between threads but not be shared by two at a time.

    Raises DatabaseNewer, DatabaseBroken, DatabaseFull, DatabaseUnavailable.
    """
    _make_private(path)
    connection = _connect(path)
    try:
        with translated(path):
            _prepare(connection, path, read_schema(schema), application_id)
    except BaseException:
        _close(connection)
        raise
    sync_folder(path)
    return connection


def seal(connection: sqlite3.Connection) -> None:
    """Bring all into the one file, so that it can be renamed; the next opening makes its log anew."""
    with translated(path_of(connection)):
        connection.execute("PRAGMA journal_mode = DELETE")


def _make_private(path: str) -> None:
    """Nobody but the owner may read the file; SQLite gives its companions the same mode."""
    if path != MEMORY:
        with translated(path):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _connect(path: str) -> sqlite3.Connection:
    with translated(path):
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()


def sync_folder(path: str) -> None:
    """A new name survives a power cut only when its folder's list of names does too."""
    if path != MEMORY:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _prepare(connection: sqlite3.Connection, path: str, steps: list[Step], application_id: int) -> None:
    # Pages freed stay in the file until asked for; the setting must precede the first table.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Overwrite what is deleted where that costs no further write.
    connection.execute("PRAGMA secure_delete = FAST")
    version, oldest_compatible = _check_kind(connection, path, application_id)
    newest = steps[-1].version
    if oldest_compatible > newest:
        raise DatabaseNewer(
            f"{path} is of version {version}, usable by programs of version {oldest_compatible} and later; this "
            f"program is of version {newest}. Install the newer program again, or start with another file."
        )
    if version < newest:
        _upgrade(connection, path, version, [s for s in steps if s.version > version], application_id)


def _check_kind(connection: sqlite3.Connection, path: str, application_id: int) -> tuple[int, int]:
    """The file's version, and the oldest program that may use it; zeros for an empty file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if (version, owner) == (0, 0) and connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None:
        return 0, 0
    if owner != application_id:
        raise DatabaseUnavailable(f"{path} is another program's database; name another file")
    (oldest_compatible,) = connection.execute("SELECT oldest_compatible FROM schema_version").fetchone()
    return version, oldest_compatible


def _upgrade(
    connection: sqlite3.Connection, path: str, version: int, steps: list[Step], application_id: int
) -> None:
    """One transaction, so that a cut leaves the old version."""
    if version and path != MEMORY:
        _back_up(connection, f"{path}.v{version}")
    last = steps[-1]
    script = [
        "BEGIN EXCLUSIVE;",
        "CREATE TABLE IF NOT EXISTS schema_version (oldest_compatible INTEGER NOT NULL) STRICT;",
        *(step.sql for step in steps),
        "DELETE FROM schema_version;",
        f"INSERT INTO schema_version VALUES ({last.oldest_compatible});",
        f"PRAGMA user_version = {last.version};",
        f"PRAGMA application_id = {application_id};",
        "COMMIT;",
    ]
    connection.executescript("\n".join(script))


def _back_up(connection: sqlite3.Connection, path: str) -> None:
    """A whole copy, readable by the old program; renamed into place so that half a copy is never taken for one."""
    partial = f"{path}.partial"
    with suppress(FileNotFoundError):
        os.unlink(partial)
    _make_private(partial)
    with closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
    os.replace(partial, path)
    sync_folder(path)
