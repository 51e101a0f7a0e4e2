"""Through the API a program reaches a computer at once, if it is connected, and hears why not otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from fieldpost.runtime.session.errors import CallCancelled, CommandFailed, SessionLost, TooManyCalls
from fieldpost.server.session.console import Console
from fieldpost.server.session.records import bind_key_txn, find_record_txn
from fieldpost.server.session.registry import Entry
from fieldpost.server.site import Channel
from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.duplicates import Offer
from tests.server.wired import TOKEN, Reply, WiredServer, read_reply, request_octets

DOCUMENT = Path(__file__).parents[3] / "docs" / "server.md"


class Computer:
    """A connected computer in the test's hands."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def call(self, name: str, args: Any = None, **ways: Any) -> "Deferred[Any]":
        self.calls.append((name, args))
        self.write = ways["on_output"]
        self.answer: Deferred[Any] = Deferred(lambda d: d.errback(CallCancelled("taken back")))
        return self.answer

    def probe(self) -> "Deferred[bool]":
        return Deferred()

    def tell(self, name: str, args: Any = None) -> None:
        self.told = name

    def close(self, reason: str, retry_after: int | None = None) -> None:
        self.closed = reason


class Place:
    """A server with one registered computer, which is connected."""

    def __init__(self) -> None:
        self.wired = WiredServer()
        self.wired.register()
        self.computer = Computer()
        coming = self.wired.server.registry.admit(
            1, offer=Offer(incarnation=b"life-1"), line=self.computer, address="192.0.2.7"
        )
        found: list[Any] = []
        Deferred.fromCoroutine(coming).addCallback(found.append)
        self.entry: Entry = found[0]
        self.channel: Channel
        """Of the newest call."""

    def ask(self, path: str, value: Any = None, method: str = "POST") -> StringTransport:
        """An API call that may be answered later."""
        self.channel, transport = self.wired.connect()
        body = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        self.channel.dataReceived(request_octets(method, f"/api/v1{path}", body, headers))
        return transport

    def leave(self) -> None:
        self.wired.server.registry.remove(self.entry)


@pytest.fixture
def place() -> Place:
    return Place()


def reply_in(transport: StringTransport) -> Reply:
    return read_reply(transport.value())


def test_documented() -> None:
    """docs/server.md names each path."""
    text = DOCUMENT.read_text()
    routes = Console.routes(Console.__new__(Console), lambda call: None)

    for route in routes:
        path = route.path.replace("topics/*", "topics/NAME").replace("*", "ID")
        assert f"`{route.method} {path}" in text


def test_guarded(place: Place) -> None:
    """Without the token nobody is asked."""
    for method, path in (
        ("POST", "/computers/1/ask"),
        ("POST", "/topics/x"),
        ("GET", "/operations/1/output"),
        ("DELETE", "/computers/1/key"),
    ):
        assert place.wired.api(method, path, {} if method == "POST" else None, token=None).status == 401


def test_exchange_now(place: Place) -> None:
    """The computer's answer is the call's."""
    transport = place.ask("/computers/1/ask", {"command": "exchange-now"})
    assert transport.value() == b""

    place.computer.answer.callback((b"\x01", {b"name": [b"cpu-usage", 1]}))

    assert place.computer.calls == [("exchange-now", {})]
    assert reply_in(transport).json == {
        "values": [{"octets": "AQ=="}, {"name": ["cpu-usage", 1]}],
        "output": "",
    }


def test_ping_plugin(place: Place) -> None:
    """A plugin is named."""
    place.ask("/computers/1/ask", {"command": "ping-plugin", "plugin": "cpu-usage"})

    assert place.computer.calls == [("ping-plugin", {"plugin": "cpu-usage"})]


def test_not_connected(place: Place) -> None:
    """Without a live session the answer is 409 and says what to do instead."""
    place.leave()

    reply = place.wired.api("POST", "/computers/1/ask", {"command": "exchange-now"})

    assert reply.status == 409
    assert "queue an operation" in reply.json["next"]


def test_no_answer(place: Place) -> None:
    """Who does not answer in time is given up: 504."""
    transport = place.ask("/computers/1/ask", {"command": "exchange-now", "timeout": 20})

    place.wired.clock.advance(20)

    assert reply_in(transport).status == 504
    assert "within 20 seconds" in reply_in(transport).json["error"]


def test_lost(place: Place) -> None:
    """A session that ends meanwhile is no answer either."""
    transport = place.ask("/computers/1/ask", {"command": "exchange-now"})

    place.computer.answer.errback(SessionLost("lost"))

    assert reply_in(transport).status == 504


def test_refused(place: Place) -> None:
    """The computer's refusal is told as it is."""
    transport = place.ask("/computers/1/ask", {"command": "ping-plugin", "plugin": "x"})

    place.computer.answer.errback(CommandFailed("unknown-plugin", "there is no plugin x", {}))

    assert reply_in(transport).status == 502
    assert "there is no plugin x" in reply_in(transport).json["error"]


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (TooManyCalls("1000 calls wait for their turn already"), 503, "being asked enough: 1000 calls"),
        (LocalProtocolError("an integer beyond 64 bits"), 400, "no computer could read this"),
    ],
)
def test_not_asked(place: Place, error: Exception, status: int, part: str) -> None:
    """What does not leave, because too much is asked or it does not travel, is told with its cause."""
    transport = place.ask("/computers/1/ask", {"command": "tail", "log": 2**80})

    place.computer.answer.errback(error)

    assert reply_in(transport).status == status
    assert part in reply_in(transport).json["error"]


def test_tail_of_the_log(place: Place) -> None:
    """The text that came within the time is the answer, whether or not that was all."""
    transport = place.ask("/computers/1/ask", {"command": "tail", "log": 10})
    place.computer.write("one\n")
    place.computer.write("two\n")

    place.wired.clock.advance(10)

    assert reply_in(transport).json == {"values": [], "output": "one\ntwo\n"}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "`command` must be one of exchange-now, ping-plugin, tail"),
        ({"command": "reboot"}, "`command` must be one of"),
        ({"command": "exchange-now", "plugin": "x"}, "`plugin` does not go with"),
        ({"command": "ping-plugin"}, "needs `plugin`"),
        ({"command": "tail"}, "needs `operation` or `log`"),
        ({"command": "exchange-now", "timeout": 51}, "`timeout` must be from 1 to 50"),
    ],
)
def test_mistakes(place: Place, body: dict[str, Any], part: str) -> None:
    """What cannot be asked is said."""
    reply = place.wired.api("POST", "/computers/1/ask", body)

    assert reply.status == 400
    assert part in reply.json["error"]


def test_unknown_computer(place: Place) -> None:
    """A number that nobody has is 404."""
    assert place.wired.api("POST", "/computers/9/ask", {"command": "exchange-now"}).status == 404


def test_output_of_an_operation(place: Place) -> None:
    """What an operation writes is there while it runs."""
    place.wired.api("POST", "/operations", {"computer": 1, "type": "execute-script"})
    transport = place.ask("/operations/1/output?wait=30", method="GET")
    assert place.computer.calls == [("tail", {"operation": 1})]

    place.computer.write("hello")

    reply = reply_in(transport).json
    assert (reply["output"], reply["next"], reply["live"], reply["status"]) == ("hello", 5, True, "queued")


def test_client_that_hangs_up_while_it_waits_for_output(place: Place) -> None:
    """Nothing waits for it any more, and the log has nothing to say of it; who asks again hears what comes."""
    place.wired.api("POST", "/operations", {"computer": 1, "type": "execute-script"})
    place.ask("/operations/1/output", method="GET")
    before = len(place.wired.clock.getDelayedCalls())
    with capturedLogs() as events:
        place.ask("/operations/1/output?wait=30", method="GET")
        assert len(place.wired.clock.getDelayedCalls()) > before

        place.channel.connectionLost(Failure(ConnectionDone()))

    assert len(place.wired.clock.getDelayedCalls()) == before
    assert not [event for event in events if event["log_level"].name in ("warn", "error", "critical")]
    transport = place.ask("/operations/1/output?wait=30", method="GET")
    place.computer.write("hello")
    assert reply_in(transport).json["output"] == "hello"


def test_output_without_a_session(place: Place) -> None:
    """Without a session the answer says so at once."""
    place.wired.api("POST", "/operations", {"computer": 1, "type": "execute-script"})
    place.leave()

    reply = place.wired.api("GET", "/operations/1/output?wait=30")

    assert reply.json["trouble"] == "the computer has no session now"
    assert not reply.json["live"]


def test_output_of_what_is_over(place: Place) -> None:
    """An operation that has its result writes nothing more: its computer is not asked."""
    place.wired.api("POST", "/operations", {"computer": 1, "type": "execute-script"})
    place.wired.connection.execute("UPDATE operation SET status = 'succeeded'")

    reply = place.wired.api("GET", "/operations/1/output?wait=30").json

    assert place.computer.calls == []
    assert (reply["status"], reply["trouble"]) == ("succeeded", None)


def test_output_of_nothing(place: Place) -> None:
    """An operation that is not there has no output."""
    assert place.wired.api("GET", "/operations/9/output").status == 404


def test_publish(place: Place) -> None:
    """A topic is published to all, or to one computer; later numbers are greater."""
    place.wired.clock.advance(2.5)
    first = place.wired.api("POST", "/topics/weather", {"value": {"sun": True}})
    second = place.wired.api("POST", "/topics/weather", {"value": None, "computer": 1})

    assert first.json == {"topic": "weather", "seq": 2500}
    assert second.json == {"topic": "weather", "seq": 2501}


@pytest.mark.parametrize(
    ("topic", "body", "part"),
    [
        ("weather", {}, "`value` is missing"),
        ("messages", {"value": 1}, "the server's own"),
        ("we/ather", {"value": 1}, "nothing at this path"),
        ("w" * 65, {"value": 1}, "a topic's name must be"),
        ("weather", {"value": "x" * 70_000}, "at most 65536 octets"),
        ("weather", {"value": [[[[[[[[[[[[[1]]]]]]]]]]]]]}, "no computer could read this"),
        ("weather", {"value": [1] * 9_000}, "no computer could read this"),
    ],
)
def test_publishing_mistakes(place: Place, topic: str, body: dict[str, Any], part: str) -> None:
    """What cannot be published is said."""
    assert part in place.wired.api("POST", f"/topics/{topic}", body).json["error"]


def test_publish_for_nobody(place: Place) -> None:
    """A computer that is not there is 404."""
    assert place.wired.api("POST", "/topics/weather", {"value": 1, "computer": 9}).status == 404


def test_too_many_topics(place: Place) -> None:
    """The topics that are kept are bounded; those that are there can be published on."""
    bulletin = place.wired.server.desk.bulletin
    for number in range(1_000):
        bulletin.publish(f"t-{number}", None)

    assert place.wired.api("POST", "/topics/weather", {"value": 1}).status == 409
    assert place.wired.api("POST", "/topics/t-1", {"value": 1}).status == 200


def bound(wired: WiredServer) -> tuple[str | None, ...]:
    """The keys of computers 1 and 2."""
    return tuple(find_record_txn(wired.connection, number).key_name for number in (1, 2))


def test_release_key(place: Place) -> None:
    """A computer whose key was replaced is released from it, as often as somebody asks; others keep theirs."""
    wired = place.wired
    wired.register("r-2")
    bind_key_txn(wired.connection, 1, "old")
    bind_key_txn(wired.connection, 2, "other")

    with capturedLogs() as logs:
        replies = [wired.api("DELETE", "/computers/1/key") for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.json for reply in replies] == [{"released": "old"}, {"released": None}]
    assert bound(wired) == (None, "other")
    told = [event for event in map(formatEvent, logs) if event.startswith("computer 1")]
    assert told == ["computer 1 is released from its key old"]


def test_release_key_without_session(place: Place) -> None:
    """A computer that never had a session has no key, and says so; its session goes on where it has one."""
    place.wired.register("r-2")

    assert place.wired.api("DELETE", "/computers/2/key").json == {"released": None}
    assert place.wired.api("DELETE", "/computers/1/key").json == {"released": None}
    assert not hasattr(place.computer, "closed")


@pytest.mark.parametrize("number", ["3", "0", "x", "1" * 30])
def test_release_key_of_nobody(place: Place, number: str) -> None:
    """404 for a computer that there is not, with where to find one."""
    reply = place.wired.api("DELETE", f"/computers/{number}/key")

    assert (reply.status, reply.json["next"]) == (404, "list them with GET /api/v1/computers")


def test_release_key_takes_no_parameters(place: Place) -> None:
    """400, and the key stays."""
    bind_key_txn(place.wired.connection, 1, "old")

    assert place.wired.api("DELETE", "/computers/1/key?key=old").status == 400
    assert bound(place.wired)[0] == "old"
