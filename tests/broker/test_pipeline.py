"""Several payloads of one exchange under way together."""

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.broker.carriage.transport import Refused, Reply, Request, Unreachable
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.pipeline import MOST_FOLLOWERS
from fieldpost.broker.status import Exchanged, Failed, Result
from tests.broker.fakes import Rig, result_of, says
from tests.broker.store.stores import START, add_values, answer, begin, numbers, open_store, values

LOST = Unreachable(reason="the line broke")


@define
class Wire:
    """A transport that carries several payloads; each waits until the test answers it."""

    depth: int = 3
    requests: list[Request] = field(factory=list)
    open: list["Deferred[Reply]"] = field(factory=list)

    async def exchange(self, request: Request) -> Reply:
        self.requests.append(request)
        self.open.append(Deferred())
        return await self.open[-1]

    def reply(self, index: int, reply: Reply) -> None:
        self.open[index].callback(reply)

    @property
    def sent(self) -> list[list[Any]]:
        return [[message["value"] for message in request.payload.messages] for request in self.requests]


def under_way(*, messages: int, depth: int = 3) -> tuple[Rig, Wire, "Deferred[Result]"]:
    """An exchange that has begun, two messages to a payload."""
    wire = Wire(depth)
    rig = Rig.build(wire, limits=ExchangeLimits(messages=2)).start()
    add_values(rig.store, range(messages))
    return rig, wire, rig.exchange.run()


def test_payloads_follow_before_the_first_answer() -> None:
    """As many as the transport carries."""
    _, wire, _ = under_way(messages=20)

    assert wire.sent == [[0, 1], [2, 3], [4, 5]]
    assert [request.payload.sequence for request in wire.requests] == [0, 2, 4]


def test_an_answer_makes_room_for_the_next() -> None:
    """One goes for each answer."""
    _, wire, _ = under_way(messages=20)

    wire.reply(0, says(expected=2))

    assert wire.sent == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_all_goes_in_one_exchange() -> None:
    """Its result counts all payloads."""
    rig, wire, exchange = under_way(messages=5)

    for index, expected in enumerate((2, 4, 5)):
        wire.reply(index, says(expected=expected))

    assert result_of(exchange) == Exchanged(at=START, sent=5, received=0, pending=0)
    assert rig.store.status().unacknowledged == 0


def test_a_transport_that_carries_one_gets_one() -> None:
    """Nothing follows over plain POST."""
    _, wire, exchange = under_way(messages=20, depth=1)
    wire.reply(0, says(expected=2))

    assert wire.sent == [[0, 1]]
    assert result_of(exchange) == Exchanged(at=START, sent=2, received=0, pending=18)


def test_nothing_follows_when_all_found_room() -> None:
    """A small exchange is one payload."""
    _, wire, _ = under_way(messages=2)

    assert wire.sent == [[0, 1]]


def test_followers_only_want_an_acknowledgement() -> None:
    """And they show no token, which the first has shown."""
    rig = Rig.build(wire := Wire(), limits=ExchangeLimits(messages=2)).start()
    first = rig.exchange.run()
    wire.reply(0, says(next_exchange_token=b"token"))
    result_of(first)
    add_values(rig.store, range(6))

    rig.exchange.run()

    assert [(request.token, request.follows) for request in wire.requests[1:]] == [
        (b"token", False),
        (None, True),
        (None, True),
    ]


def test_answers_count_in_order() -> None:
    """One that comes early waits for those before it."""
    rig, wire, _ = under_way(messages=6)

    wire.reply(2, says(expected=6))
    wire.reply(1, says(expected=4))
    assert rig.store.state().sequence == 0

    wire.reply(0, says(expected=2))
    assert rig.store.state().sequence == 6


def test_a_first_payload_that_fails_fails_the_exchange() -> None:
    """Once those behind it are settled too; all goes again."""
    rig, wire, exchange = under_way(messages=6)

    wire.reply(0, LOST)
    assert not exchange.called
    wire.reply(1, says(expected=0))
    wire.reply(2, LOST)

    assert isinstance(result_of(exchange), Failed)
    assert rig.store.state().sequence == 0
    assert values(begin(rig.store)) == [0, 1, 2, 3, 4, 5]


def test_a_follower_that_fails_goes_again() -> None:
    """Under its number; what was acknowledged before it stays so, what would have been after it does not count."""
    rig, wire, exchange = under_way(messages=6)

    wire.reply(0, says(expected=2))
    wire.reply(1, Refused(status=503, reason="busy"))
    wire.reply(2, says(expected=6))

    assert result_of(exchange) == Exchanged(at=START, sent=2, received=0, pending=4)
    again = begin(rig.store)
    assert (numbers(again), values(again)) == ([2, 3, 4, 5], [2, 3, 4, 5])


def test_an_answer_that_takes_less_ends_it() -> None:
    """What is behind stands on what the server has not got."""
    rig, wire, exchange = under_way(messages=20)

    wire.reply(0, says(expected=1))
    for index in (1, 2):
        wire.reply(index, says(expected=1))

    assert result_of(exchange) == Exchanged(at=START, sent=2, received=0, pending=19)
    assert len(wire.requests) == 3
    assert values(begin(rig.store))[:2] == [1, 2]


def test_an_answer_from_before_those_ahead_of_it_arrived() -> None:
    """A follower that overtook others was not taken; what it heard is out of date when theirs have come, and is passed over."""
    rig, wire, exchange = under_way(messages=6)

    wire.reply(2, says(expected=0))
    wire.reply(0, says(expected=2))
    wire.reply(1, says(expected=4))

    assert result_of(exchange) == Exchanged(at=START, sent=4, received=0, pending=2)
    assert not rig.heard("resynchronize-clients")
    again = begin(rig.store)
    assert (numbers(again), values(again)) == ([4, 5], [4, 5])


def test_resynchronize_in_the_first_answer() -> None:
    """Told once, when nothing is under way any more."""
    rig, wire, _ = under_way(messages=6)
    with capturedLogs():
        wire.reply(0, says(expected=99))
        assert not rig.heard("resynchronize-clients")
        wire.reply(1, says(expected=99))
        wire.reply(2, says(expected=99))

    assert rig.heard("resynchronize-clients") == [{"scopes": None}]
    assert begin(rig.store).sequence == 99


def test_an_exchange_ends() -> None:
    """However long the backlog, the server's messages get their turn."""
    rig, wire, exchange = under_way(messages=200)

    for index in range(MOST_FOLLOWERS + 1):
        wire.reply(index, says(expected=2 * index + 2))

    assert result_of(exchange) == Exchanged(at=START, sent=32, received=0, pending=168)
    assert rig.until_next == 0


def test_stop_gives_up_all() -> None:
    """A broker that stops waits for none of them for ever."""
    rig, wire, exchange = under_way(messages=6)

    stopped = rig.stop()
    rig.clock.advance(5)

    result_of(stopped)
    assert isinstance(result_of(exchange), Failed)
    assert all(reply.called for reply in wire.open)


def test_a_message_that_comes_meanwhile_follows_behind() -> None:
    """In the order of its number."""
    rig, wire, _ = under_way(messages=3, depth=2)
    add_values(rig.store, range(3, 5))

    wire.reply(0, says(expected=2))

    assert wire.sent == [[0, 1], [2], [3, 4]]


def test_following_leaves_the_token() -> None:
    """It is for the next exchange."""
    store = open_store()
    add_values(store, range(4))
    begin(store, 2)
    store.commit_answer(answer(2, token=b"token"))

    following = store.follow_exchange(3, max_messages=1, max_octets=100)

    assert (following.token, numbers(following)) == (None, [])
    assert begin(store).token == b"token"
