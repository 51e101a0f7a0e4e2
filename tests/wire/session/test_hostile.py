"""What a peer cannot have kept here, however it goes about it (spec/wire.md 5.8)."""

import pytest

from fieldpost.wire.cbor import encode
from fieldpost.wire.session.agreement import Offered, Opened
from fieldpost.wire.session.encodings import NAMES
from fieldpost.wire.session.events import Broken, CommandError, Failed, Requested, Responded
from fieldpost.wire.session.frame import Frame, encode_frame
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.post import Post
from tests.wire.session.ends import End, Ends, agent, agreeable, opened, profile, server
from tests.wire.session.link import take
from tests.wire.session.test_answers import DATA, PING, REQUEST, code_of, receive, started

PING_WITH_DATA = 9
FEW = Limits(active=4, partial=1)


class Pool:
    """Room for so many octets."""

    def __init__(self, octets: int) -> None:
        self.free = octets

    def take(self, octets: int) -> CommandError | None:
        """See limits.Pool."""
        if octets > self.free:
            return CommandError(b"full", ())
        self.free -= octets
        return None

    def give(self, octets: int) -> None:
        """See limits.Pool."""
        self.free += octets


def begin(*requests: int) -> list[tuple[int, int, int, bytes]]:
    """Frames that begin requests whose data are still to come."""
    return [(REQUEST, request, PING_WITH_DATA, PING) for request in requests]


@pytest.mark.conformance("M42")
def test_refused_requests_that_never_end() -> None:
    """A peer can have as many of them as requests may run, for each of which there is a trace here; then it is a breach."""
    reactor = started(limits=FEW, bare=False)

    assert receive(reactor, *begin(1, 3, 5, 7, 9)) == []
    assert code_of(receive(reactor, *begin(11))) == "flood"


@pytest.mark.conformance("M42")
def test_refused_requests_that_end_are_forgotten() -> None:
    """Whoever ends, or takes back, what was refused may be refused for ever."""
    reactor = started(limits=FEW, bare=False)
    receive(reactor, *begin(1))

    for _ in range(50):
        assert receive(reactor, *begin(3, 5, 7), *((DATA, one, 2, b"") for one in (3, 5, 7))) == []
        take(reactor)
    assert not reactor.is_over


def test_refusals_that_are_not_read() -> None:
    """They pile up only so far."""
    reactor = started(limits=FEW, bare=False)
    runs = receive(reactor, *((REQUEST, 1 + 2 * one, 1, PING) for one in range(64)))
    assert len(runs) == 4 and reactor.active == 64

    assert code_of(receive(reactor, (REQUEST, 201, 1, PING))) == "flood"


def test_refusals_that_are_read() -> None:
    """A peer that reads them may go on."""
    reactor = started(limits=FEW, bare=False)

    for one in range(500):
        receive(reactor, (REQUEST, 1 + 2 * one, 1, PING))
        reactor.data_to_send()
    assert not reactor.is_over


def test_data_count_for_all_connections() -> None:
    """Data that are not whole take from the room that all connections share; without room a request is refused."""
    pool = Pool(1_000)
    one, other = (started(bare=False, pool=pool) for _ in range(2))

    receive(one, *begin(1), (DATA, 1, 1, bytes(600)))
    assert receive(other, *begin(1), (DATA, 1, 1, bytes(600)), (DATA, 1, 2, b"")) == []

    (refusal,) = take(other)
    assert (b"full" in refusal.payload, pool.free, other.is_over) == (True, 400, False)
    (asked,) = receive(one, (DATA, 1, 2, bytes(10)))
    assert isinstance(asked, Requested) and asked.data == bytes(610)
    assert pool.free == 1_000


@pytest.mark.parametrize("way", ["cancel", "age", "end", "breach", "too large"])
def test_room_comes_back(way: str) -> None:
    """However a request that is not whole ends, its room is free again, once."""
    pool = Pool(1_000)
    reactor = started(bare=False, pool=pool, limits=Limits(data=900))
    receive(reactor, *begin(1, 3), (DATA, 1, 1, bytes(300)), (DATA, 3, 1, bytes(300)))
    assert pool.free == 400

    if way == "cancel":
        receive(reactor, (12, 1, 0, b""), (12, 3, 0, b""))
    elif way == "age":
        reactor.tick(100.0)
    elif way == "end":
        reactor.end()
    elif way == "breach":
        receive(reactor, (4, 1, 0, b""))
    else:
        receive(reactor, (DATA, 1, 1, bytes(400)), (DATA, 3, 1, bytes(700)))

    assert pool.free == 1_000


def test_a_request_that_comes_for_ever() -> None:
    """A request that is kept alive by an octet now and then has its time too."""
    reactor = started(bare=False)
    receive(reactor, *begin(1))
    for now in range(10, 600, 10):
        receive(reactor, (DATA, 1, 1, b"x"), now=float(now))
        reactor.tick(float(now))
    assert (reactor.partial, reactor.next_deadline()) == (1, 600.0)

    reactor.tick(600.0)

    assert (reactor.partial, [frame.type for frame in take(reactor)]) == (0, [12])


def stranger() -> Ends:
    """An agent without identity, that may only register."""

    def decide(end: End, event: object) -> None:
        if not isinstance(event, Offered):
            agreeable(end, event)
            return
        end.take(end.session.decide(connection=(b"server-1", 1), allowed=[b"exchange"], now=0.0))

    return Ends(agent(), server(), on_event=decide).run()


def test_a_stranger_may_send_less() -> None:
    """Of who has shown nothing of itself only a little data is held; what is more it is told to send in another way."""
    octets = Limits().stranger_data
    few, many = stranger(), stranger()

    few.client.session.request(b"exchange", {}, data=bytes(octets), now=0.0)
    many.client.session.request(b"exchange", {}, data=bytes(octets + 1), now=0.0)

    assert few.run().server.one(Requested).data == bytes(octets)
    assert many.run().client.one(Failed).error.code == b"too-large"
    assert not many.server.of(Requested)


def test_a_packing_that_was_not_announced() -> None:
    """Some take much memory to unpack: what an end has not said that it unpacks, nobody gets it to."""
    ends = opened(server={"encodings": ()})

    events = ends.server.session._reactor.receive(Frame(9, 1, 3, 1, 2, b"\x44zlib"), 0.0)

    assert code_of(events) == "unknown-encoding"


def test_a_stranger_packs_nothing() -> None:
    """Nor does one get it to unpack anything of whom nothing is known: the decision says so."""
    ends, known = stranger(), opened()
    assert (known.client.one(Opened).agreement.encodings, ends.client.one(Opened).agreement.encodings) == (
        tuple(name.decode() for name in NAMES),
        (),
    )
    ends.client.session.request(b"exchange", {}, data=bytes(100_000), bulk=True, now=0.0)
    assert ends.run().server.one(Requested).data == bytes(100_000)

    events = ends.server.session._reactor.receive(Frame(9, 0, 3, 1, 2, b"\x44zlib"), 0.0)

    assert code_of(events) == "unknown-encoding"


def test_the_peers_last_words_in_the_log() -> None:
    """Why a peer broke off may be anything: what is told of it is short, and stands on one line."""
    ends = opened()
    said = {b"type": b"protocol", b"code": b"x", b"message": [{b"msg": b"one\ntwo\x1b[2J" + b"x" * 20_000}]}
    frame = Frame(5, 0, 1, 0, 0, encode(said))

    events = ends.server.session._reactor.receive(frame, 0.0)

    (broken,) = events
    assert isinstance(broken, Broken)
    assert broken.text.isprintable() and len(broken.text) < 1_100 and "one?two" in broken.text


def test_how_much_of_an_answer_has_come() -> None:
    """Each event of an answer tells of all octets since the one before, also of those frames that had none."""
    ends = opened()
    ends.client.session.request(b"much", {}, now=0.0)
    ends.run()
    asked = ends.server.one(Requested)

    ends.server.session.respond(asked.request, [bytes(200_000), 1], end=True)
    ends.run()

    begun, large, *_ = told = ends.client.of(Responded)
    assert (begun.values, large.values[0]) == ((), bytes(200_000))
    assert large.octets < large.size
    assert sum(event.size for event in told) in range(200_000, 200_100)


@pytest.mark.parametrize("frame", [(15, 0, 1, b"\x41x"), (DATA, 1, 1, b"")])
def test_frames_that_cost_nothing(frame: tuple[int, int, int, bytes]) -> None:
    """What brings nothing is counted like pings; what brings something is not."""
    reactor = started(limits=Limits(control_frames=20), bare=False)
    receive(reactor, *begin(1), *[(DATA, 1, 1, b"x")] * 100)
    assert not reactor.is_over

    assert code_of(receive(reactor, *[frame] * 20)) == "flood"


@pytest.mark.parametrize("octets", [encode_frame(Frame(15, 0, 1, 0, 1, b"\x41x")), bytes(8)])
def test_a_post_of_many_frames(octets: bytes) -> None:
    """A body of a million tiny frames is not worked through."""
    client = Post(role=Role.CLIENT, us=profile(Role.CLIENT))
    server = Post(role=Role.SERVER, us=profile(Role.SERVER))

    events = server.receive_data(client.data_to_send() + octets * 1_000_000, 0.0)

    assert len(events) < 300 and isinstance(events[-1], Broken)


def test_a_large_post() -> None:
    """As much as may come, in frames of any usual size, comes through."""
    client = Post(role=Role.CLIENT, us=profile(Role.CLIENT), limits=Limits(send_frame=8_192))
    server = Post(role=Role.SERVER, us=profile(Role.SERVER))
    client.request(b"exchange", {}, data=bytes(30_000_000))

    events = [*server.receive_data(client.data_to_send(), 0.0), *server.receive_end(0.0)]

    (asked,) = [event for event in events if isinstance(event, Requested)]
    assert len(asked.data or b"") == 30_000_000


def test_a_packed_post() -> None:
    """A client cannot know what the server unpacks, so it unpacks nothing, and neither end says that it would."""
    client = Post(role=Role.CLIENT, us=profile(Role.CLIENT))
    server = Post(role=Role.SERVER, us=profile(Role.SERVER))
    asks = Post(role=Role.CLIENT, us=profile(Role.CLIENT))
    asks.request(b"exchange", {}, data=bytes(100_000), bulk=True)
    hello = Post(role=Role.SERVER, us=profile(Role.SERVER)).receive_data(asks.data_to_send(), 0.0)[0]
    assert isinstance(hello, Opened)
    assert (hello.agreement.encodings, hello.agreement.peer.encodings) == ((), ())

    events = server.receive_data(client.data_to_send() + encode_frame(Frame(9, 1, 3, 1, 2, b"\x44zlib")), 0.0)

    assert code_of([event for event in events if isinstance(event, Broken)]) == "unknown-encoding"
