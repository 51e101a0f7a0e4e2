"""
The supervisor: keeps a list of programs running, in order, and ends them in the opposite order.

Each child has a machine (`child`) that says what to do; here are its process and its timer. Which programs there are
is decided by whoever makes the supervisor; clock, randomness and spawner are passed in.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ...runtime.doors import returns_deferred
from .child import ChildAction, ChildInput, ChildMachine, ChildState, RestartPolicy
from .processes import Exit, Process, Program, Spawner

LAST_LINES = 5
"""How many of a child's last lines are kept, to say why it ended."""


@frozen(kw_only=True)
class ChildStatus:
    """How a child is."""

    name: str
    state: ChildState
    pid: int | None
    starts: int
    quick_deaths: int
    last_exit: Exit | None
    last_lines: tuple[str, ...]


class Child:
    """One program that is kept running: joins its machine, its process and a timer."""

    log = Logger()

    def __init__(
        self,
        program: Program,
        machine: ChildMachine,
        *,
        spawner: Spawner,
        clock: IReactorTime,
        on_line: Callable[[str, str], None],
    ) -> None:
        self._program = program
        self._machine = machine
        self._spawner = spawner
        self._clock = clock
        self._pass_on = on_line
        self._process: Process | None = None
        self._timer: IDelayedCall | None = None
        self._last_exit: Exit | None = None
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._waiting: list[Deferred[None]] = []

    @property
    def name(self) -> str:
        """The program's name."""
        return self._program.name

    def start(self) -> None:
        """Run it, and keep it running."""
        self._take(ChildInput.START)

    def stop(self) -> "Deferred[None]":
        """End it; the Deferred fires when it is gone."""
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        self._take(ChildInput.STOP)
        return gone

    def status(self) -> ChildStatus:
        """How it is now."""
        return ChildStatus(
            name=self.name,
            state=self._machine.state,
            pid=None if self._process is None else self._process.pid,
            starts=self._machine.starts,
            quick_deaths=self._machine.quick_deaths,
            last_exit=self._last_exit,
            last_lines=tuple(self._last_lines),
        )

    def _take(self, happened: ChildInput) -> None:
        action = self._machine.take(happened, self._clock.seconds())
        self._arm()
        if action is ChildAction.SPAWN:
            self._spawn()
        elif action is ChildAction.TERMINATE and self._process is not None:
            self._process.terminate()
        elif action is ChildAction.KILL and self._process is not None:
            self.log.warn("{child} did not end when asked; it is killed", child=self.name)
            self._process.kill()
        if self._machine.state is ChildState.ENDED:
            waiting, self._waiting = self._waiting, []
            for gone in waiting:
                gone.callback(None)

    def _arm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        deadline = self._machine.next_deadline()
        if deadline is not None:
            self._timer = self._clock.callLater(
                max(0.0, deadline - self._clock.seconds()), self._take, ChildInput.DUE
            )

    def _spawn(self) -> None:
        try:
            self._process = self._spawner.spawn(self._program, on_line=self._heard, on_exit=self._ended)
        except OSError as error:
            self._heard(f"cannot be started: {error.strerror or error}")
            self._ended(Exit(code=None))
        else:
            self.log.info("{child} started as process {pid}", child=self.name, pid=self._process.pid)

    def _heard(self, line: str) -> None:
        self._last_lines.append(line)
        self._pass_on(self.name, line)

    def _ended(self, how: Exit) -> None:
        self._process, self._last_exit = None, how
        self._take(ChildInput.EXITED)
        deadline = self._machine.next_deadline()
        if deadline is None:
            self.log.info("{child} ended: {how}", child=self.name, how=how)
        else:
            delay = deadline - self._clock.seconds()
            self.log.warn(
                "{child} ended by itself: {how}; it is started again in {delay:.1f} s",
                child=self.name,
                how=how,
                delay=delay,
            )


class Supervisor(Service):
    """All the children. `on_line` hears every line that a child writes, with the child's name."""

    def __init__(
        self,
        *,
        programs: Sequence[Program],
        policy: RestartPolicy,
        spawner: Spawner,
        clock: IReactorTime,
        random: Random,
        on_line: Callable[[str, str], None],
    ) -> None:
        self._children = tuple(
            Child(
                program,
                ChildMachine(policy=policy, random=random),
                spawner=spawner,
                clock=clock,
                on_line=on_line,
            )
            for program in programs
        )

    def startService(self) -> None:
        """Start all, in order."""
        super().startService()
        for child in self._children:
            child.start()

    @returns_deferred
    async def stopService(self) -> None:
        """End all, the last first: plugins say their last words to a broker that still hears them."""
        super().stopService()
        for child in reversed(self._children):
            await child.stop()

    def status(self) -> tuple[ChildStatus, ...]:
        """How each child is, in order of start."""
        return tuple(child.status() for child in self._children)
