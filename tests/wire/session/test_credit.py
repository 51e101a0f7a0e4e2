"""Credit, cancel, and the frames of the connection (spec/wire.md 5.3, 5.7 to 5.10)."""

from typing import Any

import pytest

from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.control import MOST_COOKIE
from fieldpost.wire.session.events import (
    Aborted,
    Broken,
    Cancelled,
    DecisionReceived,
    Event,
    Failed,
    PeerClosed,
    Pinged,
    Ponged,
    Requested,
    Responded,
)
from fieldpost.wire.session.frame import Frame, FrameType
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import KIB, Limits
from fieldpost.wire.session.outcome import STATUS_OK, NotActive
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import CODECS, encode_map
from tests.wire.session.link import Link, take

CREDIT, CANCEL, CLOSE, RESPONSE = FrameType.CREDIT, FrameType.CANCEL, FrameType.CLOSE, FrameType.RESPONSE


def broken_of(events: list[Event]) -> Broken:
    broken = events[-1]
    assert isinstance(broken, Broken)
    return broken


def linked(**how: Any) -> Link:
    """Two ends of which the client has asked once."""
    link = Link(**how)
    link.client.request(b"get")
    link.run()
    return link


def test_stops_without_credit() -> None:
    """An answer stops where the request's window ends, and goes on as the values are consumed."""
    link = linked(limits=Limits(credit=40 * KIB))
    link.server.peer_limits = Limits(credit=40 * KIB)
    link.server.respond(1, [bytes(1_000)] * 100, end=True)

    told = [event for event in link.run() if isinstance(event, Responded)]
    assert sum(event.octets for event in told) == 10 * KIB
    assert link.server.data_to_send() == b""
    link.client.consume(1, 10 * KIB)
    more = link.run(link.consume)

    assert isinstance(more[-1], Responded) and more[-1].end


def test_whole_connection() -> None:
    """All requests together stop where the window of the connection ends."""
    link = Link(limits=Limits(credit=8 * KIB))
    link.server.peer_limits = Limits(credit=8 * KIB)
    for _ in range(6):
        link.client.request(b"get")
    link.run()
    for request in range(1, 13, 2):
        link.server.respond(request, [bytes(500)] * 20, end=True)

    told = [event for event in link.run() if isinstance(event, Responded)]

    assert sum(event.octets for event in told) == 8 * KIB
    link.client.consume(1, sum(event.octets for event in told if event.request == 1))


def test_large_value() -> None:
    """A value larger than any window arrives: what is kept for it is given back as it comes."""
    link = linked()
    link.server.respond(1, [bytes(3_000_000)], end=True)

    (begun, responded) = link.run(link.consume)

    assert begun == Responded(1, (), 32_768, False)
    assert isinstance(responded, Responded) and responded.values == (bytes(3_000_000),)


def test_large_data() -> None:
    """So do data of a request."""
    link = Link()
    link.client.request(b"put", data=bytes(3_000_000))

    assert link.run() == [Requested(1, b"put", {}, bytes(3_000_000))]


def test_credit_comes_in_steps() -> None:
    """Credit is given back in halves of a window, not for every frame."""
    link = linked()
    link.server.respond(1, [bytes(1_000)] * 3_000, end=True)
    link.run(link.consume)

    credits = [frame for role, frame in link.sent if frame.type == CREDIT and role is Role.CLIENT]
    assert len(credits) < 40
    assert {int.from_bytes(frame.payload, "little") >= 128 * KIB for frame in credits} == {True}


def test_many_credits_are_no_flood() -> None:
    """Credit for what we sent is never too much of it; credit for nothing is."""
    link = linked(limits=Limits(control_frames=10))
    link.server.respond(1, [bytes(1_000)] * 10_000, end=True)
    assert isinstance(link.run(link.consume)[-1], Responded)

    link.server.receive(Frame(CREDIT, 0, 1, 0, 0, b"\1\0\0\0"))
    events = [
        event for _ in range(10) for event in link.server.receive(Frame(CREDIT, 0, 1, 0, 0, b"\1\0\0\0"))
    ]
    assert broken_of(events).code == "flood"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(CREDIT, 0, 2, 1, 0, bytes(4)), "credit-zero"),
        (Frame(CREDIT, 9, 2, 1, 0, bytes(4)), "credit-zero"),
        (Frame(CREDIT, 9, 2, 1, 0, b"\xff\xff\xff\xff"), "credit-overflow"),
        (Frame(CREDIT, 1, 2, 1, 0, b"\xff\xff\xff\x7f"), "credit-overflow"),
        (Frame(CREDIT, 0, 2, 1, 0, b"\xff\xff\xff\x7f"), "credit-overflow"),
        (Frame(CREDIT, 0, 2, 1, 0, b"\1"), "credit-malformed"),
        (Frame(FrameType.PING, 1, 2, 1, 0), "ping-malformed"),
        (Frame(FrameType.PING, 0, 2, 1, 0, bytes(MOST_COOKIE + 1)), "ping-malformed"),
        (Frame(CANCEL, 0, 2, 1, 0), "cancel-malformed"),
        (Frame(CANCEL, 1, 2, 1, 0, encode(1)), "cancel-not-a-map"),
        (Frame(CANCEL, 1, 2, 1, 0, encode_map({b"reason": 1})), "cancel-malformed"),
        (Frame(CLOSE, 0, 2, 1, 2, b""), "close-malformed"),
        (Frame(CLOSE, 0, 2, 1, 2, encode_map({b"last": b"x"})), "close-malformed"),
        (Frame(FrameType.DECISION, 0, 2, 1, 0, encode_map({})), "decision-flags-neither"),
        (Frame(FrameType.DECISION, 0, 2, 1, 2, b"\xff"), "decision-malformed"),
        (Frame(FrameType.DECISION, 0, 2, 1, 2, bytes(5_000)), "decision-too-large"),
        (Frame(RESPONSE, 1, 2, 1, 1, STATUS_OK + bytes(300 * KIB)), "credit-exceeded"),
    ],
)
def test_wrong_control(frame: Frame, code: str) -> None:
    """Frames of the connection that are wrong close it, with a farewell."""
    reactor = Reactor(Role.CLIENT, credit=True)
    reactor.request(b"put", has_data=True)
    reactor.data_to_send()

    assert broken_of(reactor.receive(frame)).code == code
    assert [frame.type for frame in take(reactor)] == [FrameType.ERROR, CLOSE]


def test_credit_not_agreed() -> None:
    """Credit where none was agreed is an error."""
    assert (
        broken_of(Reactor(Role.SERVER).receive(Frame(CREDIT, 0, 1, 1, 0, b"\1\0\0\0"))).code
        == "credit-not-agreed"
    )


def test_bare_has_none() -> None:
    """Towards the older peers there are no such frames."""
    for type in (CREDIT, CANCEL, CLOSE, FrameType.PING, FrameType.DECISION):
        reactor = Reactor(Role.SERVER, bare=True)
        assert broken_of(reactor.receive(Frame(type, 1, 1, 1, 0, b"\1\0\0\0"))).code == "wrong-first-frame"


def test_decision_once() -> None:
    """A decision comes once."""
    reactor, decision = (
        Reactor(Role.CLIENT),
        Frame(FrameType.DECISION, 0, 2, 1, 2, encode_map({b"version": 1})),
    )

    assert reactor.receive(decision) == [DecisionReceived({b"version": 1})]
    decision.stream_flags = 0
    assert broken_of(reactor.receive(decision)).code == "decision-repeated"


def test_cancel() -> None:
    """A cancelled request is told to whoever answers it; the id is free when its end has come."""
    link = linked()
    link.server.respond(1, [1], end=False)
    link.client.cancel(1, b"bored")
    assert link.client.outstanding == 1

    assert link.run() == [Cancelled(1, b"bored")]
    assert (link.client.outstanding, link.server.active) == (0, 0)
    with pytest.raises(NotActive):
        link.server.respond(1, [2], end=True)


def test_cancel_before_it_left() -> None:
    """What was not sent is taken back without a word."""
    link = Link()
    request = link.client.request(b"put", data=bytes(100))
    link.client.cancel(request)

    assert (link.run(), link.sent, link.client.outstanding) == ([], [], 0)


def test_cancel_half_sent() -> None:
    """A request that was sent in part is never told to the other end."""
    link = Link()
    request = link.client.request(b"put", has_data=True)
    link.run()
    assert link.server.partial == 1
    link.client.cancel(request)

    assert link.run() == []
    assert (link.server.partial, link.server.active, link.client.outstanding) == (0, 0, 0)


def test_cancel_crosses_the_end() -> None:
    """A cancel that crosses the end of the answer is passed over, by both."""
    link = linked()
    link.server.respond(1, [1], end=True)
    octets = link.server.data_to_send()
    link.client.cancel(1)
    link.run()

    for frame in [Frame(RESPONSE, 1, 2, 1, 2, octets[8:])]:
        assert link.client.receive(frame) == []
    assert (link.client.outstanding, link.server.active, link.client.is_over, link.server.is_over) == (
        0,
        0,
        False,
        False,
    )


def test_cancel_of_an_answer_that_waits() -> None:
    """An answer that is all given but not sent is dropped, and whoever gave it is not bothered."""
    link = linked()
    link.server.respond(1, [bytes(1_000)] * 2_000, end=True)
    link.run()
    link.client.cancel(1)

    assert link.run() == []
    assert (link.client.outstanding, link.server.active, link.server.unsent) == (0, 0, 0)


def test_answerer_gives_up() -> None:
    """The end that answers may cancel too: the request has failed, and nothing more is sent for it."""
    link = Link()
    link.client.request(b"put", has_data=True)
    link.run()
    link.server.tick(60.0)

    (failed,) = link.run()

    assert isinstance(failed, Failed)
    assert (failed.error.kind, failed.error.code) == (b"cancelled", b"timeout")
    assert (link.server.partial, link.client.outstanding) == (0, 0)
    with pytest.raises(LocalProtocolError):
        link.client.send_data(1, b"late", end=True)


def test_early_answer() -> None:
    """An answer that comes before all data were sent ends the request; the rest is not sent."""
    link = Link(limits=Limits(partial=0))
    link.client.request(b"put", data=bytes(600_000))
    events = link.run()

    (failed,) = events
    assert isinstance(failed, Failed) and failed.error.code == b"busy"
    assert (link.client.outstanding, link.client.unsent) == (0, 0)
    link.client.request(b"put", data=bytes(600_000))
    assert [type(event) for event in link.run()] == [Failed]


def test_pings() -> None:
    """Pings and their answers go ahead of all else."""
    link = linked()
    link.server.respond(1, [bytes(100_000)], end=True)
    link.server.ping(b"cookie")

    assert take(link.server)[0].type == FrameType.PING
    assert link.client.receive(Frame(FrameType.PING, 0, 2, 1, 0, b"cookie")) == [Pinged(b"cookie")]
    assert link.client.receive(Frame(FrameType.PING, 0, 2, 0, 1, b"cookie")) == [Ponged(b"cookie")]
    with pytest.raises(LocalProtocolError):
        link.client.pong(bytes(MOST_COOKIE + 1))


def test_close() -> None:
    """After a goodbye what runs is answered still, and nothing new is begun on either end."""
    link = linked()
    link.server.close({b"reason": b"shutdown", b"retry-after": 5})
    late = Frame(FrameType.REQUEST, 3, 1, 0, 1, b"\xa1\x44name\x41x")
    assert link.server.receive(late) == []

    (closed,) = link.run()
    assert closed == PeerClosed(b"shutdown", 1, 5, None)
    for reactor in (link.client, link.server):
        with pytest.raises(LocalProtocolError):
            reactor.request(b"x")
    link.server.respond(1, [], end=True)
    (responded,) = link.run()
    assert isinstance(responded, Responded) and responded.end


def test_peer_breaks_off() -> None:
    """When the peer breaks off, what runs is aborted, and no farewell is sent in return."""
    link = linked()
    link.server.break_off("some-fault", "you did it")

    aborted, broken = link.run()

    assert isinstance(aborted, Aborted) and isinstance(broken, Broken)
    assert (broken.code, broken.text) == ("error-frame-from-peer", "the peer broke off: you did it")
    assert link.server.break_off("again", "") == []


def test_limit_of_output() -> None:
    """No more is handed out than asked for, and nothing is lost at the cut."""
    link = linked()
    link.server.respond(1, [bytes(100_000)], end=True)
    pieces = []
    while piece := link.server.data_to_send(1_000):
        pieces.append(piece)

    assert max(map(len, pieces)) == 1_000
    assert sum(map(len, pieces)) == 100_000 + 5 + len(STATUS_OK) + 4 * 8
    assert link.server.active == 0


def test_agreement() -> None:
    """What was agreed holds from then on: sizes, codec, encoding, credit."""
    link = Link(credit=False)
    for reactor in (link.client, link.server):
        reactor.agree(
            peer_limits=Limits(frame=1_000),
            codec=CODECS[b"hg-cbor"],
            encodings=(b"nothing", b"zlib"),
            credit=True,
        )
    link.client.request(b"get", {b"b": 1, b"a": {3, 2}})
    (requested,) = link.run()
    assert isinstance(requested, Requested) and requested.args == {b"a": {2, 3}, b"b": 1}
    with pytest.raises(LocalProtocolError):
        link.client.request(b"get", {b"text": "no"})
    assert (link.client.codec.name, link.client.encoding, link.client.credit) == (b"hg-cbor", b"zlib", True)
    link.server.respond(1, [bytes(5_000)], end=True)
    link.run(link.consume)
    assert max(len(frame.payload) for _, frame in link.sent) == 1_000


def test_unsent() -> None:
    """What waits is known, all together and for each request."""
    link = linked()
    link.client.request(b"put", data=bytes(500))
    link.server.respond(1, [bytes(1_000)], end=False)

    assert link.client.unsent_of(3) > 500
    assert (link.server.unsent_of(1), link.server.unsent_of(9), link.client.unsent_of(9)) == (1_014, 0, 0)
    assert link.server.unsent == 1_014


def test_too_much_consumed() -> None:
    """Giving back more than was told is our own mistake."""
    link = linked()
    with pytest.raises(LocalProtocolError):
        link.client.consume(1, 1)
