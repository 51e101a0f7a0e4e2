"""A process with all that it starts is held to its time, its output and its end."""

import signal
from typing import Any

import pytest
from twisted.internet.task import Clock

from fieldpost.plugins.child import (
    STOPPED,
    TIME_LIMIT,
    TRANSITIONS,
    Child,
    Command,
    Ending,
    Input,
    Output,
    State,
)
from fieldpost.testing import FakeProcess, FakeSpawner, NotYet, result_of

TERM, KILL = signal.SIGTERM, signal.SIGKILL


class Run:
    """A child that was started, for 60 seconds, with a grace of 5."""

    def __init__(self, output_limit: int = 1000) -> None:
        self.clock = Clock()
        self.spawner = FakeSpawner()
        self.child = Child(
            clock=self.clock,
            output_limit=output_limit,
            grace=5,
            kill=self.kill,
            kill_group=self.kill_group,
        )
        self.has_group = True
        self.forbidden = False
        command = Command(
            arguments=["/bin/sh", "x"], environment={"A": "b"}, directory="/tmp/x", uid=7, gid=8
        )
        self.child.start(self.spawner, command, setsid="/usr/bin/setsid", time_limit=60)

    @property
    def process(self) -> FakeProcess:
        return self.spawner.processes[0]

    def kill(self, pid: int, number: int) -> None:
        self.spawner.kill(pid, number)

    def kill_group(self, pid: int, number: int) -> None:
        if self.forbidden:
            raise PermissionError
        if not self.has_group:
            raise ProcessLookupError
        self.spawner.kill(pid, number)

    def ending(self) -> Ending:
        return result_of(self.child.ended())


def test_it_is_started_in_a_session_of_its_own() -> None:
    """With the user, folder and environment that were asked for, and nothing to read."""
    process = Run().process

    assert process.arguments == ["/usr/bin/setsid", "/bin/sh", "x"]
    assert (process.environment, process.directory) == ({"A": "b"}, "/tmp/x")
    assert (process.uid, process.gid) == (7, 8)
    assert not process.has_stdin


def test_one_that_ends_by_itself_says_how() -> None:
    """With what it wrote on either output."""
    run = Run()
    run.process.write(b"out ")
    run.process.write(b"err", fd=2)

    run.process.exit(3)

    assert run.ending() == Ending(output="out err", exit_code=3, signal=None, cause=None)
    assert run.ending() == result_of(run.child.ended())
    assert run.clock.getDelayedCalls() == []


def test_one_that_ends_by_a_signal_says_which() -> None:
    """Not by an exit code."""
    run = Run()

    run.process.exit(signal=11)

    assert run.ending() == Ending(output="", exit_code=None, signal=11, cause=None)


def test_at_the_time_limit_it_is_asked_to_end() -> None:
    """And its answer still counts."""
    run = Run()
    run.clock.advance(59.9)
    assert run.process.signals == []

    run.clock.advance(0.1)
    run.process.write(b"tidied up")
    run.process.exit(signal=TERM)

    assert run.process.signals == [TERM]
    assert run.ending() == Ending(output="tidied up", exit_code=None, signal=TERM, cause=TIME_LIMIT)


def test_one_that_does_not_end_when_asked_is_killed() -> None:
    """After the grace."""
    run = Run()

    run.clock.advance(60)
    run.clock.advance(5)

    assert run.process.signals == [TERM, KILL]
    assert run.ending() == Ending(output="", exit_code=None, signal=KILL, cause=TIME_LIMIT)


def test_one_that_cannot_be_killed_is_given_up() -> None:
    """A process may hang in the kernel; whoever waits is told."""
    run = Run()
    run.forbidden = True
    run.clock.advance(60)
    run.clock.advance(5)
    with pytest.raises(NotYet):
        run.ending()

    run.clock.advance(5)

    assert run.ending() == Ending(output="", exit_code=None, signal=None, cause=TIME_LIMIT)
    assert run.process.is_lost
    run.process.exit(signal=KILL)
    assert run.ending().signal is None


def test_stopping_it_says_so() -> None:
    """Once; a second time changes nothing."""
    run = Run()

    run.child.end(STOPPED)
    run.child.end(TIME_LIMIT)
    run.process.exit(signal=TERM)
    run.child.end(TIME_LIMIT)

    assert run.process.signals == [TERM]
    assert run.ending().cause == STOPPED


def test_descendants_that_stay_are_ended_too() -> None:
    """They would run on without limits; the exit code is the process's own."""
    run = Run()
    signals: list[int] = []
    run.child._kill_group = lambda pid, number: signals.append(number)
    run.process.exit(0, descendants=True)
    assert signals == [TERM]

    run.clock.advance(5)
    run.process.write(b"last words")
    run.process.close()

    assert signals == [TERM, KILL, KILL]
    assert run.ending() == Ending(output="last words", exit_code=0, signal=None, cause=None)


def test_a_descendant_that_got_away_and_holds_the_output_is_not_waited_for() -> None:
    """It made a session of its own; its output is cut off."""
    run = Run()
    run.has_group = False
    run.process.exit(0, descendants=True)

    run.clock.advance(5)
    run.clock.advance(5)

    assert run.ending() == Ending(output="", exit_code=0, signal=None, cause=None)
    assert run.process.is_lost


def test_a_group_that_is_gone_is_never_signalled_again() -> None:
    """Its number may be another's by then."""
    run = Run()
    signals: list[int] = []

    def kill_group(pid: int, number: int) -> None:
        signals.append(number)
        raise ProcessLookupError

    run.child._kill_group = kill_group
    run.process.exit(0)

    assert signals == [TERM]


def test_one_that_has_no_group_yet_is_signalled_alone() -> None:
    """It may be stopped before it came to making one."""
    run = Run()
    run.has_group = False

    run.child.end(STOPPED)

    assert run.process.signals == [TERM]


def test_giving_up_waiting_leaves_it_running() -> None:
    """Others may wait."""
    run = Run()
    waiting = run.child.ended()
    waiting.addErrback(lambda _: None)

    waiting.cancel()
    run.process.exit()

    assert run.ending().exit_code == 0


@pytest.mark.parametrize("limit", [10, 11])
def test_output_within_its_limit_is_whole(limit: int) -> None:
    """To the last octet."""
    output = Output(limit)

    output.add(b"01234")
    output.add(b"56789")

    assert output.text() == "0123456789"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_output_above_its_limit_keeps_both_ends(size: int) -> None:
    """With a note of what was cut; errors are mostly at the end."""
    output = Output(10)
    written = b"".join(b"%04d" % i for i in range(250))

    for start in range(0, len(written), size):
        output.add(written[start : start + size])

    assert output.text() == "00000\n[990 octets of output cut here]\n80249"


def test_output_that_is_no_text_is_marked() -> None:
    """Octets are no reason to lose the rest."""
    output = Output(100)

    output.add(b"caf\xc3\xa9 \xff")

    assert output.text() == "café \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("happened", Input)
def test_the_table_knows_every_pair_that_can_happen(state: State, happened: Input) -> None:
    """A grace is over only while there is one; once ended, it stays so."""
    if happened is Input.DUE and state in (State.RUNNING, State.ENDED):
        assert (state, happened) not in TRANSITIONS
    else:
        after = TRANSITIONS[state, happened]
        assert list(State).index(after) >= list(State).index(state)


class HastySpawner(FakeSpawner):
    """Its processes have ended, and Twisted has forgotten their numbers, before spawnProcess returns."""

    def spawnProcess(self, *arguments: Any, **named: Any) -> FakeProcess:
        process = super().spawnProcess(*arguments, **named)
        process.write(b"done")
        process.exit()
        process.pid = None  # type: ignore[assignment]
        return process


def test_it_may_have_ended_before_it_is_known_to_have_started() -> None:
    """Its end is noticed, and no process group but its own is signalled."""
    clock, spawner, signalled = Clock(), HastySpawner(), []
    child = Child(
        clock=clock,
        output_limit=1000,
        grace=5,
        kill_group=lambda pid, number: signalled.append((pid, number)),
    )

    command = Command(arguments=["true"], environment={}, directory="/", uid=7, gid=8)
    child.start(spawner, command, setsid="/usr/bin/setsid", time_limit=60)

    assert result_of(child.ended()) == Ending(output="done", exit_code=0, signal=None, cause=None)
    assert {pid for pid, _ in signalled} == {FakeSpawner.FIRST_PID}
    assert clock.getDelayedCalls() == []


def test_nothing_is_left_of_one_that_cannot_be_made() -> None:
    """Its time limit neither."""
    clock = Clock()
    child = Child(clock=clock, output_limit=1000, grace=5)

    command = Command(arguments=["true"], environment={}, directory="/", uid=7, gid=8)
    with pytest.raises(OSError, match="no more processes"):
        child.start(NoSpawner(), command, setsid="/usr/bin/setsid", time_limit=60)

    assert clock.getDelayedCalls() == []


class NoSpawner(FakeSpawner):
    """There is no room for processes."""

    def spawnProcess(self, *arguments: Any, **named: Any) -> FakeProcess:
        raise OSError("no more processes")
