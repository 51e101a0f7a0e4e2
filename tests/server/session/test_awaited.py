"""A computer that comes and goes can be waited for: calls queue for its session, for a bounded time; what is one-way does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.runtime.session.answers import Asked, Handler
from fieldpost.runtime.writer import Writer
from fieldpost.server.errors import Refused, Stopping
from fieldpost.server.session.awaited import MOST_FOR_ONE, MOST_WAITING, Awaited
from fieldpost.server.session.console import MOST_SECONDS
from fieldpost.server.site import Channel
from tests.runtime.session.pair import error_of, result_of
from tests.server.session.visiting import Agent, Hosting
from tests.server.wired import (
    NOTHING_DIGEST,
    TOKEN,
    HeldWriter,
    Reply,
    WiredServer,
    client_payload,
    read_reply,
    register_message,
    request_octets,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "server.md"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


class SlowWriter(HeldWriter):
    """One that can be slow."""

    is_slow = False

    def run(self, function: Any, /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        done = super().run(function, *args, **kwargs)
        if not self.is_slow:
            self.release()
        return done


class Question:
    """A call of the API that is answered later, on a connection of its own."""

    def __init__(self, hosting: Hosting, plugin: str = "a", **members: Any) -> None:
        self.channel: Channel
        self.channel, self._transport = hosting.wired.connect()
        body = {"command": "ping-plugin", "plugin": plugin, "wait": 20, **members}
        octets = request_octets("POST", "/api/v1/computers/1/ask", json.dumps(body).encode(), HEADERS)
        self.channel.dataReceived(octets)

    @property
    def reply(self) -> Reply | None:
        """Once it is there."""
        octets = self._transport.value()
        return read_reply(octets) if octets else None

    def hang_up(self) -> None:
        """The client is gone."""
        self.channel.connectionLost(Failure(ConnectionDone()))


class Machine:
    """One registered computer, with a session or without, and what it was asked."""

    def __init__(self, writer: Writer | None = None) -> None:
        self.hosting = Hosting(wired=WiredServer(writer=writer))
        self.secret = self.hosting.wired.register()
        self.seen: list[Any] = []
        self.lives = 0

    def come(self, ping: Handler | None = None) -> Agent:
        """A session, of a new life of the agent."""
        self.lives += 1
        life = b"life-%03d" % self.lives
        handlers = {"ping-plugin": ping or self._pinged}
        return self.hosting.agent(id="a:1", secret=self.secret, incarnation=life, handlers=handlers)

    def leave(self, agent: Agent) -> None:
        """Its session is lost."""
        agent.hang_up()
        self.hosting.agents.remove(agent)

    def advance(self, seconds: float) -> None:
        """Time passes, and what that moves arrives."""
        self.hosting.clock.advance(seconds)
        self.hosting.run()

    def _pinged(self, asked: Asked) -> list[Any]:
        self.seen.append(asked.args[b"plugin"])
        return [asked.args[b"plugin"]]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def values_of(question: Question) -> Any:
    reply = question.reply
    assert reply is not None
    assert reply.status == 200
    return reply.json["values"]


@pytest.mark.conformance("Z18")
def test_calls_between_two_sessions_wait_for_the_next(machine: Machine) -> None:
    """They are made in order when it comes, behind the decision."""
    machine.leave(machine.come())
    questions = [Question(machine.hosting, name) for name in "abc"]
    machine.advance(19)
    assert [question.reply for question in questions] == [None] * 3

    machine.come()

    assert [values_of(question) for question in questions] == [["a"], ["b"], ["c"]]
    assert machine.seen == ["a", "b", "c"]


@pytest.mark.conformance("Z3")
def test_what_is_called_while_those_before_are_made_comes_behind_them() -> None:
    """Who asks again as soon as it is its turn does not overtake those that wait."""
    awaited, order = Awaited(clock=Clock()), list[str]()

    def again(callee: Any) -> Any:
        order.append("first")
        awaited.wait(1, 5).addCallback(lambda _: order.append("again"))

    awaited.wait(1, 5).addCallback(again)
    awaited.wait(1, 5).addCallback(lambda _: order.append("second"))
    awaited.come(1, Machine().come().peer)

    assert order == ["first", "second", "again"]
    assert len(awaited) == 0


@pytest.mark.conformance("Z18")
def test_what_is_one_way_fails_at_once() -> None:
    """A hint that means something only now is not kept for the next session, and the log says that it was not given."""
    hosting, hints = Hosting(), list[str]()
    handlers: dict[str, Handler] = {"exchange-now": lambda asked: hints.append(asked.name)}
    agent = hosting.agent(handlers=handlers)
    payload = client_payload(
        messages=[register_message(account_name="closed")], accepted_types=NOTHING_DIGEST
    )
    agent.exchange(payload)
    agent.peer.close("shutdown")
    hosting.clock.advance(0)
    agent.door.dataReceived(agent.ours.take())  # its goodbye has come, its end has not

    with capturedLogs() as events:
        hosting.wired.api("POST", "/computers/1", {"action": "approve"})

    assert [event["why"] for event in events if event.get("name") == "exchange-now"] == [
        "the peer is shutting down"
    ]
    hosting.run()
    secret = hosting.wired.connection.execute("SELECT secure_id FROM computer").fetchone()[0]
    assert hosting.agent(id="a:1", secret=secret, handlers=handlers).is_open
    assert hints == []


@pytest.mark.conformance("Z19")
def test_calls_before_any_session_fail_after_a_while(machine: Machine) -> None:
    """When none comes within the time the caller is told so, and what to do; the call is not made later."""
    question = Question(machine.hosting)
    machine.advance(19)
    assert question.reply is None

    machine.advance(1)

    reply = question.reply
    assert reply is not None
    assert (reply.status, reply.json["error"]) == (409, "computer 1 had no session within 20 seconds")
    assert "queue an operation" in reply.json["next"]
    machine.come()
    assert machine.seen == []


@pytest.mark.conformance("Z17", "Z18")
def test_a_call_that_left_is_not_made_again(machine: Machine) -> None:
    """Nobody knows whether it was carried out: it fails, once, though there is time left."""
    question = Question(machine.hosting)
    agent = machine.come(lambda _: Deferred())

    machine.leave(agent)
    machine.come()

    reply = question.reply
    assert reply is not None
    assert reply.status == 504
    assert machine.seen == []


def test_the_time_to_answer_begins_with_the_session(machine: Machine) -> None:
    """What was spent with waiting does not come off `timeout`."""
    question = Question(machine.hosting, timeout=10)
    machine.advance(15)
    machine.come(lambda _: Deferred())

    machine.advance(9)
    assert question.reply is None
    machine.advance(1)

    assert question.reply is not None
    assert question.reply.status == 504


def test_nobody_waits_for_who_is_there(machine: Machine) -> None:
    """With a live session a call with `wait` is made at once."""
    machine.come()

    question = Question(machine.hosting)
    machine.hosting.run()

    assert values_of(question) == ["a"]


def test_a_client_that_hangs_up_takes_its_call_back(machine: Machine) -> None:
    """While it waits for a session, and when it waits for the answer; nothing is left over of it."""
    waits, asks = Question(machine.hosting, "waits"), Question(machine.hosting, "asks")
    before = len(machine.hosting.clock.getDelayedCalls())

    waits.hang_up()

    assert len(machine.hosting.clock.getDelayedCalls()) < before
    asked, taken_back = list[Any](), list[str]()

    def ping(call: Asked) -> "Deferred[Any]":
        asked.append(call.args[b"plugin"])
        return Deferred(lambda _: taken_back.append("asks"))

    machine.come(ping)
    assert (asked, taken_back) == (["asks"], [])

    asks.hang_up()
    machine.hosting.run()

    assert taken_back == ["asks"]


def test_a_client_that_is_gone_before_its_call_could_wait() -> None:
    """What it asked is not even begun."""
    writer = SlowWriter()
    machine = Machine(writer)
    writer.is_slow = True
    question = Question(machine.hosting)

    question.hang_up()
    writer.release()

    writer.is_slow = False
    machine.come()
    assert machine.seen == []


def test_waiting_is_bounded() -> None:
    """So many for one computer, so many in all; whoever is too much is told to come back, and room comes free."""
    awaited = Awaited(clock=Clock())
    kept = [awaited.wait(1, 30) for _ in range(MOST_FOR_ONE)]
    with pytest.raises(Refused) as refused:
        awaited.wait(1, 30)
    kept += [awaited.wait(computer, 30) for computer in range(2, 2 + MOST_WAITING - MOST_FOR_ONE)]
    with pytest.raises(Refused):
        awaited.wait(10_000, 30)

    assert refused.value.status == 503
    assert ("Retry-After", "60") in refused.value.headers
    kept[0].cancel()
    assert not awaited.wait(10_000, 30).called


def test_documented() -> None:
    """docs/server.md tells the bounds as they are."""
    text = " ".join(DOCUMENT.read_text().split())

    assert f"At most {MOST_FOR_ONE} calls wait for one computer and {MOST_WAITING:,} for all" in text
    assert f"`wait` and `timeout` together are at most {MOST_SECONDS}" in text


def test_nothing_is_left_over() -> None:
    """When all calls have ended, however, there is nothing more and no timer."""
    clock = Clock()
    awaited = Awaited(clock=clock)
    callee = Machine().come().peer
    late, met, back = awaited.wait(1, 5), awaited.wait(2, 9), awaited.wait(3, 9)

    clock.advance(5)
    awaited.come(2, callee)
    back.cancel()

    assert (result_of(late), result_of(met), result_of(back)) == (None, callee, None)
    assert len(awaited) == 0
    assert clock.getDelayedCalls() == []


def test_stop() -> None:
    """A server that stops keeps nobody waiting."""
    clock = Clock()
    awaited = Awaited(clock=clock)
    waiting = [awaited.wait(number, 30) for number in (1, 1, 2)]

    awaited.stop()

    assert all(isinstance(error_of(one), Stopping) for one in waiting)
    assert clock.getDelayedCalls() == []


def test_a_refused_session_is_not_waited_for_in_vain(machine: Machine) -> None:
    """Somebody who only claims to be the computer gets nothing of what waits."""
    question = Question(machine.hosting)

    machine.hosting.agent(id="a:1", secret=b"wrong", incarnation=b"life-000", handlers={})

    assert question.reply is None
    machine.come()
    assert values_of(question) == ["a"]


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"wait": -1}, "`wait` must be at least 0"),
        ({"wait": 41}, "with `timeout` (10) at most 50 seconds"),
        ({"wait": 50, "timeout": 1}, "with `timeout` (1) at most 50 seconds"),
        ({"wait": "x"}, "`wait` must be an integer"),
        ({"wait": 1, "timeout": 0}, "`timeout` must be from 1 to 50"),
    ],
)
def test_mistakes(machine: Machine, members: dict[str, Any], part: str) -> None:
    """A wait that no proxy would let through is refused."""
    reply = Question(machine.hosting, **members).reply

    assert reply is not None
    assert reply.status == 400
    assert part in reply.json["error"]
