"""The life of the packages on a machine: upgrade, downgrade, removal, purge."""

import shlex

import pytest

from .conftest import README, Start
from .count import await_exactly_once
from .layers import Layers
from .machine import Machine
from .packages import Builds, Packages
from .polling import until
from .roots import FOLDER, bring, install_by_readme
from .station import (
    ARRIVAL_LIMIT,
    BROKER,
    COUNTING,
    DATABASE,
    MONITORS,
    SCRIPTS,
    SERVER,
    STORE,
    TARGET,
    Station,
)

OURS = ("fieldpost-agent", "fieldpost-server")
UPGRADE = f"apt-get install --quiet --option=Dpkg::Options::=--force-confold {FOLDER}/python3-fieldpost_*.deb {FOLDER}/fieldpost-agent_*.deb {FOLDER}/fieldpost-server_*.deb"
AGENT_UPGRADE = UPGRADE.replace("apt-get install", "apt-get install --option=Dpkg::Use-Pty=0")
UPGRADE_LIMIT = 600
"""Seconds."""


def test_an_upgrade_keeps_the_store(station: Station, builds: Builds) -> None:
    """Messages that wait are neither lost nor doubled by an upgrade; the machine is the same computer afterwards."""
    station.await_arrival(("counting",))
    computer = station.computer()
    station.machine.run("systemctl", "stop", SERVER)
    station.await_count(200)

    upgrade(station, builds.next)

    station.await_active(BROKER, MONITORS, COUNTING, SERVER)
    assert versions(station) == {builds.next.version}
    station.await_count(50)
    assert await_exactly_once(station) > 250
    assert station.computer() == computer


def test_an_upgrade_from_an_early_version(start: Start, dependencies: Layers, builds: Builds) -> None:
    """Databases as they were first are migrated with all that waits in them, and a session comes by itself."""
    if builds.early is None:
        pytest.skip("git has no history here to take an early version from")
    station = station_with(start(dependencies), builds.early)
    station.await_arrival(("counting",))
    computer = station.computer()
    station.machine.run("systemctl", "stop", SERVER)
    station.await_count(200)

    upgrade(station, builds.this)

    assert versions(station) == {builds.this.version}
    station.await_session()
    station.await_count(50)
    assert await_exactly_once(station) > 250
    assert station.computer() == computer


def test_a_downgrade_is_refused_with_a_reason(station: Station, builds: Builds) -> None:
    """An older version does not touch what a newer one wrote: it says both versions and stops. The newer one goes on."""
    upgrade(station, builds.next)
    station.await_active(BROKER, SERVER, COUNTING)
    station.await_count(50)

    said = downgrade(station, builds.this)

    for unit in (BROKER, SERVER):
        assert station.state_of(unit) != "active"
        text = said + station.journal(unit)
        assert "newer" in text, text[-3000:]
    upgrade(station, builds.next)
    station.await_active(BROKER, SERVER, COUNTING)
    assert await_exactly_once(station) > 50


def test_removal_keeps_and_purge_removes_the_state(station: Station, builds: Builds) -> None:
    """`apt remove` leaves store, database, secrets and configuration for a later install; `apt purge` leaves nothing."""
    machine = station.machine
    station.await_count(50)

    machine.run("apt-get", "remove", *OURS, "python3-fieldpost")

    assert all(machine.path(folder).is_dir() for folder in (STORE, DATABASE, "/etc/fieldpost"))
    assert machine.say("systemctl", "list-units", "--no-legend", "fieldpost*.service", "--state=active") == ""
    upgrade(station, builds.this)
    station.await_active(BROKER, SERVER, COUNTING)
    assert await_exactly_once(station) > 50

    machine.run("apt-get", "purge", *OURS, "python3-fieldpost")

    assert left_behind(station) == []


def test_the_agent_upgrades_itself(station: Station, builds: Builds) -> None:
    """A script that the server sends upgrades the agent that runs it: the upgrade ends well, and its result is reported."""
    station.allow_scripts()
    bring(station.machine, builds.next)
    before = station.pid_of(BROKER)

    number = station.start_script(
        f"export DEBIAN_FRONTEND=noninteractive\n{AGENT_UPGRADE}", **{"time-limit": UPGRADE_LIMIT}
    )
    operation = station.await_result(number, limit=UPGRADE_LIMIT)

    assert operation["status"] == "succeeded", operation["result-text"]
    assert versions(station) == {builds.next.version}
    assert station.machine.say("dpkg", "--audit") == ""
    until(lambda: station.pid_of(BROKER) not in (0, before), limit=ARRIVAL_LIMIT, what="the new broker runs")
    station.await_active(BROKER, MONITORS, COUNTING, SCRIPTS, SERVER)
    station.await_count(50)
    assert await_exactly_once(station) > 50


def station_with(machine: Machine, packages: Packages) -> Station:
    """Server and agent of these packages, at work on a machine that had none."""
    bring(machine, packages)
    machine.boot()
    install_by_readme(machine, README)
    station = Station(machine)
    station.configure()
    machine.run("systemctl", "--no-block", "restart", SERVER, TARGET)
    return station


def upgrade(station: Station, packages: Packages) -> None:
    """Install another version over the one that is there, or a first one, as an administrator would."""
    bring(station.machine, packages)
    station.machine.shell(UPGRADE, limit=UPGRADE_LIMIT)


def downgrade(station: Station, packages: Packages) -> str:
    """Install an older version; what apt and dpkg say. It may be refused here already."""
    bring(station.machine, packages)
    ran = station.machine.shell(
        UPGRADE.replace("install", "install --allow-downgrades", 1), check=False, limit=UPGRADE_LIMIT
    )
    return ran.stdout + ran.stderr


def versions(station: Station) -> set[str]:
    """The versions of our packages that are properly installed, of all three that matter one if all is well."""
    query = [
        "dpkg-query",
        "--show",
        "--showformat=${db:Status-Abbrev} ${Version}\n",
        *OURS,
        "python3-fieldpost",
    ]
    lines = station.machine.run(*query).stdout.splitlines()
    assert all(line.startswith("ii ") for line in lines), lines
    return {line.split()[1] for line in lines}


def left_behind(station: Station) -> list[str]:
    """What is still there after a purge and was not the test's own."""
    places = (
        STORE,
        DATABASE,
        "/etc/fieldpost",
        "/etc/credstore",
        "/run/fieldpost",
        "/usr/lib/python3/dist-packages/fieldpost",
    )
    found = station.machine.say("find", *map(shlex.quote, places), "-not", "-type", "d").split()
    mine = ("50-test.toml", "counting.toml", "server.pem", "ca.pem", "registration-key")
    return [file for file in found if not file.endswith(mine)]
