"""
The frames of the connection itself: what is in them, and how many of them are too many (spec/wire.md 5.3, 5.8).
"""

from .. import cbor
from ..errors import RemoteProtocolError
from .events import Extension, Map, PeerClosed
from .frame import MAY_IGNORE, Frame
from .limits import Limits

MOST_COOKIE = 32
"""Octets of a ping."""
_LIMITS = cbor.Limits(octets=64 * 1024, depth=16, items=10_000)


def read_map(octets: bytes, what: str) -> Map:
    """The one map that a frame, or a row of them, holds. Raises RemoteProtocolError, its code beginning with `what`."""
    end = cbor.find_end(octets, 0, _LIMITS) if octets else None
    if end is not None and end < len(octets):
        raise RemoteProtocolError(
            f"{what}-more-than-one-value", f"a frame of {what} holds more than one value"
        )
    try:
        values = cbor.decode(octets, _LIMITS)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{what}-malformed", f"a frame of {what}: {error}") from error
    if not isinstance(values, dict):
        raise RemoteProtocolError(f"{what}-not-a-map", f"a frame of {what} holds no map")
    return values


def read_settings(octets: bytes) -> Map:
    """All of a peer's settings. Raises RemoteProtocolError."""
    values = read_map(octets, "settings")
    names = values.get(b"contentencodings", [])
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise RemoteProtocolError("settings-bad-encodings", "`contentencodings` is no list of names")
    return values


def read_close(octets: bytes) -> PeerClosed:
    """Raises RemoteProtocolError."""
    values = read_map(octets, "close")
    reason, last = values.get(b"reason", b""), values.get(b"last", 0)
    after, location = values.get(b"retry-after"), values.get(b"location")
    if not (
        isinstance(reason, bytes)
        and isinstance(last, int)
        and isinstance(after, int | None)
        and isinstance(location, bytes | None)
    ):
        raise RemoteProtocolError("close-malformed", "a close has a field of the wrong kind")
    return PeerClosed(reason, last, after, location)


def read_cancel(frame: Frame) -> bytes | None:
    """The reason, if one is given. Raises RemoteProtocolError."""
    if not frame.request:
        raise RemoteProtocolError("cancel-malformed", "a cancel names no request")
    reason = read_map(frame.payload, "cancel").get(b"reason") if frame.payload else None
    if not isinstance(reason, bytes | None):
        raise RemoteProtocolError("cancel-malformed", "the reason of a cancel is no octets")
    return reason


def check_ping(frame: Frame) -> None:
    """Raises RemoteProtocolError."""
    if frame.request or len(frame.payload) > MOST_COOKIE:
        raise RemoteProtocolError(
            "ping-malformed", f"a ping is for request 0 and of at most {MOST_COOKIE} octets"
        )


def read_extension(frame: Frame) -> Extension:
    """Raises RemoteProtocolError, also for one that may not be ignored: none is known."""
    if not frame.flags & MAY_IGNORE:
        raise RemoteProtocolError(
            "unknown-extension", "an extension that may not be ignored, and is not known"
        )
    payload = frame.payload
    end = cbor.find_end(payload, 0, _LIMITS) if payload else None
    name = cbor.load(payload[:end]) if end is not None else None
    if not isinstance(name, bytes):
        raise RemoteProtocolError("extension-malformed", "an extension does not begin with its name")
    return Extension(frame.request, name, payload[end:])


class FloodGauge:
    """Counts the frames that cost the peer nothing, a burst at a time."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._period = limits.control_frames, limits.control_period
        self._count, self._since = 0, 0.0

    def count(self, now: float) -> None:
        """One more. Raises RemoteProtocolError."""
        if now - self._since >= self._period:
            self._since, self._count = now, 0
        self._count += 1
        if self._count > self._most:
            text = f"more than {self._most} frames of control within {self._period:g} seconds"
            raise RemoteProtocolError("flood", text)
