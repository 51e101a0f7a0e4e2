"""What calls give back to the session, and when."""

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from fieldpost.runtime.session.calls import MAX_VALUES, Calls
from fieldpost.runtime.session.errors import CommandFailed
from fieldpost.wire.cbor import Value
from fieldpost.wire.session.events import Map, Responded
from tests.runtime.session.pair import error_of, result_of


class Session:
    """Notes what is asked of it."""

    most_data = 1_000

    def __init__(self) -> None:
        self.consumed: list[tuple[int, int]] = []
        self.cancelled: list[int] = []

    def request(
        self, name: bytes, args: Map, *, data: bytes | None, has_data: bool, bulk: bool, now: float
    ) -> int:
        return 1

    def cancel(self, request: int, reason: bytes | None = None) -> None:
        self.cancelled.append(request)

    def consume(self, request: int, octets: int) -> None:
        self.consumed.append((request, octets))

    def send_data(self, request: int, octets: bytes, *, end: bool) -> None:
        raise AssertionError("no data here")

    def unsent_of(self, request: int) -> int:
        return 0


def make(session: Session, max_answer: int = 1_000) -> Calls:
    return Calls(
        session=session, now=lambda: 0.0, wake=lambda: None, max_answer=max_answer, log=Logger("tests")
    )


def test_credit_goes_back_when_all_values_of_a_piece_are_used() -> None:
    """Once, for all of them together."""
    session = Session()
    calls = make(session)
    doing: list[Deferred[None]] = []

    def use(value: int) -> "Deferred[None]":
        doing.append(Deferred())
        return doing[-1]

    calls.call("count", None, on_value=use)
    calls.responded(Responded(1, (1, 2, 3), 30, False))
    doing[2].callback(None)
    doing[0].callback(None)
    assert session.consumed == []

    doing[1].callback(None)

    assert session.consumed == [(1, 30)]


def test_credit_of_what_is_gathered_goes_back_at_once() -> None:
    """The bound of an answer that is kept is another one."""
    session = Session()
    calls = make(session)
    answer = calls.call("count", None)

    calls.responded(Responded(1, (1,), 10, False))
    calls.responded(Responded(1, (2,), 10, True))

    assert session.consumed == [(1, 10), (1, 10)]
    assert result_of(answer) == (1, 2)


def test_values_without_credit_are_counted() -> None:
    """A peer that gives no credit cannot fill the memory with small values."""
    session = Session()
    calls = make(session)
    answer = calls.call("count", None)

    calls.responded(Responded(1, (0,) * (MAX_VALUES + 1), 0, False))
    calls.responded(Responded(1, (1,), 0, True))

    assert isinstance(error_of(answer), CommandFailed)
    assert session.cancelled == [1]


@pytest.mark.parametrize(
    ("values", "size"),
    [
        pytest.param((bytes(300),), 310, id="octets"),
        pytest.param(([[]] * 8,), 9, id="small things"),
        pytest.param((), 300, id="parts of values"),
    ],
)
def test_an_answer_is_bounded_by_what_it_holds(values: tuple[Value, ...], size: int) -> None:
    """Whatever credit says, and though credit were not counted at all: what is kept of an answer has a bound."""
    session = Session()
    calls = make(session, max_answer=1_000)
    answer = calls.call("much", None)

    for _ in range(3):
        calls.responded(Responded(1, values, 0, False, size))
    assert session.cancelled == []
    calls.responded(Responded(1, values, 0, False, size))

    assert session.cancelled == [1]
    error = error_of(answer)
    assert isinstance(error, CommandFailed) and error.code == "too-large"
