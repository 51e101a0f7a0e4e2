"""
Frames before there is a session, one at a time.

What may come is little: hellos, decisions, pings, goodbyes. A header that announces more than the longest hello is refused
before any of its payload is kept; a hello over several frames is bounded by the Reactor. What comes behind the decision
is not looked at: it has other limits.
"""

from ..errors import RemoteProtocolError
from .frame import HEADER_OCTETS, Frame, Framer, FrameType
from .hello import MAX_HELLO_OCTETS

_MAY_COME = frozenset(
    {
        FrameType.HELLO,
        FrameType.DECISION,
        FrameType.ERROR,
        FrameType.PING,
        FrameType.CLOSE,
        FrameType.EXTENSION,
    }
)


class Early:
    """The input until there is a session."""

    def __init__(self) -> None:
        self._framer = Framer(MAX_HELLO_OCTETS)
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> None:
        """They came."""
        self._buffer += octets

    def next(self) -> Frame | None:
        """The next whole frame. Raises RemoteProtocolError for one that has no business here, or is too long."""
        buffer = self._buffer
        if len(buffer) < HEADER_OCTETS:
            return None
        payload = int.from_bytes(buffer[:3], "little")
        if payload > MAX_HELLO_OCTETS:
            raise RemoteProtocolError("frame-too-large", f"{payload} octets in a frame of the negotiation")
        size = HEADER_OCTETS + payload
        if len(buffer) < size:
            return None
        (frame,) = self._framer.feed(bytes(buffer[:size]))
        del buffer[:size]
        if frame.type not in _MAY_COME:
            raise RemoteProtocolError(
                "early-frame", f"a frame of type {frame.type} before there is a session"
            )
        return frame

    def end(self) -> str | None:
        """What is missing when the input ends here; None at the end of a frame."""
        self._framer.feed(bytes(self._buffer))
        return self._framer.end()

    def take_rest(self) -> bytes:
        """What came behind the last frame that was taken; it is gone from here."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
