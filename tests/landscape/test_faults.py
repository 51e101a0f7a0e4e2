"""
Situations in which Landscape's client loses messages or stops, and what becomes of them here.

The faults are numbered as in docs/compared-with-landscape.md, which also names the tests of those that are not here.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from fieldpost.broker.store.store import Store
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire import cbor
from fieldpost.wire.errors import RemoteProtocolError
from fieldpost.wire.message import check_message
from tests.broker.fakes import ACCOUNT, ModelServer, Rig
from tests.broker.store.stores import (
    add,
    add_values,
    answer,
    batch,
    begin,
    bodies,
    new,
    numbers,
    open_store,
    receipts,
    values,
)

SIZE = len(new("load", 30).body)


def test_l2_killed_between_the_answer_and_its_bookkeeping(tmp_path: Path) -> None:
    """The acknowledgement was lost with us: the next batch is the same, none goes under another's number."""
    path = str(tmp_path / "store")
    store = open_store(path)
    add_values(store, range(10))
    before = begin(store, 5)
    # Killed here: the server has 0 to 4, and we do not know.

    store = open_store(path)
    again = begin(store, 5)
    store.commit_answer(answer(5))

    assert (numbers(again), values(again)) == (numbers(before), values(before))
    assert values(begin(store, 5)) == [5, 6, 7, 8, 9]


def test_l3_the_limit_drops_what_it_says() -> None:
    """60 stored, 10 acknowledged, room for 40: ten are dropped, named in a receipt, and no number shifts."""
    store = open_store(max_octets=40 * SIZE)
    add_values(store, range(10, 40))
    begin(store, 10)
    store.commit_answer(answer(10))
    add_values(store, range(40, 70))

    outgoing = begin(store)

    (receipt,) = receipts(outgoing)
    waiting = [body["value"] for body in bodies(outgoing) if body["type"] == "load"]
    assert receipt["count"] == 10
    assert waiting == list(range(30, 70))
    assert numbers(outgoing) == list(range(10, 51))


def test_l4_identity_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    """Whatever instant a copy of the files is taken at, it holds the old identity or the new one, never none."""
    path = tmp_path / "live" / "store"
    path.parent.mkdir()
    store = open_store(str(path))
    store.set_identity(secure_id=b"first", insecure_id=1)
    connection = store._file._connection
    assert connection
    copies: list[Path] = []

    def snap(_: str) -> None:
        folder = tmp_path / str(len(copies))
        folder.mkdir()
        for file in path.parent.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        copies.append(folder / "store")

    connection.set_trace_callback(snap)
    store.set_identity(secure_id=b"second", insecure_id=2)
    connection.set_trace_callback(None)

    found = {open_store(str(copy), accept=None).state().secure_id for copy in copies}
    assert found <= {b"first", b"second"}
    assert len(copies) >= 3


def test_l5_disk_full_twice(tmp_path: Path) -> None:
    """Refused twice for want of room, the store opens again with all that it had."""
    path = str(tmp_path / "store")
    store = open_store(path)
    store.set_identity(secure_id=b"me", insecure_id=1)
    add_values(store, range(3))
    connection = store._file._connection
    assert connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with capturedLogs():
        for number in (1, 2):
            with pytest.raises(DatabaseFull):
                store.add([batch(number, *(new(value="x" * 400) for _ in range(100)))])
    store.close()

    again = open_store(path)

    assert again.state().secure_id == b"me"
    assert values(begin(again)) == [0, 1, 2]


def test_l9_a_session_opened_before_a_crash(tmp_path: Path) -> None:
    """What a plugin sends under it after the crash is stored; under one that ended it is refused, and the plugin told."""
    path = str(tmp_path / "store")
    session = open_store(path).open_session("plugin-1", None)
    # The broker is killed and starts again: there is nothing of it but the file.
    store = open_store(path)

    (kept,) = store.add([batch(1, new(), session_id=session)])
    store.resynchronize(operation_id=None, scopes=None)
    (late,) = store.add([batch(2, new(), session_id=session)])

    assert (kept.stored, late.stored) == (1, 0)
    assert [refusal.code for refusal in late.refused] == ["obsolete-session"]


@pytest.mark.parametrize(
    "octets",
    [
        cbor.encode(["a", "list"]),
        b"\x81" * 5_000 + b"\x80",
        cbor.encode({"no": "type"}),
        b"\xa1\x80\x01",
        b"\xa1\x64type",
    ],
    ids=["list", "deep", "no type", "key that is a list", "cut"],
)
def test_l13_what_is_no_message_never_gets_in(octets: bytes) -> None:
    """It is refused at the door by name, so that it cannot stop the queue."""
    with pytest.raises(RemoteProtocolError) as refused:
        check_message(cbor.decode(octets))

    assert refused.value.code in ("malformed", "too-large")


def test_l13_a_stray_file_beside_the_store(tmp_path: Path) -> None:
    """A folder `lost+found` and somebody's notes are none of our business."""
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "notes").write_text("remember the milk")

    store = open_store(str(tmp_path / "store"))
    add_values(store, range(3))

    assert values(begin(store)) == [0, 1, 2]


def test_l14_nothing_is_lost_while_approval_is_awaited() -> None:
    """Each exchange registers anew; what plugins stored meanwhile arrives once the operator has approved."""
    server = ModelServer("load", auto_accept=False)
    rig = Rig.build(server, account=ACCOUNT, store=open_store(accept=None)).start()
    add(rig.store, *(new("load", value) for value in range(5)))
    for _ in range(4):
        rig.run()
    assert rig.store.status().held == 5

    server.computer.approved = True
    rig.clock.pump([60.0] * 60)

    assert server.stored("load") == [0, 1, 2, 3, 4]


def steps(store: Store, act: Callable[[], object]) -> int:
    """Of SQLite's machine, in hundreds: what something costs, whatever else the computer does."""
    connection = store._file._connection
    assert connection
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 100)
    act()
    connection.set_progress_handler(None, 0)
    return count


def costs(backlog: int) -> list[int]:
    """Of one message more, the state of it all, and one exchange, when so many wait."""
    store = open_store()
    add_values(store, range(backlog))
    exchange = partial(drain_one, store)
    exchange()
    return [steps(store, act) for act in (partial(add, store, new()), store.status, exchange)]


def drain_one(store: Store) -> None:
    begin(store, 100)
    store.commit_answer(answer())


def test_d6_a_backlog_costs_nothing() -> None:
    """One message more, a look, and an exchange cost the same on top of 300 messages and of 30,000."""
    few, many = costs(300), costs(30_000)

    assert all(large <= 1.1 * small + 2 for small, large in zip(few, many, strict=True)), (few, many)
