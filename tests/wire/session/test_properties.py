"""What holds whatever comes: any octets, any split, any course of a session."""

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.events import (
    Aborted,
    Broken,
    Cancelled,
    Event,
    Failed,
    Requested,
    Responded,
)
from fieldpost.wire.session.frame import Frame, Framer, FrameTooLarge, FrameType, encode_frame
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.outcome import STATUS_OK, Busy, NotActive
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import encode_map
from tests.wire.session.link import open_streams

SMALL = Limits(
    frame=200,
    send_frame=100,
    request=500,
    data=5_000,
    credit=1_000,
    active=4,
    partial=3,
    streams=3,
    decoded=1_000,
    decoded_request=20_000,
)
PAYLOADS = st.sampled_from(
    [
        b"",
        b"\xa1\x44name\x41x",
        STATUS_OK,
        STATUS_OK + b"\x01",
        STATUS_OK[:5],
        b"\x43abc",
        b"\x84zlib",
        b"\x44zlib",
        b"\x01\x00\x00\x00",
        encode_map({b"type": b"server", b"message": []}),
        encode_map({b"contentencodings": []}),
        encode_map({b"status": b"error", b"error": {b"message": b"x"}}),
    ]
) | st.binary(max_size=30)
LIKELY = st.builds(
    Frame,
    st.integers(0, 15),
    st.integers(0, 6),
    st.integers(0, 4),
    st.sampled_from([0, 0, 0, 1, 2, 4, 5]),
    st.integers(0, 15),
    PAYLOADS,
)


class Owner:
    """Owns a reactor as an application would: answers all, keeps count."""

    def __init__(self, role: Role, *, bare: bool = False, credit: bool = True) -> None:
        self.reactor = Reactor(role, bare=bare, credit=credit, limits=SMALL, peer_limits=SMALL)
        self.broken = 0
        self.events: list[Event] = []

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert not self.broken, f"{event} came after the end"
            self.broken += isinstance(event, Broken)
            self.events.append(event)
            if isinstance(event, Responded):
                self.reactor.consume(event.request, event.octets)


@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("role", list(Role))
@given(st.lists(LIKELY, max_size=30), st.integers(0, 3))
def test_any_frames(role: Role, bare: bool, frames: list[Frame], requests: int) -> None:
    """No frame makes an exception; at most one Broken is told, and it is the last."""
    owner = Owner(role, bare=bare, credit=not bare)
    for _ in range(requests if role is Role.CLIENT or not bare else 0):
        owner.reactor.request(b"x", has_data=True)
    for number, frame in enumerate(frames):
        owner.take(owner.reactor.receive(frame, float(number)))
        owner.take(owner.reactor.tick(float(number)))
        owner.reactor.data_to_send()
        assert owner.reactor.unsent < 10_000
    owner.take(owner.reactor.end())
    assert owner.reactor.data_to_send() is not None


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_octets(pieces: list[bytes]) -> None:
    """Nor do any octets; what is kept of them is bounded by the frame."""
    owner, framer = Owner(Role.SERVER), Framer(200)
    for piece in pieces:
        try:
            frames = framer.feed(piece)
        except FrameTooLarge as error:
            owner.take([event for frame in error.frames for event in owner.reactor.receive(frame)])
            owner.take(owner.reactor.break_off(error.code, str(error)))
            break
        owner.take([event for frame in frames for event in owner.reactor.receive(frame)])
    owner.reactor.data_to_send()


@given(st.lists(LIKELY, max_size=12), st.data())
def test_any_split(frames: list[Frame], data: st.DataObject) -> None:
    """However the octets are cut, the events are the same."""
    octets = b"".join(map(encode_frame, frames))
    whole, cut, framer, left = Owner(Role.SERVER), Owner(Role.SERVER), Framer(1000), octets

    whole.take([event for frame in frames for event in whole.reactor.receive(frame)])
    while left:
        size = data.draw(st.integers(1, len(left)))
        cut.take([event for frame in framer.feed(left[:size]) for event in cut.reactor.receive(frame)])
        left = left[size:]

    assert cut.events == whole.events
    assert cut.reactor.data_to_send() == whole.reactor.data_to_send()


class End:
    """One of the two ends of a random course: what it asked, and how that went."""

    def __init__(self, role: Role, chance: random.Random, **how: Any) -> None:
        self.reactor = Reactor(role, **how)
        self.chance = chance
        self.framer = Framer(65_535)
        self.wire = b""
        """On its way to us."""
        self.asked: dict[int, tuple[bytes, int]] = {}
        """Id to the data that it sends, and how many values it should get; -1 for a failure."""
        self.got: dict[int, list[Any]] = {}
        self.feeding: dict[int, bytes] = {}
        self.answering: dict[int, list[Any]] = {}
        self.over = 0
        self.unconsumed: list[tuple[int, int]] = []

    def ask(self) -> None:
        size, values = self.chance.choice([0, 1, 40, 300, 3_000]), self.chance.choice([-1, 0, 1, 5, 60])
        data = self.chance.randbytes(size)
        streamed = size > 1 and self.chance.random() < 0.5
        try:
            request = self.reactor.request(
                b"do",
                {b"values": values, b"size": size},
                data=None if streamed or not size else data,
                has_data=streamed,
                bulk=self.chance.random() < 0.5,
            )
        except Busy:
            return
        assert request not in self.asked
        self.asked[request] = (data, values)
        self.got[request] = []
        if streamed:
            self.feeding[request] = data

    def act(self) -> None:
        """Something at random."""
        for request, data in list(self.feeding.items()):
            size = self.chance.randint(0, len(data))
            if request in self.asked:
                self.reactor.send_data(request, data[:size], end=size == len(data))
            self.feeding[request] = data[size:]
            if size == len(data):
                del self.feeding[request]
        for request, values in list(self.answering.items()):
            self.answer(request, values)
        if self.asked and self.chance.random() < 0.1:
            request = self.chance.choice(list(self.asked))
            self.reactor.cancel(request)
            self.finish(request)
        if self.unconsumed and self.chance.random() < 0.7:
            self.reactor.consume(*self.unconsumed.pop(self.chance.randrange(len(self.unconsumed))))

    def answer(self, request: int, values: list[Any]) -> None:
        size = self.chance.randint(0, len(values))
        self.answering[request] = values[size:]
        if self.chance.random() < 0.03:
            self.reactor.drop(request)
            del self.answering[request]
        elif values == [None]:
            if self.chance.random() < 0.5:
                self.reactor.respond(request, [1], end=False, flush=False)
            self.reactor.fail(request, "failed", "as asked")
            del self.answering[request]
        else:
            end = size == len(values)
            bulk, flush = self.chance.random() < 0.5, self.chance.random() < 0.8
            self.reactor.respond(request, values[:size], end=end, bulk=bulk, flush=flush)
            if end:
                del self.answering[request]

    def finish(self, request: int) -> None:
        del self.asked[request]
        self.feeding.pop(request, None)
        self.over += 1

    def receive(self, now: float) -> None:
        size = self.chance.choice([1, 10, 100, 5_000, 100_000])
        piece, self.wire = self.wire[:size], self.wire[size:]
        for frame in self.framer.feed(piece):
            for event in self.reactor.receive(frame, now):
                self.take(event)

    def take(self, event: Event) -> None:
        if isinstance(event, Requested):
            values, size = event.args[b"values"], event.args[b"size"]
            assert len(event.data or b"") == size
            assert event.request not in self.answering
            self.answering[event.request] = (
                [None] if values < 0 else [bytes([i % 250] * 50) for i in range(values)]
            )
        elif isinstance(event, Responded):
            self.got[event.request] += event.values
            self.unconsumed.append((event.request, event.octets))
            if event.end:
                wanted = self.asked[event.request][1]
                assert self.got[event.request] == [bytes([i % 250] * 50) for i in range(wanted)]
                self.finish(event.request)
        elif isinstance(event, Failed):
            assert event.error.code in (b"failed", b"cancelled", b"busy"), event
            self.finish(event.request)
        elif isinstance(event, Cancelled):
            assert self.answering.pop(event.request, None) is not None
        else:
            pytest.fail(str(event))


@given(
    st.integers(0, 2**32),
    st.sampled_from([16, 100, 32_768]),
    st.sampled_from([40, 1_000, 2**20]),
    st.booleans(),
    st.sampled_from([1, 2, 8]),
)
@example(205, 16, 40, True, 2)
def test_two_ends(seed: int, frame: int, credit: int, packed: bool, streams: int) -> None:
    """Whatever two ends ask, cancel, drop and delay, each request is over exactly once, and nothing is left behind."""
    chance = random.Random(seed)
    limits = Limits(send_frame=frame, credit=max(credit, 8), active=8, control_frames=10**9, streams=streams)
    how = {"limits": limits, "peer_limits": limits, "credit": True, "encoding": b"zlib" if packed else None}
    ends = End(Role.CLIENT, chance, **how), End(Role.SERVER, chance, **how)

    for turn in range(3_000):
        for end, other in (ends, ends[::-1]):
            if turn < 30 and chance.random() < 0.4:
                end.ask()
            end.act()
            other.wire += end.reactor.data_to_send(chance.choice([None, None, 1, 50, 5_000]))
            other.receive(float(turn))
        if turn >= 30 and not any(end.asked or end.wire or end.reactor.unsent for end in ends):
            break

    for end in ends:
        assert end.asked == {}
        assert (end.reactor.outstanding, end.reactor.active, end.reactor.partial) == (0, 0, 0)
        assert not open_streams(end.reactor)


def test_lost_connection() -> None:
    """When the connection is lost, each request that runs is aborted once, on both ends."""
    client, server = Reactor(Role.CLIENT), Reactor(Role.SERVER)
    for _ in range(3):
        client.request(b"x")
    octets = client.data_to_send()
    for frame in Framer(1_000).feed(octets)[:2]:
        server.receive(frame)

    assert [type(event) for event in client.end()] == [Aborted] * 3
    assert [event.request for event in server.end() if isinstance(event, Aborted)] == [1, 3]
    with pytest.raises(LocalProtocolError):
        client.request(b"x")
    with pytest.raises(NotActive):
        server.respond(1, [], end=True)


def test_silent_stream_of_control() -> None:
    """More frames of control than is decent are a flood; as many later are not."""
    reactor = Reactor(Role.SERVER, limits=Limits(control_frames=5, control_period=10.0))
    pings = [Frame(FrameType.PING, 0, 1, int(number == 0), 0, b"") for number in range(11)]
    for number, ping in enumerate(pings[:10]):
        assert len(reactor.receive(ping, 10.0 * (number // 5))) == 1

    (broken,) = reactor.receive(pings[10], 19.0)

    assert isinstance(broken, Broken) and broken.code == "flood"
