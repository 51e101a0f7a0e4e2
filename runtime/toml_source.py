"""
TOML files that are read as one, each value with the file and the line that it came from.

The standard parser keeps no lines. So when a place is asked for, the text is cut into statements, each of which parses
on its own, and each statement tells its keys. That is slow and exact, and only done when there is something to report.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

MAX_OCTETS = 1024 * 1024
"""A larger file is no configuration."""

Place = tuple[str | int, ...]
"""Where a value stands: names of tables, the option's name; a number for an item of a list."""

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")


@frozen(kw_only=True)
class Problem:
    """What is wrong, where, and what to write instead."""

    file: Path
    text: str
    line: int | None = None
    option: str | None = None

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.option}: {self.text}" if self.option else f"{place}: {self.text}"


class Unreadable(Exception):
    """A file that gives no table; holds the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@frozen
class Source:
    """One file: its table, and its text to find lines in."""

    file: Path
    text: str = field(repr=False)
    table: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> "Source":
        """Raises Unreadable."""
        text = _read_text(file)
        return cls(file, text, _parse(file, text))

    def gives(self, place: Place) -> bool:
        """Whether this file has a value at the place."""
        value: Any = self.table
        for part in place:
            inside = (
                part in value
                if isinstance(value, dict)
                else isinstance(value, list) and part in range(len(value))
            )
            if not inside:
                return False
            value = value[part]
        return True

    def line_of(self, place: Place) -> int | None:
        """Line of the statement that gives this value, or None when this file does not give it."""
        found = None
        for line, given in _statements(self.text):
            if given[: len(place)] == place:
                return line
            if place[: len(given)] == given:
                found = line
        return found


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            octets = stream.read(MAX_OCTETS + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreadable(
            Problem(file=file, text=f"cannot be read: {reason}; check the path and who may read it")
        ) from None
    if len(octets) > MAX_OCTETS:
        raise Unreadable(
            Problem(
                file=file,
                text=f"is larger than the {MAX_OCTETS} octets a configuration may have; is it the right file?",
            )
        )
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise Unreadable(Problem(file=file, line=line, text="is not UTF-8; save the file as UTF-8")) from None


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_syntax_problem(file, text, error)) from None


def _syntax_problem(file: Path, text: str, error: Exception) -> Problem:
    if isinstance(error, RecursionError):
        return Problem(file=file, text="lists or tables are nested too deep")
    said = str(error)
    found = _POSITION.search(said)
    if found is None:
        return Problem(file=file, text=f"no valid TOML: {said}")
    line = int(found[1]) if found[1] else text.count("\n") + 1
    column = f" (column {found[2]})" if found[2] else ""
    return Problem(file=file, line=line, text=f"no valid TOML: {said[: found.start()]}{column}")


def _statements(text: str) -> Iterator[tuple[int, Place]]:
    """First line and full place of each value that the text gives, tables included."""
    table: Place = ()
    counts: dict[Place, int] = {}
    for line, chunk in _chunks(text):
        parsed = tomllib.loads(chunk)
        if chunk.lstrip().startswith("["):
            table = _numbered(_table_name(parsed), counts, is_item=chunk.lstrip().startswith("[["))
            yield line, table
        else:
            for place in _places(parsed):
                yield line, table + place


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a text that parses, each with its first line."""
    chunk, start = "", 1
    for line, content in enumerate(text.splitlines(keepends=True), 1):
        if not chunk:
            if not content.strip() or content.lstrip().startswith("#"):
                continue
            start = line
        chunk += content
        if _is_whole(chunk):
            yield start, chunk
            chunk = ""


def _is_whole(chunk: str) -> bool:
    try:
        tomllib.loads(chunk)
    except (ValueError, RecursionError):
        return False
    return True


def _table_name(parsed: Any) -> tuple[str, ...]:
    name: tuple[str, ...] = ()
    while parsed and isinstance(parsed, dict):
        key, parsed = next(iter(parsed.items()))
        name += (key,)
    return name


def _numbered(name: tuple[str, ...], counts: dict[Place, int], *, is_item: bool) -> Place:
    """The place of a table, with the number of the latest item wherever a part of the name is a list of tables."""
    place: Place = ()
    for index, part in enumerate(name):
        place += (part,)
        if is_item and index == len(name) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place += (counts[place],)
    return place


def _places(value: Any, at: Place = ()) -> Iterator[Place]:
    """All places within one statement, outermost first."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*at, index))


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both tables as one: tables are merged name by name, of anything else the one above replaces the one below."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(under, dict) and isinstance(value, dict)
        merged[name] = merge(under, value) if both else value  # type: ignore[arg-type]
    return merged
