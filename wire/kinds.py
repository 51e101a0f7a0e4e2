"""
Kinds of fields: what a message's declaration says that a field holds, and how a value is made to hold it.

Each is written as people write it in a declaration, and `kind_of` reads that again:

    text  octets  integer  number  boolean  anything
    list of KIND                        map of KIND                 keys are text
    rows of time integer, load number                               lists of so many values of simple kinds

Text and octets are taken for each other where nothing is lost by it: a peer that mixes them up is understood, and what is stored
or sent has what the declaration says (landscape 1.6). Nothing else is turned into anything.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from .errors import Malformed
from .schema import INTEGER as _INTEGER
from .schema import word_for

_MAP_OF = "map of "


@frozen
class Kind:
    """What a field holds."""

    word: str
    fit: Callable[[Any], Any] = field(eq=False, repr=False)
    """
    The value as this kind has it: the very same object when it is so already.

    Raises Malformed with a text that goes on behind the field's name.
    """
    columns: tuple[tuple[str, "Kind"], ...] = ()
    """Names and kinds of the values in a row; only of rows."""
    item: "Kind | None" = None
    """What each value in it is; only of lists and maps."""

    @property
    def is_map(self) -> bool:
        """Whether its values stand under keys."""
        return self.word.startswith(_MAP_OF)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is not bytes:
        raise Malformed(f"must be text, not {word_for(value)}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Malformed("must be text, not octets that are no UTF-8") from None


def _octets(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is not str:
        raise Malformed(f"must be octets, not {word_for(value)}")
    return value.encode()


def _integer(value: Any) -> int:
    found: int = _INTEGER(value)
    return found


def _number(value: Any) -> float:
    return value if type(value) is float else _integer_or_number(value)


def _integer_or_number(value: Any) -> int:
    if type(value) is not int:
        raise Malformed(f"must be a number, not {word_for(value)}")
    return _integer(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Malformed(f"must be true or false, not {word_for(value)}")
    return value


TEXT = Kind("text", _text)
OCTETS = Kind("octets", _octets)
INTEGER = Kind("integer", _integer)
NUMBER = Kind("number", _number)
BOOLEAN = Kind("boolean", _boolean)
ANYTHING = Kind("anything", lambda value: value)
SIMPLE = {kind.word: kind for kind in (TEXT, OCTETS, INTEGER, NUMBER, BOOLEAN, ANYTHING)}
"""By the word that a declaration has for them."""


def list_of(item: Kind) -> Kind:
    """A list whose items are all of one kind."""

    def fit(value: Any) -> Any:
        fitted = [_fit_inside(item, index, one) for index, one in enumerate(_sequence(value))]
        return _same_or(value, fitted)

    return Kind(f"list of {item.word}", fit, item=item)


def map_of(item: Kind) -> Kind:
    """A map from text, whose values are all of one kind."""

    def fit(value: Any) -> Any:
        if type(value) is not dict:
            raise Malformed(f"must be a map, not {word_for(value)}")
        fitted = {_fit_inside(TEXT, "a key", key): _fit_inside(item, key, one) for key, one in value.items()}
        same = all(old is new and value[old] is fitted[new] for old, new in zip(value, fitted, strict=False))
        return value if same and len(value) == len(fitted) else fitted

    return Kind(_MAP_OF + item.word, fit, item=item)


def rows_of(**columns: Kind) -> Kind:
    """A list of rows, each a list of as many values."""
    kinds = tuple(columns.values())

    def fit_row(row: Any) -> Any:
        values = _sequence(row)
        if len(values) != len(kinds):
            raise Malformed(f"must have {len(kinds)} values, not {len(values)}")
        return _same_or(
            row,
            [
                _fit_inside(kind, place, one)
                for place, (kind, one) in enumerate(zip(kinds, values, strict=True))
            ],
        )

    named = ", ".join(f"{name.replace('_', '-')} {kind.word}" for name, kind in columns.items())
    row = Kind(f"row of {named}", fit_row)
    return Kind(
        f"rows of {named}",
        list_of(row).fit,
        columns=tuple((name.replace("_", "-"), kind) for name, kind in columns.items()),
    )


def _sequence(value: Any) -> Sequence[Any]:
    if type(value) is not list and type(value) is not tuple:
        raise Malformed(f"must be a list, not {word_for(value)}")
    found: Sequence[Any] = value
    return found


def _same_or(value: Sequence[Any], fitted: list[Any]) -> Any:
    same = all(old is new for old, new in zip(value, fitted, strict=True))
    return value if same else fitted


def _fit_inside(kind: Kind, place: Any, value: Any) -> Any:
    try:
        return kind.fit(value)
    except Malformed as error:
        raise Malformed(f"[{str(place)[:40]}] {error}") from None


_COLUMN = re.compile(r"([a-z][a-z0-9-]{0,63}) ([a-z]+)", re.ASCII)
_MOST_DEPTH = 8


def kind_of(word: str) -> Kind:
    """
    The kind that a declaration's word stands for.

    Raises Malformed, naming the words that there are.
    """
    return _kind_of(word, _MOST_DEPTH)


def _kind_of(word: str, depth: int) -> Kind:
    simple = SIMPLE.get(word)
    if simple is not None:
        return simple
    for start, make in (("list of ", list_of), (_MAP_OF, map_of)):
        if word.startswith(start) and depth:
            return make(_kind_of(word.removeprefix(start), depth - 1))
    if word.startswith("rows of "):
        return _rows(word)
    known = ", ".join((*SIMPLE, "list of ...", "map of ...", "rows of NAME KIND, NAME KIND"))
    raise Malformed(f"{word[:60]!r} is no kind; there are {known}")


def _rows(word: str) -> Kind:
    columns: dict[str, Kind] = {}
    for part in word.removeprefix("rows of ").split(","):
        found = _COLUMN.fullmatch(part.strip())
        if found is None or found[2] not in SIMPLE or found[1].replace("-", "_") in columns:
            raise Malformed(
                f"{part.strip()[:60]!r} is no column; write a name and one of {', '.join(SIMPLE)}, each name once"
            )
        columns[found[1].replace("-", "_")] = SIMPLE[found[2]]
    return rows_of(**columns)
