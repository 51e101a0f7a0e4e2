"""The requests of the peer, and what we answer (M16-M56)."""

from collections.abc import Iterator
from typing import Any

import pytest

from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.events import (
    Aborted,
    Broken,
    CommandError,
    Event,
    Extension,
    Failed,
    Requested,
    atom_of,
)
from fieldpost.wire.session.frame import Frame, FrameType
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.outcome import STATUS_OK, NotActive, Unencodable
from fieldpost.wire.session.reactor import Reactor
from tests.wire.session.link import Link, feed, server, take

REQUEST, DATA, RESPONSE = FrameType.REQUEST, FrameType.DATA, FrameType.RESPONSE
PING = b"\xa1\x44name\x44ping"


BEGIN = Frame(FrameType.EXTENSION, 0, 1, 1, 1, encode(b"begin"))


def started(**how: Any) -> Reactor:
    """A server whose peer has begun stream 1."""
    reactor = server(**how)
    reactor.receive(BEGIN)
    return reactor


def receive(reactor: Reactor, *frames: tuple[int, int, int, bytes], now: float = 0.0) -> list[Event]:
    """Frames of type, request, flags, payload on stream 1."""
    rows = (Frame(type, request, 1, 0, flags, payload) for type, request, flags, payload in frames)
    return [event for frame in rows for event in reactor.receive(frame, now)]


def asked(*requests: int, **how: Any) -> Reactor:
    reactor = started(**how)
    for request in requests:
        receive(reactor, (REQUEST, request, 1, PING))
    return reactor


def code_of(events: list[Event]) -> str:
    broken = events[-1]
    assert isinstance(broken, Broken)
    return broken.code


@pytest.mark.conformance("M16")
def test_request() -> None:
    """A request in one frame runs, without data."""
    assert receive(started(), (REQUEST, 1, 1, PING)) == [Requested(1, b"ping", {}, None)]


@pytest.mark.conformance("M17")
def test_any_id() -> None:
    """The first id may be any that is odd."""
    assert receive(started(), (REQUEST, 41, 1, PING)) == [Requested(41, b"ping", {}, None)]


@pytest.mark.conformance("M18")
def test_arguments() -> None:
    """All arguments arrive in one map."""
    payload = encode({b"args": {b"a": 1, b"b": [b"x"]}, b"name": b"cmd"})

    assert receive(started(), (REQUEST, 1, 1, payload)) == [
        Requested(1, b"cmd", {b"a": 1, b"b": [b"x"]}, None)
    ]


@pytest.mark.conformance("M19", "M20")
def test_data() -> None:
    """Data in several frames are joined in order, and then the request runs."""
    reactor = started()
    early = receive(reactor, (REQUEST, 1, 9, PING), (DATA, 1, 1, b"one"), (DATA, 1, 1, b"two"))

    assert early == []
    assert receive(reactor, (DATA, 1, 2, b"three")) == [Requested(1, b"ping", {}, b"onetwothree")]


@pytest.mark.conformance("M26", "M27")
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("size", [1, 40_000])
def test_id_in_use(bare: bool, size: int) -> None:
    """An id is free when the last frame of its answer was handed out, and not before."""
    used, free = asked(1, bare=bare), asked(1, bare=bare)
    for reactor in (used, free):
        reactor.respond(1, [bytes(size)], end=True)
    free.data_to_send()

    assert code_of(receive(used, (REQUEST, 1, 1, PING))) == "request-id-active"
    assert receive(free, (REQUEST, 1, 1, PING)) == [Requested(1, b"ping", {}, None)]


@pytest.mark.conformance("M29")
def test_two_at_once() -> None:
    """A request runs while another still waits for its data, in one frame or with data of its own."""
    reactor = started(bare=False)

    events = receive(
        reactor, (REQUEST, 1, 9, PING), (REQUEST, 3, 1, PING), (REQUEST, 5, 9, PING), (DATA, 5, 2, b"x")
    )

    assert events == [Requested(3, b"ping", {}, None), Requested(5, b"ping", {}, b"x")]
    assert reactor.partial == 1


@pytest.mark.conformance("M31")
def test_stray_continuation() -> None:
    """A continuation of a request that does not go on is an error."""
    assert code_of(receive(started(), (REQUEST, 1, 2, PING))) == "request-not-receiving"
    assert code_of(receive(asked(1), (DATA, 1, 2, b""))) == "wrong-frame-when-idle"


@pytest.mark.conformance("M37")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "request-empty"),
        (b"\xa1", "request-malformed"),
        (b"\xff", "request-malformed"),
        (PING + PING, "request-malformed"),
        (encode(1), "request-not-a-map"),
        (encode([PING]), "request-not-a-map"),
        (encode(PING), "request-not-a-map"),
        (encode({b"args": {}}), "missing-name"),
        (encode({b"name": 1}), "request-bad-name"),
        (encode({b"name": "text"}), "request-bad-name"),
        (encode({b"name": b"x", b"args": 1}), "request-bad-args"),
    ],
)
def test_bad_maps(payload: bytes, code: str) -> None:
    """What is no request closes the connection, with a farewell."""
    reactor = started()

    assert code_of(receive(reactor, (REQUEST, 1, 1, payload))) == code
    (farewell,) = take(reactor)
    assert (farewell.type, farewell.request) == (FrameType.ERROR, 1)


@pytest.mark.conformance("M39")
@pytest.mark.parametrize("request_id", [0, 2])
def test_parity(request_id: int) -> None:
    """Even ids, and 0, are not a client's."""
    assert code_of(receive(started(), (REQUEST, request_id, 1, PING))) == "request-id-parity"
    assert code_of(Reactor(Role.CLIENT).receive(Frame(REQUEST, 1, 2, 1, 1, PING))) == "request-id-parity"


@pytest.mark.conformance("M40")
@pytest.mark.parametrize(
    ("flags", "code"),
    [(1, "stream-already-begun"), (8, "stream-flags-unknown"), (128, "stream-flags-unknown")],
)
def test_stream_flags(flags: int, code: str) -> None:
    """A stream that is begun again, and flags that are not known."""
    assert code_of(asked(1).receive(Frame(REQUEST, 3, 1, flags, 1, PING))) == code


def test_streams() -> None:
    """As many streams as were told, and a stream may be begun again after its end."""
    reactor = server(limits=Limits(streams=2))
    reactor.receive(Frame(REQUEST, 1, 1, 1, 1, PING))
    assert len(reactor.receive(Frame(REQUEST, 3, 3, 3, 1, PING))) == 1
    assert len(reactor.receive(Frame(REQUEST, 5, 3, 1, 1, PING))) == 1

    assert code_of(reactor.receive(Frame(REQUEST, 7, 5, 1, 1, PING))) == "too-many-streams"


@pytest.mark.conformance("M41")
def test_extensions() -> None:
    """An extension that may be ignored is an event; another, and an unknown type, is an error."""
    name = encode(b"shiny")

    assert receive(started(), (15, 7, 1, name + b"data")) == [Extension(7, b"shiny", b"data")]
    assert code_of(receive(started(), (15, 7, 0, name))) == "unknown-extension"
    assert code_of(receive(started(), (15, 7, 1, b""))) == "extension-malformed"
    assert code_of(receive(started(), (4, 1, 0, b""))) == "unknown-frame-type"


@pytest.mark.conformance("M42")
def test_too_many_partial() -> None:
    """A further partial request is answered `busy`; the rest of it is dropped, and the others go on."""
    reactor = started(limits=Limits(partial=1), bare=False)
    receive(reactor, (REQUEST, 1, 9, PING), (REQUEST, 3, 9, PING), (DATA, 3, 1, b"x"), (DATA, 3, 2, b"x"))

    (refusal,) = take(reactor)
    assert (refusal.type, refusal.request, b"busy" in refusal.payload) == (RESPONSE, 3, True)
    assert receive(reactor, (DATA, 1, 2, b"")) == [Requested(1, b"ping", {}, b"")]
    assert receive(reactor, (REQUEST, 3, 1, PING)) == [Requested(3, b"ping", {}, None)]


@pytest.mark.conformance("M42")
@pytest.mark.parametrize(
    "frames",
    [
        [(REQUEST, 1, 5, bytes(60)), (REQUEST, 1, 6, bytes(60)), (REQUEST, 1, 2, bytes(60))],
        [(REQUEST, 1, 1, encode({b"name": b"x", b"args": {b"a": bytes(100)}}))],
        [(REQUEST, 1, 1, b"\xa1\x44name" + b"\x81" * 20 + b"\1")],
        [(REQUEST, 1, 5, b"\xa1\x44name" + b"\x81" * 10), (REQUEST, 1, 2, b"\x81" * 10 + b"\1")],
        [(REQUEST, 1, 9, PING), (DATA, 1, 1, bytes(200)), (DATA, 1, 1, bytes(200)), (DATA, 1, 2, b"")],
    ],
)
def test_too_large(frames: list[tuple[int, int, int, bytes]]) -> None:
    """A request that is too large is answered so; what comes of it after that is dropped."""
    reactor = started(limits=Limits(request=100, data=300), bare=False)

    assert receive(reactor, *frames) == []
    (refusal,) = take(reactor)
    assert (refusal.type, refusal.flags, b"too-large" in refusal.payload) == (RESPONSE, 2, True)
    assert (reactor.active, reactor.partial, reactor.is_over) == (0, 0, False)
    assert receive(reactor, (REQUEST, 1, 1, PING)) == [Requested(1, b"ping", {}, None)]


@pytest.mark.conformance("M42")
def test_too_large_at_once() -> None:
    """A request that grows too large is refused while it comes, and nothing more of it is kept."""
    reactor = started(limits=Limits(request=100), bare=False)
    receive(reactor, (REQUEST, 1, 5, bytes(60)), (REQUEST, 1, 6, bytes(60)))

    (refusal,) = take(reactor)
    assert (refusal.flags, b"too-large" in refusal.payload, reactor.partial) == (2, True, 0)
    assert receive(reactor, *[(REQUEST, 1, 6, bytes(60))] * 100, (REQUEST, 1, 2, b"")) == []
    assert (take(reactor), reactor.is_over) == ([], False)


@pytest.mark.conformance("M42")
@pytest.mark.parametrize(("bare", "type"), [(True, FrameType.ERROR), (False, FrameType.CANCEL)])
def test_too_old(bare: bool, type: FrameType) -> None:
    """A request that stops coming is cancelled after its time."""
    reactor = started(bare=bare)
    receive(reactor, (REQUEST, 1, 9, PING), now=10.0)
    receive(reactor, (DATA, 1, 1, b"x"), now=20.0)
    assert reactor.next_deadline() == 80.0
    reactor.tick(79.0)
    assert reactor.data_to_send() == b""

    reactor.tick(80.0)

    assert [frame.type for frame in take(reactor)] == [type]
    assert (reactor.partial, reactor.next_deadline()) == (0, None)
    assert receive(reactor, (DATA, 1, 2, b"late"), (REQUEST, 1, 1, PING)) == [Requested(1, b"ping", {}, None)]


def test_too_many_active() -> None:
    """A request above what runs at once is answered `busy`."""
    reactor = asked(1, limits=Limits(active=1), bare=False)

    assert receive(reactor, (REQUEST, 3, 1, PING)) == []
    (refusal,) = take(reactor)
    assert (refusal.request, refusal.flags, b"busy" in refusal.payload) == (3, 2, True)


@pytest.mark.conformance("M43")
def test_end_of_input() -> None:
    """At the end of input each partial and each active request is told as aborted, once."""
    reactor = asked(1)
    receive(reactor, (REQUEST, 3, 9, PING))

    events = reactor.end()

    assert {event.request for event in events if isinstance(event, Aborted)} == {1, 3}
    assert (len(events), reactor.end(), reactor.receive(Frame(REQUEST, 5, 1, 0, 1, PING))) == (2, [], [])


@pytest.mark.conformance("M46", "M47")
def test_coalescing() -> None:
    """Values share frames up to the limit, and larger ones are cut."""
    reactor = asked(1, bare=False, limits=Limits(send_frame=100))
    reactor.respond(1, [b"x" * 20] * 3 + [b"y" * 250], end=True)

    frames = take(reactor)
    assert [len(frame.payload) for frame in frames] == [100, 100, 100, 26]
    assert [frame.flags for frame in frames] == [1, 1, 1, 2]


@pytest.mark.conformance("M45")
@pytest.mark.parametrize("size", [1, 100_000])
def test_stream_is_begun_once(size: int) -> None:
    """In a session too, whether answers are short or wait for their turn."""
    reactor = asked(1, 3, bare=False)
    flags = []
    for request in (1, 3):
        reactor.respond(request, [bytes(size)], end=True)
        flags += [frame.stream_flags for frame in take(reactor)]

    assert flags == [1] + [0] * (len(flags) - 1)


def test_unflushed() -> None:
    """What is not flushed waits for a full frame, for more, or for the end."""
    reactor = asked(1, bare=False, limits=Limits(send_frame=100))
    reactor.respond(1, [b"x" * 50], end=False, flush=False)
    assert take(reactor) == []
    reactor.respond(1, [b"x" * 50], end=False, flush=False)
    assert [len(frame.payload) for frame in take(reactor)] == [100]
    reactor.respond(1, [], end=True)
    assert [(len(frame.payload), frame.flags) for frame in take(reactor)] == [(15, 2)]


@pytest.mark.conformance("M50")
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_error_after_output(bare: bool, sent: bool) -> None:
    """An error after output has begun comes behind all of it, in an error frame."""
    reactor = asked(1, bare=bare)
    reactor.respond(1, [b"value"], end=False)
    frames = take(reactor) if sent else []
    reactor.fail(1, "broke", "it broke")
    frames += take(reactor)

    assert frames[-1].type == FrameType.ERROR
    assert b"".join(frame.payload for frame in frames[:-1]) == STATUS_OK + encode(b"value")
    assert all(frame.type == RESPONSE and frame.flags == 1 for frame in frames[:-1])
    assert reactor.active == 0


@pytest.mark.conformance("M50")
def test_error_with_details() -> None:
    """In a session an error carries a code, text, and what else was said."""
    link = Link()
    link.client.request(b"one")
    link.client.request(b"two")
    link.run()
    link.server.fail(1, "later", "come again", retry_after=5)
    link.server.respond(3, [1], end=False)
    link.server.fail(3, b"broke", "it broke", {b"status": 500})

    first, _, second = link.run()

    assert isinstance(first, Failed) and isinstance(second, Failed)
    assert (first.error.code, first.error.text, first.error.details) == (
        b"later",
        "come again",
        {b"retry-after": 5},
    )
    assert (second.error.code, second.error.details, second.began) == (b"broke", {b"status": 500}, True)


@pytest.mark.conformance("M51")
@pytest.mark.parametrize("bare", [True, False])
def test_empty_answer(bare: bool) -> None:
    """An answer without values is a status and the end, in one frame."""
    reactor = asked(1, bare=bare)
    reactor.respond(1, [], end=True)

    assert [(frame.payload, frame.flags) for frame in take(reactor)] == [(STATUS_OK, 2)]


@pytest.mark.conformance("M52")
@pytest.mark.parametrize("began", [True, False])
def test_unencodable(began: bool) -> None:
    """A value that does not travel is an error frame to the peer, and the id is free."""
    reactor = asked(1)
    if began:
        reactor.respond(1, [1], end=False)
    with pytest.raises(Unencodable):
        reactor.respond(1, [object()], end=True)

    frames = take(reactor)
    assert frames[-1].type == FrameType.ERROR
    assert len(frames) == (3 if began else 1)
    assert receive(reactor, (REQUEST, 1, 1, PING)) == [Requested(1, b"ping", {}, None)]


@pytest.mark.conformance("M52")
def test_producer_fails() -> None:
    """When the source of the values fails, nothing has changed: whoever answers says how it ends."""
    reactor = asked(1)

    def values() -> Iterator[int]:
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError):
        reactor.respond(1, values(), end=True)
    assert reactor.data_to_send() == b""
    reactor.fail(1, "internal", kind=b"server")
    assert [frame.type for frame in take(reactor)] == [FrameType.ERROR]


@pytest.mark.conformance("M53")
def test_not_active() -> None:
    """Answering what is not active is refused before any frame is made."""
    reactor = asked(1)
    reactor.respond(1, [], end=True)
    for call in (
        lambda: reactor.respond(1, [], end=True),
        lambda: reactor.respond(3, [], end=True),
        lambda: reactor.fail(3, "x"),
        lambda: reactor.drop(3),
        lambda: reactor.output(3, "x"),
        lambda: reactor.progress(3, b"x", 1, 2),
    ):
        with pytest.raises(NotActive):
            call()

    assert len(take(reactor)) == 1


@pytest.mark.conformance("M54")
def test_deferred() -> None:
    """A deferred server says nothing until the input ends; then what is ended, and later what ends later."""
    reactor = asked(1, 3, 5, deferred=True)
    reactor.respond(3, [b"three"], end=True)
    reactor.respond(1, [b"one"], end=False)
    assert reactor.data_to_send() == b""

    assert reactor.end() == []
    assert {frame.request for frame in take(reactor)} == {3}
    reactor.respond(5, [b"five"], end=True)
    reactor.respond(1, [], end=True)
    assert [frame.request for frame in take(reactor) if frame.flags == 2] == [5, 1]


@pytest.mark.conformance("M54", "M43")
def test_deferred_partial() -> None:
    """What is not whole when a deferred input ends is aborted."""
    reactor = asked(1, deferred=True)
    receive(reactor, (REQUEST, 3, 9, PING))

    assert [event.request for event in reactor.end() if isinstance(event, Aborted)] == [3]


@pytest.mark.conformance("M55")
def test_streams_of_server() -> None:
    """A server writes on even streams, whatever it writes; a client on odd ones."""
    link = Link(encoding=b"zlib")
    link.client.request(b"get", data=b"x" * 1000, bulk=True)
    link.run()
    link.server.respond(1, [b"x"], end=True, bulk=True)
    link.run()

    parities = {(role, frame.stream % 2) for role, frame in link.sent}
    assert parities == {(Role.CLIENT, 1), (Role.SERVER, 0)}


@pytest.mark.conformance("M56")
def test_drop() -> None:
    """Dropping an answer frees the id, and the peer learns that it is cancelled."""
    link = Link()
    link.client.request(b"get")
    link.run()
    link.server.respond(1, [bytes(1_000_000)], end=False)
    link.server.data_to_send(1_000)
    link.server.drop(1)

    assert (link.server.active, link.server.unsent > 0) == (1, True)
    link.server.data_to_send()
    assert link.server.active == 0


@pytest.mark.conformance("M56")
def test_drop_is_told() -> None:
    """Whoever asked hears it once."""
    link = Link()
    link.client.request(b"get")
    link.run()
    link.server.respond(1, [1], end=False)
    link.run()
    link.server.drop(1)

    cancelled = CommandError(b"cancelled", (atom_of("the request was cancelled"),), kind=b"cancelled")
    assert link.run() == [Failed(1, cancelled, True)]
    assert link.client.outstanding == 0


@pytest.mark.conformance("M56")
@pytest.mark.parametrize("taken", [0, 5, 1_000, 40_000, 100_000])
def test_drop_of_half_an_answer(taken: int) -> None:
    """However much of it was handed out, in the middle of a frame too, whoever asked hears what left and then the end."""
    link = Link()
    link.client.request(b"get")
    link.run()
    link.server.respond(1, [bytes(20_000)] * 10, end=False)
    begun = link.server.data_to_send(taken)
    link.server.drop(1)

    events = feed(link.client, begun + link.server.data_to_send())

    assert isinstance(events[-1], Failed)
    assert (link.server.active, link.client.outstanding) == (0, 0)


def test_long_text() -> None:
    """Errors obey the limit of frames: one that is too long loses its text, output is refused."""
    reactor = asked(1, 3, bare=False, limits=Limits(send_frame=200))
    reactor.respond(1, [], end=False)
    reactor.fail(1, "broke", "x" * 5_000)
    reactor.fail(3, "broke", "x" * 5_000)
    assert max(len(frame.payload) for frame in take(reactor)) <= 200

    other = asked(1, limits=Limits(send_frame=200))
    with pytest.raises(LocalProtocolError):
        other.output(1, "x" * 300)


@pytest.mark.conformance("N14")
def test_responses_in_turn() -> None:
    """Long answers share the connection a frame at a time, and short ones do not wait for their end."""
    link = Link()
    for _ in range(2):
        link.client.request(b"get")
    link.run()
    link.server.respond(1, [bytes(200_000)], end=True)
    link.server.respond(3, [bytes(100_000)], end=True)
    link.run(link.consume)

    order = [frame.request for role, frame in link.sent if frame.type == RESPONSE]
    assert order[:6] == [1, 3, 1, 3, 1, 3]
