"""The database file: made, brought up to date, refused, and its errors in our words."""

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from fieldpost.runtime.database import (
    MEMORY,
    DatabaseBroken,
    DatabaseError,
    DatabaseFull,
    DatabaseNewer,
    DatabaseUnavailable,
    open_database,
    path_of,
    read_schema,
    seal,
    transaction,
    translate,
    translated,
)

OURS = 0x4F555253
ONE = "-- oldest-compatible: 1\nCREATE TABLE note (text TEXT NOT NULL) STRICT;\n"
TWO = "-- oldest-compatible: 1\nALTER TABLE note ADD COLUMN place TEXT;\n"
THREE = "CREATE TABLE other (id INTEGER PRIMARY KEY) STRICT;\n"


def schema(folder: Path, *steps: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, step in enumerate(steps, 1):
        (folder / f"{number:04}-step.sql").write_text(step)
    (folder / "README.md").write_text("no step")
    return folder


def open_notes(tmp_path: Path, *steps: str, path: str | None = None) -> sqlite3.Connection:
    folder = schema(tmp_path / f"schema-{len(steps)}", *(steps or (ONE,)))
    return open_database(path or str(tmp_path / "notes"), folder, application_id=OURS)


def note(connection: sqlite3.Connection, text: str) -> None:
    with transaction(connection) as txn:
        txn.execute("INSERT INTO note (text) VALUES (?)", (text,))


def notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM note ORDER BY rowid")]


class TestOpening:
    """A file that is made or found."""

    def test_kept(self, tmp_path: Path) -> None:
        """What was committed is there when the file is opened again."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one")

        with closing(open_notes(tmp_path)) as connection:
            assert notes(connection) == ["one"]

    def test_settings(self, tmp_path: Path) -> None:
        """Each commit is synced, and references are checked."""
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "auto_vacuum")

        with closing(open_notes(tmp_path)) as connection:
            found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        assert found == ["wal", 2, 1, 2, 2]

    def test_private(self, tmp_path: Path) -> None:
        """Nobody else can read the file or its log, whatever the umask."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "secret")

            modes = [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("notes*")]

        assert modes == [0o600] * 3

    def test_in_memory(self, tmp_path: Path) -> None:
        """A test needs no file."""
        with closing(open_notes(tmp_path, path=MEMORY)) as connection:
            note(connection, "one")

            assert (notes(connection), path_of(connection)) == (["one"], MEMORY)
        assert not list(tmp_path.glob("*memory*"))

    def test_relative_path(self, tmp_path: Path) -> None:
        """A path may be relative to the working directory."""
        with closing(open_notes(tmp_path, path=os.path.relpath(tmp_path / "notes"))) as connection:
            note(connection, "one")

        assert (tmp_path / "notes").exists()

    def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is named, and what to do."""
        with pytest.raises(DatabaseUnavailable, match=r"missing/notes: No such file .* folder exists"):
            open_notes(tmp_path, path=str(tmp_path / "missing" / "notes"))

    def test_a_folder(self, tmp_path: Path) -> None:
        """A folder is no file."""
        with pytest.raises(DatabaseUnavailable, match="Is a directory"):
            open_notes(tmp_path, path=str(tmp_path))

    def test_held_by_another(self, tmp_path: Path) -> None:
        """When another program holds the file for long, that is said."""
        with closing(open_notes(tmp_path)) as connection, closing(open_notes(tmp_path)) as other:
            connection.execute("PRAGMA busy_timeout = 1")
            with transaction(other), pytest.raises(DatabaseUnavailable, match="locked.*no other program"):
                note(connection, "one")


class TestVersions:
    """Files of older and newer programs."""

    def test_steps(self, tmp_path: Path) -> None:
        """The steps are the numbered files, in order, each with the oldest program that can use the result."""
        steps = read_schema(schema(tmp_path / "schema", ONE, TWO, THREE))

        assert [(step.version, step.oldest_compatible) for step in steps] == [(1, 1), (2, 1), (3, 3)]

    def test_upgrade(self, tmp_path: Path) -> None:
        """An older file gets what it lacks, and keeps what it has."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one")

        with closing(open_notes(tmp_path, ONE, TWO, THREE)) as connection:
            rows = connection.execute("SELECT text, place FROM note").fetchall()
            (version,) = connection.execute("PRAGMA user_version").fetchone()

        assert (rows, version) == ([("one", None)], 3)

    def test_backup(self, tmp_path: Path) -> None:
        """Before that a copy is made that the older program can use, private like the file."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one")
        (tmp_path / "notes.v1.partial").write_text("left by a stop")

        open_notes(tmp_path, ONE, TWO, THREE).close()

        with closing(open_notes(tmp_path, path=str(tmp_path / "notes.v1"))) as copy:
            assert notes(copy) == ["one"]
        assert stat.S_IMODE((tmp_path / "notes.v1").stat().st_mode) == 0o600
        assert not (tmp_path / "notes.v1.partial").exists()

    def test_upgrade_in_memory(self, tmp_path: Path) -> None:
        """A database in memory is made at the newest version at once."""
        with closing(open_notes(tmp_path, ONE, TWO, path=MEMORY)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)

    def test_failed_upgrade(self, tmp_path: Path) -> None:
        """An upgrade that fails leaves the file as it was."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one")

        with pytest.raises(DatabaseError, match="no such table"):
            open_notes(tmp_path, ONE, "CREATE TABLE a (x);\nALTER TABLE missing ADD COLUMN x;\n")

        with closing(open_notes(tmp_path)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
            assert (notes(connection), tables) == (["one"], ["note", "schema_version"])

    def test_newer_but_compatible(self, tmp_path: Path) -> None:
        """A newer file that says so can be used, and keeps its version."""
        open_notes(tmp_path, ONE, TWO).close()

        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one")
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)

    def test_newer(self, tmp_path: Path) -> None:
        """A newer file that cannot be used is refused: both versions and the next step are named."""
        open_notes(tmp_path, ONE, TWO, THREE).close()

        with pytest.raises(DatabaseNewer) as refused:
            open_notes(tmp_path)

        assert str(refused.value) == (
            f"{tmp_path}/notes is of version 3, usable by programs of version 3 and later; this program is of "
            "version 1. Install the newer program again, or start with another file."
        )

    def test_foreign(self, tmp_path: Path) -> None:
        """Another program's database is left alone."""
        with closing(sqlite3.connect(tmp_path / "notes")) as connection:
            connection.execute("CREATE TABLE theirs (x)")

        with pytest.raises(DatabaseUnavailable, match="another program's database"):
            open_notes(tmp_path)


class TestDamage:
    """Files that are none of ours any more."""

    @pytest.mark.parametrize("octets", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
    def test_no_database(self, tmp_path: Path, octets: bytes) -> None:
        """What is no database is called broken, and what to do is said."""
        (tmp_path / "notes").write_bytes(octets)

        with pytest.raises(DatabaseBroken, match="put it aside"):
            open_notes(tmp_path)

    def test_cut(self, tmp_path: Path) -> None:
        """So is a file that was cut."""
        open_notes(tmp_path).close()
        os.truncate(tmp_path / "notes", 4096)

        with pytest.raises(DatabaseBroken):
            open_notes(tmp_path)

    def test_while_open(self, tmp_path: Path) -> None:
        """Also when the damage is met later."""
        with closing(open_notes(tmp_path)) as connection:
            note(connection, "one" * 3_000)
            seal(connection)
        with open(tmp_path / "notes", "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(tmp_path / "notes") - 4096))

        with pytest.raises(DatabaseBroken), closing(open_notes(tmp_path)) as connection:
            note(connection, "two")


class TestTransactions:
    """All or nothing."""

    def test_raised(self, tmp_path: Path) -> None:
        """A block that raises leaves nothing, and its error passes unchanged."""
        with closing(open_notes(tmp_path)) as connection:
            with pytest.raises(ZeroDivisionError), transaction(connection) as txn:
                txn.execute("INSERT INTO note VALUES ('one')")
                1 / 0  # noqa: B018 - it raises

            assert notes(connection) == []

    def test_our_mistake(self, tmp_path: Path) -> None:
        """Even a mistake of ours comes as an error of ours."""
        with closing(open_notes(tmp_path)) as connection:
            with (
                pytest.raises(DatabaseError, match="syntax error.*please report"),
                transaction(connection) as t,
            ):
                t.execute("SELEKT")

            note(connection, "one")

    def test_full(self, tmp_path: Path) -> None:
        """A full disk is told as such; nothing of the transaction is stored, and the next may pass."""
        with closing(open_notes(tmp_path)) as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")
            with pytest.raises(DatabaseFull, match=r"notes: database or disk is full; free space"):
                note(connection, "x" * 100_000)

            note(connection, "small")

            assert notes(connection) == ["small"]

    def test_closed(self, tmp_path: Path) -> None:
        """A connection that is closed says so in our words."""
        connection = open_notes(tmp_path)
        connection.close()

        with pytest.raises(DatabaseError, match="closed database"):
            note(connection, "one")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DatabaseFull), (errno.EDQUOT, DatabaseFull), (errno.EACCES, DatabaseUnavailable)],
)
def test_system_errors(number: int, kind: type[DatabaseError]) -> None:
    """So has each of the system's, with the name of the file that it is about."""
    with pytest.raises(DatabaseUnavailable) as raised, translated("/a/path"):
        raise OSError(number, "cause", "/a/path.spare")

    assert type(raised.value) is kind
    assert str(raised.value).startswith("/a/path.spare: cause; ")


def test_what_is_read_only_needs_no_space() -> None:
    """The next step is another there."""
    moved = sqlite3.OperationalError("attempt to write a readonly database")
    moved.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED

    with pytest.raises(DatabaseFull) as raised, translated("/a/path"):
        raise OSError(errno.EROFS, "Read-only file system", "/a/path")

    for error in (raised.value, translate(moved, "/a/path")):
        assert "read-only" in str(error)
        assert "free space" not in str(error)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_FULL", DatabaseFull),
        ("SQLITE_IOERR_WRITE", DatabaseFull),
        ("SQLITE_READONLY_DBMOVED", DatabaseFull),
        ("SQLITE_BUSY_SNAPSHOT", DatabaseUnavailable),
        ("SQLITE_CANTOPEN", DatabaseUnavailable),
        ("SQLITE_CORRUPT_INDEX", DatabaseBroken),
        ("SQLITE_NOTADB", DatabaseBroken),
        ("SQLITE_MISUSE", DatabaseError),
    ],
)
def test_translation(name: str, kind: type[DatabaseError]) -> None:
    """Each of SQLite's errors has one of ours, its finer codes included."""
    error = sqlite3.OperationalError("cause")
    error.sqlite_errorcode = getattr(sqlite3, name)

    translated = translate(error, "/a/path")

    assert type(translated) is kind
    assert str(translated).startswith("/a/path: cause; ")
