"""cpu-usage tells how busy the processors are."""

import pytest
from twisted.logger import capturedLogs

from fieldpost.plugins.cpu_usage import CpuUsage
from fieldpost.testing import START, PluginRun
from tests.plugins.readings import Times

T = int(START)


class Machine:
    """Processors that are busy for a share of the time."""

    def __init__(self, busy: float = 0.25) -> None:
        self.times = Times(user=1000.0, idle=9000.0)
        self.busy = busy
        self.run: PluginRun[CpuUsage] | None = None
        self._at = 0.0

    def read(self) -> Times:
        if self.run is not None:
            passed = self.run.clock.seconds() - self._at
            self._at += passed
            self.times.user += passed * self.busy
            self.times.idle += passed * (1 - self.busy)
        return self.times


def started(machine: Machine) -> PluginRun[CpuUsage]:
    run = machine.run = PluginRun(CpuUsage, read_times=machine.read, start=False)
    run.runner.start()
    return run


def test_real_figures_come_a_second_after_the_start() -> None:
    """Not the mean since the machine was switched on, and not after five minutes."""
    run = started(Machine(busy=0.25))

    run.advance(1)

    assert run.messages == [{"type": "cpu-usage", "cpu-usages": [[T + 1, 0.25]]}]


def test_later_figures_come_before_each_exchange_a_point_per_step() -> None:
    """Fifteen minutes make three."""
    machine = Machine()
    run = started(machine)
    run.advance(310)
    machine.busy = 0.75
    run.advance(610)

    run.impending_exchange()

    points = run.messages[1]["cpu-usages"]
    assert [time for time, _ in points] == [T + 300, T + 600, T + 900]
    assert [share for _, share in points] == [0.25, pytest.approx(0.75, abs=0.06), 0.75]


def test_nothing_is_sent_when_no_step_is_over() -> None:
    """An exchange a minute does not make a message a minute."""
    run = started(Machine())
    run.advance(60)

    run.impending_exchange()

    assert len(run.messages) == 1


def test_the_last_figures_come_at_the_end() -> None:
    """What was gathered is not lost with the process."""
    run = started(Machine())
    run.advance(100)

    run.stop()

    assert [m["cpu-usages"][0][0] for m in run.messages] == [T + 1, T + 100]


@pytest.mark.parametrize(
    "states", [{"idle": 10.0}, {"iowait": 10.0}, {"user": 5.0, "guest": 5.0, "idle": 5.0}]
)
def test_waiting_is_idling_and_guests_are_counted_once(states: dict[str, float]) -> None:
    """The kernel counts a guest's time among the user's too."""
    times = Times()
    run = PluginRun(CpuUsage, read_times=lambda: times)
    for name, seconds in states.items():
        setattr(times, name, seconds)

    run.advance(1)

    assert run.messages[0]["cpu-usages"] == [[T + 1, 0.5 if "guest" in states else 0.0]]


def test_counters_that_go_back_are_not_believed() -> None:
    """A container that moved, or a processor that was taken out: counting begins anew."""
    machine = Machine(busy=0.5)
    run = started(machine)
    run.advance(60)
    machine.times = Times(user=1.0, idle=1.0)
    run.advance(300)

    run.impending_exchange()

    assert [share for _, share in run.messages[1]["cpu-usages"]] == [pytest.approx(0.5)]


def test_a_share_is_between_none_and_all() -> None:
    """Linux lets the time of waiting for disks go back."""
    times = Times(iowait=100.0)
    run = PluginRun(CpuUsage, read_times=lambda: times)
    times.iowait, times.user = 99.0, 50.0

    run.advance(1)

    assert run.messages[0]["cpu-usages"] == [[T + 1, 1.0]]


def test_a_step_of_the_clock_backwards_loses_nothing() -> None:
    """The points then go back in time, as the clock did."""
    run = started(Machine(busy=0.5))
    run.advance(100)
    run.set_clock(-5000)
    run.advance(400)

    run.impending_exchange()

    (before, after) = run.messages[1]["cpu-usages"]
    assert before == [pytest.approx(T + 85, abs=15), pytest.approx(0.5)]
    assert after == [T - 4800, pytest.approx(0.5)]


def test_a_machine_that_cannot_be_read_is_complained_of_and_tried_again() -> None:
    """When it can be read again, there are figures."""
    machine = Machine()
    broken = True

    def read() -> Times:
        if broken:
            raise FileNotFoundError("/proc/stat")
        return machine.read()

    with capturedLogs() as logs:
        run = machine.run = PluginRun(CpuUsage, read_times=read)
        run.advance(100)
        broken = False
        run.advance(400)
        run.impending_exchange()

    assert {str(e["log_format"]) for e in logs} == {
        "{plugin}: {what} failed",
        "{plugin}: a run failed; the plugin goes on",
        "{plugin}: it runs well again",
    }
    assert len(run.messages) == 1


def test_settings_say_how_often_and_how_long() -> None:
    """As in the manifest."""
    run = PluginRun(CpuUsage, settings={"interval": "10 s", "step": 60})

    assert (run.plugin.interval, run.plugin.settings.step) == (10, 60)


def test_this_machine_can_be_read() -> None:
    """The real one, as it is."""
    run = PluginRun(CpuUsage)
    before = run.plugin._read_times()._asdict()

    assert before["user"] > 0
    assert before["idle"] > 0
