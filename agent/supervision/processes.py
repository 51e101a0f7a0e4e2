"""Real child processes: started through launch.py, heard line by line, signalled as a group."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from attrs import Factory, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from . import launch

MAX_LINE_OCTETS = 8192
"""What a child says without an end of line is passed on in pieces of this size."""


@frozen(kw_only=True)
class Program:
    """What to run. `uid` and `gid`: None for those of the supervisor."""

    name: str
    arguments: tuple[str, ...]
    uid: int | None = None
    gid: int | None = None
    environment: Mapping[str, str] = Factory(dict)
    """Added to the supervisor's own."""


@frozen(kw_only=True)
class Exit:
    """How a process ended: with a code, or by a signal; with neither it was never started."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is None:
            return "never started" if self.code is None else f"exit code {self.code}"
        try:
            return f"signal {signal.Signals(self.signal).name}"
        except ValueError:
            return f"signal {self.signal}"


class Process(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    def terminate(self) -> None:
        """Ask its whole group to end; harmless when it is gone."""

    def kill(self) -> None:
        """End its whole group; harmless when it is gone."""


OnLine = Callable[[str], None]
OnExit = Callable[[Exit], None]


class Spawner(Protocol):
    """Starts processes."""

    def spawn(self, program: Program, *, on_line: OnLine, on_exit: OnExit) -> Process:
        """
        Start it. `on_line` is called with each line that it writes, without the end of line; `on_exit` once, after
        the last line, never before this returns.

        Raises OSError when no process could be made.
        """


class LineBuffer:
    """Octets in, lines out; never holds more than `limit` octets."""

    def __init__(self, on_line: OnLine, limit: int = MAX_LINE_OCTETS) -> None:
        self._on_line = on_line
        self._limit = limit
        self._rest = b""

    def take(self, octets: bytes) -> None:
        """Pass on every line that is whole."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            self._pass_on(line)
        while len(self._rest) > self._limit:
            self._pass_on(self._rest[: self._limit])
            self._rest = self._rest[self._limit :]

    def finish(self) -> None:
        """Pass on what has no end of line."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._pass_on(rest)

    def _pass_on(self, line: bytes) -> None:
        for start in range(0, max(1, len(line)), self._limit):
            text = line[start : start + self._limit].decode(errors="replace")
            self._on_line(
                "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
            )


class ProcessSpawner:
    """The real Spawner. `reactor` is also the clock for pipes that stay open after a process ended."""

    def __init__(self, reactor: IReactorProcess) -> None:
        self._reactor = reactor

    def spawn(self, program: Program, *, on_line: OnLine, on_exit: OnExit) -> Process:
        """See Spawner.spawn."""
        protocol = _ChildProtocol(self._reactor, on_line, on_exit)
        launcher = (sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid()))
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            transport = self._reactor.spawnProcess(
                protocol,
                sys.executable,
                [*launcher, *program.arguments],
                env={**os.environ, **program.environment},
                uid=program.uid,
                gid=program.gid,
                childFDs={0: nothing, 1: "r", 2: "r"},
            )
        finally:
            os.close(nothing)
        protocol.pid = transport.pid
        return protocol


PIPE_GRACE = 1.0
"""Seconds that the pipes of an ended process may stay open, before what holds them is given up."""


class _ChildProtocol(ProcessProtocol):
    """One process: its pipes, its group, its end."""

    pid: int = 0

    def __init__(self, clock: Any, on_line: OnLine, on_exit: OnExit) -> None:
        self._clock = clock
        self._buffers = {1: LineBuffer(on_line), 2: LineBuffer(on_line)}
        self._on_exit = on_exit
        self._has_ended = False
        self._closing: IDelayedCall | None = None

    def terminate(self) -> None:
        """See Process.terminate."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """See Process.kill."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """To the group; to the process alone while it has not come to making one."""
        if self._has_ended:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            os.kill(self.pid, number)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._buffers[childFD].take(data)

    def processExited(self, reason: Failure) -> None:
        """What it left behind in its group ends with it; what left the group and holds our pipes is let go."""
        self._has_ended = True
        with suppress(ProcessLookupError, PermissionError):
            if self.pid:
                os.killpg(self.pid, signal.SIGKILL)
        self._closing = self._clock.callLater(PIPE_GRACE, self._close_pipes)

    def _close_pipes(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        for buffer in self._buffers.values():
            buffer.finish()
        ended: Any = reason.value
        self._on_exit(Exit(code=ended.exitCode, signal=ended.signal))


def resident_kib(pid: int | None) -> int | None:
    """Resident memory of a process in KiB; None when it is not there."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            lines = (line.split() for line in stream)
            return next((int(line[1]) for line in lines if line[:1] == ["VmRSS:"]), None)
    except OSError:
        return None
