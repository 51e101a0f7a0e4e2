"""Messages are stored many at a time and read by cursor."""

from sqlite3 import Connection
from typing import Any

import pytest

from fieldpost.server.composition import open_server_database
from fieldpost.server.messages import MessageQuery, list_messages_txn, row_of, store_messages_txn
from fieldpost.wire import cbor

COMPUTER = (
    "INSERT INTO computer (id, secure_id, account, registration_id, title, hostname, status, created, expected)"
    " VALUES (?, ?, 'a', ?, 't', 'h', 'approved', 0, 0)"
)


@pytest.fixture
def txn() -> Connection:
    connection = open_server_database(":memory:")
    for number in (1, 2):
        connection.execute(COMPUTER, (number, b"s%d" % number, f"r{number}"))
    return connection


def store(txn: Connection, *messages: dict[str, Any], computer: int = 1, first: int = 0) -> None:
    numbered = [
        (first + index, row_of(message, cbor.encode(message))) for index, message in enumerate(messages)
    ]
    store_messages_txn(txn, computer=computer, received=5.0, numbered=numbered)


@pytest.mark.parametrize(
    ("timestamp", "stored"),
    [
        (7, 7),
        (-1, -1),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (True, None),
        (1.5, None),
        ("7", None),
        (None, None),
    ],
)
def test_timestamp_column(timestamp: Any, stored: int | None) -> None:
    """A timestamp that is no integer of the database leaves its column empty; the octets stay as they came."""
    message = {"type": "a", "timestamp": timestamp}

    kind, found, body = row_of(message, b"octets")

    assert ("a", stored) == (kind, found)
    assert body == b"octets"


@pytest.mark.parametrize("count", [0, 1, 7, 8, 65, 512, 1_100])
def test_every_message_is_stored_in_order(txn: Connection, count: int) -> None:
    """However many come together, each is stored once, in order, under its number."""
    store(txn, *({"type": "a", "n": number} for number in range(count)), first=40)

    rows = txn.execute("SELECT computer, number, type, received, body FROM message ORDER BY id").fetchall()
    assert [(1, 40 + n, "a", 5.0, cbor.encode({"type": "a", "n": n})) for n in range(count)] == rows


def test_query(txn: Connection) -> None:
    """A query is for all messages, or those of a computer, a type, or both, beyond the cursor."""
    store(txn, {"type": "a"}, {"type": "b"})
    store(txn, {"type": "a"}, {"type": "b"}, computer=2)

    def ids(**query: Any) -> list[int]:
        return [message.id for message in list_messages_txn(txn, MessageQuery(**query))]

    assert ids() == [1, 2, 3, 4]
    assert ids(after=1, limit=2) == [2, 3]
    assert ids(computer=2) == [3, 4]
    assert ids(type="b") == [2, 4]
    assert ids(type="b", computer=2) == [4]
    assert ids(type="c") == []


def test_query_is_bounded_in_octets(txn: Connection) -> None:
    """However long the messages are, an answer holds only so much; but one always comes."""
    store(txn, *({"type": "a", "text": "x" * 1_000} for _ in range(3)))

    def count(octets: int) -> int:
        return len(list_messages_txn(txn, MessageQuery(max_octets=octets)))

    assert [count(octets) for octets in (10, 1_999, 2_100, 9_999)] == [1, 1, 2, 3]


def test_row_ids_are_never_used_again(txn: Connection) -> None:
    """A reader's cursor stays right when the newest messages are deleted."""
    store(txn, {"type": "a"}, {"type": "a"})
    txn.execute("DELETE FROM message")

    store(txn, {"type": "b"})

    assert [message.id for message in list_messages_txn(txn, MessageQuery(after=2))] == [3]
