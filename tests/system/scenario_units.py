"""How the units are locked up, as systemd itself rates it."""

import sys

import pytest

from .conftest import Start
from .layers import Layers
from .station import BROKER, MONITORS, SCRIPTS, SERVER

WORST = 1.5
"""The highest exposure that a unit without privileges may have; 10 is a unit with everything open."""

RATED = (BROKER, MONITORS, SERVER)
SHOWN = (*RATED, SCRIPTS)


def test_units_are_locked_up(start: Start, configured: Layers, capsys: pytest.CaptureFixture[str]) -> None:
    """`systemd-analyze security` rates broker, monitors and server at most 1.5. Scripts have a unit of their own."""
    machine = start(configured)
    machine.boot()

    scores = {
        unit: score_of(machine.say("systemd-analyze", "security", "--no-pager", unit)) for unit in SHOWN
    }

    table = "".join(f"  {score:4} {unit}\n" for unit, score in scores.items())
    with capsys.disabled():
        sys.stdout.write(f"\nsystemd-analyze security:\n{table}")
    assert all(scores[unit] <= WORST for unit in RATED), scores


def test_units_have_no_mistakes(start: Start, installed: Layers) -> None:
    """`systemd-analyze verify` has nothing to say about any unit of ours."""
    machine = start(installed)
    machine.boot()
    files = machine.shell("ls /lib/systemd/system/fieldpost-*").stdout.split()
    units = [file.replace("@.service", "@monitors.service") for file in files]

    ran = machine.run("systemd-analyze", "verify", "--man=no", *units, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), ran


def score_of(text: str) -> float:
    """The number in the last line of `systemd-analyze security UNIT`."""
    line = next(line for line in text.splitlines() if "Overall exposure level" in line)
    return float(line.split(": ")[1].split()[0])
