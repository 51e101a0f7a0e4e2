"""
All benchmarks, one after the other, each against its targets and its rivals in the same run.

    make bench [ARGS="--quick --json NAME..."]

The exit code says whether all ran, not whether all targets were met: a shared machine is no judge.
"""

import argparse
import sys
from importlib import import_module

from report import Result, show

NAMES = ("store", "local", "intake", "bpickle", "drain", "memory", "session")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, for a look")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], help="which; all, when none is named")
    options = parser.parse_args()
    results: list[Result] = []
    for name in options.names or NAMES:
        print(f"measuring {name}", file=sys.stderr)
        results.append(import_module(name).measure(quick=options.quick))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
