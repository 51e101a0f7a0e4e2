"""Two reactors back to back in memory, or one of them with frames put before it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fieldpost.wire.session.events import Event, Responded
from fieldpost.wire.session.frame import Frame, Framer, encode_frame
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.reactor import Reactor

LARGEST = 0xFFFFFF
_RECORDED = json.loads((Path(__file__).parent / "wire-vectors.json").read_text())


def recorded(part: str) -> dict[str, dict[str, Any]]:
    """The vectors, traces or proposals of the recorded file, by id."""
    return {one["id"]: one for one in _RECORDED[part]}


def payload_of(frame: dict[str, Any]) -> bytes:
    """Of a recorded frame."""
    if "payload_hex" in frame:
        return bytes.fromhex(frame["payload_hex"])
    return bytes.fromhex(frame["payload_fill_hex"]) * int(frame["payload_len"])


def frame_of(frame: dict[str, Any]) -> Frame:
    """A recorded frame, as its fields say."""
    header = frame["header"]
    return Frame(
        header["type"],
        header["request_id"],
        header["stream_id"],
        header["stream_flags"],
        header["flags"],
        payload_of(frame),
    )


def octets_of(frames: Iterable[dict[str, Any]]) -> bytes:
    """Recorded frames, as they travel."""
    return b"".join(bytes.fromhex(frame["header_hex"]) + payload_of(frame) for frame in frames)


def frames_in(octets: bytes) -> list[Frame]:
    """All frames of octets that end with one."""
    framer = Framer(LARGEST)
    frames = framer.feed(octets)
    assert framer.end() is None
    return frames


def feed(reactor: Reactor, octets: bytes, now: float = 0.0) -> list[Event]:
    """What a reactor makes of whole frames."""
    return [event for frame in frames_in(octets) for event in reactor.receive(frame, now)]


def take(reactor: Reactor) -> list[Frame]:
    """The frames that a reactor sends now."""
    return frames_in(reactor.data_to_send())


def server(**how: Any) -> Reactor:
    """A bare server."""
    return Reactor(Role.SERVER, **{"bare": True, **how})


def client(**how: Any) -> Reactor:
    """A bare client."""
    return Reactor(Role.CLIENT, **{"bare": True, **how})


def open_streams(reactor: Reactor) -> set[int]:
    """Those beside the main ones, of both directions of an end."""
    return {id for id in reactor._intake.streams._open if id > 2} | reactor._aside._open


class Link:
    """A client and a server of the session form; what one sends, the other gets."""

    def __init__(self, **how: Any) -> None:
        self.client = Reactor(Role.CLIENT, **{"credit": True, **how})
        self.server = Reactor(Role.SERVER, **{"credit": True, **how})
        self.sent: list[tuple[Role, Frame]] = []
        """All frames that went either way."""

    def run(
        self, on_event: Callable[[Reactor, Event], object] | None = None, now: float = 0.0
    ) -> list[Event]:
        """Carry frames to and fro until none is left; the events of both ends, in order."""
        events: list[Event] = []
        while found := self._carry(self.client, self.server, now) + self._carry(
            self.server, self.client, now
        ):
            for reactor, event in found:
                if event is not None:
                    events.append(event)
                    if on_event is not None:
                        on_event(reactor, event)
        return events

    def consume(self, reactor: Reactor, event: Event) -> None:
        """What an application does that uses values as they come; for `run`."""
        if isinstance(event, Responded):
            reactor.consume(event.request, event.octets)

    def _carry(self, sender: Reactor, receiver: Reactor, now: float) -> list[tuple[Reactor, Event | None]]:
        found: list[tuple[Reactor, Event | None]] = []
        for frame in frames_in(sender.data_to_send()):
            self.sent.append((sender.role, frame))
            assert encode_frame(frame)
            found += [(receiver, event) for event in receiver.receive(frame, now)] or [(receiver, None)]
        return found
