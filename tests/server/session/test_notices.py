"""Whatever queues a message for a connected computer, it hears of it after the commit, and never before."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from fieldpost.server.session.notices import Notices, Watch
from tests.server.wired import HeldWriter, WiredServer, client_payload


class Heard:
    """Publisher and registry in one: notes what was published."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, Any, int | None]] = []
        self.connected = {1, 2}

    def publish(self, scope: str, topic: str, value: Any, seq: int | None = None) -> None:
        self.notes.append((scope, topic, value, seq))

    def is_reachable(self, computer_id: int) -> bool:
        return computer_id in self.connected


class Place:
    """A server with two approved computers and something that listens."""

    def __init__(self, writer: Any = None) -> None:
        self.heard = Heard()
        self.wired = WiredServer()
        self.secure_ids = [self.wired.register(name) for name in ("r-1", "r-2")]
        watch = Watch.begin(self.wired.connection)
        self.notices = Notices(
            commits=self.wired.server.commits, watch=watch, topics=self.heard, present=self.heard
        )

    def operate(self, computer: int = 1) -> None:
        self.wired.api("POST", "/operations", {"computer": computer, "type": "look"})


@pytest.fixture
def place() -> Place:
    return Place()


def test_operation(place: Place) -> None:
    """An operation is urgent; the number is that of its message."""
    place.operate()
    place.operate()
    place.operate(2)

    assert place.heard.notes == [
        ("1", "messages", {b"pending": 1, b"seq": 1, b"urgent": True}, 1),
        ("1", "messages", {b"pending": 2, b"seq": 2, b"urgent": True}, 2),
        ("2", "messages", {b"pending": 1, b"seq": 3, b"urgent": True}, 3),
    ]


def test_settings_are_not_urgent(place: Place) -> None:
    """A message that answers to no operation waits as well."""
    place.wired.api("POST", "/computers/1", {"action": "set-intervals", "exchange": 60})

    assert place.heard.notes == [("1", "messages", {b"pending": 1, b"seq": 1, b"urgent": False}, 1)]


def test_resynchronize(place: Place) -> None:
    """So does what the operator asks of a computer."""
    place.wired.api("POST", "/computers/1", {"action": "resynchronize"})

    assert [note[2][b"pending"] for note in place.heard.notes] == [1]


def test_nobody_is_there(place: Place) -> None:
    """For a computer without a session nothing is published."""
    place.heard.connected.clear()

    place.operate()

    assert place.heard.notes == []


def test_what_an_exchange_took(place: Place) -> None:
    """What is sent in the exchange that queued it is no news."""
    place.wired.exchange(client_payload(accepted_types=b"x" * 16), secure_id=place.secure_ids[0])

    assert place.heard.notes == []


def test_sent_is_not_pending(place: Place) -> None:
    """What an answer has carried does not wait."""
    place.operate()
    place.wired.exchange(client_payload(), secure_id=place.secure_ids[0])

    place.operate()

    assert place.heard.notes[-1][2] == {b"pending": 1, b"seq": 2, b"urgent": True}


def test_refresh(place: Place) -> None:
    """Who comes hears what waits, and nothing when nothing does."""
    place.heard.connected.clear()
    place.operate()
    place.heard.connected.update({1, 2})
    for computer in (1, 2):
        Deferred.fromCoroutine(place.notices.refresh(computer))

    assert place.heard.notes == [("1", "messages", {b"pending": 1, b"seq": 1, b"urgent": True}, 1)]


def test_never_before_the_commit() -> None:
    """Before the sync nothing is said."""
    writer, heard = HeldWriter(), Heard()
    wired = WiredServer(writer=writer)
    Notices(commits=wired.server.commits, watch=Watch.begin(wired.connection), topics=heard, present=heard)
    wired.connection.execute(
        "INSERT INTO computer (id, secure_id, account, registration_id, title, hostname, status, created, expected)"
        " VALUES (1, x'01', 'open', 'r', 't', 'h', 'approved', 0, 0)"
    )

    queue = "INSERT INTO outgoing (computer, type, body) VALUES (1, 'look', x'00')"
    wired.server.commits.run(lambda txn: txn.execute(queue) and None)
    assert heard.notes == []
    writer.release()

    assert len(heard.notes) == 1
