"""
Our streams (spec/wire.md 1.2, 1.6, 5.13): one for everything, and beside it one for each body that is packed.
"""

from collections.abc import Callable

from .encodings import IDENTITY, Packer, make_packer
from .frame import FrameType, PartFlag, StreamFlag, encode_header

_PACKING_ROOM = 256
"""How much longer packing may make a frame that does not pack, with room to spare."""
_AT_ONCE = 128 * 1024
"""Octets of a body that are packed in one go: whoever packs may have to wait for the interpreter each time."""
_STREAMS = 0x100
"""Numbers that a stream may have."""


class OutStream:
    """
    A row of our frames that share a packer, or none.

    With `on_end`, which hears of its end, it is for one body alone and ends with that.
    """

    __slots__ = ("_on_end", "_packer", "at_once", "begun", "encoding", "id", "is_announced")

    def __init__(
        self,
        id: int,
        encoding: bytes | None = None,
        at_once: int = 0,
        on_end: Callable[[int], None] | None = None,
    ) -> None:
        self.id = id
        self._on_end = on_end
        self.begun = self.is_announced = False
        self.encoding = encoding
        self.at_once = at_once
        """Octets of a body that are packed in one go; 0 where it is the frames that are packed."""
        self._packer: Packer | None = None

    @property
    def is_packed(self) -> bool:
        """Whether what goes over it is packed."""
        return self.encoding is not None

    @property
    def slack(self) -> int:
        """How much longer than it is something may become here."""
        return 0 if self.encoding in (None, IDENTITY) else _PACKING_ROOM

    def announce(self, request: int) -> bytes:
        """The frame that says how the stream is packed; nothing when it has been said, or nothing is."""
        if self.encoding is None or self.is_announced:
            return b""
        self.is_announced = True
        name = _head_of(self.encoding) + self.encoding
        return self.frame(FrameType.STREAM, request, PartFlag.END, name)

    def pack(self, octets: bytes) -> bytes:
        """What goes into frames."""
        if self.encoding is None or not octets:
            return octets
        self._packer = self._packer or make_packer(self.encoding)
        return self._packer.pack(octets)

    def frame(
        self,
        type: int,
        request: int,
        flags: int,
        payload: bytes,
        *,
        packed: bool = False,
        is_last: bool = False,
    ) -> bytes:
        """A frame on this stream, the first of which begins it; `is_last` of a body ends one that is for that alone."""
        stream_flags = StreamFlag.ENCODED if packed else 0
        if not self.begun:
            self.begun = True
            stream_flags |= StreamFlag.BEGIN
        if is_last and self._on_end is not None:
            stream_flags |= StreamFlag.END
            self._on_end(self.id)
        return encode_header(len(payload), request, self.id, stream_flags, type, flags) + payload


class Aside:
    """
    The streams beside the main one, each for one body that is packed.

    So no body helps to guess at another, none that is broken off is in the way of the next, and what packs it lives no longer.
    """

    def __init__(self, main: OutStream) -> None:
        self._main = main
        self.encoding: bytes | None = None
        """How bodies are packed; None: they go plain."""
        self.most = 0
        """How many of these streams the peer takes."""
        self.decoded = _AT_ONCE
        """What a frame may come to there."""
        self._open: set[int] = set()

    def begin(self) -> OutStream:
        """For one body; the main one, where the peer takes no further."""
        first = self._main.id + 2
        ids = range(first, min(first + 2 * self.most, _STREAMS), 2)
        free = next((id for id in ids if id not in self._open), None)
        if self.encoding is None or free is None:
            return self._main
        self._open.add(free)
        return OutStream(free, self.encoding, min(_AT_ONCE, self.decoded), self._open.remove)


def _head_of(octets: bytes) -> bytes:
    return bytes([0x40 + len(octets)])
