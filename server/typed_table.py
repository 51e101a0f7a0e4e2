"""
From a declaration to tables of typed columns, and from a message to their rows; `typed` says what they are for.

A column holds one plain value. One that stands in a map of known keys is named by its way there, `publisher.username`. What
is repeated has a table of its own, once: what is repeated within that has no columns.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from attrs import field, frozen

from ..wire.api import NEWEST_SERVER_API
from ..wire.declaration import Declaration
from ..wire.errors import Malformed
from ..wire.kinds import (
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    OCTETS,
    TEXT,
    Either,
    Kind,
    ListOf,
    MapOf,
    Record,
    Tuple,
)
from ..wire.message import Message

MOST_TEXT = 1_000
"""Characters of a text, and octets, that a column holds; the message has all of them."""
MOST_COLUMNS = 200
"""Of one table; what a declaration has beyond them has none. SQLite takes 32,766 values in a statement."""
MESSAGE, PLACE, KEY = ":message", ":place", ":key"
_PLACED_BY = {MESSAGE: "INTEGER", PLACE: "INTEGER", KEY: "TEXT"}
"""Columns that say whose row it is; no field can be called so."""
_STORED_AS: dict[Kind, str] = {
    TEXT: "TEXT",
    OCTETS: "BLOB",
    INTEGER: "INTEGER",
    NUMBER: "REAL",
    BOOLEAN: "INTEGER",
}
_CHUNKS = (128, 16, 1)
"""Rows per statement."""

Rows = list[tuple[Any, ...]]


@frozen(kw_only=True, eq=False)
class Table:
    """A table of typed columns, and how a message becomes its rows."""

    name: str
    columns: tuple[tuple[str, Kind], ...]
    split: Callable[[Message], Rows] = field(repr=False)
    place: tuple[str, ...] = ()
    """Columns between the message's id and the typed ones, which say which row it is."""
    width: int = field(init=False, repr=False)
    """How many columns it has in all."""
    insertions: tuple[tuple[int, str], ...] = field(init=False, repr=False)
    """Numbers of rows, and the statements that add so many."""

    @property
    def definition(self) -> str:
        """The statement that makes it: by the message's id, which rises, so that a row is added at the end."""
        lines = [f"{quoted(name)} {_PLACED_BY[name]} NOT NULL" for name in (MESSAGE, *self.place)]
        lines += [f"{quoted(name)} {_STORED_AS[kind]}" for name, kind in self.columns]
        if not self.place:
            return f"CREATE TABLE {quoted(self.name)} ({', '.join(lines)}, PRIMARY KEY ({quoted(MESSAGE)})) STRICT"
        lines.append(f"PRIMARY KEY ({quoted(MESSAGE)}, {quoted(PLACE)})")
        return f"CREATE TABLE {quoted(self.name)} ({', '.join(lines)}) STRICT, WITHOUT ROWID"

    @width.default
    def _count_columns(self) -> int:
        return 1 + len(self.place) + len(self.columns)

    @insertions.default
    def _write_insertions(self) -> tuple[tuple[int, str], ...]:
        row = f"({', '.join('?' * self.width)})"
        start = f"INSERT INTO {quoted(self.name)} VALUES "
        return tuple((count, start + ", ".join([row] * count)) for count in _CHUNKS)


def quoted(name: str) -> str:
    """A name as SQL has it; declarations come from whoever writes plugins."""
    return '"' + name.replace('"', '""') + '"'


def tables_of(declaration: Declaration) -> Iterator[Table]:
    """The tables that follow from a declaration: one for what stands in a message once, one for each thing that is repeated."""
    name = f"typed:{declaration.type}"
    whole = Record(
        tuple((item.name, item.kind, item.required) for item in declaration.fields_at(NEWEST_SERVER_API))
    )
    columns = _columns(whole)
    if columns:
        yield Table(name=name, columns=_named(columns), split=partial(_only_row, _row_reader(columns)))
    for path, kind in _repeated(whole):
        yield from _tables_repeated(f"{name}:{'.'.join(path)}", path, kind)


# columns


@frozen
class _Column:
    """A plain value in a map or in a row: its name, its kind, and the keys or places on the way to it."""

    name: str
    kind: Kind
    first: Any  # the key in a map of the first step, or the place in a row
    rest: tuple[str, ...]


def _columns(kind: Kind) -> tuple[_Column, ...]:
    """What a map or a row has; nothing for other kinds."""
    if isinstance(kind, Record):
        found = [found for key, inner, _ in kind.keys for found in _plain(inner, key, key)]
    elif isinstance(kind, Tuple):
        found = [
            found for place, (name, inner) in enumerate(kind.columns) for found in _plain(inner, name, place)
        ]
    else:
        found = []
    return tuple(found[:MOST_COLUMNS])


def _plain(kind: Kind, name: str, first: Any, rest: tuple[str, ...] = ()) -> Iterator[_Column]:
    """Any: see _Column."""
    known = _not_null(kind)
    if known in _STORED_AS:
        yield _Column(name, known, first, rest)
    elif isinstance(known, Record):
        for key, inner, _ in known.keys:
            yield from _plain(inner, f"{name}.{key}", first, (*rest, key))


def _not_null(kind: Kind) -> Kind:
    """Null is null in any column."""
    others = [option for option in kind.options if option is not NULL] if isinstance(kind, Either) else [kind]
    return others[0] if len(others) == 1 else kind


def _named(columns: Sequence[_Column]) -> tuple[tuple[str, Kind], ...]:
    return tuple((column.name, column.kind) for column in columns)


_Read = tuple[Any, tuple[str, ...], Kind]
"""First step, the steps behind it, kind. Any: see _Column."""


def _reads(columns: Sequence[_Column]) -> list[_Read]:
    return [(column.first, column.rest, column.kind) for column in columns]


def _row_reader(columns: Sequence[_Column]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads the columns of a map."""
    reads = _reads(columns)

    def read(value: Any) -> tuple[Any, ...]:
        get = value.get
        return tuple(
            [
                None if (v := get(first)) is None else _value(kind, _within(v, rest) if rest else v)
                for first, rest, kind in reads
            ]
        )

    return read


def _within(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if type(value) is dict else None
    return value


def _value(kind: Kind, value: Any) -> Any:
    """A value as its column has it; null when it does not fit."""
    if value is None:
        return None
    try:
        fitted = kind.fit(value)
    except Malformed:
        return None
    return fitted[:MOST_TEXT] if kind is TEXT or kind is OCTETS else fitted


# what is repeated

Pick = Callable[[Any], Iterator[tuple[Any, ...]]]
"""Finds the rows in a value, of each the columns that are stored."""


def _repeated(kind: Record, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Kind]]:
    """Lists and maps in a map, also in maps of known keys within it."""
    for key, inner, _ in kind.keys:
        if isinstance(inner, Record):
            yield from _repeated(inner, (*path, key))
        else:
            yield (*path, key), inner


def _tables_repeated(name: str, path: tuple[str, ...], kind: Kind) -> Iterator[Table]:
    """One table, or none where nothing of it can be stored in columns."""
    columns = _columns(_row_of(kind))
    if columns:
        yield Table(
            name=name,
            columns=_named(columns),
            split=_splitter(path, kind, _picker(kind, columns)),
            place=(PLACE, KEY) if isinstance(kind, MapOf) else (PLACE,),
        )


def _splitter(path: tuple[str, ...], kind: Kind, pick: Pick) -> Callable[[Message], Rows]:
    if isinstance(kind, MapOf):
        return partial(_keyed_rows, path, int if kind.by is INTEGER else str, pick)
    return partial(_rows, path, pick)


def _row_of(kind: Kind) -> Kind:
    """What one row holds, of a list or of a map; of a map of lists, what one of theirs holds."""
    if isinstance(kind, MapOf) and isinstance(kind.item, ListOf):
        return kind.item.item
    return kind.item if isinstance(kind, (ListOf, MapOf)) else NULL


def _only_row(read: Callable[[Any], tuple[Any, ...]], message: Message) -> Rows:
    return [read(message)]


def _rows(path: Sequence[str], pick: Pick, message: Message) -> Rows:
    return [(place, *row) for place, row in enumerate(pick(_within(message, path)))]


def _keyed_rows(path: Sequence[str], by: type, pick: Pick, message: Message) -> Rows:
    value = _within(message, path)
    if type(value) is not dict:
        return []
    keyed = [
        (str(key)[:MOST_TEXT], *row) for key, item in value.items() if type(key) is by for row in pick(item)
    ]
    return [(place, *row) for place, row in enumerate(keyed)]


def _picker(kind: Kind, columns: Sequence[_Column]) -> Pick:
    """What finds the rows in a list, or in an item of a map."""
    row = _row_of(kind)
    if isinstance(row, Tuple):
        return partial(_pick_tuples, len(row.kinds), _reads(columns))
    read = _row_reader(columns)
    is_one = isinstance(kind, MapOf) and kind.item is row
    return partial(_pick_map if is_one else _pick_maps, read)


def _pick_tuples(width: int, reads: Sequence[_Read], value: Any) -> Iterator[tuple[Any, ...]]:
    if type(value) is not list and type(value) is not tuple:
        return
    for row in value:
        if (type(row) is list or type(row) is tuple) and len(row) == width:
            yield tuple(
                [
                    _value(kind, _within(row[first], rest) if rest else row[first])
                    for first, rest, kind in reads
                ]
            )


def _pick_maps(read: Callable[[Any], tuple[Any, ...]], value: Any) -> Iterator[tuple[Any, ...]]:
    if type(value) is list or type(value) is tuple:
        for item in value:
            if type(item) is dict:
                yield read(item)


def _pick_map(read: Callable[[Any], tuple[Any, ...]], value: Any) -> Iterator[tuple[Any, ...]]:
    if type(value) is dict:
        yield read(value)
