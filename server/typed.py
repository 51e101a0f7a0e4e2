"""
Typed columns: the fields of declared messages, beside the messages, so that they can be asked for.

The message itself is stored whole, as CBOR, and is what counts. From the declaration of its type (`wire.declaration`) follow tables
that repeat what is in it:

    "typed:computer-info"                  ":message", hostname, kernel, ...     a row per message: its plain fields
    "typed:cpu-usage:cpu-usages"           ":message", ":place", time, load      a row per row of a field made of rows
    "typed:network-activity:activities"    ":message", ":place", ":key", ...     where the field is a map of such

A table is made, and filled from what is stored, when its type is declared; made anew when the declaration changes; dropped when
it is gone. What does not fit its declaration is null there, or has no row: a computer's mistake never keeps its
message from being stored. Other lists and maps have no columns.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from sqlite3 import Connection
from typing import Any

from attrs import field, frozen

from ..wire import cbor
from ..wire.api import NEWEST_SERVER_API
from ..wire.declaration import Catalogue, Declaration, Field
from ..wire.errors import Malformed
from ..wire.kinds import BOOLEAN, INTEGER, NUMBER, OCTETS, TEXT, Kind
from ..wire.message import Message

MOST_TEXT = 1_000
"""Characters of a text, and octets, that a column holds; the message has all of them."""
_STORED_AS = {TEXT: "TEXT", OCTETS: "BLOB", INTEGER: "INTEGER", NUMBER: "REAL", BOOLEAN: "INTEGER"}
_END_OF_INTEGERS = 2**63
_MESSAGE, _PLACE, _KEY = ":message", ":place", ":key"
_PLACED_BY = {_MESSAGE: "INTEGER", _PLACE: "INTEGER", _KEY: "TEXT"}
"""Columns that say whose row it is; no field can be called so."""
_CHUNKS = (128, 16, 1)
"""Rows per statement."""
_REFILL = 1_000
"""Messages that are read at a time to fill a new table."""

Rows = list[tuple[Any, ...]]
Parts = Sequence[tuple["Table", Rows]]
"""What of one message goes into which tables, the message's own id still missing."""


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
        lines = [f"{quoted(name)} {_PLACED_BY[name]} NOT NULL" for name in (_MESSAGE, *self.place)]
        lines += [f"{quoted(name)} {_STORED_AS[kind]}" for name, kind in self.columns]
        if not self.place:
            return f"CREATE TABLE {quoted(self.name)} ({', '.join(lines)}, PRIMARY KEY ({quoted(_MESSAGE)})) STRICT"
        lines.append(f"PRIMARY KEY ({quoted(_MESSAGE)}, {quoted(_PLACE)})")
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


class Typed:
    """All tables of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._tables = {kind: tuple(_tables_of(one)) for kind, one in catalogue.declarations.items()}
        self._fields = {kind: _searchable(tables) for kind, tables in self._tables.items()}

    def parts(self, message: Message) -> Parts | None:
        """What of a message goes into which tables; None for nothing."""
        tables = self._tables.get(message["type"])
        if not tables:
            return None
        return [(table, table.split(message)) for table in tables]

    def prepare_txn(self, txn: Connection) -> None:
        """Bring the tables of a database in line with the declarations."""
        there = dict(txn.execute("SELECT name, definition FROM typed_table").fetchall())
        wanted = {table.name: table.definition for tables in self._tables.values() for table in tables}
        for name in there.keys() - {name for name, text in wanted.items() if there.get(name) == text}:
            txn.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
            txn.execute("DELETE FROM typed_table WHERE name = ?", (name,))
        for kind, tables in self._tables.items():
            missing = [table for table in tables if there.get(table.name) != table.definition]
            for table in missing:
                txn.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
                txn.execute(table.definition)
                txn.execute("INSERT INTO typed_table VALUES (?, ?)", (table.name, table.definition))
            if missing:
                _fill_txn(txn, kind, missing)

    def condition(self, kind: str, name: str, text: str) -> tuple[str, Any]:
        """
        What a search by a field asks of the table `message`, with a `?` for the id behind which it searches, and the value for
        another.

        `name` is FIELD or, of rows, FIELD.COLUMN; with `.min` or `.max` behind it bounds are meant. Raises Malformed.
        """
        fields = self._fields.get(kind)
        if fields is None:
            raise Malformed(f"`type` {kind[:60]!r} is not declared, so its fields cannot be asked for")
        base, _, bound = name.rpartition(".")
        comparison = _BOUNDS.get(bound) if base in fields else None
        found = fields.get(base if comparison else name)
        if found is None or (comparison and found[2] not in (INTEGER, NUMBER)):
            known = ", ".join(fields) or "none"
            raise Malformed(
                f"{name[:60]!r} of {kind} cannot be asked for; known are {known}, and of numbers NAME.min, NAME.max"
            )
        table, column, value = found[0], found[1], _read_text(name, found[2], text)
        where = f"{quoted(_MESSAGE)} > ? AND {quoted(column)} {comparison or '='} ?"
        inner = f"SELECT {quoted(_MESSAGE)} FROM {quoted(table)} WHERE {where}"
        return f"id IN ({inner})", value


def store_parts_txn(txn: Connection, parts: Iterable[tuple[int, Parts | None]]) -> None:
    """Add the rows of messages, each with its id."""
    gathered: defaultdict[Table, list[Any]] = defaultdict(list)
    for message, each in parts:
        for table, rows in each or ():
            values = gathered[table]
            for row in rows:
                values.append(message)
                values += row
    for table, values in gathered.items():
        _insert_txn(txn, table, values)


def _insert_txn(txn: Connection, table: Table, values: list[Any]) -> None:
    start = 0
    for count, statement in table.insertions:
        size = count * table.width
        while len(values) - start >= size:
            txn.execute(statement, values[start : start + size])
            start += size


def _fill_txn(txn: Connection, kind: str, tables: Sequence[Table]) -> None:
    query = "SELECT id, body FROM message WHERE type = ? AND id > ? ORDER BY id LIMIT ?"
    last = 0
    while found := txn.execute(query, (kind, last, _REFILL)).fetchall():
        last = found[-1][0]
        messages = [(number, cbor.decode(body)) for number, body in found]
        store_parts_txn(
            txn, ((number, [(t, t.split(message)) for t in tables]) for number, message in messages)
        )


# from a declaration to tables


def _tables_of(declaration: Declaration) -> Iterator[Table]:
    plain = [item for item in declaration.fields_at(NEWEST_SERVER_API) if item.kind in _STORED_AS]
    if plain:
        columns = tuple((item.name, item.kind) for item in plain)
        yield Table(name=f"typed:{declaration.type}", columns=columns, split=_plain_rows(plain))
    for item in declaration.fields_at(NEWEST_SERVER_API):
        name = f"typed:{declaration.type}:{item.name}"
        if item.kind.columns:
            yield _row_table(name, item.kind, (_PLACE,), _rows(item.name, item.kind))
        elif item.kind.is_map and item.kind.item is not None and item.kind.item.columns:
            rows = item.kind.item
            yield _row_table(name, rows, (_PLACE, _KEY), _keyed_rows(item.name, rows))


def _row_table(name: str, rows: Kind, place: tuple[str, ...], split: Callable[[Message], Rows]) -> Table:
    columns = tuple((column, kind) for column, kind in rows.columns if kind in _STORED_AS)
    return Table(name=name, columns=columns, split=split, place=place)


def _plain_rows(fields: Sequence[Field]) -> Callable[[Message], Rows]:
    reads = [(item.name, item.kind) for item in fields]

    def split(message: Message) -> Rows:
        get = message.get
        return [tuple([None if (v := get(name)) is None else _column(kind, v) for name, kind in reads])]

    return split


def _column(kind: Kind, value: Any) -> Any:
    """A value as its column has it; null when it does not fit."""
    if value is None:
        return None
    try:
        fitted = kind.fit(value)
    except Malformed:
        return None
    return fitted[:MOST_TEXT] if kind is TEXT or kind is OCTETS else fitted


def _rows(name: str, kind: Kind) -> Callable[[Message], Rows]:
    pick = _picker(kind)

    def split(message: Message) -> Rows:
        return [(place, *row) for place, row in enumerate(pick(message.get(name)))]

    return split


def _keyed_rows(name: str, kind: Kind) -> Callable[[Message], Rows]:
    pick = _picker(kind)

    def split(message: Message) -> Rows:
        value = message.get(name)
        if type(value) is not dict:
            return []
        keyed = [
            (key[:MOST_TEXT], *row) for key, rows in value.items() if type(key) is str for row in pick(rows)
        ]
        return [(place, *row) for place, row in enumerate(keyed)]

    return split


def _picker(kind: Kind) -> Callable[[Any], Iterator[tuple[Any, ...]]]:
    """What finds the rows in a value, of each the columns that are stored."""
    picked = [(place, inner) for place, (_, inner) in enumerate(kind.columns) if inner in _STORED_AS]
    width = len(kind.columns)

    def pick(value: Any) -> Iterator[tuple[Any, ...]]:
        if type(value) is not list and type(value) is not tuple:
            return
        for row in value:
            if (type(row) is list or type(row) is tuple) and len(row) == width:
                yield tuple([_column(inner, row[place]) for place, inner in picked])

    return pick


# searches

_BOUNDS = {"min": ">=", "max": "<="}


def _searchable(tables: Iterable[Table]) -> dict[str, tuple[str, str, Kind]]:
    """By the name that a search has for it: table, column, kind."""
    found: dict[str, tuple[str, str, Kind]] = {}
    for table in tables:
        before = f"{table.name.rpartition(':')[2]}." if table.place else ""
        if _KEY in table.place:
            found[f"{before}key"] = (table.name, _KEY, TEXT)
        found |= {f"{before}{name}": (table.name, name, kind) for name, kind in table.columns}
    return found


def _read_text(name: str, kind: Kind, text: str) -> Any:
    try:
        return _READERS[kind](text)
    except (ValueError, KeyError):
        raise Malformed(f"`{name}` must be {_WANTED[kind]}, not {text[:30]!r}") from None


def _integer(text: str) -> int:
    found = int(text) if text.isascii() and "_" not in text and len(text) < 21 else None
    if found is None or not -_END_OF_INTEGERS <= found < _END_OF_INTEGERS:
        raise ValueError(text)
    return found


def _number(text: str) -> float:
    if "_" in text or not isfinite(found := float(text)):
        raise ValueError(text)
    return found


_READERS: dict[Kind, Callable[[str], Any]] = {
    TEXT: lambda text: text[:MOST_TEXT],
    OCTETS: lambda text: b64decode(text, validate=True)[:MOST_TEXT],
    INTEGER: _integer,
    NUMBER: _number,
    BOOLEAN: {"true": 1, "false": 0}.__getitem__,
}
_WANTED = {
    TEXT: "text",
    OCTETS: "octets in base64",
    INTEGER: "an integer of 64 bits",
    NUMBER: "a number",
    BOOLEAN: "true or false",
}
