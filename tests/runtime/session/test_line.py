"""What a line writes when, how it holds back, and how it ends."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from fieldpost.runtime.session.answers import Asked
from fieldpost.runtime.session.errors import SessionLost
from fieldpost.runtime.session.line import GOODBYE, HELD_OCTETS, hold_little
from fieldpost.wire.session.limits import Limits
from tests.runtime.session.pair import Pair, error_of, result_of

KIB = 1024
MUCH = 3 * KIB * KIB


def echo(asked: Asked) -> list[Any]:
    return [asked.args.get(b"n")]


def test_one_write_for_all_that_a_turn_says() -> None:
    """However many calls are made in a turn, and however many are answered in one, they leave in one write."""
    pair = Pair(server={"echo": echo})
    client, server = pair.client_end.wire, pair.server_end.wire
    client.writes = server.writes = 0

    answers = [pair.client.call("echo", {"n": n}) for n in range(50)]
    assert client.writes == 0
    assert len(pair.clock.getDelayedCalls()) == 3  # two sessions', and one for the writing
    pair.settle()
    assert len(pair.clock.getDelayedCalls()) == 2

    assert [result_of(answer) for answer in answers] == [(n,) for n in range(50)]
    assert (client.writes, server.writes) == (1, 1)


def test_what_is_asked_in_an_answer_leaves_at_once() -> None:
    """A call made while octets are handled waits for no other turn of the reactor."""
    pair = Pair(server={"echo": echo})
    pair.client.call("echo").addCallback(lambda _: pair.client.call("echo"))
    pair.clock.advance(0)
    pair.carry(pair.client_end)
    assert pair.client_end.wire.held == b""

    pair.carry(pair.server_end)

    assert pair.client_end.wire.held != b""


@pytest.mark.conformance("Z28")
def test_octets_come_one_at_a_time() -> None:
    """How the octets are cut makes no difference, from the first to the last."""
    pair = Pair(server={"echo": echo}, opens=False)
    for end in pair.ends:
        end.connect()
    answer = pair.client.call("echo", {"n": 1}, data=b"x" * 1000)

    for _ in range(5_000):
        pair.clock.advance(0)
        pair.carry(pair.client_end, 1)
        pair.carry(pair.server_end, 1)

    assert result_of(answer) == (1,)


# Full transports


def test_a_kernel_that_holds_little() -> None:
    """On a slow line what is short does not stand behind all that a large send buffer takes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        hold_little(one)

        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == HELD_OCTETS
        one.getpeername()
    for nothing in (one, object()):
        hold_little(nothing)


@pytest.mark.conformance("Z24")
@pytest.mark.parametrize("drawn", [False, True])
def test_a_transport_that_takes_two(drawn: bool) -> None:
    """Four messages leave two by two when the transport takes two, those of an iterator included."""
    size = 60 * KIB
    made: list[int] = []

    def row(asked: Asked) -> Iterator[bytes]:
        for n in range(4):
            made.append(n)
            yield bytes([n]) * size

    seen: list[int] = []
    pair = Pair(server={"row": row, "one": lambda _: [bytes(size)]}, capacity=2 * size)
    if drawn:
        answers = [pair.client.call("row", on_value=lambda value: seen.append(len(value)))]
    else:
        answers = [pair.client.call("one") for _ in range(4)]
    pair.clock.advance(0)
    pair.carry(pair.client_end)
    pair.clock.advance(0)

    left = []
    while pair.server_end.wire.held:
        left.append(round(len(pair.server_end.wire.held) / size))
        if drawn:
            assert len(made) <= 2 * len(left)
        pair.carry(pair.server_end)
        pair.carry(pair.client_end)

    pair.settle()
    assert [count for count in left if count] == [2, 2]  # and perhaps an end without a value
    assert all(answer.called for answer in answers)
    assert seen == ([size] * 4 if drawn else [])


def test_nothing_is_written_to_a_full_transport() -> None:
    """What is said meanwhile waits, and leaves when there is room."""
    pair = Pair(server={"echo": echo})
    pair.client_end.line.pauseProducing()

    answer = pair.client.call("echo", {"n": 1})
    pair.settle()
    assert not answer.called

    pair.client_end.line.resumeProducing()
    pair.settle()
    assert result_of(answer) == (1,)


@pytest.mark.conformance("Z24")
def test_iterators_wait_while_much_is_unsent() -> None:
    """Many large answers at once do not pile up beyond the bound."""
    made: list[int] = []

    def row(asked: Asked) -> Iterator[bytes]:
        for _ in range(100):
            made.append(1)
            yield bytes(60 * KIB)

    pair = Pair(server={"row": row}, pause_at=200 * KIB)
    answers = [pair.client.call("row", on_value=lambda _: Deferred()) for _ in range(20)]
    pair.settle()

    assert pair.server_end.session.unsent < 400 * KIB
    assert not any(answer.called for answer in answers)


def test_large_data_are_fed_as_they_are_taken() -> None:
    """A call with much data does not queue it all: what lies here stays small, and it arrives whole."""
    pair = Pair(server={"size": lambda asked: [len(asked.data or b"")]}, capacity=100 * KIB)
    most = 0

    answer = pair.client.call("size", data=bytes(20 * KIB * KIB))
    while not answer.called:
        pair.clock.advance(0)
        most = max(most, pair.client_end.session.unsent)
        pair.carry(pair.client_end)
        pair.carry(pair.server_end)

    assert result_of(answer) == (20 * KIB * KIB,)
    assert most < 500 * KIB


@pytest.mark.parametrize("answers", [False, True])
def test_others_have_their_turn_while_much_is_packed(answers: bool) -> None:
    """However little comes of it, so that the transport is never full: no turn packs more than half a MiB."""
    text = bytes(8 * KIB * KIB)

    def get(asked: Asked) -> list[Any]:
        asked.bulk = True
        return [text]

    pair = Pair(server={"get": get, "put": lambda asked: [asked.data == text]})
    done = pair.client.call("get") if answers else pair.client.call("put", data=text, bulk=True)

    turns = 0

    def other() -> None:
        nonlocal turns
        turns += 1
        if pair.client_end.session.has_more or pair.server_end.session.has_more:
            pair.clock.callLater(0, other)

    if answers:
        pair.clock.advance(0)
        pair.carry(pair.client_end)
    pair.clock.callLater(0, other)
    pair.settle()

    assert result_of(done) == ((text,) if answers else (True,))
    assert turns >= 8 * 2


@pytest.mark.parametrize("active", [1, 64])
def test_large_data_of_a_call_made_too_early(active: int) -> None:
    """It waits for the session without its data, which follow."""
    pair = Pair(
        server={"size": lambda asked: [len(asked.data or b"")]}, limits=Limits(active=active), opens=False
    )
    answers = [pair.client.call("size", data=bytes(3_000_000)) for _ in range(3)]

    pair.open()

    assert [result_of(answer) for answer in answers] == [(3_000_000,)] * 3


def test_who_wants_to_know_when_a_call_has_left() -> None:
    """Is told when the last of its data has, whatever its size; a call that begins then overtakes nothing."""
    said: list[str] = []
    pair = Pair(server={"take": lambda asked: said.append(asked.name + str(len(asked.data or b"")))})

    def next_one() -> None:
        said.append("left")
        pair.client.call("take", data=b"x")

    pair.client.call("take", data=bytes(MUCH), on_sent=next_one)
    assert said == []
    pair.settle()

    assert said == ["left", f"take{MUCH}", "take1"]


def test_a_call_that_never_leaves() -> None:
    """Nobody is told of it."""
    said: list[str] = []
    pair = Pair(server={"take": lambda asked: []})

    call = pair.client.call("take", data=bytes(MUCH), on_sent=lambda: said.append("left"))
    call.addErrback(lambda _: None)
    call.cancel()
    pair.settle()

    assert said == []


def test_large_data_taken_back() -> None:
    """What has not left of it never does."""
    pair = Pair(server={"size": lambda asked: [len(asked.data or b"")]}, capacity=100 * KIB)
    answer = pair.client.call("size", data=bytes(5_000_000))
    answer.addErrback(lambda _: None)
    pair.clock.advance(0)
    pair.carry(pair.client_end)

    answer.cancel()
    pair.settle()

    assert pair.client_end.session.unsent == 0
    assert pair.client.unanswered == pair.server.at_work == 0


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """When too much lies unsent, the session ends as slow, and the connection with it."""
    limits = Limits(unsent_close=1_000_000)
    pair = Pair(server={"much": lambda _: [bytes(300_000)]}, limits=limits)
    pair.server_end.line.pauseProducing()
    answers = [pair.client.call("much") for _ in range(5)]
    pair.clock.advance(0)
    pair.carry(pair.client_end)

    pair.clock.advance(0)
    pair.clock.advance(0)

    assert pair.server.ending is not None
    assert pair.server.ending.reason == "slow"
    pair.clock.advance(GOODBYE)
    assert pair.server_end.wire.is_cut
    assert len(pair.server_end.wire.held) < 1_000_000
    pair.lose()
    assert result_of(pair.server.lost).reason == "slow"
    assert all(isinstance(error_of(answer), SessionLost) for answer in answers)
    assert pair.clock.getDelayedCalls() == []


# Ends


def test_goodbye_is_said_and_then_the_connection_ends() -> None:
    """After the last words the connection is closed in the normal way, by both, and no timer is left."""
    pair = Pair()

    pair.client.close("shutdown")
    pair.settle()

    assert not pair.client_end.is_connected
    assert not pair.client_end.wire.is_cut
    assert result_of(pair.client.lost).reason == "shutdown"
    assert result_of(pair.server.lost).by_peer
    assert pair.clock.getDelayedCalls() == []


def test_a_peer_that_does_not_go_is_cut_off() -> None:
    """A connection that does not end after the goodbye is cut in time."""
    pair = Pair(client={"hold": lambda _: Deferred()})
    pair.server.call("hold").addErrback(lambda _: None)
    pair.settle()
    pair.server.close("shutdown")

    for _ in range(20):
        pair.clock.advance(1)

    assert pair.server_end.wire.is_cut


def test_closing_twice_says_it_once() -> None:
    """The first reason stands."""
    pair = Pair()
    pair.client.close("first")
    pair.client.close("second")
    pair.settle()

    assert result_of(pair.client.lost).reason == "first"
    pair.client.close("third")


def test_closing_before_the_session_is_open() -> None:
    """It ends at once, and early calls hear of it."""
    pair = Pair(opens=False)
    answer = pair.client.call("echo")
    for end in pair.ends:
        end.connect()

    pair.client.close("changed-my-mind")
    pair.settle()

    assert isinstance(error_of(answer), SessionLost)
    assert isinstance(error_of(pair.client.opened), SessionLost)
    assert result_of(pair.client.lost).reason == "changed-my-mind"


def test_nobody_answers_the_hello() -> None:
    """A negotiation that takes too long ends, and says so."""
    pair = Pair(opens=False)
    pair.client_end.connect()
    opened = pair.client.opened

    pair.clock.advance(21)

    assert "timeout" in str(error_of(opened))
    assert not pair.client.is_open


def test_octets_after_the_end_are_not_read() -> None:
    """What comes behind the last words is nobody's."""
    pair = Pair(server={"echo": echo})
    pair.client.close("shutdown")
    pair.settle()

    pair.client_end.line.dataReceived(b"anything")
    pair.client_end.line.resumeProducing()
    pair.client_end.line.wake()
    pair.clock.advance(1)

    assert pair.client_end.wire.held == b""


def test_a_paused_line_still_says_goodbye() -> None:
    """Last words are given to a full transport too: it is asked to close behind them."""
    pair = Pair()
    pair.client_end.line.pauseProducing()

    pair.client.close("shutdown")
    pair.clock.advance(0)
    pair.clock.advance(6)

    assert b"shutdown" in bytes(pair.client_end.wire.held)
