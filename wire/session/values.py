"""
The values inside frames: two codecs, and a reader of values that stand in a row (spec/wire.md 1.4, 1.5).

`cbor` is what wire.cbor says. `hg-cbor` is the older subset: no text and no floats, sets as tag 258, and everything in
one order. A response is a row of values that is cut anywhere into frames, so the reader keeps its place: each octet is
looked at once, however small the pieces. At the top of a row a byte string may be of indefinite length.
"""

from collections.abc import Callable
from typing import Any

import cbor2
from attrs import frozen

from .. import cbor
from ..errors import LocalProtocolError, Malformed, TooLarge
from .events import Map, Value

CBOR = b"cbor"
HG_CBOR = b"hg-cbor"

_SCALAR, _INTEGER, _OCTETS, _TEXT, _LIST, _MAP, _TAG, _BANNED = range(8)
_ARGUMENT_OCTETS = {24: 1, 25: 2, 26: 4, 27: 8}
_ARGUMENT = tuple(_ARGUMENT_OCTETS.get(first & 31, 0) for first in range(256))
_INDEFINITE_OCTETS = 0x5F
_BREAK = 0xFF
_TAG_BIG, _TAG_SET = (2, 3), 258
_MOST_BIG_INTEGER_OCTETS = 1024


def _kind_of(first: int) -> int:
    major, info = first >> 5, first & 31
    if major == 7:
        return _SCALAR if info in (20, 21, 22, 25, 26, 27) else _BANNED
    if info > 27:
        return _BANNED
    return (_INTEGER, _INTEGER, _OCTETS, _TEXT, _LIST, _MAP, _TAG)[major]


def _hg_kind_of(first: int) -> int:
    kind = _kind_of(first)
    return _BANNED if kind == _TEXT or 0xF9 <= first <= 0xFB else kind


@frozen(eq=False)
class Codec:
    """How values travel."""

    name: bytes
    encode: Callable[[Value], bytes]
    """Raises LocalProtocolError for a value that does not travel."""
    kinds: tuple[int, ...]
    """Of each first octet, what it starts."""
    tags: tuple[int, ...]

    def decode(self, octets: bytes, limits: cbor.Limits) -> Value:
        """The one value that all of the octets are. Raises Malformed, TooLarge."""
        if self.name == CBOR:
            return cbor.decode(octets, limits)
        reader = RowReader(self, limits)
        values = reader.feed(octets)
        missing = reader.end()
        if missing or len(values) != 1:
            raise Malformed(missing or f"{len(values)} values where one should be")
        return values[0]


class RowReader:
    """Gives the values of a row as they become whole."""

    __slots__ = ("_buffer", "_codec", "_limits", "_members", "_position", "_stack", "_tag")

    def __init__(self, codec: Codec, limits: cbor.Limits) -> None:
        self._codec = codec
        self._limits = limits
        self._buffer = bytearray()
        """What is kept of a value that is not whole."""
        self._forget_place()

    @property
    def held(self) -> int:
        """Octets kept for a value that is not whole."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> list[Value]:
        """
        The values that end within these octets.

        Raises Malformed and TooLarge; after that the reader is of no use.
        """
        values: list[Value] = []
        start = 0
        if not self._buffer:
            start = self._read_whole(octets, values) if self._codec.name == CBOR else 0
            if start == len(octets):
                return values
            self._buffer = bytearray(memoryview(octets)[start:])
        else:
            self._buffer += octets
        self._read_pieces(values)
        return values

    def end(self) -> str | None:
        """What is missing when the row ends here."""
        return (
            f"the row ends inside a value, {len(self._buffer)} octets after its start"
            if self._buffer
            else None
        )

    def _read_whole(self, octets: bytes, values: list[Value]) -> int:
        start, length = 0, len(octets)
        while start < length:
            end = cbor.find_end(octets, start, self._limits)
            if end is None or end - start > self._limits.octets:
                break
            values.append(cbor.load(octets if end - start == length else octets[start:end]))
            start = end
        return start

    def _read_pieces(self, values: list[Value]) -> None:
        """The same for what has come in pieces, or is of a kind that the quick way does not know."""
        buffer, start = self._buffer, 0
        while start < len(buffer) and self._find_end(buffer, start):
            end = start + self._position
            values.append(cbor.load(bytes(memoryview(buffer)[start:end])))
            start = end
            self._forget_place()
        del buffer[:start]

    def _forget_place(self) -> None:
        self._position = 0
        """Of the next item, from the start of its value."""
        self._stack: list[list[int]] = []
        """Per open list or map: items left, and 1 for a map."""
        self._members = 0
        self._tag: int | None = None

    def _find_end(self, buffer: bytes | bytearray, start: int) -> bool:
        """Go on to the end of the value; False when more octets are needed."""
        length = len(buffer) - start
        while True:
            if self._position and not self._stack and self._tag is None:
                return self._position <= length
            if self._position >= length:
                return False
            size = self._over_item(buffer, start + self._position, length - self._position)
            if not size:
                return False
            self._position += size
            if self._position > self._limits.octets:
                raise TooLarge(f"a value of more than {self._limits.octets} octets")

    def _over_item(self, buffer: bytes | bytearray, place: int, left: int) -> int:
        """How far to step over one item, or over the head of a list, map or tag; 0 when its head is cut."""
        first = buffer[place]
        if first == _INDEFINITE_OCTETS or (self._stack and self._stack[-1][1] == 2):
            return self._over_indefinite(buffer, place, left)
        head = 1 + _ARGUMENT[first]
        if head > left:
            return 0
        argument = int.from_bytes(buffer[place + 1 : place + head], "big") if head > 1 else first & 31
        kind = self._codec.kinds[first]
        self._check_place(first, kind, argument)
        if kind == _TAG:
            self._tag = argument
            return head
        self._tag = None
        if kind in (_LIST, _MAP):
            self._enter(argument * 2 if kind == _MAP else argument, kind == _MAP)
            return head
        self._leave_item()
        return head + argument if kind in (_OCTETS, _TEXT) else head

    def _check_place(self, first: int, kind: int, argument: int) -> None:
        """Whether such an item may stand here."""
        if kind == _BANNED or (kind == _TAG and argument not in self._codec.tags):
            raise Malformed(f"0x{first:02x} starts nothing that may travel here")
        if self._tag is not None:
            self._check_tagged(kind, argument)
        elif self._is_at_key() and kind not in (_INTEGER, _OCTETS, _TEXT):
            raise Malformed("a map's key must be text, octets or an integer")

    def _is_at_key(self) -> bool:
        return bool(self._stack) and self._stack[-1][1] == 1 and not self._stack[-1][0] % 2

    def _check_tagged(self, kind: int, argument: int) -> None:
        if kind != (_LIST if self._tag == _TAG_SET else _OCTETS):
            raise Malformed(f"tag {self._tag} before something that it is not for")
        if kind == _OCTETS and argument > _MOST_BIG_INTEGER_OCTETS:
            raise TooLarge(f"an integer of more than {_MOST_BIG_INTEGER_OCTETS} octets")

    def _enter(self, items: int, is_map: bool) -> None:
        if len(self._stack) >= self._limits.depth:
            raise TooLarge(f"lists and maps are more than {self._limits.depth} deep")
        self._members += items
        if self._members >= self._limits.items:
            raise TooLarge(f"more than {self._limits.items} items")
        if items:
            self._stack.append([items, int(is_map)])
        else:
            self._leave_item()

    def _leave_item(self) -> None:
        stack = self._stack
        while stack:
            stack[-1][0] -= 1
            if stack[-1][0]:
                return
            stack.pop()

    def _over_indefinite(self, buffer: bytes | bytearray, place: int, left: int) -> int:
        """A string of chunks, which stands in the stack as if it were a list without end."""
        first = buffer[place]
        if not self._stack and self._position == 0:
            self._stack.append([-1, 2])
            return 1
        if not self._stack or self._stack[-1][1] != 2:
            raise Malformed("a string of indefinite length inside a list or map")
        if first == _BREAK:
            self._stack.pop()
            return 1
        if first >> 5 != 2 or first & 31 > 27:
            raise Malformed("a chunk of a string must be octets of a length that is told")
        head = 1 + _ARGUMENT[first]
        if head > left:
            return 0
        return head + (int.from_bytes(buffer[place + 1 : place + head], "big") if head > 1 else first & 31)


def encode_sorted(value: Value) -> bytes:
    """
    The octets of a value with all keys and set members in the order of their content: the same value, the same octets.

    Raises LocalProtocolError for what hg-cbor has not.
    """
    try:
        return cbor2.dumps(_sorted(value))
    except (cbor2.CBOREncodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise LocalProtocolError(f"this value does not travel: {error}") from error


def _sorted(value: Value) -> Any:
    if isinstance(value, dict):
        return {_sorted(key): _sorted(value[key]) for key in sorted(value, key=_order)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return cbor2.CBORTag(_TAG_SET, [_sorted(item) for item in sorted(value, key=_order)])
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, int) and -(2**64) <= value < 2**64:
        return value
    raise LocalProtocolError(f"this value does not travel: {type(value).__name__} is not of hg-cbor")


def _order(key: Value) -> tuple[str, Any]:
    return type(key).__name__, key


DEFAULT = Codec(CBOR, cbor.encode, tuple(map(_kind_of, range(256))), _TAG_BIG)
HG = Codec(HG_CBOR, encode_sorted, tuple(map(_hg_kind_of, range(256))), (_TAG_SET,))
CODECS = {codec.name: codec for codec in (DEFAULT, HG)}


def encode_map(values: Map) -> bytes:
    """A map of the connection itself: hello, decision, close. In one order, whatever the codec."""
    return cbor2.dumps(_in_order(values))


def _in_order(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=_order)}
    return [_in_order(item) for item in value] if isinstance(value, (list, tuple)) else value
