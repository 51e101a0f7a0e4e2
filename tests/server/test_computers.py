"""Rows of computers go in and come out whole; their status follows the operator's word."""

from itertools import product
from pathlib import Path
from sqlite3 import Connection

import pytest
from attrs import evolve

import fieldpost.server
from fieldpost.runtime.database import open_database
from fieldpost.server.composition import APPLICATION_ID, open_server_database
from fieldpost.server.computers import (
    APPROVE,
    REJECT,
    STATUS_AFTER,
    Computer,
    Status,
    add_computer_txn,
    count_pending_txn,
    find_by_secure_id_txn,
    find_computer_txn,
    find_lookalike_txn,
    find_registered_txn,
    list_computers_txn,
    save_computer_txn,
    save_exchange_txn,
)


@pytest.fixture
def txn() -> Connection:
    return open_server_database(":memory:")


def a_computer(number: int = 1, **fields: object) -> Computer:
    values: dict[str, object] = {
        "id": 0,
        "secure_id": b"s%d" % number,
        "account": "a",
        "registration_id": f"r{number}",
        "title": "title",
        "hostname": "host",
        "status": Status.PENDING,
        "created": 1.5,
    }
    return Computer(**(values | fields))  # type: ignore[arg-type]


def test_every_word_has_an_effect_in_every_status() -> None:
    """No status is a dead end for the operator."""
    assert set(product(Status, (APPROVE, REJECT))) == set(STATUS_AFTER)
    assert {Status.APPROVED} == {after for (_, word), after in STATUS_AFTER.items() if word == APPROVE}
    assert {Status.REJECTED} == {after for (_, word), after in STATUS_AFTER.items() if word == REJECT}


def test_found_as_added(txn: Connection) -> None:
    """All three names of a computer lead to the same row."""
    added = add_computer_txn(txn, a_computer(token=b"t", client_types=b"\x80", clone_of=None))

    assert added == find_computer_txn(txn, added.id)
    assert added == find_by_secure_id_txn(txn, b"s1")
    assert added == find_registered_txn(txn, "a", "r1")


def test_not_found(txn: Connection) -> None:
    """What is not there is None."""
    assert find_computer_txn(txn, 1) is None
    assert find_by_secure_id_txn(txn, b"s1") is None
    assert find_registered_txn(txn, "a", "r1") is None


def test_saved(txn: Connection) -> None:
    """A saved row has every new value."""
    added = add_computer_txn(txn, a_computer())
    changed = evolve(added, status=Status.REJECTED, title="other", expected=7, tags="x")

    save_computer_txn(txn, changed)

    assert changed == find_computer_txn(txn, added.id)


def test_exchange_saves_what_it_moves(txn: Connection) -> None:
    """An exchange never writes back a title or a status that somebody else changed meanwhile."""
    added = add_computer_txn(txn, a_computer())
    moved = evolve(added, expected=3, next_number=4, doubted=5, token=b"t", previous_token=b"p")
    moved = evolve(moved, client_types=b"c", client_types_hash=b"h", last_exchange=9.0)

    save_exchange_txn(txn, evolve(moved, title="other", status=Status.APPROVED))

    assert moved == find_computer_txn(txn, added.id)


def test_pending_are_counted_per_account(txn: Connection) -> None:
    """The limit on waiting computers is each account's own."""
    for number, account in enumerate(("a", "a", "b")):
        add_computer_txn(txn, a_computer(number, account=account))
    add_computer_txn(txn, a_computer(9, status=Status.APPROVED))

    assert count_pending_txn(txn, "a") == 2


def test_list(txn: Connection) -> None:
    """Listing goes by number, in pages, and filters by status and account."""
    for number in range(1, 5):
        status = Status.APPROVED if number % 2 else Status.PENDING
        add_computer_txn(txn, a_computer(number, status=status, account="ab"[number > 2]))

    def ids(**query: object) -> list[int]:
        return [c.id for c in list_computers_txn(txn, **({"after": 0, "limit": 9} | query))]  # type: ignore[arg-type]

    assert ids() == [1, 2, 3, 4]
    assert ids(after=1, limit=2) == [2, 3]
    assert ids(status="approved") == [1, 3]
    assert ids(account="b") == [3, 4]
    assert ids(account="b", status="pending") == [4]


def test_computers_of_an_older_file(tmp_path: Path) -> None:
    """Computers that registered before facts were kept are found as before, and look like nobody."""
    schema = Path(fieldpost.server.__file__).parent / "schema" / "0001.sql"
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / schema.name).write_text(schema.read_text())
    old = open_database(str(tmp_path / "db"), tmp_path / "schema", application_id=APPLICATION_ID)
    columns = "secure_id, account, registration_id, title, hostname, status, created, expected"
    old.execute(f"INSERT INTO computer ({columns}) VALUES (x'61', 'a', 'r', 't', 'h', 'approved', 1.0, 5)")
    old.close()

    connection = open_server_database(str(tmp_path / "db"))

    found = find_registered_txn(connection, "a", "r")
    assert found is not None
    assert (found.facts, found.expected) == (None, 5)
    assert find_lookalike_txn(connection, "a", b"") is None
    connection.close()
