"""
The message store against plain sqlite3, and against itself with a backlog.

    python benchmarks/store.py [--quick] [--json]

Plain sqlite3 stores the same octets in one table by executemany, with the same journal, a synced commit per batch, in turns
with the store. "Taking" is an exchange: 100 messages get their numbers and are read, and an answer acknowledges them, each
synced. Opening is timed in a process of its own, up to the first 100 messages in hand; memory is what that process holds
then.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from statistics import median
from uuid import uuid4

from report import Result, Target, show

from fieldpost.broker.store.records import Answer, Batch, NewMessage, StoreLimits
from fieldpost.broker.store.store import Store
from fieldpost.wire import cbor
from fieldpost.wire.api import OLDEST_SERVER_API

OCTETS = 300
BATCH = 1_000
TAKEN = 100
SMALL = 1_000
TYPE = "cpu-usage"
TARGETS = {
    "burst_per_second": Target(100_000),
    "burst_of_plain": Target(0.5),
    "single_of_plain": Target(0.5),
    "take_100_large_of_small": Target(1.5, at_most=True),
    "open_large_seconds": Target(2, at_most=True),
    "memory_large_of_empty": Target(1.1, at_most=True),
}
BODY = cbor.encode({"type": TYPE, "text": "x" * (OCTETS - 24)})
MESSAGES = tuple(NewMessage(type=TYPE, body=BODY, timestamp=1_700_000_000) for _ in range(BATCH))
_NUMBERS = count(1)


def measure(*, quick: bool = False) -> Result:
    """All figures; rates are medians of rounds in which the rivals take turns."""
    large = 20_000 if quick else 1_000_000
    rounds = 5 if quick else 30
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        figures = {
            **_measure_adding(Path(folder), rounds),
            **_measure_backlog(Path(folder), large, rounds),
            "backlog": float(large),
        }
    return Result(name="store", figures=figures, targets=TARGETS)


def _measure_adding(folder: Path, rounds: int) -> dict[str, float]:
    with closing(_open(folder / "adding")) as store, closing(_open_plain(folder / "plain")) as plain:
        burst, plain_burst = _take_turns(
            rounds, lambda: _add(store, MESSAGES), lambda: _add_plain(plain, BATCH)
        )
        single, plain_single = _take_turns(
            rounds * 20, lambda: _add(store, MESSAGES[:1]), lambda: _add_plain(plain, 1)
        )
    return {
        "burst_per_second": BATCH / burst,
        "plain_burst_per_second": BATCH / plain_burst,
        "burst_of_plain": plain_burst / burst,
        "single_per_second": 1 / single,
        "plain_single_per_second": 1 / plain_single,
        "single_of_plain": plain_single / single,
    }


def _measure_backlog(folder: Path, large: int, rounds: int) -> dict[str, float]:
    for name, length in (("small", SMALL), ("large", large), ("empty", 0)):
        with closing(_open(folder / name)) as store:
            for _ in range(length // BATCH):
                _add(store, MESSAGES)
    opened = {name: _open_apart(folder / name) for name in ("empty", "large")}
    with closing(_open(folder / "small")) as small, closing(_open(folder / "large")) as big:
        seconds, seconds_small = _take_turns(rounds, lambda: _take(big), lambda: _take(small))
    return {
        "take_100_small_ms": seconds_small * 1_000,
        "take_100_large_ms": seconds * 1_000,
        "take_100_large_of_small": seconds / seconds_small,
        "open_empty_seconds": opened["empty"]["seconds"],
        "open_large_seconds": opened["large"]["seconds"],
        "memory_empty_mib": opened["empty"]["memory_mib"],
        "memory_large_mib": opened["large"]["memory_mib"],
        "memory_large_of_empty": opened["large"]["memory_mib"] / opened["empty"]["memory_mib"],
    }


def _take_turns(rounds: int, *rivals: Callable[[], object]) -> list[float]:
    """The median seconds of each rival; one round before is not counted."""
    seconds: list[list[float]] = [[] for _ in rivals]
    for _ in range(rounds + 1):
        for rival, found in zip(rivals, seconds, strict=True):
            started = time.perf_counter()
            rival()
            found.append(time.perf_counter() - started)
    return [median(found[1:]) for found in seconds]


def _open(path: Path) -> Store:
    limits = StoreLimits(max_octets=10**12)
    store = Store.open(str(path), limits=limits, new_id=lambda: uuid4().hex, now=time.time)
    store.accept_types([TYPE])
    return store


def _add(store: Store, messages: tuple[NewMessage, ...]) -> None:
    store.add(
        [Batch(instance="bench", number=next(_NUMBERS), plugin=TYPE, session_id=None, messages=messages)]
    )


def _take(store: Store) -> None:
    """One exchange, and as many messages again, so that the backlog stays as long as it is."""
    outgoing = store.begin_exchange(max_messages=TAKEN, max_octets=2**30)
    assert len(outgoing.messages) == TAKEN
    store.commit_answer(
        Answer(
            next_expected_sequence=None,
            token=b"token",
            server_uuid="bench",
            server_api=OLDEST_SERVER_API,
            client_types_hash=None,
            messages=(),
        )
    )
    _add(store, MESSAGES[:TAKEN])


def _open_plain(path: Path) -> sqlite3.Connection:
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute("PRAGMA synchronous = FULL")
    plain.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    return plain


def _add_plain(plain: sqlite3.Connection, length: int) -> None:
    plain.execute("BEGIN IMMEDIATE")
    plain.executemany("INSERT INTO message (body) VALUES (?)", [(BODY,)] * length)
    plain.execute("COMMIT")


def _open_apart(path: Path) -> dict[str, float]:
    """What a process of its own finds."""
    command = [sys.executable, __file__, "--open", str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _open_here(path: Path) -> None:
    started = time.perf_counter()
    store = _open(path)
    store.begin_exchange(max_messages=TAKEN, max_octets=2**30)
    store.status()
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    (resident,) = (line.split()[1] for line in status if line.startswith("VmRSS"))
    print(json.dumps({"seconds": seconds, "memory_mib": int(resident) / 1024}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller backlog, fewer rounds")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        _open_here(options.open)
    else:
        show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
