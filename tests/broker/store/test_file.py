"""Bad days: newer files, damaged files, full disks."""

import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from fieldpost.broker.store.records import QueuedMessage
from fieldpost.broker.store.store import Store
from fieldpost.runtime.database import (
    DatabaseBroken,
    DatabaseError,
    DatabaseFull,
    DatabaseNewer,
    DatabaseUnavailable,
)
from tests.broker.store.stores import (
    add,
    add_values,
    answer,
    batch,
    begin,
    bodies,
    ids,
    new,
    open_store,
    receipts,
    values,
)


def limit_pages(store: Store, more: int) -> sqlite3.Connection:
    """Let the file grow by so many pages: the full disk that is always at hand."""
    connection = store._file._connection
    assert connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + more}")
    return connection


@contextmanager
def file_limit(octets: int) -> Iterator[None]:
    """No file may grow beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestFull:
    """A disk without room."""

    def test_add_is_refused(self, tmp_path: Path) -> None:
        """Nothing of a refused batch is stored; the same batch is stored once there is room."""
        store = open_store(str(tmp_path / "store"))
        add_values(store, range(3))
        limit_pages(store, 4)
        large = batch(1, *(new(value="x" * 500) for _ in range(1_000)))

        with pytest.raises(DatabaseFull, match="free space on its disk"):
            store.add([batch(2, new(), instance="run-2"), large])

        assert (store.last_batch("run-1"), store.last_batch("run-2"), store.status().pending) == (0, 0, 3)
        limit_pages(store, 100_000)
        assert store.add([large])[0].stored == 1_000

    def test_deletions_go_on(self, tmp_path: Path) -> None:
        """What is acknowledged is deleted while the disk is full, and that alone makes room again."""
        store = open_store(str(tmp_path / "store"))
        add(store, *(new(value=f"{value:0500}") for value in range(1_000)))
        begin(store)
        limit_pages(store, 0)
        big = batch(1, *(new(value="x" * 500) for _ in range(100)))
        with pytest.raises(DatabaseFull):
            store.add([big])

        for _ in range(5):
            store.commit_answer(answer())
            begin(store)

        assert store.add([big])[0].stored == 100

    def test_kept_makes_room(self, tmp_path: Path) -> None:
        """While new messages are refused, those that are acknowledged go once the server has said so twice."""
        store = open_store(str(tmp_path / "store"))
        add_values(store, range(1_000))
        begin(store, 1_000)
        store.commit_answer(answer(1_000))
        begin(store)
        store.commit_answer(answer(1_000))
        limit_pages(store, 0)
        big = batch(1, new(value="x" * 20_000))
        with pytest.raises(DatabaseFull):
            store.add([big])

        begin(store)
        store.commit_answer(answer())
        # That was no word of the server's on what it has.
        with pytest.raises(DatabaseFull):
            store.add([big])
        begin(store)
        store.commit_answer(answer(1_000))

        assert store.add([big])[0].stored == 1

    def test_reserve_is_used(self, tmp_path: Path) -> None:
        """When even what makes room finds none, the reserve is given up; then nothing new is let in."""
        store = open_store(str(tmp_path / "store"), reserve_octets=50_000)
        connection = limit_pages(store, 0)
        large = {"type": "load", "value": "x" * 50_000}
        with pytest.raises(DatabaseFull):
            store.put(large)
        assert store.status().full
        assert not (tmp_path / "store.reserve").exists()

        connection.execute("PRAGMA max_page_count = 100000")
        store.put(large)
        full = store.status().full
        add(store, new())

        assert (full, store.status().full) == (True, False)
        assert (tmp_path / "store.reserve").stat().st_size == 50_000

    def test_no_reserve_to_give(self, tmp_path: Path) -> None:
        """Without a reserve the error comes at once."""
        store = open_store(str(tmp_path / "store"))
        limit_pages(store, 0)

        with pytest.raises(DatabaseFull):
            store.put({"type": "load", "value": "x" * 50_000})

    def test_no_room_for_the_reserve(self, tmp_path: Path) -> None:
        """A store without room for its reserve opens, says that it is full, and takes nothing new."""
        store = open_store(str(tmp_path / "store"), reserve_octets=2**62)

        with pytest.raises(DatabaseFull, match="nothing new is stored until"):
            add(store, new())

        assert store.status().full
        store.put({"type": "register"})
        assert [body["type"] for body in bodies(begin(store))] == ["register"]

    def test_no_room_for_much(self, tmp_path: Path) -> None:
        """A large batch is refused before it takes the room that is left to others."""
        store = open_store(str(tmp_path / "store"))

        with pytest.raises(DatabaseFull, match="cannot be stored now; free twice as much"):
            store._file.require_room(2**62)

    def test_reserve_from_own_space(self, tmp_path: Path) -> None:
        """When the reserve cannot be had, the store first gives back what it has dropped itself."""
        store = open_store(str(tmp_path / "store"), reserve_octets=50_000_000)
        add(store, *(new(value="x" * 500) for _ in range(1_000)))
        for _ in range(2):
            begin(store, 1_000)
            store.commit_answer(answer())
            add(store, new())
        assert store._file._reserve.release()

        with file_limit(40_000_000), pytest.raises(DatabaseFull, match="reserve: File too large"):
            add(store, new())

        store.close()
        assert (tmp_path / "store").stat().st_size < 200_000
        with closing(open_store(str(tmp_path / "store"))) as store:
            assert len(begin(store).messages) == 1

    @pytest.mark.parametrize("reserve_octets", [0, 50_000])
    def test_no_room_to_open(self, tmp_path: Path, reserve_octets: int) -> None:
        """A store that cannot even be opened says why, after giving its reserve for it."""
        path = str(tmp_path / "store")
        open_store(path, reserve_octets=reserve_octets).close()

        with file_limit(100), pytest.raises(DatabaseFull, match="free space"):
            open_store(path, reserve_octets=reserve_octets)

        assert not (tmp_path / "store.reserve").exists()
        open_store(path, reserve_octets=reserve_octets).close()

    def test_log_begins_anew(self, tmp_path: Path) -> None:
        """Where the log itself has taken the room that there was, it gives it back: nothing is refused for ever."""
        with file_limit(1_000_000), closing(open_store(str(tmp_path / "store"))) as store:
            for number in range(1, 61):
                store.add([batch(number, *(new(value="x" * 1_000) for _ in range(50)))])
                begin(store, 50)
                store.commit_answer(answer())

            assert store.last_batch("run-1") == 60

    def test_log_cannot_be_emptied(self, tmp_path: Path) -> None:
        """A reader in the way of the log is no reason to fail."""
        store = open_store(str(tmp_path / "store"), reserve_octets=50_000)
        with closing(sqlite3.connect(tmp_path / "store")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM state").fetchone()
            connection = limit_pages(store, 0)
            connection.execute("PRAGMA busy_timeout = 1")
            with pytest.raises(DatabaseFull, match="disk is full"):
                store.put({"type": "load", "value": "x" * 50_000})

    def test_space_is_given_back(self, tmp_path: Path) -> None:
        """When a backlog is gone, the disk gets its space back."""
        path = tmp_path / "store"
        store = open_store(str(path))
        add(store, *(new(value="x" * 1_000) for _ in range(20_000)))
        before = os.path.getsize(path) + os.path.getsize(f"{path}-wal")
        begin(store, 20_000, 100_000_000)
        store.commit_answer(answer())

        add(store, new())
        begin(store)
        store.commit_answer(answer())
        store.shed_old()
        store.close()

        assert before > 20_000_000
        assert os.path.getsize(path) < 6_000_000


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 24 MiB, or as many as the test says."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', 24)}m", "none", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a disk of its own")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.process
class TestRealDisk:
    """A disk that is really full."""

    def fill(self, disk: Path) -> None:
        """Somebody else takes all that is left."""
        with open(disk / "other", "ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))

    def test_recovers_alone(self, small_disk: Path) -> None:
        """Filled by the backlog itself, the store takes again what was refused, once the backlog is sent."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8_000_000)) as store:
            number = 0
            with pytest.raises(DatabaseFull):
                while True:
                    number += 1
                    store.add([batch(number, *(new(value=f"{number:0400}") for _ in range(200)))])

            sent: list[QueuedMessage] = []
            while messages := begin(store, 500).messages:
                sent += messages
                store.commit_answer(answer())

            assert len(sent) == 200 * (number - 1) == 200 * store.last_batch("run-1")
            assert store.add([batch(number, new())])[0].stored == 1

    @pytest.mark.parametrize("small_disk", [10, 16, 28], indirect=True)
    def test_little_beside_the_reserve(self, small_disk: Path) -> None:
        """With little room beside the reserve the store fills, is sent, and fills again, as often as may be."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8 * 1024 * 1024)) as store:
            number = added = sent = 0
            for messages in (5, 5, 170, 170, 340, 5):
                before = number
                with suppress(DatabaseFull):
                    while True:
                        fill = (new(value="x" * 3_000) for _ in range(messages))
                        store.add([batch(number + 1, *fill)])
                        number += 1
                        added += messages
                assert number > before
                # The last exchange has no messages; its answer lets go of what the one before it has kept.
                while outgoing := begin(store, 1_000, 8_000_000).messages:
                    sent += len(outgoing)
                    store.commit_answer(answer())
                store.commit_answer(answer(sent))

            assert store.last_batch("run-1") == number
            assert sent == added

    def test_filled_by_others(self, small_disk: Path) -> None:
        """Filled by somebody else, it refuses what is new, sends what it has, and goes on when there is room."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8_000_000)) as store:
            add(store, *(new(value=f"{value:0400}") for value in range(5_000)))
            self.fill(small_disk)
            refused = 0
            for number in range(200):
                try:
                    store.add([batch(number + 1, *(new(value="x" * 400) for _ in range(100)))])
                except DatabaseFull:
                    refused += 1

            sent = 0
            while messages := begin(store, 100).messages:
                sent += len(messages)
                store.commit_answer(answer())
            (small_disk / "other").unlink()

            assert refused > 0
            assert sent == 5_000 + (200 - refused) * 100
            add(store, new(value=7))
            assert values(begin(store)) == [7]
            assert not store.status().full

    def test_file_grows_for_the_log(self, small_disk: Path) -> None:
        """The log has no room to be emptied into, on a disk that others filled: the reserve is lent, and whole again."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8 * 1024 * 1024)) as store:
            for _ in range(50):
                add(store, *(new(value="x" * 1_000) for _ in range(5)))
            self.fill(small_disk)

            for _ in range(5):
                add(store, new(value="x" * 100_000))

            assert not store.status().full

    def test_unused_pages_are_room(self, small_disk: Path) -> None:
        """A large batch needs room for the log only, where the file has pages that it does not use."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8 * 1024 * 1024)) as store:
            for _ in range(6):
                add(store, new(value="x" * 600_000))
            for _ in range(2):
                begin(store, 1_000, 8_000_000)
                store.commit_answer(answer())
                add(store, new())
            self.fill(small_disk)

            add(store, *(new(value="x" * 1_000_000) for _ in range(4)))

    def test_large_batch(self, small_disk: Path) -> None:
        """A batch that would fit once but not twice is refused, and what is there can still be sent."""
        with closing(open_store(str(small_disk / "store"), reserve_octets=8_000_000)) as store:
            add_values(store, range(3))

            with pytest.raises(DatabaseFull, match="cannot be stored now"):
                store.add([batch(1, new(value="x" * 9_000_000))])

            assert values(begin(store)) == [0, 1, 2]
            assert not store.status().full

    def test_opens(self, small_disk: Path) -> None:
        """A store opens on a full disk: it gives up its reserve for that."""
        path = str(small_disk / "store")
        store = open_store(path, reserve_octets=8_000_000)
        add_values(store, range(3))
        store.close()
        self.fill(small_disk)

        with closing(open_store(path, reserve_octets=8_000_000)) as store:
            assert values(begin(store)) == [0, 1, 2]

    def test_opens_without_reserve(self, small_disk: Path) -> None:
        """Without one it cannot, and says why."""
        self.fill(small_disk)

        with pytest.raises(DatabaseFull, match="free space"):
            open_store(str(small_disk / "store"))

    def test_damaged_too(self, small_disk: Path) -> None:
        """Damaged on a full disk: it cannot be replaced now, but is, by itself, when there is room."""
        path = str(small_disk / "store")
        store = open_store(path)
        add_values(store, range(200))
        damage_outbox(store, path)
        self.fill(small_disk)
        for _ in range(2):
            with pytest.raises(DatabaseFull):
                begin(store, 3_000, 10_000_000)

        (small_disk / "other").unlink()
        outgoing = begin(store, 3_000, 10_000_000)
        store.close()

        assert receipts(outgoing)[0]["reason"] == "corrupt"


class TestRefusedFiles:
    """Files that are not for us."""

    def test_newer(self, tmp_path: Path) -> None:
        """A newer store is refused, with both versions and the next step, and left as it is."""
        path = tmp_path / "store"
        open_store(str(path)).close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE schema_version SET oldest_compatible = 7")
            connection.execute("PRAGMA user_version = 9")

        with pytest.raises(DatabaseNewer, match=r"version 9.*version 7 and later.*version 2\. Install"):
            open_store(str(path))

        assert [file.name for file in tmp_path.iterdir()] == ["store"]

    def test_foreign(self, tmp_path: Path) -> None:
        """Another program's database is not put aside: it is not damaged."""
        with closing(sqlite3.connect(tmp_path / "store")) as connection:
            connection.execute("CREATE TABLE theirs (x)")

        with pytest.raises(DatabaseUnavailable, match="another program's"):
            open_store(str(tmp_path / "store"))

        assert not list(tmp_path.glob("*corrupt*"))

    def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is named."""
        with pytest.raises(DatabaseUnavailable, match="missing"):
            open_store(str(tmp_path / "missing" / "store"))


def checkpointed(store: Store) -> None:
    connection = store._file._connection
    assert connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def pages_of(store: Store, table: str) -> list[int]:
    """The pages of a table, its root first."""
    connection = store._file._connection
    assert connection
    return [
        page
        for (page,) in connection.execute("SELECT pageno FROM dbstat WHERE name = ? ORDER BY path", (table,))
    ]


def spoil(path: str, page: int) -> None:
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def damage_outbox(store: Store, path: str) -> None:
    """Spoil a page in the middle of the outbox's messages, under the feet of the open store."""
    add(store, *(new(value="x" * 700) for _ in range(2_000)))
    checkpointed(store)
    spoil(path, pages_of(store, "outbox")[5])
    connection = store._file._connection
    assert connection
    connection.execute("PRAGMA shrink_memory")
    connection.execute("PRAGMA cache_size = 0")


class TestDamage:
    """Files that cannot be read any more."""

    def test_no_database(self, tmp_path: Path) -> None:
        """A file that is none is put aside; a fresh store goes on, says so, and tells the server."""
        path = tmp_path / "store"
        path.write_bytes(b"garbage" * 1_000)

        store = open_store(str(path))

        (receipt,) = receipts(begin(store))
        assert (receipt["reason"], receipt["message-type"], receipt["count"]) == ("corrupt", "unknown", 0)
        assert store.status().quarantined == (f"{path}.corrupt-1",)
        assert Path(f"{path}.corrupt-1").read_bytes() == b"garbage" * 1_000

    def test_found_while_running(self, tmp_path: Path) -> None:
        """Damage that is met later does not stop the store: what can be read goes on in a new file."""
        path = str(tmp_path / "store")
        store = open_store(path)
        store.set_identity(secure_id=b"secure", insecure_id=3)
        damage_outbox(store, path)

        outgoing = begin(store, 3_000, 10_000_000)

        (receipt,) = receipts(outgoing)
        found = len(outgoing.messages) - 1
        assert receipt["reason"] == "corrupt"
        assert 1_980 <= found < 2_000
        assert found + receipt["count"] == 2_000
        assert store.state().secure_id == b"secure"
        assert len(store.status().quarantined) == 1

    def test_found_while_adding(self, tmp_path: Path) -> None:
        """A batch that meets the damage is stored all the same, once."""
        path = str(tmp_path / "store")
        store = open_store(path)
        damage_outbox(store, path)
        with open(path, "r+b") as file:
            file.truncate(40 * 4096)

        (stored,) = store.add([batch(1, new(value=7))])

        assert (stored.stored, store.add([batch(1, new())])) == (1, [stored])
        assert 7 in values(begin(store, 3_000, 10_000_000))

    def test_state_is_gone(self, tmp_path: Path) -> None:
        """A file without its most important row is damaged, too."""
        path = tmp_path / "store"
        store = open_store(str(path))
        store.close()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE state SET api = 'soon'")

        store = open_store(str(path), new_id=ids("later"))

        assert (store.state().registration_id, str(store.state().api)) == ("id-1", "3.2")
        assert len(store.status().quarantined) == 1

    def test_stopped_while_swapping(self, tmp_path: Path) -> None:
        """A stop between salvaging and the last rename loses nothing."""
        path = tmp_path / "store"
        store = open_store(str(path))
        add_values(store, range(3))
        store.close()
        path.rename(f"{path}.salvaged")

        assert values(begin(open_store(str(path)))) == [0, 1, 2]

    def test_twice_in_a_row(self, tmp_path: Path) -> None:
        """When the new file is damaged at once, the error comes out instead of turning in circles."""
        path = str(tmp_path / "store")
        store = open_store(path)

        def broken(txn: sqlite3.Connection) -> None:
            raise DatabaseBroken("for ever")

        with pytest.raises(DatabaseBroken, match="for ever"):
            store._file.run(broken)

        add(store, new(value=1))
        assert values(begin(store))[1:] == [1]


def test_closed(tmp_path: Path) -> None:
    """A store may be closed twice."""
    store = open_store(str(tmp_path / "store"))

    store.close()
    store.close()

    assert not list(tmp_path.glob("*-wal"))
    with pytest.raises(DatabaseError):
        raise DatabaseError
