"""
The session: its reactors in memory, calls over TLS beside a bare echo and AMP, idle sessions' memory, and an operation's way.

    python benchmarks/session.py [--quick] [--json]

The echoes go between two processes on loopback, 300 octets each way, the contenders taking turns; a rate is the median of the rounds, and
so is the ratio of a round's session to its bare echo. On a busy machine the ratio by the processor's time says more. Each part can be run alone: `pair.py`, `idle.py`, `operation.py` say what they do.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import truediv
from pathlib import Path
from statistics import median

from idle import measure_idle
from operation import measure_operations
from pair import measure_pair
from report import Result, Target, show

ECHO = Path(__file__).parent / "echo.py"
CONTENDERS = ("bare", "amp", "session")
TARGETS = {
    "reactor_pair_us": Target(60, at_most=True),
    "octet_by_octet_mib_seconds": Target(2, at_most=True),
    "session_of_bare_one": Target(0.60),
    "session_many_per_second": Target(15_000),
    "idle_sessions_growth_mib": Target(100, at_most=True),
    "operation_to_handler_ms": Target(50, at_most=True),
}


def measure(*, quick: bool = False) -> Result:
    """All figures."""
    figures = {
        **measure_pair(rounds=3 if quick else 9, calls=2_000 if quick else 10_000),
        **_measure_echoes(rounds=2 if quick else 9, calls=500 if quick else 3_000),
        **measure_idle(sessions=100 if quick else 1_000),
        **measure_operations(count=10 if quick else 100),
    }
    return Result(name="session", figures=figures, targets=TARGETS)


# Calls over TLS, between two processes


def _measure_echoes(*, rounds: int, calls: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind in CONTENDERS:
            for what, figure in _echo(kind, calls).items():
                found.setdefault(f"{kind}_{what}", []).append(figure)
    ratios = map(truediv, found["session_one_per_second"], found["bare_one_per_second"])
    cpu_ratios = map(truediv, found["bare_one_cpu_us"], found["session_one_cpu_us"])
    return {
        **{name: median(figures) for name, figures in found.items()},
        "session_of_bare_one": median(ratios),
        "session_of_bare_one_by_cpu": median(cpu_ratios),
    }


def _echo(kind: str, calls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, _echo_server(kind, folder) as (port, pid):
        command = [sys.executable, str(ECHO), "call", kind, folder, port, str(calls), str(pid)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@contextmanager
def _echo_server(kind: str, folder: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, str(ECHO), "serve", kind, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server.pid
        server.terminate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args()
    show([measure(quick=options.quick)], as_json=options.json)


if __name__ == "__main__":
    main()
