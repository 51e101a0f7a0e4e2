"""
Frames (spec/wire.md 1.2, 1.3, 5.3): eight octets that say what it is, then the payload.

    0-2 payload length    3-4 request    5 stream    6 stream flags    7 type (high four bits) and flags (low four)

all little endian. A frame's length is checked against the limit as soon as its header is there, before any of the
payload is kept.
"""

from enum import IntEnum
from struct import Struct

from attrs import define

from ..errors import LocalProtocolError, TooLarge
from .limits import LARGEST_FRAME

HEADER_OCTETS = 8
_TAIL = Struct("<HBBB")


class FrameType(IntEnum):
    """What a frame is. 4 is never used; 8 and 9 are numbered as in the final version of the framing's ancestor."""

    REQUEST = 1
    DATA = 2
    RESPONSE = 3
    ERROR = 5
    OUTPUT = 6
    PROGRESS = 7
    HELLO = 8
    STREAM = 9
    DECISION = 10
    PING = 11
    CANCEL = 12
    CLOSE = 13
    CREDIT = 14
    EXTENSION = 15


class StreamFlag:
    """Bits of the stream flags."""

    BEGIN = 1
    END = 2
    ENCODED = 4
    ALL = 7


class RequestFlag:
    """Bits of the flags of a REQUEST frame."""

    NEW = 1
    CONTINUATION = 2
    MORE = 4
    DATA = 8


class PartFlag:
    """Bits of the flags of DATA, RESPONSE, HELLO, STREAM and DECISION frames."""

    CONTINUATION = 1
    END = 2


PONG = 1
"""Flag of a PING frame that answers one."""
MAY_IGNORE = 1
"""Flag of an EXTENSION frame that a receiver who does not know it passes over."""


@define(eq=True)
class Frame:
    """One frame. `type` is a number, as unknown ones arrive too; it compares with FrameType."""

    type: int
    request: int
    stream: int
    stream_flags: int = 0
    flags: int = 0
    payload: bytes = b""


def encode_frame(frame: Frame, limit: int = LARGEST_FRAME) -> bytes:
    """
    The octets of a frame.

    Raises LocalProtocolError for a field that does not fit its place, or a payload above the limit.
    """
    return encode_header(
        len(frame.payload), frame.request, frame.stream, frame.stream_flags, frame.type, frame.flags, limit
    ) + bytes(frame.payload)


def encode_header(
    length: int,
    request: int,
    stream: int,
    stream_flags: int,
    type: int,
    flags: int,
    limit: int = LARGEST_FRAME,
) -> bytes:
    """The header alone; see encode_frame."""
    if (
        0 <= length <= limit <= LARGEST_FRAME
        and 0 <= request <= 0xFFFF
        and 0 <= stream <= 0xFF
        and 0 <= stream_flags <= 0xFF
        and 0 <= type <= 15
        and 0 <= flags <= 15
    ):
        return length.to_bytes(3, "little") + _TAIL.pack(request, stream, stream_flags, type << 4 | flags)
    raise LocalProtocolError(
        f"no such frame: {length} octets of at most {limit}, request {request}, stream {stream}, "
        f"stream flags {stream_flags}, type {type}, flags {flags}"
    )


class Framer:
    """Takes octets in whatever pieces they come, and gives the frames that are whole."""

    __slots__ = ("_buffer", "_need", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Largest payload taken. May be changed at any time, for frames whose header has not come yet."""
        self._buffer = bytearray()
        self._need = HEADER_OCTETS
        """Length at which something in the buffer becomes whole."""

    def feed(self, octets: bytes) -> list[Frame]:
        """
        The frames that end within these octets.

        Raises TooLarge at the eighth octet of a header that announces more than the limit. The frames before it are
        `error.frames`, for they came in good order; the Framer is of no use any more.
        """
        buffer = self._buffer
        if buffer:
            buffer += octets
            if len(buffer) < self._need:
                return []
            octets = bytes(buffer)
            buffer.clear()
        frames, position = self._cut(octets)
        if position < len(octets):
            buffer += memoryview(octets)[position:]
        return frames

    def _cut(self, octets: bytes) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        position, length = 0, len(octets)
        while length - position >= HEADER_OCTETS:
            start = position + HEADER_OCTETS
            size = octets[position] | octets[position + 1] << 8 | octets[position + 2] << 16
            if size > self.limit:
                raise FrameTooLarge(size, self.limit, frames)
            if length - start < size:
                self._need = HEADER_OCTETS + size
                return frames, position
            request, stream, stream_flags, last = _TAIL.unpack_from(octets, position + 3)
            position = start + size
            frames.append(Frame(last >> 4, request, stream, stream_flags, last & 15, octets[start:position]))
        self._need = HEADER_OCTETS
        return frames, position

    def end(self) -> str | None:
        """What is missing when the input ends here; None at the end of a frame."""
        if not self._buffer:
            return None
        missing = self._need - len(self._buffer)
        part = "header" if len(self._buffer) < HEADER_OCTETS else "payload"
        return f"the input ended inside a frame: {missing} octets of its {part} are missing"


class FrameTooLarge(TooLarge):
    """A header announces a payload above the limit."""

    def __init__(self, size: int, limit: int, frames: list[Frame]) -> None:
        super().__init__(f"a frame of {size} octets is announced; this side takes at most {limit}")
        self.code = "frame-too-large"
        self.frames = frames
        """What came whole before it."""
