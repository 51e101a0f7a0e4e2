"""Calls to a peer that comes and goes."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from fieldpost.runtime.session.answers import Asked, Handler
from fieldpost.runtime.session.errors import CallCancelled, SessionLost, TooManyCalls
from fieldpost.runtime.session.standing import MAX_WAITING, WAIT, StandingCalls
from tests.runtime.session.pair import Pair, error_of, result_of


class Server:
    """Notes what it is asked, through whichever session."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.handlers: dict[str, Handler] = {"note": self._note, "hold": lambda _: Deferred()}

    def _note(self, asked: Asked) -> list[Any]:
        self.seen.append(asked.args[b"n"])
        return [asked.args[b"n"]]


@pytest.mark.conformance("Z18")
def test_calls_between_two_sessions_wait_for_the_next() -> None:
    """They are made in order when it comes, before whatever is called then (Z3)."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    first = Pair(server=server.handlers, clock=clock)
    calls.attach(first.client)
    calls.detach()
    first.lose()
    answers = [calls.call("note", {"n": n}) for n in range(3)]
    clock.advance(WAIT - 1)
    assert len(calls) == 3

    second = Pair(server=server.handlers, clock=clock, opens=False)
    calls.attach(second.client)
    answers.append(calls.call("note", {"n": 3}))
    second.open()

    assert [result_of(answer) for answer in answers] == [(n,) for n in range(4)]
    assert server.seen == [0, 1, 2, 3]
    clock.advance(2)


@pytest.mark.conformance("Z3", "Z18")
def test_what_is_called_while_those_before_are_made_comes_behind_them() -> None:
    """A call that fails as it is made may lead to another, which does not overtake those that waited."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    wrong = calls.call("note", {"n": object()})
    wrong.addErrback(lambda _: calls.call("note", {"n": "last"}))
    kept = [calls.call("note", {"n": n}) for n in range(3)]

    pair = Pair(server=server.handlers, clock=clock)
    calls.attach(pair.client)
    pair.settle()

    assert server.seen == [0, 1, 2, "last"]
    assert result_of(wrong) == ("last",)
    assert all(answer.called for answer in kept)


@pytest.mark.conformance("Z18")
def test_one_way_calls_fail_at_once() -> None:
    """What nobody waits for is not kept: who says it without a session is told so."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    with pytest.raises(SessionLost):
        calls.tell("note", {"n": 1})

    pair = Pair(server=server.handlers, clock=clock)
    calls.attach(pair.client)
    calls.tell("note", {"n": 2})
    pair.settle()

    assert server.seen == [2]


@pytest.mark.conformance("Z19")
def test_calls_before_any_session_fail_after_a_while() -> None:
    """When none comes within the time, the caller is told; the call is not made later."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock, wait=10)
    answer = calls.call("note", {"n": 1})

    clock.advance(9)
    assert not answer.called
    clock.advance(1)

    error = error_of(answer)
    assert isinstance(error, SessionLost)
    assert error.reason == "no-session"
    assert "10 s" in str(error)
    pair = Pair(server=server.handlers, clock=clock)
    calls.attach(pair.client)
    pair.settle()
    assert server.seen == []


@pytest.mark.conformance("Z17", "Z18")
def test_a_call_that_left_is_not_made_again() -> None:
    """Nobody knows whether it was carried out: it fails, once."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    pair = Pair(server=server.handlers, clock=clock)
    calls.attach(pair.client)
    answer = calls.call("hold")
    pair.settle()

    calls.detach()
    pair.lose()

    assert isinstance(error_of(answer), SessionLost)
    assert len(calls) == 0


def test_taking_back() -> None:
    """A call can be taken back while it waits for a session, and after it has left."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    waits = calls.call("note", {"n": 1})
    leaves = calls.call("hold")
    waits.cancel()
    pair = Pair(server=server.handlers, clock=clock)
    calls.attach(pair.client)
    pair.settle()

    leaves.cancel()
    pair.settle()

    assert isinstance(error_of(waits), CallCancelled)
    assert isinstance(error_of(leaves), CallCancelled)
    assert server.seen == []
    assert pair.server.at_work == 0


def test_waiting_calls_are_bounded() -> None:
    """A program that calls on and on without a session is told so."""
    calls = StandingCalls(clock=Clock())
    kept = [calls.call("note") for _ in range(MAX_WAITING)]

    assert isinstance(error_of(calls.call("note")), TooManyCalls)
    assert not any(answer.called for answer in kept)


def test_a_session_that_is_refused() -> None:
    """The calls that waited for it fail with the reason."""
    clock, server = Clock(), Server()
    calls = StandingCalls(clock=clock)
    answer = calls.call("note", {"n": 1})
    pair = Pair(server=server.handlers, clock=clock, decides=False, opens=False)
    calls.attach(pair.client)
    pair.open()

    pair.server.refuse("draining", "going down")
    pair.settle()

    error = error_of(answer)
    assert isinstance(error, SessionLost)
    assert error.reason == "draining"
