"""One session per computer: who comes second is judged, and nothing is decided on a guess."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from fieldpost.server.commits import Commits
from fieldpost.server.composition import open_server_database
from fieldpost.server.session.records import all_twins_txn, find_record_txn
from fieldpost.server.session.registry import MOST_STRANGERS, OLD_AFTER, Entry, Registry
from fieldpost.wire.session.duplicates import Offer, Reject
from tests.fakes import InlineWriter

US = b"server-1"
INSERT = (
    "INSERT INTO computer (id, secure_id, account, registration_id, title, hostname, status, created, expected)"
    " VALUES (?, ?, 'open', ?, 't', 'h', 'approved', 0, 0)"
)


class Line:
    """A session in the test's hands."""

    def __init__(self) -> None:
        self.closed: str | None = None
        self.told = ""
        self.probes: list[Deferred[bool]] = []

    def probe(self) -> "Deferred[bool]":
        self.probes.append(Deferred())
        return self.probes[-1]

    def call(self, name: str, args: Any = None, **ways: Any) -> "Deferred[Any]":
        raise AssertionError(name)

    def tell(self, name: str, args: Any = None) -> None:
        self.told = name

    def close(self, reason: str, retry_after: int | None = None) -> None:
        self.closed = reason


class Place:
    """A registry over a database with two computers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connection = open_server_database(":memory:")
        for number in (1, 2):
            self.connection.execute(INSERT, (number, b"%d" % number, str(number)))
        self.commits = Commits(connection=self.connection, writer=InlineWriter())
        self.registry = Registry(commits=self.commits, clock=self.clock, incarnation=US)

    def come(
        self, computer: int = 1, line: Line | None = None, gone: bool = False, **offer: Any
    ) -> list[Any]:
        """What became of a newcomer, once it is known."""
        found: list[Any] = []
        coming = self.registry.admit(
            computer,
            offer=Offer(**{"incarnation": b"life-1", "attempt": None, **offer}),
            line=line or Line(),
            address="192.0.2.7",
            is_gone=lambda: gone,
        )
        Deferred.fromCoroutine(coming).addBoth(found.append)
        return found


@pytest.fixture
def place() -> Place:
    return Place()


def line_of(found: list[Any]) -> Line:
    line = found[0].line
    assert isinstance(line, Line)
    return line


def test_first(place: Place) -> None:
    """The first session of a computer gets the number one."""
    (entry,) = place.come()

    assert isinstance(entry, Entry)
    assert entry.sequence == 1
    assert place.registry.find(1) is entry
    assert place.registry.find(2) is None


def test_numbers_outlive_the_process(place: Place) -> None:
    """A server that was started again goes on counting."""
    place.come()
    place.registry = Registry(commits=place.commits, clock=place.clock, incarnation=b"server-2")

    (entry,) = place.come()

    assert entry.sequence == 2


@pytest.mark.conformance("F30")
def test_restarted_agent_replaces(place: Place) -> None:
    """A new life of the agent takes the place of the old, which is told so."""
    old = place.come()

    (entry,) = place.come(incarnation=b"life-2")

    assert place.registry.find(1) is entry
    assert line_of(old).closed == "replaced"
    assert line_of(old).probes == []


def test_newer_attempt_replaces(place: Place) -> None:
    """An agent that tries again has left its session, whatever it remembers."""
    old = place.come(attempt=1)

    (entry,) = place.come(attempt=2)

    assert place.registry.find(1) is entry
    assert line_of(old).closed == "replaced"


@pytest.mark.conformance("F33")
def test_agent_that_knew_another_life_of_ours(place: Place) -> None:
    """An agent that heard its last decision from an earlier process replaces."""
    place.come()

    assert isinstance(place.come(last=(b"server-0", 7))[0], Entry)


@pytest.mark.conformance("F34")
def test_agent_that_left_this_very_session(place: Place) -> None:
    """An agent that names the live session knows that it is dead."""
    place.come()

    assert isinstance(place.come(last=(US, 1))[0], Entry)


@pytest.mark.conformance("F31", "F35", "F36", "F37", "F38")
@pytest.mark.parametrize(
    "offer", [{"last": None}, {"last": (US, 0)}, {"last": (US, 9)}, {"incarnation": None}], ids=str
)
def test_probe_answered(place: Place, offer: dict[str, Any]) -> None:
    """Before anybody is refused the live session is asked; when it answers it stays as it was."""
    live = place.come()
    found = place.come(**offer)
    assert found == []

    line_of(live).probes[0].callback(True)

    assert isinstance(found[0], Reject)
    assert found[0].code == "duplicate"
    assert place.registry.find(1) is live[0]
    assert line_of(live).closed is None


@pytest.mark.conformance("F32")
def test_agent_that_says_no_incarnation(place: Place) -> None:
    """Once the live session is old enough it gives way unasked."""
    live = place.come()
    place.clock.advance(OLD_AFTER)

    found = place.come(incarnation=None)

    assert isinstance(found[0], Entry)
    assert line_of(live).probes == []
    assert line_of(live).closed == "replaced"


@pytest.mark.conformance("F35", "F37")
def test_probe_not_answered(place: Place) -> None:
    """A live session that does not answer gives way."""
    live = place.come()
    found = place.come()

    line_of(live).probes[0].callback(False)

    assert isinstance(found[0], Entry)
    assert line_of(live).closed == "replaced"


def test_one_probe_at_a_time(place: Place) -> None:
    """Newcomers wait in order; each is judged by what is live when its turn comes."""
    live = place.come()
    second, third = place.come(), place.come()
    other = place.come(computer=2)
    assert isinstance(other[0], Entry)
    assert len(line_of(live).probes) == 1

    line_of(live).probes[0].callback(False)

    assert isinstance(second[0], Entry)
    assert third == []
    line_of(second).probes[0].callback(True)
    assert isinstance(third[0], Reject)


def test_live_session_ends_while_it_is_asked(place: Place) -> None:
    """A session that answered and ended is in nobody's way."""
    live = place.come()
    found = place.come()

    place.registry.remove(live[0])
    line_of(live).probes[0].callback(True)

    assert isinstance(found[0], Entry)


def test_newcomer_that_left(place: Place) -> None:
    """Who is gone before its turn replaces nobody."""
    live = place.come()

    assert place.come(gone=True, incarnation=b"life-2") == [None]

    assert place.registry.find(1) is live[0]
    assert line_of(live).closed is None


def test_removed_late(place: Place) -> None:
    """The end of a replaced session leaves the new one alone."""
    old = place.come()
    new = place.come(incarnation=b"life-2")

    assert old[0] and new[0]
    for session in (old, new):
        assert place.registry.find(1) is new[0]
        place.registry.remove(session[0])

    assert len(place.registry) == 0


def test_twins(place: Place) -> None:
    """Two machines with one identity are noticed: the newer is refused, the operator is told."""
    with capturedLogs() as events:
        found = [place.come(incarnation=life)[0] for life in (b"one", b"two", b"one", b"two", b"one")]

    refused = [item for item in found if isinstance(item, Reject)]
    assert refused
    assert {item.code for item in refused} == {"clone"}
    assert any("one is a copy of the other" in event.get("log_format", "") for event in events)
    assert all_twins_txn(place.connection) == {1: 0.0}
    assert find_record_txn(place.connection, 1).twins_seen == 0.0


def test_rejected(place: Place) -> None:
    """A computer that is rejected loses its session."""
    live = place.come()

    place.registry.decided(1, approved=True)
    assert line_of(live).closed is None
    place.registry.decided(1, approved=False)
    place.registry.decided(2, approved=False)

    assert line_of(live).closed == "revoked"


def test_facts(place: Place) -> None:
    """The operator sees who is connected, from where and since when."""
    place.clock.advance(50)
    place.come()

    session = {"since": 50.0, "address": "192.0.2.7", "number": 1, "version": 1}
    assert place.registry.facts(1) == {"session": session, "twins-seen": None}
    assert place.registry.facts(2) == {"session": None, "twins-seen": None}


def test_twins_are_dealt_with(place: Place) -> None:
    """When the operator approves the computer again the sign of twins goes, also from the database."""
    for life in (b"one", b"two", b"one", b"two", b"one"):
        place.come(incarnation=life)
    assert place.registry.facts(1)["twins-seen"] == 0.0

    place.registry.decided(1, approved=True)

    assert place.registry.facts(1)["twins-seen"] is None
    assert all_twins_txn(place.connection) == {}


def test_approved_while_it_waits(place: Place) -> None:
    """An agent that waits for approval is told to exchange when it comes, once."""
    line, other, unknown = Line(), Line(), Line()
    for stranger in (line, other):
        assert place.registry.admit_stranger(stranger)
    place.registry.expect(2, line)
    place.registry.expect(1, other)
    place.registry.expect(2, unknown)
    place.registry.remove_stranger(other)

    place.registry.decided(2, approved=True)
    assert line.told == "exchange-now"
    line.told = ""
    place.registry.decided(2, approved=True)
    place.registry.decided(1, approved=True)

    assert (line.told, other.told, unknown.told) == ("", "", "")


def test_most_strangers(place: Place) -> None:
    """Agents without identity cannot take all the room."""
    lines = [Line() for _ in range(MOST_STRANGERS + 1)]
    assert [place.registry.admit_stranger(line) for line in lines].count(True) == MOST_STRANGERS

    place.registry.remove_stranger(lines[0])

    assert place.registry.admit_stranger(lines[-1])
