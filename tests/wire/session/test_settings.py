"""Settings, and streams that are packed (M57-M67)."""

import random
import zlib
from typing import Any

import pytest

from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import Malformed, TooLarge
from fieldpost.wire.session import encodings
from fieldpost.wire.session.encodings import NAMES, WORTH_PACKING, choose, make_packer, make_unpacker
from fieldpost.wire.session.events import Broken, Event, Failed, Requested, Responded, Settings
from fieldpost.wire.session.frame import Frame, FrameType, StreamFlag
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.outcome import STATUS_OK
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import encode_map
from tests.wire.session.link import Link, client, feed, open_streams, server, take

HELLO, STREAM, RESPONSE = FrameType.HELLO, FrameType.STREAM, FrameType.RESPONSE
EMPTY = encode_map({})


def code_of(events: list[Event]) -> str:
    broken = events[-1]
    assert isinstance(broken, Broken)
    return broken.code


@pytest.mark.conformance("M57")
def test_once() -> None:
    """Settings come once, and first; with two allowed, a third is an error."""
    hello = Frame(HELLO, 0, 1, 0, 2, EMPTY)
    begin = Frame(HELLO, 0, 1, 1, 2, EMPTY)
    once, twice = server(), Reactor(Role.SERVER, most_settings=2)

    assert once.receive(begin) == [Settings({})]
    assert code_of(once.receive(hello)) == "wrong-first-frame"
    assert twice.receive(begin) + twice.receive(hello) == [Settings({})] * 2
    assert code_of(twice.receive(hello)) == "wrong-first-frame"


@pytest.mark.conformance("M58", "M60")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "settings-empty"),
        (b"\xff", "settings-malformed"),
        (EMPTY + EMPTY, "settings-more-than-one-value"),
        (encode([]), "settings-not-a-map"),
        (encode_map({b"contentencodings": b"zlib"}), "settings-bad-encodings"),
        (encode_map({b"contentencodings": [1]}), "settings-bad-encodings"),
        (encode_map({b"contentencodings": {b"zlib": 1}}), "settings-bad-encodings"),
        (bytes(20_000), "settings-too-large"),
    ],
)
def test_bad_settings(payload: bytes, code: str) -> None:
    """Settings that are none are an error."""
    assert code_of(server().receive(Frame(HELLO, 0, 1, 1, 2, payload))) == code


@pytest.mark.conformance("M59")
def test_joined() -> None:
    """Settings in several frames are joined; nothing else may come between."""
    first, second = Frame(HELLO, 0, 1, 1, 1, EMPTY[:0] + b"\xa1"), Frame(HELLO, 0, 1, 0, 2, b"\x41a\1")
    joined, cut = server(), server()

    assert joined.receive(first) + joined.receive(second) == [Settings({b"a": 1})]
    cut.receive(first)
    assert (
        code_of(cut.receive(Frame(FrameType.REQUEST, 1, 1, 0, 1, b"\xa1\x44name\x41x")))
        == "settings-interrupted"
    )


@pytest.mark.conformance("M61")
def test_nothing_in_common() -> None:
    """Unknown names are passed over; with nothing in common things go plain."""
    assert choose((b"zlib",), (b"brotli", b"zlib")) == b"zlib"
    assert choose((b"zlib",), (b"brotli", b"identity")) is None
    reactor = server(encoding=choose((b"zlib",), (b"brotli",)))
    reactor.receive(Frame(FrameType.REQUEST, 1, 1, 1, 1, b"\xa1\x44name\x41x"))
    reactor.respond(1, [b"response"], end=True)

    assert [(frame.type, frame.stream_flags) for frame in take(reactor)] == [
        (RESPONSE, 1),
        (RESPONSE, 0),
        (RESPONSE, 0),
    ]


@pytest.mark.conformance("M61")
def test_chosen_from_settings() -> None:
    """A bare server packs its answers as the client's settings allow, by its own order."""
    reactor, peer = server(), client()
    peer.settings({b"contentencodings": [b"brotli", b"zlib"]})
    peer.request(b"get")
    settings, _ = feed(reactor, peer.data_to_send())
    assert isinstance(settings, Settings)
    reactor.encoding = choose((b"zlib",), tuple(settings.values[b"contentencodings"]))
    reactor.respond(1, [b"x" * 1_000], end=True)
    octets = reactor.data_to_send()

    assert len(octets) < 200
    assert [
        value for event in feed(peer, octets) if isinstance(event, Responded) for value in event.values
    ] == [b"x" * 1_000]


def asking(**how: Any) -> Reactor:
    reactor = client(**how)
    for _ in range(3):
        reactor.request(b"cmd")
    reactor.data_to_send()
    return reactor


@pytest.mark.conformance("M58", "M62", "M66")
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(STREAM, 1, 2, 1, 2, encode(b"brotli"))], "unknown-encoding"),
        ([Frame(STREAM, 1, 2, 1, 2, encode(b"zlib") + encode(1))], "encoding-extra-values"),
        ([Frame(STREAM, 1, 2, 1, 2, encode(1))], "settings-malformed"),
        ([Frame(STREAM, 1, 2, 1, 2, b"\xff")], "settings-malformed"),
        ([Frame(STREAM, 1, 2, 1, 2, b"\x44z")], "settings-malformed"),
        ([Frame(STREAM, 1, 2, 1, 2, bytes(2_000))], "settings-too-large"),
        (
            [Frame(STREAM, 1, 2, 1, 2, encode(b"zlib")), Frame(STREAM, 1, 2, 0, 2, encode(b"zlib"))],
            "settings-repeated",
        ),
        ([Frame(RESPONSE, 1, 2, 5, 2, b"x")], "encoded-without-settings"),
        (
            [Frame(STREAM, 1, 2, 1, 2, encode(b"zlib")), Frame(RESPONSE, 1, 2, 4, 2, b"nope")],
            "decoding-failed",
        ),
    ],
)
def test_bad_streams(frames: list[Frame], code: str) -> None:
    """A stream that is set up wrongly, or not at all, is an error."""
    reactor = asking()

    assert code_of([event for frame in frames for event in reactor.receive(frame)]) == code


def packed(octets: bytes) -> bytes:
    packer = zlib.compressobj()
    return packer.compress(octets) + packer.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.conformance("M66")
@pytest.mark.parametrize("name", NAMES)
def test_bombs(name: bytes) -> None:
    """A frame that unpacks to more than allowed closes the connection, without being unpacked further."""
    bomb = make_packer(name).pack(STATUS_OK + bytes(30_000_000))
    reactor = asking()
    reactor.receive(Frame(STREAM, 1, 2, 1, 2, encode(name)))

    assert code_of(reactor.receive(Frame(RESPONSE, 1, 2, 4, 2, bomb))) == "decoded-too-large"


@pytest.mark.conformance("M66")
def test_slow_bomb() -> None:
    """So does a request whose frames unpack to too much together."""
    reactor = asking(limits=Limits(decoded=10_000, decoded_request=50_000))
    packer = make_packer(b"zlib")
    reactor.receive(Frame(STREAM, 1, 2, 1, 2, encode(b"zlib")))
    reactor.receive(Frame(RESPONSE, 1, 2, 4, 1, packer.pack(STATUS_OK)))
    for _ in range(9):
        reactor.receive(Frame(RESPONSE, 1, 2, 4, 1, packer.pack(encode(bytes(5_000)))))
    assert not reactor.is_over

    events = reactor.receive(Frame(RESPONSE, 1, 2, 4, 1, packer.pack(encode(bytes(5_000)))))

    assert code_of(events) == "decoded-request-too-large"


@pytest.mark.conformance("M67")
def test_data_unpack_to_too_much() -> None:
    """Nor may the data of a request."""
    reactor, packer = Reactor(Role.SERVER, limits=Limits(decoded_request=50_000)), make_packer(b"zlib")
    reactor.receive(Frame(FrameType.REQUEST, 1, 1, 1, 9, b"\xa1\x44name\x41x"))
    reactor.receive(Frame(STREAM, 1, 3, 1, 1, b"\x44"))
    reactor.receive(Frame(STREAM, 1, 3, 0, 2, b"zlib"))
    assert reactor.receive(Frame(FrameType.DATA, 1, 3, 4, 1, packer.pack(bytes(50_000)))) == []

    events = reactor.receive(Frame(FrameType.DATA, 1, 3, 4, 1, packer.pack(b"x")))
    assert code_of(events) == "decoded-request-too-large"


@pytest.mark.conformance("M63")
@pytest.mark.parametrize("name", [*NAMES, b"identity"])
def test_octet_by_octet(name: bytes) -> None:
    """A packed answer cut in frames of one octet is read the same."""
    octets = make_packer(name).pack(STATUS_OK + encode([b"x" * 100, {b"k": 1}]))
    reactor = asking()
    reactor.receive(Frame(STREAM, 1, 2, 1, 2, encode(name)))

    events = [
        event
        for place in range(len(octets))
        for event in reactor.receive(Frame(RESPONSE, 1, 2, 4, 1, octets[place : place + 1]))
    ]

    values = [value for event in events if isinstance(event, Responded) for value in event.values]
    assert values == [[b"x" * 100, {b"k": 1}]]


@pytest.mark.conformance("M64")
@pytest.mark.parametrize("name", NAMES)
def test_shared_packer(name: bytes) -> None:
    """Answers of a bare server share its stream and a packer: the second of two alike is much shorter, and reads on its own."""
    reactor, peer = server(encoding=name), client()
    text = bytes(range(256)) * 20
    sizes = []
    for request in (1, 3):
        peer.request(b"get")
        feed(reactor, peer.data_to_send())
        reactor.respond(request, [text], end=True)
        octets = reactor.data_to_send()
        sizes.append(len(octets))
        values = [v for event in feed(peer, octets) if isinstance(event, Responded) for v in event.values]
        assert values == [text]

    assert sizes[1] * 2 < sizes[0] < len(text)


def on_streams(frames: list[Frame]) -> dict[int, list[int]]:
    """The flags of the frames on each stream but the main ones."""
    found: dict[int, list[int]] = {}
    for frame in frames:
        if frame.stream > 2:
            found.setdefault(frame.stream, []).append(frame.stream_flags)
    return found


@pytest.mark.conformance("M67")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_stream_for_each(name: bytes, asks: bool, size: int) -> None:
    """Each body has a stream and a packer of its own: the second of two alike is as long as the first, and nothing stays."""
    link = Link(encoding=name)
    text = random.Random(1).randbytes(size).hex().encode()
    sizes = []
    for _ in range(2):
        before = len(link.sent)
        request = link.client.request(b"put", data=text if asks else None, bulk=asks)
        assert link.run() == [Requested(request, b"put", {}, text if asks else None)]
        link.server.respond(request, [] if asks else [text], end=True, bulk=not asks)
        link.run(lambda reactor, event: link.consume(reactor, event))
        frames = [frame for _, frame in link.sent[before:]]
        ((id, flags),) = on_streams(frames).items()
        assert id == (3 if asks else 4)
        assert flags[0] == StreamFlag.BEGIN
        assert flags[-1] == StreamFlag.END | StreamFlag.ENCODED
        assert flags[1:-1] == [StreamFlag.ENCODED] * (size // 25_000)
        assert not open_streams(link.client) and not open_streams(link.server)
        sizes.append(sum(len(frame.payload) for frame in frames if frame.stream == id))

    assert sizes[0] == sizes[1] < len(text) * 2 / 3


@pytest.mark.parametrize(("streams", "packed"), [(1, 0), (2, 1), (3, 2), (8, 4), (2**31 - 1, 4)])
def test_as_many_streams_as_the_peer_takes(streams: int, packed: int) -> None:
    """Bodies that go in turn are packed as far as the peer takes streams; the others go plain, and all arrive."""
    limits = Limits(streams=streams)
    link = Link(encoding=b"zlib", limits=limits, peer_limits=limits)
    texts = [bytes([number]) * 200_000 for number in range(4)]
    for text in texts:
        link.client.request(b"put", data=text, bulk=True)

    assert sorted(event.data or b"" for event in link.run() if isinstance(event, Requested)) == texts
    assert len(on_streams([frame for _, frame in link.sent])) == packed
    assert not open_streams(link.client) and not open_streams(link.server)


def test_as_much_as_the_peer_unpacks() -> None:
    """No frame unpacks to more than the peer said that it takes from one."""
    limits = Limits(decoded=1_000)
    link = Link(encoding=b"zlib", limits=limits, peer_limits=limits)
    request = link.client.request(b"put", data=bytes(50_000), bulk=True)

    assert link.run() == [Requested(request, b"put", {}, bytes(50_000))]


def test_many_bodies() -> None:
    """Any number of bodies may be packed at once after each other; streams that bring nothing are counted like pings."""
    link = Link(encoding=b"zlib")
    for _ in range(1_000):
        request = link.client.request(b"put", data=bytes(WORTH_PACKING), bulk=True)
        link.run()
        link.server.respond(request, [], end=True)
        link.run()
    assert not link.server.is_over
    setting_up = [Frame(STREAM, 0, 3, 3, 2, encode(b"zlib"))] * 201

    events = [event for frame in setting_up for event in link.server.receive(frame)]

    assert code_of(events) == "flood"


@pytest.mark.conformance("M65")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["fail", "drop", "cancel"])
@pytest.mark.parametrize("sent", [0, 100, 1_000])
def test_after_abort(name: bytes, how: str, sent: int) -> None:
    """A packed answer that is broken off ends its stream: the next on it is its own and nothing else."""
    link = Link(encoding=name)
    for _ in range(2):
        link.client.request(b"get")
    link.run()
    link.server.respond(1, [b"lost" * 20_000], end=False, bulk=True)
    feed(link.client, take_whole(link.server)) if sent else None
    if how == "cancel":
        link.client.cancel(1)
        link.run()
    else:
        link.server.fail(1, "broke") if how == "fail" else link.server.drop(1)
    link.server.respond(3, [b"mine" * 20_000], end=True, bulk=True)

    events = link.run()

    values = [
        v for event in events if isinstance(event, Responded) and event.request == 3 for v in event.values
    ]
    assert values == [b"mine" * 20_000]
    assert (link.client.outstanding, link.server.active) == (0, 0)
    assert not open_streams(link.client) and not open_streams(link.server)


@pytest.mark.conformance("M50", "M65")
def test_an_error_behind_what_waits_for_credit() -> None:
    """What is packed and waits for credit goes before the error that ends its answer, on the stream that both end."""
    limits = Limits(credit=8_000)
    link = Link(encoding=b"zlib", limits=limits, peer_limits=limits)
    text = random.Random(1).randbytes(20_000)
    request = link.client.request(b"get")
    link.run()
    link.server.respond(request, [text], end=False, bulk=True)
    waiting = link.run()
    link.server.fail(request, "broke")

    events = link.run()
    assert not any(isinstance(event, Failed) for event in events)
    for event in waiting:
        link.consume(link.client, event)
    events += link.run(link.consume)

    failed = events[-1]
    assert isinstance(failed, Failed) and failed.error.code == b"broke"
    assert [v for event in events if isinstance(event, Responded) for v in event.values] == [text]
    assert not open_streams(link.client) and not open_streams(link.server)


def take_whole(reactor: Reactor) -> bytes:
    return reactor.data_to_send()


@pytest.mark.conformance("M67")
@pytest.mark.parametrize("name", NAMES)
def test_other_direction(name: bytes) -> None:
    """Data of a request are packed on a stream of the client, and read by the server."""
    link = Link(encoding=name)
    for turn in range(2):
        request = link.client.request(b"put", data=b"inventory" * 9_000, bulk=True)
        assert link.run() == [Requested(request, b"put", {}, b"inventory" * 9_000)]
        assert turn or link.server.partial == 0

    data = [frame for _, frame in link.sent if frame.type == FrameType.DATA]
    assert {frame.stream for frame in data} == {3}
    assert all(frame.stream_flags & StreamFlag.ENCODED for frame in data if frame.payload)


@pytest.mark.conformance("M65", "M67")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sent", [1, 20_000])
def test_after_abort_in_the_other_direction(name: bytes, sent: int) -> None:
    """After packed data that were taken back, those of the next request are its own and nothing else."""
    link = Link(encoding=name)
    lost = link.client.request(b"put", has_data=True, bulk=True)
    link.client.send_data(lost, b"lost" * sent, end=False)
    link.run()
    link.client.send_data(lost, b"more" * sent, end=False)
    link.client.cancel(lost)
    mine = link.client.request(b"put", data=b"mine" * 20_000, bulk=True)

    assert link.run() == [Requested(mine, b"put", {}, b"mine" * 20_000)]
    assert not open_streams(link.client) and not open_streams(link.server)


@pytest.mark.conformance("M67")
def test_encoded_to_server() -> None:
    """A packed frame to a server on a stream that was not set up is an error, as at a client."""
    reactor = Reactor(Role.SERVER)

    frame = Frame(FrameType.REQUEST, 1, 1, 5, 1, b"x")
    assert code_of(reactor.receive(frame)) == "encoded-without-settings"


def test_stream_ends_with_its_settings() -> None:
    """A stream that ends with the frame of its settings can be begun and set up again."""
    reactor = asking()
    assert reactor.receive(Frame(STREAM, 1, 2, 3, 2, encode(b"zlib"))) == []
    assert reactor.receive(Frame(STREAM, 1, 2, 1, 2, encode(b"zlib"))) == []

    events = reactor.receive(Frame(RESPONSE, 1, 2, 4, 2, packed(STATUS_OK)))
    assert events == [Responded(1, (), 0, True)]


@pytest.mark.parametrize("name", NAMES)
def test_unpackers(name: bytes) -> None:
    """An unpacker gives exactly what went in, and refuses what is too much or is none."""
    packer, unpacker = make_packer(name), make_unpacker(name)
    assert unpacker is not None
    for octets in (b"", b"one", bytes(100_000), b"two"):
        piece = packer.pack(octets)
        assert unpacker.unpack(piece, 100_000) == octets
    with pytest.raises(TooLarge):
        unpacker.unpack(packer.pack(bytes(2_000_000)), 1_999_999)
    fresh = make_unpacker(name)
    assert fresh is not None
    with pytest.raises(Malformed):
        fresh.unpack(b"\xff" * 100, 1_000)


def test_after_the_end_of_zlib() -> None:
    """Nothing may follow the end of a zlib stream."""
    whole = zlib.compress(b"all")
    for first, second in ((whole + b"x", None), (whole, b"x")):
        unpacker = make_unpacker(b"zlib")
        assert unpacker is not None
        with pytest.raises(Malformed):
            unpacker.unpack(first, 100)
            assert second is not None
            unpacker.unpack(second, 100)


def test_names() -> None:
    """zlib is always there, identity is never announced."""
    assert b"zlib" in encodings.NAMES
    assert b"identity" not in encodings.NAMES
    assert make_unpacker(b"brotli") is None
