"""What a benchmark found, beside what it should: one shape for all, as a table for people and JSON for programs."""

import json
from collections.abc import Iterable
from typing import Any

from attrs import asdict, frozen


@frozen
class Target:
    """A bound that a figure should keep."""

    figure: float
    at_most: bool = False
    """Rather than at least."""

    def is_met(self, figure: float) -> bool:
        """Whether the figure keeps it."""
        return figure <= self.figure if self.at_most else figure >= self.figure

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.figure:,g}"


@frozen(kw_only=True)
class Result:
    """Figures by name; each target's name is that of a figure."""

    name: str
    figures: dict[str, float]
    targets: dict[str, Target]

    @property
    def missed(self) -> list[str]:
        """The figures that do not keep their targets."""
        return [key for key, target in self.targets.items() if not target.is_met(self.figures[key])]


def show(results: Iterable[Result], *, as_json: bool) -> None:
    """Print all of it."""
    if as_json:
        print(json.dumps([{**asdict(result), "missed": result.missed} for result in results], indent=1))
        return
    for result in results:
        print(result.name)
        for key, figure in result.figures.items():
            print(f"  {key:42} {_readable(figure):>14}  {_verdict(result, key)}".rstrip())


def _verdict(result: Result, key: str) -> str:
    target: Any = result.targets.get(key)
    return "" if target is None else f"{target!s:>12}  {'MISSED' if key in result.missed else 'met'}"


def _readable(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 1_000 else f"{figure:,.3g}"
