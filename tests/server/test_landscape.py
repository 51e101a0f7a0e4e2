"""
What Landscape's client sends is served: its captured requests, octet by octet, against the whole server.

The requests are files in tests/wire/landscape; not they are adapted but the server's state, to the ids, tokens and numbers that
they name. Each answer is read as strictly as the client would have it (landscape 1.4, 1.6).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from fieldpost.server.policy import AcceptedTypes, Account, Policy
from fieldpost.wire import bpickle
from fieldpost.wire.compression import inflate
from tests.server.wired import Reply, WiredServer, client_payload, read_reply, register_message

CAPTURES = Path(__file__).parents[1] / "wire" / "landscape"
TYPES = [
    "active-process-info",
    "computer-info",
    "distribution-info",
    "load-average",
    "memory-info",
    "operation-result",
    "processor-info",
    "register",
    "resynchronize",
    "test",
    "text-message",
]
ID, NUMBER, OPERATION = b"SECURE-ID-0001", 4242, 77


def capture(name: str) -> bytes:
    return (CAPTURES / f"{name}.req").read_bytes()


def policy(**door: Any) -> Policy:
    account = Account(**{"name": "onward", "registration_key": "sekret", "auto_accept": True, **door})
    return Policy(accounts={"onward": account}, accepted=AcceptedTypes(TYPES))


def landscape_server(**door: Any) -> WiredServer:
    """A server without computers; the next gets the number that the captures name, and so with operations."""
    wired = WiredServer(policy=policy(**door))
    for table, last in (("computer", NUMBER - 1), ("operation", OPERATION - 1)):
        wired.connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, last))
    return wired


def settle(wired: WiredServer, token: int, *, expected: int = 1) -> None:
    """The computer is the captures' one, and stands where a capture has it."""
    wired.connection.execute(
        "UPDATE computer SET secure_id = ?, token = ?, previous_token = NULL, expected = ?, next_number = 3, last_exchange = 1",
        (ID, b"00000000-0000-0000-0000-%012d" % token, expected),
    )


def registered(token: int, expected: int = 1) -> Callable[[], WiredServer]:
    def build() -> WiredServer:
        wired = landscape_server()
        replay(wired, capture("02-register"))
        settle(wired, token, expected=expected)
        return wired

    return build


def with_operation() -> WiredServer:
    """Its computer got an operation in the last answer."""
    wired = registered(2)()
    wired.api("POST", "/operations", {"computer": NUMBER, "type": "frobnicate"})
    replay(wired, capture("04-registered-idle"))
    settle(wired, 4)
    wired.connection.execute("UPDATE computer SET next_number = 4")
    return wired


STATES: dict[str, Callable[[], WiredServer]] = {
    "01-first-contact": landscape_server,
    "02-register": landscape_server,
    "04-registered-idle": registered(2),
    "05-operation-result": with_operation,
    "06-register-after-clone": registered(3),
    "07-batch-before-kill": registered(3),
    "07-batch-resent-after-kill": registered(3),
    "08-resync-after-ancient": registered(8, expected=-5),
    "09-landscape-config-register": landscape_server,
}
"""Each capture of an exchange, and the server that it was meant for."""


def strict(reply: Reply) -> dict[str, Any]:
    """An answer as the client takes it; whatever would break it fails here."""
    assert (reply.status, reply.headers["content-type"]) == (200, "application/octet-stream")
    packed = reply.headers.get("content-encoding") == "gzip"
    value = bpickle.decode(inflate(reply.body, 10_000_000) if packed else reply.body, text_keys=False)
    assert {"server-api", "server-uuid", "messages"} <= value.keys()
    assert value["server-api"] in (b"3.2", b"3.3")
    assert type(value["server-uuid"]) is str
    assert type(value["next-expected-sequence"]) is int
    for name in ("next-exchange-token", "client-accepted-types-hash"):
        assert type(value.get(name, b"")) is bytes
    assert len(value.get("client-accepted-types-hash", b"0" * 16)) == 16
    assert type(value["messages"]) is list
    for message in value["messages"]:
        _strict_message(message)
    found: dict[str, Any] = value
    return found


def _strict_message(message: dict[str, Any]) -> None:
    kind = message["type"]
    assert type(kind) is str
    if kind == "accepted-types":
        assert type(message["types"]) is list
        assert {type(name) for name in message["types"]} == {str}
    elif kind == "set-id":
        assert (type(message["id"]), type(message["insecure-id"])) == (bytes, int)
    elif kind == "registration":
        assert message["info"] in ("unknown-account", "max-pending-computers")
    elif kind == "unknown-id":
        assert type(message.get("clone-of", "")) is str
    elif kind == "set-intervals":
        assert all(message[name] >= 10 for name in message.keys() - {"type"})
    else:
        assert type(message["operation-id"]) is int


def send(wired: WiredServer, request: bytes) -> Reply:
    return read_reply(wired.send_octets(request))


def replay(wired: WiredServer, request: bytes) -> dict[str, Any]:
    return strict(send(wired, request))


def kinds(answer: dict[str, Any]) -> list[str]:
    return [message["type"] for message in answer["messages"]]


def with_body(request: bytes, body: bytes) -> bytes:
    """The request with another body, its length told right."""
    head, _, _ = request.partition(b"\r\n\r\n")
    return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


def with_payload(request: bytes, **fields: Any) -> bytes:
    value = bpickle.decode(request.partition(b"\r\n\r\n")[2])
    return with_body(
        request, bpickle.encode({**value, **{k.replace("_", "-"): v for k, v in fields.items()}})
    )


def with_identity(request: bytes, secure_id: bytes, token: bytes | None = None) -> bytes:
    """The request as this computer would have sent it."""
    request = re.sub(rb"X-(Computer-ID|Exchange-Token): [^\r]*\r\n", b"", request)
    header = b"" if token is None else b"X-Exchange-Token: %b\r\n" % token
    return request.replace(b"X-Message-API", b"X-Computer-ID: %b\r\n%bX-Message-API" % (secure_id, header))


def without_token(request: bytes) -> bytes:
    """As the client repeats it: a token is gone once it was sent."""
    return re.sub(rb"X-Exchange-Token: [^\r]*\r\n", b"", request)


def computers(wired: WiredServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wired.api("GET", "/computers").json["computers"]
    return found


# what each capture brings about


@pytest.mark.parametrize("name", STATES)
def test_each_capture_is_served(name: str) -> None:
    """Every captured exchange gets an answer that the client can take, and again when it is repeated."""
    wired = STATES[name]()

    replay(wired, capture(name))
    stored, known = wired.stored(), len(computers(wired))
    replay(wired, without_token(capture(name)))

    assert (wired.stored(), len(computers(wired))) == (stored, known)


def test_first_contact() -> None:
    """A new client at API 3.2 learns that it may register, and that 3.3 is spoken here; nothing is acknowledged amiss."""
    answer = replay(landscape_server(), capture("01-first-contact"))

    assert answer["messages"] == [{"type": "accepted-types", "types": ["register"]}]
    assert (answer["server-api"], answer["next-expected-sequence"]) == (b"3.3", 0)
    assert "client-accepted-types-hash" not in answer


def test_registration() -> None:
    """The broker's registration brings the identity and the types, and the operator sees who came."""
    wired = landscape_server()

    answer = replay(wired, capture("02-register"))

    set_id, types = answer["messages"]
    assert set_id == {"type": "set-id", "id": b"id-2", "insecure-id": NUMBER}
    assert types == {"type": "accepted-types", "types": TYPES}
    assert answer["next-expected-sequence"] == 1
    (computer,) = computers(wired)
    shown = {name: computer[name] for name in ("id", "account", "title", "hostname", "tags", "status")}
    assert shown == {
        "id": NUMBER,
        "account": "onward",
        "title": "box-one",
        "hostname": "vm",
        "tags": "alpha,beta",
        "status": "approved",
    }


def test_registration_at_the_older_level() -> None:
    """A client that speaks API 3.2 registers all the same."""
    wired = landscape_server()

    answer = replay(wired, capture("02-register").replace(b"3.3", b"3.2"))

    assert kinds(answer)[0] == "set-id"


def test_idle() -> None:
    """A registered client with nothing to say gets a token and nothing else."""
    answer = replay(registered(2)(), capture("04-registered-idle"))

    assert answer["messages"] == []
    assert answer["next-expected-sequence"] == 1
    assert answer["next-exchange-token"]


def test_operation_and_result() -> None:
    """An operation goes out once, its result is noted once, and octets and text are kept apart in what is stored."""
    wired = registered(2)()
    wired.api("POST", "/operations", {"computer": NUMBER, "type": "frobnicate"})

    answer = replay(wired, capture("04-registered-idle"))
    wired.connection.execute("UPDATE computer SET token = ?", (b"00000000-0000-0000-0000-000000000004",))
    after = replay(wired, capture("05-operation-result"))
    again = replay(wired, without_token(capture("05-operation-result")))

    assert answer["messages"] == [{"type": "frobnicate", "operation-id": OPERATION}]
    assert (after["messages"], after["next-expected-sequence"]) == ([], 2)
    assert (again["messages"], again["next-expected-sequence"]) == ([], 2)
    operation = wired.api("GET", f"/operations/{OPERATION}").json
    assert (operation["status"], operation["result-text"]) == ("succeeded", "done")
    (message,) = wired.stored()
    assert (message["api"], message["type"]) == (b"3.3", "operation-result")


def test_batch_sent_again_after_a_kill() -> None:
    """A batch that comes a second time, without a token, is stored once, and the types told with it are kept."""
    wired = registered(3)()

    first = replay(wired, capture("07-batch-before-kill"))
    second = replay(wired, capture("07-batch-resent-after-kill"))

    assert (first["next-expected-sequence"], second["next-expected-sequence"]) == (4, 4)
    assert [message["type"] for message in wired.stored()] == ["text-message"] * 3
    assert second["client-accepted-types-hash"].hex() == "6baae2d0013dae52528e1498b6b025c1"


def test_resent_after_ancient() -> None:
    """Numbers below zero are served; an old registration among the messages takes its number and leaves no password."""
    wired = registered(8, expected=-5)()

    answer = replay(wired, capture("08-resync-after-ancient"))

    assert answer["next-expected-sequence"] == -3
    assert [message["type"] for message in wired.stored()] == ["resynchronize"]


@pytest.mark.parametrize(
    ("sequence", "count", "expected"),
    [(1, 3, 4), (0, 3, 3), (-2, 3, 1), (-5, 3, 1), (2, 3, 1), (2**53, 1, 1), (1, 0, 1)],
)
def test_sequences(sequence: int, count: int, expected: int) -> None:
    """What is below the expected number is known, what starts above it is not taken, and the number is told."""
    wired = registered(3)()
    messages = [{"type": "text-message", "message": str(n)} for n in range(count)]

    answer = replay(
        wired, with_payload(capture("07-batch-before-kill"), sequence=sequence, messages=messages)
    )

    assert answer["next-expected-sequence"] == expected
    assert len(wired.stored()) == expected - 1


def test_intervals() -> None:
    """The operator sets intervals; the client is pinged awake for them, gets them once, and none that it would not survive."""
    wired = registered(2)()
    asked = {"action": "set-intervals", "exchange": 60, "urgent-exchange": 10, "ping": 30}
    wired.api("POST", f"/computers/{NUMBER}", {**asked, "exchange": 5})
    assert wired.api("POST", f"/computers/{NUMBER}", asked).status == 200
    assert send(wired, capture("03-ping")).body == b"du8:messagesb1;"

    first = replay(wired, capture("04-registered-idle"))
    after = replay(
        wired, with_payload(without_token(capture("04-registered-idle")), next_expected_sequence=4)
    )

    assert first["messages"] == [{"type": "set-intervals", "exchange": 60, "urgent-exchange": 10, "ping": 30}]
    assert after["messages"] == []


def test_resynchronize_by_scope() -> None:
    """A request to report afresh has the operation id that the client needs, and its answer settles it."""
    wired = registered(2)()
    wired.api("POST", f"/computers/{NUMBER}", {"action": "resynchronize", "scopes": ["disk"]})

    answer = replay(wired, capture("04-registered-idle"))
    settle(wired, 3)
    done = {"type": "resynchronize", "operation-id": OPERATION, "api": b"3.3", "timestamp": 1}
    replay(
        wired,
        with_payload(capture("07-batch-before-kill"), messages=[done], next_expected_sequence=4),
    )

    assert answer["messages"] == [{"type": "resynchronize", "operation-id": OPERATION, "scopes": ["disk"]}]
    assert wired.api("GET", f"/operations/{OPERATION}").json["status"] == "succeeded"


# identity


def test_unknown_id() -> None:
    """A secure id that is none, or not yet one, is answered with `unknown-id`, and nothing of its exchange is kept."""
    wired = landscape_server()

    for secure_id in (ID, b"registering"):
        answer = replay(wired, with_identity(capture("07-batch-before-kill"), secure_id))
        assert answer["messages"] == [{"type": "unknown-id"}]
        assert (answer["next-expected-sequence"], wired.stored()) == (1, [])


def test_clone() -> None:
    """A used token is a clone's: it is told whose, registers anew at once, and the operator sees whose it was."""
    wired = registered(2)()
    replay(wired, capture("04-registered-idle"))

    told = replay(wired, capture("04-registered-idle"))
    renewed = replay(wired, capture("06-register-after-clone"))

    assert told["messages"] == [{"type": "unknown-id", "clone-of": "box-one"}]
    assert kinds(renewed)[0] == "set-id"
    assert renewed["messages"][0]["id"] != ID
    assert [computer["clone-of"] for computer in computers(wired)] == [None, NUMBER]


def test_token_that_was_lost() -> None:
    """Without a token the secure id alone is enough, as after every lost answer."""
    wired = registered(2)()
    replay(wired, capture("04-registered-idle"))

    assert kinds(replay(wired, without_token(capture("04-registered-idle")))) == []


def test_wrong_key() -> None:
    """A wrong key, and a wrong account, are told in the client's words."""
    for wrong in (
        capture("02-register").replace(b"u6:sekret", b"u6:secret"),
        capture("09-landscape-config-register").replace(b"u6:onward", b"u6:inward"),
    ):
        wired = landscape_server()

        answer = replay(wired, wrong)

        assert {"type": "registration", "info": "unknown-account"} in answer["messages"]
        assert computers(wired) == []


def test_too_many_pending() -> None:
    """So is that too many wait for approval."""
    answer = replay(landscape_server(auto_accept=False, max_pending=0), capture("02-register"))

    assert {"type": "registration", "info": "max-pending-computers"} in answer["messages"]


def test_pending_until_approved() -> None:
    """A client that waits repeats itself and stays one computer, whichever way it asks; after approval it gets its identity."""
    wired = landscape_server(auto_accept=False)
    for sequence in range(3):
        answer = replay(wired, with_payload(capture("02-register"), sequence=sequence))
        assert (kinds(answer), answer["next-expected-sequence"]) == ([], sequence + 1)
    assert kinds(replay(wired, capture("09-landscape-config-register"))) == ["accepted-types"]

    wired.api("POST", f"/computers/{NUMBER}", {"action": "approve"})
    answer = replay(wired, with_payload(capture("02-register"), sequence=3))

    assert kinds(answer) == ["set-id", "accepted-types"]
    assert (len(computers(wired)), answer["next-expected-sequence"]) == (1, 4)


def test_synchronous_registration() -> None:
    """The registration of `landscape-config` counts for no sequence: the broker starts at 0 and loses nothing."""
    wired = landscape_server()

    answers = [replay(wired, capture("09-landscape-config-register")) for _ in range(14)]

    assert [kinds(answer) for answer in answers] == [["set-id", "accepted-types"]] * 14
    (secure_id,) = {answer["messages"][0]["id"] for answer in answers}
    request = with_identity(capture("07-batch-resent-after-kill"), secure_id)
    first = replay(wired, with_payload(request, sequence=0, next_expected_sequence=0))
    assert (first["messages"], first["next-expected-sequence"]) == ([], 3)
    assert (len(wired.stored()), len(computers(wired))) == (3, 1)


def test_synchronous_form_registers_and_does_nothing_else() -> None:
    """Messages without numbers are not stored, whoever sends them."""
    wired = registered(2)()
    bare = with_body(capture("04-registered-idle"), bpickle.encode({"messages": [{"type": "text-message"}]}))

    answer = replay(wired, bare)

    assert (kinds(answer), wired.stored()) == (["accepted-types"], [])


# ping


def test_ping() -> None:
    """A ping says yes, in just these octets, while something waits for the computer, and else no."""
    wired = registered(2)()
    idle = send(wired, capture("03-ping"))
    wired.api("POST", "/operations", {"computer": NUMBER, "type": "frobnicate"})

    waiting = send(wired, capture("03-ping"))

    assert (idle.status, idle.headers["content-type"]) == (200, "application/octet-stream")
    assert (idle.body, waiting.body) == (b"du8:messagesb0;", b"du8:messagesb1;")
    assert bpickle.decode(waiting.body) == {"messages": True}


def test_ping_of_nobody() -> None:
    """A computer that is unknown, or was rejected, has nothing waiting."""
    unknown, rejected = landscape_server(), registered(2)()
    rejected.api("POST", "/operations", {"computer": NUMBER, "type": "frobnicate"})
    rejected.api("POST", f"/computers/{NUMBER}", {"action": "reject"})

    for wired in (unknown, rejected):
        assert send(wired, capture("03-ping")).body == b"du8:messagesb0;"


@pytest.mark.parametrize(
    "body", [b"", b"insecure_id=", b"insecure_id=-1", b"insecure_id=" + b"9" * 19, b"id=1", b"\xff" * 9]
)
def test_ping_that_is_none(body: bytes) -> None:
    """Anything else is refused."""
    assert send(landscape_server(), with_body(capture("03-ping"), body)).status == 400


# HTTP


@pytest.mark.parametrize("level", [b"3.1", b"3.4", b"4.0"])
def test_level_that_is_not_spoken(level: bytes) -> None:
    """A level that the server does not have is not found, for both forms of registration."""
    for name in ("02-register", "09-landscape-config-register"):
        request = capture(name).replace(b"X-Message-API: 3.3", b"X-Message-API: " + level)
        assert send(landscape_server(), request).status == 404


def test_large_body() -> None:
    """Above 1 MiB the client asks before it sends: it is told to go on, and its message arrives."""
    wired = registered(3)()
    head = (CAPTURES / "10-large-body-headers.txt").read_bytes().rstrip(b"\r\n") + b"\r\n\r\n"
    message = {"type": "text-message", "message": ""}
    payload = client_payload(sequence=1, next_expected_sequence=3, messages=[message])
    room = 1_371_471 - len(bpickle.encode(payload)) - len("1371179") + 1
    message["message"] = "x" * room
    channel, transport = wired.connect()

    channel.dataReceived(head)
    asked = transport.value()
    transport.clear()
    channel.dataReceived(bpickle.encode(payload))

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert strict(read_reply(transport.value()))["next-expected-sequence"] == 2
    assert wired.stored() == [message]


def test_packed_answer() -> None:
    """An answer that is worth it comes packed, since the client takes gzip."""
    wired = registered(2)()
    fields = {"code": "x" * 5_000}
    wired.api("POST", "/operations", {"computer": NUMBER, "type": "execute-script", "fields": fields})

    reply = send(wired, capture("04-registered-idle"))

    assert reply.headers["content-encoding"] == "gzip"
    assert strict(reply)["messages"][0]["code"] == fields["code"]


def test_operation_that_bpickle_cannot_carry() -> None:
    """An operation that a client could not be sent is refused when it is made, and jams no answer later."""
    wired = registered(2)()
    for odd in ([[1, 1], ["a", 2]], [[2**70, 1]]):
        reply = wired.api(
            "POST",
            "/operations",
            {"computer": NUMBER, "type": "frobnicate", "fields": {"deep": {"map": odd}}},
        )
        assert (reply.status, "no computer could read this" in reply.json["error"]) == (400, True)

    assert kinds(replay(wired, capture("04-registered-idle"))) == []


def test_two_encodings_at_one_server() -> None:
    """Agents of either encoding are served by one server, each in its own."""
    wired = registered(2)()

    reply = wired.exchange(client_payload(messages=[register_message(account_name="none")]))
    answer = replay(wired, capture("04-registered-idle"))

    assert reply.payload.messages[0] == {"type": "registration", "info": "unknown-account"}
    assert answer["messages"] == []


# input that is wrong


class Fresh:
    """A server that is put back to the same state, as often as needed."""

    def __init__(self, name: str) -> None:
        self.request = capture(name)
        self.wired = STATES[name]()
        self._kept = STATES[name]()

    def restore(self) -> None:
        self._kept.connection.backup(self.wired.connection)

    def counts(self) -> tuple[int, int, int]:
        """Messages, their different numbers, computers."""
        query = "SELECT count(*), count(DISTINCT number), (SELECT count(*) FROM computer) FROM message"
        found: tuple[int, int, int] = self.wired.connection.execute(query).fetchone()
        return found

    def go_on(self) -> None:
        """The next good exchange works, and stores nothing twice."""
        request = without_token(self.request)
        answer = replay(self.wired, request)
        assert "unknown-id" not in kinds(answer)
        counts = self.counts()
        assert counts[0] == counts[1]
        replay(self.wired, request)
        assert self.counts() == counts


@pytest.mark.parametrize("name", STATES)
def test_body_cut_at_every_octet(name: str) -> None:
    """A body that ends early is a clean 400 and nothing of it is kept; the whole one is taken afterwards."""
    fresh = Fresh(name)
    before = fresh.counts()
    body = fresh.request.partition(b"\r\n\r\n")[2]

    for end in range(len(body)):
        assert send(fresh.wired, with_body(fresh.request, body[:end])).status == 400

    assert fresh.counts() == before
    fresh.go_on()


@pytest.mark.parametrize("name", [*STATES, "03-ping"])
def test_connection_lost_at_every_octet(name: str) -> None:
    """A request whose connection breaks is none: nothing is answered or kept."""
    request = capture(name)
    wired = STATES.get(name, landscape_server)()
    before = wired.connection.total_changes

    for end in range(len(request)):
        channel, transport = wired.connect()
        channel.dataReceived(request[:end])
        assert transport.value() == b""
        channel.connectionLost(Failure(ConnectionLost()))

    assert wired.connection.total_changes == before
    assert send(wired, request).status == 200


@pytest.mark.parametrize("flip", [0x01, 0xFF])
@pytest.mark.parametrize("name", STATES)
def test_every_octet_flipped(name: str, flip: int) -> None:
    """
    A body with any octet changed is taken, and what comes next is served; or it is refused, and nothing at all is kept.

    It is never a fault of the server.
    """
    fresh = Fresh(name)
    head, separator, body = fresh.request.partition(b"\r\n\r\n")

    for place in range(len(body)):
        changed = bytearray(body)
        changed[place] ^= flip
        before = fresh.wired.connection.total_changes
        reply = send(fresh.wired, head + separator + bytes(changed))
        if reply.status == 200:
            strict(reply)
            fresh.go_on()
            fresh.restore()
        else:
            assert 400 <= reply.status < 500
            assert {"error", "next"} == set(reply.json)
            assert fresh.wired.connection.total_changes == before
    fresh.go_on()


@pytest.mark.parametrize("flip", [0x01, 0xFF])
@pytest.mark.parametrize("name", ["02-register", "07-batch-before-kill", "09-landscape-config-register"])
def test_every_octet_of_the_head_flipped(name: str, flip: int) -> None:
    """The same holds for its head. What makes another request of it, or none that ends, is no fault of the server either."""
    fresh = Fresh(name)
    length = fresh.request.index(b"\r\n\r\n") + 4

    for place in range(length):
        changed = bytearray(fresh.request)
        changed[place] ^= flip
        before = fresh.wired.connection.total_changes
        channel, transport = fresh.wired.connect()
        channel.dataReceived(bytes(changed))
        fresh.wired.clock.advance(0)
        channel.connectionLost(Failure(ConnectionLost()))
        said = transport.value()
        if re.match(rb"HTTP/1\.[01] 200 ", said):
            strict(read_reply(said))
            fresh.restore()
        else:
            assert not said or re.match(rb"HTTP/1\.[01] 4\d\d ", said), (bytes(changed[:length]), said)
            assert fresh.wired.connection.total_changes == before
    fresh.go_on()


def test_every_octet_of_a_ping_flipped() -> None:
    """So is a ping."""
    wired = registered(2)()
    head, separator, body = capture("03-ping").partition(b"\r\n\r\n")

    for place in range(len(body)):
        for flip in (0x01, 0xFF):
            changed = bytearray(body)
            changed[place] ^= flip
            assert send(wired, head + separator + bytes(changed)).status in (200, 400)
    assert send(wired, capture("03-ping")).status == 200
