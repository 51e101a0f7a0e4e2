"""Batches of plugins: stored once, refused with a reason, answered alike when they come again."""

from pathlib import Path

import pytest

from fieldpost.broker.store import lanes
from fieldpost.broker.store.feeds import ANSWERS_KEPT, FEEDS_KEPT
from fieldpost.wire.local import NOT_GRANTED, Refusal, Stored
from tests.broker.store.stores import add, answer, batch, begin, drain, new, open_store, values


def codes(stored: Stored) -> list[tuple[int, str]]:
    return [(refusal.index, refusal.code) for refusal in stored.refused]


class TestBatches:
    """Batches and their repetition."""

    def test_stored(self) -> None:
        """Each batch of one transaction gets its own answer."""
        store = open_store()

        answers = store.add([batch(1, new(), new()), batch(2), batch(3, new())])

        assert [stored.stored for stored in answers] == [2, 0, 1]
        assert store.last_batch("run-1") == 3

    def test_again(self) -> None:
        """A batch sent again is stored once, and answered as before."""
        store = open_store()
        first = store.add([batch(1, new(value=1), refused=(Refusal(index=0, code=NOT_GRANTED, text="no"),))])

        again = store.add([batch(1, new(value=2))])

        assert again == first
        assert values(begin(store)) == [1]

    def test_again_in_one_transaction(self) -> None:
        """Also when both arrive at once."""
        store = open_store()

        answers = store.add([batch(1, new(value=1)), batch(1, new(value=2))])

        assert [stored.stored for stored in answers] == [1, 1]
        assert values(begin(store)) == [1]

    def test_again_after_restart(self, tmp_path: Path) -> None:
        """Also after the broker stopped in between."""
        store = open_store(str(tmp_path / "store"))
        first = store.add([batch(1, new(value=1))])
        store.close()

        store = open_store(str(tmp_path / "store"))

        assert (store.add([batch(1, new(value=2))]), store.last_batch("run-1")) == (first, 1)
        assert values(begin(store)) == [1]

    def test_instances_count_apart(self) -> None:
        """A plugin process that started anew counts from the beginning."""
        store = open_store()
        store.add([batch(1, new(value=1))])

        store.add([batch(1, new(value=2), instance="run-2")])

        assert values(begin(store)) == [1, 2]
        assert store.last_batch("run-3") == 0

    def test_long_past(self) -> None:
        """Of a batch long past only that it came is known; it is not stored again."""
        store = open_store()
        store.add([batch(number, new(value=number)) for number in range(1, ANSWERS_KEPT + 2)])

        answers = store.add([batch(1, new()), batch(2, new())])

        assert [stored.stored for stored in answers] == [0, 1]
        assert store.status().pending == ANSWERS_KEPT + 1

    def test_forgotten_instances(self) -> None:
        """Of many plugin processes those that sent last are known."""
        store = open_store()
        for run in range(FEEDS_KEPT):
            store.add([batch(1, new(), instance=f"run-{run}")])
        store.add([batch(2, new(), instance="run-0")])

        store.add([batch(1, new(), instance="one more")])

        assert [store.last_batch(run) for run in ("run-0", "run-1", "run-2", "one more")] == [2, 0, 1, 1]

    def test_largest_batch_number(self) -> None:
        """A batch number may be as large as the protocol lets it."""
        store = open_store()

        store.add([batch(2**63 - 1, new())])

        assert store.last_batch("run-1") == 2**63 - 1


class TestRefusals:
    """Messages that are not taken."""

    def test_indexes(self) -> None:
        """Indexes count the batch as the plugin sent it, whoever refused."""
        store = open_store()
        turned_away = tuple(Refusal(index=index, code=NOT_GRANTED, text="no") for index in (0, 3))

        (stored,) = store.add(
            [batch(1, new(), new(timestamp=2**70), new(timestamp=-(2**70)), new(), refused=turned_away)]
        )

        assert codes(stored) == [(0, NOT_GRANTED), (2, "malformed"), (3, NOT_GRANTED), (4, "malformed")]
        assert (stored.stored, store.status().pending) == (2, 2)

    def test_obsolete_session(self) -> None:
        """A message with a stamp from before a resynchronize is refused, and the plugin is told."""
        store = open_store()
        old = store.open_session("plugin-1", "disk")
        store.resynchronize(operation_id=None, scopes=("disk",))

        (stored,) = store.add([batch(1, new(), new(), session_id=old)])

        assert codes(stored) == [(0, "obsolete-session"), (1, "obsolete-session")]
        assert "open a new one" in stored.refused[0].text
        assert (stored.stored, store.add([batch(1, session_id=old)])) == (0, [stored])

    def test_session_of_another(self) -> None:
        """The stamp of another plugin is none."""
        store = open_store()
        session = store.open_session("plugin-2", None)

        (stored,) = store.add([batch(1, new(), session_id=session)])

        assert codes(stored) == [(0, "obsolete-session")]

    def test_good_session(self) -> None:
        """A good stamp lets the message in."""
        store = open_store()
        session = store.open_session("plugin-1", None)

        (stored,) = store.add([batch(1, new(), session_id=session)])

        assert (stored.stored, stored.refused) == (1, ())

    def test_obsolete_operation(self) -> None:
        """The result of an operation that came under another identity is refused; of one in force, taken."""
        store = open_store()
        store.set_identity(secure_id=b"old", insecure_id=1)
        store.commit_answer(answer(None, {"type": "run", "operation-id": 7}))
        store.set_identity(secure_id=b"new", insecure_id=2)
        store.commit_answer(answer(None, {"type": "run", "operation-id": 8}))

        results = [new("operation-result", operation_id=number) for number in (7, 8, 9)]
        (stored,) = store.add([batch(1, *results)])

        assert codes(stored) == [(0, "obsolete-operation")]
        assert stored.stored == 2

    def test_operation_of_both(self) -> None:
        """An operation whose number both servers used is answered."""
        store = open_store()
        for secure_id in (b"old", b"new"):
            store.set_identity(secure_id=secure_id, insecure_id=1)
            store.commit_answer(answer(None, {"type": "run", "operation-id": 7}))

        (stored,) = store.add([batch(1, new("operation-result", operation_id=7))])

        assert stored.stored == 1

    def test_too_many_types(self) -> None:
        """A plugin that makes up types without end is stopped; the types that are there go on."""
        store = open_store(accept=("load", "type-0"))
        types = [new(f"type-{number}") for number in range(lanes.MAX_LANES)]

        (stored,) = store.add([batch(1, *types, new("load"), new("load"), new("type-0"))])

        last = lanes.MAX_LANES
        assert codes(stored) == [(last, "too-large"), (last + 1, "too-large")]

    def test_empty_types_give_way(self) -> None:
        """Types of which nothing is left make room for others."""
        store = open_store(accept=tuple(f"type-{number}" for number in range(lanes.MAX_LANES)))
        add(store, *(new(f"type-{number}") for number in range(lanes.MAX_LANES)))
        list(drain(store, 5_000))
        begin(store)
        store.commit_answer(answer(store.state().sequence))
        add(store, new("type-0"))
        begin(store)
        store.commit_answer(answer())

        store.shed_old()

        (stored,) = store.add([batch(1, new("load"))])
        assert stored.stored == 1


@pytest.mark.parametrize("size", [0, 1, 600])
def test_counts(size: int) -> None:
    """The lanes know how much waits in them."""
    store = open_store()

    add(store, *(new(value=value) for value in range(size)))

    status = store.status()
    assert (status.pending, status.octets) == (size, sum(len(new(value=v).body) for v in range(size)))
