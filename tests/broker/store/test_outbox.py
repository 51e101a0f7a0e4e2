"""What goes into a payload: order, room, levels, held types, and numbers that are given once."""

from pathlib import Path

from fieldpost.wire.api import OLDEST_SERVER_API
from tests.broker.store.stores import (
    NEWER_API,
    add,
    add_values,
    answer,
    begin,
    bodies,
    drain,
    new,
    numbers,
    open_store,
    values,
)


class TestPayload:
    """One payload."""

    def test_empty(self) -> None:
        """An empty store still has something to say: where it stands."""
        outgoing = begin(open_store(accept=None))

        assert (outgoing.sequence, outgoing.next_expected_sequence, outgoing.total) == (0, 0, 0)
        assert (outgoing.messages, outgoing.api, outgoing.accepted_types) == ((), OLDEST_SERVER_API, ())
        assert (outgoing.token, outgoing.secure_id, outgoing.client_types_hash) == (None, None, None)

    def test_message(self) -> None:
        """A message goes out as it came in, with its number and its timestamp beside it."""
        store = open_store()
        message = new("load", 5, timestamp=77)
        add(store, message)

        (queued,) = begin(store).messages

        assert (queued.number, queued.type, queued.timestamp, queued.body) == (0, "load", 77, message.body)

    def test_identity(self) -> None:
        """The identity in force goes along."""
        store = open_store()
        store.set_identity(secure_id=b"secure", insecure_id=4)

        assert begin(store).secure_id == b"secure"

    def test_count(self) -> None:
        """No more messages than there is room for; the total counts them all."""
        store = open_store()
        add_values(store, range(5))

        outgoing = begin(store, 2)

        assert (values(outgoing), outgoing.total) == ([0, 1], 5)

    def test_octets(self) -> None:
        """No more octets than there is room for."""
        store = open_store()
        add_values(store, range(5))
        size = len(new().body)

        assert values(begin(store, max_octets=3 * size)) == [0, 1, 2]

    def test_octets_of_a_resend(self) -> None:
        """That holds for what is sent again, too."""
        store = open_store()
        add_values(store, range(5))
        size = len(new().body)
        begin(store)

        assert values(begin(store, max_octets=2 * size)) == [0, 1]

    def test_at_least_one(self) -> None:
        """A message above every limit goes alone, or it would hold up all others for ever."""
        store = open_store()
        add_values(store, range(3))

        assert values(begin(store, max_messages=0, max_octets=0)) == [0]

    def test_resend_is_filled_up(self) -> None:
        """What is sent again is joined by what came since."""
        store = open_store()
        add_values(store, range(2))
        begin(store)
        add_values(store, range(2, 4))

        outgoing = begin(store)

        assert (values(outgoing), numbers(outgoing)) == ([0, 1, 2, 3], [0, 1, 2, 3])


class TestOrder:
    """Which messages go first."""

    def test_order_of_arrival(self) -> None:
        """Messages of all types go in the order in which they came."""
        store = open_store()
        for value in range(6):
            add(store, new("load" if value % 2 else "disk", value))

        assert values(begin(store)) == [0, 1, 2, 3, 4, 5]

    def test_receipts_first(self) -> None:
        """The server hears what is missing before it hears the rest."""
        store = open_store(max_octets=3 * len(new().body))
        add_values(store, range(5))

        assert [body["type"] for body in bodies(begin(store))] == ["receipt", "load", "load", "load"]

    def test_released_in_place(self) -> None:
        """Messages of a type that was held keep their place before those that came later."""
        store = open_store(accept=("load",))
        for value in range(6):
            add(store, new("load" if value % 2 else "disk", value))

        store.accept_types(["load", "disk"])

        assert values(begin(store)) == [0, 1, 2, 3, 4, 5]


class TestHeld:
    """Types that the server does not take now."""

    def test_held(self) -> None:
        """They wait, are not counted as pending, and do not hold up others."""
        store = open_store(accept=("load",))
        add(store, new("disk", 1), new("load", 2))

        outgoing = begin(store)
        store.commit_answer(answer())

        assert (values(outgoing), outgoing.total) == ([2], 1)
        assert values(begin(store)) == []
        assert (store.status().held, store.status().pending) == (1, 0)

    def test_numbered_stays(self) -> None:
        """A message that has its number is sent again under it, even when its type is no longer accepted."""
        store = open_store()
        add(store, new("disk", 1), new("load", 2))
        begin(store)

        store.accept_types(["load"])

        assert values(begin(store)) == [1, 2]

    def test_changes_are_told(self) -> None:
        """A change of the accepted types is told as added, kept and dropped."""
        store = open_store(accept=("b", "a"))

        changes = store.accept_types(["c", "b", "c"])

        assert (changes.added, changes.kept, changes.dropped) == (("c",), ("b",), ("a",))
        assert store.state().accepted_types == ("b", "c")


class TestApiLevels:
    """Messages of several levels."""

    def test_one_level_per_payload(self) -> None:
        """A payload ends before the first message of another level, in either direction."""
        store = open_store()
        add(store, new("load", 1))
        store.commit_answer(answer(server_api=NEWER_API))
        add(store, new("disk", 2), new("load", 3))

        payloads = []
        while (outgoing := begin(store)).messages:
            payloads.append((values(outgoing), outgoing.api, outgoing.total))
            store.commit_answer(answer())

        assert payloads == [([1], OLDEST_SERVER_API, 3), ([2, 3], NEWER_API, 2)]

    def test_resend_of_two_levels(self) -> None:
        """That holds when both have their numbers already."""
        store = open_store()
        add(store, new("load", 1), new("load", 2))
        store.commit_answer(answer(server_api=NEWER_API))
        add(store, new("load", 3))
        begin(store)
        store.commit_answer(answer(2))
        begin(store)

        store.commit_answer(answer(1))

        assert [values(begin(store)), begin(store).api] == [[2], OLDEST_SERVER_API]

    def test_level_of_the_empty(self) -> None:
        """A payload without messages is of the level in force."""
        store = open_store()
        store.commit_answer(answer(server_api=NEWER_API))

        assert begin(store).api == NEWER_API

    def test_held_by_level(self) -> None:
        """What was queued for a newer server waits when the server turns out to be older."""
        store = open_store()
        store.commit_answer(answer(server_api=NEWER_API))
        add(store, new("load", 1))
        store.lower_api()
        add(store, new("load", 2))

        assert values(begin(store)) == [2]
        assert (store.status().held, store.state().api) == (1, OLDEST_SERVER_API)


class TestNumbering:
    """Numbers are given before the first sending, and for good."""

    def test_resend_after_restart(self, tmp_path: Path) -> None:
        """After a stop in the middle of an exchange the same messages go under the same numbers (faults L2, L16)."""
        path = str(tmp_path / "store")
        store = open_store(path)
        add_values(store, range(5))
        first = begin(store, 3)
        store.close()

        again = begin(open_store(path), 3)

        assert again.messages == first.messages

    def test_receipts_do_not_shift(self) -> None:
        """A receipt that comes between two sendings goes after what was sent before."""
        store = open_store(max_octets=4 * len(new().body))
        add_values(store, range(3))
        first = begin(store)
        add_values(store, range(3, 9))

        again = begin(store)

        assert again.messages[:3] == first.messages
        assert bodies(again)[3]["type"] == "receipt"

    def test_kept_until_the_next(self) -> None:
        """A server that lost what it had acknowledged last gets it again."""
        store = open_store()
        add_values(store, range(6))
        for expected in (2, 4):
            begin(store, 2)
            store.commit_answer(answer(expected))

        store.commit_answer(answer(2))

        assert (values(begin(store)), numbers(begin(store))) == ([2, 3, 4, 5], [2, 3, 4, 5])

    def test_many(self) -> None:
        """A backlog goes out whole and in order, whatever the sizes of the batches it came in."""
        store = open_store()
        start = 0
        for size in (1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1_200):
            add_values(store, range(start, start + size))
            start += size

        assert [body["value"] for body in drain(store, 300)] == list(range(start))


class TestQueued:
    """Whether something of a type is on its way."""

    def test_has_queued(self) -> None:
        """From when it is put until it is acknowledged; of what is only kept, no."""
        store = open_store(accept=("register",))
        found = [store.has_queued("register")]
        store.put({"type": "register"})
        found.append(store.has_queued("register"))
        begin(store)
        found.append(store.has_queued("register"))
        store.commit_answer(answer())
        found.append(store.has_queued("register"))

        assert found == [False, True, True, False]

    def test_held_is_queued(self) -> None:
        """Also while the server does not accept it."""
        store = open_store(accept=())
        store.put({"type": "register"})

        assert store.has_queued("register")

    def test_what_the_server_does_not_speak_any_more_is_not_queued(self) -> None:
        """A registration of a level that is gone must not stand in another's way."""
        store = open_store()
        store.commit_answer(answer(server_api=NEWER_API))
        store.put({"type": "register"})
        assert store.has_queued("register")

        store.lower_api()

        assert not store.has_queued("register")

    def test_own_message(self) -> None:
        """The broker's own message gets the time, unless it says one; what lies beside the body is not in it."""
        store = open_store()
        store.put({"type": "load", "api": b"3.2", "x": 1})
        store.put({"type": "load", "timestamp": 5})

        outgoing = begin(store)

        assert [message.timestamp for message in outgoing.messages] == [1_700_000_000, 5]
        assert bodies(outgoing) == [{"type": "load", "x": 1}, {"type": "load"}]
