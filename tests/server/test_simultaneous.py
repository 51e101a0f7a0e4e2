"""Exchanges that come at the same time share a commit, and the same computer's do not get in each other's way."""

from typing import Any

import pytest
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from tests.server.wired import (
    HeldWriter,
    Reply,
    WiredServer,
    client_payload,
    exchange_request,
    read_reply,
    register_message,
    request_octets,
)


class Busy:
    """A server whose disk is slow: what it commits waits until it is released."""

    def __init__(self) -> None:
        self.writer = HeldWriter()
        self.wired = WiredServer(writer=self.writer)

    def send(
        self, payload: dict[str, Any], secure_id: bytes | None = None, token: bytes | None = None
    ) -> StringTransport:
        channel, transport = self.wired.connect()
        channel.dataReceived(request_octets(*exchange_request(payload, secure_id, token)))
        return transport

    def release(self) -> int:
        """Finish everything; how many commits it took."""
        commits = 0
        while self.writer.held:
            self.writer.release()
            commits += 1
        return commits

    def reply(self, payload: dict[str, Any], *identity: bytes | None) -> Reply:
        transport = self.send(payload, *identity)
        self.release()
        return read_reply(transport.value())

    def register(self, name: str) -> bytes:
        payload = client_payload(messages=[register_message(name)])
        secure_id: bytes = self.reply(payload).payload.messages[0]["id"]
        return secure_id


@pytest.fixture
def busy() -> Busy:
    return Busy()


def messages(*kinds: str) -> dict[str, Any]:
    return client_payload(sequence=1, messages=[{"type": kind} for kind in kinds])


def test_a_fleet_shares_commits(busy: Busy) -> None:
    """While one exchange is synced the others gather, and need one more sync together."""
    ids = [busy.register(f"r-{number}") for number in range(10)]

    transports = [busy.send(messages("a"), secure_id) for secure_id in ids]

    assert busy.release() == 2
    expected = [read_reply(transport.value()).payload.next_expected_sequence for transport in transports]
    assert expected == [2] * 10
    assert len(busy.wired.stored()) == 10


def test_answers_wait_for_the_sync(busy: Busy) -> None:
    """Nobody is told that a message is stored before it is."""
    secure_id = busy.register("r")

    transport = busy.send(messages("a"), secure_id)

    assert transport.value() == b""
    busy.release()
    assert read_reply(transport.value()).payload.next_expected_sequence == 2


def test_a_bad_exchange_among_good_ones(busy: Busy) -> None:
    """An exchange that is refused within the commit spoils none that shares it."""
    secure_id = busy.register("r")
    busy.send(messages("first"), secure_id)

    bad = busy.send(client_payload(messages=[register_message(hostname=5)]))
    good = busy.send(client_payload(sequence=2, messages=[{"type": "second"}]), secure_id)
    busy.release()

    assert read_reply(bad.value()).status == 400
    assert read_reply(good.value()).payload.next_expected_sequence == 3
    assert [message["type"] for message in busy.wired.stored()] == ["first", "second"]


def test_same_computer_without_tokens(busy: Busy) -> None:
    """An exchange repeated while the first is still being stored is answered alike, and stored once."""
    secure_id = busy.register("r")

    twins = [busy.send(messages("a", "b"), secure_id) for _ in range(3)]
    busy.release()

    expected = [read_reply(twin.value()).payload.next_expected_sequence for twin in twins]
    assert expected == [3, 3, 3]
    assert [message["type"] for message in busy.wired.stored()] == ["a", "b"]


def test_same_computer_with_one_token(busy: Busy) -> None:
    """A token counts once, also when it comes twice at the same time: the second is a clone's."""
    secure_id = busy.register("r")
    token = busy.reply(messages(), secure_id).payload.next_exchange_token

    twins = [busy.send(messages("a"), secure_id, token) for _ in range(2)]
    busy.release()

    answers = [read_reply(twin.value()).payload for twin in twins]
    assert [answer.next_expected_sequence for answer in answers] == [2, 1]
    assert [message["type"] for message in answers[1].messages] == ["unknown-id"]
    assert [message["type"] for message in busy.wired.stored()] == ["a"]


def test_same_registration(busy: Busy) -> None:
    """A registration repeated while the first is still being stored makes one computer."""
    payload = client_payload(messages=[register_message()])

    twins = [busy.send(payload) for _ in range(3)]
    busy.release()

    assert len({read_reply(twin.value()).payload.messages[0]["id"] for twin in twins}) == 1
    assert busy.wired.connection.execute("SELECT count(*) FROM computer").fetchone() == (1,)


def test_full_disk_for_a_fleet(busy: Busy) -> None:
    """When a shared commit does not fit, everybody in it hears so, and everybody's messages are taken later."""
    ids = [busy.register(f"r-{number}") for number in range(3)]
    pages = busy.wired.connection.execute("PRAGMA page_count").fetchone()[0]
    busy.wired.connection.execute(f"PRAGMA max_page_count = {pages}")
    large = client_payload(sequence=1, messages=[{"type": "a", "text": "x" * 12_000}])

    with capturedLogs():
        transports = [busy.send(large, secure_id) for secure_id in ids]
        busy.release()
    statuses = [read_reply(transport.value()).status for transport in transports]
    busy.wired.connection.execute("PRAGMA max_page_count = 100000")
    again = [busy.reply(large, secure_id).payload.next_expected_sequence for secure_id in ids]

    assert statuses == [503] * 3
    assert again == [2] * 3
    assert len(busy.wired.stored()) == 3
