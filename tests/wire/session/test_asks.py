"""The requests that we make, and how their answers are read (M9-M15, M68-M76)."""

from typing import Any

import pytest

from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.asks import RequestState
from fieldpost.wire.session.events import (
    Aborted,
    Broken,
    CommandError,
    Event,
    Failed,
    Output,
    Progress,
    Requested,
    Responded,
)
from fieldpost.wire.session.frame import Frame, FrameType
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.outcome import STATUS_OK, Busy
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import encode_map
from tests.wire.session.link import Link, client, server, take

RESPONSE = FrameType.RESPONSE
SESSION = {"bare": False}


def asking(count: int = 1, **how: Any) -> Reactor:
    reactor = client(**how)
    for _ in range(count):
        reactor.request(b"cmd")
    reactor.data_to_send()
    return reactor


def answer(reactor: Reactor, *payloads: bytes, request: int = 1) -> list[Event]:
    """Pieces of an answer, the last with its end."""
    last = len(payloads) - 1
    frames = [
        Frame(RESPONSE, request, 2, not place, 1 + (place == last), one) for place, one in enumerate(payloads)
    ]
    return [event for frame in frames for event in reactor.receive(frame)]


@pytest.mark.conformance("M10")
def test_begin_once() -> None:
    """The first frame of a stream begins it, and no later one."""
    reactor = client()
    reactor.request(b"one", data=b"data")
    reactor.request(b"two")

    assert [frame.stream_flags for frame in take(reactor)] == [1, 0, 0]


@pytest.mark.conformance("M11")
def test_long_request() -> None:
    """A request above the size of a frame is cut: new, continuations, and no more to follow."""
    reactor = client(limits=Limits(send_frame=16))
    reactor.request(b"command", {b"key": b"v" * 40})

    assert [frame.flags for frame in take(reactor)] == [5, 6, 6, 6, 2]


@pytest.mark.conformance("M12")
def test_data_announced() -> None:
    """That data follow is said on every frame of the request."""
    reactor = client(limits=Limits(send_frame=16))
    reactor.request(b"command", {b"key": b"v" * 20}, data=b"d")

    requests = [frame for frame in take(reactor) if frame.type == FrameType.REQUEST]
    assert len(requests) > 1
    assert all(frame.flags & 8 for frame in requests)


@pytest.mark.conformance("M13", "M14", "M15")
@pytest.mark.parametrize(
    ("size", "parts"), [(0, [0]), (15, [15]), (16, [16, 0]), (17, [16, 1]), (32, [16, 16, 0])]
)
def test_data_sizes(size: int, parts: list[int]) -> None:
    """Data obey the limit of frames; when they fill their last frame, an empty one ends them."""
    reactor = client(limits=Limits(send_frame=16))
    reactor.request(b"cmd", data=bytes(size))

    data = [frame for frame in take(reactor) if frame.type == FrameType.DATA]
    assert [len(frame.payload) for frame in data] == parts
    assert [frame.flags for frame in data] == [1] * (len(parts) - 1) + [2]


@pytest.mark.conformance("M15")
def test_short_reads() -> None:
    """Data that come from their source in small pieces end when that is said, not before."""
    reactor = client()
    request = reactor.request(b"cmd", has_data=True)
    sent = []
    for piece in (b"one", b"", b"two"):
        reactor.send_data(request, piece, end=False)
        sent += take(reactor)
    reactor.send_data(request, b"", end=True)
    sent += take(reactor)

    assert [(frame.payload, frame.flags) for frame in sent[1:]] == [(b"one", 1), (b"two", 1), (b"", 2)]
    with pytest.raises(LocalProtocolError):
        reactor.send_data(request, b"more", end=True)


@pytest.mark.conformance("M68")
def test_buffering() -> None:
    """A client that buffers sends nothing until it is told to; the states say how far it is."""
    reactor = client(buffer_sends=True, full_duplex=False)
    request = reactor.request(b"cmd", has_data=True)
    assert (reactor.data_to_send(), reactor.state_of(request)) == (b"", RequestState.PENDING)

    reactor.flush()
    assert [frame.type for frame in take(reactor)] == [FrameType.REQUEST]
    assert reactor.state_of(request) is RequestState.SENDING
    reactor.send_data(request, b"", end=True)
    reactor.data_to_send()
    assert reactor.state_of(request) is RequestState.SENT


@pytest.mark.conformance("M69")
def test_single_send() -> None:
    """A client that sends once takes no further requests after that."""
    for reactor in (client(full_duplex=False), client(full_duplex=False, buffer_sends=True)):
        reactor.request(b"one")
        reactor.flush()
        with pytest.raises(LocalProtocolError):
            reactor.request(b"two")


@pytest.mark.conformance("M70")
def test_ids() -> None:
    """Ids are 1, 3 and so on; a flush with nothing to flush does nothing."""
    reactor = client()

    assert [reactor.request(b"cmd") for _ in range(3)] == [1, 3, 5]
    reactor.data_to_send()
    reactor.flush()
    assert reactor.data_to_send() == b""


@pytest.mark.conformance("M72")
def test_answer() -> None:
    """Values come as they become whole; the end frees the id."""
    reactor = asking()
    events = answer(reactor, STATUS_OK + encode([1]), encode(b"two")[:2], encode(b"two")[2:], b"")

    assert events == [
        Responded(1, ([1],), 0, False),
        Responded(1, (b"two",), 0, False),
        Responded(1, (), 0, True),
    ]
    assert (reactor.outstanding, reactor.state_of(1)) == (0, RequestState.OVER)


@pytest.mark.conformance("M72")
@pytest.mark.parametrize("size", [1, 2, 5])
def test_cut_status(size: int) -> None:
    """The status map may be cut like everything else."""
    reactor, octets = asking(), STATUS_OK + encode([1, {b"k": 2.5}])
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]

    events = answer(reactor, *pieces)

    values = [value for event in events if isinstance(event, Responded) for value in event.values]
    assert values == [[1, {b"k": 2.5}]]


@pytest.mark.conformance("M71", "M75")
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(RESPONSE, 1, 1, 1, 2), "odd-stream-from-server"),
        (Frame(RESPONSE, 1, 4, 0, 2), "stream-not-begun"),
        (Frame(RESPONSE, 9, 2, 1, 2), "inactive-request-id"),
        (Frame(FrameType.ERROR, 9, 2, 1, 0), "inactive-request-id"),
        (Frame(FrameType.OUTPUT, 2, 2, 1, 0), "inactive-request-id"),
        (Frame(FrameType.REQUEST, 1, 2, 1, 1), "wrong-frame-from-server"),
        (Frame(4, 1, 2, 1, 0), "unknown-frame-type"),
        (Frame(RESPONSE, 1, 2, 1, 2), "response-without-status"),
        (Frame(RESPONSE, 1, 2, 1, 2, STATUS_OK[:4]), "response-without-status"),
        (Frame(RESPONSE, 1, 2, 1, 2, STATUS_OK + b"\x82\1"), "response-cut"),
        (Frame(RESPONSE, 1, 2, 1, 2, STATUS_OK + b"\xff"), "response-malformed"),
        (Frame(RESPONSE, 1, 2, 1, 2, b"\1"), "response-bad-status"),
        (Frame(RESPONSE, 1, 2, 1, 2, encode({b"status": b"what"})), "response-bad-status"),
        (
            Frame(RESPONSE, 1, 2, 1, 2, encode({b"status": b"error", b"error": {b"message": 1}})),
            "response-bad-status",
        ),
        (Frame(FrameType.ERROR, 1, 2, 1, 0), "error-malformed"),
        (Frame(FrameType.ERROR, 1, 2, 1, 0, encode({b"message": []})), "error-malformed"),
        (Frame(FrameType.ERROR, 1, 2, 1, 0, encode({b"type": b"x", b"code": 1})), "error-malformed"),
        (Frame(FrameType.OUTPUT, 1, 2, 1, 0, encode([{b"msg": 1}])), "output-malformed"),
        (Frame(FrameType.OUTPUT, 1, 2, 1, 0, encode([{b"msg": b"", b"args": [1]}])), "output-malformed"),
        (Frame(FrameType.PROGRESS, 1, 2, 1, 0, encode([])), "progress-malformed"),
        (Frame(FrameType.PROGRESS, 1, 2, 1, 0, b"\xff"), "progress-malformed"),
    ],
)
def test_wrong_frames(frame: Frame, code: str) -> None:
    """What a server must not send closes the connection, and aborts what runs."""
    reactor = asking()
    aborted, broken = reactor.receive(frame)

    assert isinstance(aborted, Aborted) and isinstance(broken, Broken)
    assert (aborted.request, broken.code) == (1, code)
    assert reactor.receive(Frame(RESPONSE, 1, 2, 1, 2, STATUS_OK)) == []
    assert reactor.end() == []
    assert reactor.data_to_send() == b""


@pytest.mark.conformance("M73")
def test_output_between() -> None:
    """Text and progress come as events, in the order of the answer's frames."""
    link = Link()
    link.client.request(b"tail")
    link.run()
    link.server.output(1, "50 % of größe")
    link.server.progress(1, b"copy", 1, 2)
    link.server.respond(1, [b"done"], end=True)

    output, progress, responded = link.run()

    assert isinstance(output, Output) and output.atoms[0].text == "50 % of größe"
    assert output.atoms[0].msg.isascii()
    assert progress == Progress(1, b"copy", 1, 2, None, None)
    assert isinstance(responded, Responded) and responded.values == (b"done",)


@pytest.mark.conformance("M74")
def test_ids_wrap() -> None:
    """After 65535 comes 1 again, but for the ids that are in use."""
    link = Link()
    first = link.client.request(b"stays")
    link.run()

    ids = set()
    for _ in range(32_767):
        request = link.client.request(b"cmd")
        ids.add(request)
        link.server.receive(Frame(FrameType.REQUEST, request, 1, 0, 1, b"\xa1\x44name\x41c"))
        link.client.data_to_send()
        link.client.receive(Frame(RESPONSE, request, 2, int(len(ids) == 1), 2, STATUS_OK))
        link.server.respond(request, [], end=True)
        link.server.data_to_send()

    assert (first, len(ids), max(ids)) == (1, 32_767, 65_535)
    assert link.client.request(b"again") == 3


@pytest.mark.conformance("M74")
def test_all_ids_in_use() -> None:
    """When all ids or all the places at the peer are taken, a further request fails here, and nothing has changed."""
    crowded = client(peer_limits=Limits(active=40_000))
    for _ in range(32_768):
        crowded.request(b"cmd")
    few = asking(2, peer_limits=Limits(active=2))

    for reactor in (crowded, few):
        reactor.data_to_send()
        with pytest.raises(Busy):
            reactor.request(b"cmd")
        assert reactor.data_to_send() == b""


@pytest.mark.conformance("M42")
@pytest.mark.parametrize("partial", [1, 2, 5])
def test_partial_at_once(partial: int) -> None:
    """Never more requests go out in part than the peer takes; the others follow in order, and none is refused."""
    link = Link(limits=Limits(partial=partial), peer_limits=Limits(partial=partial))
    ids = [link.client.request(b"put", data=b"x" * 50_000) for _ in range(5)]
    ids.append(link.client.request(b"short"))

    events = link.run()

    asked = [event for event in events if isinstance(event, Requested)]
    assert [event.request for event in asked if event.name == b"put"] == ids[:5]
    assert {event.request for event in asked} == set(ids)
    assert len(events) == len(ids)
    assert link.client.unsent == 0


@pytest.mark.conformance("M42")
def test_partial_taken_back() -> None:
    """One that is taken back, before it began or in its midst, lets those behind it go."""
    link = Link(peer_limits=Limits(partial=1))
    first = link.client.request(b"put", has_data=True)
    second, third = (link.client.request(b"put", data=b"x") for _ in range(2))
    link.run()
    assert link.client.state_of(second) is RequestState.PENDING
    link.client.cancel(second)
    link.client.cancel(first)

    assert [event.request for event in link.run() if isinstance(event, Requested)] == [third]
    assert link.client.outstanding == 1


@pytest.mark.conformance("N18")
def test_cancelled_until_the_end() -> None:
    """What comes for a request that was taken back is dropped, and its id is not free before the end."""
    reactor = asking(bare=False)
    reactor.receive(Frame(RESPONSE, 1, 2, 1, 1, STATUS_OK + encode(1)))
    reactor.cancel(1)

    assert reactor.receive(Frame(RESPONSE, 1, 2, 0, 1, encode(2))) == []
    assert reactor.outstanding == 1
    assert reactor.receive(Frame(RESPONSE, 1, 2, 0, 2, encode(3))) == []
    assert reactor.outstanding == 0


@pytest.mark.conformance("M76")
@pytest.mark.parametrize("bare", [True, False])
def test_error_after_values(bare: bool) -> None:
    """An error behind the first values reaches whoever waits for more."""
    reactor = asking(bare=bare)
    events = reactor.receive(Frame(RESPONSE, 1, 2, 1, 1, STATUS_OK + encode(1)))
    events += reactor.receive(
        Frame(FrameType.ERROR, 1, 2, 0, 0, encode_map({b"type": b"server", b"message": []}))
    )

    assert events == [
        Responded(1, (1,), 0, False),
        Failed(1, CommandError(b"error", kind=b"server"), True),
    ]
    assert reactor.outstanding == 0


def test_wrong_use() -> None:
    """What we ask for wrongly is refused here, and nothing has changed."""
    reactor = asking()
    for call in (
        lambda: reactor.request(b"cmd", {b"x": object()}),
        lambda: reactor.request(b"cmd", {b"x": bytes(2_000_000)}),
        lambda: reactor.send_data(1, b"x", end=True),
        lambda: reactor.send_data(9, b"x", end=True),
        lambda: reactor.cancel(1),
        lambda: reactor.cancel(9),
        lambda: reactor.ping(b""),
        lambda: reactor.close({}),
        lambda: reactor.respond(1, [], end=True),
    ):
        with pytest.raises(LocalProtocolError):
            call()

    assert (reactor.data_to_send(), reactor.outstanding, reactor.request(b"next")) == (b"", 1, 3)


def test_value_too_large() -> None:
    """A value above the limit fails its request and cancels it; the connection goes on."""
    reactor = asking(2, limits=Limits(answer=1000), bare=False)
    events = reactor.receive(Frame(RESPONSE, 1, 2, 1, 1, STATUS_OK + b"\x59\xff\xff"))

    (failed,) = events
    assert isinstance(failed, Failed) and failed.error.code == b"too-large"
    assert [frame.type for frame in take(reactor)] == [FrameType.CANCEL]
    assert reactor.receive(Frame(RESPONSE, 1, 2, 0, 1, bytes(100))) == []
    assert reactor.receive(Frame(RESPONSE, 1, 2, 0, 2, b"")) == []
    assert reactor.receive(Frame(RESPONSE, 3, 2, 0, 2, STATUS_OK + b"\1")) == [Responded(3, (1,), 0, True)]
    assert reactor.outstanding == 0


def test_values_too_large_together() -> None:
    """So do values that are not whole, when they are too much together."""
    reactor = asking(2, limits=Limits(answer=1000), bare=False)
    part = STATUS_OK + b"\x59\x03\x00" + bytes(600)

    first = reactor.receive(Frame(RESPONSE, 1, 2, 1, 1, part))
    (failed,) = reactor.receive(Frame(RESPONSE, 3, 2, 0, 1, part))

    assert [type(event) for event in first] == [Responded]
    assert isinstance(failed, Failed) and (failed.request, failed.error.code) == (3, b"too-large")
    assert reactor.state_of(1) is RequestState.RECEIVING
    assert len(reactor.receive(Frame(RESPONSE, 1, 2, 0, 2, bytes(168)))) == 1


def test_early_failure_towards_older_peers() -> None:
    """They know no cancel: a request that failed is sent to its end, and only then is its id free."""
    reactor = client()
    request = reactor.request(b"put", has_data=True)
    reactor.data_to_send()
    error = encode_map({b"type": b"server", b"message": []})

    assert [type(event) for event in reactor.receive(Frame(FrameType.ERROR, 1, 2, 1, 0, error))] == [Failed]
    assert (reactor.outstanding, reactor.state_of(request)) == (1, RequestState.OVER)


def test_failure_during_data() -> None:
    """What was given to be sent goes out still; then the request is forgotten."""
    reactor = client(limits=Limits(send_frame=16))
    reactor.request(b"put", data=bytes(100))
    reactor.data_to_send(30)
    error = encode_map({b"status": b"error", b"error": {b"message": b"no"}})
    events = reactor.receive(Frame(RESPONSE, 1, 2, 1, 2, error))

    assert [type(event) for event in events] == [Failed]
    reactor.data_to_send()
    assert (reactor.outstanding, reactor.unsent) == (0, 0)


def test_buffered_cancel() -> None:
    """A buffered request that is taken back is never sent, and those after it are."""
    reactor = client(buffer_sends=True, bare=False)
    reactor.request(b"one")
    reactor.request(b"two")
    reactor.cancel(1)
    reactor.flush()

    assert [frame.request for frame in take(reactor)] == [3]


def test_agreed_while_waiting() -> None:
    """Requests that wait when credit is agreed upon are counted by what was agreed."""
    reactor = client(buffer_sends=True, bare=False)
    reactor.request(b"put", data=bytes(10_000))
    reactor.credit = True
    reactor.peer_limits = Limits(credit=4_000)
    reactor.flush()

    assert sum(len(frame.payload) for frame in take(reactor) if frame.type == FrameType.DATA) == 1_000


def test_bare_server_asks_nothing() -> None:
    """Towards the older peers only a client asks."""
    with pytest.raises(LocalProtocolError):
        server().request(b"x")
