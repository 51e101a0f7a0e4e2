"""Reading what a declaration says of a kind; `kinds` has the words and what they mean."""

import re
from collections.abc import Callable
from typing import TypeVar

from .errors import Malformed
from .kinds import INTEGER, OCTETS, SIMPLE, TEXT, Either, Kind, ListOf, MapOf, Record, Tuple

T = TypeVar("T")

MOST_CHARACTERS = 2_000
_MOST_DEPTH = 8
_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_-]*|\.\.\.|[{}(),?])", re.ASCII)
_COLUMN = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_KEYS_OF_MAPS = {"text": TEXT, "integer": INTEGER, "octets": OCTETS}
_END = ""


def kind_of(word: str) -> Kind:
    """
    The kind that a declaration's words stand for.

    Raises Malformed, naming the words that there are.
    """
    if len(word) > MOST_CHARACTERS:
        raise Malformed(f"a kind may have {MOST_CHARACTERS} characters, not {len(word)}")
    try:
        reader = _Reader(_tokens(word))
        found = reader.kind(_MOST_DEPTH)
        reader.take(_END)
    except _Unread as error:
        known = ", ".join(SIMPLE)
        raise Malformed(
            f"{word[:60]!r} is no kind{error}; there are {known}, `list of ...`, `map of ...`, "
            "`rows of NAME KIND, NAME KIND`, `{NAME KIND, NAME? KIND}`, `(KIND, KIND)`, `KIND or KIND`"
        ) from None
    return found


class _Unread(Exception):
    """These words are no kind; the text says why, where there is more to say."""


def _tokens(word: str) -> list[str]:
    found = []
    place = 0
    while word[place:].strip():
        token = _TOKEN.match(word, place)
        if token is None:
            raise _Unread
        found.append(token[1])
        place = token.end()
    return found


class _Reader:
    """Tokens, read from the left; `depth` is how much deeper kinds may be nested."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, _END]
        self._place = 0

    def take(self, *wanted: str) -> None:
        """Read these."""
        for token in wanted:
            if self._tokens[self._place] != token:
                raise _Unread
            self._place += token != _END

    def _takes(self, token: str) -> bool:
        """Read this one if it comes next."""
        found = self._tokens[self._place] == token
        self._place += found
        return found

    def _next(self) -> str:
        token = self._tokens[self._place]
        self._place += token != _END
        return token

    def kind(self, depth: int) -> Kind:
        """A kind, or several with `or` between them."""
        options = [self._one(depth)]
        while self._takes("or"):
            options.append(self._one(depth))
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _one(self, depth: int) -> Kind:
        token = self._next()
        if not depth:
            raise _Unread(": it is nested too deep")
        if token in SIMPLE:
            return SIMPLE[token]
        read = {"list": self._list, "map": self._map, "rows": self._rows, "(": self._tuple, "{": self._record}
        if token not in read:
            raise _Unread
        return read[token](depth - 1)

    def _list(self, depth: int) -> Kind:
        self.take("of")
        return ListOf(self.kind(depth))

    def _map(self, depth: int) -> Kind:
        by = _KEYS_OF_MAPS.get(self._next()) if self._takes("by") else TEXT
        if by is None:
            raise _Unread(f": the keys of a map are {', '.join(_KEYS_OF_MAPS)}")
        self.take("of")
        return MapOf(self.kind(depth), by)

    def _rows(self, depth: int) -> Kind:
        self.take("of")
        columns = self._listed(lambda: (self._name(_COLUMN), self.kind(depth)))
        _check_names([name for name, _ in columns])
        return ListOf(Tuple(tuple(kind for _, kind in columns), tuple(name for name, _ in columns)))

    def _tuple(self, depth: int) -> Kind:
        kinds = self._listed(lambda: self.kind(depth))
        self.take(")")
        return kinds[0] if len(kinds) == 1 else Tuple(tuple(kinds))

    def _record(self, depth: int) -> Kind:
        if self._takes("}"):
            return Record(())
        keys = self._listed(lambda: None if self._takes("...") else self._key(depth))
        self.take("}")
        known = tuple(key for key in keys if key is not None)
        if None in keys[:-1]:
            raise _Unread(": `...` comes last")
        _check_names([name for name, _, _ in known])
        return Record(known, loose=len(known) < len(keys))

    def _key(self, depth: int) -> tuple[str, Kind, bool]:
        name = self._name(_KEY)
        needed = not self._takes("?")
        return name, self.kind(depth), needed

    def _name(self, form: "re.Pattern[str]") -> str:
        name = self._next()
        if not form.fullmatch(name):
            raise _Unread(f": {name[:30]!r} is no name")
        return name

    def _listed(self, read: Callable[[], T]) -> list[T]:
        """One or more, with commas between them."""
        found = [read()]
        while self._takes(","):
            found.append(read())
        return found


def _check_names(names: list[str]) -> None:
    if len({name.lower() for name in names}) < len(names):
        raise _Unread(": each name may be there once, whatever its spelling")
