"""The recorded frames of the ancestor and of our own protocol: read by us, and written octet for octet."""

from typing import Any

import pytest

from fieldpost.wire.session import encodings
from fieldpost.wire.session.events import (
    Atom,
    CommandError,
    DecisionReceived,
    Event,
    Failed,
    Output,
    PeerClosed,
    Pinged,
    Ponged,
    Progress,
    Requested,
    Responded,
    Settings,
)
from fieldpost.wire.session.frame import Frame, FrameType
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.outcome import encode_error
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import HG
from tests.wire.session.link import client, feed, frame_of, frames_in, octets_of, recorded, server, take

VECTORS, PROPOSAL = recorded("vectors"), recorded("proposal")
NEEDS_ZSTD = pytest.mark.skipif(
    encodings.ZSTD not in encodings.NAMES, reason="the zstandard library is not here"
)


def octets(id: str, frames: str = "frames") -> bytes:
    return octets_of(VECTORS[id][frames])


def asking(*names: bytes, **how: Any) -> Reactor:
    """A client whose requests have left."""
    reactor = client(codec=HG, **how)
    for name in names:
        reactor.request(name)
    reactor.data_to_send()
    return reactor


def asked(*ids: int, **how: Any) -> Reactor:
    """A server at which requests run."""
    reactor = server(codec=HG, **how)
    for id in ids:
        reactor.receive(Frame(FrameType.REQUEST, id, 1, int(id == ids[0]), 1, b"\xa1\x44name\x41c"))
    return reactor


@pytest.mark.parametrize("id", [id for id in VECTORS if "frames" in VECTORS[id] and id != "F06"])
def test_header(id: str) -> None:
    """Each recorded frame is read as what it was recorded to be."""
    assert frames_in(octets(id)) == list(map(frame_of, VECTORS[id]["frames"]))


REQUESTS: dict[str, list[tuple[Any, ...]]] = {
    "R01": [(b"ping",)],
    "R02": [(b"exchange", {b"sequence": 7, b"accepted": b"\1\2"})],
    "R03": [(b"command1", {b"foo": b"bar"}), (b"command2",)],
    "R04": [(b"command", {b"key": b"v" * 40})],
    "R05": [(b"store", {b"k": b"v"}, b"data!")],
    "R06": [(b"command", {}, b"x" * 32768)],
    "R07": [(b"command", {}, b"x" * 32769)],
    "R08": [
        (
            b"types",
            {
                b"big": 1048576,
                b"int": 42,
                b"list": [None, True, False, b"x"],
                b"map": {b"b": 1, b"a": 2},
                b"neg": -342542,
                b"set": {b"z", b"y"},
            },
        )
    ],
}


@pytest.mark.conformance("M9", "M10", "M11", "M12", "M13", "M14")
@pytest.mark.parametrize("id", REQUESTS)
def test_requests_written(id: str) -> None:
    """Our requests are the ancestor's, octet for octet."""
    reactor = client(codec=HG, limits=Limits(send_frame=16 if id == "R04" else 32768))

    for name, *rest in REQUESTS[id]:
        reactor.request(name, *rest[:1], data=rest[1] if len(rest) > 1 else None)

    assert reactor.data_to_send() == octets(id)


@pytest.mark.conformance("M9", "M19")
@pytest.mark.parametrize("id", REQUESTS)
def test_requests_read(id: str) -> None:
    """The ancestor's requests come out as they were asked."""
    events = feed(server(codec=HG), octets(id))

    assert events == [
        Requested(2 * place + 1, name, rest[0] if rest else {}, rest[1] if len(rest) > 1 else None)
        for place, (name, *rest) in enumerate(REQUESTS[id])
    ]


@pytest.mark.conformance("M28")
def test_interleaved() -> None:
    """Two requests cut into each other run in the order in which they become whole."""
    events = feed(server(), octets("R09"))

    assert [(event.request, event.name) for event in events if isinstance(event, Requested)] == [
        (3, b"command3"),
        (1, b"command1"),
    ]


def test_redirect_targets() -> None:
    """What a request says beyond name and arguments is passed over."""
    assert feed(server(), octets("R10")) == [Requested(1, b"foo", {}, None)]


def test_stream_end() -> None:
    """A request on the last frame of a stream runs."""
    assert feed(server(), octets("R11")) == [Requested(1, b"bye", {}, None)]


@pytest.mark.conformance("M59")
@pytest.mark.parametrize(
    ("id", "values"),
    [
        ("S01", {b"contentencodings": [b"zstd-8mb", b"zlib", b"identity"]}),
        ("S03", {b"contentencodings": [b"value1", b"value2"]}),
    ],
)
def test_settings(id: str, values: dict[bytes, Any]) -> None:
    """Settings are read, in one frame or several."""
    assert feed(server(), octets(id)) == [Settings(values)]


def test_settings_written() -> None:
    """Settings go before the first command, on its id, as the ancestor's client sends them."""
    reactor = client(codec=HG)
    reactor.settings({b"contentencodings": [b"zstd-8mb", b"zlib", b"identity"]}, request=1)
    reactor.request(b"one")
    reactor.request(b"two")

    assert reactor.data_to_send() == octets("S02")
    assert [type(event) for event in feed(server(), octets("S02"))] == [Settings, Requested, Requested]


RESPONSES: dict[str, list[tuple[int, list[Any]]]] = {
    "P01": [(1, [b"response"])],
    "P02": [(1, [b"response1"]), (3, [b"response2"])],
    "P03": [(1, [b"x" * 32768 + b"y" * 100])],
    "P07": [(1, [{b"a": 1}, [1, 2, 3], b"tail"])],
    "P10": [(3, [b"response3"]), (1, [b"response1"]), (5, [b"response5"])],
}


@pytest.mark.conformance("M44", "M45", "M46", "M47", "M54")
@pytest.mark.parametrize("id", RESPONSES)
@pytest.mark.parametrize(("form", "encoding"), [("frames", b"identity"), ("seed_frames", None)])
def test_responses_written(id: str, form: str, encoding: bytes | None) -> None:
    """Our answers are the ancestor's, in its first form and in its final one; but for an empty frame that said nothing."""
    reactor = asked(*sorted(request for request, _ in RESPONSES[id]), encoding=encoding, deferred=id == "P10")

    sent = []
    for request, values in RESPONSES[id]:
        reactor.respond(request, values, end=True)
        sent += take(reactor)
    if id == "P10":
        assert sent == []
        reactor.end()

    frames = [frame_of(frame) for frame in VECTORS[id][form]]
    assert sent + take(reactor) == [frame for frame in frames if frame.payload or frame.flags != 1]


@pytest.mark.conformance("M44", "M72")
@pytest.mark.parametrize("id", RESPONSES)
@pytest.mark.parametrize("form", ["frames", "seed_frames"])
def test_responses_read(id: str, form: str) -> None:
    """The ancestor's answers are read in both forms."""
    reactor = asking(b"a", b"b", b"c")

    assert told(feed(reactor, octets(id, form))) == RESPONSES[id]


def told(events: list[Event]) -> list[tuple[int, list[Any]]]:
    """All values of each answer that ended."""
    values: dict[int, list[Any]] = {}
    ended = []
    for event in events:
        assert isinstance(event, Responded)
        values.setdefault(event.request, []).extend(event.values)
        ended += [event.request] if event.end else []
    return [(request, values[request]) for request in ended]


@pytest.mark.parametrize(
    "id",
    [pytest.param("P05", marks=pytest.mark.conformance("M63", "M64")), pytest.param("P06", marks=NEEDS_ZSTD)],
)
def test_packed_responses_read(id: str) -> None:
    """Two answers of the ancestor on one packed stream come out apart, in any cut."""
    whole, cut = asking(b"a", b"b"), asking(b"a", b"b")
    single = [
        Frame(frame.type, frame.request, frame.stream, flags, 1, frame.payload[at : at + 1])
        for frame in map(frame_of, VECTORS[id]["frames"][1:])
        for at in range(len(frame.payload))
        for flags in [frame.stream_flags]
    ]
    ends = [Frame(FrameType.RESPONSE, id, 2, 0, 2) for id in (1, 3)]

    found = told(feed(whole, octets(id)))
    events = cut.receive(frame_of(VECTORS[id]["frames"][0]))
    events += [event for frame in single + ends for event in cut.receive(frame)]

    assert [request for request, _ in found] == [1, 3]
    assert found[0][1][0].startswith(b"response1") and found[1][1][0].startswith(b"response2")
    assert told(events) == found


def test_chunked_string() -> None:
    """A byte string of indefinite length is one value."""
    assert told(feed(asking(b"a"), octets("P08"))) == [(1, [b"chunk1chunk3"])]


def test_redirect() -> None:
    """An answer that is elsewhere fails, and says where."""
    (event,) = feed(asking(b"a"), octets("P09"))

    assert isinstance(event, Failed) and event.error.code == b"redirect"
    assert event.error.details[b"location"][b"url"] == b"https://example.net/x"


@pytest.mark.conformance("M49")
def test_command_error() -> None:
    """A command error before any output is one status map."""
    reactor = asked(1)
    reactor.fail(1, "error", [Atom(b"bad argument %s", (b"x",))])
    assert reactor.data_to_send() == octets("E01")

    (event,) = feed(asking(b"a"), octets("E01"))
    assert event == Failed(1, CommandError(b"error", (Atom(b"bad argument %s", (b"x",)),)), False)


@pytest.mark.conformance("M48")
def test_server_error() -> None:
    """A server's error is an error frame without a status map."""
    reactor = asked(1)
    reactor.fail(1, "error", "some message", kind=b"server")
    assert reactor.data_to_send() == octets("E02")

    (event,) = feed(asking(b"a"), octets("E02"))
    assert event == Failed(1, CommandError(b"error", (Atom(b"some message"),), kind=b"server"), False)


def test_protocol_error() -> None:
    """A protocol error has the recorded octets."""
    error = CommandError(b"x", (Atom(b"unexpected frame"),), kind=b"protocol")

    assert encode_error(error, bare=True) == bytes.fromhex(VECTORS["E03"]["frames"][0]["payload_hex"])


@pytest.mark.conformance("M73")
@pytest.mark.parametrize(
    ("id", "atoms"),
    [
        ("O01", (Atom(b"foo"),)),
        ("O02", (Atom(b"foo %s", (b"arg",), (b"label",)), Atom(b"bar\n"))),
    ],
)
def test_output(id: str, atoms: tuple[Atom, ...]) -> None:
    """Text for people is written and read as recorded."""
    reactor = asked(1)
    reactor.output(1, atoms)

    assert reactor.data_to_send() == octets(id)
    assert feed(asking(b"a"), octets(id)) == [Output(1, atoms)]


@pytest.mark.conformance("M73")
def test_progress() -> None:
    """Progress and its end are written and read as recorded."""
    reactor = asked(1)
    reactor.progress(1, b"upload", 5, 10, label=b"chunks", item=b"blob-1")
    reactor.progress(1, b"upload", -1, 10)

    assert reactor.data_to_send() == octets("O03") + octets("O04")
    assert feed(asking(b"a"), octets("O03") + octets("O04")) == [
        Progress(1, b"upload", 5, 10, b"chunks", b"blob-1"),
        Progress(1, b"upload", -1, 10, None, None),
    ]


def proposed(id: str) -> bytes:
    return bytes.fromhex(PROPOSAL[id]["wire_hex"])


def begun(role: Role, **how: Any) -> Reactor:
    """An end of a session whose peer has said hello."""
    reactor = Reactor(role, credit=True, **how)
    (event,) = feed(reactor, proposed("D02" if role is Role.CLIENT else "D01"))
    assert isinstance(event, Settings)
    return reactor


def test_hellos() -> None:
    """Both hellos are read, and written as they came."""
    for role, id in ((Role.SERVER, "D01"), (Role.CLIENT, "D02")):
        reactor, sender = Reactor(role), Reactor(role.other)
        (event,) = feed(reactor, proposed(id))
        assert isinstance(event, Settings)
        sender.settings(event.values)
        assert sender.data_to_send() == proposed(id)


@pytest.mark.parametrize("id", ["D03", "D04"])
def test_decisions(id: str) -> None:
    """Decisions are read, and written as they came."""
    (event,) = feed(begun(Role.CLIENT), proposed(id))
    assert isinstance(event, DecisionReceived)
    sender = Reactor(Role.SERVER)
    sender.settings({b"versions": [1, 1]})
    sender.data_to_send()
    sender.decision(event.values)

    assert sender.data_to_send() == proposed(id)


def sender(role: Role, *, requests: int = 0) -> Reactor:
    """An end that has sent its first frame."""
    reactor = Reactor(role, credit=True)
    reactor.settings({})
    reactor.data_to_send()
    for _ in range(requests):
        reactor.request(b"x")
    reactor.data_to_send()
    return reactor


def test_pings() -> None:
    """Ping and pong."""
    assert feed(begun(Role.SERVER), proposed("D05")) == [Pinged(bytes(range(8)))]
    assert feed(begun(Role.CLIENT), proposed("D06")) == [Ponged(bytes(range(8)))]
    asker, answerer = sender(Role.CLIENT), sender(Role.SERVER)
    asker.ping(bytes(range(8)))
    answerer.pong(bytes(range(8)))
    assert (asker.data_to_send(), answerer.data_to_send()) == (proposed("D05"), proposed("D06"))


def test_cancel() -> None:
    """A cancel of request 5; for one that does not run it is passed over."""
    reactor = sender(Role.CLIENT, requests=3)
    reactor.cancel(5)

    assert reactor.data_to_send() == proposed("D07")
    assert feed(begun(Role.SERVER), proposed("D07")) == []


def test_close() -> None:
    """A close says why, what was taken up, and when to come back."""
    assert feed(begun(Role.CLIENT), proposed("D08")) == [PeerClosed(b"shutdown", 41, 5, None)]
    reactor = sender(Role.SERVER)
    reactor.close({b"reason": b"shutdown", b"last": 41, b"retry-after": 5})
    assert reactor.data_to_send() == proposed("D08")


@pytest.mark.parametrize("id", ["D09", "D10"])
def test_credit(id: str) -> None:
    """Credit for the connection, and for a request that is over, is taken in silence."""
    assert feed(begun(Role.SERVER), proposed(id)) == []


def test_subscription() -> None:
    """A subscription is a request whose answer stays open."""
    (event,) = feed(begun(Role.SERVER), proposed("D11"))
    assert event == Requested(7, b"subscribe", {b"since": 12, b"topics": [b"messages"]}, None)

    reactor = begun(Role.CLIENT)
    for _ in range(4):
        reactor.request(b"subscribe")
    reactor.data_to_send()
    (event,) = feed(reactor, proposed("D12"))
    notified = {b"pending": 2, b"seq": 13, b"topic": b"messages", b"urgent": True}
    assert event == Responded(7, (notified,), 49, False)


def test_subscription_written() -> None:
    """The first notification goes out behind its status, in one frame."""
    reactor = sender(Role.SERVER)
    feed(reactor, proposed("D01") + proposed("D11"))
    reactor.respond(7, [{b"pending": 2, b"seq": 13, b"topic": b"messages", b"urgent": True}], end=False)

    assert reactor.data_to_send() == proposed("D12")


def test_request_of_server() -> None:
    """A server asks on an even id, and the client answers."""
    reactor = begun(Role.CLIENT)
    assert feed(reactor, proposed("D13")) == [Requested(2, b"exchange-now", {}, None)]
    reactor.settings({})
    reactor.data_to_send()
    reactor.respond(2, [], end=True)
    assert reactor.data_to_send().hex() == "0b00000200010032a146737461747573426f6b"

    asker = begun(Role.SERVER)
    asker.request(b"exchange-now")
    asker.data_to_send()
    (event,) = feed(asker, bytes.fromhex("0b00000200010032a146737461747573426f6b"))
    assert isinstance(event, Responded) and event.end


def test_answer_of_client() -> None:
    """The recorded answer is the one that we send."""
    assert proposed("D14").hex() == "0b00000200010032a146737461747573426f6b"
