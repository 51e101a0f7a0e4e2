"""
Values in CBOR (RFC 8949), strictly.

The library decodes more than we want from a stranger: tags that build objects, shared references, lengths that
reserve memory before an octet has come. So each text is first walked over here, without building anything, and only
what passes reaches the library. Allowed are: integers, octets, text, lists, maps with integer, octet or text keys,
floats, true, false, null, and big integers (tags 2 and 3). All lengths are definite.
"""

from typing import Any

import cbor2
from attrs import frozen

from .errors import LocalProtocolError, Malformed, TooLarge

Value = Any
"""None, bool, int, float, bytes, str, a list of values, or a dict of values. Anything at all once decoded."""


@frozen(kw_only=True)
class Limits:
    """How large a value from a peer may be."""

    octets: int = 64 * 1024 * 1024
    """Length of the encoded value."""
    depth: int = 32
    """Lists and maps inside each other."""
    items: int = 4_000_000
    """Values of all kinds, keys included."""


DEFAULT_LIMITS = Limits()


def encode(value: Value) -> bytes:
    """
    The octets of a value.

    Raises LocalProtocolError when the value holds something that does not travel.
    """
    try:
        return cbor2.dumps(value)
    except (cbor2.CBOREncodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise LocalProtocolError(f"this value does not travel: {error}") from error


def decode(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> Value:
    """
    The value of octets that a peer sent, all of them.

    Raises Malformed for what is no value of ours, TooLarge for what is above the limits; nothing else.
    """
    if len(octets) > limits.octets:
        raise TooLarge(f"{len(octets)} octets are more than the {limits.octets} allowed")
    _survey(octets, limits)
    try:
        return cbor2.loads(octets)
    except (
        cbor2.CBORDecodeError,
        RecursionError,
        ValueError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise Malformed(f"not CBOR: {error}") from error


_SCALAR, _STRING, _LIST, _MAP, _TAG, _BANNED = range(6)
_LENGTH_OCTETS = {24: 1, 25: 2, 26: 4, 27: 8}


def _kind_of(first: int) -> int:
    """What an initial octet starts (RFC 8949, section 3)."""
    major, info = first >> 5, first & 31
    if major == 7:
        return _SCALAR if info in (20, 21, 22, 25, 26, 27) else _BANNED
    if info > 27 or (major == 6 and first not in (0xC2, 0xC3)):
        return _BANNED
    return (_SCALAR, _SCALAR, _STRING, _STRING, _LIST, _MAP, _TAG)[major]


_KIND = tuple(_kind_of(first) for first in range(256))
_AFTER = tuple(_LENGTH_OCTETS.get(first & 31, 0) for first in range(256))
_IS_KEY = tuple((first >> 5) < 4 for first in range(256))
_MAX_BIG_INTEGER_OCTETS = 1024


def _survey(octets: bytes, limits: Limits) -> None:
    """
    Walk over one encoded value without building it.

    Each open list or map is a count of what is still to come; a map's count is even where a key is due.
    This loop is the cost of every message, hence its shape: no call per item.
    """
    position, end = 0, len(octets)
    left, in_map, items = 1, False, 0
    outer: list[tuple[int, bool]] = []
    while True:
        while left == 0:
            if not outer:
                if position > end:
                    raise Malformed(f"the value is cut after {end} octets")
                if position < end:
                    raise Malformed(f"{end - position} octets after the value's end")
                return
            left, in_map = outer.pop()
        if position >= end:
            raise Malformed(f"the value is cut after {end} octets")
        first = octets[position]
        if in_map and not left & 1 and not _IS_KEY[first]:
            raise Malformed(f"octet {position}: a map's key must be text, octets or an integer")
        kind, after = _KIND[first], _AFTER[first]
        position += 1 + after
        left -= 1
        items += 1
        if kind == _SCALAR:
            continue
        length = int.from_bytes(octets[position - after : position], "big") if after else first & 31
        if kind == _STRING:
            position += length
        elif kind == _BANNED:
            raise Malformed(
                f"octet {position - 1 - after}: 0x{first:02x} starts nothing that may travel here"
            )
        elif kind == _TAG:
            position = _big_integer_end(octets, position)
        else:
            if length > end - position:
                raise Malformed(
                    f"octet {position - 1 - after}: {length} items announced, {end - position} octets left"
                )
            outer.append((left, in_map))
            in_map = kind == _MAP
            left = length * 2 if in_map else length
            if len(outer) > limits.depth:
                raise TooLarge(f"lists and maps are more than {limits.depth} deep")
            if items + left > limits.items:
                raise TooLarge(f"more than {limits.items} items")


def _big_integer_end(octets: bytes, position: int) -> int:
    """Where the octets of a big integer end, its tag being read."""
    if position >= len(octets) or octets[position] >> 5 != 2 or _KIND[octets[position]] != _STRING:
        raise Malformed(f"octet {position}: a big integer needs octets")
    after = _AFTER[octets[position]]
    start = position + 1 + after
    length = int.from_bytes(octets[position + 1 : start], "big") if after else octets[position] & 31
    if length > _MAX_BIG_INTEGER_OCTETS:
        raise TooLarge(f"octet {position}: an integer of more than {_MAX_BIG_INTEGER_OCTETS} octets")
    return start + length
