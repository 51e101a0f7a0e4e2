"""Stops of every kind: `kill -9`, `systemctl stop`, reboot, power cut. Nothing that was answered is lost or doubled."""

import random
from collections.abc import Callable

import pytest

from .count import await_exactly_once
from .polling import until
from .station import (
    ARRIVAL_LIMIT,
    BROKER,
    COUNTING,
    MONITORS,
    SCRIPTS,
    SERVER,
    SERVICES,
    STORE,
    TARGET,
    Station,
)

SEED = 20260101
KILLS = 30
KILLS_UNDER_SESSIONS = 12
CUTS = 5
MOST_BETWEEN = 40
"""Most messages that are stored between two kills; the moment is drawn in messages, not in seconds."""

USERS = ("fieldpost", "fieldpost-monitor", "fieldpost-server")


def test_kills_lose_and_double_nothing(station: Station) -> None:
    """`kill -9` of broker, plugins and server, alone and together, at random moments of the work."""
    chance = random.Random(SEED)
    station.await_arrival(("counting",))

    for _ in range(KILLS):
        station.await_exchange()
        station.await_count(chance.randrange(1, MOST_BETWEEN))
        kill_some(station, chance)
    station.await_active(BROKER, COUNTING, SERVER)

    assert await_exactly_once(station) > KILLS


def test_kills_under_sessions_lose_and_double_nothing(station: Station) -> None:
    """The same while exchanges travel over a session: each kill waits until there is one again."""
    chance = random.Random(SEED + 2)

    for _ in range(KILLS_UNDER_SESSIONS):
        station.await_session()
        station.await_exchange()
        station.await_count(chance.randrange(1, MOST_BETWEEN))
        kill_some(station, chance)
    station.await_session()

    assert await_exactly_once(station) > KILLS_UNDER_SESSIONS


def test_power_cuts_lose_nothing_that_was_answered(station: Station) -> None:
    """The machine loses its power, again and again, in the middle of the work."""
    chance = random.Random(SEED + 1)

    for _ in range(CUTS):
        station.await_count(chance.randrange(1, MOST_BETWEEN))
        station.machine.cut_power()
        station.machine.boot()
    station.await_active(BROKER, COUNTING, SERVER)

    assert await_exactly_once(station) > CUTS


def test_reboots_lose_nothing_that_was_answered(station: Station) -> None:
    """Twice `systemctl reboot`, in the middle of the work."""
    for _ in range(2):
        station.await_count(50)
        station.machine.reboot()
    station.await_active(BROKER, COUNTING, SERVER)

    assert await_exactly_once(station) > 100


def test_what_waits_for_the_server_outlives_a_power_cut(station: Station) -> None:
    """Without a server messages pile up in the store; after a power cut they are still there, and go out."""
    station.machine.run("systemctl", "disable", "--now", SERVER)
    station.await_count(500)
    station.machine.cut_power()
    station.machine.boot()

    station.machine.run("systemctl", "enable", "--now", SERVER)

    assert await_exactly_once(station) > 500


def test_stop_leaves_no_process(station: Station) -> None:
    """`systemctl stop` of target and server ends all processes in order, and no socket stays behind."""
    station.allow_scripts()
    station.await_count(20)

    station.machine.run("systemctl", "stop", TARGET, SERVER)

    # systemctl waits for the two that it was given alone; what the others are part of is stopped with them.
    until(
        lambda: all(station.state_of(unit) == "inactive" for unit in SERVICES),
        limit=ARRIVAL_LIMIT,
        what="all units are inactive",
    )
    assert not processes(station)
    assert not station.machine.say("ls", "/run/fieldpost/broker.sock")
    assert not [name for name in station.machine.path(STORE).glob("*-wal") if name.stat().st_size]


def _kill_scripts(station: Station) -> None:
    station.kill(SCRIPTS)


def _kill_broker(station: Station) -> None:
    station.kill(BROKER)


def _cut_power(station: Station) -> None:
    station.machine.cut_power()
    station.machine.boot()


def _reboot(station: Station) -> None:
    station.machine.reboot()


def _stop_scripts(station: Station) -> None:
    station.machine.run("systemctl", "restart", SCRIPTS)


@pytest.mark.parametrize("interrupt", [_kill_scripts, _kill_broker, _cut_power, _reboot, _stop_scripts])
def test_a_running_operation_is_reported_honestly(
    station: Station, interrupt: Callable[[Station], None]
) -> None:
    """A script that was cut off, or whose end nobody saw, is reported as failed with the reason, once, and not run again."""
    station.allow_scripts()
    number = station.start_script("echo ran >> /var/tmp/ran\nexec sleep 250")
    runs = station.machine.path("/var/tmp/ran")
    until(lambda: runs.exists() and runs.read_text(), limit=ARRIVAL_LIMIT, what="the script runs")

    interrupt(station)
    operation = station.await_result(number)

    assert operation["status"] == "failed", operation
    assert any(word in operation["result-text"] for word in ("unknown", "stopped", "signal")), operation
    assert runs.read_text() == "ran\n"


def test_the_tools_of_systemctl_work(station: Station) -> None:
    """Reload keeps the process and reads the configuration; a kill of a monitor's host brings it back by itself."""
    station.await_active(BROKER, MONITORS)
    before = station.pid_of(BROKER), station.pid_of(MONITORS)

    station.machine.run("systemctl", "reload", BROKER)
    station.kill(MONITORS)
    until(
        lambda: station.pid_of(MONITORS) not in (0, before[1]),
        limit=ARRIVAL_LIMIT,
        what="the monitors run again",
    )

    station.await_active(BROKER, MONITORS)
    assert station.pid_of(BROKER) == before[0]


def test_a_broker_that_hangs_is_started_again(station: Station) -> None:
    """A broker that makes no progress is killed by systemd and started anew; nothing that was answered is lost."""
    station.add_to_unit(BROKER, "[Service]\nWatchdogSec=2s\n")
    station.await_count(50)
    hung = station.pid_of(BROKER)

    station.kill(BROKER, "STOP")
    until(lambda: station.pid_of(BROKER) not in (0, hung), limit=ARRIVAL_LIMIT, what="another broker runs")

    station.await_active(BROKER)
    station.await_count(50)
    assert "watchdog" in station.journal(BROKER).lower()
    assert await_exactly_once(station) > 100


def kill_some(station: Station, chance: random.Random) -> None:
    """One of the three, or two, or all."""
    for unit in chance.sample((BROKER, COUNTING, SERVER), k=chance.choice((1, 1, 1, 2, 3))):
        station.kill(unit)


def processes(station: Station) -> list[str]:
    """Command lines of all processes that belong to our users or run our code."""
    script = (
        "for p in /proc/[0-9]*; do u=$(stat -c %U $p 2>/dev/null) || continue; "
        "echo $u $(tr '\\0' ' ' <$p/cmdline 2>/dev/null); done"
    )
    lines = station.machine.shell(script).stdout.splitlines()
    return [line for line in lines if line.split(" ")[0] in USERS or "fieldpost.agent" in line]
