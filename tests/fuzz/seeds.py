"""Octets that a fuzzer begins with: something of everything that a target understands."""

from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.frame import Frame, FrameType, encode_frame
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.opening import build_request
from fieldpost.wire.session.session import Session

REQUEST = encode_frame(Frame(FrameType.REQUEST, 1, 1, 1, 1, b"\xa2Dargs\xa1AaAbDnameDecho"))
ANSWERS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\nhello",
    b"HTTP/1.1 303 See Other\r\nLocation: https://there.example/session/a\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/x-fieldpost-refusal\r\n\r\n",
)


def _heard(*frames: bytes) -> bytes:
    """The part of a script in which these octets come in."""
    octets = b"".join(frames)
    pieces = [octets[at : at + 255] for at in range(0, len(octets), 255)]
    return b"".join(b"\1\0" + bytes([len(piece)]) + piece for piece in pieces)


def _sessions() -> tuple[bytes, bytes]:
    """The client's side of a conversation with a server, and the other way round."""
    ends = [
        Session(role=role, us=Profile(incarnation=bytes(8), nonce=bytes(32), id=id), now=0.0)
        for role, id in ((Role.CLIENT, None), (Role.SERVER, "s:me"))
    ]
    client, server = ends
    hellos = [end.data_to_send() for end in ends]
    server.receive_data(hellos[0], 0.0)
    client.receive_data(hellos[1], 0.0)
    server.decide(connection=(bytes(8), 1), session=bytes(16), now=0.0)
    decision = server.data_to_send()
    client.receive_data(decision, 0.0)
    asked = client.request(b"ask", {b"a": 1}, data=b"data", now=0.0)
    question = client.data_to_send()
    server.receive_data(question, 0.0)
    server.respond(asked, [{b"b": 2}, b"x" * 300], end=True, bulk=True)
    server.request(b"ask", {}, now=0.0)
    return (
        _heard(hellos[1], decision) + b"\0\1\0\0\0\1" + _heard(server.data_to_send()),
        _heard(hellos[0]) + b"\1" + _heard(question) + b"\0\1\1\1\1\0\2",
    )


_CLIENT, _SERVER = _sessions()
# Of the pair: each end writes its hello, each gets the other's, the server decides, and the client gets that.
_HANDSHAKE = b"\1\1\0\0\0\1\0\0\1\2\xff\xff\1\0\1\0\0\0\2\xff\xff"
# Then the client asks, that is written and got, and the same for the server's answer.
_CALL = b"\1\0\0\0\0\0\5\1\1\0\0\1\2\xff\xff\0\0\1\0\0\1\x0a\0\2\0\0\1\0\0\0\2\xff\xff"
SEEDS: dict[str, tuple[bytes, ...]] = {
    "framer": (b"\xff\xff\x05" + REQUEST, b"\xff\xff\0" + REQUEST + REQUEST),
    "rows": (b"\0\0\xa2Dargs\xa1AaAbDnameDecho", b"\1\x02\x5f\x42ab\x41c\xff\xd9\x01\x02\x81\x01"),
    "reactor_client": (b"\4\0\0" + _CLIENT,),
    "reactor_server": (b"\0\0\0" + _heard(REQUEST) + b"\0\1\1\0\0\0\0", b"\4\0\1" + _SERVER),
    "pair": (b"\0" + _HANDSHAKE, b"\1" + _CALL, b"\1" + 3 * _CALL),
    "session_client": (b"\0" + _CLIENT, b"\1"),
    "session_server": (b"\0" + _SERVER, b"\1"),
    "opening": tuple(
        bytes([inside, 0]) + head
        for inside in (0, 1)
        for head in (build_request(server="me", host="here", agent="a", inside=bool(inside)), *ANSWERS)
    ),
}
