"""
Maps that travel, as classes: each field says its name on the wire and its kind, once, for both directions.

    @frozen(kw_only=True)
    class Hello:
        oldest: int = field_of(INTEGER)
        events: tuple[str, ...] = field_of(list_of(TEXT), name="event-names", default=())

`to_map` leaves out optional fields that are None. `from_map` ignores fields that it does not know, so that either side
can be newer, and refuses missing and mistyped ones by name.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import NOTHING, Attribute, field, fields

from .errors import Malformed

T = TypeVar("T")
Read = Callable[[Any], Any]
"""
Turns a decoded value into a field's value, or raises Malformed.

The error's text goes on behind the field's name, and so begins with `must` where it can.
"""


def _exactly(kind: type, word: str) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise Malformed(f"must be {word}, not {word_for(value)}")
        return value

    return read


def word_for(value: Any) -> str:
    """What kind of value it is, in people's words."""
    words = {
        str: "text",
        bytes: "octets",
        int: "an integer",
        bool: "true or false",
        list: "a list",
        dict: "a map",
    }
    return "null" if value is None else words.get(type(value), type(value).__name__)


def ANYTHING(value: Any) -> Any:
    """Any value that travels: what it means is between those who say and hear it."""
    return value


TEXT = _exactly(str, "text")
OCTETS = _exactly(bytes, "octets")
BOOLEAN = _exactly(bool, "true or false")
_ALL_OCTETS = frozenset({bytes})
MAP = _exactly(dict, "a map")
_LIST = _exactly(list, "a list")


def integer_of(least: int, most: int) -> Read:
    """An integer of this range, both ends included."""

    def read_integer(value: Any) -> int:
        if type(value) is not int:
            raise Malformed(f"must be an integer, not {word_for(value)}")
        if not least <= value <= most:
            raise Malformed(f"must be from {least} to {most}")
        return value

    return read_integer


INTEGER = integer_of(-(2**63), 2**63 - 1)
"""An integer that a column of a database can hold."""
NATURAL = integer_of(0, 2**63 - 1)
"""The same, of 0 or more."""


def list_of(read: Read) -> Read:
    """A list whose items are all of one kind; becomes a tuple."""

    def read_list(value: Any) -> tuple[Any, ...]:
        if read is OCTETS and _ALL_OCTETS.issuperset(map(type, _LIST(value))):
            return tuple(value)  # a batch of messages: a call per item would cost as much as its decoding
        return tuple(_inside(index, read, item) for index, item in enumerate(_LIST(value)))

    return read_list


def map_of(cls: type[T]) -> Read:
    """A map that is itself such a class."""

    def read_map(value: Any) -> T:
        return from_map(cls, MAP(value))

    return read_map


def optional(read: Read) -> Read:
    """The same, or null."""

    def read_optional(value: Any) -> Any:
        return None if value is None else read(value)

    return read_optional


def field_of(
    read: Read, *, name: str | None = None, default: Any = NOTHING, write: Read | None = None
) -> Any:
    """
    A field of a class that travels.

    `name` is its key on the wire where that is not the attribute's name with dashes; a field with a `default` may be
    missing; `write` turns the attribute into what is encoded.
    """
    return field(default=default, metadata={"read": read, "name": name, "write": write})


def to_map(value: Any) -> dict[str, Any]:
    """The map of a value whose class has `field_of` fields."""
    found = {}
    for attribute, key, _, write in _columns(type(value)):
        item = getattr(value, attribute.name)
        if item is not None:
            found[key] = write(item) if write else _plain(item)
    return found


def from_map(cls: type[T], value: Any) -> T:
    """
    The value of a class that a peer's map stands for.

    Raises Malformed with the path of the field that is missing or wrong, such as `refused`[3].`code`.
    """
    if type(value) is not dict:
        raise Malformed(f"{cls.__name__} must be a map, not {word_for(value)}")
    arguments = {}
    for attribute, key, read, _ in _columns(cls):
        if key in value:
            arguments[attribute.name] = _inside(key, read, value[key])
        elif attribute.default is NOTHING:
            raise Malformed(f"`{key}` is missing")
    return cls(**arguments)


_COLUMNS: dict[type, tuple[tuple["Attribute[Any]", str, Read, Read | None], ...]] = {}


def _columns(cls: Any) -> tuple[tuple["Attribute[Any]", str, Read, Read | None], ...]:
    """Attribute, key, reader and writer of each field, worked out once per class."""
    if cls not in _COLUMNS:
        _COLUMNS[cls] = tuple(
            (a, a.metadata["name"] or a.name.replace("_", "-"), a.metadata["read"], a.metadata["write"])
            for a in fields(cls)
        )
    return _COLUMNS[cls]


def _plain(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_plain(inner) for inner in item]
    return to_map(item) if hasattr(type(item), "__attrs_attrs__") else item


def _inside(key: str | int, read: Read, value: Any) -> Any:
    """What is read, or the error with its place in front: a path goes on, a sentence follows."""
    try:
        return read(value)
    except Malformed as error:
        text = str(error)
        place = f"[{key}]" if isinstance(key, int) else f"`{key}`"
        raise Malformed(place + _joint(text) + text) from None


def _joint(text: str) -> str:
    if text.startswith("["):
        return ""
    if text.startswith("`"):
        return "."
    return " " if text.startswith("must") else ": "
