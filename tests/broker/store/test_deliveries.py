"""The server's messages, from the inbox to a handler, and the answer that an operation is owed."""

import sqlite3
from pathlib import Path

import pytest

from fieldpost.broker.store.operations import OPERATIONS_KEPT
from fieldpost.broker.store.own_messages import MAX_RESULT_TEXT
from fieldpost.broker.store.records import Conclusion, OperationResult
from fieldpost.broker.store.store import Store
from fieldpost.wire.message import FAILED, SUCCEEDED
from fieldpost.wire.payload import WRECK
from tests.broker.store.stores import START, add, answer, batch, begin, bodies, new, open_store

DONE = OperationResult(status=SUCCEEDED, result_code=1, result_text="done")


def receive(store: Store, *operation_ids: object, expected: int | None = None) -> None:
    """Operations come from the server, which expects that number; None is a message that wants no answer."""
    messages = [
        {"type": "run"} if id is None else {"type": "run", "operation-id": id} for id in operation_ids
    ]
    store.commit_answer(answer(expected, *messages))


class TestDelivery:
    """One delivery after the other."""

    def test_order(self) -> None:
        """Messages are given out by number, as many as are asked for, until their delivery begins."""
        store = open_store()
        receive(store, None, None, None)

        store.start_delivery(0)

        assert [incoming.number for incoming in store.next_incoming(1)] == [1]
        assert [incoming.number for incoming in store.next_incoming(9)] == [1, 2]
        assert store.status().incoming == 3

    def test_answer(self) -> None:
        """An operation's result is queued with its id and the time."""
        store = open_store()
        receive(store, 7)
        store.start_delivery(0)

        conclusion = store.finish_delivery(0, DONE)

        (result,) = begin(store).messages
        assert conclusion is Conclusion.ANSWERED
        assert (result.type, result.timestamp) == ("operation-result", START)
        assert bodies(begin(store)) == [
            {
                "type": "operation-result",
                "operation-id": 7,
                "status": 6,
                "result-code": 1,
                "result-text": "done",
            }
        ]
        assert store.next_incoming(9) == []

    def test_short_answer(self) -> None:
        """What a handler does not say is left out."""
        store = open_store()
        receive(store, 7)

        store.finish_delivery(0, OperationResult(status=FAILED))

        assert bodies(begin(store)) == [{"type": "operation-result", "operation-id": 7, "status": 5}]

    def test_long_answer(self) -> None:
        """A long text is cut."""
        store = open_store()
        receive(store, 7)

        store.finish_delivery(0, OperationResult(status=SUCCEEDED, result_text="x" * (MAX_RESULT_TEXT + 1)))

        assert len(bodies(begin(store))[0]["result-text"]) == MAX_RESULT_TEXT

    @pytest.mark.parametrize(("operation_id", "result"), [(None, DONE), (7, None), (None, None)])
    def test_no_answer(self, operation_id: int | None, result: OperationResult | None) -> None:
        """A message that wants no answer, or a handler that answers by itself, ends without one."""
        store = open_store()
        receive(store, operation_id)

        assert store.finish_delivery(0, result) is Conclusion.DONE
        assert (store.next_incoming(9), begin(store).messages) == ([], ())

    def test_twice(self) -> None:
        """A delivery ends once, and is answered once."""
        store = open_store()
        receive(store, 7)
        store.finish_delivery(0, DONE)

        assert store.finish_delivery(0, DONE) is Conclusion.UNKNOWN
        assert len(begin(store).messages) == 1

    def test_obsolete(self) -> None:
        """A result for an identity that we no longer have is dropped, and a receipt says so."""
        store = open_store()
        store.set_identity(secure_id=b"old", insecure_id=1)
        receive(store, 7)
        store.forget_identity(clone_of=None)

        conclusion = store.finish_delivery(0, DONE)

        (receipt,) = bodies(begin(store))
        assert conclusion is Conclusion.OBSOLETE
        assert (receipt["reason"], receipt["message-type"], receipt["count"]) == (
            "obsolete",
            "operation-result",
            1,
        )


class TestRefusing:
    """Messages of the server that nothing here can take."""

    def test_operation(self) -> None:
        """The operation has failed, for the reason that is given; a person can look at the message."""
        store = open_store()
        receive(store, 7)

        conclusion = store.refuse_incoming(0, "no plugin handles run")

        (result,) = bodies(begin(store))
        (letter,) = store.dead_letters(9)
        assert conclusion is Conclusion.ANSWERED
        assert (result["status"], result["result-text"]) == (FAILED, "no plugin handles run")
        assert (letter.number, letter.type, letter.timestamp) == (0, "run", START)
        assert letter.reason == "from the server: no plugin handles run"
        assert store.next_incoming(9) == []

    def test_message(self) -> None:
        """What wants no answer leaves a receipt."""
        store = open_store()
        receive(store, None, None)

        conclusions = [store.refuse_incoming(number, "no") for number in (0, 1)]

        (receipt,) = bodies(begin(store))
        assert conclusions == [Conclusion.DONE, Conclusion.DONE]
        assert (receipt["reason"], receipt["message-type"], receipt["count"]) == ("unusable", "run", 2)
        assert (receipt["first"], receipt["last"]) == (0, 1)

    def test_twice(self) -> None:
        """What is gone already is passed over."""
        store = open_store()

        assert store.refuse_incoming(5, "no") is Conclusion.UNKNOWN
        assert (store.dead_letters(9), begin(store).messages) == ([], ())

    def test_reading_on(self) -> None:
        """Messages behind one that waits can be read."""
        store = open_store()
        receive(store, None, None, None)

        assert [incoming.number for incoming in store.next_incoming(1, after=0)] == [1]


class TestOperationIds:
    """Ids that a server may send."""

    def test_again_while_here(self) -> None:
        """An operation that is sent again while it is still here runs once (fault L7)."""
        store = open_store()
        receive(store, 7)

        settlement = store.commit_answer(answer(None, {"type": "run", "operation-id": 7}))

        assert (settlement.received, len(store.next_incoming(9))) == (0, 1)
        assert store.state().server_sequence == 2

    def test_again_while_its_result_is_on_its_way(self) -> None:
        """One that was carried out is not carried out again because the server has not heard of it (fault L7)."""
        store = open_store()
        receive(store, 7)
        store.finish_delivery(0, DONE)

        receive(store, 7)
        sent = begin(store)
        receive(store, 7, expected=0)

        assert len(sent.messages) == 1
        assert store.next_incoming(9) == []

    def test_again_after_its_end(self) -> None:
        """Once the server has the result, the same id is another operation."""
        store = open_store()
        receive(store, 7)
        store.finish_delivery(0, DONE)
        begin(store)
        store.commit_answer(answer())

        receive(store, 7)

        assert [incoming.operation_id for incoming in store.next_incoming(9)] == [7]

    @pytest.mark.parametrize("operation_id", ["7", 2**63, True, [7], 7.0])
    def test_no_id(self, operation_id: object) -> None:
        """What is no integer of a reasonable size is no operation's id, and jams nothing (fault L6)."""
        store = open_store()

        receive(store, operation_id)

        (incoming,) = store.next_incoming(9)
        assert (incoming.operation_id, incoming.message["operation-id"]) == (None, operation_id)

    def test_bounded(self) -> None:
        """Of very many operations the latest are known by their identity."""
        store = open_store()
        store.set_identity(secure_id=b"old", insecure_id=1)
        receive(store, *range(OPERATIONS_KEPT + 1))
        store.set_identity(secure_id=b"new", insecure_id=1)

        (stored,) = store.add([batch(1, *(new(operation_id=id) for id in (0, 1)))])

        assert [refusal.index for refusal in stored.refused] == [1]


class TestRecovery:
    """What a stop leaves half done."""

    def test_operation(self, tmp_path: Path) -> None:
        """An operation that was under way is reported as failed, with its outcome unknown (fault L8)."""
        store = open_store(str(tmp_path / "store"))
        receive(store, 7, 8)
        store.start_delivery(0)
        store.close()
        store = open_store(str(tmp_path / "store"))

        given_up = store.recover_deliveries()

        (result,) = bodies(begin(store))
        assert [incoming.operation_id for incoming in given_up] == [7]
        assert (result["operation-id"], result["status"]) == (7, FAILED)
        assert "unknown" in result["result-text"]
        assert [incoming.operation_id for incoming in store.next_incoming(9)] == [8]

    def test_message(self) -> None:
        """A message that wants no answer is delivered again, in its place."""
        store = open_store()
        receive(store, None, None)
        store.start_delivery(0)

        given_up = store.recover_deliveries()

        assert given_up == []
        assert [incoming.number for incoming in store.next_incoming(9)] == [0, 1]
        assert begin(store).messages == ()

    def test_nothing(self) -> None:
        """After a quiet stop there is nothing to do."""
        assert open_store().recover_deliveries() == []


def test_damaged_body(tmp_path: Path) -> None:
    """A message that was damaged on the disk is delivered as a wreck, with its operation id, and jams nothing."""
    store = open_store(str(tmp_path / "store"))
    receive(store, 7)
    store.close()
    with sqlite3.connect(tmp_path / "store") as connection:
        connection.execute("UPDATE inbox SET body = x'ff'")
    connection.close()

    (incoming,) = open_store(str(tmp_path / "store")).next_incoming(9)

    assert (incoming.type, incoming.message["type"], incoming.operation_id) == ("run", WRECK, 7)
    assert "damaged" in incoming.message["cause"]


def test_levels_of_results() -> None:
    """Results travel in the order in which they were queued, among the plugins' messages."""
    store = open_store()
    receive(store, 7, 8)
    store.finish_delivery(1, DONE)
    add(store, new())
    store.finish_delivery(0, DONE)

    assert [body.get("operation-id") for body in bodies(begin(store))] == [8, None, 7]
