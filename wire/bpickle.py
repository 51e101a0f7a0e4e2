"""
Values in bpickle, the encoding of Landscape's exchange (landscape 1.2), strictly.

One octet says the type, then: `n`; `b` and a digit; `i` or `f`, the number, `;`; `s` or `u`, the length in octets, `:`,
the octets; `l`, `t` or `d`, the items, `;`. Maps are sorted by key. There is no outer length and no checksum.

The decoder that this encoding came with takes more than its encoder ever writes. Ours takes what an encoder writes and
nothing else, with one exception: keys in octets become text, because peers on Python 2 wrote all keys so. Refused, where the old one
was loose: cut strings, octets behind the value, `b2`, blanks, `+` and `_` in numbers, a key that stands twice. Whoever reads
data that the old program left behind reads what its encoder wrote, so nothing is lost by that. Refused too, though an encoder
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
    reading = _Reading(octets, limits, text_keys)
    value, end = reading.value(0, 0)
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
_FLOAT = re.compile(rb"(-?[0-9]{1,24}(?:\.[0-9]{1,24})?(?:e[+-][0-9]{1,4})?|-?inf|nan);")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,9}):")
_END = ord(";")


class _Reading:
    """One decoding: the octets, the limits, and how many items may still come."""

    def __init__(self, octets: bytes, limits: Limits, text_keys: bool) -> None:
        self._octets = octets
        self._depth = limits.depth
        self._items_left = limits.items
        self._text_keys = text_keys

    def value(self, start: int, depth: int) -> tuple[Any, int]:
        """The value that starts there, and where it ends."""
        octets = self._octets
        kind = octets[start : start + 1]
        if kind == b"u" or kind == b"s":
            return self._string(start, kind)
        if kind == b"i":
            found = _INTEGER.match(octets, start + 1)
            if found is None:
                raise Malformed(
                    f"octet {start}: not an integer that an encoder writes, of at most 1024 digits"
                )
            return int(found[1]), found.end()
        read = _READERS.get(kind)
        if read is None:
            raise Malformed(
                f"octet {start}: {kind!r} starts no value"
                if kind
                else f"the value is cut after {start} octets"
            )
        return read(self, start, depth)

    def _string(self, start: int, kind: bytes) -> tuple[Any, int]:
        found = _LENGTH.match(self._octets, start + 1)
        if found is None:
            raise Malformed(f"octet {start}: a string without a length")
        end = found.end() + int(found[1])
        if end > len(self._octets):
            raise Malformed(
                f"octet {start}: a string of {int(found[1])} octets, of which {end - len(self._octets)} are missing"
            )
        piece = self._octets[found.end() : end]
        if kind == b"s":
            return piece, end
        try:
            return piece.decode(), end
        except UnicodeDecodeError as error:
            raise Malformed(f"octet {start}: text that is not UTF-8") from error

    def null(self, start: int, depth: int) -> tuple[None, int]:
        return None, start + 1

    def boolean(self, start: int, depth: int) -> tuple[bool, int]:
        digit = self._octets[start + 1 : start + 2]
        if digit not in (b"0", b"1"):
            raise Malformed(f"octet {start}: a boolean is b0 or b1")
        return digit == b"1", start + 2

    def number(self, start: int, depth: int) -> tuple[float, int]:
        found = _FLOAT.match(self._octets, start + 1)
        if found is None:
            raise Malformed(f"octet {start}: not a float that an encoder writes")
        return float(found[1]), found.end()

    def listing(self, start: int, depth: int) -> tuple[list[Any], int]:
        self._enter(depth)
        octets, position, found, end = self._octets, start + 1, [], len(self._octets)
        while position < end and octets[position] != _END:
            item, position = self.value(position, depth + 1)
            found.append(item)
            self._count()
        self._leave(position)
        return found, position + 1

    def fixed(self, start: int, depth: int) -> tuple[Any, int]:
        found, end = self.listing(start, depth)
        return tuple(found), end

    def mapping(self, start: int, depth: int) -> tuple[dict[Any, Any], int]:
        self._enter(depth)
        octets, position, end = self._octets, start + 1, len(self._octets)
        found: dict[Any, Any] = {}
        key_type: type | None = None
        while position < end and octets[position] != _END:
            key, behind = self._key(position, depth)
            if key in found:
                raise Malformed(f"octet {position}: the key {key!r} stands twice")
            if type(key) is not (key_type or type(key)):
                raise Malformed(f"octet {position}: the keys of one map must be of one type")
            key_type = type(key)
            found[key], position = self.value(behind, depth + 1)
            self._count()
        self._leave(position)
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

    def _enter(self, depth: int) -> None:
        if depth >= self._depth:
            raise TooLarge(f"lists and maps are more than {self._depth} deep")

    def _count(self) -> None:
        self._items_left -= 1
        if self._items_left < 0:
            raise TooLarge("more items than allowed")

    def _leave(self, position: int) -> None:
        if position >= len(self._octets):
            raise Malformed(f"the value is cut after {len(self._octets)} octets")


_READERS: dict[bytes, Callable[[_Reading, int, int], tuple[Any, int]]] = {
    b"n": _Reading.null,
    b"b": _Reading.boolean,
    b"f": _Reading.number,
    b"l": _Reading.listing,
    b"t": _Reading.fixed,
    b"d": _Reading.mapping,
}
