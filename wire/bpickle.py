"""
Values in bpickle, the encoding of Landscape's exchange (landscape 1.2), strictly.

One octet says the type, then: `n`; `b` and a digit; `i` or `f`, the number, `;`; `s` or `u`, the length in octets, `:`,
the octets; `l`, `t` or `d`, the items, `;`. Maps are sorted by key. There is no outer length and no checksum.

The decoder that this encoding came with takes more than its encoder ever writes. Ours takes what an encoder writes and
nothing else, with three exceptions: keys in octets become text, because peers on Python 2 wrote all keys so; a float may have any
decimals, because Pythons differ in how many they write; and keys may come in any order, since nothing depends on it. Refused, where
the old one was loose: cut strings, octets behind the value, `b2`, blanks, `+` and `_` in numbers, a key that stands twice. Whoever
reads data that the old program left behind reads what its encoder wrote, so nothing is lost by that. Refused too, though an encoder
writes them: keys that are integers beyond 64 bits. CBOR, in which messages are kept, has none.
"""

import re
from collections.abc import Callable
from typing import Any

from .cbor import DEFAULT_LIMITS, Limits, Value
from .errors import LocalProtocolError, Malformed, TooLarge


def encode(value: Value) -> bytes:
    """
    The octets of a value made of exactly None, bool, int, float, bytes, str, list, tuple and dict.

    Raises LocalProtocolError for any other type, for keys that cannot be sorted, and for text that is not Unicode.
    """
    parts: list[bytes] = []
    try:
        _WRITERS[type(value)](parts.append, value)
    except KeyError as error:
        raise LocalProtocolError(f"this value does not travel: {error} is no type of bpickle's") from error
    except TypeError as error:
        raise LocalProtocolError("this value does not travel: keys of one map must be of one type") from error
    except (UnicodeEncodeError, RecursionError, ValueError) as error:
        raise LocalProtocolError(f"this value does not travel: {error}") from error
    return b"".join(parts)


def decode(octets: bytes, limits: Limits = DEFAULT_LIMITS, *, text_keys: bool = True) -> Value:
    """
    The value of octets that a peer sent, all of them; tuples stay tuples.

    With `text_keys`, keys in octets become text; else they stay apart from text. Raises Malformed for what no encoder writes, TooLarge
    for what is above the limits; nothing else.
    """
    if len(octets) > limits.octets:
        raise TooLarge(f"{len(octets)} octets are more than the {limits.octets} allowed")
    try:
        value, end = _Reading(octets, limits, text_keys).value(0, 0)
    except IndexError:
        raise Malformed(f"the value is cut after {len(octets)} octets") from None
    if end != len(octets):
        raise Malformed(f"{len(octets) - end} octets after the value's end")
    return value


Append = Callable[[bytes], None]


def _write_dict(append: Append, value: dict[Any, Any]) -> None:
    append(b"d")
    for key in sorted(value):
        _WRITERS[type(key)](append, key)
        item = value[key]
        _WRITERS[type(item)](append, item)
    append(b";")


def _write_items(start: bytes) -> Callable[[Append, Any], None]:
    def write(append: Append, value: list[Any] | tuple[Any, ...]) -> None:
        append(start)
        for item in value:
            _WRITERS[type(item)](append, item)
        append(b";")

    return write


def _write_text(append: Append, value: str) -> None:
    octets = value.encode()
    append(b"u%d:%b" % (len(octets), octets))


_WRITERS: dict[type, Callable[[Append, Any], None]] = {
    type(None): lambda append, value: append(b"n"),
    bool: lambda append, value: append(b"b1" if value else b"b0"),
    int: lambda append, value: append(b"i%d;" % value),
    float: lambda append, value: append(b"f%b;" % repr(value).encode()),
    bytes: lambda append, value: append(b"s%d:%b" % (len(value), value)),
    str: _write_text,
    list: _write_items(b"l"),
    tuple: _write_items(b"t"),
    dict: _write_dict,
}

_INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,1023});")
_FLOAT = re.compile(rb"(-?(?:0|[1-9][0-9]{0,23})(?:\.[0-9]{1,24})?(?:e[+-][0-9]{1,4})?|-?inf|nan);")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,9}):")
_STRINGS = b"su"
_TEXT, _WHOLE, _REAL, _ONE, _END = b"uif1;"
_SHORT = {b"%d" % length: length for length in range(1_000)}
"""Lengths as they are written: to look one up is to check it, too."""
_SHORT_HEAD = 5
"""Octets of a string's type, a short length, and the colon."""
_PAIR = 64
"""Octets of a key and its value that are remembered, to be known at a glance where they come again."""


class _Reading:
    """
    One decoding: the octets, the limits, and how many items may still come.

    A step behind the last octet ends in IndexError. Most of a payload are maps of text to short strings and numbers; `mapping` has
    these inline, since a call for each would double the cost. And messages repeat each other: behind a key often stands what stood
    behind it in the message before, such as the type, which one comparison then reads. Whatever is not as usual goes to
    the methods that look closely, and say what is wrong.
    """

    __slots__ = ("_counts", "_depth", "_items_left", "_octets", "_pairs", "_text_keys")

    def __init__(self, octets: bytes, limits: Limits, text_keys: bool) -> None:
        self._octets = octets
        self._depth = limits.depth
        self._items_left = limits.items
        self._counts = limits.items < len(octets)  # an item has at least one octet
        self._text_keys = text_keys
        self._pairs: dict[Any, tuple[bytes, str, Any]] = {}

    def value(self, start: int, depth: int) -> tuple[Any, int]:
        """The value that starts there, and where it ends."""
        return _READERS[self._octets[start]](self, start, depth)

    def stray(self, start: int, depth: int) -> tuple[Any, int]:
        raise Malformed(f"octet {start}: {self._octets[start : start + 1]!r} starts no value")

    def null(self, start: int, depth: int) -> tuple[None, int]:
        return None, start + 1

    def boolean(self, start: int, depth: int) -> tuple[bool, int]:
        digit = self._octets[start + 1]
        if digit not in b"01":
            raise Malformed(f"octet {start}: a boolean is b0 or b1")
        return digit == _ONE, start + 2

    def integer(self, start: int, depth: int) -> tuple[int, int]:
        found = _INTEGER.match(self._octets, start + 1)
        if found is None:
            raise Malformed(f"octet {start}: not an integer that an encoder writes, of at most 1024 digits")
        return int(found[1]), found.end()

    def number(self, start: int, depth: int) -> tuple[float, int]:
        found = _FLOAT.match(self._octets, start + 1)
        if found is None:
            raise Malformed(f"octet {start}: not a float that an encoder writes")
        return float(found[1]), found.end()

    def string(self, start: int, depth: int) -> tuple[bytes, int]:
        found = _LENGTH.match(self._octets, start + 1)
        if found is None:
            raise Malformed(f"octet {start}: a string without a length")
        length, left = int(found[1]), len(self._octets) - found.end()
        if length > left:
            raise Malformed(
                f"octet {start}: a string of {length} octets, of which {length - left} are missing"
            )
        end = found.end() + length
        return self._octets[found.end() : end], end

    def text(self, start: int, depth: int) -> tuple[str, int]:
        octets, end = self.string(start, depth)
        try:
            return octets.decode(), end
        except UnicodeDecodeError as error:
            raise Malformed(f"octet {start}: text that is not UTF-8") from error

    def listing(self, start: int, depth: int) -> tuple[list[Any], int]:
        if depth >= self._depth:
            raise TooLarge(f"lists and maps are more than {self._depth} deep")
        octets, position = self._octets, start + 1
        found: list[Any] = []
        while (mark := octets[position]) != _END:
            if self._counts:
                self._count()
            if mark == _REAL and (number := _FLOAT.match(octets, position + 1)):
                found.append(float(number[1]))
                position = number.end()
            elif mark == _WHOLE and (number := _INTEGER.match(octets, position + 1)):
                found.append(int(number[1]))
                position = number.end()
            else:
                item, position = _READERS[mark](self, position, depth + 1)
                found.append(item)
        return found, position + 1

    def fixed(self, start: int, depth: int) -> tuple[Any, int]:
        found, end = self.listing(start, depth)
        return tuple(found), end

    def mapping(self, start: int, depth: int) -> tuple[dict[Any, Any], int]:
        """As long as it is because it has the usual keys and values inline."""
        if depth >= self._depth:
            raise TooLarge(f"lists and maps are more than {self._depth} deep")
        octets, find, short, pairs = self._octets, self._octets.find, _SHORT.get, self._pairs
        found: dict[Any, Any] = {}
        key: Any = None
        position, all_text = start + 1, True
        try:
            while (mark := octets[position]) != _END:
                if self._counts:
                    self._count()
                before, place, pair = key, position, pairs.get(key)
                if pair is not None and octets.startswith(pair[0], place):
                    position, key = place + len(pair[0]), pair[1]
                else:
                    pair = None
                    colon = find(b":", place, place + _SHORT_HEAD) if mark == _TEXT else -1
                    length = short(octets[place + 1 : colon]) if colon > 0 else None
                    if length is None:
                        key, position = self._key(place, depth)
                        all_text = all_text and type(key) is str
                    else:
                        position = colon + 1 + length
                        key = octets[colon + 1 : position].decode()
                if key in found:
                    raise Malformed(f"octet {place}: the key {key!r} stands twice")
                if pair is not None:
                    found[key] = pair[2]
                    continue
                mark = octets[position]
                colon = find(b":", position, position + _SHORT_HEAD) if mark in _STRINGS else -1
                length = short(octets[position + 1 : colon]) if colon > 0 else None
                if length is None:
                    found[key], position = _READERS[mark](self, position, depth + 1)
                    continue
                string = octets[colon + 1 : colon + 1 + length]
                found[key] = string.decode() if mark == _TEXT else string
                position = colon + 1 + length
                if position - place <= _PAIR and all_text:
                    pairs[before] = octets[place:position], key, found[key]
        except UnicodeDecodeError as error:
            raise Malformed(f"octet {position}: text that is not UTF-8") from error
        if not all_text and len(set(map(type, found))) > 1:
            raise Malformed(f"octet {start}: the keys of one map must be of one type")
        return found, position + 1

    def _key(self, start: int, depth: int) -> tuple[Any, int]:
        if self._octets[start] not in b"usi":
            raise Malformed(f"octet {start}: a map's key must be text, octets or an integer")
        key, end = self.value(start, depth)
        if type(key) is int and not -(2**64) <= key < 2**64:
            raise Malformed(
                f"octet {start}: an integer of more than 64 bits as a key: CBOR could not carry it"
            )
        if self._text_keys and type(key) is bytes:
            if not key.isascii():
                raise Malformed(f"octet {start}: a key in octets that is not ASCII")
            key = key.decode()
        return key, end

    def _count(self) -> None:
        self._items_left -= 1
        if self._items_left < 0:
            raise TooLarge("more items than allowed")


_Read = Callable[[_Reading, int, int], tuple[Any, int]]
_NAMED: dict[int, _Read] = dict(
    zip(
        b"nbifsultd",
        (
            _Reading.null,
            _Reading.boolean,
            _Reading.integer,
            _Reading.number,
            _Reading.string,
            _Reading.text,
            _Reading.listing,
            _Reading.fixed,
            _Reading.mapping,
        ),
        strict=True,
    )
)
_READERS = tuple(_NAMED.get(first, _Reading.stray) for first in range(256))
"""By the octet that starts a value."""
