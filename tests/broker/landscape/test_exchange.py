"""What the broker makes of a Landscape server's answers that are no payload, or ask for something (landscape 1.1, 1.7, 1.8)."""

import zlib
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from fieldpost.broker.status import Exchanged, Failed
from fieldpost.broker.store.records import NewMessage
from fieldpost.wire import cbor
from fieldpost.wire.compression import deflate
from fieldpost.wire.encoding import BPICKLE
from tests.broker.landscape.scene import Scene, Script, answer, http, payload, well
from tests.broker.landscape.test_captures import registered, text
from tests.broker.store.stores import add


def says(**fields: Any) -> bytes:
    """The body of an answer; names with underscores become those with dashes."""
    found = {"server-api": b"3.3", "server-uuid": b"u", "messages": []}
    return BPICKLE.encode({**found, **{name.replace("_", "-"): value for name, value in fields.items()}})


@pytest.mark.parametrize(
    "status",
    [
        b"204 No Content",
        b"302 Found",
        b"402 Payment Required",
        b"403 No",
        b"429 Busy",
        b"500 Oh",
        b"503 Later",
    ],
)
def test_only_200_is_an_answer(status: bytes) -> None:
    """All else is a failure with its cause, and the same goes again."""
    scene = registered()
    add(scene.store, text(0))
    scene.server.reply = lambda _: http(b"", status=status)

    failed = scene.exchange()
    scene.server.reply = well

    assert isinstance(failed, Failed)
    assert f"({status[:3].decode()})" in failed.cause
    assert scene.exchange() == Exchanged(at=scene.clock.seconds(), sent=1, received=0, pending=0)


def test_a_login_page_is_no_answer() -> None:
    """Though Landscape's servers may call their answers what they like."""
    scene = registered()
    page = b"<html><title>Hotel</title>"
    scene.server.reply = lambda _: http(page, headers=b"Content-Type: text/html\r\n")
    failed = scene.exchange()

    assert isinstance(failed, Failed)
    assert "a page titled “Hotel” came" in failed.cause
    for kind in (b"", b"Content-Type: text/plain\r\n", b"Content-Type: application/octet-stream\r\n"):
        scene.server.reply = lambda _, kind=kind: http(says(), headers=kind)  # type: ignore[misc]
        assert isinstance(scene.exchange(), Exchanged)


def test_busy_servers_are_left_alone() -> None:
    """For as long as they say (fault L1)."""
    scene = registered()
    scene.server.reply = lambda _: http(b"", status=b"503 Later", headers=b"Retry-After: 600\r\n")

    scene.exchange()

    assert scene.rig.until_next is not None
    assert scene.rig.until_next >= 600


def test_404_goes_back_to_the_oldest_level_at_once() -> None:
    """Landscape's client meant to, and does not (fault L1)."""
    scene = registered()
    levels: list[bytes] = []

    def reply(request: bytes) -> bytes:
        levels.append(payload(request)["server-api"])
        return well(request) if levels[-1] == b"3.2" else http(b"", status=b"404 Not Found")

    scene.server.reply = reply

    assert isinstance(scene.exchange(), Exchanged)
    assert levels == [b"3.3", b"3.2"]
    assert b"X-Message-API: 3.2" in scene.last


def test_registration_goes_at_the_level_that_the_server_has() -> None:
    """Without the fields of the newer one; also after the server has lost that."""
    scene = Scene(Script(answer("01-first-contact"), says()))
    scene.exchange()
    scene.server.reply = lambda request: (
        http(says(server_api=b"3.2"))
        if payload(request)["server-api"] == b"3.2"
        else http(b"", status=b"404 Not Found")
    )

    for _ in range(3):
        scene.exchange()

    (register,) = payload(scene.last)["messages"]
    assert register["api"] == b"3.2"
    assert "ubuntu_pro_info" not in register


@pytest.mark.parametrize("bare", [False, True])
def test_packed_answers_are_read(bare: bool) -> None:
    """In gzip and in both forms of deflate, which we offer as Landscape's client does."""
    scene = registered()
    body = says(next_exchange_token=b"packed")
    squeeze = zlib.compressobj(wbits=-15 if bare else 15)
    for packed, coding in (
        (deflate(body), b"gzip"),
        (squeeze.compress(body) + squeeze.flush(), b"deflate"),
    ):
        headers = b"Content-Encoding: " + coding + b"\r\n"
        scene.server.reply = lambda _, p=packed, h=headers: http(p, headers=h)  # type: ignore[misc]
        assert isinstance(scene.exchange(), Exchanged)
        assert b"Accept-Encoding: gzip,deflate\r\n" in scene.last
    scene.exchange()

    assert b"X-Exchange-Token: packed\r\n" in scene.last


def test_requests_are_never_packed() -> None:
    """Whatever the server says that it reads."""
    scene = registered()
    scene.server.reply = lambda r: well(r).replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n", 1)
    for _ in range(2):
        add(scene.store, *(text(0) for _ in range(50)))
        scene.exchange()

    assert b"Content-Encoding" not in scene.last
    assert len(payload(scene.last)["messages"]) == 50


def test_a_backlog_goes_by_hundreds() -> None:
    """As Landscape's client sends it, but one payload right after the other."""
    scene = registered()
    add(scene.store, *(text(0) for _ in range(250)))
    scene.server.reply = well
    scene.exchange()
    for _ in range(2):
        scene.exchange()

    sizes = [len(payload(request)["messages"]) for request in scene.server.requests[-3:]]
    totals = [payload(request)["total-messages"] for request in scene.server.requests[-3:]]
    assert (sizes, totals) == ([100, 100, 50], [250, 150, 50])


def test_types_that_are_not_accepted_are_held() -> None:
    """They are not counted, and go when the server takes them, in their old order."""
    scene = registered()
    body = cbor.encode({"type": "ours", "n": 1})
    add(scene.store, NewMessage(type="ours", body=body, timestamp=1), text(0))
    scene.server.reply = well
    scene.exchange()
    assert [m["type"] for m in payload(scene.last)["messages"]] == ["text-message"]
    assert payload(scene.last)["total-messages"] == 1

    types = {"type": "accepted-types", "types": ["text-message", "ours"]}
    scene.server.reply = lambda _: http(says(messages=[types]))
    scene.exchange()
    scene.exchange()

    assert [m["n"] for m in payload(scene.last)["messages"]] == [1]


def test_a_server_that_does_not_know_us_has_taken_nothing() -> None:
    """It answers without a number, which accepts all; but what it did not store goes again, in the same order (fault L14)."""
    scene = registered()
    add(scene.store, *(evolve(text(0), timestamp=stamp) for stamp in range(3)))
    scene.server.reply = Script(
        says(messages=[{"type": "unknown-id"}]),
        says(messages=[{"type": "set-id", "id": b"SECURE-ID-0002", "insecure-id": 2}]),
    )
    scene.exchange()
    scene.exchange()
    scene.server.reply = well
    scene.exchange()

    assert b"X-Computer-ID: SECURE-ID-0002\r\n" in scene.last
    assert [m["timestamp"] for m in payload(scene.last)["messages"]] == [0, 1, 2]
    assert scene.store.status().pending == 0


def test_intervals_below_what_one_survives_are_raised() -> None:
    """Also that of the pings (fault L11)."""
    scene = registered()
    message = {"type": "set-intervals", "exchange": 0, "urgent-exchange": -5, "ping": 0}
    scene.server.reply = lambda _: http(says(messages=[message]))
    scene.exchange()

    state = scene.store.state()
    assert (state.exchange_interval, state.urgent_exchange_interval, state.ping_interval) == (1, 1, 1)


def test_a_transport_that_stopped_says_so() -> None:
    """It carries one payload at a time, and none after its end."""
    scene = registered()
    transport: Any = scene.rig.exchange._transport

    assert transport.depth == transport.http.depth == 1
    stopped = Deferred.fromCoroutine(transport.stop())
    scene.turn(lambda: stopped.called)

    failed = scene.exchange()
    assert isinstance(failed, Failed)
    assert failed.cause == "the agent stops"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ((1, (2, "x")), [1, [2, "x"]]),
        (2**70, 2**70),
        (-(2**1000), -(2**1000)),
        ({1: [True, None], 2: 0.5}, {1: [True, None], 2: 0.5}),
        ({b"k": b"\xff"}, {"k": b"\xff"}),
        (float("inf"), float("inf")),
    ],
)
def test_whatever_bpickle_carries_reaches_a_plugin(value: Any, seen: Any) -> None:
    """Tuples as lists; all else as it was sent."""
    scene = registered()
    scene.rig.delivery.register(("frobnicate",), scene.plugin.name, scene.plugin.deliver)
    operation = {"type": "frobnicate", "operation-id": 9, "value": value}
    scene.server.reply = Script(says(messages=[operation], client_accepted_types_hash=None), says(), says())

    scene.exchange()
    scene.exchange()

    assert scene.plugin.values == [seen]
    assert [m["status"] for m in payload(scene.last)["messages"]] == [6]
