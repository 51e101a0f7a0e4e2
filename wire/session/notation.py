"""
Frames as a line of text, for tests and for people who look at a connection.

    request 1 new,more on 1+: a2446e61
    response 1 end on 2: a146737461747573426f6b
    ping 0 - on 1: 00010203

Type, request, flags by name, the stream with `+` where it begins, `.` where it ends, `*` where the frame is packed, and the payload in
hexadecimal. What has no name is a number.
"""

from ..errors import LocalProtocolError
from .frame import Frame, FrameType, StreamFlag

_PARTS = {1: "continuation", 2: "end"}
_FLAGS = {
    FrameType.REQUEST: {1: "new", 2: "continuation", 4: "more", 8: "data"},
    FrameType.DATA: _PARTS,
    FrameType.RESPONSE: _PARTS,
    FrameType.HELLO: _PARTS,
    FrameType.STREAM: _PARTS,
    FrameType.DECISION: _PARTS,
    FrameType.CLOSE: _PARTS,
    FrameType.PING: {1: "pong"},
    FrameType.EXTENSION: {1: "ignorable"},
}
_STREAM_FLAGS = {StreamFlag.BEGIN: "+", StreamFlag.END: ".", StreamFlag.ENCODED: "*"}
_TYPES = {type.name.lower(): type for type in FrameType}


def show(frame: Frame) -> str:
    """The line of a frame."""
    types = {int(type): name for name, type in _TYPES.items()}
    stream_flags = "".join(sign for bit, sign in _STREAM_FLAGS.items() if frame.stream_flags & bit)
    return (
        f"{types.get(frame.type, frame.type)} {frame.request} {_show_flags(frame)} "
        f"on {frame.stream}{stream_flags}: {frame.payload.hex()}"
    ).rstrip()


def _show_flags(frame: Frame) -> str:
    names = _FLAGS.get(frame.type, {})  # type: ignore[call-overload]
    found = [names.get(bit, str(bit)) for bit in (1, 2, 4, 8) if frame.flags & bit]
    return ",".join(found) or "-"


def parse(line: str) -> Frame:
    """
    The frame of a line.

    Raises LocalProtocolError.
    """
    try:
        head, payload = line.split(":")
        type_word, request, flags, _, stream = head.split()
        type = int(_TYPES.get(type_word) or type_word)
        signs = {sign: bit for bit, sign in _STREAM_FLAGS.items()}
        number = stream.rstrip("".join(signs))
        stream_flags = sum(signs[sign] for sign in stream[len(number) :])
        octets = bytes.fromhex(payload)
        return Frame(type, int(request), int(number), stream_flags, _parse_flags(type, flags), octets)
    except (ValueError, KeyError) as error:
        raise LocalProtocolError(f"no line of a frame: {line!r}: {error}") from error


def _parse_flags(type: int, words: str) -> int:
    bits = {name: bit for bit, name in _FLAGS.get(type, {}).items()}  # type: ignore[call-overload]
    return sum(bits.get(word) or int(word) for word in words.split(",") if word != "-")
