"""
A process and all that it starts, held to limits.

It runs in a session of its own, so that it can be signalled with its descendants. When its time is over, or when it is
stopped, the group is asked to end and killed after a grace. The same is done with what is left of the group when the
process itself has ended: what runs on would run without limits. Only a descendant that made itself another session
gets away.
"""

import os
import signal
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from .context import Spawner

TIME_LIMIT = "time-limit"
STOPPED = "stopped"


@frozen(kw_only=True)
class Command:
    """What to run: the program is the first argument, named by its path."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    uid: int | None = None
    """None for the user and group of this process."""
    gid: int | None = None


@frozen(kw_only=True)
class Ending:
    """How it ended. Neither code nor signal: it does not end although it was killed."""

    output: str
    exit_code: int | None
    signal: int | None
    cause: str | None
    """TIME_LIMIT or STOPPED when that is why it was ended."""


class Output:
    """What a process wrote, at most `limit` octets of it: the first half and the last."""

    def __init__(self, limit: int) -> None:
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    def add(self, octets: bytes) -> None:
        """Take more of it."""
        room = self._head_room - len(self._head)
        self._head += octets[:room]
        self._tail += octets[room:]
        too_many = len(self._tail) - self._tail_room
        if too_many > 0:
            del self._tail[:too_many]
            self._cut += too_many

    def text(self) -> str:
        """As text, with a mark for what is no UTF-8, and a note in place of what was cut."""
        if not self._cut:
            return bytes(self._head + self._tail).decode("utf-8", "replace")
        head, tail = (bytes(part).decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n[{self._cut} octets of output cut here]\n{tail}"


class State(Enum):
    """Where a child is."""

    RUNNING = "running"
    ENDING = "ending"
    """Its group was asked to end."""
    KILLED = "killed"
    ENDED = "ended"


class Input(Enum):
    """What can happen to a child."""

    END = "end"
    """Time is over, it is stopped, or the process ended and its group may not have."""
    DUE = "due"
    """The grace is over."""
    GONE = "gone"
    """The process ended and nobody can write to us any more."""


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.RUNNING, Input.END): State.ENDING,
    (State.RUNNING, Input.GONE): State.ENDED,
    (State.ENDING, Input.END): State.ENDING,
    (State.ENDING, Input.DUE): State.KILLED,
    (State.ENDING, Input.GONE): State.ENDED,
    (State.KILLED, Input.END): State.KILLED,
    (State.KILLED, Input.DUE): State.ENDED,
    (State.KILLED, Input.GONE): State.ENDED,
    (State.ENDED, Input.END): State.ENDED,
    (State.ENDED, Input.GONE): State.ENDED,
}


class Child(ProcessProtocol):
    """One such process."""

    def __init__(
        self,
        *,
        clock: IReactorTime,
        output_limit: int,
        grace: float,
        kill: Callable[[int, int], None] = os.kill,
        kill_group: Callable[[int, int], None] = os.killpg,
        wrote: Callable[[str], None] | None = None,
    ) -> None:
        """`wrote` is told what it writes, as it comes."""
        self._wrote = wrote
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._kill = kill
        self._kill_group = kill_group
        self._ending: Ending | None = None
        self._waiting: list[Deferred[Ending]] = []
        self._clock = clock
        self._grace = grace
        self._output = Output(output_limit)
        self._state = State.RUNNING
        self._cause: str | None = None
        self._exit_code: int | None = None
        self._signal: int | None = None
        self._timer: IDelayedCall | None = None
        self._pid = 0
        self._group_is_gone = False

    def start(self, spawner: Spawner, command: Command, *, setsid: str, time_limit: float) -> None:
        """
        Start it, through the program `setsid`; after so many seconds it is ended.

        Raises OSError when no process can be made.
        """
        self._arm(time_limit, self.end, TIME_LIMIT)
        try:
            spawner.spawnProcess(
                self,
                setsid,
                [setsid, *command.arguments],
                env=dict(command.environment),
                path=command.directory,
                uid=command.uid,
                gid=command.gid,
            )
        except OSError:
            self._disarm()
            raise

    def end(self, cause: str) -> None:
        """End it now, for this reason; harmless when it ended already."""
        if self._state is State.RUNNING:
            self._cause = cause
        self._take(Input.END)

    def ended(self) -> "Deferred[Ending]":
        """How it ended, once it has. Never fails; cancelling it ends the waiting alone."""
        waiting: Deferred[Ending] = Deferred()
        if self._ending is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self._ending)
        return waiting

    # What Twisted says

    def connectionMade(self) -> None:
        """
        See ProcessProtocol. It gets an empty standard input.

        A process may have ended before spawnProcess returns; then Twisted does not know its number any more.
        """
        self._pid = self._transport().pid
        self._transport().closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See ProcessProtocol. Standard output and errors are one text."""
        self._output.add(data)
        if self._wrote is not None:
            self._wrote(self._decoder.decode(data))

    def processExited(self, reason: Failure) -> None:
        """See ProcessProtocol: it ended, but its descendants may still write."""
        self._remember(reason)
        self._take(Input.END)

    def processEnded(self, reason: Failure) -> None:
        """See ProcessProtocol."""
        self._remember(reason)
        self._take(Input.GONE)

    # States

    def _take(self, happened: Input) -> None:
        before, self._state = self._state, TRANSITIONS[self._state, happened]
        if self._state is before:
            return
        self._disarm()
        if self._state is State.ENDING:
            self._signal_group(signal.SIGTERM)
            self._arm(self._grace, self._take, Input.DUE)
        elif self._state is State.KILLED:
            self._signal_group(signal.SIGKILL)
            self._arm(self._grace, self._take, Input.DUE)
        else:
            self._finish()

    def _finish(self) -> None:
        self._signal_group(signal.SIGKILL)
        self._transport().loseConnection()
        self._ending = Ending(
            output=self._output.text(), exit_code=self._exit_code, signal=self._signal, cause=self._cause
        )
        for waiting in self._waiting:
            waiting.callback(self._ending)

    def _remember(self, reason: Failure) -> None:
        ended: Any = reason.value  # ProcessDone or ProcessTerminated, whose fields Twisted does not declare
        self._exit_code = ended.exitCode
        self._signal = ended.signal if isinstance(ended, ProcessTerminated) else None

    def _signal_group(self, number: int) -> None:
        """
        To the group, or to the process alone while it has not come to making one.

        A group that is gone is never signalled again: its number may be another's by then.
        """
        if self._group_is_gone:
            return
        try:
            self._kill_group(self._pid, number)
        except ProcessLookupError:
            self._group_is_gone = self._has_ended()
            if not self._group_is_gone:
                self._kill(self._pid, number)
        except PermissionError:
            pass  # all that is left of it belongs to somebody else; it is given up after the grace

    def _has_ended(self) -> bool:
        return self._exit_code is not None or self._signal is not None

    def _arm(self, delay: float, function: Any, *args: Any) -> None:  # Any: as for callLater
        self._timer = self._clock.callLater(delay, function, *args)

    def _disarm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _transport(self) -> Any:  # an IProcessTransport
        return self.transport
