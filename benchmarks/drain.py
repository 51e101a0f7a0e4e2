"""
A backlog drained to the server over HTTPS, broker and server as two processes on one machine, both ends durable.

    python benchmarks/drain.py [--quick] [--json]

The store is filled while the broker is stopped. The rate is read off the server's own database, between the commit of the first
payload and that of the last, so that neither start-up nor the wait for the first exchange counts.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from installation import Installation, wait_until
from report import Result, Target, show

from fieldpost.broker.store.records import Batch, NewMessage, StoreLimits
from fieldpost.broker.store.store import Store
from fieldpost.wire import cbor

OCTETS = 300
BATCH = 1_000
TYPE = "cpu-usage"
TARGETS = {"messages_per_second": Target(20_000)}


def measure(*, quick: bool = False) -> Result:
    """Messages per second, and how many there were."""
    backlog = 20_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as path, Installation(Path(path) / "fieldpost") as installation:
        installation.start_broker()
        wait_until(lambda: _is_registered(installation.status()), "the broker is registered")
        installation.stop("broker")
        _fill(installation.store, backlog)
        installation.start_broker()
        wait_until(lambda: _arrived(installation) >= backlog, "all messages are with the server")
        figures = {"messages": backlog, "messages_per_second": _rate(installation)}
    return Result(name="drain", figures=figures, targets=TARGETS)


def _is_registered(status: dict[str, Any]) -> bool:
    return bool(status) and status["registration"]["is-registered"] and not status["store"]["pending"]


def _fill(store: Path, backlog: int) -> None:
    filling = Store.open(str(store), limits=StoreLimits(), new_id=lambda: uuid4().hex, now=time.time)
    body = cbor.encode({"type": TYPE, "text": "x" * (OCTETS - 24)})
    assert len(body) == OCTETS, len(body)
    messages = tuple(NewMessage(type=TYPE, body=body, timestamp=int(time.time())) for _ in range(BATCH))
    for number in range(1, backlog // BATCH + 1):
        filling.add(
            [Batch(instance="benchmark", number=number, plugin=TYPE, session_id=None, messages=messages)]
        )
    filling.close()


def _arrived(installation: Installation) -> int:
    return int(installation.ask_server("SELECT count(*) FROM message WHERE type = ?", TYPE)[0])


def _rate(installation: Installation) -> float:
    first, last = installation.ask_server(
        "SELECT min(received), max(received) FROM message WHERE type = ?", TYPE
    )
    (behind_first,) = installation.ask_server(
        "SELECT count(*) FROM message WHERE type = ? AND received > ?", TYPE, first
    )
    return float(behind_first / (last - first))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller backlog")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args()
    show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
