"""
What each frame of the peer means, by its type and by where the connection stands (spec/wire.md 1.7, 1.8, 5.3).
"""

from collections.abc import Callable, Collection

from ..errors import RemoteProtocolError
from .answers import Answers
from .arrivals import Arrivals
from .asks import Asks
from .control import FloodGauge, check_ping, read_cancel, read_close, read_extension, read_map, read_settings
from .credit import read_credit
from .events import DecisionReceived, Event, Pinged, Ponged, Settings, word_of
from .frame import PONG, Frame, FrameType, PartFlag, StreamFlag
from .identity import Role
from .limits import Limits
from .outbound import Sender
from .outcome import read_error
from .streams import Assembly, InStreams

_Take = Callable[[Frame, int, float], list[Event]]


class PeerBrokeOff(RemoteProtocolError):
    """The peer says that we broke a rule, and listens no more."""


class Intake:
    """All frames that come."""

    def __init__(
        self,
        *,
        role: Role,
        bare: bool,
        limits: Limits,
        most_settings: int,
        sender: Sender,
        asks: Asks,
        arrivals: Arrivals,
        answers: Answers,
        unpacks: Collection[bytes] | None,
    ) -> None:
        self.role = role
        self.bare = bare
        self._sender = sender
        self._asks = asks
        self._arrivals = arrivals
        self._answers = answers
        self.streams = InStreams(odd=role is Role.SERVER, limits=limits, unpacks=unpacks)
        self._settings = Assembly("settings", limits.hello)
        self._settings_left = most_settings
        self._decision = Assembly("decision", limits.decision)
        self._has_decision = False
        self._gauge = FloodGauge(limits)
        self._takes = self._make_takes()

    def _make_takes(self) -> dict[int, _Take]:
        takes: dict[int, _Take] = {FrameType.EXTENSION: self._take_extension}
        if not (self.bare and self.role is Role.CLIENT):
            takes |= {
                FrameType.REQUEST: self._take_request,
                FrameType.DATA: self._take_data,
                FrameType.HELLO: self._take_settings,
            }
        if not (self.bare and self.role is Role.SERVER):
            takes |= {
                FrameType.RESPONSE: self._take_response,
                FrameType.ERROR: self._take_error,
                FrameType.OUTPUT: self._take_output,
                FrameType.PROGRESS: self._take_progress,
                FrameType.STREAM: self._take_stream_settings,
            }
        if not self.bare:
            takes |= {
                FrameType.STREAM: self._take_stream_settings,
                FrameType.DECISION: self._take_decision,
                FrameType.PING: self._take_ping,
                FrameType.CANCEL: self._take_cancel,
                FrameType.CLOSE: self._take_close,
                FrameType.CREDIT: self._take_credit,
            }
        return takes

    def take(self, frame: Frame, now: float) -> list[Event]:
        """
        What a frame means.

        Raises PeerBrokeOff when it says that we broke a rule, RemoteProtocolError when it breaks one.
        """
        flags, wire = frame.stream_flags, len(frame.payload)
        self.streams.check(frame)
        take = self._takes.get(frame.type)
        if take is None:
            raise self._unexpected(frame)
        if flags & StreamFlag.ENCODED:
            octets = self.streams.unpack(frame)
            frame = Frame(frame.type, frame.request, frame.stream, flags, frame.flags, octets)
        if self._settings.begun and frame.type != FrameType.HELLO:
            raise RemoteProtocolError(
                "settings-interrupted", "another frame stands between those of settings"
            )
        events = take(frame, wire, now)
        if flags & StreamFlag.END and not self.streams.finish(frame.stream):
            self._gauge.count(now)
        return events

    def _unexpected(self, frame: Frame) -> RemoteProtocolError:
        known = frame.type in FrameType._value2member_map_
        what = FrameType(frame.type).name.lower() if known else f"type {frame.type}"
        if not known:
            return RemoteProtocolError("unknown-frame-type", f"there are no frames of {what}")
        if self.role is Role.CLIENT:
            return RemoteProtocolError("wrong-frame-from-server", f"a server sends no {what}")
        return RemoteProtocolError(self._misplaced(), f"a frame of {what} has no place here")

    def _misplaced(self) -> str:
        if self._arrivals.is_initial:
            return "wrong-first-frame"
        return "wrong-frame-when-receiving" if self._arrivals.partial_count else "wrong-frame-when-idle"

    def _take_request(self, frame: Frame, wire: int, now: float) -> list[Event]:
        return self._arrivals.take_request(frame, now)

    def _take_data(self, frame: Frame, wire: int, now: float) -> list[Event]:
        if not frame.payload and frame.flags == PartFlag.CONTINUATION:
            self._gauge.count(now)
        return self._arrivals.take_data(frame, wire, now)

    def _take_response(self, frame: Frame, wire: int, now: float) -> list[Event]:
        if not frame.payload and frame.flags == PartFlag.CONTINUATION:
            self._gauge.count(now)
        return self._asks.take_response(frame, wire)

    def _take_output(self, frame: Frame, wire: int, now: float) -> list[Event]:
        return self._asks.take_output(frame)

    def _take_progress(self, frame: Frame, wire: int, now: float) -> list[Event]:
        return self._asks.take_progress(frame)

    def _take_error(self, frame: Frame, wire: int, now: float) -> list[Event]:
        if frame.request:
            return self._asks.take_error(frame)
        error = read_error(frame.payload)
        raise PeerBrokeOff("error-frame-from-peer", f"the peer broke off: {word_of(error.text.encode())}")

    def _take_settings(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        if not self._arrivals.is_initial or not self._settings_left:
            raise RemoteProtocolError(self._misplaced(), "settings come once, and before all requests")
        octets = self._settings.add(frame)
        if octets is None:
            return []
        self._settings_left -= 1
        return [Settings(read_settings(octets))]

    def _take_decision(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        if self._has_decision:
            raise RemoteProtocolError("decision-repeated", "a decision comes once")
        octets = self._decision.add(frame)
        if octets is None:
            return []
        self._has_decision = True
        return [DecisionReceived(read_map(octets, "decision"))]

    def _take_stream_settings(self, frame: Frame, wire: int, now: float) -> list[Event]:
        if frame.flags & PartFlag.CONTINUATION:
            self._gauge.count(now)
        self.streams.set_up(frame)
        return []

    def _take_ping(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        check_ping(frame)
        return [Ponged(frame.payload) if frame.flags & PONG else Pinged(frame.payload)]

    def _take_cancel(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        reason = read_cancel(frame)
        is_ours = frame.request & 1 == (self.role is Role.CLIENT)
        side = self._asks if is_ours else self._arrivals
        return side.take_cancel(frame.request, reason)

    def _take_close(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        closed = read_close(frame.payload)
        self._arrivals.is_closing = True
        return [closed]

    def _take_credit(self, frame: Frame, wire: int, now: float) -> list[Event]:
        window = self._sender.window
        if window is None:
            raise RemoteProtocolError("credit-not-agreed", "credit was not agreed upon")
        octets = read_credit(frame.payload)
        if not frame.request:
            is_owed = window.add(octets)
        else:
            is_ours = frame.request & 1 == (self.role is Role.CLIENT)
            side = self._asks if is_ours else self._answers
            found = side.window_of(frame.request)
            is_owed = found.add(octets) if found is not None else self._sender.was_spent(octets)
        if not is_owed:
            self._gauge.count(now)
        self._sender.wake()
        return []

    def _take_extension(self, frame: Frame, wire: int, now: float) -> list[Event]:
        self._gauge.count(now)
        return [read_extension(frame)]
