"""Stops at every moment: what was answered is there, and nothing is there by halves."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fieldpost.broker.store.records import OperationResult
from fieldpost.broker.store.store import Store
from fieldpost.wire.message import SUCCEEDED
from tests.broker.store.adding import MESSAGES
from tests.broker.store.stores import ACCEPTED, add_values, answer, batch, begin, new, open_store, values

Content = dict[str, list[tuple[Any, ...]]]


def content(path: Path) -> Content:
    """All rows of all tables."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def copy(path: Path, folder: Path) -> Path:
    """The files as they are on the disk at this moment: what a stop would leave."""
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file() and not file.name.endswith("-shm"):
            shutil.copy(file, folder / file.name)
    return folder / path.name


def lived_in(path: str) -> Store:
    """A store in which every method has something to do."""
    store = open_store(path, max_octets=60 * len(new().body))
    store.set_identity(secure_id=b"secure", insecure_id=1)
    add_values(store, range(20))
    begin(store, 5)
    store.commit_answer(answer(None, *({"type": "run", "operation-id": id} for id in range(3)), token=b"t"))
    begin(store, 5)
    return store


STEPS: dict[str, Callable[[Store], object]] = {
    "add": lambda store: store.add([batch(1, *(new(value=value) for value in range(10)))]),
    "add and shed": lambda store: store.add([batch(1, *(new(value=value) for value in range(60)))]),
    "put": lambda store: store.put({"type": "register"}),
    "begin": lambda store: begin(store, 9),
    "acknowledge": lambda store: store.commit_answer(answer(9, {"type": "x"}, token=b"new")),
    "resend": lambda store: store.commit_answer(answer(2)),
    "ancient": lambda store: store.commit_answer(answer(-4)),
    "ahead": lambda store: store.commit_answer(answer(99)),
    "set aside": lambda store: store.set_aside(6, "no"),
    "identity": lambda store: store.set_identity(secure_id=b"other", insecure_id=2),
    "clone": lambda store: store.forget_identity(clone_of="web-1"),
    "types": lambda store: store.accept_types(["x"]),
    "session": lambda store: store.open_session("plugin-1", None),
    "resynchronize": lambda store: store.resynchronize(operation_id=1, scopes=None),
    "start": lambda store: store.start_delivery(0),
    "finish": lambda store: store.finish_delivery(0, OperationResult(status=SUCCEEDED)),
}


@pytest.mark.parametrize("step", STEPS)
def test_stop_inside(tmp_path: Path, step: str) -> None:
    """A stop before any statement of a method leaves the store as it was, or as it is afterwards."""
    path = tmp_path / "live" / "store"
    path.parent.mkdir()
    store = lived_in(str(path))
    copies: list[Path] = []
    before = content(copy(path, tmp_path / "before"))
    connection = store._file._connection
    assert connection

    connection.set_trace_callback(lambda _: copies.append(copy(path, tmp_path / str(len(copies)))))
    STEPS[step](store)
    connection.set_trace_callback(None)

    after = content(copy(path, tmp_path / "after"))
    found = [content(each) for each in copies]
    assert before != after
    assert len(found) >= 3
    assert all(each in (before, after) for each in found)


@pytest.mark.parametrize("step", STEPS)
def test_stop_without_commit(tmp_path: Path, step: str) -> None:
    """A store that a stop left open in the middle of a method goes on as if the method had not begun."""
    path = tmp_path / "store"
    store = lived_in(str(path))
    connection = store._file._connection
    assert connection
    before = content(copy(path, tmp_path / "before"))

    def cut(statement: str) -> None:
        if statement == "COMMIT":
            copy(path, tmp_path / "cut")

    connection.set_trace_callback(cut)
    STEPS[step](store)
    connection.set_trace_callback(None)

    again = open_store(str(tmp_path / "cut" / "store"), accept=None)
    again.close()
    assert content(tmp_path / "cut" / "store") == before


def test_torn_log(tmp_path: Path) -> None:
    """Wherever the log is torn, the store holds the batches up to there, each whole."""
    path = tmp_path / "live" / "store"
    path.parent.mkdir()
    store = open_store(str(path))
    for number in range(1, 21):
        store.add([batch(number, *(new(value=[number, part]) for part in range(10)))])
    model = copy(path, tmp_path / "model")
    length = (tmp_path / "model" / "store-wal").stat().st_size
    chosen = random.Random(1)

    found = set()
    for offset in sorted(chosen.randrange(length) for _ in range(60)):
        torn = copy(model, tmp_path / f"torn-{offset}")
        with open(f"{torn}-wal", "r+b") as log:
            log.truncate(offset)
        again = open_store(str(torn), accept=ACCEPTED)
        last = again.last_batch("run-1")
        assert values(begin(again, 1_000)) == [[n, part] for n in range(1, last + 1) for part in range(10)]
        again.close()
        found.add(last)

    assert len(found) > 10


@pytest.mark.process
@pytest.mark.parametrize("answered", [1, 7, 150])
def test_killed(tmp_path: Path, answered: int) -> None:
    """A broker that is killed while it adds has every batch that it answered, and no batch by halves."""
    path = str(tmp_path / "store")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.broker.store.adding", path],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        said = [int(child.stdout.readline()) for _ in range(answered)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]

    with closing(open_store(path)) as store:
        last = store.last_batch("run-1")
        found = values(begin(store, 1_000_000, 1_000_000_000))
    assert child.returncode == -signal.SIGKILL
    assert last in (said[-1], said[-1] + 1)
    assert found == [[number, part] for number in range(1, last + 1) for part in range(MESSAGES)]


def test_stop_between(tmp_path: Path) -> None:
    """A store that is never closed, only left, has everything that its methods returned from."""
    path = tmp_path / "live" / "store"
    path.parent.mkdir()
    store = open_store(str(path), accept=("load",))
    for number in range(10):
        store.add([batch(number + 1, new(value=number))])
        left = open_store(str(copy(path, tmp_path / str(number))), accept=None)
        assert values(begin(left)) == list(range(number + 1))
        left.close()
