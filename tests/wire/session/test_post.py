"""A session in a POST."""

import random
from itertools import groupby
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.agreement import Closed, Opened, Refused
from fieldpost.wire.session.events import Aborted, Broken, Failed, Output, Requested, Responded
from fieldpost.wire.session.frame import Frame, Framer, FrameType, encode_frame
from fieldpost.wire.session.identity import Evidence, Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.negotiation import State
from fieldpost.wire.session.post import Post
from fieldpost.wire.session.proof import key_name

from .ends import ENDS, profile


def _client(**us: Any) -> Post:
    return Post(role=Role.CLIENT, us=profile(Role.CLIENT, **us))


def _server(*, us: dict[str, Any] | None = None, **more: Any) -> Post:
    return Post(role=Role.SERVER, us=profile(Role.SERVER, **(us or {})), **{"upgrade": True, **more})


def _pass(source: Post, target: Post, *, end: bool = True) -> list[Any]:
    events: list[Any] = [*target.receive_data(source.data_to_send(), 0.0)]
    return [*events, *target.receive_end(0.0)] if end else events


def _of(kind: Any, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_post_asks_and_is_answered() -> None:
    """Hello and requests there; hello, decision and answers back."""
    client, accepting = _client(), _server()
    one = client.request(b"exchange", {b"api": b"3.3"}, data=b"payload" * 10_000)
    two = client.request(b"ping", {})

    asked = _pass(client, accepting)
    assert {event.name: event.data for event in _of(Requested, asked)} == {
        b"exchange": b"payload" * 10_000,
        b"ping": None,
    }
    accepting.respond(one, [b"answer" * 10_000], end=True)
    accepting.respond(two, [], end=True)
    octets = accepting.data_to_send()
    told: list[Any] = [*client.receive_data(octets, 0.0), *client.receive_end(0.0)]

    frames = [frame.type for frame in Framer(1 << 16).feed(octets)]
    assert frames[:2] == [FrameType.HELLO, FrameType.DECISION]
    assert b"".join(v for e in _of(Responded, told) for v in e.values) == b"answer" * 10_000
    assert told[-1] == Closed(reason="done", by_peer=True)


def test_requests_of_a_body_stand_one_behind_the_other() -> None:
    """So a server that takes few in parts takes all of them."""
    client, accepting = _client(), _server(limits=Limits(partial=1))
    ids = [client.request(b"exchange", {}, data=b"x" * 100_000) for _ in range(5)]

    assert [event.request for event in _of(Requested, _pass(client, accepting))] == ids


@pytest.mark.conformance("M54", "M79")
def test_nothing_leaves_before_the_body_has_ended_then_as_answers_end() -> None:
    """In the order in which they were ended, each in one piece, whatever was begun before it and however long it is."""
    client, accepting = _client(), _server()
    ids = [client.request(b"ping", {b"n": n}) for n in range(3)]
    _pass(client, accepting, end=False)

    accepting.respond(ids[1], [1], end=False)
    accepting.respond(ids[2], [b"x" * 100_000], end=True)
    assert accepting.data_to_send() == b""
    accepting.receive_end(0.0)
    accepting.respond(ids[0], [1], end=True)
    first = accepting.data_to_send()
    accepting.respond(ids[1], [2], end=True)
    octets = first + accepting.data_to_send()
    told = client.receive_data(octets, 0.0)

    assert [event.request for event in _of(Responded, told) if event.end] == [ids[2], ids[0], ids[1]]
    frames = [frame.request for frame in Framer(1 << 16).feed(octets) if frame.type == FrameType.RESPONSE]
    assert [request for request, _ in groupby(frames)] == [ids[2], ids[0], ids[1]]


def test_the_answer_says_whether_sessions_are_to_be_had() -> None:
    """So a client can climb back."""
    for upgrade in (True, False, None):
        client, accepting = _client(), _server(upgrade=upgrade)
        _pass(client, accepting)
        _pass(accepting, client)

        assert client.upgrade is upgrade
        assert client.agreement is not None
        assert client.agreement.peer.capabilities == client.agreement.capabilities == ()


def test_output_and_errors_come_too() -> None:
    """As in a session."""
    client, accepting = _client(), _server()
    one = client.request(b"tail", {})
    two = client.request(b"tail", {})
    _pass(client, accepting)
    accepting.output(one, "a line")
    accepting.respond(one, [], end=True)
    accepting.fail(two, "unknown-command", "no")

    told = _pass(accepting, client)

    assert _of(Output, told)[0].atoms[0].text == "a line"
    assert _of(Failed, told)[0].error.code == b"unknown-command"


def test_versions_that_do_not_meet_are_refused_on_both_sides() -> None:
    """The requests behind the hello are not looked at."""
    client, accepting = _client(versions=(9, 9)), _server()
    request = client.request(b"ping", {})

    heard = _pass(client, accepting)
    told = _pass(accepting, client)

    assert heard[-1].code == "version"
    assert not _of(Requested, heard)
    assert isinstance(told[-1], Refused)
    assert "9 to 9" in told[-1].text
    assert [event.request for event in _of(Aborted, told)] == [request]


def test_a_refusal_by_the_server_is_told() -> None:
    """An id without anything to show for it."""
    client, accepting = _client(id="a:7"), _server()

    _pass(client, accepting)
    told = _pass(accepting, client)

    assert (told[-1].code, told[-1].by_peer) == ("proof", True)


def test_a_key_may_show_who_asks() -> None:
    """Where TLS has its certificate."""
    accepting = _server(evidence=Evidence(key=key_name(b"k")))

    heard = _pass(_client(id="a:" + key_name(b"k")), accepting)

    assert _of(Opened, heard)[0].agreement.peer.id == "a:" + key_name(b"k")


def test_a_proof_by_secret_does_not_fit_a_post() -> None:
    """It would need the other's nonce first."""
    with pytest.raises(LocalProtocolError, match="cannot carry a proof"):
        _client(id="a:7", announces_proof=True)


def test_before_registration_only_registration_is_answered() -> None:
    """As in a session."""
    client, accepting = _client(), _server(allowed=[b"exchange"])
    client.request(b"wait", {})
    client.request(b"exchange", {})

    heard = _pass(client, accepting)
    accepting.respond(3, [], end=True)
    told = _pass(accepting, client)

    assert [event.name for event in _of(Requested, heard)] == [b"exchange"]
    assert _of(Failed, told)[0].error.code == b"not-registered"


@pytest.mark.conformance("M80")
@pytest.mark.parametrize("octets", [b"", b"hello", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1\0\1\1\x11"])
def test_a_body_that_is_none_is_answered_with_an_error_frame(octets: bytes) -> None:
    """Which the front end sends with status 400."""
    accepting = _server()

    events = [*accepting.receive_data(octets, 0.0), *accepting.receive_end(0.0)]

    assert isinstance(events[-1], Broken)
    types = [frame.type for frame in Framer(1 << 16).feed(accepting.data_to_send())]
    assert FrameType.ERROR in types


def test_a_request_without_its_end_is_aborted() -> None:
    """The others run."""
    client, accepting = _client(), _server()
    client.request(b"ping", {})
    body = client.data_to_send()
    client.request(b"exchange", {}, data=b"x" * 40_000)
    more = client.data_to_send()
    cut = 8 + int.from_bytes(more[:3], "little")

    heard = [*accepting.receive_data(body + more[:cut], 0.0), *accepting.receive_end(0.0)]

    assert [event.request for event in _of(Requested, heard)] == [1]
    assert [event.request for event in _of(Aborted, heard)] == [3]


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_an_answer_that_is_cut_fails_what_it_owed(cut: int) -> None:
    """Once, whether it was cut in a frame or between two."""
    client, accepting = _client(), _server()
    request = client.request(b"ping", {})
    _pass(client, accepting)
    accepting.respond(request, [b"x" * 100], end=True)

    told: list[Any] = [*client.receive_data(accepting.data_to_send()[:cut], 0.0), *client.receive_end(0.0)]

    assert [event.request for event in _of(Aborted, told)] == [request]
    assert (told[-1].code if cut else told[-1].reason) == ("truncated" if cut else "lost")
    assert client.receive_end(0.0) == []
    assert client.receive_data(b"more", 0.0) == []


def _frame(type: int, values: Any, *, stream: int = 1, begins: bool = True) -> bytes:
    return encode_frame(Frame(type, 0, stream, int(begins), 2, cbor2.dumps(values)))


GREETING = {b"versions": [1, 1], b"codecs": [b"cbor"], b"id": b"s:x"}
DECISION = {b"version": 1, b"codec": b"cbor"}
REFUSAL = {b"error": {b"code": b"x"}}


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(FrameType.HELLO, {b"versions": 1})], "hello-malformed"),
        ([(FrameType.DECISION, DECISION)], "decision-unexpected"),
        ([(FrameType.HELLO, GREETING), (FrameType.DECISION, {b"version": 1})], "decision-malformed"),
        ([(FrameType.HELLO, GREETING), (FrameType.DECISION, {**DECISION, b"version": 9})], "version"),
        ([(FrameType.HELLO, GREETING), (FrameType.DECISION, REFUSAL)], "x"),
        ([(FrameType.HELLO, {**GREETING, b"id": b"a:9"})], "proof"),
        ([(FrameType.RESPONSE, {})], "early-frame"),
    ],
)
def test_an_answer_that_is_none_fails_what_was_asked(frames: list[tuple[int, Any]], code: str) -> None:
    """With one end that says why."""
    client = _client()
    request = client.request(b"ping", {})
    client.data_to_send()

    told: list[Any] = []
    for number, (type, values) in enumerate(frames):
        told += client.receive_data(_frame(type, values, stream=2, begins=not number), 0.0)
    told += client.receive_end(0.0)

    assert [event.request for event in _of(Aborted, told)] == [request]
    assert told[-1].code == code


def test_a_decision_or_a_proof_from_a_client_is_none() -> None:
    """Only the server decides here."""
    accepting = _server()
    assert isinstance(_last(accepting.receive_data(_frame(FrameType.DECISION, REFUSAL), 0.0)), Broken)

    accepting = _server(evidence=Evidence(vouched=True))
    proving = {**GREETING, b"id": b"a:1", b"nonce": b"n" * 32, b"proof": b"hmac-sha256"}
    assert _last(accepting.receive_data(_frame(FrameType.HELLO, proving), 0.0)).code == "proof"


def _last(events: Any) -> Any:
    return events[-1]


def test_frames_of_a_connection_do_no_harm() -> None:
    """A ping in a body is passed over; a frame over the limit is not."""
    client, accepting = _client(), _server()
    body = client.data_to_send()
    ping = encode_frame(Frame(FrameType.PING, 0, 1, 0, 0, b"x"))

    events: list[Any] = [*accepting.receive_data(body + ping, 0.0)]
    assert [type(event) for event in events] == [Opened]
    assert _last(accepting.receive_data(b"\xff\xff\xff" + b"\0" * 5, 0.0)).code == "frame-too-large"


def test_a_post_asks_before_its_answer_begins() -> None:
    """Later it is too late; and a server asks nothing."""
    client, accepting = _client(), _server()
    _pass(client, accepting)
    _pass(accepting, client)

    with pytest.raises(LocalProtocolError):
        client.request(b"ping", {})
    with pytest.raises(LocalProtocolError):
        accepting.request(b"ping", {})


@given(st.integers(0, 2**32), st.lists(st.integers(0, 5000), min_size=1, max_size=5))
def test_a_post_is_read_however_it_is_cut(seed: int, sizes: list[int]) -> None:
    """Both ways."""
    draw = random.Random(seed)
    client, accepting = _client(), _server(limits=Limits(frame=4096))
    for size in sizes:
        client.request(b"echo", {}, data=b"d" * size)

    def carry(source: Post, target: Post) -> list[Any]:
        octets, events = source.data_to_send(), list[Any]()
        while octets:
            size = draw.randrange(1, 3000)
            events += target.receive_data(octets[:size], 0.0)
            octets = octets[size:]
        return [*events, *target.receive_end(0.0)]

    for event in _of(Requested, carry(client, accepting)):
        accepting.respond(event.request, [event.data], end=True)
    told = carry(accepting, client)

    assert sorted(len(v) for e in _of(Responded, told) for v in e.values) == sorted(sizes)
    assert told[-1].reason == "done"


@given(st.sampled_from(Role), st.binary(max_size=60), st.booleans())
def test_whatever_a_post_holds_nothing_is_raised(role: Role, octets: bytes, is_greeted: bool) -> None:
    """One end at most, and one exactly once the input has ended, unless there is something to answer."""
    post = Post(role=role, us=profile(role))
    events: list[Any] = []
    if is_greeted:
        other = _server() if role is Role.CLIENT else _client()
        if role is Role.CLIENT:
            _pass(_client(), other)
        events += post.receive_data(other.data_to_send(), 0.0)
    events += post.receive_data(octets, 0.0)
    events += post.receive_end(0.0)

    ends = [event for event in events if isinstance(event, ENDS)]
    assert len(ends) == (post.state is State.CLOSED)
    assert ends or role is Role.SERVER
