"""
Resident memory of the broker and of a plugin host with all bundled monitors, registered and otherwise idle.

    python benchmarks/memory.py [--json]
"""

import argparse
import tempfile
import time
from pathlib import Path

from installation import Installation, resident_mib, wait_until
from report import Result, Target, show

SETTLE = 10.0
"""Seconds after the first exchange with messages: all plugins have run by then."""
TARGETS = {"broker_mib": Target(55, at_most=True), "host_mib": Target(38, at_most=True)}


def measure(*, quick: bool = False) -> Result:
    """MiB of each; `quick` changes nothing, since there is nothing to repeat."""
    with tempfile.TemporaryDirectory() as path, Installation(Path(path) / "fieldpost") as installation:
        broker, host = installation.start_broker(), installation.start_host("monitors")
        wait_until(lambda: _has_arrived(installation), "the monitors' messages are with the server")
        time.sleep(SETTLE)
        figures = {"broker_mib": resident_mib(broker), "host_mib": resident_mib(host)}
    return Result(name="memory", figures=figures, targets=TARGETS)


def _has_arrived(installation: Installation) -> bool:
    return bool(installation.ask_server("SELECT count(*) FROM message WHERE type = 'free-space'")[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    show([measure()], as_json=parser.parse_args().json)


if __name__ == "__main__":
    main()
