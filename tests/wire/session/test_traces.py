"""The recorded traces of the ancestor's reactors: the same outcome at the same frame, and better ones where it failed."""

from typing import Any

import pytest

from fieldpost.wire.session.events import Broken, CommandError, Event, Failed, Requested, Responded
from fieldpost.wire.session.frame import Frame, FrameType
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import HG
from tests.wire.session.link import client, frames_in, recorded, server

TRACES = recorded("traces")
OURS = {
    "T21": "request-empty",
    "T22": "request-malformed",
    "T23": "data-before-request-end",
    "T24": "encoded-without-settings",
    "T25": "request-id-parity",
    "C05": "output-malformed",
    "C13": "decoding-failed",
}
"""What we say where the ancestor fell over, or took what it should not."""
ELSEWHERE = {"C04", "C06", "C12"}
"""Their outcome has another form with us: see the tests at the end."""
STATEMENTS = {
    **{f"T{number:02}": f"M{number + 20}" for number in range(1, 7)},
    "T07": "M31",
    "T08": "M30",
    "T09": "M34",
    "T10": "M34",
    "T11": "M34",
    "T12": "M35",
    "T13": "M36",
    "T14": "M57",
    "T15": "M58",
    "T16": "M58",
    "T17": "M58",
    "T18": "M58",
    "T19": "M32",
    "T20": "M33",
    "T21": "M37",
    "T22": "M37",
    "T23": "M38",
    "T24": "M67",
    "T25": "M39",
    "C01": "M71",
    "C02": "M71",
    "C03": "M71",
    "C07": "M58",
    "C08": "M58",
    "C09": "M58",
    "C10": "M62",
    "C11": "M62",
    "C13": "M66",
    "C05": "M73",
}


def reactor_of(trace: dict[str, Any]) -> Reactor:
    """What the trace was recorded against: a server, or a client with one request under way."""
    if trace["side"] == "server":
        return server(codec=HG)
    reactor = client(codec=HG)
    reactor.request(b"cmd")
    reactor.data_to_send()
    return reactor


def play(trace: dict[str, Any]) -> tuple[Reactor, list[list[Event]]]:
    reactor = reactor_of(trace)
    frames = (frames_in(bytes.fromhex(step["frame_hex"])) for step in trace["steps"])
    return reactor, [[event for frame in row for event in reactor.receive(frame)] for row in frames]


def params() -> list[Any]:
    ids = [id for id in TRACES if id not in ELSEWHERE]
    return [pytest.param(id, marks=pytest.mark.conformance(STATEMENTS[id])) for id in ids]


@pytest.mark.parametrize("id", params())
def test_trace(id: str) -> None:
    """Each frame of the trace has the recorded outcome; after an error nothing more is told."""
    trace = TRACES[id]
    reactor, told = play(trace)

    for step, events in zip(trace["steps"], told, strict=True):
        action, code = step["action"], step.get("error_class")
        if action == "error" or id in OURS and step is trace["steps"][-1]:
            assert_broken(events, OURS.get(id) or code)
        elif action == "runcommand":
            assert events == [Requested(step["request_id"], step["command"].encode(), {}, None)]
        else:
            assert events == []
    assert reactor.is_over


def assert_broken(events: list[Event], code: str | None) -> None:
    if code == "already-errored":
        assert events == []
        return
    broken = events[-1]
    assert isinstance(broken, Broken)
    assert (broken.code, bool(broken.text)) == (code, True)


@pytest.mark.conformance("M72")
def test_frames_without_flags() -> None:
    """C04: frames without flags are data, and the end flag closes. Its octets are no values, which ours says at the end."""
    reactor = reactor_of(TRACES["C04"])
    status, value = b"\xa1\x46status\x42ok", b"\x43foo"

    first = reactor.receive(Frame(FrameType.RESPONSE, 1, 0, 1, 0, status + value))
    second = reactor.receive(Frame(FrameType.RESPONSE, 1, 0, 0, 2, value))

    assert (first, second) == ([Responded(1, (b"foo",), 0, False)], [Responded(1, (b"foo",), 0, True)])
    _, told = play(TRACES["C04"])
    assert [type(event) for events in told for event in events][-1] is Broken


def test_error_frame() -> None:
    """C06: an error frame ends the request, not the connection."""
    reactor, [[event]] = play(TRACES["C06"])

    assert isinstance(event, Failed)
    assert (event.error.kind, event.error.text) == (b"server", "boom")
    assert isinstance(event.error, CommandError)
    assert not reactor.is_over


@pytest.mark.conformance("M63")
def test_zlib() -> None:
    """C12: a packed answer is unpacked; it holds a status and nothing else."""
    _, told = play(TRACES["C12"])

    assert told == [[], [Responded(1, (), 0, True)]]
