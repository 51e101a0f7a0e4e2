"""Whoever looks sees what an operation writes while it runs, and nobody's looking costs more than its bound."""

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from fieldpost.runtime.session.errors import SessionLost
from fieldpost.server.errors import Refused
from fieldpost.server.session import output
from fieldpost.server.session.output import KEPT_CHARACTERS, Look, Outputs
from fieldpost.wire.session.events import Progress


def progress(position: int) -> Progress:
    return Progress(1, b"packages", position, 10, None, None)


class Computer:
    """Answers `tail` as the test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.cancelled = 0

    def call(self, name: str, args: Any = None, **ways: Any) -> "Deferred[Any]":
        self.calls.append((name, args))
        self.write, self.progress = ways["on_output"], ways["on_progress"]
        self.answer: Deferred[Any] = Deferred(self._cancel)
        return self.answer

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1


class Watching:
    """One who looks at operation 7."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.outputs = Outputs(clock=self.clock)
        self.computer: Computer | None = Computer()

    def look(self, after: int = 0, wait: float = 0.0, operation: int = 7) -> list[Any]:
        found: list[Any] = []
        looking = self.outputs.look(operation, after=after, wait=wait, find=lambda: self.computer)
        Deferred.fromCoroutine(looking).addBoth(found.append)
        return found

    def tailing(self) -> Computer:
        self.look()
        assert self.computer is not None
        return self.computer


@pytest.fixture
def watching() -> Watching:
    return Watching()


def test_nobody_asks_before_somebody_looks(watching: Watching) -> None:
    """The first look opens the tail, the second uses it."""
    computer = watching.tailing()
    watching.look()

    assert computer.calls == [("tail", {"operation": 7})]


def test_text_in_pieces(watching: Watching) -> None:
    """Each look brings what is new since the one before."""
    computer = watching.tailing()
    computer.write("one ")

    (first,) = watching.look()
    computer.write("two")
    (second,) = watching.look(after=first.next)

    assert (first.text, second.text, second.next) == ("one ", "two", 7)
    assert first.is_live
    assert second.missed == 0


def test_look_waits(watching: Watching) -> None:
    """A look that has seen everything is answered when there is more."""
    computer = watching.tailing()
    found = watching.look(wait=30)
    assert found == []

    computer.write("more")

    assert found[0].text == "more"


def test_look_waits_no_longer_than_it_wants(watching: Watching) -> None:
    """When nothing comes the answer is empty, and its time is over."""
    watching.tailing()
    found = watching.look(wait=30)

    watching.clock.advance(30)

    assert found == [Look(text="", next=0, missed=0, progress={}, is_live=True, trouble=None)]


def test_look_that_is_taken_back(watching: Watching) -> None:
    """It is over at once, its time and its place are free, and others who look hear what comes."""
    computer = watching.tailing()
    before = len(watching.clock.getDelayedCalls())
    looking = Deferred.fromCoroutine(watching.outputs.look(7, after=0, wait=30, find=lambda: computer))
    other = watching.look(wait=30)

    looking.cancel()

    assert looking.called
    assert len(watching.clock.getDelayedCalls()) == before + 1
    computer.write("more")
    assert [look.text for look in other] == ["more"]
    assert len(watching.clock.getDelayedCalls()) == before


def test_progress(watching: Watching) -> None:
    """How far it is can be seen, and wakes whoever waits."""
    computer = watching.tailing()
    found = watching.look(wait=30)

    computer.progress(progress(3))

    assert found[0].progress == {"packages": {"position": 3, "total": 10}}
    computer.progress(progress(-1))
    assert watching.look()[0].progress == {}


def test_end(watching: Watching) -> None:
    """When the operation ends, whoever waits is told."""
    computer = watching.tailing()
    found = watching.look(wait=30)

    computer.answer.callback(())

    assert not found[0].is_live
    assert found[0].trouble is None


def test_lost_session(watching: Watching) -> None:
    """When the session is lost the look says so; a later one asks again, and nothing is shown twice."""
    computer = watching.tailing()
    computer.write("one two ")
    computer.answer.errback(SessionLost("lost"))
    computer.calls.clear()

    watching.look()
    computer.write("one two three")

    assert computer.calls == [("tail", {"operation": 7})]
    assert watching.look()[0].text == "one two three"


def test_trouble_is_told(watching: Watching) -> None:
    """Why nothing comes is said while it is so."""
    computer = watching.tailing()
    computer.answer.errback(SessionLost("lost"))
    watching.computer = None

    (found,) = watching.look(wait=30)

    assert found.trouble == "the connection to the peer was lost"


def test_bounded(watching: Watching) -> None:
    """The newest is kept; who comes late hears how much is missing."""
    computer = watching.tailing()
    computer.write("x" * 10)
    computer.write("y" * KEPT_CHARACTERS)

    (found,) = watching.look(after=4)

    assert found.missed == 6
    assert found.text == "y" * KEPT_CHARACTERS


def test_long_topics(watching: Watching) -> None:
    """What a computer calls its progress is cut, for there may be many of them."""
    computer = watching.tailing()

    computer.progress(evolve(progress(3), topic=b"\xff" * 60_000))

    (topic,) = watching.look()[0].progress
    assert topic == "\\xff" * 200


def test_after_beyond_the_end(watching: Watching) -> None:
    """A place that does not exist is the end."""
    computer = watching.tailing()
    computer.write("abc")

    assert watching.look(after=1_000)[0].next == 3


def test_nobody_looks_any_more(watching: Watching) -> None:
    """The computer is told to stop when nobody has looked for a minute."""
    computer = watching.tailing()
    watching.clock.advance(59)
    watching.look()

    watching.clock.advance(59)
    assert computer.cancelled == 0
    watching.clock.advance(1)

    assert computer.cancelled == 1
    assert watching.clock.getDelayedCalls() == []


def test_not_connected(watching: Watching) -> None:
    """Without a session there is nothing to see, and nothing is waited for."""
    watching.computer = None

    (found,) = watching.look(wait=30)

    assert not found.is_live


def test_most_watched(watching: Watching) -> None:
    """Only so many operations are watched at once."""
    for operation in range(output.MOST_WATCHED):
        watching.look(operation=operation)

    found = watching.look(operation=-1)

    assert isinstance(found[0].value, Refused)
    assert found[0].value.status == 503


def test_stop(watching: Watching) -> None:
    """When the server stops nothing is left."""
    computer = watching.tailing()

    watching.outputs.stop()

    assert computer.cancelled == 1
    assert watching.clock.getDelayedCalls() == []
