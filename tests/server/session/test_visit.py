"""Agents of real session code before the whole server: let in or not, exchanging, notified, asked, sent home."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.runtime.session.answers import Asked
from fieldpost.runtime.session.errors import CommandFailed, SessionLost
from fieldpost.runtime.session.peer import Peer
from fieldpost.server.session.endpoint import Terms
from fieldpost.server.session.records import bind_key_txn
from fieldpost.server.session.registry import Entry
from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.session.encodings import WORTH_PACKING
from tests.server.session.visiting import REMOTE, Agent, Hosting, Knock, registered
from tests.server.wired import (
    NOTHING_DIGEST,
    TOKEN,
    HeldWriter,
    WiredServer,
    client_payload,
    register_message,
    request_octets,
)

GET = b"GET /session/default HTTP/1.1\r\nHost: x\r\n"
PLAIN = GET + b"Upgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
INSIDE = GET + b"Upgrade: TLS/1.2, fieldpost/1\r\nConnection: Upgrade\r\n\r\n"


@pytest.fixture
def hosting() -> Hosting:
    return Hosting()


def answer_to(hosting: Hosting, octets: bytes, address: Any = None) -> bytes:
    knock = Knock(hosting, address) if address else Knock(hosting)
    knock.door.dataReceived(octets)
    return bytes(knock.theirs.take())


def status_of(octets: bytes) -> int:
    return int(octets.split()[1])


# At the door


@pytest.mark.conformance("F2")
def test_upgraded(hosting: Hosting) -> None:
    """The answer names what was chosen of what was offered, and nothing else."""
    octets = answer_to(hosting, PLAIN)

    assert octets.startswith(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
    )


@pytest.mark.conformance("F3")
def test_browser(hosting: Hosting) -> None:
    """A browser, or a request whose upgrade a proxy took out, reads what is wrong."""
    octets = answer_to(hosting, GET + b"\r\n")

    assert status_of(octets) == 426
    assert b"\r\nUpgrade: fieldpost/1\r\n" in octets
    assert b"\r\nContent-Length: " in octets
    assert b"sessions begin" in octets


@pytest.mark.conformance("F5")
def test_unknown_server(hosting: Hosting) -> None:
    """An id that is not served is 404, in our own media type."""
    octets = answer_to(hosting, PLAIN.replace(b"default", b"s:other"))

    assert status_of(octets) == 404
    assert b"fieldpost" in octets.partition(b"\r\n\r\n")[0]


def test_own_id(hosting: Hosting) -> None:
    """The server's own id is served, quoted or not."""
    for name in (b"s:id-1", b"s%3Aid-1"):
        assert status_of(answer_to(hosting, PLAIN.replace(b"default", name))) == 101


@pytest.mark.conformance("F6")
def test_moved() -> None:
    """An id that went elsewhere is told where."""
    hosting = Hosting(terms=Terms(moved={"s:old": "https://new.example/session/default"}))

    octets = answer_to(hosting, PLAIN.replace(b"default", b"s:old"))

    assert status_of(octets) == 303
    assert b"\r\nLocation: https://new.example/session/default\r\n" in octets


def test_all_moved() -> None:
    """A server that goes elsewhere sends all that ask for whatever server is here."""
    hosting = Hosting(terms=Terms(moved={"default": "https://new.example/session/default"}))

    assert status_of(answer_to(hosting, PLAIN)) == 303
    assert status_of(answer_to(hosting, PLAIN.replace(b"default", b"s:id-1"))) == 101


@pytest.mark.conformance("F8")
def test_headers_as_proxies_write_them(hosting: Hosting) -> None:
    """Case, order and lists make no difference."""
    octets = b"GET /session/default HTTP/1.1\r\nconnection: keep-alive, upgrade\r\nX: y\r\nUPGRADE: h2c, FieldPost/1\r\n\r\n"

    assert status_of(answer_to(hosting, octets)) == 101


def test_nothing_lowers_the_guard() -> None:
    """Without TLS outside a session needs it inside; what cannot be had is not replaced by less."""
    bare, certified, allowed = (
        Hosting(),
        Hosting(tls=object()),  # type: ignore[arg-type] # it is only looked for
        Hosting(terms=Terms(plain=True)),
    )

    assert status_of(answer_to(bare, PLAIN, REMOTE)) == 501
    assert status_of(answer_to(bare, INSIDE, REMOTE)) == 501
    octets = answer_to(certified, PLAIN, REMOTE)
    assert status_of(octets) == 426
    assert b"\r\nUpgrade: TLS/1.2, fieldpost/1\r\n" in octets
    assert status_of(answer_to(allowed, PLAIN, REMOTE)) == 101
    assert status_of(answer_to(allowed, INSIDE, REMOTE)) == 501


@pytest.mark.conformance("F12")
def test_too_early() -> None:
    """Octets that somebody put before the TLS inside are an error, never a client's first words."""
    hosting = Hosting(tls=object())  # type: ignore[arg-type] # it is only looked for

    assert status_of(answer_to(hosting, INSIDE + b"\x00", REMOTE)) == 400


def test_malformed_head(hosting: Hosting) -> None:
    """What is no header is told so."""
    octets = answer_to(hosting, GET + b"no header\r\n\r\n")

    assert status_of(octets) == 400
    assert b"is no header" in octets


def test_most_sessions() -> None:
    """Beyond the limit the answer is 503 with a time to come back."""
    hosting = Hosting(terms=Terms(max_sessions=1))
    first = hosting.agent()

    octets = answer_to(hosting, PLAIN)
    assert status_of(octets) == 503
    assert b"\r\nRetry-After: 60\r\n" in octets
    first.hang_up()

    assert status_of(answer_to(hosting, PLAIN)) == 101


# Who it is


def test_registered_agent(hosting: Hosting) -> None:
    """An agent that proves who it is, is in, and the operator sees it."""
    agent = registered(hosting)

    assert agent.is_open
    session = hosting.wired.api("GET", "/computers/1").json["session"]
    assert session == {"since": 0.0, "address": "a local client", "number": 1, "version": 1}
    agent.hang_up()
    assert hosting.wired.api("GET", "/computers/1").json["session"] is None
    assert len(hosting.endpoint) == 0


@pytest.mark.conformance("F19")
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"id": "a:1", "secret": b"wrong"}, "proof"),
        ({"id": "a:1"}, "proof"),
        ({"id": "a:9", "secret": b"id-2"}, "identity"),
        ({"id": "a:nobody", "secret": b"id-2"}, "identity"),
        ({"id": "s:aaa", "secret": b"id-2"}, "identity"),
        ({"id": "a:99999999999999999999999", "secret": b"id-2"}, "identity"),
    ],
)
def test_not_who_it_says(hosting: Hosting, given: dict[str, Any], code: str) -> None:
    """An id that is not proved, or is none here, gets no session and hears why."""
    assert hosting.wired.register() == b"id-2"

    agent = hosting.agent(**given)

    assert not agent.is_open
    assert agent.ending.reason == code
    assert hosting.wired.server.registry.find(1) is None


def test_claims_to_be_greater(hosting: Hosting) -> None:
    """An agent cannot make itself the master by calling itself a server."""
    hosting.wired.register()

    agent = hosting.agent(id="s:zzz", secret=b"id-2")

    assert not agent.is_open


def test_rejected_computer(hosting: Hosting) -> None:
    """A computer whose identity the operator took away loses its session, and gets no other."""
    agent = registered(hosting)

    hosting.wired.api("POST", "/computers/1", {"action": "reject"})
    hosting.advance(6)

    assert agent.ending.reason == "revoked"
    assert registered_again(hosting).ending.reason == "identity"


def registered_again(hosting: Hosting, **given: Any) -> Agent:
    return hosting.agent(id="a:1", secret=b"id-2", **given)


def test_key_of_another(hosting: Hosting) -> None:
    """To whom a key is bound, that key belongs: the proof alone does not do any more."""
    hosting.wired.register()
    bind_key_txn(hosting.wired.connection, 1, "somekey")

    agent = registered_again(hosting)

    assert agent.ending.reason == "identity"
    assert "another key" in agent.ending.text


# Duplicates


@pytest.mark.conformance("F39")
def test_replaced(hosting: Hosting) -> None:
    """A restarted agent takes its own place; the old session's calls fail with that reason."""
    hold: Deferred[Any] = Deferred()
    old = registered(hosting, handlers={"exchange-now": lambda asked: hold})
    entry = hosting.wired.server.registry.find(1)
    assert isinstance(entry, Entry)
    errors: list[Any] = []
    entry.line.call("exchange-now").addErrback(errors.append)
    hosting.run()

    new = registered_again(hosting, incarnation=b"agent--2")
    hosting.advance(6)

    assert new.is_open
    assert old.ending.reason == "replaced"
    assert isinstance(errors[0].value, SessionLost)
    assert "replaced by a new connection" in str(errors[0].value)
    found = hosting.wired.server.registry.find(1)
    assert found is not None
    assert found.sequence == 2


@pytest.mark.conformance("F35", "F38")
def test_duplicate_refused(hosting: Hosting) -> None:
    """While the live session answers a probe a second one of the same life is refused."""
    live = registered(hosting)

    second = registered_again(hosting)

    assert second.ending.reason == "duplicate"
    assert second.ending.retry_after == 30
    assert live.is_open


@pytest.mark.conformance("F35", "F37")
def test_dead_session_gives_way(hosting: Hosting) -> None:
    """A live session that does not answer within five seconds is replaced."""
    dead = registered(hosting)
    hosting.agents.remove(dead)

    second = registered_again(hosting)
    assert not second.is_open
    hosting.advance(6)

    assert second.is_open


def test_newcomer_that_hangs_up(hosting: Hosting) -> None:
    """A newcomer that is gone before the probe is decided takes nobody's place, and leaves nothing behind."""
    dead = registered(hosting)
    hosting.agents.remove(dead)
    second = registered_again(hosting)

    second.hang_up()
    hosting.advance(6)

    found = hosting.wired.server.registry.find(1)
    assert found is not None
    assert found.sequence == 1
    assert len(hosting.endpoint) == 1


def test_attempts(hosting: Hosting) -> None:
    """A newer attempt of the same life needs no probe."""
    registered(hosting, attempt=1)

    assert registered_again(hosting, attempt=2).is_open


# Exchanges


def test_exchange(hosting: Hosting) -> None:
    """An exchange in a session is the same as by POST."""
    agent = registered(hosting)
    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look"})

    answer = agent.exchange(client_payload(sequence=1, messages=[{"type": "a"}, {"type": "b"}]))

    assert answer.next_expected_sequence == 3
    assert [message["type"] for message in answer.messages] == ["look"]
    assert answer.next_exchange_token is not None
    assert [message["type"] for message in hosting.wired.stored()] == ["a", "b"]


def test_packed_exchange(hosting: Hosting) -> None:
    """A large payload may be packed on its way, and a large answer is."""
    agent = registered(hosting)
    text = "word " * (WORTH_PACKING // 5 + 1)
    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look", "fields": {"text": text}})
    octets = cbor.encode(client_payload(sequence=1, messages=[{"type": "a", "text": text}]))
    before = len(agent.said), agent.heard

    ((answer,),) = agent.call("exchange", {"api": b"3.3"}, data=octets, bulk=True)

    assert max(len(agent.said) - before[0], agent.heard - before[1]) < WORTH_PACKING / 20
    (message,) = ServerPayload.from_map(cbor.decode(answer)).messages
    assert message["text"] == text
    assert hosting.wired.stored()[0]["text"] == text


def test_strangers_pack_nothing(hosting: Hosting) -> None:
    """To unpack takes memory of a server: for agents without identity it has none, and says so."""
    stranger, agent = hosting.agent().peer.agreement, registered(hosting).peer.agreement

    assert stranger is not None and agent is not None
    assert (stranger.encodings, agent.encodings) == ((), ("zlib",))
    assert agent.peer.limits["streams"] == 2


def test_quiet_exchange(hosting: Hosting) -> None:
    """A quiet exchange is acknowledged; messages and the token wait for one that is not."""
    agent = registered(hosting)
    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look"})

    answer = agent.exchange(client_payload(sequence=1, messages=[{"type": "a"}]), quiet=True)

    assert answer.next_expected_sequence == 2
    assert answer.messages == ()
    assert answer.next_exchange_token is None


def test_exchanges_keep_their_order() -> None:
    """Several under way are committed in the order in which they came, also when a large one is opened more slowly."""
    decoder = HeldWriter()
    hosting = Hosting(wired=WiredServer(decoder=decoder))
    agent = registered(hosting)
    large = {"type": "large", "text": "x" * 20_000}

    answers = [
        agent.call(
            "exchange", {"quiet": True}, data=cbor.encode(client_payload(sequence=number, messages=[message]))
        )
        for number, message in ((1, large), (2, {"type": "small"}), (3, {"type": "last"}))
    ]
    assert hosting.wired.stored() == []
    decoder.release()
    hosting.run()

    assert [message["type"] for message in hosting.wired.stored()] == ["large", "small", "last"]
    assert [cbor.decode(answer[0][0])["next-expected-sequence"] for answer in answers] == [2, 3, 4]


@pytest.mark.parametrize(
    ("octets", "args", "code", "status"),
    [
        (b"\xff", {}, "malformed", 400),
        (cbor.encode(client_payload()), {"api": b"9.9"}, "unknown-level", 404),
        (cbor.encode(client_payload()), {"api": b"nine"}, "malformed", 400),
        (cbor.encode(client_payload()), {"token": 5}, "malformed", 400),
    ],
)
def test_refused_exchange(
    hosting: Hosting, octets: bytes, args: dict[str, Any], code: str, status: int
) -> None:
    """What a POST would be refused with the command is refused with, and the session lives."""
    agent = registered(hosting)

    error = agent.exchange(octets, **args)

    assert isinstance(error, CommandFailed)
    assert (error.code, error.details["status"]) == (code, status)
    assert agent.is_open
    assert agent.exchange(client_payload(sequence=1)).next_expected_sequence == 1


def test_exchange_without_payload(hosting: Hosting) -> None:
    """The payload is the command's data."""
    (failure,) = registered(hosting).call("exchange", {})

    assert failure.value.code == "malformed"


def test_stopping(hosting: Hosting) -> None:
    """What the database cannot take now is said with a time to come back."""
    agent = registered(hosting)
    hosting.wired.server.commits.stop()

    error = agent.exchange(client_payload(sequence=1))

    assert (error.code, error.details["status"], error.details["retry_after"]) == ("unavailable", 503, 30)


def test_no_room(hosting: Hosting) -> None:
    """Payloads that are worked on take room, of which there is only so much; it is given back."""
    agent = registered(hosting)
    payload = client_payload(sequence=1, messages=[{"type": "a", "text": "x" * 3_000}])

    with hosting.wired.server.desk.room.taken(8 * 30_000_000 - 1_000):
        error = agent.exchange(payload)

    assert (error.code, error.details["retry_after"]) == ("unavailable", 30)
    assert agent.exchange(payload).next_expected_sequence == 2


def test_database_that_takes_nothing(hosting: Hosting) -> None:
    """An agent whose session cannot be decided now is told to come back."""
    hosting.wired.register()
    hosting.wired.server.commits.stop()

    agent = registered_again(hosting)

    assert (agent.ending.reason, agent.ending.retry_after) == ("internal", 30)


def test_too_many_strangers(hosting: Hosting) -> None:
    """Agents without identity cannot take all the room; those who have one get in."""
    registry = hosting.wired.server.registry
    for _ in range(500):
        registry.admit_stranger(Peer(clock=hosting.clock, handlers={}))

    assert hosting.agent().ending.reason == "limits"
    assert registered(hosting).is_open


def test_server_fault(hosting: Hosting) -> None:
    """A fault of ours is `internal` to the agent, and in our log."""
    agent = registered(hosting)
    hosting.wired.connection.execute("DROP TABLE message")

    with capturedLogs():
        error = agent.exchange(client_payload(sequence=1, messages=[{"type": "a"}]))

    assert error.code == "internal"


def test_ping(hosting: Hosting) -> None:
    """An agent may ask whether anybody is there."""
    assert registered(hosting).call("ping") == [()]


@pytest.mark.conformance("N21")
def test_unknown_command(hosting: Hosting) -> None:
    """A command that nobody knows is refused, and the session lives."""
    agent = registered(hosting)

    (failure,) = agent.call("frobnicate")

    assert failure.value.code == "unknown-command"
    assert agent.call("ping") == [()]


# Agents without identity


@pytest.mark.conformance("Z15")
def test_unregistered(hosting: Hosting) -> None:
    """An agent without identity can register, and nothing else."""
    agent = hosting.agent()

    (failure,) = agent.call("ping")
    answer = agent.exchange(client_payload(messages=[register_message()]))

    assert failure.value.code == "not-registered"
    assert answer.messages[0]["type"] == "set-id"
    assert registered_again(hosting).is_open


def test_unregistered_has_no_topics(hosting: Hosting) -> None:
    """What waits for others is not told."""
    (failure,) = hosting.agent().call("wait", {"topics": {"messages": None}, "seconds": 1})

    assert failure.value.code == "not-registered"


def test_approved_while_connected(hosting: Hosting) -> None:
    """An agent that waits for approval is told when it comes."""
    asked: list[str] = []
    agent = hosting.agent(handlers={"exchange-now": lambda call: asked.append(call.name)})
    message = register_message(account_name="closed")
    agent.exchange(client_payload(messages=[message], accepted_types=NOTHING_DIGEST))

    hosting.wired.api("POST", "/computers/1", {"action": "approve"})
    hosting.run()

    assert asked == ["exchange-now"]


# Notifications


@pytest.mark.conformance("N15", "N16")
def test_operation_is_notified(hosting: Hosting) -> None:
    """Whoever subscribed hears of an operation when it is committed, with a number that grows."""
    agent = registered(hosting)
    heard = agent.subscribe("messages")

    for _ in range(2):
        hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look"})
        hosting.run()

    assert [note[b"value"] for note in heard[1:]] == [
        {b"pending": 1, b"seq": 1, b"urgent": True},
        {b"pending": 2, b"seq": 2, b"urgent": True},
    ]
    assert [note[b"seq"] for note in heard[1:]] == [1, 2]


@pytest.mark.conformance("N16")
def test_what_waited_is_notified(hosting: Hosting) -> None:
    """Who comes hears of what was queued before, unless it knows."""
    hosting.wired.register()
    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look"})

    first = registered_again(hosting).subscribe("messages")
    second = registered_again(hosting, attempt=2).subscribe("messages", since=1)

    assert [note.get(b"seq") for note in first] == [None, 1]
    assert [note.get(b"seq") for note in second] == [None]


def test_others_hear_nothing(hosting: Hosting) -> None:
    """A computer hears of its own messages alone."""
    first, second = registered(hosting), registered(hosting, "r-2")
    notes = [agent.subscribe("messages") for agent in (first, second)]

    hosting.wired.api("POST", "/operations", {"computer": 2, "type": "look"})
    hosting.run()

    assert [len(heard) for heard in notes] == [1, 2]


def test_wait(hosting: Hosting) -> None:
    """Who cannot keep an answer open waits for one."""
    agent = registered(hosting)
    found = agent.call("wait", {"topics": {b"messages": None}, "seconds": 30})
    assert found == []

    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "look"})
    hosting.run()

    assert found[0][0][b"seq"] == 1


def test_published(hosting: Hosting) -> None:
    """What programs publish is heard by all, or by the one meant, also by who comes later."""
    first, second = registered(hosting), registered(hosting, "r-2")
    heard = [agent.subscribe("weather") for agent in (first, second)]

    hosting.wired.api("POST", "/topics/weather", {"value": "sun"})
    hosting.wired.api("POST", "/topics/weather", {"value": "rain", "computer": 2})
    hosting.run()
    late = registered_again(hosting, attempt=2).subscribe("weather")

    assert [[note[b"value"] for note in notes[1:]] for notes in heard] == [["sun"], ["sun", "rain"]]
    assert [note[b"value"] for note in late[1:]] == ["sun"]


def test_topics_are_forgotten(hosting: Hosting) -> None:
    """What a computer could hear goes with its session."""
    agent = registered(hosting)
    agent.subscribe("messages", "weather")

    agent.hang_up()

    assert hosting.wired.server.desk.topics.listeners("1") == 0
    assert hosting.wired.server.desk.topics._scopes == {}


# Questions to the agent


def test_asked_through_the_api(hosting: Hosting) -> None:
    """The API's question reaches the agent, whose answer comes back."""
    agent = registered(hosting, handlers={"ping-plugin": lambda asked: [asked.args[b"plugin"]]})
    assert agent.is_open
    channel, transport = hosting.wired.connect()

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    body = b'{"command": "ping-plugin", "plugin": "cpu-usage"}'
    channel.dataReceived(request_octets("POST", "/api/v1/computers/1/ask", body, headers))
    hosting.run()

    assert b'{"values": ["cpu-usage"], "output": ""}' in transport.value()


def test_output_is_seen_while_it_is_written(hosting: Hosting) -> None:
    """Text and progress of an operation reach whoever looks, while it runs."""
    running: list[Asked] = []

    def tail(asked: Asked) -> "Deferred[Any]":
        running.append(asked)
        return Deferred()

    registered(hosting, handlers={"tail": tail})
    hosting.wired.api("POST", "/operations", {"computer": 1, "type": "execute-script"})
    hosting.wired.api("GET", "/operations/1/output")
    hosting.run()
    assert running[0].args == {b"operation": 1}

    running[0].output("100 % done")
    running[0].progress("packages", 3, 10)
    hosting.run()

    shown = hosting.wired.api("GET", "/operations/1/output").json
    assert shown["output"] == "100 % done"
    assert shown["progress"] == {"packages": {"position": 3, "total": 10}}
    hosting.advance(61)
    assert running[0].is_over


# The end


@pytest.mark.conformance("N22")
def test_drained() -> None:
    """At a stop all are told when to come back, nobody gets in, and what is under way ends."""
    hosting = Hosting(terms=Terms(drain=10))
    agent = registered(hosting)
    done: list[Any] = []

    hosting.endpoint.drain().addCallback(done.append)
    hosting.run()

    assert agent.ending.reason == "shutdown"
    assert agent.ending.retry_after == 15
    octets = answer_to(hosting, PLAIN)
    assert status_of(octets) == 503
    assert b"\r\nRetry-After: 15\r\n" in octets
    hosting.advance(6)
    assert done == [None]
    assert len(hosting.endpoint) == 0


def test_drained_with_a_dead_agent(hosting: Hosting) -> None:
    """An agent that does not answer the goodbye is cut off; the stop goes on."""
    agent = registered(hosting)
    hosting.agents.remove(agent)
    done: list[Any] = []

    hosting.endpoint.drain().addCallback(done.append)
    for _ in range(7):
        hosting.clock.advance(1)
        if agent.theirs.disconnecting or agent.theirs.is_cut:
            agent.lose()

    assert done == [None]


def test_drained_empty(hosting: Hosting) -> None:
    """A server without sessions stops at once."""
    done: list[Any] = []

    hosting.endpoint.drain().addCallback(done.append)

    assert done == [None]
    assert hosting.clock.getDelayedCalls() == []


def test_agent_says_goodbye(hosting: Hosting) -> None:
    """An agent that closes is gone, and its place is free."""
    agent = registered(hosting)

    agent.peer.close("shutdown")
    hosting.advance(6)

    assert hosting.wired.server.registry.find(1) is None
    assert len(hosting.endpoint) == 0


@pytest.mark.conformance("F41")
def test_silent_agent_is_given_up(hosting: Hosting) -> None:
    """An agent from which nothing comes any more is given up after 45 seconds."""
    agent = registered(hosting)
    hosting.agents.remove(agent)

    for _ in range(60):
        hosting.clock.advance(1)
        if agent.theirs.disconnecting or agent.theirs.is_cut:
            agent.lose()

    assert hosting.wired.server.registry.find(1) is None


@pytest.mark.conformance("F40")
def test_idle_session_lives(hosting: Hosting) -> None:
    """Pings keep an idle session."""
    agent = registered(hosting)

    hosting.advance(300)

    assert agent.is_open


def test_no_hello(hosting: Hosting) -> None:
    """Who is let in and says nothing is sent away after 20 seconds."""
    knock = Knock(hosting)
    knock.door.dataReceived(PLAIN)

    hosting.clock.advance(21)

    assert knock.theirs.disconnecting


# Whatever comes


def transcript() -> bytes:
    """What an agent says in a session with a proof, an exchange and a subscription. Nothing in it is random."""
    agent = registered(Hosting())
    agent.exchange(client_payload(sequence=1, messages=[{"type": "a"}]))
    agent.subscribe("messages")
    agent.call("ping")
    return agent.said


def greeting(octets: bytes) -> int:
    """Length of hello and proof: what follows waits for the decision."""
    end = 0
    for _ in range(2):
        end += 8 + int.from_bytes(octets[end : end + 3], "little")
    return end


SAID = transcript()
GREETING = greeting(SAID)


def say(octets: bytes) -> tuple[Hosting, list[Any]]:
    """Say these in a session, and let all time for it pass; the server, and its failures."""
    hosting = Hosting()
    hosting.wired.register()
    with capturedLogs() as events:
        knock = Knock(hosting)
        knock.door.dataReceived(PLAIN)
        for part in (octets[:GREETING], octets[GREETING:]):
            knock.door.dataReceived(part)
        for _ in range(80):
            hosting.clock.advance(1)
            if knock.theirs.disconnecting or knock.theirs.is_cut:
                knock.lose()
    return hosting, [event for event in events if "log_failure" in event]


def test_the_transcript_works() -> None:
    """What the next test spoils is good."""
    hosting, failures = say(SAID)

    assert [message["type"] for message in hosting.wired.stored()] == ["a"]
    assert failures == []


@given(
    st.integers(min_value=0, max_value=len(SAID)),
    st.integers(min_value=0, max_value=60),
    st.binary(max_size=60),
)
def test_any_octets(at: int, dropped: int, inserted: bytes) -> None:
    """Whatever an agent says, the session ends or goes on by the rules: no fault of ours, and nothing left behind."""
    hosting, failures = say(SAID[:at] + inserted + SAID[at + dropped :])

    assert failures == []
    assert len(hosting.endpoint) == 0
    assert hosting.wired.server.registry.reachable() == set()
    assert hosting.wired.site.connections == 1  # that over which the computer was registered


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"default HTTP/1.1\r\n", b"s%3A/../x?y HTTP/1.1\r\nUpgrade:"]),
)
def test_any_head(octets: bytes, beginning: bytes) -> None:
    """Whatever is asked at the door, there is an answer, or HTTP's."""
    hosting = Hosting()
    answer = answer_to(hosting, b"GET /session/" + beginning + octets.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")

    assert status_of(answer) in (101, 400, 404, 426)


def test_old_http(hosting: Hosting) -> None:
    """nginx, unless told otherwise, sends HTTP/1.0 without the upgrade: that is 426, and the agent goes by POST."""
    octets = answer_to(hosting, b"GET /session/default HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert status_of(octets) == 426


def test_fault_of_ours(hosting: Hosting) -> None:
    """A fault while a session is decided is in the log, and the agent is told to come back."""
    hosting.wired.register()
    hosting.wired.connection.execute("DROP TABLE session_record")

    with capturedLogs() as events:
        agent = registered_again(hosting)

    assert (agent.ending.reason, agent.ending.retry_after) == ("internal", 30)
    assert any("gets no session" in event["log_format"] for event in events)
