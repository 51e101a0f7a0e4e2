"""The harness does as the real process would, in the test's own time."""

from pathlib import Path

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import ProcessProtocol

from fieldpost.plugins import Context, Message, Outcome, Plugin, handles, option
from fieldpost.runtime.settings import SettingsError
from fieldpost.testing import START, FakeSpawner, FakeThreads, NotYet, PluginRun, result_of


@frozen(kw_only=True)
class ProbeSettings:
    word: str = option(default="hi")


class Probe(Plugin):
    name = "probe"
    sends = ("probe",)
    interval = 10
    Settings = ProbeSettings

    def __init__(self, context: Context, read: int = 0) -> None:
        super().__init__(context)
        self.value = read
        self.waiting: Deferred[str] = Deferred()

    async def run(self) -> None:
        await self.send(
            {"type": "probe", "time": self.now(), "word": self.settings.word, "value": self.value}
        )

    async def on_impending_exchange(self) -> None:
        await self.send({"type": "impending"})

    @handles("ask")
    async def ask(self, message: Message) -> str:
        return await self.waiting


def test_a_plugin_runs_with_settings_and_parts_of_the_test() -> None:
    """From a time that is easy to read."""
    run = PluginRun(Probe, settings={"word": "ho"}, read=7)

    run.advance(1)

    assert run.messages == [{"type": "probe", "time": run.messages[0]["time"], "word": "ho", "value": 7}]
    assert START <= run.messages[0]["time"] <= START + 1
    assert isinstance(run.plugin, Probe)


def test_settings_are_checked_as_in_a_manifest() -> None:
    """With the right name for a wrong one."""
    with pytest.raises(SettingsError, match="did you mean `word`"):
        PluginRun(Probe, settings={"wrod": "ho"})


def test_a_plugin_may_be_started_later() -> None:
    """To prepare what it finds."""
    run = PluginRun(Probe, start=False)
    run.advance(100)

    assert run.messages == []


def test_the_clock_on_the_wall_can_be_stepped() -> None:
    """While none of the plugin's time passes."""
    run = PluginRun(Probe)

    run.set_clock(-3600)

    assert run.now() == START - 3600
    assert run.clock.seconds() == 0


def test_messages_can_be_told_apart_by_type() -> None:
    """Where a plugin sends several."""
    run = PluginRun(Probe)
    run.advance(1)

    run.impending_exchange()

    assert run.messages_of("impending") == [{"type": "impending"}]


def test_a_delivery_may_take_time() -> None:
    """Or not, which is the usual case."""
    run = PluginRun(Probe)
    outcome = run.begin_delivery({"type": "ask"})
    with pytest.raises(NotYet):
        run.deliver({"type": "ask"})

    run.plugin.waiting.callback("answer")

    assert result_of(outcome) == Outcome(status="done", result_text="answer")


def test_a_plugin_can_be_stopped() -> None:
    """Then nothing runs any more."""
    run = PluginRun(Probe)

    run.stop()
    run.advance(100)

    assert run.messages == []


def test_looking_at_a_deferred_takes_nothing_away() -> None:
    """What it fires with later, or again, is there to see."""
    waiting: Deferred[int] = Deferred()
    with pytest.raises(NotYet):
        result_of(waiting)
    waiting.callback(3)

    assert [result_of(waiting), result_of(waiting)] == [3, 3]
    assert result_of(succeed(4)) == 4
    with pytest.raises(KeyError):
        result_of(fail(KeyError("x")))


def test_a_deferred_that_failed_after_the_look_still_has_its_failure() -> None:
    """So that it is not lost."""
    waiting: Deferred[int] = Deferred()
    with pytest.raises(NotYet):
        result_of(waiting)
    waiting.errback(KeyError("x"))

    with pytest.raises(KeyError):
        result_of(waiting)


def test_threads_run_at_once_or_hang() -> None:
    """All calls, or those with certain arguments."""
    threads = FakeThreads()
    assert result_of(threads.run(len, "four")) == 4
    threads.hold("long")
    hanging = threads.run(len, "long")
    assert result_of(threads.run(len, "other")) == 5
    threads.hold()
    failing = threads.run(int, "x")
    assert threads.waiting == 2

    threads.release()

    assert result_of(hanging) == 4
    with pytest.raises(ValueError, match="invalid literal"):
        result_of(failing)


def test_processes_are_kept_and_not_started(tmp_path: Path) -> None:
    """What they write and how they end is the test's to say."""

    class Heard(ProcessProtocol):
        def __init__(self) -> None:
            self.heard: list[object] = []

        def childDataReceived(self, childFD: int, data: bytes) -> None:
            self.heard.append((childFD, data))

        def processExited(self, reason: object) -> None:
            self.heard.append("exited")

        def processEnded(self, reason: object) -> None:
            self.heard.append("ended")

    spawner, protocol = FakeSpawner(), Heard()
    process = spawner.spawnProcess(protocol, "/bin/true", ["true"], {"A": "b"}, str(tmp_path), None, None)

    process.write(b"out")
    process.write(b"err", fd=2)
    spawner.kill(process.pid, 15)
    process.exit(descendants=True)
    assert protocol.heard == [(1, b"out"), (2, b"err"), "exited"]
    process.close()

    assert protocol.heard[-1] == "ended"
    assert process.signals == [15]
    with pytest.raises(ProcessLookupError):
        spawner.kill(process.pid, 9)
