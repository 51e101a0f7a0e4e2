"""
Settings: TOML files become attrs values, or errors that a person can act on.

    @frozen(kw_only=True)
    class Exchange:
        interval: float = option(default=900, unit=SECONDS, at_least=1)
        max_messages: int = option(default=1000, at_least=1)

    @frozen(kw_only=True)
    class Config:
        exchange: Exchange                                # [exchange]; may be missing when all its options may
        accounts: dict[str, Account] = option(name="account", default=Factory(dict))   # [account.NAME]

    config = load(Path("agent.toml"), Config, dropins=Path("agent.d"))

The annotations say what an option takes: `str`, `int`, `float`, `bool`, `Path` (a relative one starts at the folder of
the file that names it, a default at that of the main file), `tuple[X, ...]`, `frozenset[X]`, `dict[str, X]`, another such class, `Any`; each also with
`| None`. Names are written with dashes. A class may refuse a combination of values by raising ValueError from
`__attrs_post_init__`.

Drop-ins (`*.toml` of a folder, by name) are laid over the file: tables are merged, anything else is replaced.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from attrs import NOTHING, Attribute, Factory, field, fields, frozen, has, resolve_types

from ..wire.errors import FieldpostError
from .toml_source import Place, Problem, Source, Unreadable, merge

T = TypeVar("T")


class SettingsError(FieldpostError):
    """A configuration that cannot be used. `problems` are all that were found; the text has one per line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", re.ASCII)


@frozen
class Unit:
    """What a bare number means, and the other units that may be written as text: `"15 min"`, `"64 MiB"`."""

    name: str
    example: str
    factors: dict[str, int]

    def parse(self, text: str) -> float:
        """The number of units that a text such as `15 min` means; ValueError when it means none."""
        found = _QUANTITY.fullmatch(text)
        if found is None or found[2] not in self.factors:
            raise ValueError(text)
        value = float(found[1]) * self.factors[found[2]]
        return int(value) if value.is_integer() else value


SECONDS = Unit("seconds", "15 min", {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400})
OCTETS = Unit(
    "octets",
    "64 MiB",
    {
        "": 1,
        "B": 1,
        "kB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
    },
)


@frozen(kw_only=True)
class _Rules:
    name: str | None = None
    unit: Unit | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None
    example: str | None = None
    check: Callable[[Any], None] | None = None


_NO_RULES = _Rules()


def option(
    *,
    default: Any = NOTHING,
    name: str | None = None,
    unit: Unit | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: Sequence[str] | None = None,
    example: str | None = None,
    check: Callable[[Any], None] | None = None,
) -> Any:
    """
    One option of a class that is loaded.

    `example` is shown, as TOML, when a required option is missing. `check` raises ValueError saying what to write
    instead. The rules hold for each item where the option is a list.
    """
    rules = _Rules(
        name=name,
        unit=unit,
        at_least=at_least,
        at_most=at_most,
        one_of=None if one_of is None else tuple(one_of),
        example=example,
        check=check,
    )
    return field(default=default, metadata={"rules": rules})


def load(path: Path | str, schema: type[T], dropins: Path | str | None = None) -> T:
    """
    The settings of a file and its drop-ins; a folder of drop-ins that does not exist is an empty one.

    Raises SettingsError with everything that is wrong, not only the first.
    """
    files = [Path(path), *_dropin_files(dropins)]
    sources, problems = [], []
    for file in files:
        try:
            sources.append(Source.read(file))
        except Unreadable as error:
            problems.append(error.problem)
    if problems:
        raise SettingsError(problems)
    return _Reading(sources, schema).result(schema)


def _dropin_files(folder: Path | str | None) -> list[Path]:
    if folder is None or not Path(folder).exists():
        return []
    try:
        return sorted(file for file in Path(folder).iterdir() if file.name.endswith(".toml"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"the folder of drop-ins cannot be read: {reason}; check who may read it"
        raise SettingsError([Problem(file=Path(folder), text=text)]) from None


def load_table(table: dict[str, Any], schema: type[T], *, file: Path) -> T:
    """The same for a table that was read already: errors name `file`, and lines when it still can be read."""
    try:
        text = file.read_text()
    except (OSError, ValueError):
        text = ""
    return _Reading([Source(file, text, table)], schema).result(schema)


@frozen(kw_only=True)
class OptionNote:
    """An option as documentation speaks of it: its full name, whether it must be given, its default otherwise."""

    name: str
    required: bool
    default: Any


def options_of(schema: type, before: str = "") -> Iterator[OptionNote]:
    """Every option of a class and of its sections, in order; the parts of a name that the user chooses are `NAME`."""
    for attribute, name in _named_fields(schema):
        inner, _ = _bare(attribute.type)
        if has(inner):
            yield from options_of(inner, f"{before}{name}.")
        elif get_origin(inner) is dict and has(get_args(inner)[1]):
            yield from options_of(get_args(inner)[1], f"{before}{name}.NAME.")
        elif get_origin(inner) is tuple and has(get_args(inner)[0]):
            yield from options_of(get_args(inner)[0], f"{before}{name}.")
        else:
            default = _default_of(attribute)
            yield OptionNote(name=before + name, required=default is NOTHING, default=default)


def _named_fields(schema: Any) -> list[tuple["Attribute[Any]", str]]:
    resolve_types(schema)
    return [(a, _rules_of(a).name or a.name.replace("_", "-")) for a in fields(schema)]


def _rules_of(attribute: "Attribute[Any]") -> _Rules:
    rules: _Rules = attribute.metadata.get("rules", _NO_RULES)
    return rules


def _default_of(attribute: "Attribute[Any]") -> Any:
    default: Any = attribute.default
    return default.factory() if isinstance(default, Factory) else default  # type: ignore[arg-type]


def _bare(kind: Any) -> tuple[Any, bool]:
    """A type without its `| None`, and whether it had that."""
    if get_origin(kind) in (Union, UnionType):
        inner = [part for part in get_args(kind) if part is not NoneType]
        if len(inner) == 1:
            return inner[0], len(get_args(kind)) == 2
    return kind, False


class _Wrong(Exception):
    """A value that does not fit; the text says what to write instead."""


_BAD: Any = object()
_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
_FOUND = {
    str: "text",
    int: "a number",
    float: "a number with a fraction",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


class _Reading:
    """One load: the merged table on its way into values, and the problems met."""

    def __init__(self, sources: Sequence[Source], schema: type) -> None:
        self._sources = sources
        self._all_options = [note.name for note in options_of(schema)]
        self._problems: list[Problem] = []

    def result(self, schema: type[T]) -> T:
        table: dict[str, Any] = {}
        for source in self._sources:
            table = merge(table, source.table)
        found = self._section(table, schema, ())
        if self._problems:
            raise SettingsError(self._problems)
        whole: T = found
        return whole

    def _report(self, place: Place, text: str) -> None:
        source, line = self._where(place)
        self._problems.append(Problem(file=source.file, line=line, option=_spelled(place) or None, text=text))

    def _where(self, place: Place) -> tuple[Source, int | None]:
        """The last file that gives the value, and the line; else those of what is around it."""
        for length in range(len(place), 0, -1):
            for source in reversed(self._sources):
                if source.gives(place[:length]):
                    return source, source.line_of(place[:length])
        return self._sources[0], None

    def _section(self, table: dict[str, Any], schema: Any, place: Place) -> Any:
        known = {name: attribute for attribute, name in _named_fields(schema)}
        for name in table:
            if name not in known:
                self._report((*place, name), self._unknown_text(name, list(known), place))
        values = {a.name: self._field(table, a, (*place, name)) for name, a in known.items()}
        if any(value is _BAD for value in values.values()):
            return _BAD
        try:
            return schema(**values)
        except ValueError as error:
            self._report(place, str(error))
            return _BAD

    def _unknown_text(self, name: str, known: list[str], place: Place) -> str:
        near = get_close_matches(name.lower().replace("_", "-"), known, 1)
        if near:
            return f"there is no such option; did you mean `{near[0]}`?"
        elsewhere = [full for full in self._all_options if full.rpartition(".")[2] == name]
        if elsewhere:
            section = elsewhere[0].rpartition(".")[0]
            right = f"it belongs in [{section}]" if section else "it belongs above the first [section]"
            return f"there is no such option here; {right}"
        here = f"[{_spelled(place)}]" if place else "this file"
        return f"there is no such option; {here} knows {', '.join(sorted(known))}"

    def _field(self, table: dict[str, Any], attribute: "Attribute[Any]", place: Place) -> Any:
        name = place[-1]
        rules = _rules_of(attribute)
        if name in table:
            return self._value(table[str(name)], attribute.type, rules, place)
        default = _default_of(attribute)
        if isinstance(default, Path):
            return self._sources[0].file.absolute().parent / default
        if default is not NOTHING:
            return default
        if has(attribute.type):  # type: ignore[arg-type]
            return self._section({}, attribute.type, place)
        section = f" in [{_spelled(place[:-1])}]" if place[1:] else ""
        example = rules.example or _example(attribute.type)
        self._report(place, f"is missing; write{section} for example `{name} = {example}`")
        return _BAD

    def _value(self, value: Any, kind: Any, rules: _Rules, place: Place) -> Any:
        kind, _ = _bare(kind)
        if has(kind):
            return self._table(value, place, lambda: self._section(value, kind, place))
        if get_origin(kind) is dict:
            return self._table(value, place, lambda: self._named(value, get_args(kind)[1], rules, place))
        if get_origin(kind) in (tuple, frozenset):
            return self._list(value, kind, rules, place)
        try:
            return self._scalar(value, kind, rules, place)
        except _Wrong as error:
            self._report(place, str(error))
            return _BAD

    def _table(self, value: Any, place: Place, read: Callable[[], Any]) -> Any:
        if isinstance(value, dict):
            return read()
        self._report(place, f"must be a table, `[{_spelled(place)}]`, not {_found(value)}")
        return _BAD

    def _named(self, value: dict[str, Any], kind: Any, rules: _Rules, place: Place) -> Any:
        read = {name: self._value(inner, kind, rules, (*place, name)) for name, inner in value.items()}
        return _BAD if any(item is _BAD for item in read.values()) else read

    def _list(self, value: Any, kind: Any, rules: _Rules, place: Place) -> Any:
        if not isinstance(value, list):
            self._report(
                place, f"must be a list, for example [{_example(get_args(kind)[0])}], not {_found(value)}"
            )
            return _BAD
        inner = get_args(kind)[0]
        read = [self._value(item, inner, rules, (*place, index)) for index, item in enumerate(value)]
        return _BAD if any(item is _BAD for item in read) else get_origin(kind)(read)

    def _scalar(self, value: Any, kind: Any, rules: _Rules, place: Place) -> Any:
        if kind is Path:
            return self._path(value, place)
        found = _convert(value, kind, rules)
        _check(found, rules)
        return found

    def _path(self, value: Any, place: Place) -> Path:
        if type(value) is not str or not value or "\0" in value:
            raise _Wrong("must be a path in quotes")
        giver = next(source for source in reversed(self._sources) if source.gives(place))
        return giver.file.absolute().parent / value


def _convert(value: Any, kind: Any, rules: _Rules) -> Any:
    if kind is Any:
        return value
    if rules.unit is not None and type(value) is str:
        value = _in_units(value, rules.unit)
    if kind is float and type(value) is int:
        value = float(value)
    if kind is int and type(value) is float and rules.unit is not None and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        wanted = _WORDS.get(kind, str(kind))
        hint = f' of {rules.unit.name} or text such as "{rules.unit.example}"' if rules.unit else ""
        raise _Wrong(f"must be {wanted}{hint}, not {_found(value)}")
    return value


def _in_units(text: str, unit: Unit) -> float:
    try:
        return unit.parse(text)
    except (ValueError, OverflowError):
        known = ", ".join(name for name in unit.factors if name)
        raise _Wrong(
            f'must be a number of {unit.name} or text such as "{unit.example}" (units: {known}), not "{text[:40]}"'
        ) from None


def _check(value: Any, rules: _Rules) -> None:
    unit = f" {rules.unit.name}" if rules.unit else ""
    if isinstance(value, float) and not math.isfinite(value):
        raise _Wrong("must be a finite number")
    if rules.at_least is not None and value < rules.at_least:
        raise _Wrong(f"must be at least {rules.at_least}{unit}, not {value}")
    if rules.at_most is not None and value > rules.at_most:
        raise _Wrong(f"must be at most {rules.at_most}{unit}, not {value}")
    if rules.one_of is not None and value not in rules.one_of:
        near = get_close_matches(str(value), rules.one_of, 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise _Wrong(f"must be one of {', '.join(rules.one_of)}, not {str(value)[:40]!r}{hint}")
    if rules.check is not None:
        try:
            rules.check(value)
        except ValueError as error:
            raise _Wrong(str(error)) from None


def _found(value: Any) -> str:
    return _FOUND.get(type(value), f"a {type(value).__name__}")


def _example(kind: Any) -> str:
    examples = {str: '"..."', Path: '"/a/path"', int: "10", float: "10", bool: "true"}
    bare, _ = _bare(kind)
    return (
        f"[{_example(get_args(bare)[0])}]"
        if get_origin(bare) in (tuple, frozenset)
        else examples.get(bare, '"..."')
    )


def _spelled(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
