"""
An operation from the call of the server's API to the plugin's handler, over a session: server, broker and plugin host as users run them.

    python benchmarks/operation.py [--quick]

The exchange intervals are those of an ordinary agent, a quarter of an hour and a minute, so nothing but the session can bring it sooner. The next
operation is asked for when the one before is answered. All clocks are this machine's monotonic one.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from uuid import uuid4

from installation import Installation, wait_until

from fieldpost.agent.demo.api_client import ApiClient
from fieldpost.agent.demo.folder import HOST

TYPE = "stopwatch"
MANIFEST = 'module = "stopwatch:Stopwatch"\nhost = "stopwatch"\nhandles = ["{type}"]\n\n[settings]\nfile = "{file}"\n'
INTERVALS = (
    ('interval = "2 s"', 'interval = "900 s"'),
    ('urgent-interval = "1 s"', 'urgent-interval = "60 s"'),
)


def measure_operations(*, count: int) -> dict[str, float]:
    """Milliseconds until the handler has it, and until the server has the answer."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    with tempfile.TemporaryDirectory() as path, Installation(Path(path) / "fieldpost") as installation:
        notes = _prepare(installation)
        installation.start_broker()
        installation.start_host("stopwatch")
        wait_until(lambda: _carrier(installation) == "session", "the session is open")
        server = _server(installation)
        computer = int(server.computers()[0]["id"])
        reached, answered = [], []
        for number in range(count + 3):
            one, other = _measure_one(server, computer, number, notes)
            if number >= 3:
                reached.append(one)
                answered.append(other)
        server.close()
    return {
        "operation_to_handler_ms": median(reached) * 1_000,
        "operation_to_handler_worst_ms": max(reached) * 1_000,
        "operation_to_result_ms": median(answered) * 1_000,
    }


def _prepare(installation: Installation) -> Path:
    folder = installation.folder
    notes = folder.path / "notes"
    notes.touch()
    (folder.path / "plugins.d" / "stopwatch.toml").write_text(MANIFEST.format(type=TYPE, file=notes))
    config = folder.agent_config.read_text()
    for fast, ordinary in INTERVALS:
        assert fast in config
        config = config.replace("\n" + fast, "\n" + ordinary)
    folder.agent_config.write_text(config)
    return notes


def _carrier(installation: Installation) -> object:
    status = installation.status()
    registered = bool(status) and status["registration"]["is-registered"]
    return status["session"]["carrier"] if registered and status["session"] else None


def _server(installation: Installation) -> ApiClient:
    folder = installation.folder
    port = folder.server_port()
    assert port is not None
    return ApiClient(host=HOST, port=port, token=folder.api_token(), ca_file=folder.ca_file)


def _measure_one(server: ApiClient, computer: int, number: int, notes: Path) -> tuple[float, float]:
    begun = time.monotonic()
    asked = server.add_operation(computer=computer, type=TYPE, fields={"number": number}, key=uuid4().hex)
    while server.operation(int(asked["id"]))["status"] not in ("succeeded", "failed"):
        if time.monotonic() > begun + 30:
            raise RuntimeError(f"operation {number} was not answered: {server.operation(int(asked['id']))}")
        time.sleep(0.005)
    answered = time.monotonic()
    last, reached = notes.read_text().splitlines()[-1].split()
    assert int(last) == number
    return float(reached) - begun, answered - begun


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measure_operations(count=10 if parser.parse_args().quick else 100), indent=1))
