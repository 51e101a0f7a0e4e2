"""
Resident memory of the broker and of a plugin host with all bundled monitors, registered and otherwise idle.

    python benchmarks/memory.py [--json]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

try:
    from .installation import Installation, resident_mib, wait_until
except ImportError:  # run as a script
    from installation import Installation, resident_mib, wait_until  # type: ignore[no-redef]

SETTLE = 10.0
"""Seconds after the first exchange with messages: all plugins have run by then."""
TARGETS = {"broker_mib": 55, "host_mib": 38}


def measure(*, quick: bool = False) -> dict[str, Any]:
    """MiB of each; `quick` changes nothing, since there is nothing to repeat."""
    with tempfile.TemporaryDirectory() as path, Installation(Path(path) / "fieldpost") as installation:
        broker, host = installation.start_broker(), installation.start_host("monitors")
        wait_until(lambda: _has_arrived(installation), "the monitors' messages are with the server")
        time.sleep(SETTLE)
        return {"broker_mib": resident_mib(broker), "host_mib": resident_mib(host)}


def _has_arrived(installation: Installation) -> bool:
    return bool(installation.ask_server("SELECT count(*) FROM message WHERE type = 'free-space'")[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON instead of a line")
    found = measure()
    print(json.dumps(found) if parser.parse_args().json else f"broker {found['broker_mib']:.1f} MiB, host {found['host_mib']:.1f} MiB")


if __name__ == "__main__":
    main()
