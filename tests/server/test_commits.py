"""Work that waits for the disk goes together, and what fails takes nothing else with it."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.runtime.database import DatabaseBroken, DatabaseFull, translate
from fieldpost.server.commits import MOST_TOGETHER, Commits
from fieldpost.server.composition import open_server_database
from fieldpost.server.errors import Stopping
from tests.fakes import InlineWriter
from tests.server.wired import HeldWriter

PADDING = "x" * 50_000


@pytest.fixture
def connection() -> sqlite3.Connection:
    found = open_server_database(":memory:")
    found.execute("CREATE TABLE note (text TEXT)")
    return found


def note(text: str) -> Callable[[sqlite3.Connection], str]:
    def work(txn: sqlite3.Connection) -> str:
        txn.execute("INSERT INTO note VALUES (?)", (text,))
        return text

    return work


def fault(txn: sqlite3.Connection) -> None:
    txn.execute("INSERT INTO note VALUES ('half')")
    raise ValueError("a fault")


def notes(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT text FROM note")]


def result(done: "Deferred[Any]") -> Any:
    found: list[Any] = []
    done.addBoth(found.append)
    assert found, "the work has not been run"
    return found[0].value if isinstance(found[0], Failure) else found[0]


def test_alone(connection: sqlite3.Connection) -> None:
    """Work that waits for nothing is run at once."""
    commits = Commits(connection=connection, writer=InlineWriter())

    assert [result(commits.run(note(text))) for text in "ab"] == ["a", "b"]
    assert notes(connection) == ["a", "b"]


def test_together(connection: sqlite3.Connection) -> None:
    """What comes while one transaction runs goes into the next one, in order."""
    writer = HeldWriter()
    commits = Commits(connection=connection, writer=writer)
    first, second, third = (commits.run(note(text)) for text in "abc")

    assert len(writer.held) == 1
    writer.release()
    assert result(first) == "a"
    assert notes(connection) == ["a"]
    assert len(writer.held) == 1
    writer.release()

    assert [result(second), result(third)] == ["b", "c"]
    assert writer.held == []


def test_only_so_many_together(connection: sqlite3.Connection) -> None:
    """A transaction does not grow without end."""
    writer = HeldWriter()
    commits = Commits(connection=connection, writer=writer)
    for number in range(MOST_TOGETHER + 2):
        commits.run(note(str(number)))

    writer.release()
    writer.release()

    assert len(notes(connection)) == MOST_TOGETHER + 1
    assert len(writer.held) == 1


def test_one_that_fails(connection: sqlite3.Connection) -> None:
    """Work that raises leaves no trace, and its neighbours' is stored."""
    writer = HeldWriter()
    commits = Commits(connection=connection, writer=writer)
    commits.run(note("before"))
    writer.release()
    commits.run(note("first"))
    works: list[Callable[[sqlite3.Connection], Any]] = [note("a"), fault, note("b")]
    outcomes = [commits.run(work) for work in works]
    writer.release()
    writer.release()

    assert result(outcomes[0]) == "a"
    assert isinstance(result(outcomes[1]), ValueError)
    assert result(outcomes[2]) == "b"
    assert notes(connection) == ["before", "first", "a", "b"]


def test_full_disk(connection: sqlite3.Connection) -> None:
    """When the disk takes no more, all that went together fails, nothing of it is stored, and it recovers alone."""
    writer = HeldWriter()
    commits = Commits(connection=connection, writer=writer)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    commits.run(note("small"))
    outcomes = [commits.run(note("a")), commits.run(note(PADDING)), commits.run(note("b"))]

    writer.release()
    writer.release()

    assert [DatabaseFull] * 3 == [type(result(outcome)) for outcome in outcomes]
    assert isinstance(commits.trouble, DatabaseFull)
    assert notes(connection) == ["small"]
    connection.execute("PRAGMA max_page_count = 1000000")
    again = commits.run(note(PADDING))
    writer.release()
    assert result(again) == PADDING
    assert commits.trouble is None


def test_writer_that_fails(connection: sqlite3.Connection) -> None:
    """What is wrong with the database, or with us, comes to everyone who waits for it."""

    class FailingWriter(InlineWriter):
        def run(self, function: Any, /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
            done: Deferred[Any] = Deferred()
            done.errback(errors.pop(0))
            return done

    broken = translate(sqlite3.DatabaseError("image is malformed"), "file")
    errors: list[Exception] = [DatabaseBroken("broken"), broken, RuntimeError("no thread")]
    commits = Commits(connection=connection, writer=FailingWriter())

    outcomes = [result(commits.run(note("a"))) for _ in range(3)]

    assert isinstance(outcomes[0], DatabaseBroken)
    assert broken is outcomes[1]
    assert isinstance(outcomes[2], RuntimeError)
    assert broken is commits.trouble


def test_stop(connection: sqlite3.Connection) -> None:
    """What was given is committed before the door closes; what comes later is refused."""
    writer = HeldWriter()
    commits = Commits(connection=connection, writer=writer)
    given = commits.run(note("a"))

    stopped = commits.stop()
    late = commits.run(note("late"))

    assert not stopped.called
    assert isinstance(result(late), Stopping)
    writer.release()
    assert stopped.called
    assert result(given) == "a"


def test_stop_when_idle(connection: sqlite3.Connection) -> None:
    """A door with nobody waiting closes at once."""
    assert Commits(connection=connection, writer=HeldWriter()).stop().called


def test_work_given_by_work_done(connection: sqlite3.Connection) -> None:
    """Whoever gets an answer may give the next work at once."""
    commits = Commits(connection=connection, writer=InlineWriter())
    chained = commits.run(note("a"))
    chained.addCallback(lambda _: commits.run(note("b")))

    assert result(chained) == "b"
    assert notes(connection) == ["a", "b"]


def test_what_was_committed_is_seen(connection: sqlite3.Connection) -> None:
    """Who watches sees the database after each transaction that wrote something, and after no other."""
    writer = HeldWriter()
    seen: list[list[str]] = []
    commits = Commits(connection=connection, writer=writer)
    commits.watch(notes, seen.append)

    done: list[Deferred[Any]] = [commits.run(note("one")), commits.run(notes)]
    assert seen == []
    writer.release()
    assert seen == [["one"]]
    writer.release()

    assert seen == [["one"]]
    assert [result(item) for item in done] == ["one", ["one"]]


def test_watching_disturbs_nobody(connection: sqlite3.Connection) -> None:
    """A fault in looking or telling fails no work, and is logged."""
    commits = Commits(connection=connection, writer=InlineWriter())
    commits.watch(lambda txn: txn.execute("SELECT * FROM nowhere"), lambda found: None)
    commits.watch(notes, lambda found: fault(connection))

    with capturedLogs() as events:
        assert result(commits.run(note("one"))) == "one"

    assert len([event for event in events if "not noticed" in event["log_format"]]) == 2
