"""
Durable add through the local socket, plugin and broker as two processes, against plain sqlite3 in the same run.

    python benchmarks/local.py [--quick] [--json]

"Bursts": the plugin sends as much as the buffer takes, in batches of 1,000. "One at a time": the next message is sent
when the one before is on the disk. Plain sqlite3 commits the same octets into the plainest table, synced alike.
"""

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

from report import Result, Target, show

BATCH = 1_000
OCTETS = 300
TEXT = "x" * (OCTETS - 36)
ROUNDS = 5
WINDOW = 12 * BATCH
"""Messages that the plugin leaves unanswered in a burst."""

TARGETS = {
    "bursts_per_second": Target(50_000),
    "bursts_of_executemany": Target(0.2),
    "singles_of_single_commits": Target(0.5),
}


def message(number: int) -> dict[str, Any]:
    """A message of OCTETS octets once encoded."""
    return {"type": "measured", "number": 1_000_000 + number, "text": TEXT}


class Plain:
    """The plainest table in a file of its own, synced like the broker's store."""

    INSERT = "INSERT INTO message (body) VALUES (?)"

    def __init__(self, folder: str) -> None:
        from fieldpost.wire import cbor

        self._bodies = [cbor.encode(message(number)) for number in range(BATCH)]
        self._connection = sqlite3.connect(os.path.join(folder, "plain.db"), isolation_level=None)
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


# The two processes


def run_broker(folder: str) -> None:
    """A broker's store and plugin socket, and nothing else."""
    from twisted.internet import reactor

    from fieldpost.broker.local.grants import Grant, Grants
    from fieldpost.broker.local.intake import Intake
    from fieldpost.broker.local.plugin_link import Broker
    from fieldpost.broker.local.plugin_socket import PluginSocket
    from fieldpost.broker.store.records import StoreLimits
    from fieldpost.broker.store.store import Store
    from fieldpost.runtime.writer import WriterThread

    clock: Any = reactor
    store = Store.open(
        os.path.join(folder, "broker.db"),
        limits=StoreLimits(),
        new_id=lambda: str(uuid.uuid4()),
        now=time.time,
    )
    writer = WriterThread(reactor=clock, name="store")

    async def status() -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu_seconds": used.ru_utime + used.ru_stime, "max_rss_mib": used.ru_maxrss / 1024}

    broker = Broker(
        store=store,
        writer=writer,
        intake=Intake(store=store, writer=writer, clock=clock, now=time.time),
        grants=Grants(
            [Grant(name="bench", uids=frozenset({os.getuid()}), sends=frozenset({"measured"}))], operators=()
        ),
        deliveries=_Nobody(),
        events=_Nobody(),
        exchanges=_Nobody(),
        status=status,
        clock=clock,
    )
    PluginSocket(reactor=clock, broker=broker, path=os.path.join(folder, "broker.sock")).startService()
    print("ready", flush=True)
    run_profiled(clock, folder, "broker")


class _Nobody:
    """Parts of the broker that nothing is asked of here."""

    def register(self, *_: object) -> Callable[[], None]:
        return lambda: None

    def listen(self, *_: object) -> Callable[[], None]:
        return lambda: None

    def request(self, *, at_once: bool) -> None:
        """No exchange."""


def run_plugin(folder: str, *, messages: int, singles: int) -> None:
    """A plugin process; prints what it measured as JSON."""
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import UNIXClientEndpoint
    from twisted.internet.task import deferLater

    from fieldpost.plugins.connection import BrokerConnection

    clock: Any = reactor

    async def deliver(_: Any) -> Any:
        raise NotImplementedError

    connection = BrokerConnection(
        endpoint=UNIXClientEndpoint(clock, os.path.join(folder, "broker.sock")),
        clock=clock,
        random=Random(1),
        new_id=lambda: str(uuid.uuid4()),
        plugins=["bench"],
        events=[],
        on_deliver=deliver,
        on_event=lambda _: None,
    )

    plain = Plain(folder)

    async def measure_all() -> None:
        before = await connection.status()
        mine = time.process_time()
        await burst()
        after = await connection.status()
        print(
            json.dumps(
                {
                    "plugin_us_per_message": 1e6 * (time.process_time() - mine) / messages,
                    "broker_us_per_message": 1e6 * (after["cpu_seconds"] - before["cpu_seconds"]) / messages,
                    "rounds": [await round() for _ in range(ROUNDS)],
                }
            ),
            flush=True,
        )
        await connection.stop()

    async def round() -> dict[str, float]:
        """Each figure next to its reference: disks change their minds within seconds."""
        found = {"executemany_per_second": plain.in_batches(messages)}
        started = time.perf_counter()
        await burst()
        found["bursts_per_second"] = messages / (time.perf_counter() - started)
        found["single_commits_per_second"] = plain.one_by_one(singles)
        started = time.perf_counter()
        for number in range(singles):
            await connection.send("bench", message(number))
        found["singles_per_second"] = singles / (time.perf_counter() - started)
        return found

    async def burst() -> None:
        """A plugin that has much to say: a batch in each turn, until much is unanswered; on when half of that is."""
        waiting = 0
        roomy: Deferred[None] | None = None

        def answered(_: None) -> None:
            nonlocal waiting, roomy
            waiting -= BATCH
            if roomy is not None and waiting <= WINDOW // 2:
                roomy, fired = None, roomy
                fired.callback(None)

        for first in range(0, messages, BATCH):
            for number in range(first, first + BATCH):
                sent = connection.send("bench", message(number))
            sent.addCallback(answered)
            waiting += BATCH
            if waiting >= WINDOW:
                roomy = Deferred()
                await roomy
            else:
                await deferLater(clock, 0, lambda: None)
        await connection.flushed()

    def start() -> None:
        connection.start()
        Deferred.fromCoroutine(measure_all()).addErrback(print).addBoth(lambda _: clock.stop())

    clock.callWhenRunning(start)
    run_profiled(clock, folder, "plugin")


def run_profiled(reactor: Any, folder: str, role: str) -> None:
    """Run the reactor; with FIELDPOST_PROFILE=FOLDER leave a profile there."""
    into = os.environ.get("FIELDPOST_PROFILE")
    if into is None:
        reactor.run()
        return
    import cProfile

    profile = cProfile.Profile()
    profile.runcall(reactor.run)
    profile.dump_stats(os.path.join(into, f"local-{role}.prof"))


# All of it


def measure(*, quick: bool = False) -> Result:
    """Each figure is the median of its rounds."""
    messages, singles = (20_000, 500) if quick else (60_000, 2_000)
    with tempfile.TemporaryDirectory(prefix="fieldpost-bench-") as folder:
        found = _measure_in(folder, messages=messages, singles=singles)
    rounds = found.pop("rounds")
    for one in rounds:
        one["bursts_of_executemany"] = one["bursts_per_second"] / one["executemany_per_second"]
        one["singles_of_single_commits"] = one["singles_per_second"] / one["single_commits_per_second"]
    figures = {**{key: median(one[key] for one in rounds) for key in rounds[0]}, **found}
    return Result(name="local", figures=figures, targets=TARGETS)


def _measure_in(folder: str, *, messages: int, singles: int) -> dict[str, Any]:
    here = [sys.executable, os.path.abspath(__file__), "--folder", folder]
    broker = subprocess.Popen([*here, "--role", "broker"], stdout=subprocess.PIPE, text=True)
    try:
        assert broker.stdout is not None
        if broker.stdout.readline() != "ready\n":
            raise RuntimeError("the benchmark's broker did not start; see its words above")
        sizes = ["--messages", str(messages), "--singles", str(singles)]
        plugin = subprocess.run(
            [*here, "--role", "plugin", *sizes], stdout=subprocess.PIPE, text=True, check=True, timeout=600
        )
    finally:
        broker.terminate()
        broker.wait(30)
        if broker.stdout is not None:
            broker.stdout.close()
    found: dict[str, Any] = json.loads(plugin.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the work")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--role", choices=("broker", "plugin"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--messages", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--singles", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "broker":
        run_broker(options.folder)
    elif options.role == "plugin":
        run_plugin(options.folder, messages=options.messages, singles=options.singles)
    else:
        show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
