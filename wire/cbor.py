"""
Values in CBOR (RFC 8949), strictly.

The library decodes more than we want from a stranger: tags that build objects, shared references, lengths that
reserve memory before an octet has come. So each text is first walked over here, without building anything, and only
what passes reaches the library. Allowed are: integers, octets, text, lists, maps, floats, true, false, null, and big
integers (tags 2 and 3). Keys of maps are text, octets, or integers of at most 64 bits; where one stands twice, the last
counts. All lengths are definite.

What we write passes the same walk, so that what leaves us is of these kinds and of a depth that our peers take. How
much they take of it is theirs to say.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import cbor2
from attrs import frozen

from .errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge

Value = Any
"""None, bool, int, float, bytes, str, a list of values, or a dict of values. Anything at all once decoded."""


@frozen(kw_only=True)
class Limits:
    """How large a value from a peer may be."""

    octets: int = 64 * 1024 * 1024
    """Length of the encoded value."""
    depth: int = 40
    """Lists and maps inside each other: those of a message (local.MAX_MESSAGE_DEPTH), and room for what is around it."""
    items: int = 4_000_000
    """Values of all kinds, keys included."""


DEFAULT_LIMITS = Limits()
_ANY_SIZE = Limits(items=2**63)


def encode(value: Value) -> bytes:
    """
    The octets of a value. A tuple goes as a list.

    Raises LocalProtocolError, naming the place, when the value holds something that does not travel.
    """
    try:
        octets = cbor2.dumps(value)
        if not _is_flat(value):
            _survey(octets, _ANY_SIZE)
    except _ENCODE_ERRORS as error:
        raise LocalProtocolError(f"this value does not travel: {_find_fault(value) or error}") from error
    return octets


def _is_flat(value: Value) -> bool:
    """Whether it is a map of nothing but octets, text, and other things that need no second look, as most small ones are."""
    return type(value) is dict and all(
        type(key) in _KEYS and type(item) in _PLAIN for key, item in value.items()
    )


_KEYS = frozenset({bytes, str})
_PLAIN = frozenset({bytes, str, bool, float, type(None)})


def encode_known(value: Value) -> bytes:
    """
    The same, for a value that we made ourselves of what travels: it is not walked over, which is most of the cost.

    Raises LocalProtocolError for what the library does not take.
    """
    try:
        return cbor2.dumps(value)
    except _ENCODE_ERRORS as error:
        raise LocalProtocolError(f"this value does not travel: {_find_fault(value) or error}") from error


def encode_each_known(values: Sequence[Value]) -> list[bytes]:
    """The same for many values, the library being made ready once: that is the greater part of a small value's cost."""
    written = BytesIO()
    encode_next, tell = cbor2.CBOREncoder(written).encode, written.tell
    ends = [0]
    try:
        for value in values:
            encode_next(value)
            ends.append(tell())
    except _ENCODE_ERRORS as error:
        raise LocalProtocolError(f"this value does not travel: {_find_fault(value) or error}") from error
    octets = written.getvalue()
    return [octets[start:end] for start, end in pairwise(ends)]


def decode(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> Value:
    """
    The value of octets that a peer sent, all of them.

    Raises Malformed for what is no value of ours, TooLarge for what is above the limits; nothing else.
    """
    _check_length(octets, limits)
    _survey(octets, limits)
    return _load(octets)


def decode_with_items(octets: bytes, key: str, limits: Limits = DEFAULT_LIMITS) -> tuple[Value, list[bytes]]:
    """
    The same, and the octets of each item of the list that the outermost map has under a key; none without such a list.

    For whoever keeps the items as they came: each is a value that `decode` reads.
    """
    _check_length(octets, limits)
    walk = _NotingWalk(octets, limits, cbor2.dumps(key))
    _survey(octets, limits, walk)
    return _load(octets), [octets[start:end] for start, end in walk.found]


def find_end(octets: bytes, start: int, limits: Limits = DEFAULT_LIMITS) -> int | None:
    """
    Where the value that starts there ends, when all of it is here and within the limits; else None.

    For rows of values. It does not say what is wrong: a value that is cut may be wrong as well.
    """
    try:
        end = _Walk(octets, limits).over_items(start, 1, limits.depth)
    except (IndexError, RecursionError, RemoteProtocolError):
        return None
    return end if end <= len(octets) else None


def load(octets: bytes) -> Value:
    """
    The value of octets whose kinds and sizes were walked over before; see find_end.

    Raises Malformed for what the library refuses still, text that is not UTF-8 for one.
    """
    return _load(octets)


def _check_length(octets: bytes, limits: Limits) -> None:
    if len(octets) > limits.octets:
        raise TooLarge(f"{len(octets)} octets are more than the {limits.octets} allowed")


def _load(octets: bytes) -> Value:
    try:
        return cbor2.loads(octets)
    except _DECODE_ERRORS as error:
        raise Malformed(f"not CBOR: {error}") from error


_BROKEN = (RecursionError, ValueError, TypeError, OverflowError, MemoryError)
"""What releases of the library raise beside their own errors."""
_DECODE_ERRORS = (cbor2.CBORDecodeError, *_BROKEN)
_ENCODE_ERRORS = (cbor2.CBOREncodeError, RemoteProtocolError, *_BROKEN)


def _find_fault(value: Value, place: str = "", depth: int = _ANY_SIZE.depth) -> str | None:
    """What in a value keeps it from travelling, and where; None when nothing is seen."""
    if isinstance(value, (dict, list, tuple)):
        if not depth:
            return f"lists and maps are more than {_ANY_SIZE.depth} deep"
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        faults = (
            _find_key_fault(key, place) or _find_fault(item, f"{place}[{key!r}]", depth - 1)
            for key, item in pairs
        )
        return next(filter(None, faults), None)
    if isinstance(value, (type(None), bool, int, float, str, bytes, bytearray)):
        return None
    return f"{place or 'it'} is of type {type(value).__name__}"


def _find_key_fault(key: Value, place: str) -> str | None:
    if isinstance(key, (str, bytes, int)) and not isinstance(key, bool):
        return None
    return f"{place or 'it'} has the key {key!r}; keys are text, octets or integers"


_SCALAR, _STRING, _LIST, _MAP, _BIG, _BANNED = range(6)
_ARGUMENT_OCTETS = {24: 1, 25: 2, 26: 4, 27: 8}
_MAX_BIG_INTEGER_OCTETS = 1024
"""Of a big integer, its head included."""


def _kind_of(first: int) -> int:
    """What an initial octet starts (RFC 8949, section 3)."""
    major, info = first >> 5, first & 31
    if major == 7:
        return _SCALAR if info in (20, 21, 22, 25, 26, 27) else _BANNED
    if info > 27 or (major == 6 and first not in (0xC2, 0xC3)):
        return _BANNED
    return (_SCALAR, _SCALAR, _STRING, _STRING, _LIST, _MAP, _BIG)[major]


def _step_over(first: int) -> int:
    """How many octets an item takes, when its first one says it all; else 0."""
    if _KIND[first] == _SCALAR:
        return 1 + _ARGUMENT[first]
    return 1 + (first & 31) if _KIND[first] == _STRING and not _ARGUMENT[first] else 0


# Each is asked for an item's first octet.
_KIND = tuple(map(_kind_of, range(256)))
_ARGUMENT = tuple(_ARGUMENT_OCTETS.get(first & 31, 0) for first in range(256))
_STEP = tuple(map(_step_over, range(256)))
_KEY_STEP = tuple(step if first >> 5 < 4 else 0 for first, step in enumerate(_STEP))
_FEW = tuple(range(first & 31) if 0x80 <= first < 0x98 else None for first in range(256))


def _survey(octets: bytes, limits: Limits, walk: "_Walk | None" = None) -> None:
    """
    Walk over one encoded value without building it.

    Raises Malformed and TooLarge.
    """
    try:
        end = (walk or _Walk(octets, limits)).over_items(0, 1, limits.depth)
    except IndexError:
        end = len(octets) + 1
    except RecursionError:
        raise TooLarge("lists and maps are deeper than this program can follow") from None
    if end > len(octets):
        raise Malformed(f"the value is cut after {len(octets)} octets")
    if end < len(octets):
        raise Malformed(f"{len(octets) - end} octets after the value's end")


class _Walk:
    """
    Steps from item to item; a step behind the last octet ends in IndexError.

    It is the greater part of what decoding a message costs, hence its shape: numbers and short strings are one look
    into a table each, lists of a few of them are gone through on the spot, and only the rest costs a call.
    """

    __slots__ = ("_limits", "_octets", "_room")

    def __init__(self, octets: bytes, limits: Limits) -> None:
        self._octets = octets
        self._limits = limits
        self._room = limits.items - 1

    def over_items(self, position: int, count: int, depth: int) -> int:
        """Where the last of so many items ends, which may hold lists and maps of this depth."""
        octets = self._octets
        for _ in range(count):
            first = octets[position]
            step = _STEP[first]
            if step:
                position += step
                continue
            few = _FEW[first]
            if few is None or not depth:
                position = self._over_other(position, depth)
                continue
            start = position
            position += 1
            for _ in few:
                step = _STEP[octets[position]]
                if not step:
                    position = self._over_other(start, depth)
                    break
                position += step
            else:
                self._make_room(len(few))
        return position

    def _over_pairs(self, position: int, count: int, depth: int) -> int:
        octets = self._octets
        for _ in range(count):
            position += _KEY_STEP[octets[position]] or self._key_step(position)
            step = _STEP[octets[position]]
            position = position + step if step else self._over_other(position, depth)
        return position

    def _key_step(self, position: int) -> int:
        if _KIND[self._octets[position]] != _STRING:
            raise Malformed(f"octet {position}: a map's key must be text, octets or an integer")
        return self._over_other(position, 0) - position

    def _over_other(self, start: int, depth: int) -> int:
        octets = self._octets
        first = octets[start]
        kind, more = _KIND[first], _ARGUMENT[first]
        position = start + 1 + more
        argument = int.from_bytes(octets[start + 1 : position], "big") if more else first & 31
        if kind == _STRING:
            return position + argument
        if kind == _BANNED:
            raise Malformed(f"octet {start}: 0x{first:02x} starts nothing that may travel here")
        if kind == _BIG:
            return self._over_big_integer(position)
        left = len(octets) - position
        if left < 0:
            raise IndexError
        items = argument * 2 if kind == _MAP else argument
        if items > left:
            raise Malformed(f"octet {start}: {items} items announced, {left} octets left")
        if not depth:
            raise TooLarge(f"lists and maps are more than {self._limits.depth} deep")
        self._make_room(items)
        over = self._over_pairs if kind == _MAP else self.over_items
        return over(position, argument, depth - 1)

    def _over_big_integer(self, start: int) -> int:
        """Where the octets of a big integer end, its tag being read."""
        first = self._octets[start]
        if first >> 5 != 2 or _KIND[first] != _STRING:
            raise Malformed(f"octet {start}: a big integer needs octets")
        end = self._over_other(start, 0)
        if end - start > _MAX_BIG_INTEGER_OCTETS:
            raise TooLarge(f"octet {start}: an integer of more than {_MAX_BIG_INTEGER_OCTETS} octets")
        return end

    def _make_room(self, items: int) -> None:
        self._room -= items
        if self._room < 0:
            raise TooLarge(f"more than {self._limits.items} items")


class _NotingWalk(_Walk):
    """
    Also notes from where to where each item of one list goes: the list under `key` in the outermost map.

    Where the key stands twice, the last counts, as it does when the value is built. A key whose head is longer than
    needed is the same key.
    """

    __slots__ = ("_at_list", "_key", "found")

    def __init__(self, octets: bytes, limits: Limits, key: bytes) -> None:
        super().__init__(octets, limits)
        self._key = key
        self._at_list = False
        self.found: list[tuple[int, int]] = []

    def over_items(self, position: int, count: int, depth: int) -> int:
        """See _Walk."""
        if not self._at_list:
            return super().over_items(position, count, depth)
        self._at_list = False
        for _ in range(count):
            start, position = position, super().over_items(position, 1, depth)
            self.found.append((start, position))
        return position

    def _over_pairs(self, position: int, count: int, depth: int) -> int:
        if depth != self._limits.depth - 1:
            return super()._over_pairs(position, count, depth)
        for _ in range(count):
            start = position
            position += _KEY_STEP[self._octets[position]] or self._key_step(position)
            is_key = self._is_key(self._octets[start:position])
            if is_key:
                self.found = []
            if is_key and _KIND[self._octets[position]] == _LIST:
                self._at_list = True
                position = self._over_other(position, depth)
            else:
                position = super().over_items(position, 1, depth)
        return position

    def _is_key(self, octets: bytes) -> bool:
        if octets == self._key:
            return True
        return _ARGUMENT[octets[0]] > 0 and octets[0] >> 5 == 3 and cbor2.dumps(_load(octets)) == self._key
