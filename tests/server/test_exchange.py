"""An exchange stores each message once, in order, and answers with what the computer needs to know."""

from typing import Any

import pytest

from fieldpost.server.parcel import ParcelLimits, open_parcel
from fieldpost.wire import cbor
from fieldpost.wire.digest import types_digest
from fieldpost.wire.encoding import CBOR
from fieldpost.wire.payload import ServerPayload
from tests.server.wired import NOTHING_DIGEST, POLICY, SERVER_DIGEST, WiredServer, client_payload


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer()


class Computer:
    """A registered computer that sends what it is told and keeps the token it got."""

    def __init__(self, wired: WiredServer, name: str = "r") -> None:
        self.wired = wired
        self.secure_id = wired.register(name)
        self.token: bytes | None = None

    def exchange(self, sequence: int, *kinds: str, wanted: int = 0, **fields: Any) -> ServerPayload:
        payload = client_payload(
            sequence=sequence,
            messages=[{"type": kind} for kind in kinds],
            next_expected_sequence=wanted,
            **fields,
        )
        return self.send(payload)

    def send(self, payload: dict[str, Any]) -> ServerPayload:
        answer = self.wired.exchange(payload, secure_id=self.secure_id, token=self.token).payload
        self.token = answer.next_exchange_token
        return answer


@pytest.fixture
def computer(wired: WiredServer) -> Computer:
    return Computer(wired)


def stored(wired: WiredServer) -> list[str]:
    return [message["type"] for message in wired.stored()]


def test_stored_and_acknowledged(wired: WiredServer, computer: Computer) -> None:
    """Messages are in the database when the answer says so, with their numbers."""
    wired.clock.advance(50)

    answer = computer.exchange(1, "a", "b")

    assert answer.next_expected_sequence == 3
    rows = wired.connection.execute("SELECT computer, number, type, received FROM message").fetchall()
    assert rows == [(1, 1, "a", 50.0), (1, 2, "b", 50.0)]


def test_repeated(wired: WiredServer, computer: Computer) -> None:
    """Messages that come again are not stored again, and new ones behind them are."""
    computer.exchange(1, "a", "b")
    assert computer.exchange(1, "a", "b", "c").next_expected_sequence == 4
    assert computer.exchange(1, "a").next_expected_sequence == 4

    assert stored(wired) == ["a", "b", "c"]


def test_gap(wired: WiredServer, computer: Computer) -> None:
    """Messages beyond the expected number are not taken: the computer is told the number again."""
    assert computer.exchange(5, "x").next_expected_sequence == 1

    assert stored(wired) == []


def test_unknown_types_are_stored(wired: WiredServer, computer: Computer) -> None:
    """A type that nobody asked for is kept all the same: it was sent."""
    computer.exchange(1, "never-heard-of")

    assert stored(wired) == ["never-heard-of"]


def test_unknown_id(wired: WiredServer) -> None:
    """An identity that we never gave is none; the messages stay with the computer."""
    answer = wired.exchange(client_payload(sequence=9, messages=[{"type": "a"}]), secure_id=b"never").payload

    assert answer.messages == ({"type": "unknown-id"},)
    assert (answer.next_expected_sequence, answer.next_exchange_token) == (9, None)
    assert stored(wired) == []


def test_word_of_landscape_config(wired: WiredServer) -> None:
    """`registering` is what some clients present before they have an id (landscape 1.1)."""
    answer = wired.exchange(client_payload(), secure_id=b"registering").payload

    assert answer.messages == ({"type": "unknown-id"},)


def test_rejected_computer(wired: WiredServer, computer: Computer) -> None:
    """A computer that the operator rejects loses its identity at its next exchange."""
    wired.api("POST", "/computers/1", {"action": "reject"})

    answer = computer.exchange(1, "a")

    assert (answer.messages, answer.next_expected_sequence) == (({"type": "unknown-id"},), 1)


def test_token(wired: WiredServer, computer: Computer) -> None:
    """Each answer has a new token; showing it, or none, is fine."""
    tokens = [computer.exchange(1).next_exchange_token for _ in range(3)]
    computer.token = None
    tokens.append(computer.exchange(1).next_exchange_token)

    assert len(set(tokens) - {None}) == 4


def test_clone(wired: WiredServer, computer: Computer) -> None:
    """A used token is a clone's: it is told whose, nothing of it is taken, and the original goes on."""
    old = computer.exchange(1).next_exchange_token
    computer.exchange(1)
    good, computer.token = computer.token, old

    answer = computer.exchange(1, "a")
    computer.token = good

    assert answer.messages == ({"type": "unknown-id", "clone-of": "A computer"},)
    assert (answer.next_expected_sequence, answer.next_exchange_token) == (1, None)
    assert computer.exchange(1, "a").next_expected_sequence == 2


def test_late_request_without_token(computer: Computer) -> None:
    """An exchange without token that the network delivers late does not make the computer a clone."""
    computer.exchange(1)
    good, computer.token = computer.token, None
    computer.exchange(1)
    computer.token = good

    assert computer.exchange(1, "a").next_exchange_token is not None


def test_accepted_types_are_told_once(computer: Computer) -> None:
    """A computer that does not know our types is told, under one number, until it has them."""
    first = computer.exchange(1, accepted_types=NOTHING_DIGEST, wanted=4)
    second = computer.exchange(1, accepted_types=NOTHING_DIGEST, wanted=4)
    third = computer.exchange(1, accepted_types=SERVER_DIGEST, wanted=5)

    assert ({"type": "accepted-types", "types": list(POLICY.accepted.types)},) == first.messages
    assert first.messages == second.messages
    assert third.messages == ()


def test_client_types(wired: WiredServer, computer: Computer) -> None:
    """The types that a computer handles are kept, and their digest is told so that it need not repeat them."""
    before = computer.exchange(1)
    told = computer.exchange(1, client_accepted_types=["b", "a"])
    after = computer.exchange(1)

    digest = types_digest(("a", "b"))
    assert [None, digest, digest] == [a.client_accepted_types_hash for a in (before, told, after)]
    assert wired.api("GET", "/computers/1").json["handles"] == ["b", "a"]


def test_operation_there_and_back(wired: WiredServer, computer: Computer) -> None:
    """An operation goes out once it is asked for, again until acknowledged, and its result is noted once."""
    made = wired.api("POST", "/operations", {"computer": 1, "type": "run", "fields": {"code": "x"}}).json
    message = {"type": "run", "code": "x", "operation-id": made["id"]}

    assert (message,) == computer.exchange(1, wanted=2).messages
    assert (message,) == computer.exchange(1, wanted=2).messages
    result = {"type": "operation-result", "operation-id": made["id"], "status": 6, "result-text": "fine"}
    payload = client_payload(sequence=1, messages=[result], next_expected_sequence=3)
    assert computer.send(payload).messages == ()
    computer.send(payload)

    shown = wired.api("GET", f"/operations/{made['id']}").json
    assert (shown["status"], shown["result-text"]) == ("succeeded", "fine")
    assert [result] == wired.stored()


def test_resynchronize_there_and_back(wired: WiredServer, computer: Computer) -> None:
    """The operator's request to report afresh is done when the computer says that it does."""
    made = wired.api("POST", "/computers/1", {"action": "resynchronize", "scopes": ["disk"]}).json

    (message,) = computer.exchange(1).messages
    assert {"type": "resynchronize", "operation-id": made["id"], "scopes": ["disk"]} == message
    answer = {"type": "resynchronize", "operation-id": made["id"]}
    computer.send(client_payload(sequence=1, messages=[answer], next_expected_sequence=1))

    assert wired.api("GET", f"/operations/{made['id']}").json["status"] == "succeeded"


def test_result_of_nothing(wired: WiredServer, computer: Computer) -> None:
    """A result that belongs to no operation is stored as a message and harms nothing."""
    result = {"type": "operation-result", "operation-id": 77, "status": 6}

    answer = computer.send(client_payload(sequence=1, messages=[result]))

    assert answer.next_expected_sequence == 2
    assert [result] == wired.stored()


def test_result_that_comes_again(wired: WiredServer, computer: Computer) -> None:
    """A result whose number is known is passed over with its message."""
    made = wired.api("POST", "/operations", {"computer": 1, "type": "run"}).json
    computer.exchange(1, "a")
    result = {"type": "operation-result", "operation-id": made["id"], "status": 5}

    computer.send(client_payload(sequence=1, messages=[result], next_expected_sequence=1))

    assert wired.api("GET", f"/operations/{made['id']}").json["status"] == "delivered"


def test_computers_are_apart(wired: WiredServer) -> None:
    """Each computer has its own numbers, tokens and queue."""
    one, two = Computer(wired, "one"), Computer(wired, "two")
    wired.api("POST", "/operations", {"computer": 2, "type": "run"})

    assert one.exchange(1, "a").messages == ()
    assert [m["type"] for m in two.exchange(1, "b", "c").messages] == ["run"]
    assert stored(wired) == ["a", "b", "c"]


def test_server_says_who_it_is(computer: Computer) -> None:
    """The server's uuid is the same in all answers."""
    assert {"id-1"} == {computer.exchange(1).server_uuid for _ in range(3)}


def test_quiet(wired: WiredServer, computer: Computer) -> None:
    """A quiet exchange stores and acknowledges; it brings no messages, and leaves the token for the next."""
    computer.exchange(1, "a")
    wired.api("POST", "/operations", {"computer": 1, "type": "look"})
    parcel = open_parcel(
        cbor.encode(client_payload(sequence=2, messages=[{"type": "b"}])),
        encoding=CBOR,
        packed=False,
        level=None,
        secure_id=computer.secure_id,
        token=None,
        limits=ParcelLimits(),
    )

    outcome = wired.server.exchange.take_txn(wired.connection, parcel, 5.0, quiet=True)

    assert outcome.answer.next_expected_sequence == 3
    assert outcome.answer.messages == ()
    assert outcome.answer.next_exchange_token is None
    assert stored(wired) == ["a", "b"]
    assert [message["type"] for message in computer.exchange(3).messages] == ["look"]
