"""Whatever two ends do, in whatever order and cut how, every call ends once; and whatever octets come, nothing raises."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.runtime.session.answers import Asked, Handler
from fieldpost.runtime.session.errors import CommandError, SessionError
from fieldpost.wire.session.limits import Limits
from tests.runtime.session.pair import Pair

KINDS = ("echo", "hold", "row", "refuse", "large", "unknown")


class Ends:
    """Both ends call each other; notes how often each call ended."""

    def __init__(self, opens: bool, capacity: int | None) -> None:
        self.held: list[Deferred[Any]] = []
        handlers: dict[str, Handler] = {
            "echo": lambda asked: [asked.args[b"n"], asked.data],
            "hold": self._hold,
            "row": lambda asked: iter([bytes(20_000)] * 5),
            "refuse": self._refuse,
            "large": lambda asked: [bytes(100_000)],
        }
        limits = Limits(active=4, partial=2)
        self.pair = Pair(
            server=handlers,
            client=handlers,
            limits=limits,
            client_limits=limits,
            opens=opens,
            capacity=capacity,
        )
        self.calls: list[Deferred[Any]] = []
        self.ended: list[list[str]] = []

    def call(self, kind: int, large: bool) -> None:
        """One more call, from this end or that."""
        peer = (self.pair.client, self.pair.server)[len(self.calls) % 2]
        call: Deferred[Any] = peer.call(KINDS[kind], {"n": kind}, data=bytes(150_000) if large else None)
        ended: list[str] = []
        call.addCallbacks(lambda _: ended.append("answer"), self._failed, errbackArgs=(ended,))
        self.calls.append(call)
        self.ended.append(ended)

    def act(self, action: int, number: int) -> None:
        """Do this or that."""
        pair = self.pair
        if action <= 3:
            self.call(number % len(KINDS), action == 3)
        elif action == 4 and self.calls:
            self.calls[number % len(self.calls)].cancel()
        elif action == 5 and self.held:
            held = self.held.pop(number % len(self.held))
            if not held.called:
                held.callback([number])
        elif action == 6:
            pair.clock.advance(number / 10)
        elif action >= 7:
            pair.clock.advance(0)
            pair.carry(pair.ends[action % 2], number * number + 1)

    def _failed(self, failure: Any, ended: list[str]) -> None:
        failure.trap(SessionError)
        ended.append("failure")

    def _hold(self, asked: Asked) -> "Deferred[Any]":
        self.held.append(Deferred())
        return self.held[-1]

    def _refuse(self, asked: Asked) -> None:
        raise CommandError("no")


@given(
    st.booleans(),
    st.sampled_from([None, 1_000, 70_000]),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 200)), max_size=60),
    st.booleans(),
)
def test_every_call_ends_once(
    opens: bool, capacity: int | None, actions: list[tuple[int, int]], loses: bool
) -> None:
    """Answered, refused, taken back or lost: each hears of exactly one, and nothing is left over at either end."""
    with capturedLogs() as logs:
        ends = Ends(opens, capacity)
        pair = ends.pair
        for action, number in actions:
            ends.act(action, number)
        if not opens:
            pair.open()
        if not loses:
            pair.settle()
            while ends.held:
                held = ends.held.pop()
                if not held.called:
                    held.callback([])
                pair.settle()
        pair.lose()

    assert [len(ended) for ended in ends.ended] == [1] * len(ends.calls)
    assert pair.client.unanswered == pair.server.unanswered == 0
    assert pair.client.at_work == pair.server.at_work == 0
    assert [event for event in logs if "log_failure" in event] == []


@given(st.booleans(), st.lists(st.binary(max_size=200), max_size=10), st.data())
def test_any_octets(opens: bool, pieces: list[bytes], data: st.DataObject) -> None:
    """Octets of whatever kind end in a session that goes on or one that is over, and never in an exception."""
    pair = Pair(server={"echo": lambda _: []}, opens=opens)
    for end in pair.ends:
        if not opens:
            end.connect()
        answer = end.peer.call("echo")
        answer.addErrback(lambda failure: failure.trap(SessionError))
        if data.draw(st.booleans()):
            end.line.dataReceived(end.wire.take())  # its own octets, reflected
        with capturedLogs() as logs:
            for piece in pieces:
                end.line.dataReceived(piece)
            pair.clock.advance(0)
        assert [event for event in logs if "log_failure" in event] == []
    pair.lose()
