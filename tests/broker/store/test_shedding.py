"""Size and age limits, and the receipts that say what they cost."""

import sqlite3
from pathlib import Path

from fieldpost.broker.store import shedding
from fieldpost.broker.store.receipts import Receipt
from tests.broker.store.stores import (
    START,
    add,
    add_values,
    answer,
    begin,
    bodies,
    clock_at,
    drain,
    new,
    open_store,
    receipts,
    values,
)

SIZE = len(new().body)


class TestSize:
    """The limit on octets that wait."""

    def test_oldest_go(self) -> None:
        """The oldest messages of all types together give way, and a receipt per type says which."""
        store = open_store(max_octets=4 * SIZE)
        for value in range(7):
            add(store, new("load" if value % 2 else "disk", value, timestamp=START + value))

        outgoing = begin(store)

        assert receipts(outgoing) == [
            {
                "type": "receipt",
                "reason": "size",
                "message-type": "disk",
                "count": 2,
                "first": 1,
                "last": 3,
                "oldest": START,
                "newest": START + 2,
            },
            {
                "type": "receipt",
                "reason": "size",
                "message-type": "load",
                "count": 1,
                "first": 2,
                "last": 2,
                "oldest": START + 1,
                "newest": START + 1,
            },
        ]
        assert values(outgoing)[2:] == [3, 4, 5, 6]

    def test_within(self) -> None:
        """As long as there is room nothing goes."""
        store = open_store(max_octets=4 * SIZE)

        add_values(store, range(4))

        assert values(begin(store)) == [0, 1, 2, 3]

    def test_sent_ones_stay(self) -> None:
        """What has a number never goes: the server may be about to acknowledge it."""
        store = open_store(max_octets=2 * SIZE)
        add_values(store, range(2))
        begin(store)

        add_values(store, range(2, 6))

        assert [body.get("value") for body in bodies(begin(store))] == [0, 1, None, 4, 5]

    def test_larger_than_all(self) -> None:
        """A batch above the limit leaves its last messages."""
        store = open_store(max_octets=2 * SIZE + 1)

        add_values(store, range(9))

        assert values(begin(store))[1:] == [7, 8]

    def test_held_ones_go(self) -> None:
        """What nobody may ever want is no reason to lose what is wanted: age decides, whether held or not."""
        store = open_store(max_octets=2 * SIZE, accept=("load", "receipt"))
        add(store, new("disk", 1), new("load", 2))

        add(store, new("load", 3))

        assert values(begin(store))[1:] == [2, 3]

    def test_few_receipts(self) -> None:
        """Receipts that were not sent yet are merged, and do not count in the limit."""
        store = open_store(max_octets=SIZE)

        for value in range(50):
            add(store, new("load", value % 10, timestamp=START + value))

        (receipt,) = receipts(begin(store))
        assert (receipt["count"], receipt["first"], receipt["oldest"]) == (49, 1, START)
        assert receipt["newest"] == START + 48

    def test_sent_receipt_stays(self) -> None:
        """A receipt that was sent says for good what it said; what is lost later goes into the next."""
        store = open_store(max_octets=SIZE)
        add_values(store, range(3))
        first = receipts(begin(store))
        add_values(store, range(3, 5))

        counts = [receipt["count"] for receipt in receipts(begin(store))]

        assert ([receipt["count"] for receipt in first], counts) == ([2], [2, 1])

    def test_nothing_is_lost_silently(self) -> None:
        """Messages sent and messages in receipts together are all that came."""
        store = open_store(max_octets=40 * SIZE)
        found = []
        for number in range(30):
            add_values(store, range(number * 10, number * 10 + 10))
            found += bodies(begin(store, 5))
            store.commit_answer(answer())

        found += drain(store)

        sent = [body for body in found if body["type"] == "load"]
        lost = [body["count"] for body in found if body["type"] == "receipt"]
        assert len(lost) > 3
        assert len(sent) + sum(lost) == 300

    def test_in_parts(self, tmp_path: Path) -> None:
        """When the limit was lowered by far, several transactions bring the store down to it."""
        path = str(tmp_path / "store")
        store = open_store(path)
        count = shedding.MOST_AT_ONCE + 100
        add(store, *[new()] * count)
        store.close()

        store = open_store(path, max_octets=SIZE)
        left = []
        for _ in range(2):
            add(store, new())
            left.append(sum(lane.count for lane in store.status().lanes if lane.type == "load"))

        assert left == [101, 1]

    def test_damaged_receipt(self, tmp_path: Path) -> None:
        """A receipt whose body was damaged on the disk is left behind; what comes next is said all the same."""
        path = str(tmp_path / "store")
        store = open_store(path, max_octets=SIZE)
        add_values(store, range(3))
        store.close()
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE outbox SET body = x'ff' WHERE subject IS NOT NULL")
        connection.close()

        store = open_store(path, max_octets=SIZE)
        add_values(store, range(3, 5))

        assert [receipt["count"] for receipt in receipts(begin(store))] == [2]


class TestAge:
    """The limit on how long a message waits."""

    def test_old_go(self) -> None:
        """Messages older than the limit go, of each type up to the first that is young enough."""
        clock = clock_at()
        store = open_store(clock=clock, max_age=100.0)
        add(store, *(new("load", value, timestamp=START + value) for value in (0, 10, 60, 20)))
        add(store, new("disk", 5, timestamp=START + 5))
        clock.advance(150)

        shed = store.shed_old()

        outgoing = begin(store)
        assert shed == 3
        assert [(r["reason"], r["message-type"], r["count"]) for r in receipts(outgoing)] == [
            ("age", "load", 2),
            ("age", "disk", 1),
        ]
        assert values(outgoing)[2:] == [60, 20]

    def test_young_stay(self) -> None:
        """Nothing goes before its time."""
        clock = clock_at()
        store = open_store(clock=clock, max_age=100.0)
        add(store, new())
        clock.advance(100)

        assert store.shed_old() == 0
        assert receipts(begin(store)) == []

    def test_no_limit(self) -> None:
        """Without a limit messages wait for ever."""
        clock = clock_at()
        store = open_store(clock=clock)
        add(store, new())
        clock.advance(1e9)

        assert store.shed_old() == 0

    def test_receipts_stay(self) -> None:
        """Receipts are never too old."""
        clock = clock_at()
        store = open_store(clock=clock, max_age=100.0)
        add(store, new())
        clock.advance(1_000)

        assert [store.shed_old(), store.shed_old()] == [1, 0]
        clock.advance(1_000_000)
        assert store.shed_old() == 0
        assert len(receipts(begin(store))) == 1


def test_merging() -> None:
    """Two receipts make one that covers both, also where one of them does not know everything."""
    one = Receipt(reason="size", message_type="x", count=2, first=4, last=9, oldest=50, newest=60)
    other = Receipt(reason="size", message_type="x", count=3, last=7, newest=99)

    merged = one.merge(other)

    assert merged == Receipt(reason="size", message_type="x", count=5, first=4, last=9, oldest=50, newest=99)
