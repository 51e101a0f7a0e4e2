"""An exchange over HTTP: forms, levels, sizes, and what a client hears when something is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs

from fieldpost.server.parcel import ParcelLimits
from fieldpost.wire import cbor
from fieldpost.wire.compression import deflate, inflate
from fieldpost.wire.payload import ServerPayload
from tests.server.wired import (
    HeldWriter,
    WiredServer,
    client_payload,
    exchange_request,
    read_reply,
    register_message,
    request_octets,
)


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer()


def test_answer(wired: WiredServer) -> None:
    """The answer is CBOR and says that bodies may come packed."""
    reply = wired.exchange(client_payload())

    assert reply.status == 200
    assert (reply.headers["content-type"], reply.headers["accept-encoding"]) == ("application/cbor", "gzip")
    assert reply.payload.server_uuid == "id-1"


def test_packed_body(wired: WiredServer) -> None:
    """A gzip body is taken like any other."""
    body = deflate(cbor.encode(client_payload()))

    assert wired.exchange(body, headers={"Content-Encoding": "gzip"}).status == 200


@pytest.mark.parametrize("octets", [b"", b"no gzip", deflate(b"x" * 99)[:-1], deflate(b"x") + b"more"])
def test_bad_gzip(wired: WiredServer, octets: bytes) -> None:
    """A body that does not unpack is malformed."""
    reply = wired.exchange(octets, headers={"Content-Encoding": "gzip"})

    assert reply.status == 400
    assert {"error", "next"} == set(reply.json)


def test_bomb() -> None:
    """A small body that unpacks to a huge one is too large."""
    wired = WiredServer(parcel_limits=ParcelLimits(octets=10_000))

    reply = wired.exchange(deflate(b"\0" * 5_000_000), headers={"Content-Encoding": "gzip"})

    assert reply.status == 413


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"Content-Type": "text/plain"}, ("accept", "application/cbor, application/octet-stream")),
        ({"Content-Type": ""}, ("accept", "application/cbor, application/octet-stream")),
        ({"Content-Encoding": "br"}, ("accept-encoding", "gzip")),
        ({"Content-Encoding": "gzip, gzip"}, ("accept-encoding", "gzip")),
    ],
)
def test_form_that_is_not_ours(wired: WiredServer, headers: dict[str, str], hint: tuple[str, str]) -> None:
    """A form that we do not read is refused by name, with the ones that we do."""
    reply = wired.exchange(client_payload(), headers=headers)

    assert reply.status == 415
    assert hint[1] == reply.headers[hint[0]]


def test_no_content_type(wired: WiredServer) -> None:
    """A body of no declared form is refused too."""
    assert wired.request("POST", "/message-system", cbor.encode(client_payload())).status == 415


@pytest.mark.parametrize("form", ["application/cbor; charset=x", "APPLICATION/CBOR"])
def test_content_type_spelled_otherwise(wired: WiredServer, form: str) -> None:
    """Case and parameters of the type make no difference."""
    assert wired.exchange(client_payload(), headers={"Content-Type": form}).status == 200


@pytest.mark.parametrize(
    ("header", "level", "status"),
    [
        ("3.3", b"3.3", 200),
        ("3.2", b"3.2", 200),
        ("3.1", b"3.3", 404),
        ("3.4", b"3.4", 404),
        ("3.2", b"3.3", 400),
        ("x", b"3.3", 400),
    ],
)
def test_level(wired: WiredServer, header: str, level: bytes, status: int) -> None:
    """A level that we do not have is not found; header and payload must agree."""
    reply = wired.exchange(client_payload(server_api=level), headers={"X-Message-API": header})

    assert status == reply.status


def test_level_in_the_payload_alone(wired: WiredServer) -> None:
    """The payload's level counts when no header says one."""
    reply = wired.exchange(client_payload(server_api=b"3.9"))

    assert reply.status == 404
    assert "3.9" in reply.json["error"]
    assert "3.2 to 3.3" in reply.json["next"]


@given(st.binary(max_size=60))
def test_garbage(octets: bytes) -> None:
    """Octets that are no payload are a clean 400 (or 413), never a fault of the server."""
    with capturedLogs() as events:
        reply = WIRED.exchange(octets)

    assert reply.status in (400, 413)
    assert {"error", "next"} == set(reply.json)
    assert [event for event in events if event["log_level"] >= LogLevel.error] == []


WIRED = WiredServer()


def test_cut_at_every_octet(wired: WiredServer) -> None:
    """A payload that ends early is a clean 400, and nothing of it is stored."""
    secure_id = wired.register()
    body = cbor.encode(client_payload(sequence=1, messages=[{"type": "a"}, {"type": "b", "x": 1.5}]))

    for end in range(len(body)):
        assert wired.exchange(body[:end], secure_id=secure_id).status == 400

    assert wired.stored() == []


@pytest.mark.parametrize("packed", [False, True])
def test_large_bodies_are_read_elsewhere(packed: bool) -> None:
    """A body that takes time is decoded away from the reactor, also one that was packed small; a small one at once."""
    decoder = HeldWriter()
    wired = WiredServer(decoder=decoder)
    secure_id = wired.register()
    large = cbor.encode(client_payload(sequence=1, messages=[{"type": "a", "text": "x" * 20_000}]))
    channel, transport = wired.connect()

    body, headers = (deflate(large), {"Content-Encoding": "gzip"}) if packed else (large, {})
    channel.dataReceived(request_octets(*exchange_request(body, secure_id, headers=headers)))

    assert transport.value() == b""
    decoder.release()
    reply = read_reply(transport.value())
    assert reply.payload.next_expected_sequence == 2


def test_large_body_that_is_wrong() -> None:
    """What is wrong with a large body is said as with a small one."""
    decoder = HeldWriter()
    wired = WiredServer(decoder=decoder)
    for level, status in ((b"3.9", 404), (b"3", 400)):
        channel, transport = wired.connect()
        payload = client_payload(server_api=level, messages=[{"type": "a", "text": "x" * 20_000}])
        channel.dataReceived(request_octets(*exchange_request(payload)))
        decoder.release()
        assert status == read_reply(transport.value()).status


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("gzip; q=0", False),
        ("deflate", False),
        (None, False),
    ],
)
def test_packed_answer(wired: WiredServer, accepted: str | None, packed: bool) -> None:
    """A long answer is packed for those who can read that."""
    secure_id = wired.register()
    wired.api("POST", "/operations", {"computer": 1, "type": "run", "fields": {"code": "x" * 5_000}})
    headers = {} if accepted is None else {"Accept-Encoding": accepted}

    reply = wired.exchange(client_payload(sequence=1), secure_id=secure_id, headers=headers)

    assert packed == (reply.headers.get("content-encoding") == "gzip")
    body = inflate(reply.body, 100_000) if packed else reply.body
    assert ServerPayload.from_map(cbor.decode(body)).messages[0]["type"] == "run"


def test_short_answer_is_not_packed(wired: WiredServer) -> None:
    """A short answer goes as it is."""
    assert (
        "content-encoding"
        not in wired.exchange(client_payload(), headers={"Accept-Encoding": "gzip"}).headers
    )


def test_full_disk() -> None:
    """A full disk is said with the time to come again, keeps what is stored, and passes."""
    wired = WiredServer()
    secure_id = wired.register()
    payload = client_payload(sequence=1, messages=[{"type": "a", "text": "x" * 100_000}])
    pages = wired.connection.execute("PRAGMA page_count").fetchone()[0]
    wired.connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    with capturedLogs() as events:
        refused = wired.exchange(payload, secure_id=secure_id)
        health = wired.request("GET", "/healthz")
    wired.connection.execute("PRAGMA max_page_count = 100000")
    taken = wired.exchange(payload, secure_id=secure_id)

    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    assert health.status == 503
    assert any("full" in str(event.get("error")) for event in events)
    assert taken.payload.next_expected_sequence == 2
    assert len(wired.stored()) == 1
    assert wired.request("GET", "/healthz").status == 200


def events_of(wired: WiredServer, payload: dict[str, Any], **words: Any) -> list[dict[str, Any]]:
    with capturedLogs() as events:
        wired.exchange(payload, **words)
    return [event for event in events if "event" in event]


def test_log_of_an_exchange(wired: WiredServer) -> None:
    """One line says who came from where and what was taken; bodies and secrets are not in it."""
    secure_id = wired.register()

    (event,) = events_of(wired, client_payload(messages=[{"type": "a"}] * 3), secure_id=secure_id)

    facts = {
        name: event[name] for name in ("event", "computer", "peer", "taken", "known", "sent", "log_level")
    }
    assert {
        "event": "exchange",
        "computer": 1,
        "peer": "192.0.2.7",
        "taken": 2,
        "known": 1,
        "sent": 0,
        "log_level": LogLevel.info,
    } == facts
    assert secure_id.decode() not in str(event)


@pytest.mark.parametrize(
    ("message", "event", "level"),
    [
        (register_message(), "registered", LogLevel.info),
        (register_message(account_name="closed"), "registration pending", LogLevel.warn),
        (register_message(account_name="x"), "registration refused: unknown-account", LogLevel.warn),
    ],
)
def test_log_of_a_registration(wired: WiredServer, message: dict[str, Any], event: str, level: Any) -> None:
    """Who knocks is logged: louder when somebody should look."""
    (found,) = events_of(wired, client_payload(messages=[message]))

    assert (event, level) == (found["event"], found["log_level"])


def test_log_of_a_stray_result(wired: WiredServer) -> None:
    """A result that nobody waits for is worth a warning."""
    secure_id = wired.register()
    result = {"type": "operation-result", "operation-id": 9, "status": 6}

    with capturedLogs() as events:
        wired.exchange(client_payload(sequence=1, messages=[result]), secure_id=secure_id)

    assert [event["strays"] for event in events if "strays" in event] == [1]
