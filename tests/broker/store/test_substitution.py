"""Poison goes to the dead letters, results for another identity go nowhere, and receipts say so."""

from fieldpost.broker.store import dead_letters
from fieldpost.broker.store.records import OperationResult
from fieldpost.broker.store.store import Store
from fieldpost.wire.api import OLDEST_SERVER_API
from fieldpost.wire.message import SUCCEEDED
from tests.broker.store.stores import (
    ACCEPTED,
    START,
    add,
    add_values,
    answer,
    begin,
    bodies,
    new,
    numbers,
    open_store,
    receipts,
    values,
)


class TestSetAside:
    """A message that the server cannot take."""

    def test_receipt_takes_its_number(self) -> None:
        """The ones behind it go on under their numbers; a receipt fills the place."""
        store = open_store()
        add(store, *(new("load", value, timestamp=START + value) for value in range(3)))
        begin(store)

        store.set_aside(1, "the server said 413")

        outgoing = begin(store)
        assert (numbers(outgoing), values(outgoing)) == ([0, 1, 2], [0, None, 2])
        assert receipts(outgoing) == [
            {
                "type": "receipt",
                "reason": "poison",
                "message-type": "load",
                "count": 1,
                "first": 2,
                "last": 2,
                "oldest": START + 1,
                "newest": START + 1,
            }
        ]

    def test_dead_letter(self) -> None:
        """A person can look at it."""
        store = open_store()
        message = new("load", 1, timestamp=77)
        add(store, new("load", 0), message)
        begin(store)

        store.set_aside(1, "the server said 413")

        (letter,) = store.dead_letters(10)
        assert (letter.number, letter.type, letter.api, letter.timestamp, letter.reason, letter.body) == (
            1,
            "load",
            OLDEST_SERVER_API,
            77,
            "the server said 413",
            message.body,
        )
        assert store.status().dead_letters == 1

    def test_newest_first(self) -> None:
        """The latest dead letters come first, as many as are asked for."""
        store = open_store()
        add_values(store, range(3))
        begin(store)
        for number in range(3):
            store.set_aside(number, "no")

        assert [letter.number for letter in store.dead_letters(2)] == [2, 1]

    def test_not_under_way(self) -> None:
        """A number that is acknowledged, or was never given, is passed over."""
        store = open_store()
        add_values(store, range(3))
        begin(store, 2)
        store.commit_answer(answer(1))

        store.set_aside(0, "too late")
        store.set_aside(2, "too early")

        assert store.dead_letters(10) == []
        assert values(begin(store)) == [1, 2]

    def test_server_without_receipts(self) -> None:
        """Where the server takes no receipts, those behind close up, and the receipt waits until it does."""
        store = open_store(accept=("load",))
        add_values(store, range(4))
        begin(store)

        store.set_aside(1, "no")

        outgoing = begin(store)
        assert (numbers(outgoing), values(outgoing)) == ([0, 1, 2], [0, 2, 3])
        store.commit_answer(answer())
        store.accept_types(ACCEPTED)
        assert len(receipts(begin(store))) == 1

    def test_poisonous_receipt(self) -> None:
        """A receipt that the server cannot take either goes for good, or there would be no end."""
        store = open_store()
        add_values(store, range(3))
        begin(store)
        store.set_aside(1, "no")

        store.set_aside(1, "not even that")

        outgoing = begin(store)
        assert (numbers(outgoing), values(outgoing)) == ([0, 1], [0, 2])
        assert [letter.type for letter in store.dead_letters(10)] == ["receipt", "load"]

    def test_bounded(self) -> None:
        """The oldest dead letters give way to the latest."""
        store = open_store()
        count = dead_letters.MAX_DEAD_LETTERS + 5
        add_values(store, range(count))
        begin(store, count)

        for number in range(count):
            store.set_aside(number, "no")

        kept = store.dead_letters(2 * count)
        assert len(kept) == dead_letters.MAX_DEAD_LETTERS
        assert kept[-1].number == 5

    def test_bounded_octets(self) -> None:
        """Also when they are few and large."""
        store = open_store()
        size = dead_letters.MAX_DEAD_OCTETS // 4
        for _ in range(6):
            add(store, new("load", bytes(size)))
        begin(store, 6, 10 * size)

        for number in range(6):
            store.set_aside(number, "no")

        assert [letter.number for letter in store.dead_letters(9)] == [5, 4, 3]


def store_with_results() -> Store:
    """Identity `old`; results of operations 0, 1, 2 and a message are queued."""
    store = open_store()
    store.set_identity(secure_id=b"old", insecure_id=1)
    store.commit_answer(answer(None, *({"type": "run", "operation-id": id} for id in range(3))))
    for number in range(3):
        store.finish_delivery(number, OperationResult(status=SUCCEEDED))
    add(store, new("load", 9))
    return store


class TestObsoleteResults:
    """Results that wait when the identity changes."""

    def test_waiting(self) -> None:
        """They are dropped, since the new identity was never asked, and a receipt says so."""
        store = store_with_results()

        store.set_identity(secure_id=b"new", insecure_id=2)

        first, second = bodies(begin(store))
        assert (first["reason"], first["message-type"], first["count"]) == ("obsolete", "operation-result", 3)
        assert second["value"] == 9

    def test_under_way(self) -> None:
        """Those that have their numbers leave them to receipts."""
        store = store_with_results()
        begin(store, 2)

        store.set_identity(secure_id=b"new", insecure_id=2)

        found = bodies(begin(store))
        assert [body["type"] for body in found] == ["receipt", "receipt", "receipt", "load"]
        assert sum(body.get("count", 0) for body in found) == 3

    def test_server_without_receipts(self) -> None:
        """Also when the server takes no receipts: then the numbers close up."""
        store = store_with_results()
        begin(store)
        store.accept_types(("load", "operation-result"))

        store.set_identity(secure_id=b"new", insecure_id=2)

        outgoing = begin(store)
        assert (numbers(outgoing), values(outgoing)) == ([0], [9])

    def test_same_identity(self) -> None:
        """When the server gives the same identity again, the results are owed as before."""
        store = store_with_results()

        store.forget_identity(clone_of=None)
        store.set_identity(secure_id=b"old", insecure_id=1)

        assert [body.get("operation-id") for body in bodies(begin(store))] == [0, 1, 2, None]
