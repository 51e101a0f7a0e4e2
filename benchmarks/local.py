"""
Durable add through the local socket, plugin and broker as two processes, against plain sqlite3 in the same run.

    python benchmarks/local.py [--quick] [--json]

"Bursts": the plugin sends as much as the buffer takes, in batches of 1,000. "One at a time": the next message is sent
when the one before is on the disk. Plain sqlite3 commits the same octets into the plainest table, synced alike. The
broker is the one that users run, without a server; the plugin's end is the SDK's.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from report import Result, Target, show

BATCH = 1_000
OCTETS = 300
ROUNDS = 5
WINDOW = 12 * BATCH
"""Messages that the plugin leaves unanswered in a burst."""
PLUGIN = "bench"
CONFIG = '[broker]\nstate-dir = "broker"\nsocket = "broker.sock"\n'
MANIFEST = 'module = "bench:Bench"\nsends = ["measured"]\n'

TARGETS = {
    "bursts_per_second": Target(50_000),
    "bursts_of_executemany": Target(0.20),
    "singles_of_single_commits": Target(0.50),
}


def message(number: int) -> dict[str, Any]:
    """A message of OCTETS octets once encoded."""
    return {"type": "measured", "number": 1_000_000 + number, "text": "x" * (OCTETS - 36)}


class Plain:
    """The plainest table in a file of its own, synced like the broker's store."""

    INSERT = "INSERT INTO message (body) VALUES (?)"

    def __init__(self, folder: Path) -> None:
        from fieldpost.wire import cbor

        self._bodies = [cbor.encode(message(number)) for number in range(BATCH)]
        self._connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    def in_batches(self, messages: int) -> float:
        """Messages per second with executemany, a commit per batch."""
        started = time.perf_counter()
        for _ in range(messages // BATCH):
            self._connection.execute("BEGIN")
            self._connection.executemany(self.INSERT, ((body,) for body in self._bodies))
            self._connection.execute("COMMIT")
        return messages / (time.perf_counter() - started)

    def one_by_one(self, messages: int) -> float:
        """Messages per second with a commit each."""
        started = time.perf_counter()
        for number in range(messages):
            self._connection.execute(self.INSERT, (self._bodies[number % BATCH],))
        return messages / (time.perf_counter() - started)


# The plugin's process


class Feeder:
    """The SDK's connection, fed in bursts and one at a time."""

    def __init__(self, connection: Any, reactor: Any) -> None:
        """Any: imported only in the plugin's process, where Twisted is to come without TLS."""
        self._connection = connection
        self._reactor = reactor
        self._waiting = 0
        self._roomy: Any = None

    async def rounds(self, folder: Path, *, messages: int, singles: int) -> list[dict[str, float]]:
        """Each figure next to its reference: disks change their minds within seconds."""
        plain = Plain(folder)
        await self.burst(messages)
        return [await self._round(plain, messages, singles) for _ in range(ROUNDS)]

    async def _round(self, plain: Plain, messages: int, singles: int) -> dict[str, float]:
        found = {"executemany_per_second": plain.in_batches(messages)}
        started, used = time.perf_counter(), time.process_time()
        await self.burst(messages)
        found["bursts_per_second"] = messages / (time.perf_counter() - started)
        found["plugin_us_per_message"] = 1e6 * (time.process_time() - used) / messages
        found["single_commits_per_second"] = plain.one_by_one(singles)
        started = time.perf_counter()
        for number in range(singles):
            await self._connection.send(PLUGIN, message(number))
        found["singles_per_second"] = singles / (time.perf_counter() - started)
        return found

    async def burst(self, messages: int) -> None:
        """A plugin that has much to say: a batch in each turn, until much is unanswered; on when half of that is."""
        from twisted.internet.defer import Deferred
        from twisted.internet.task import deferLater

        for first in range(0, messages, BATCH):
            for number in range(first, first + BATCH):
                sent = self._connection.send(PLUGIN, message(number))
            sent.addCallback(self._answered)
            self._waiting += BATCH
            if self._waiting >= WINDOW:
                self._roomy = Deferred()
                await self._roomy
            else:
                await deferLater(self._reactor, 0, lambda: None)
        await self._connection.flushed()

    def _answered(self, _: None) -> None:
        self._waiting -= BATCH
        if self._roomy is not None and self._waiting <= WINDOW // 2:
            self._roomy, fired = None, self._roomy
            fired.callback(None)


def run_plugin(folder: Path, *, messages: int, singles: int) -> None:
    """Print what was measured as JSON."""
    from fieldpost.agent.lean import leave_tls_out

    leave_tls_out()
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import UNIXClientEndpoint

    from fieldpost.plugins.connection import BrokerConnection

    clock: Any = reactor
    connection = BrokerConnection(
        endpoint=UNIXClientEndpoint(clock, str(folder / "broker.sock")),
        clock=clock,
        random=Random(1),
        new_id=lambda: str(uuid.uuid4()),
        plugins=[PLUGIN],
        events=[],
        on_deliver=_nothing_is_delivered,
        on_event=lambda _: None,
    )

    async def measure_all() -> None:
        connection.start()
        rounds = await Feeder(connection, clock).rounds(folder, messages=messages, singles=singles)
        print(json.dumps(rounds), flush=True)
        await connection.stop()

    clock.callWhenRunning(
        lambda: Deferred.fromCoroutine(measure_all()).addErrback(print).addBoth(lambda _: clock.stop())
    )
    clock.run()


async def _nothing_is_delivered(_: Any) -> Any:
    raise RuntimeError("there is no server that could send anything")


# All of it


def measure(*, quick: bool = False) -> Result:
    """Each figure is the median of its rounds."""
    messages, singles = (20_000, 500) if quick else (60_000, 2_000)
    with tempfile.TemporaryDirectory(prefix="fieldpost-bench-") as folder:
        rounds = _measure_in(Path(folder), messages=messages, singles=singles)
    for one in rounds:
        one["bursts_of_executemany"] = one["bursts_per_second"] / one["executemany_per_second"]
        one["singles_of_single_commits"] = one["singles_per_second"] / one["single_commits_per_second"]
    figures = {key: median(one[key] for one in rounds) for key in rounds[0]}
    return Result(name="local", figures=figures, targets=TARGETS)


def _measure_in(folder: Path, *, messages: int, singles: int) -> list[dict[str, float]]:
    (folder / "agent.toml").write_text(CONFIG)
    (folder / "plugins.d").mkdir()
    (folder / "plugins.d" / f"{PLUGIN}.toml").write_text(MANIFEST)
    start = [sys.executable, "-m", "fieldpost.agent.run", "--log-level", "error", "broker"]
    broker = subprocess.Popen([*start, "--config", str(folder / "agent.toml")])
    try:
        sizes = ["--messages", str(messages), "--singles", str(singles)]
        here = [sys.executable, os.path.abspath(__file__), "--plugin", str(folder), *sizes]
        plugin = subprocess.run(here, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    finally:
        broker.terminate()
        broker.wait(30)
    found: list[dict[str, float]] = json.loads(plugin.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the work")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plugin", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--messages", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--singles", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plugin is not None:
        run_plugin(options.plugin, messages=options.messages, singles=options.singles)
    else:
        show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
