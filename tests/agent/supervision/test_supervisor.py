"""The supervisor, with processes that a test holds in its hands."""

from random import Random

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.supervision.child import ChildState, RestartPolicy
from fieldpost.agent.supervision.processes import Exit, OnExit, OnLine, Program
from fieldpost.agent.supervision.supervisor import Supervisor


class FakeProcess:
    """A process that does what the test says."""

    def __init__(
        self, pid: int, program: Program, on_line: OnLine, on_exit: OnExit, signals: list[str]
    ) -> None:
        self.pid = pid
        self.program = program
        self.say = on_line
        self.exit = on_exit
        self._signals = signals

    def terminate(self) -> None:
        self._signals.append(f"TERM {self.program.name}")

    def kill(self) -> None:
        self._signals.append(f"KILL {self.program.name}")


class FakeSpawner:
    """Keeps what was spawned; fails when told so."""

    def __init__(self) -> None:
        self.spawned: list[FakeProcess] = []
        self.signals: list[str] = []
        self.error: OSError | None = None

    def spawn(self, program: Program, *, on_line: OnLine, on_exit: OnExit) -> FakeProcess:
        if self.error is not None:
            raise self.error
        process = FakeProcess(100 + len(self.spawned), program, on_line, on_exit, self.signals)
        self.spawned.append(process)
        return process


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.spawner = FakeSpawner()
        self.lines: list[tuple[str, str]] = []
        self.supervisor = Supervisor(
            programs=[Program(name=name, arguments=(name,)) for name in ("broker", "plugins")],
            policy=RestartPolicy(base=1.0, cap=8.0, steady_after=30.0, stop_grace=10.0),
            spawner=self.spawner,
            clock=self.clock,
            random=Random(1),
            on_line=lambda name, line: self.lines.append((name, line)),
        )

    def names(self) -> list[str]:
        return [process.program.name for process in self.spawner.spawned]

    def test_starts_in_order(self) -> None:
        """All programs are started in their order, and said to run."""
        self.supervisor.startService()

        self.assertEqual(["broker", "plugins"], self.names())
        self.assertEqual(
            [("broker", ChildState.RUNNING, 100), ("plugins", ChildState.RUNNING, 101)],
            [(status.name, status.state, status.pid) for status in self.supervisor.status()],
        )

    def test_restart(self) -> None:
        """A child that dies is started again after its pause, alone; the log names it, how it ended, and when it comes back."""
        self.supervisor.startService()

        with capturedLogs() as logs:
            self.spawner.spawned[0].exit(Exit(code=3))
        self.clock.advance(0.4)
        self.assertEqual(2, len(self.spawner.spawned))
        self.clock.advance(0.7)

        self.assertEqual(["broker", "plugins", "broker"], self.names())
        self.assertEqual(("broker", "exit code 3"), (logs[0]["child"], str(logs[0]["how"])))

    def test_stops_in_reverse_order(self) -> None:
        """The last that was started ends first, and the next is only asked when it is gone."""
        self.supervisor.startService()
        broker, plugins = self.spawner.spawned

        stopped = self.supervisor.stopService()
        self.assertEqual(["TERM plugins"], self.spawner.signals)
        plugins.exit(Exit(code=0))
        self.assertEqual(["TERM plugins", "TERM broker"], self.spawner.signals)
        self.assertNoResult(stopped)
        broker.exit(Exit(code=0))

        self.successResultOf(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_kill(self) -> None:
        """A child that does not end when asked is killed after its grace, and the log says so."""
        self.supervisor.startService()
        self.supervisor.stopService()

        self.clock.advance(9.9)
        self.assertEqual(["TERM plugins"], self.spawner.signals)
        with capturedLogs() as logs:
            self.clock.advance(0.2)

        self.assertEqual(["TERM plugins", "KILL plugins"], self.spawner.signals)
        self.assertEqual("plugins", logs[0]["child"])

    def test_second_stop(self) -> None:
        """Who asks while it stops waits for the same end."""
        self.supervisor.startService()

        first, second = self.supervisor.stopService(), self.supervisor.stopService()
        for process in reversed(self.spawner.spawned):
            process.exit(Exit(signal=15))

        self.successResultOf(first)
        self.successResultOf(second)

    def test_stop_without_start(self) -> None:
        """What was never started is stopped at once."""
        self.successResultOf(self.supervisor.stopService())

    def test_stop_during_a_pause(self) -> None:
        """A child that waits for its next start is not started any more."""
        self.supervisor.startService()
        for process in self.spawner.spawned:
            process.exit(Exit(code=1))

        self.successResultOf(self.supervisor.stopService())
        self.clock.advance(100)

        self.assertEqual(2, len(self.spawner.spawned))

    def test_output(self) -> None:
        """What a child writes is passed on with its name; its last lines are kept to say why it ended."""
        self.supervisor.startService()
        for number in range(7):
            self.spawner.spawned[0].say(f"line {number}")
        self.spawner.spawned[0].exit(Exit(signal=9))

        self.assertEqual(("broker", "line 0"), self.lines[0])
        status = self.supervisor.status()[0]
        self.assertEqual(tuple(f"line {number}" for number in range(2, 7)), status.last_lines)
        self.assertEqual("signal SIGKILL", str(status.last_exit))
        self.assertEqual((ChildState.WAITING, None, 1), (status.state, status.pid, status.quick_deaths))

    def test_no_process_to_be_had(self) -> None:
        """When the machine gives no process, the cause is said and it is tried again."""
        self.spawner.error = OSError(11, "Resource temporarily unavailable")
        self.supervisor.startService()
        self.assertIn(("broker", "cannot be started: Resource temporarily unavailable"), self.lines)
        self.assertEqual("never started", str(self.supervisor.status()[0].last_exit))

        self.spawner.error = None
        self.clock.advance(1.0)

        self.assertEqual({"broker", "plugins"}, set(self.names()))
