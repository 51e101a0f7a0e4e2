"""Where nothing upgrades, a session's commands travel in a POST and are answered by the same code."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.session.agreement import Closed, Opened, Profile, Refused
from fieldpost.wire.session.events import Broken, Failed, Responded
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.post import MEDIA_TYPE, Post
from tests.server.wired import (
    Reply,
    WiredServer,
    client_payload,
    read_reply,
    register_message,
    request_octets,
)


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer()


def new_post(**given: Any) -> Post:
    return Post(role=Role.CLIENT, us=Profile(incarnation=b"agent--1", nonce=b"n" * 32, **given))


def send(
    wired: WiredServer,
    body: bytes,
    *,
    secure_id: bytes | None = None,
    path: str = "/exchange",
    method: str = "POST",
    **headers: str,
) -> StringTransport:
    """A POST that may be answered later."""
    said = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
    if secure_id is not None:
        said["X-Computer-ID"] = secure_id.decode()
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    channel, transport = wired.connect()
    channel.dataReceived(request_octets(method, path, body, said))
    wired.clock.advance(0)
    return transport


def reply_in(transport: StringTransport) -> Reply:
    return read_reply(transport.value())


def events_of(post: Post, reply: Reply) -> list[Any]:
    events: list[Any] = post.receive_data(reply.body, 0.0)
    return events + post.receive_end(0.0)


def ask(wired: WiredServer, *calls: tuple[bytes, dict[bytes, Any], bytes | None], **ways: Any) -> list[Any]:
    """What comes of some calls in one POST."""
    post = new_post()
    for name, args, data in calls:
        post.request(name, args, data=data)
    transport = send(wired, post.data_to_send(), **ways)
    reply = reply_in(transport)
    assert (reply.status, reply.headers["content-type"]) == (200, MEDIA_TYPE)
    return events_of(post, reply)


def exchange_of(payload: Any) -> tuple[bytes, dict[bytes, Any], bytes]:
    return b"exchange", {b"api": b"3.3"}, cbor.encode(payload)


def payload_in(event: Responded) -> ServerPayload:
    return ServerPayload.from_map(cbor.decode(event.values[0]))


def test_registers_and_exchanges(wired: WiredServer) -> None:
    """An agent registers by POST, then exchanges with the identity it got."""
    payload = client_payload(messages=[register_message()])
    opened, answer, closed = ask(wired, exchange_of(payload))
    assert isinstance(opened, Opened)
    assert closed == Closed(reason="done", by_peer=True)
    welcome = payload_in(answer).messages[0]

    payload = client_payload(sequence=1, messages=[{"type": "a"}])
    _, answer, _ = ask(wired, exchange_of(payload), secure_id=welcome["id"])

    assert payload_in(answer).next_expected_sequence == 2
    assert [message["type"] for message in wired.stored()] == ["a"]


def test_says_whether_sessions_are_to_be_had(wired: WiredServer) -> None:
    """A client learns whether it may come back to a session."""
    post = new_post()

    events_of(post, reply_in(send(wired, post.data_to_send())))

    assert post.upgrade is True


@pytest.mark.conformance("M77")
@pytest.mark.parametrize("path", ["/exchange", "/exchange/exchange", "/exchange/frobnicate"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post(wired: WiredServer, path: str, method: str) -> None:
    """Anything but POST is 405 with Allow, before the command is looked at."""
    reply = reply_in(send(wired, b"", path=path, method=method))

    assert (reply.status, reply.headers["allow"]) == (405, "post")


@pytest.mark.conformance("M78")
def test_wrong_forms(wired: WiredServer) -> None:
    """Another Accept is 406, another Content-Type 415, a command that is not known 404."""
    assert reply_in(send(wired, b"", Accept="text/html")).status == 406
    assert reply_in(send(wired, b"", Content_Type="text/plain")).status == 415
    assert reply_in(send(wired, b"", path="/exchange/frobnicate")).status == 404


@pytest.mark.parametrize("accepted", ["*/*", "text/html, application/*;q=0.5", MEDIA_TYPE.upper()])
def test_accepted(wired: WiredServer, accepted: str) -> None:
    """Whoever takes anything takes our frames."""
    assert reply_in(send(wired, new_post().data_to_send(), Accept=accepted)).status == 200


def test_one_command_in_the_path(wired: WiredServer) -> None:
    """At a command's own path nothing else is answered."""
    secure_id = wired.register()

    events = ask(
        wired, (b"ping", {}, None), exchange_of(client_payload()), secure_id=secure_id, path="/exchange/ping"
    )

    kinds = {event.request: type(event) for event in events if isinstance(event, (Responded, Failed))}
    assert kinds == {1: Responded, 3: Failed}


@pytest.mark.conformance("M78")
def test_unknown_command_in_the_body(wired: WiredServer) -> None:
    """A command that nobody knows fails alone; the others of the body are answered."""
    secure_id = wired.register()

    events = ask(wired, (b"frobnicate", {}, None), (b"ping", {}, None), secure_id=secure_id)

    failed = next(event for event in events if isinstance(event, Failed))
    assert (failed.request, failed.error.code) == (1, b"unknown-command")
    assert any(isinstance(event, Responded) and event.request == 3 for event in events)


@pytest.mark.conformance("M79")
def test_answers_in_order_of_completion(wired: WiredServer) -> None:
    """Several calls of one body are answered as they are ready."""
    secure_id = wired.register()
    post = new_post()
    wait = post.request(b"wait", {b"topics": {b"messages": None}, b"seconds": 30})
    ping = post.request(b"ping", {})
    transport = send(wired, post.data_to_send(), secure_id=secure_id)
    assert transport.value() == b""

    wired.clock.advance(30)
    wired.clock.advance(0)

    events = events_of(post, reply_in(transport))
    assert [event.request for event in events if isinstance(event, Responded) and event.end] == [ping, wait]


def test_wait_is_answered_by_what_comes(wired: WiredServer) -> None:
    """The long poll ends as soon as something waits."""
    secure_id = wired.register()
    post = new_post()
    post.request(b"wait", {b"topics": {b"messages": None}, b"seconds": 50})
    transport = send(wired, post.data_to_send(), secure_id=secure_id)

    wired.api("POST", "/operations", {"computer": 1, "type": "look"})
    wired.clock.advance(0)

    answer = next(event for event in events_of(post, reply_in(transport)) if isinstance(event, Responded))
    assert answer.values[0][b"value"] == {b"pending": 1, b"seq": 1, b"urgent": True}
    assert wired.server.registry.reachable() == set()
    assert wired.server.desk.topics.listeners("1") == 0


def test_wait_knows_what_waits_already(wired: WiredServer) -> None:
    """What was queued before is told at once, unless it is known."""
    secure_id = wired.register()
    wired.api("POST", "/operations", {"computer": 1, "type": "look"})

    calls = (b"wait", {b"topics": {b"messages": None}, b"seconds": 50}, None)
    _, answer, _ = ask(wired, calls, secure_id=secure_id)

    assert answer.values[0][b"seq"] == 1


def test_wait_for_what_is_published(wired: WiredServer) -> None:
    """Topics of the operator's own are heard by who waits, too."""
    secure_id = wired.register()
    post = new_post()
    post.request(b"wait", {b"topics": {b"weather": None}, b"seconds": 50})
    transport = send(wired, post.data_to_send(), secure_id=secure_id)

    wired.api("POST", "/topics/weather", {"value": "sun"})
    wired.clock.advance(0)

    answer = next(event for event in events_of(post, reply_in(transport)) if isinstance(event, Responded))
    assert answer.values[0][b"value"] == "sun"


@pytest.mark.parametrize("secure_id", [None, b"nobody"])
def test_strangers_have_no_topics(wired: WiredServer, secure_id: bytes | None) -> None:
    """Without an identity that is known here nothing can be waited for."""
    events = ask(wired, (b"wait", {b"topics": {b"messages": None}, b"seconds": 1}, None), secure_id=secure_id)

    failed = next(event for event in events if isinstance(event, Failed))
    assert failed.error.code == b"not-registered"


def test_unknown_identity_exchanges(wired: WiredServer) -> None:
    """An identity that is not known is answered as by an exchange: it hears so in a message."""
    _, answer, _ = ask(wired, exchange_of(client_payload()), secure_id=b"nobody")

    assert payload_in(answer).messages == ({"type": "unknown-id"},)


def test_nothing_stays_open(wired: WiredServer) -> None:
    """A subscription is refused, and the refusal says what to do."""
    secure_id = wired.register()

    events = ask(wired, (b"subscribe", {b"topics": [b"messages"]}, None), secure_id=secure_id)

    failed = next(event for event in events if isinstance(event, Failed))
    assert failed.error.code == b"not-here"


@pytest.mark.conformance("M80")
@pytest.mark.parametrize("body", [b"", b"\0", b"\xff" * 100, b"\x00\x00\x00\x01\x00\x01\x00\x11"])
def test_broken_body(wired: WiredServer, body: bytes) -> None:
    """A body that breaks a rule is 400, and an error frame says which."""
    reply = reply_in(send(wired, body))
    assert (reply.status, reply.headers["content-type"]) == (400, MEDIA_TYPE)

    events = events_of(new_post(), reply)

    assert any(isinstance(event, (Failed, Broken, Refused, Closed)) for event in events)
    assert b"protocol" in reply.body


def test_version_that_is_not_had(wired: WiredServer) -> None:
    """A refusal is an answer: the decision says why."""
    post = new_post(versions=(7, 9))

    reply = reply_in(send(wired, post.data_to_send()))

    assert reply.status == 200
    refused = next(event for event in events_of(post, reply) if isinstance(event, Refused))
    assert refused.code == "version"


@given(st.binary(max_size=300))
def test_any_octets(body: bytes) -> None:
    """Whatever the body is, there is an answer that is no fault of ours."""
    good = new_post()
    good.request(b"ping", {})
    whole = good.data_to_send()
    cut = len(body) % len(whole)

    for octets in (body, whole[:cut] + body, whole + body):
        reply = reply_in(send(WiredServer(), octets))
        assert reply.status in (200, 400)


def test_session_path_by_other_methods(wired: WiredServer) -> None:
    """A session is asked for with GET, at the door; whatever else comes for it is told so."""
    wrong = reply_in(send(wired, b"", path="/session/default"))
    late = reply_in(send(wired, b"", path="/session/default", method="GET"))

    assert (wrong.status, wrong.headers["allow"]) == (405, "get")
    assert (late.status, late.headers["upgrade"]) == (426, "fieldpost/1")
    assert int(late.headers["content-length"]) > 0
