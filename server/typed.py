"""
Typed columns: the fields of declared messages, beside the messages, so that they can be asked for.

The message itself is stored whole, as CBOR, and is what counts. From the declaration of its type (`wire.declaration`) follow tables
that repeat what is in it:

    "typed:computer-info"                  ":message", hostname, kernel, ...     a row per message: what it has once
    "typed:cpu-usage:cpu-usages"           ":message", ":place", time, load      a row per row, or per map, of a list
    "typed:network-activity:activities"    ":message", ":place", ":key", ...     where the field is a map of such

A table is made, and filled from what is stored, when its type is declared; made anew when the declaration changes; dropped when
it is gone. What does not fit its declaration is null there, or has no row: a computer's mistake never keeps its
message from being stored. Lists of plain values, and what is repeated within a row, have no columns.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from sqlite3 import Connection
from typing import Any

from ..wire import cbor
from ..wire.declaration import Catalogue
from ..wire.errors import Malformed
from ..wire.kinds import BOOLEAN, INTEGER, NUMBER, OCTETS, TEXT, Kind
from ..wire.message import Message
from .typed_table import KEY, MESSAGE, MOST_TEXT, Rows, Table, quoted, tables_of

_END_OF_INTEGERS = 2**63
_REFILL = 1_000
"""Messages that are read at a time to fill a new table."""

Parts = Sequence[tuple[Table, Rows]]
"""What of one message goes into which tables, the message's own id still missing."""


class Typed:
    """All tables of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._tables = {kind: tuple(tables_of(one)) for kind, one in catalogue.declarations.items()}
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
        where = f"{quoted(MESSAGE)} > ? AND {quoted(column)} {comparison or '='} ?"
        inner = f"SELECT {quoted(MESSAGE)} FROM {quoted(table)} WHERE {where}"
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


# searches

_BOUNDS = {"min": ">=", "max": "<="}


def _searchable(tables: Iterable[Table]) -> dict[str, tuple[str, str, Kind]]:
    """By the name that a search has for it: table, column, kind."""
    found: dict[str, tuple[str, str, Kind]] = {}
    for table in tables:
        before = f"{table.name.rpartition(':')[2]}." if table.place else ""
        if KEY in table.place:
            found[f"{before}key"] = (table.name, KEY, TEXT)
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
_WANTED: dict[Kind, str] = {
    TEXT: "text",
    OCTETS: "octets in base64",
    INTEGER: "an integer of 64 bits",
    NUMBER: "a number",
    BOOLEAN: "true or false",
}
