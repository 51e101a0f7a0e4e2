"""
One target under atheris, a coverage-guided fuzzer: `python -m tests.fuzz.run TARGET [options and folders of libFuzzer]`.

`make fuzz` runs all of them, each for FUZZ_SECONDS. A finding is left as a file in `build/fuzz`; put it beside the others in
the target's folder of `tests/fuzz/findings/`, and the tests replay it for ever.
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore] # in an environment of its own

with atheris.instrument_imports(include=["fieldpost"]):
    from .seeds import SEEDS
    from .targets import TARGETS


def main() -> None:
    """Until the time is over, or something is found."""
    name, *options = sys.argv[1:]
    folders = [Path(option) for option in options if not option.startswith("-")]
    for number, seed in enumerate(SEEDS.get(name, ())):
        (folders[0] / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
