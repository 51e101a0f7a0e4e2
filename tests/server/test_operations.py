"""Results of operations count once, come from the right computer, and never hide behind a wrong field."""

from sqlite3 import Connection
from typing import Any

import pytest

from fieldpost.server.operations import (
    MAX_RESULT_TEXT,
    Operation,
    Result,
    add_operation_txn,
    find_operation_txn,
    finish_operation_txn,
    list_operations_txn,
    read_result,
)
from fieldpost.wire import cbor
from tests.server.test_outgoing import Queue


@pytest.fixture
def queue() -> Queue:
    return Queue()


def add(queue: Queue, **fields: Any) -> Operation:
    return add_operation_txn(queue.txn, computer=queue.computer.id, type="run", fields=fields, now=1.0)


def find(txn: Connection, number: int) -> Operation:
    found = find_operation_txn(txn, number)
    assert found is not None
    return found


def test_message_of_an_operation(queue: Queue) -> None:
    """The computer gets the operator's fields with the type and the operation's id."""
    made = add(queue, code="true")

    (body,) = queue.txn.execute("SELECT body FROM outgoing").fetchone()
    assert {"type": "run", "code": "true", "operation-id": made.id} == cbor.decode(body)
    assert cbor.decode(made.fields) == {"code": "true"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": 6}, Result(operation=3, status="succeeded")),
        ({"status": 5, "result-code": 103}, Result(operation=3, status="failed", code=103)),
        ({"status": 6, "result-text": "ok"}, Result(operation=3, status="succeeded", text="ok")),
        ({"status": 6, "result-text": b"ok", "result-code": "x"}, Result(operation=3, status="succeeded")),
        ({"status": 6, "result-code": 2**70}, Result(operation=3, status="succeeded")),
    ],
)
def test_result(fields: dict[str, Any], expected: Result) -> None:
    """A result is read; optional fields that are wrong are left out."""
    assert expected == read_result({"type": "operation-result", "operation-id": 3, **fields})


@pytest.mark.parametrize("status", [None, 4, "6", b"6", True, 6.0, [], {}, 2**70])
def test_result_without_a_usable_status(status: Any) -> None:
    """An operation whose result cannot be understood has failed, and says why."""
    result = read_result({"type": "operation-result", "operation-id": 3, "status": status})

    assert Result(operation=3, status="failed", text="the computer's result has no usable status") == result


@pytest.mark.parametrize("number", [None, "3", 0, -1, 2**63, True, 3.0, []])
def test_result_of_nothing(number: Any) -> None:
    """A result without a usable operation id is a message like any other."""
    assert read_result({"type": "operation-result", "operation-id": number, "status": 6}) is None


def test_resynchronize_answers_itself() -> None:
    """A computer answers the request to resynchronize by doing so."""
    assert Result(operation=3, status="succeeded") == read_result(
        {"type": "resynchronize", "operation-id": 3}
    )
    assert read_result({"type": "resynchronize"}) is None


def test_long_text_is_cut() -> None:
    """A text beyond the limit is cut, not refused."""
    result = read_result(
        {"type": "operation-result", "operation-id": 3, "status": 6, "result-text": "x" * 100_001}
    )

    assert result is not None
    assert result.text is not None
    assert len(result.text) == MAX_RESULT_TEXT


def test_finished_once(queue: Queue) -> None:
    """The first result stays, a second changes nothing."""
    made = add(queue)
    queue.exchange(0)

    first = Result(operation=made.id, status="succeeded", code=1, text="done")
    assert finish_operation_txn(queue.txn, queue.computer.id, first, 9.0)
    again = Result(operation=made.id, status="failed")
    assert not finish_operation_txn(queue.txn, queue.computer.id, again, 10.0)

    found = find(queue.txn, made.id)
    assert (
        found.status,
        found.result_code,
        found.result_text,
        found.finished,
    ) == ("succeeded", 1, "done", 9.0)


def test_a_finished_operation_stays_finished(queue: Queue) -> None:
    """A result may come before the acknowledgement of the operation's number."""
    made = add(queue)
    queue.exchange(0)
    finish_operation_txn(queue.txn, queue.computer.id, Result(operation=made.id, status="succeeded"), 9.0)

    queue.exchange(1)

    assert find(queue.txn, made.id).status == "succeeded"


def test_result_of_another_computer(queue: Queue) -> None:
    """Nobody finishes an operation that was not for it."""
    made = add(queue)
    queue.exchange(0)

    assert not finish_operation_txn(queue.txn, 77, Result(operation=made.id, status="succeeded"), 9.0)
    assert find(queue.txn, made.id).status == "sent"


def test_result_before_it_was_sent(queue: Queue) -> None:
    """A result that guesses the id of an operation which never went out is not believed."""
    made = add(queue)

    assert not finish_operation_txn(
        queue.txn, queue.computer.id, Result(operation=made.id, status="succeeded"), 9.0
    )


def test_list(queue: Queue) -> None:
    """Operations are listed by id, in pages, by computer and by status."""
    made = [add(queue).id for _ in range(3)]
    queue.window = type(queue.window)(messages=1)
    queue.exchange(0)

    def ids(**query: Any) -> list[int]:
        return [op.id for op in list_operations_txn(queue.txn, **({"after": 0, "limit": 9} | query))]

    assert made == ids()
    assert made[1:2] == ids(after=made[0], limit=1)
    assert made[:1] == ids(status="sent")
    assert ids(computer=99) == []
