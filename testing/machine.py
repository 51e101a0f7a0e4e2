"""What a plugin has of the machine, in the hands of a test: threads and processes."""

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")


class FakeThreads:
    """Runs functions at once in the caller's thread, but for calls that are on `hold`: those wait for `release`."""

    def __init__(self) -> None:
        self._all_held = False
        self._held: list[tuple[object, ...]] = []
        self._waiting: list[Callable[[], object]] = []

    @property
    def waiting(self) -> int:
        """How many calls hang."""
        return len(self._waiting)

    def hold(self, *args: object) -> None:
        """Let calls with these arguments hang, as on a file server that is dead; without arguments, every call."""
        if args:
            self._held.append(args)
        else:
            self._all_held = True

    def release(self) -> None:
        """Run what hangs; nothing is on hold any more."""
        self._all_held = False
        self._held.clear()
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            run()

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """See plugins.context.InThread."""
        if not self._all_held and args not in self._held:
            done: Deferred[Any] = execute(function, *args, **kwargs)
            return done
        waiting: Deferred[Any] = Deferred()
        self._waiting.append(lambda: execute(function, *args, **kwargs).chainDeferred(waiting))
        return waiting


@define
class FakeProcess:
    """A process that was not started: the test says what it writes and how it ends."""

    protocol: ProcessProtocol
    arguments: Sequence[str]
    environment: Mapping[str, str] | None
    directory: str | None
    uid: int | None
    gid: int | None
    pid: int
    signals: list[int] = field(factory=list)
    has_stdin: bool = True
    has_ended: bool = False
    is_lost: bool = False
    _reason: Failure = field(factory=lambda: Failure(ProcessDone(0)), init=False)

    def write(self, octets: bytes, fd: int = 1) -> None:
        """It writes to its standard output, or to its standard errors (2)."""
        self.protocol.childDataReceived(fd, octets)

    def exit(self, code: int = 0, signal: int | None = None, *, descendants: bool = False) -> None:
        """It ends; with `descendants`, others hold its standard output open."""
        self.has_ended = True
        self._reason = Failure(
            ProcessTerminated(code or None, signal, None) if code or signal else ProcessDone(0)
        )
        self.protocol.processExited(self._reason)
        if not descendants:
            self.close()

    def close(self) -> None:
        """Nobody holds its standard output any more."""
        self.protocol.processEnded(self._reason)

    # What the protocol does with its transport

    def closeStdin(self) -> None:
        """See IProcessTransport."""
        self.has_stdin = False

    def loseConnection(self) -> None:
        """See IProcessTransport."""
        self.is_lost = True


class FakeSpawner:
    """Keeps what would have been started, as `processes`; and the signals that are sent to those."""

    FIRST_PID = 2**22 + 1
    """Above what Linux gives to any process: a signal that goes astray hits nobody."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        path: str | None,
        uid: int | None,
        gid: int | None,
    ) -> FakeProcess:
        """See plugins.context.Spawner."""
        pid = self.FIRST_PID + len(self.processes)
        process = FakeProcess(processProtocol, args, env, path, uid, gid, pid)
        self.processes.append(process)
        processProtocol.makeConnection(process)
        return process

    def kill(self, pid: int, number: int) -> None:
        """As `os.kill` and `os.killpg`, for these processes. KILL ends them."""
        process = self.processes[pid - self.FIRST_PID]
        if process.has_ended:
            raise ProcessLookupError
        process.signals.append(number)
        if number == signal.SIGKILL:
            process.exit(signal=number)
