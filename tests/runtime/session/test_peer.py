"""Calls and answers, from one end to the other and back, through real sessions in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.runtime.session.answers import MAX_RUNNING, Asked, Handler
from fieldpost.runtime.session.calls import MAX_WAITING
from fieldpost.runtime.session.errors import (
    CallCancelled,
    CommandError,
    CommandFailed,
    SessionLost,
    SessionRefused,
    TooManyCalls,
)
from fieldpost.runtime.session.peer import Ending, Peer
from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import LocalProtocolError, Malformed
from fieldpost.wire.session.events import Progress
from fieldpost.wire.session.frame import Frame, FrameType, PartFlag, encode_frame
from fieldpost.wire.session.limits import Limits
from tests.runtime.session.pair import Pair, error_of, result_of


def echo(asked: Asked) -> list[Any]:
    return [asked.args, asked.data]


class Held:
    """A handler that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Deferred[Any]] = []

    def __call__(self, asked: Asked) -> "Deferred[Any]":
        answer: Deferred[Any] = Deferred()
        self.asked.append(asked)
        self.answers.append(answer)
        return answer


# Calls


@pytest.mark.conformance("N13")
def test_the_commands_of_the_tutorial() -> None:
    """Random numbers, details of an offer, listening and leaving: plain functions by name, no classes to derive."""
    listeners: list[Asked] = []
    left: list[str] = []

    def listen(asked: Asked) -> "Deferred[None]":
        listeners.append(asked)
        return Deferred(lambda _: left.append("left"))

    pair = Pair(
        server={
            "random": lambda asked: [4] * asked.args[b"count"],
            "details": lambda asked: [{b"offer": asked.args[b"offer"], b"price": 7}],
            "listen": listen,
        }
    )
    offers: list[int] = []
    stream = pair.client.stream("listen", None, offers.append)
    numbers = pair.client.call("random", {"count": 3})
    pair.settle()
    listeners[0].send(12)
    pair.settle()
    details = pair.client.call("details", {"offer": offers[0]})
    pair.settle()
    stream.ended.addErrback(lambda failure: failure.trap(CallCancelled))
    stream.cancel()
    pair.settle()

    assert result_of(numbers) == (4, 4, 4)
    assert result_of(details) == ({b"offer": 12, b"price": 7},)
    assert left == ["left"]


@pytest.mark.conformance("N1", "N6")
def test_a_call_has_its_answer() -> None:
    """What one end asks by name the function that was registered there answers."""
    pair = Pair(server={"echo": echo})

    answer = pair.client.call("echo", {"a": 1, "b": b"two"}, data=b"three")
    pair.settle()

    assert result_of(answer) == ({b"a": 1, b"b": b"two"}, b"three")


@pytest.mark.conformance("N11")
def test_many_calls_at_once_have_their_own_answers() -> None:
    """Calls need not wait for each other, and answers that come in another order find theirs."""
    held = Held()
    pair = Pair(server={"hold": held})
    answers = [pair.client.call("hold", {"n": n}) for n in range(20)]
    pair.settle()

    for asked, answer in reversed(list(zip(held.asked, held.answers, strict=True))):
        answer.callback([asked.args[b"n"]])
    pair.settle()

    assert [result_of(answer) for answer in answers] == [(n,) for n in range(20)]


@pytest.mark.conformance("N11")
def test_calls_beyond_the_peers_limit_wait_their_turn() -> None:
    """What the peer does not take at once waits here, in order, and a limit of one is the tutorial's spool."""
    held = Held()
    pair = Pair(server={"hold": held}, limits=Limits(active=1))
    answers = [pair.client.call("hold", {"n": n}) for n in range(5)]

    for n in range(5):
        pair.settle()
        assert [asked.args[b"n"] for asked in held.asked] == list(range(n + 1))
        held.answers[n].callback([n])
    pair.settle()

    assert [result_of(answer) for answer in answers] == [(n,) for n in range(5)]


@pytest.mark.conformance("N11")
def test_calls_with_data_keep_to_what_the_peer_takes_in_parts() -> None:
    """Many calls with much data at once: none is refused for it."""
    pair = Pair(server={"size": lambda asked: [len(asked.data or b"")]}, limits=Limits(partial=2))

    answers = [pair.client.call("size", data=bytes(size)) for size in (100_000, 1, 700_000, 40_000, 0) * 3]
    pair.settle()

    assert [result_of(answer) for answer in answers] == [(n,) for n in (100_000, 1, 700_000, 40_000, 0) * 3]


@pytest.mark.conformance("N11")
def test_calls_with_data_keep_to_what_the_peer_holds() -> None:
    """As much as it said, over all that it is at work on; the rest waits, and none is refused for it."""
    held = Held()
    pair = Pair(server={"hold": held}, limits=Limits(data=1_000_000))
    answers = [pair.client.call("hold", {"n": n}, data=bytes(400_000)) for n in range(5)]

    for n in range(5):
        pair.settle()
        assert [asked.args[b"n"] for asked in held.asked] == list(range(min(n + 2, 5)))
        held.answers[n].callback([n])
    pair.settle()

    assert [result_of(answer) for answer in answers] == [(n,) for n in range(5)]


def test_a_call_with_more_data_than_the_peer_ever_holds() -> None:
    """It waits for nothing: the peer says what it makes of it, and those behind it have their turn."""
    pair = Pair(server={"size": lambda asked: [len(asked.data or b"")]}, limits=Limits(data=100_000))
    answers = [pair.client.call("size", data=bytes(size)) for size in (60_000, 200_000, 60_000)]
    pair.settle()

    assert [result_of(answers[0]), result_of(answers[2])] == [(60_000,)] * 2
    error = error_of(answers[1])
    assert isinstance(error, CommandFailed)
    assert error.code == "too-large"


@pytest.mark.conformance("N11")
def test_calls_that_wait_are_bounded() -> None:
    """A program that asks without end is told so, and what was asked before is not touched."""
    pair = Pair(server={"hold": Held()}, limits=Limits(active=1))

    answers = [pair.client.call("hold") for _ in range(1 + MAX_WAITING)]

    assert isinstance(error_of(pair.client.call("hold")), TooManyCalls)
    assert not any(answer.called for answer in answers)
    assert pair.client.unanswered == 1 + MAX_WAITING


def test_a_call_that_waits_can_be_taken_back() -> None:
    """It never reaches the peer."""
    held = Held()
    pair = Pair(server={"hold": held}, limits=Limits(active=1))
    pair.client.call("hold", {"n": 0})
    second = pair.client.call("hold", {"n": 1})
    third = pair.client.call("hold", {"n": 2})

    second.cancel()
    pair.settle()
    held.answers[0].callback([])
    pair.settle()

    assert isinstance(error_of(second), CallCancelled)
    assert [asked.args[b"n"] for asked in held.asked] == [0, 2]
    assert not third.called


@pytest.mark.conformance("N10", "N24")
def test_a_call_from_within_an_answer() -> None:
    """The callback of an answer may ask the next thing, also when one call at a time is all the peer takes."""
    pair = Pair(server={"echo": echo}, limits=Limits(active=1))

    first = pair.client.call("echo", {"n": 1})
    first.addCallback(lambda _: pair.client.call("echo", {"n": 2}))
    pair.settle()

    assert result_of(first) == ({b"n": 2}, None)


@pytest.mark.conformance("N10")
def test_a_call_is_forgotten_before_its_answer_is_told() -> None:
    """The callback may do anything, end the session even: its own call is over and is not failed as well."""
    pair = Pair(server={"echo": echo})
    seen: list[int] = []

    def end(values: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(pair.client.unanswered)
        pair.lose()
        return values

    answer = pair.client.call("echo", {"n": 1}).addCallback(end)
    pair.settle()

    assert result_of(answer) == ({b"n": 1}, None)
    assert seen == [0]


@pytest.mark.conformance("N24")
def test_a_call_from_within_a_handler() -> None:
    """A handler may ask the one who asks it, and answer with what it hears."""
    server: dict[str, Handler] = {
        "ask-back": lambda _: pair.server.call("name").addCallback(lambda answer: [b"you are", *answer])
    }
    pair = Pair(server=server, client={"name": lambda _: [b"Ada"]})

    answer = pair.client.call("ask-back")
    pair.settle()

    assert result_of(answer) == (b"you are", b"Ada")


def test_what_the_peer_refuses() -> None:
    """A refusal has the handler's code, text and details; the next call works."""

    def refuse(asked: Asked) -> None:
        raise CommandError("too-soon", "100 % too soon", status=503, retry_after=7)

    pair = Pair(server={"refuse": refuse, "echo": echo})

    refused = pair.client.call("refuse")
    pair.settle()

    error = error_of(refused)
    assert isinstance(error, CommandFailed)
    assert (error.code, error.text) == ("too-soon", "100 % too soon")
    assert error.details["retry_after"] == 7
    assert error.details["status"] == 503
    answer = pair.client.call("echo")
    pair.settle()
    assert result_of(answer) == ({}, None)


def test_arguments_that_do_not_travel() -> None:
    """The caller hears of it, and nothing is sent."""
    pair = Pair(server={"echo": echo})

    answer = pair.client.call("echo", {"a": object()})

    assert isinstance(error_of(answer), LocalProtocolError)
    assert pair.client.unanswered == 0


def test_a_call_that_waited_and_does_not_travel() -> None:
    """It fails when its turn comes; those behind it have theirs."""
    pair = Pair(server={"echo": echo}, limits=Limits(active=1))
    first = pair.client.call("echo", {"n": 1})
    wrong = pair.client.call("echo", {"n": object()})
    last = pair.client.call("echo", {"n": 2})
    pair.settle()

    assert isinstance(error_of(wrong), LocalProtocolError)
    assert [result_of(answer)[0] for answer in (first, last)] == [{b"n": 1}, {b"n": 2}]


def test_an_answer_larger_than_is_kept() -> None:
    """It is not read to its end, and the session goes on."""
    pair = Pair(server={"echo": echo, "much": lambda _: iter([bytes(50_000)] * 100)}, max_answer=200_000)

    answer = pair.client.call("much")
    pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert error.code == "too-large"
    assert pair.server.at_work == 0
    again = pair.client.call("echo")
    pair.settle()
    assert result_of(again) == ({}, None)


def test_a_value_that_cannot_be_handled() -> None:
    """It is logged, whether that shows at once or later; the values behind it come, and the end."""
    seen: list[int] = []

    def at_once(value: int) -> None:
        seen.append(value)
        raise ZeroDivisionError

    async def later(value: int) -> None:
        at_once(value)

    pair = Pair(server={"count": lambda _: range(3)})
    with capturedLogs() as logs:
        answers = [pair.client.call("count", on_value=handler) for handler in (at_once, later)]
        pair.settle()

    assert [result_of(answer) for answer in answers] == [(), ()]
    assert seen == [0, 1, 2] * 2
    assert len([event for event in logs if "log_failure" in event]) == 6


def test_many_values_one_by_one() -> None:
    """Who wants the values of an answer as they come has them in order, and none in the end."""
    seen: list[int] = []
    pair = Pair(server={"count": lambda _: iter(range(1000))})

    answer = pair.client.call("count", on_value=seen.append)
    pair.settle()

    assert seen == list(range(1000))
    assert result_of(answer) == ()


def test_values_come_while_the_answer_is_open() -> None:
    """A stream has each value when it is sent, and its end when that comes."""
    held = Held()
    seen: list[int] = []
    pair = Pair(server={"watch": held})
    stream = pair.client.stream("watch", None, seen.append)
    pair.settle()

    held.asked[0].send(1)
    pair.settle()
    assert seen == [1]
    held.asked[0].send(2)
    held.answers[0].callback([3])
    pair.settle()

    assert seen == [1, 2, 3]
    assert result_of(stream.ended) is None


def test_text_and_progress_come_beside_the_answer() -> None:
    """People at the other end see what is said and how far it is."""
    said: list[str] = []
    steps: list[Progress] = []

    def work(asked: Asked) -> list[str]:
        asked.output("100 % sure, é")
        asked.progress("files", 1, 2)
        return ["done"]

    pair = Pair(server={"work": work})
    answer = pair.client.call("work", on_output=said.append, on_progress=steps.append)
    pair.settle()

    assert said == ["100 % sure, é"]
    assert [(step.topic, step.position, step.total) for step in steps] == [(b"files", 1, 2)]
    assert result_of(answer) == ("done",)


def test_more_than_the_window() -> None:
    """An answer far larger than the credit comes whole, whoever gathers it."""
    pair = Pair(server={"much": lambda _: [b"x" * 300_000] * 10})

    answer = pair.client.call("much")
    pair.settle()

    assert [len(value) for value in result_of(answer)] == [300_000] * 10


def test_a_slow_reader_holds_the_writer_back() -> None:
    """While a value is being handled the peer may send no more than the window; then it goes on."""
    drawn: list[int] = []
    doing: list[Deferred[None]] = []

    def many(asked: Asked) -> Iterator[bytes]:
        for n in range(100):
            drawn.append(n)
            yield b"x" * 20_000

    def slowly(value: bytes) -> "Deferred[None]":
        doing.append(Deferred())
        return doing[-1]

    pair = Pair(server={"many": many})
    answer = pair.client.call("many", on_value=slowly)
    pair.settle()

    assert len(drawn) < 40
    while not answer.called:
        waiting, doing = doing, []
        for one in waiting:
            one.callback(None)
        pair.settle()
    assert drawn == list(range(100))


# Answers that nobody asked for


def response(request: int, values: bytes, *, end: bool = True) -> bytes:
    """A response frame of the server, its status before the values."""
    flags = PartFlag.END if end else PartFlag.CONTINUATION
    payload = encode({b"status": b"ok"}) + values
    return encode_frame(
        Frame(FrameType.RESPONSE, request, stream=2, stream_flags=0, flags=flags, payload=payload)
    )


@pytest.mark.conformance("N8")
def test_an_answer_to_nothing() -> None:
    """It is no crash: the session ends with a reason, at both ends."""
    pair = Pair()

    with capturedLogs() as logs:
        pair.client_end.line.dataReceived(response(7, b"\x01"))
        pair.settle()
        pair.wait(11)

    assert {event["log_level"].name for event in logs} == {"warn"}
    assert "7" in result_of(pair.client.lost).text
    assert pair.server.ending is not None


@pytest.mark.conformance("N8", "N9")
def test_a_second_answer_fires_nothing_twice() -> None:
    """The first answer is the answer; what comes behind it under the same id belongs to nobody."""
    pair = Pair(server={"hold": Held()})
    fired: list[Any] = []
    pair.client.call("hold").addBoth(fired.append)
    pair.settle()

    with capturedLogs():
        pair.client_end.line.dataReceived(response(1, b"\x01") + response(1, b"\x02"))

    assert fired == [(1,)]
    assert pair.client.ending is not None


@pytest.mark.conformance("N8")
def test_an_answer_to_what_was_taken_back() -> None:
    """It crossed the cancel: it is passed over, and the session lives."""
    pair = Pair(server={"hold": Held(), "echo": echo})
    call = pair.client.call("hold")
    pair.settle()
    call.cancel()
    pair.clock.advance(0)

    pair.client_end.line.dataReceived(response(1, b"\x01", end=False))

    assert isinstance(error_of(call), CallCancelled)
    assert pair.client.is_open


# Order


@pytest.mark.conformance("Z20", "Z21", "N12")
@pytest.mark.parametrize("size", [None, 1])
def test_everything_is_handled_in_the_order_in_which_it_came(size: int | None) -> None:
    """What the peer said before an answer is seen before it, what it said after is seen after; in one piece or many."""
    seen: list[str] = []

    def act(asked: Asked) -> list[str]:
        pair.server.tell("note", {"n": "before"})
        asked.output("text")
        return ["answer"]

    def answered(values: tuple[Any, ...]) -> None:
        seen.append(values[0])
        pair.server.tell("note", {"n": "after"})

    pair = Pair(server={"act": act}, client={"note": lambda asked: seen.append(asked.args[b"n"])})
    pair.client.call("act", on_output=seen.append).addCallback(answered)
    pair.clock.advance(0)
    pair.carry(pair.client_end)
    pair.clock.advance(0)
    while pair.server_end.wire.held:
        pair.carry(pair.server_end, size)
    pair.settle()

    assert seen == ["before", "text", "answer", "after"]


@pytest.mark.conformance("M76")
@pytest.mark.parametrize("takes", ["each", "all"])
def test_an_answer_that_breaks_off(takes: str) -> None:
    """Whoever reads its values, one by one or together, hears that they are not all."""

    def count(asked: Asked) -> Iterator[int]:
        yield from range(3)
        raise CommandError("broke", "the disk went away")

    seen: list[int] = []
    pair = Pair(server={"count": count})
    answer = pair.client.call("count", on_value=seen.append if takes == "each" else None)
    pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert (error.code, error.text) == ("broke", "the disk went away")
    assert seen == ([0, 1, 2] if takes == "each" else [])


@pytest.mark.conformance("Z22")
def test_what_goes_wrong_with_one_does_not_touch_the_next() -> None:
    """Handlers and callbacks that raise in the midst of a piece lose nothing of the rest of it."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    pair = Pair(server={"fail": fail, "echo": echo, "say": lambda asked: asked.output("x")})
    with capturedLogs() as logs:
        answers = [
            pair.client.call("fail"),
            pair.client.call("say", on_output=fail),
            pair.client.call("echo"),
        ]
        pair.settle()

    first, second, third = answers
    error = error_of(first)
    assert isinstance(error, CommandFailed)
    assert error.code == "internal"
    assert result_of(second) == ()
    assert result_of(third) == ({}, None)
    assert len([event for event in logs if "log_failure" in event]) == 2


# Handlers


@pytest.mark.conformance("N21")
@pytest.mark.parametrize("name", ["unknown", "", "é" * 300])
def test_an_unknown_name_is_refused_and_the_session_lives(name: str) -> None:
    """Either end that is asked for what it has not says so, and goes on."""
    pair = Pair(server={"echo": echo}, client={"echo": echo})

    for peer in (pair.client, pair.server):
        refused = peer.call(name)
        pair.settle()
        error = error_of(refused)
        assert isinstance(error, CommandFailed)
        assert error.code == "unknown-command"
        answer = peer.call("echo", {"a": 1})
        pair.settle()
        assert result_of(answer) == ({b"a": 1}, None)


@pytest.mark.conformance("N21")
@pytest.mark.parametrize(
    ("handler", "values"),
    [
        (lambda _: None, ()),
        (lambda _: [], ()),
        (lambda _: (1, 2), (1, 2)),
        (lambda _: iter((1, 2)), (1, 2)),
        (lambda _: range(3), (0, 1, 2)),
    ],
)
def test_the_server_asks_and_the_client_answers_once(handler: Handler, values: tuple[Any, ...]) -> None:
    """Whatever form a handler's answer has, the one who asked has it, once."""
    pair = Pair(client={"exchange-now": handler})
    fired: list[Any] = []

    pair.server.call("exchange-now").addBoth(fired.append)
    pair.settle()

    assert fired == [values]


def test_coroutines_answer_too() -> None:
    """A handler may be a coroutine that waits for something."""
    gate: Deferred[int] = Deferred()

    async def later(asked: Asked) -> list[int]:
        return [await gate]

    pair = Pair(server={"later": later})
    answer = pair.client.call("later")
    pair.settle()
    assert not answer.called

    gate.callback(5)
    pair.settle()

    assert result_of(answer) == (5,)


class Trap:
    """A row that cannot be gone through."""

    def __iter__(self) -> Iterator[int]:
        raise ZeroDivisionError


@pytest.mark.parametrize("wrong", [Trap(), "text", b"octets", {b"a": 1}, 5])
@pytest.mark.parametrize("later", [False, True])
def test_an_answer_that_is_no_row_of_values(wrong: Any, later: bool) -> None:
    """A handler's mistake is in its log; the one who asked hears that it failed."""
    pair = Pair(server={"wrong": lambda _: succeed(wrong) if later else wrong})

    with capturedLogs() as logs:
        answer = pair.client.call("wrong")
        pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert error.code == "internal"
    assert "log_failure" in logs[0]


@pytest.mark.parametrize("when", ["at once", "later", "drawn", "sent", "refused"])
def test_values_that_do_not_travel(when: str) -> None:
    """They end in a refusal and a line in the log, whichever way they were given."""

    async def give(asked: Asked) -> list[Any]:
        if when == "sent":
            asked.send(object())
        if when == "refused":
            raise CommandError("no", "no", why=object())
        return [object()]

    def handler(asked: Asked) -> Any:
        if when == "at once":
            return [object()]
        return iter([object()]) if when == "drawn" else give(asked)

    pair = Pair(server={"wrong": handler, "echo": echo})
    with capturedLogs() as logs:
        answer = pair.client.call("wrong")
        pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert error.code == "internal"
    assert any("log_failure" in event for event in logs)
    assert pair.server.at_work == 0


def test_arguments_of_the_wrong_shape_are_the_peers_fault() -> None:
    """What a handler finds malformed is refused as that, and not logged as a failure of ours."""

    def strict(asked: Asked) -> None:
        raise Malformed("`topics` is no list")

    pair = Pair(server={"strict": strict})
    with capturedLogs() as logs:
        answer = pair.client.call("strict")
        pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert (error.code, error.text) == ("malformed", "`topics` is no list")
    assert logs == []


def test_handlers_that_never_end_are_bounded() -> None:
    """A peer that asks and takes back for ever cannot have more at work than there may be."""
    stubborn: list[Deferred[None]] = []

    async def shielded(asked: Asked) -> None:
        while True:
            stubborn.append(Deferred())
            try:
                await stubborn[-1]
                return
            except CancelledError:
                continue

    pair = Pair(server={"stubborn": shielded}, limits=Limits(control_frames=100_000))
    for _ in range(MAX_RUNNING):
        call = pair.client.call("stubborn")
        call.addErrback(lambda _: None)
        pair.settle()
        call.cancel()
        pair.settle()

    answer = pair.client.call("stubborn")
    pair.settle()

    error = error_of(answer)
    assert isinstance(error, CommandFailed)
    assert error.code == "busy"
    for one in stubborn:
        if not one.called:
            one.callback(None)
    answer = pair.client.call("stubborn")
    pair.settle()
    assert not answer.called
    answer.addErrback(lambda _: None)


# Taking back


def test_a_call_taken_back_stops_the_handler() -> None:
    """The caller hears at once that it is taken back; the handler is cancelled, and says nothing more."""
    held = Held()
    pair = Pair(server={"hold": held, "echo": echo})
    answer = pair.client.call("hold")
    pair.settle()
    held.answers[0].addErrback(lambda failure: failure.trap(CancelledError))

    answer.cancel()
    assert isinstance(error_of(answer), CallCancelled)
    pair.settle()

    assert held.answers[0].called
    assert held.asked[0].is_over
    with pytest.raises(CallCancelled):
        held.asked[0].send(1)
    again = pair.client.call("echo")
    pair.settle()
    assert result_of(again) == ({}, None)


@pytest.mark.conformance("N18")
def test_values_in_flight_are_not_told_after_a_cancel() -> None:
    """What the peer sent before it heard of the cancel is passed over, to the end."""
    held = Held()
    seen: list[int] = []
    pair = Pair(server={"watch": held, "echo": echo})
    stream = pair.client.stream("watch", None, seen.append)
    pair.settle()
    held.asked[0].send(1)

    stream.cancel()
    pair.settle()

    assert seen == []
    assert isinstance(error_of(stream.ended), CallCancelled)
    assert held.asked[0].is_over
    assert pair.server.at_work == 0
    answer = pair.client.call("echo")
    pair.settle()
    assert result_of(answer) == ({}, None)


def test_a_cancel_from_within() -> None:
    """A value may be the last that is wanted: those behind it in the same piece are not told."""
    seen: list[int] = []
    pair = Pair(server={"count": lambda _: list(range(5))})

    def once(value: int) -> None:
        seen.append(value)
        stream.cancel()

    stream = pair.client.stream("count", None, once)
    stream.ended.addErrback(lambda failure: failure.trap(CallCancelled))
    pair.settle()

    assert seen == [0]


def test_a_cancel_that_crosses_the_answer() -> None:
    """It is no error, at either end."""
    pair = Pair(server={"echo": echo})
    answer = pair.client.call("echo")
    pair.clock.advance(0)
    pair.carry(pair.client_end)

    answer.cancel()
    pair.settle()

    assert isinstance(error_of(answer), CallCancelled)
    assert pair.client.is_open
    assert pair.server.is_open


def test_a_call_and_its_cancel_in_one_piece() -> None:
    """The handler runs, and what it gives is dropped, without a word in the log."""
    seen: list[Asked] = []

    def note(asked: Asked) -> list[int]:
        seen.append(asked)
        return [1]

    pair = Pair(server={"note": note, "send": lambda asked: asked.send(1)})
    with capturedLogs() as logs:
        for name in ("note", "send", "unknown"):
            answer = pair.client.call(name)
            answer.addErrback(lambda failure: failure.trap(CallCancelled))
            pair.clock.advance(0)
            answer.cancel()
            pair.settle()

    assert [event for event in logs if "log_failure" in event] == []
    assert pair.server.at_work == 0


# Before the session is open


@pytest.mark.conformance("Z2", "Z3")
def test_calls_made_too_early_leave_first_and_in_order() -> None:
    """Calls wait for the session; those made when it opens come behind them."""
    seen: list[str] = []

    def note(asked: Asked) -> None:
        seen.append(asked.args[b"n"])

    pair = Pair(server={"note": note}, opens=False)
    for n in ("1", "2"):
        pair.client.tell("note", {"n": n})
    pair.client.opened.addCallback(lambda _: pair.client.tell("note", {"n": "3"}))
    assert seen == []

    pair.open()

    assert seen == ["1", "2", "3"]
    assert pair.client.is_open
    assert pair.client.agreement is not None
    assert pair.client.agreement.connection == (b"server-1", 1)


@pytest.mark.conformance("Z2", "Z3")
def test_more_early_calls_than_the_session_keeps() -> None:
    """They wait here too, and still leave in order."""
    seen: list[int] = []

    def note(asked: Asked) -> None:
        seen.append(asked.args[b"n"])

    pair = Pair(server={"note": note}, opens=False)
    for n in range(300):
        pair.client.tell("note", {"n": n})
    pair.client.opened.addCallback(lambda _: pair.client.tell("note", {"n": 300}))

    pair.open()

    assert seen == list(range(301))


@pytest.mark.conformance("Z9")
def test_a_refusal_reaches_every_early_call() -> None:
    """When there will be no session, no call is left waiting, and all know why."""
    pair = Pair(server={"echo": echo}, opens=False, decides=False)
    answers = [pair.client.call("echo") for _ in range(100)]
    opened = pair.client.opened
    pair.open()

    pair.server.refuse("draining", "this server goes down", retry_after=30)
    pair.settle()

    refusal = error_of(opened)
    assert isinstance(refusal, SessionRefused)
    assert (refusal.reason, refusal.by_peer, refusal.retry_after) == ("draining", True, 30)
    assert all(isinstance(error_of(answer), SessionLost) for answer in answers)
    ending = result_of(pair.client.lost)
    assert (ending.reason, ending.retry_after) == ("draining", 30)


@pytest.mark.parametrize("known", [b"secret", b"another"])
def test_a_proof_is_shown_and_looked_at(known: bytes) -> None:
    """An agent shows that it has the secret of its id; who decides knows whether it is the right one."""
    pair = Pair(server={"echo": echo}, secret=b"secret", decides=False)
    ((peer, offered),) = pair.offers

    assert offered.hello.id == "a:7"
    assert peer.is_proved_by(known) is (known == b"secret")
    peer.decide(connection=(b"server-1", 1), session=bytes(16), allowed=["echo"])
    pair.settle()

    assert pair.client.is_open
    assert pair.server.hello == offered.hello


def test_a_decision_that_allows_little() -> None:
    """What is not allowed is refused before any handler of it is called."""
    held = Held()
    pair = Pair(server={"echo": echo, "hold": held}, decides=False)
    pair.offers[0][0].decide(connection=(b"server-1", 1), session=bytes(16), allowed=["echo"])
    pair.settle()

    refused, answer = pair.client.call("hold"), pair.client.call("echo")
    pair.settle()

    error = error_of(refused)
    assert isinstance(error, CommandFailed)
    assert error.code == "not-registered"
    assert held.asked == []
    assert result_of(answer) == ({}, None)


# The end


@pytest.mark.conformance("Z17")
def test_a_lost_connection_fails_every_call_once() -> None:
    """Calls under way, and those that waited for their turn, fail with one error; their handlers are stopped."""
    held = Held()
    pair = Pair(server={"hold": held}, limits=Limits(active=2))
    fired: list[Any] = []
    answers = [pair.client.call("hold") for _ in range(4)]
    for answer in answers:
        answer.addBoth(fired.append)
    pair.settle()
    held.answers[0].addErrback(lambda failure: failure.trap(CancelledError))
    held.answers[1].addErrback(lambda failure: failure.trap(CancelledError))

    pair.lose()
    pair.lose()

    assert [failure.check(SessionLost) for failure in fired] == [SessionLost] * 4
    assert {failure.value.reason for failure in fired} == {"lost"}
    assert all(asked.is_over for asked in held.asked)
    assert isinstance(error_of(pair.client.call("hold")), SessionLost)
    assert result_of(pair.client.lost).reason == "lost"
    assert pair.clock.getDelayedCalls() == []


@pytest.mark.conformance("M8")
def test_a_connection_lost_inside_a_frame() -> None:
    """Whoever looks for the reason reads what was missing."""
    pair = Pair()
    pair.client_end.line.dataReceived(response(1, b"\x01")[:-1])

    pair.lose()

    assert result_of(pair.client.lost).text.endswith("1 octets of its payload are missing")


def test_a_call_made_when_others_fail() -> None:
    """The errback of a lost call may try again, and is told at once that there is nobody."""
    pair = Pair(server={"hold": Held()})
    answer = pair.client.call("hold")
    answer.addErrback(lambda _: pair.client.call("hold"))
    pair.settle()

    pair.lose()

    assert isinstance(error_of(answer), SessionLost)


def test_one_failed_call_cancels_another() -> None:
    """A group of calls of which one takes back the rest ends in order."""
    pair = Pair(server={"hold": Held()}, limits=Limits(active=1))
    answers = [pair.client.call("hold") for _ in range(3)]

    def give_up(_: Failure) -> None:
        answers[1].cancel()
        answers[2].cancel()

    answers[0].addErrback(give_up)
    pair.settle()

    pair.lose()

    assert result_of(answers[0]) is None
    assert all(isinstance(error_of(answer), SessionLost | CallCancelled) for answer in answers[1:])


def test_calls_that_wait_cancel_each_other_when_they_fail() -> None:
    """The errback of one may take back the next, which is failing too."""
    pair = Pair(server={"hold": Held()}, limits=Limits(active=1))
    answers = [pair.client.call("hold") for _ in range(3)]
    answers[0].addErrback(lambda failure: failure.trap(SessionLost))
    answers[1].addErrback(lambda _: answers[2].cancel())
    pair.settle()

    pair.lose()

    assert result_of(answers[1]) is None
    assert isinstance(error_of(answers[2]), CallCancelled)


@pytest.mark.conformance("N22")
def test_a_goodbye_says_when_and_where_to_come_back() -> None:
    """A server that goes down tells its peer why, for how long and where to go; what runs may end first."""
    held = Held()
    pair = Pair(server={"hold": held})
    answer = pair.client.call("hold")
    pair.settle()

    pair.server.close("shutdown", retry_after=5, location="https://b.example/session/default")
    pair.settle()
    assert not pair.client.is_open
    assert isinstance(error_of(pair.client.call("hold")), SessionLost)
    held.answers[0].callback([b"just in time"])
    pair.wait(11)

    assert result_of(answer) == (b"just in time",)
    assert result_of(pair.client.lost) == Ending(
        reason="shutdown",
        text="the peer is shutting down",
        by_peer=True,
        retry_after=5,
        location="https://b.example/session/default",
    )
    assert result_of(pair.server.lost).reason == "shutdown"


@pytest.mark.conformance("F39")
def test_the_calls_of_a_replaced_connection() -> None:
    """They fail with the reason that the peer gave: another connection has taken this one's place."""
    pair = Pair(client={"echo": echo}, server={"hold": Held()})
    answer = pair.client.call("hold")
    pair.settle()

    pair.server.close("replaced")
    pair.settle()
    pair.wait(11)

    error = error_of(answer)
    assert isinstance(error, SessionLost)
    assert error.reason == "replaced"
    assert str(error) == "replaced by a new connection"


def test_a_broken_rule_ends_the_session() -> None:
    """Octets that are no frame end it, at the side that sees them with the rule that was broken."""
    pair = Pair(server={"hold": Held()})
    answer = pair.client.call("hold")
    pair.settle()

    with capturedLogs() as logs:
        pair.client_end.line.dataReceived(b"\x00\x00\x00\x00\x00\x02\x00\x4f")
        pair.settle()
        pair.wait(11)

    assert isinstance(error_of(answer), SessionLost)
    assert "broke a rule" in result_of(pair.client.lost).text
    assert not pair.client_end.is_connected
    assert len(logs) >= 1


@pytest.mark.conformance("Z23")
def test_a_silent_session_is_pinged() -> None:
    """While nothing else is said the ends ask each other whether they live, until the connection is lost."""
    pair = Pair()
    pair.wait(300)
    assert pair.client.is_open
    assert pair.server.is_open
    assert pair.client_end.wire.writes > 8

    pair.lose()

    assert pair.clock.getDelayedCalls() == []


@pytest.mark.conformance("Z23")
def test_a_dead_peer_is_given_up() -> None:
    """A peer that says nothing though it was asked is taken for dead, and its calls fail."""
    pair = Pair(server={"hold": Held()})
    answer = pair.client.call("hold")

    for _ in range(60):
        pair.clock.advance(1)

    error = error_of(answer)
    assert isinstance(error, SessionLost)
    assert error.reason == "dead"
    assert pair.client_end.wire.is_cut


def test_probing() -> None:
    """A peer that lives says so; of one that is gone that is found out in time."""
    pair = Pair()
    alive = pair.client.probe()
    pair.settle()
    assert result_of(alive) is True

    gone = pair.client.probe()
    also = pair.client.probe()
    pair.clock.advance(6)

    assert result_of(gone) is False
    assert result_of(also) is False
    pair.lose()
    assert result_of(pair.client.probe()) is False


def test_a_peer_without_a_decider() -> None:
    """Who accepts sessions and has nobody to decide about them refuses them."""
    pair = Pair(opens=False, decides=False)
    lonely = Peer(clock=pair.clock, handlers={})
    lonely.start(pair.server_end.session, pair.server_end.line)
    pair.server_end.line._peer = lonely

    pair.open()

    assert isinstance(error_of(pair.client.opened), SessionRefused)
