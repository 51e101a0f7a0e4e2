"""
The peer's streams (spec/wire.md 1.2, 1.6): which are open, and how what comes over them is packed.
"""

from collections.abc import Collection

from attrs import define

from ..cbor import Limits as ValueLimits
from ..errors import Malformed, RemoteProtocolError, TooLarge
from .encodings import IDENTITY, WORTH_PACKING, Unpacker, make_unpacker
from .frame import Frame, PartFlag, StreamFlag
from .limits import Limits
from .values import HG, RowReader

_SETTINGS_LIMITS = ValueLimits(octets=1024, depth=4, items=100)


class Assembly:
    """A row of values that comes in frames with the flags *continuation* and *end*: settings, decisions."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._octets = bytearray()
        self.begun = False

    def add(self, frame: Frame) -> bytes | None:
        """All of it, with the last frame. Raises RemoteProtocolError."""
        part = frame.flags & (PartFlag.CONTINUATION | PartFlag.END)
        if part == 0:
            raise self._error("flags-neither", "neither continuation nor end")
        if part == PartFlag.CONTINUATION | PartFlag.END:
            raise self._error("flags-both", "both continuation and end")
        self.begun = True
        self._octets += frame.payload
        if len(self._octets) > self._limit:
            raise self._error("too-large", f"more than the {self._limit} octets allowed")
        if part == PartFlag.CONTINUATION:
            return None
        if not self._octets:
            raise self._error("empty", "nothing in them")
        whole, self._octets, self.begun = bytes(self._octets), bytearray(), False
        return whole

    def _error(self, code: str, text: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self._what}-{code}", f"frames of {self._what}: {text}")


@define(eq=False)
class InStream:
    """One that the peer has begun."""

    settings: Assembly
    unpacker: Unpacker | None = None
    brought: int = 0
    """Octets that were unpacked."""


class InStreams:
    """All of them."""

    def __init__(self, *, odd: bool, limits: Limits, unpacks: Collection[bytes] | None) -> None:
        """`unpacks` are the encodings that the peer may use, None for all that there are."""
        self._odd = odd
        self._limits = limits
        self.unpacks = unpacks
        self._open: dict[int, InStream] = {}

    def check(self, frame: Frame) -> None:
        """
        Begin the stream if the frame does, and see that it may come over it.

        Raises RemoteProtocolError.
        """
        id, flags = frame.stream, frame.stream_flags
        if id & 1 != self._odd:
            code = "even-stream-from-client" if self._odd else "odd-stream-from-server"
            raise RemoteProtocolError(code, f"stream {id} is not the peer's to send on")
        if flags > StreamFlag.ALL:
            raise RemoteProtocolError("stream-flags-unknown", f"unknown stream flags {flags}")
        if flags & StreamFlag.BEGIN:
            self._begin(id)
        elif id not in self._open:
            raise RemoteProtocolError("stream-not-begun", f"stream {id} is not open")

    def _begin(self, id: int) -> None:
        if id in self._open:
            raise RemoteProtocolError("stream-already-begun", f"stream {id} is begun again")
        if len(self._open) >= self._limits.streams:
            raise RemoteProtocolError(
                "too-many-streams", f"more than {self._limits.streams} streams are open"
            )
        self._open[id] = InStream(Assembly("settings", _SETTINGS_LIMITS.octets))

    def finish(self, id: int) -> bool:
        """The frame that ends it has been handled; whether the stream brought as much as it takes to set one up."""
        stream = self._open.pop(id, None)
        return stream is None or stream.unpacker is None or stream.brought >= WORTH_PACKING

    def set_up(self, frame: Frame) -> None:
        """A frame says how the stream is packed, or begins to. Raises RemoteProtocolError."""
        stream = self._open[frame.stream]
        if stream.unpacker is not None:
            raise RemoteProtocolError("settings-repeated", f"stream {frame.stream} is set up already")
        octets = stream.settings.add(frame)
        if octets is not None:
            stream.unpacker = self._make(octets)

    def unpack(self, frame: Frame) -> bytes:
        """What is in an encoded frame. Raises RemoteProtocolError."""
        stream = self._open[frame.stream]
        if stream.unpacker is None:
            raise RemoteProtocolError("encoded-without-settings", f"stream {frame.stream} was not set up")
        try:
            octets = stream.unpacker.unpack(frame.payload, self._limits.decoded)
        except TooLarge as error:
            raise RemoteProtocolError("decoded-too-large", str(error)) from error
        except Malformed as error:
            raise RemoteProtocolError("decoding-failed", str(error)) from error
        stream.brought += len(octets)
        return octets

    def _make(self, octets: bytes) -> Unpacker:
        reader = RowReader(HG, _SETTINGS_LIMITS)
        try:
            values = reader.feed(octets)
        except RemoteProtocolError as error:
            raise RemoteProtocolError("settings-malformed", f"settings of a stream: {error}") from error
        if reader.end() or not values or not isinstance(values[0], bytes):
            raise RemoteProtocolError(
                "settings-malformed", "settings of a stream begin with the name of an encoding"
            )
        name = values[0]
        is_welcome = self.unpacks is None or name in self.unpacks or name == IDENTITY
        unpacker = make_unpacker(name) if is_welcome else None
        if unpacker is None:
            raise RemoteProtocolError("unknown-encoding", f"this side does not know the encoding {name!r}")
        if len(values) > 1:
            raise RemoteProtocolError(
                "encoding-extra-values", f"the encoding {name!r} takes no further values"
            )
        return unpacker
