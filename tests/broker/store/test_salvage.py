"""What is saved of a damaged store, and that the new one holds together."""

import os
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fieldpost.broker.store.records import OperationResult
from fieldpost.broker.store.store import Store
from fieldpost.runtime.database import DatabaseUnavailable
from fieldpost.wire.message import SUCCEEDED
from fieldpost.wire.sequence import Verdict
from tests.broker.store.stores import (
    START,
    add,
    add_values,
    answer,
    batch,
    begin,
    bodies,
    drain,
    ids,
    new,
    numbers,
    open_store,
    receipts,
    values,
)

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store in the middle of its life: kept, unacknowledged, waiting and held messages, and all else."""
    path = tmp_path / "store"
    store = open_store(str(path), accept=("load", "receipt", "operation-result"))
    store.set_identity(secure_id=b"secure", insecure_id=3)
    store.open_session("plugin-1", "disk")
    store.add([batch(5, *(new(value=value, timestamp=START + value) for value in range(10)))])
    for expected in (2, 4):
        begin(store, 2)
        store.commit_answer(answer(expected, {"type": "x"}, {"type": "run", "operation-id": 70 + expected}))
    begin(store, 3)
    store.finish_delivery(1, OperationResult(status=SUCCEEDED))
    add(store, new("disk", 100))
    begin(store, 1)
    store.close()
    return path


def damage(path: Path, *statements: str) -> None:
    """Change what is in the file, then make it unreadable where the state is, so that it is replaced."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("UPDATE state SET accepted_types = 'nothing to read'")


def reopen(path: Path) -> Store:
    store = open_store(str(path), new_id=ids("later"), accept=("load", "receipt", "operation-result"))
    assert len(store.status().quarantined) == 1
    return store


def sent(store: Store) -> list[object]:
    """What all messages say that the store has for the server."""
    return [body.get("value", body["type"]) for body in drain(store)]


class TestWhole:
    """A store of which only the state was damaged, and that only in part."""

    def test_messages(self, path: Path) -> None:
        """Messages keep their order and their numbers; a receipt says that there was damage."""
        damage(path)

        store = reopen(path)

        outgoing = begin(store)
        assert outgoing.sequence == 4
        assert numbers(outgoing)[:3] == [4, 5, 6]
        assert values(outgoing)[:3] == [4, 5, 6]
        assert [body["reason"] for body in receipts(outgoing)] == ["corrupt"]
        assert values(outgoing)[4:] == [7, 8, 9, None]
        assert store.status().held == 1

    def test_kept_generation(self, path: Path) -> None:
        """The server can still ask for what it acknowledged last."""
        damage(path)
        store = reopen(path)
        begin(store)

        assert store.commit_answer(answer(2)).verdict is Verdict.RESEND
        assert values(begin(store))[:2] == [2, 3]

    def test_identity(self, path: Path) -> None:
        """The computer stays who it is."""
        damage(path)

        state = reopen(path).state()

        assert (state.secure_id, state.insecure_id, state.registration_id) == (b"secure", 3, "id-1")
        assert (state.server_sequence, state.server_uuid) == (4, "server-1")

    def test_the_rest(self, path: Path) -> None:
        """Sessions, batches that were taken, and the server's messages are there."""
        damage(path)

        store = reopen(path)

        assert store.open_session("plugin-1", "disk") == "id-2"
        assert store.add([batch(5, new())])[0].stored == 10
        assert [incoming.number for incoming in store.next_incoming(9)] == [0, 2, 3]


class TestParts:
    """Stores that have lost one thing or another."""

    def test_unacknowledged(self, path: Path) -> None:
        """A message that is lost leaves its number to a receipt: numbers mean what they meant."""
        damage(path, "DELETE FROM outbox WHERE number = 5")

        outgoing = begin(reopen(path))

        assert (numbers(outgoing)[:3], values(outgoing)[:3]) == ([4, 5, 6], [4, None, 6])
        assert [(r["message-type"], r["count"]) for r in receipts(outgoing)] == [
            ("unknown", 1),
            ("unknown", 0),
        ]

    def test_waiting(self, path: Path) -> None:
        """Messages that are lost before they had a number are counted by type."""
        damage(path, "DELETE FROM outbox WHERE number IS NULL AND id > 8")

        outgoing = begin(reopen(path))

        found = [(receipt["message-type"], receipt["count"]) for receipt in receipts(outgoing)]
        assert sorted(found) == [("disk", 1), ("load", 2), ("operation-result", 1)]
        assert values(outgoing)[-1] == 7

    def test_kept(self, path: Path) -> None:
        """A kept generation with a hole is given up: the server would get the wrong messages."""
        damage(path, "DELETE FROM outbox WHERE number = 3")
        store = reopen(path)
        begin(store)

        assert store.commit_answer(answer(2)).verdict is Verdict.ANCIENT

    def test_lanes(self, path: Path) -> None:
        """Messages know their type without their lane."""
        damage(path, "DELETE FROM lane")

        store = reopen(path)

        assert sent(store) == [4, 5, 6, "receipt", 7, 8, 9, "operation-result"]
        assert [lane.type for lane in store.status().lanes] == ["disk"]

    def test_lanes_and_bodies(self, path: Path) -> None:
        """Those that do not know it are lost."""
        damage(path, "DELETE FROM lane", "UPDATE outbox SET body = x'ff' WHERE lane <> 1")

        assert sent(reopen(path)) == [4, 5, 6, "receipt", 7, 8, 9]

    def test_state(self, path: Path) -> None:
        """Without its state the store is a new one, with the old one's messages."""
        damage(path, "DELETE FROM state")

        store = reopen(path)

        state = store.state()
        assert (state.secure_id, state.registration_id, state.sequence) == (None, "later-1", 0)
        assert state.server_sequence == 4
        assert values(begin(store)) == [None, *range(2, 10), None]
        store.commit_answer(answer(None, {"type": "y"}))
        assert store.next_incoming(9)[-1].number == 4

    def test_numbers(self, path: Path) -> None:
        """Numbers that cannot be are not believed."""
        damage(path, "UPDATE state SET next_number = 1000000000")

        outgoing = begin(reopen(path))

        assert numbers(outgoing) == list(range(4, 4 + len(outgoing.messages)))
        assert values(outgoing) == [None, *range(2, 10), None]

    def test_columns(self, path: Path) -> None:
        """A table of another shape gives what it has."""
        damage(
            path,
            "DROP INDEX session_plugin",
            "ALTER TABLE session DROP COLUMN scope",
            "DROP TABLE feed_answer",
        )

        store = reopen(path)

        assert store.last_batch("run-1") == 5
        assert store.open_session("plugin-1", None) == "id-2"

    def test_wrong_values(self, path: Path) -> None:
        """A row whose values its columns do not allow is damage, too."""
        damage(
            path,
            "ALTER TABLE session RENAME TO old",
            "CREATE TABLE session (id INTEGER PRIMARY KEY, plugin, scope, session_id)",
            "INSERT INTO session VALUES (1, 'a', NULL, x'00'), (2, 'a', NULL, 'good')",
        )

        assert reopen(path).open_session("a", None) == "good"

    def test_text(self, path: Path) -> None:
        """Text that is none does not stop the rest."""
        damage(path, "UPDATE session SET plugin = CAST(x'ff' AS TEXT)")

        assert reopen(path).state().secure_id == b"secure"


def large_store(path: Path, count: int = 3_000) -> Store:
    store = open_store(str(path))
    store.set_identity(secure_id=b"secure", insecure_id=3)
    add(store, *(new(value=f"{value:0300}") for value in range(count)))
    return store


def leaves_of(path: Path, table: str) -> list[tuple[int, int]]:
    """The pages that hold a table's rows, in order, and how many rows each holds."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        )
        return [(page, count) for page, count in rows]


def spoil(path: Path, page: int) -> None:
    with open(path, "r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)


def replaced(path: Path) -> Store:
    """The store after all of it was read, so that damage anywhere is met."""
    store = open_store(str(path), new_id=ids("later"))
    outgoing = begin(store, 10_000, 100_000_000)
    store.commit_answer(answer(outgoing.sequence))
    return store


class TestPages:
    """Damage where disks make it: in whole pages."""

    @pytest.mark.parametrize(
        "which",
        [[0], [3], [-1], range(50, 60), range(-21, -1), [7, 9, 30, 31]],
        ids=("first", "one", "last", "row", "end", "some"),
    )
    def test_messages(self, tmp_path: Path, which: Sequence[int]) -> None:
        """Spoiled pages cost the messages on them, and no others; all are accounted for."""
        path = tmp_path / "store"
        large_store(path).close()
        leaves = leaves_of(path, "outbox")
        for leaf in which:
            spoil(path, leaves[leaf][0])

        store = replaced(path)

        outgoing = begin(store, 10_000, 100_000_000)
        kept = [value for value in values(outgoing) if value]
        lost = sum(leaves[leaf][1] for leaf in which)
        assert kept == sorted(kept)
        assert len(kept) == 3_000 - lost
        assert sum(receipt["count"] for receipt in receipts(outgoing)) == lost

    def test_cut(self, tmp_path: Path) -> None:
        """A file that was cut in the middle still has its first half."""
        path = tmp_path / "store"
        large_store(path).close()
        os.truncate(path, os.path.getsize(path) // 2 // PAGE * PAGE)

        store = replaced(path)

        assert store.state().secure_id == b"secure"
        assert 1_000 < store.status().pending < 2_000

    @pytest.mark.parametrize("octets", [b"\0", b"\xff"])
    def test_first_page(self, tmp_path: Path, octets: bytes) -> None:
        """Even without its first page a store keeps its identity and its messages."""
        path = tmp_path / "store"
        large_store(path, 300).close()
        before = Path(path).read_bytes()[PAGE:]
        with open(path, "r+b") as file:
            file.write(octets * PAGE)

        store = replaced(path)

        assert store.state().secure_id == b"secure"
        assert len([value for value in values(begin(store, 400)) if value]) == 300
        assert Path(f"{path}.corrupt-1").read_bytes()[PAGE:] == before
        assert not list(tmp_path.glob("*.spare*"))

    def test_first_page_and_log(self, tmp_path: Path) -> None:
        """What was only in the log is saved, too."""
        path, copy = tmp_path / "store", tmp_path / "copy"
        store = large_store(path, 300)
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
        store.close()
        with open(copy, "r+b") as file:
            file.write(b"\xff" * PAGE)

        store = replaced(copy)

        assert len([value for value in values(begin(store, 400)) if value]) == 300

    def test_nothing_left(self, tmp_path: Path) -> None:
        """Noise from end to end gives a fresh store, not an error."""
        path = tmp_path / "store"
        path.write_bytes(random.Random(1).randbytes(50 * PAGE))

        store = replaced(path)

        assert store.state().registration_id == "later-1"
        add_values(store, range(3))
        assert values(begin(store))[1:] == [0, 1, 2]

    def test_every_page(self, tmp_path: Path) -> None:
        """Whichever page is spoiled, the store opens, takes, sends, and says what happened."""
        model = tmp_path / "model"
        large_store(model, 40).close()
        octets = model.read_bytes()

        for page in range(1, len(octets) // PAGE + 1):
            path = tmp_path / f"store-{page}"
            path.write_bytes(octets)
            spoil(path, page)
            store = replaced(path)
            add(store, new(value="new"))
            assert "new" in values(begin(store, 1_000))
            store.close()


def test_no_room_for_the_copy(tmp_path: Path) -> None:
    """When the copy that is needed cannot be made, the cause is said and nothing is touched."""
    path = tmp_path / "store"
    large_store(path, 300).close()
    spoil(path, 1)
    (tmp_path / "store.spare").mkdir()
    before = path.read_bytes()

    with pytest.raises(DatabaseUnavailable, match=r"store\.spare: Is a directory"):
        open_store(str(path))

    assert path.read_bytes() == before


def test_bodies_are_whole(path: Path) -> None:
    """What is saved is what was queued."""
    damage(path)

    found = bodies(begin(reopen(path)))

    assert found[0] == {"type": "load", "value": 4}
    assert found[-1] == {"type": "operation-result", "operation-id": 72, "status": 6}
