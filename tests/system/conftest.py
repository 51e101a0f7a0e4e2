"""
What the scenarios start from. Scenarios are not collected by a plain `pytest`: their files are no `test_*.py`.

Everything is below `build/system`: the packages, the roots, and of each machine of the last run its console, its disk and
so its journal.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .layers import Layers, Mount
from .machine import Machine
from .packages import Builds, build_all
from .requirements import missing_rights, missing_tools
from .roots import Roots, bring, install_by_readme
from .station import SERVER, TARGET, Station

ROOT = Path(__file__).parent.parent.parent
PLACE = ROOT / "build" / "system"
README = ROOT / "README.md"
CANNOT_RUN = 2
"""Exit status when the computer lacks something."""

Start = Callable[[Layers], Machine]


@pytest.fixture(scope="session")
def able() -> Iterator[None]:
    """End at once, with the reason, on a computer that cannot do it: skipped there, but never in CI."""
    rights = missing_rights()
    if rights is not None:
        pytest.exit(f"make system-test is skipped: {rights}", CANNOT_RUN if os.environ.get("CI") else 0)
    tools = missing_tools(ROOT)
    if tools is not None:
        pytest.exit(f"make system-test cannot run: {tools}", CANNOT_RUN)
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(f"make system-test cannot run: another run uses {PLACE}", CANNOT_RUN)
        yield


@pytest.fixture(scope="session")
def builds(able: None) -> Builds:
    """The packages of this work tree, of a later version, and of an early one."""
    return build_all(ROOT, PLACE / "packages")


@pytest.fixture(scope="session")
def roots(able: None) -> Roots:
    """What makes root folders; what an earlier run left is gone."""
    roots = Roots(PLACE)
    roots.clean()
    return roots


@pytest.fixture(scope="session")
def dependencies(roots: Roots, builds: Builds) -> Layers:
    """Debian with what our packages depend on."""
    return roots.with_dependencies(builds.this)


@pytest.fixture(scope="session")
def installed(roots: Roots, builds: Builds, dependencies: Layers) -> Layers:
    """Server and agent, installed as the README says on a machine that runs and has no network."""

    def install(machine: Machine) -> None:
        bring(machine, builds.this)
        machine.boot()
        install_by_readme(machine, README)

    return roots.change(dependencies, "installed", install)


@pytest.fixture(scope="session")
def configured(roots: Roots, installed: Layers) -> Layers:
    """Server, agent and the counting plugin, in contact; every machine that starts here is the same computer."""

    def configure(machine: Machine) -> None:
        machine.boot()
        station = Station(machine)
        station.configure()
        machine.run("systemctl", "--no-block", "restart", SERVER, TARGET)
        station.await_arrival(("counting",))

    return roots.change(installed, "configured", configure)


@pytest.fixture
def start(roots: Roots, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Gives machines with these layers, switched off; they end with the test."""
    with ExitStack() as stack:

        def make(layers: Layers) -> Machine:
            name = name_of(request.node.name)
            place = roots.place_for(name)
            mount = stack.enter_context(Mount(layers, place))
            machine = Machine(mount.point, name=name, log=place / "console.log")
            stack.callback(machine.cut_power)
            return machine

        yield make


def name_of(test: str) -> str:
    """What a test's machine is called: its own name as far as a host's name allows, so that each keeps its journal."""
    return re.sub("[^a-z0-9]+", "-", test.removeprefix("test_").lower())[:60].strip("-")


@pytest.fixture
def station(start: Start, configured: Layers) -> Station:
    """A machine that just booted, with server, agent and the counting plugin."""
    machine = start(configured)
    machine.boot()
    return Station(machine)
