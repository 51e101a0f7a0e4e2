"""Messages to a computer keep their numbers, whatever the network does to requests and answers."""

from sqlite3 import Connection

import pytest
from attrs import evolve

from fieldpost.server.composition import open_server_database
from fieldpost.server.computers import Computer, Status, add_computer_txn
from fieldpost.server.operations import add_operation_txn, find_operation_txn
from fieldpost.server.outgoing import (
    Window,
    acknowledge_txn,
    is_queued_txn,
    queue_message_txn,
    take_outgoing_txn,
)


class Queue:
    """One computer's queue, and what a computer says to it."""

    def __init__(self, window: Window = Window()) -> None:  # noqa: B008 - a frozen value
        self.txn: Connection = open_server_database(":memory:")
        computer = Computer(
            id=0,
            secure_id=b"s",
            account="a",
            registration_id="r",
            title="t",
            hostname="h",
            status=Status.APPROVED,
            created=0,
        )
        self.computer = add_computer_txn(self.txn, computer)
        self.window = window

    def put(self, *names: str) -> None:
        for name in names:
            queue_message_txn(self.txn, self.computer.id, {"type": name})

    def exchange(self, wanted: int, *, vouched: bool = True) -> list[str]:
        """Types of the messages that the computer gets as `wanted` and on."""
        self.computer = acknowledge_txn(self.txn, self.computer, wanted, vouched=vouched)
        self.computer, messages = take_outgoing_txn(self.txn, self.computer, self.window, 5.0)
        return [message["type"] for message in messages]

    def numbers(self) -> list[int | None]:
        return [row[0] for row in self.txn.execute("SELECT number FROM outgoing ORDER BY id")]


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_numbers_start_where_the_computer_says(queue: Queue) -> None:
    """The first exchange sets the number, for the computer had messages before it had an identity."""
    queue.put("a", "b")

    assert queue.exchange(7) == ["a", "b"]
    assert queue.numbers() == [7, 8]
    assert queue.computer.next_number == 9


def test_acknowledged_messages_are_gone(queue: Queue) -> None:
    """What the computer has is not sent again, what it has not is, and new messages follow."""
    queue.put("a", "b")
    queue.exchange(0)
    queue.put("c")

    assert queue.exchange(1) == ["b", "c"]
    assert queue.numbers() == [1, 2]
    assert queue.exchange(3) == []
    assert queue.numbers() == []


def test_lost_answer(queue: Queue) -> None:
    """The same messages go again under the same numbers, new ones behind them."""
    queue.put("a")
    queue.exchange(4)
    queue.put("b")

    assert queue.exchange(4, vouched=False) == ["a", "b"]
    assert queue.numbers() == [4, 5]


def test_window_of_messages() -> None:
    """An answer carries so many messages, the next one the rest."""
    queue = Queue(Window(messages=2))
    queue.put("a", "b", "c")

    assert queue.exchange(0) == ["a", "b"]
    assert queue.exchange(2) == ["c"]


def test_window_of_octets() -> None:
    """An answer carries so many octets, but always one message."""
    queue = Queue(Window(octets=1))
    queue.put("a", "b")

    assert queue.exchange(0) == ["a"]
    assert queue.numbers() == [0, None]


def test_ahead(queue: Queue) -> None:
    """A computer that has more than we sent gets nothing twice; what was never sent goes on from its number."""
    queue.put("a")
    queue.exchange(0)
    queue.put("b")

    assert queue.exchange(10) == ["b"]
    assert queue.numbers() == [10]


def test_fallen_back_with_a_token(queue: Queue) -> None:
    """A computer whose store went back in time gets what it never acknowledged, from its number on."""
    queue.put("a", "b")
    queue.exchange(5)
    queue.exchange(6)

    assert queue.exchange(3) == ["b"]
    assert queue.numbers() == [3]


def test_fallen_back_without_a_token(queue: Queue) -> None:
    """Without a token a computer is believed when it says so twice, and gets nothing the first time."""
    queue.put("a", "b")
    queue.exchange(5)
    queue.exchange(6)

    assert queue.exchange(3, vouched=False) == []
    assert queue.numbers() == [6]
    assert queue.exchange(3, vouched=False) == ["b"]
    assert queue.numbers() == [3]


def test_late_request(queue: Queue) -> None:
    """A request that the network delivered late moves no number, so that nothing is lost when the true one comes."""
    queue.put("a", "b")
    queue.exchange(5)
    queue.exchange(7)
    queue.put("c")

    assert queue.exchange(5, vouched=False) == []
    assert queue.exchange(7) == ["c"]
    assert queue.numbers() == [7]
    assert queue.computer.doubted is None


def test_doubt_is_about_one_number(queue: Queue) -> None:
    """Two requests that fall back to different numbers confirm neither."""
    queue.put("a")
    queue.exchange(5)
    queue.exchange(6)
    queue.put("b")

    assert queue.exchange(2, vouched=False) == []
    assert queue.exchange(3, vouched=False) == []
    assert queue.exchange(3, vouched=False) == ["b"]


def test_nothing_before_the_first_word(queue: Queue) -> None:
    """A computer that never said a number gets nothing."""
    queue.put("a")

    unknown = evolve(queue.computer, next_number=None)

    assert (unknown, []) == take_outgoing_txn(queue.txn, unknown, Window(), 0)


def test_is_queued(queue: Queue) -> None:
    """Only the very same message counts as queued."""
    queue.put("a")

    assert is_queued_txn(queue.txn, queue.computer.id, {"type": "a"})
    assert not is_queued_txn(queue.txn, queue.computer.id, {"type": "a", "x": 1})
    assert not is_queued_txn(queue.txn, queue.computer.id + 1, {"type": "a"})


def test_queues_are_apart(queue: Queue) -> None:
    """What one computer acknowledges concerns no other."""
    other = evolve(queue.computer, secure_id=b"other", registration_id="other")
    other = add_computer_txn(queue.txn, other)
    queue_message_txn(queue.txn, other.id, {"type": "theirs"})
    queue.put("ours")

    assert queue.exchange(50) == ["ours"]
    queue.exchange(51)
    assert queue.numbers() == [None]


def test_status_of_an_operation(queue: Queue) -> None:
    """An operation is sent when an answer carried it, delivered when its number is acknowledged."""
    made = add_operation_txn(queue.txn, computer=queue.computer.id, type="run", fields={"x": 1}, now=1.0)
    seen = [made]

    for wanted in (0, 0, 1):
        queue.exchange(wanted)
        found = find_operation_txn(queue.txn, made.id)
        assert found is not None
        seen.append(found)

    assert [operation.status for operation in seen] == ["queued", "sent", "sent", "delivered"]
    assert [operation.sent for operation in seen] == [None, 5.0, 5.0, 5.0]
