"""
Kinds of fields: what a message's declaration says that a field holds, and how a value is made to hold it.

Each is written as people write it in a declaration, and `kind_words.kind_of` reads that again:

    text  octets  integer  number  boolean  anything  null  nothing
    list of KIND
    map of KIND                                 by text; `map by integer of KIND`; `map by octets of KIND`
    rows of time integer, load number           lists of so many values, each with a name
    (integer, text)                             a list of so many values
    {name text, size? integer}                  a map of these keys and no others; what has a `?` may be missing
    {name text, ...}                            a map of these keys and whatever else
    integer or null                             one or another: the first that takes a value as it is, or at all

Text and octets are taken for each other where nothing is lost by it: a peer that mixes them up is understood, and what is stored
or sent has what the declaration says (landscape 1.6). Nothing else is turned into anything.

`fit` gives what we store; `write` what Landscape's client would send for it: its rows are tuples, its maps hold what is declared
alone, and some have octets for keys. Those we keep as text, as every reader of its encoding shows them (landscape 1.2).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from .errors import Malformed
from .schema import INTEGER as _INTEGER
from .schema import word_for


class Kind:
    """What a field holds. Kinds are equal when they say the same."""

    __slots__ = ()

    @property
    def word(self) -> str:
        """As a declaration says it."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and self.word == other.word

    def __hash__(self) -> int:
        return hash(self.word)

    def __repr__(self) -> str:
        return f"<{self.word}>"

    def fit(self, value: Any, /) -> Any:
        """
        The value as this kind has it: the very same object when it is so already.

        Raises Malformed with a text that goes on behind the field's name.
        """
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        """A value that fits, as Landscape's client would send it."""
        return value


@frozen(eq=False, repr=False)
class Simple(Kind):
    """One value."""

    word: str
    fit: Callable[[Any], Any]


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


def _null(value: Any) -> None:
    if value is not None:
        raise Malformed(f"must be null, not {word_for(value)}")


def _nothing(value: Any) -> Any:
    raise Malformed(f"must not be there, and is {word_for(value)}")


TEXT = Simple("text", _text)
OCTETS = Simple("octets", _octets)
INTEGER = Simple("integer", _integer)
NUMBER = Simple("number", _number)
BOOLEAN = Simple("boolean", _boolean)
ANYTHING = Simple("anything", lambda value: value)
NULL = Simple("null", _null)
NOTHING = Simple("nothing", _nothing)
"""No value at all: a list of nothing is empty."""
SIMPLE = {kind.word: kind for kind in (TEXT, OCTETS, INTEGER, NUMBER, BOOLEAN, ANYTHING, NULL, NOTHING)}
"""By the word that a declaration has for them."""


@frozen(eq=False, repr=False)
class ListOf(Kind):
    """A list whose items are all of one kind."""

    item: Kind

    @property
    def word(self) -> str:
        """See Kind."""
        if isinstance(self.item, Tuple) and self.item.columns:
            return "rows of " + ", ".join(f"{name} {kind.word}" for name, kind in self.item.columns)
        return f"list of {self.item.word}"

    def fit(self, value: Any, /) -> Any:
        """See Kind."""
        item = self.item
        return _same_or(value, [_fit_inside(item, index, one) for index, one in enumerate(_sequence(value))])

    def write(self, value: Any) -> Any:
        """See Kind."""
        return list(map(self.item.write, value))


@frozen(eq=False, repr=False)
class MapOf(Kind):
    """A map whose values are all of one kind. Its keys are text or integers; octets are text that is written as octets."""

    item: Kind
    by: Kind = TEXT

    @property
    def word(self) -> str:
        """See Kind."""
        by = "" if self.by is TEXT else f"by {self.by.word} "
        return f"map {by}of {self.item.word}"

    def fit(self, value: Any, /) -> Any:
        """See Kind."""
        if type(value) is not dict:
            raise Malformed(f"must be a map, not {word_for(value)}")
        by = INTEGER if self.by is INTEGER else TEXT
        fitted = {
            _fit_inside(by, "a key", key): _fit_inside(self.item, key, one) for key, one in value.items()
        }
        same = all(old is new and value[old] is fitted[new] for old, new in zip(value, fitted, strict=False))
        return value if same and len(value) == len(fitted) else fitted

    def write(self, value: Any) -> Any:
        """See Kind."""
        if self.by is OCTETS:  # in ASCII: other octets for a key, and its reader fails (landscape 1.2)
            return {
                key.encode("ascii", "backslashreplace"): self.item.write(one) for key, one in value.items()
            }
        return {key: self.item.write(one) for key, one in value.items()}


@frozen(eq=False, repr=False)
class Tuple(Kind):
    """A list of so many values, each of its own kind; in rows each with its name."""

    kinds: tuple[Kind, ...]
    names: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """See Kind."""
        return f"({', '.join(kind.word for kind in self.kinds)})"

    @property
    def columns(self) -> tuple[tuple[str, Kind], ...]:
        """Names and kinds."""
        return tuple(zip(self.names, self.kinds, strict=True)) if self.names else ()

    def fit(self, value: Any, /) -> Any:
        """See Kind."""
        values = _sequence(value)
        if len(values) != len(self.kinds):
            raise Malformed(f"must have {len(self.kinds)} values, not {len(values)}")
        fitted = [
            _fit_inside(kind, place, one)
            for place, (kind, one) in enumerate(zip(self.kinds, values, strict=True))
        ]
        return _same_or(value, fitted)

    def write(self, value: Any) -> Any:
        """See Kind."""
        return tuple(kind.write(one) for kind, one in zip(self.kinds, value, strict=True))


@frozen(eq=False, repr=False)
class Record(Kind):
    """A map of keys that are known: name, kind, whether it must be there."""

    keys: tuple[tuple[str, Kind, bool], ...]
    loose: bool = False
    """Whether there may be others."""

    @property
    def word(self) -> str:
        """See Kind."""
        keys = [f"{name}{'' if needed else '?'} {kind.word}" for name, kind, needed in self.keys]
        return f"{{{', '.join(keys + ['...'] * self.loose)}}}"

    def fit(self, value: Any, /) -> Any:
        """See Kind."""
        if type(value) is not dict:
            raise Malformed(f"must be a map, not {word_for(value)}")
        changed = {}
        known = 0
        for name, kind, needed in self.keys:
            if name in value:
                known += 1
                fitted = _fit_inside(kind, name, value[name])
                if fitted is not value[name]:
                    changed[name] = fitted
            elif needed:
                raise Malformed(f"needs a `{name}` ({kind.word})")
        if known < len(value) and not self.loose:
            names = {name for name, _, _ in self.keys}
            other = next(key for key in value if key not in names)
            raise Malformed(f"must not have a {str(other)[:40]!r}")
        return {**value, **changed} if changed else value

    def write(self, value: Any) -> Any:
        """See Kind."""
        return {name: kind.write(value[name]) for name, kind, _ in self.keys if name in value}


@frozen(eq=False, repr=False)
class Either(Kind):
    """What one of several takes."""

    options: tuple[Kind, ...]

    @property
    def word(self) -> str:
        """See Kind."""
        *others, last = (option.word for option in self.options)
        closed = [f"({word})" if " " in word and word[0] not in "({" else word for word in others]
        return " or ".join((*closed, last))

    def fit(self, value: Any, /) -> Any:
        """See Kind."""
        return self._taken(value)[1]

    def write(self, value: Any) -> Any:
        """See Kind."""
        return self._taken(value)[0].write(value)

    def _taken(self, value: Any) -> "tuple[Kind, Any]":
        """Any: whatever travels. Text stays text, and octets octets, where both may be."""
        found = None
        for option in self.options:
            try:
                fitted = option.fit(value)
            except Malformed:
                continue
            if fitted is value:
                return option, value
            found = found or (option, fitted)
        if found is None:
            raise Malformed(f"must be {self.word}, not {word_for(value)}")
        return found


def list_of(item: Kind) -> Kind:
    """A list whose items are all of one kind."""
    return ListOf(item)


def map_of(item: Kind, *, by: Kind = TEXT) -> Kind:
    """A map whose values are all of one kind."""
    return MapOf(item, by)


def tuple_of(*kinds: Kind) -> Kind:
    """A list of so many values."""
    return Tuple(kinds)


def rows_of(**columns: Kind) -> Kind:
    """A list of rows, each a list of as many values; dashes in a name are underscores here."""
    return ListOf(Tuple(tuple(columns.values()), tuple(name.replace("_", "-") for name in columns)))


def record_of(keys: Mapping[str, Kind], *, loose: bool = False) -> Kind:
    """A map of these keys; what has a `?` behind its name may be missing."""
    return Record(
        tuple((name.rstrip("?"), kind, not name.endswith("?")) for name, kind in keys.items()), loose
    )


def either(*options: Kind) -> Kind:
    """What one of these takes: the first."""
    return Either(options)


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
