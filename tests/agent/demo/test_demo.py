"""The demo's course, with processes that a test holds in its hands, and once for real."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from fieldpost.agent.demo.demo import Demo, Outcome, as_json
from fieldpost.agent.demo.folder import EXPECTED_TYPES, DemoFolder
from fieldpost.agent.demo.sight import Sight
from fieldpost.agent.supervision.child import ChildState
from fieldpost.agent.supervision.processes import Exit

from ..supervision.test_supervisor import FakeSpawner

ENDING_LIMIT = 120.0
"""Seconds within which a demo that was interrupted must be over, on a machine that is busy."""
SHORT = "/tmp" if len(tempfile.gettempdir()) > 40 else None


class Spectator:
    """A view that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown = 0
        self.is_stopped = False
        self.error: OSError | None = None

    def start(self) -> None:
        pass

    def show(self, sight: Sight) -> None:
        self.shown += 1
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.is_stopped = True


class Stage:
    """A demo on a clock, with fake processes."""

    def __init__(self, folder: Path, *, once: bool = True) -> None:
        self.clock = Clock()
        self.spawner = FakeSpawner()
        self.view = Spectator()
        self.outcomes: list[Outcome] = []
        self.folder = DemoFolder(folder)
        self.folder.prepare()
        self.demo = Demo(
            folder=self.folder,
            reactor=self.clock,
            spawner=self.spawner,
            random=Random(1),
            view=self.view,
            user="me",
            once=once,
            timeout=5.0,
            on_outcome=self.outcomes.append,
        )

    @property
    def names(self) -> list[str]:
        return [process.program.name for process in self.spawner.spawned]

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.05] * int(seconds / 0.05))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHORT) as path:
        yield Path(path)


def test_server_comes_first(folder: Path) -> None:
    """The agent is started when the server listens, and not before."""
    stage = Stage(folder)
    stage.demo.startService()
    stage.advance(1)

    assert stage.names == ["server"]
    assert not stage.folder.agent_config.exists()


def test_time_is_over(folder: Path) -> None:
    """When not all has come in time, the reason says what lacks."""
    stage = Stage(folder)
    stage.demo.startService()
    stage.advance(4.9)
    assert stage.outcomes == []
    stage.advance(0.2)

    (outcome,) = stage.outcomes
    assert outcome.reason is not None
    assert outcome.reason.startswith("after 5 s: no message of computer-info, cpu-usage")


def test_without_end(folder: Path) -> None:
    """A demo that is to go on has no time limit."""
    stage = Stage(folder, once=False)
    stage.demo.startService()
    stage.advance(20)

    assert stage.outcomes == []


def test_child_dies_again_and_again(folder: Path) -> None:
    """A process that cannot live ends the demo early, with its last words."""
    stage = Stage(folder)
    stage.demo.startService()
    for _ in range(3):
        process = stage.spawner.spawned[-1]
        process.say("port in use")
        process.exit(Exit(code=1))
        stage.advance(1.2)

    (outcome,) = stage.outcomes
    assert outcome.reason == "server ended by itself (exit code 1); it said: port in use"
    assert outcome.seconds < 5


def test_stop(folder: Path) -> None:
    """Stopped, it asks its processes to end, waits for them, and leaves no timer behind."""
    stage = Stage(folder)
    stage.demo.startService()
    stopped = stage.demo.stopService()
    assert stage.spawner.signals == ["TERM server"]
    assert not stopped.called
    stage.spawner.spawned[0].exit(Exit(code=0))

    assert stopped.called
    assert stage.view.is_stopped
    assert stage.clock.getDelayedCalls() == []
    assert stage.outcomes == []


def test_mistake_of_ours(folder: Path) -> None:
    """Whatever goes wrong in the demo itself, there is an outcome, and the log has the traceback."""
    stage = Stage(folder)
    stage.demo.startService()
    (folder / "server").mkdir()
    (folder / "server" / "ports.json").write_text("{}")
    with capturedLogs() as logs:
        stage.advance(1)

    assert stage.outcomes[0].reason == "the demo itself failed; its log says how"
    assert any("log_failure" in event for event in logs)


def test_nobody_reads(folder: Path) -> None:
    """When its reader is gone, as behind `head`, it ends."""
    stage = Stage(folder)
    stage.view.error = BrokenPipeError()
    stage.demo.startService()
    stage.advance(1)

    assert [outcome.reason for outcome in stage.outcomes] == ["nobody reads what it shows"]


def test_children_are_shown(folder: Path) -> None:
    """Whoever watches sees the processes."""
    stage = Stage(folder)
    stage.demo.startService()
    stage.advance(1)

    assert stage.view.shown > 2
    assert [c.state for c in stage.demo.outcome(None).sight.children] == [ChildState.RUNNING]


def test_document(folder: Path) -> None:
    """The document of --json can be made at any time, and names what lacks."""
    stage = Stage(folder)
    stage.demo.startService()
    stage.advance(1)

    document = json.loads(as_json(stage.demo.outcome("why"), stage.folder))

    assert (document["ok"], document["reason"], document["state"]) == (False, "why", str(folder))
    assert set(document["types"]) == set(EXPECTED_TYPES)
    assert set(document["processes"]) == {"server"}


def command(*options: str) -> list[str]:
    return [sys.executable, "-P", "-m", "fieldpost.agent.cli", "demo", *options]


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that work for a demo in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words and entry.name != str(os.getpid()):
            found.append(words.decode().replace("\0", " "))
    return found


@pytest.mark.process
def test_once(folder: Path) -> None:
    """For real: every monitor's first message arrives, the operation's result too; only JSON is on the standard output."""
    ended = subprocess.run(
        command("--once", "--json", "--timeout", "200", "--state", str(folder)),
        capture_output=True,
        check=False,
        text=True,
        timeout=240,
    )

    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["ok"]
    for kind in EXPECTED_TYPES:
        figures = document["types"][kind]
        assert figures["received"] >= 1, kind
        assert figures["stored"] >= figures["received"]
        assert 0 <= figures["latency"] < 200
    assert document["operation"]["status"] == "succeeded"
    assert os.uname().sysname in document["operation"]["result-text"]
    assert document["broker"]["session"]["carrier"] == "session"
    assert "session: open" in ended.stderr
    assert sum(document["processes"][name]["resident-kib"] for name in ("broker", "monitors")) < 115 * 1024
    assert processes_of(folder) == []
    assert "Traceback" not in ended.stderr + (folder / "demo.log").read_text()


@pytest.mark.process
def test_too_little_time(folder: Path) -> None:
    """When the time is over before all has come, the exit code is 1 and the reason is told; nothing is left running."""
    ended = subprocess.run(
        command("--once", "--json", "--timeout", "0.2", "--state", str(folder)),
        capture_output=True,
        check=False,
        text=True,
        timeout=240,
    )

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["reason"].startswith("after 0.2 s: no message of")
    assert "the demo failed: after 0.2 s" in ended.stderr
    assert processes_of(folder) == []


@pytest.mark.process
def test_interrupted(folder: Path) -> None:
    """Ctrl-C, however often, ends everything without a traceback; a demo without end is done then."""
    log = folder / "demo.log"
    process = subprocess.Popen(
        command("--state", str(folder)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("monitors runs"):
            break
    end = time.monotonic() + ENDING_LIMIT
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    process.kill()
    _, errors = process.communicate()

    assert process.returncode == 0
    assert errors == ""
    assert "Traceback" not in log.read_text()
    assert processes_of(folder) == []
