"""
The requests of the peer, as they come: put together from frames, checked, and started when whole (spec/wire.md 1.7, 5.8).

    partial -> started: see answers
       `-> refused -> forgotten                    when the rest of it has come, or a cancel

A request that is refused, because it is too large or too many, is answered at once; the rest of it is dropped.
"""

from .. import cbor
from ..errors import Malformed, RemoteProtocolError, TooLarge
from .answers import CANCELLED, Answers
from .credit import Ledger, ReceiveWindow
from .events import Aborted, CommandError, Event, Requested, Value, atom_of
from .frame import Frame, FrameType, PartFlag, RequestFlag, StreamFlag
from .limits import Limits, Pool
from .outbound import Sender
from .outcome import encode_error
from .values import Codec, encode_map

_BOTH = RequestFlag.NEW | RequestFlag.CONTINUATION


class Partial:
    """A request of which not all has come."""

    __slots__ = (
        "asked",
        "begun",
        "data",
        "decoded",
        "has_data",
        "is_whole",
        "payload",
        "request",
        "size",
        "touched",
        "window",
    )

    def __init__(self, request: int, has_data: bool, begun: float) -> None:
        self.request = request
        self.begun = begun
        """When."""
        self.payload = bytearray()
        self.has_data = has_data
        self.is_whole = False
        """The map is; data may follow."""
        self.asked: tuple[bytes, dict[bytes, Value]] = (b"", {})
        self.data = bytearray()
        self.size = 0
        """Octets of data that count."""
        self.touched = 0.0
        self.decoded = 0
        self.window: ReceiveWindow | None = None

    def ends_with(self, frame: Frame) -> bool:
        """Whether the frame is its last."""
        if frame.type == FrameType.REQUEST:
            return not self.has_data and not frame.flags & RequestFlag.MORE
        return bool(frame.flags & PartFlag.END)


class Arrivals:
    """All requests of the peer that are not whole, and the way in for those that are."""

    def __init__(
        self, *, odd: bool, bare: bool, limits: Limits, codec: Codec, sender: Sender, answers: Answers
    ) -> None:
        self._odd = odd
        self._bare = bare
        self._limits = limits
        self._map_limits = cbor.Limits(octets=limits.request, depth=limits.depth, items=limits.members)
        self.codec = codec
        self._sender = sender
        self._answers = answers
        self.ledger: Ledger | None = None
        self._partial: dict[int, Partial] = {}
        self._refused: dict[int, Partial] = {}
        self._held = 0
        """Octets of data, all requests together."""
        self.pool: Pool | None = None
        """Where the data of all connections together are counted while they are not whole."""
        self.most_data = limits.data
        self.is_closing = False
        self.last = 0
        """The latest request that was taken up."""
        self.is_initial = True
        """Nothing has come but frames of the connection."""

    @property
    def partial_count(self) -> int:
        """How many are not whole."""
        return len(self._partial)

    def take_request(self, frame: Frame, now: float) -> list[Event]:
        """A request, or a piece of one. Raises RemoteProtocolError."""
        flags, id = frame.flags, frame.request
        if not flags & _BOTH:
            raise RemoteProtocolError(
                "request-flags-neither", "a request frame is neither new nor a continuation"
            )
        if flags & _BOTH == _BOTH:
            raise RemoteProtocolError("request-flags-both", "a request frame is both new and a continuation")
        if id & 1 != self._odd or not id:
            raise RemoteProtocolError("request-id-parity", f"request {id} is not the peer's to begin")
        self.is_initial = False
        if not flags & RequestFlag.NEW:
            return self._continue(frame, now)
        self._check_free(id)
        if not flags & (RequestFlag.MORE | RequestFlag.DATA) and not self.is_closing:
            self.last = id
            return self._run(id, self._read_map(id, frame.payload), None, 0)
        return self._begin(frame, now)

    def _check_free(self, id: int) -> None:
        if id in self._answers:
            raise RemoteProtocolError("request-id-active", f"request {id} is begun anew while it runs")
        if id in self._partial or id in self._refused:
            raise RemoteProtocolError(
                "request-id-still-receiving", f"request {id} is begun anew before it is whole"
            )

    def _begin(self, frame: Frame, now: float) -> list[Event]:
        partial = Partial(frame.request, bool(frame.flags & RequestFlag.DATA), now)
        if self.is_closing:
            self._refuse(partial, None, frame)
        elif len(self._partial) >= self._limits.partial:
            text = f"more than {self._limits.partial} requests are not whole"
            self._refuse(partial, CommandError(b"busy", (atom_of(text),)), frame)
        else:
            self.last = frame.request
            self._partial[frame.request] = partial
            return self._add(partial, frame, now)
        return []

    def _continue(self, frame: Frame, now: float) -> list[Event]:
        partial = self._find(frame)
        if partial is None:
            return []
        if bool(frame.flags & RequestFlag.DATA) != partial.has_data:
            raise RemoteProtocolError(
                "expect-data-changed", f"request {frame.request} changed whether data follow"
            )
        if partial.is_whole:
            raise RemoteProtocolError(
                "request-already-complete", f"request {frame.request} goes on after its end"
            )
        return self._add(partial, frame, now)

    def _find(self, frame: Frame) -> Partial | None:
        """The request that a frame continues; None when the frame is to be dropped."""
        id = frame.request
        partial = self._partial.get(id)
        if partial is None:
            refused = self._refused.get(id)
            if refused is None:
                raise RemoteProtocolError("request-not-receiving", f"request {id} is not one that goes on")
            if refused.ends_with(frame):
                del self._refused[id]
        return partial

    def _add(self, partial: Partial, frame: Frame, now: float) -> list[Event]:
        partial.touched = now
        partial.payload += frame.payload
        if len(partial.payload) > self._limits.request:
            text = f"the request is of more than {self._limits.request} octets"
            return self._refuse(partial, CommandError(b"too-large", (atom_of(text),)), frame)
        if frame.flags & RequestFlag.MORE:
            return []
        partial.is_whole = True
        try:
            asked = self._parse(bytes(partial.payload))
        except TooLarge as error:
            return self._refuse(partial, CommandError(b"too-large", (atom_of(str(error)),)), frame)
        partial.payload.clear()
        partial.asked = asked
        if partial.has_data:
            return []
        del self._partial[partial.request]
        return self._run(partial.request, asked, None, 0)

    def take_data(self, frame: Frame, wire: int, now: float) -> list[Event]:
        """Data of a request, `wire` octets of credit. Raises RemoteProtocolError."""
        if self.is_initial:
            raise RemoteProtocolError("wrong-first-frame", "data came before any request")
        if not self._partial and not self._refused:
            raise RemoteProtocolError("wrong-frame-when-idle", "data came while no request goes on")
        partial = self._find(frame)
        if partial is None:
            self._give_back(frame.request, wire, None)
            return []
        if not partial.has_data:
            raise RemoteProtocolError("data-not-expected", f"request {frame.request} announced no data")
        if not frame.flags & (PartFlag.CONTINUATION | PartFlag.END):
            raise RemoteProtocolError(
                "data-frame-without-flags", "a data frame is neither continuation nor end"
            )
        end = not frame.flags & PartFlag.CONTINUATION
        if end and not partial.is_whole:
            raise RemoteProtocolError(
                "data-before-request-end", f"the data of request {frame.request} end before it"
            )
        return self._add_data(partial, frame, wire, end, now)

    def _add_data(self, partial: Partial, frame: Frame, wire: int, end: bool, now: float) -> list[Event]:
        partial.touched = now
        self._give_back(frame.request, wire, partial)
        if frame.stream_flags & StreamFlag.ENCODED:
            partial.decoded += len(frame.payload)
            if partial.decoded > self._limits.decoded_request:
                raise RemoteProtocolError("decoded-request-too-large", f"the data of request {frame.request}")
        size = len(frame.payload)
        if self._held + self._answers.held + size > self.most_data:
            text = f"more than {self.most_data} octets of data for all requests that run"
            return self._refuse(partial, CommandError(b"too-large", (atom_of(text),)), frame)
        full = self.pool.take(size) if self.pool is not None else None
        if full is not None:
            return self._refuse(partial, full, frame)
        partial.data += frame.payload
        partial.size += size
        self._held += size
        if not end:
            return []
        size = partial.size
        del self._partial[partial.request]
        self._let_go(partial)
        return self._run(partial.request, partial.asked, bytes(partial.data), size)

    def _let_go(self, partial: Partial) -> None:
        """Its data count no more: it is whole, or nobody wants it."""
        self._held -= partial.size
        if self.pool is not None and partial.size:
            self.pool.give(partial.size)
        partial.size = 0

    def _give_back(self, request: int, wire: int, partial: Partial | None) -> None:
        """Data are counted, and given back at once: they have a limit of their own, and a request runs when whole."""
        if self.ledger is None or not wire:
            return
        window = partial.window if partial is not None else None
        if window is None:
            window = self.ledger.new_window()
        if partial is not None:
            partial.window = window
        self.ledger.take(window, wire)
        self.ledger.give(wire, request, window)

    def _read_map(self, id: int, octets: bytes) -> tuple[bytes, dict[bytes, Value]] | None:
        """Of a request in one frame; None when it was refused."""
        try:
            return self._parse(octets)
        except TooLarge as error:
            self._answers.refuse(id, CommandError(b"too-large", (atom_of(str(error)),)))
            return None

    def _parse(self, octets: bytes) -> tuple[bytes, dict[bytes, Value]]:
        if not octets:
            raise RemoteProtocolError("request-empty", "a request has no map")
        try:
            asked = self.codec.decode(octets, self._map_limits)
        except Malformed as error:
            raise RemoteProtocolError("request-malformed", f"the map of a request: {error}") from error
        if not isinstance(asked, dict):
            raise RemoteProtocolError("request-not-a-map", "a request is no map")
        if b"name" not in asked:
            raise RemoteProtocolError("missing-name", "a request has no name")
        name, args = asked[b"name"], asked.get(b"args", {})
        if not isinstance(name, bytes):
            raise RemoteProtocolError("request-bad-name", "the name of a request is no octets")
        if not isinstance(args, dict):
            raise RemoteProtocolError("request-bad-args", "the arguments of a request are no map")
        return name, args

    def _run(
        self, id: int, asked: tuple[bytes, dict[bytes, Value]] | None, data: bytes | None, size: int
    ) -> list[Event]:
        if asked is None:
            return []
        return self._answers.start(Requested(id, asked[0], asked[1], data), size)

    def _refuse(self, partial: Partial, error: CommandError | None, frame: Frame) -> list[Event]:
        """Answer it at once, and drop what comes of it."""
        self._partial.pop(partial.request, None)
        self._let_go(partial)
        if not partial.ends_with(frame):
            self._pass_over(partial)
        if error is not None:
            self._answers.refuse(partial.request, error)
        return []

    def _pass_over(self, partial: Partial) -> None:
        """Drop what has come of it, and what will. Raises RemoteProtocolError for more than can be under way."""
        if len(self._refused) >= self._limits.active:
            text = (
                f"{len(self._refused)} requests go on that were refused, where {self._limits.active} may run"
            )
            raise RemoteProtocolError("flood", text)
        partial.payload, partial.data = bytearray(), bytearray()
        self._refused[partial.request] = partial

    def take_cancel(self, id: int, reason: bytes | None) -> list[Event]:
        """The peer takes a request back. It may be over already."""
        if self._refused.pop(id, None) is not None:
            return []
        partial = self._partial.pop(id, None)
        if partial is None:
            return self._answers.take_cancel(id, reason)
        self._let_go(partial)
        self._answers.refuse(id, CANCELLED)
        return []

    # time and end

    @property
    def deadline(self) -> float | None:
        """When a request has been partial for too long."""
        if not self._partial:
            return None
        return min(map(self._due, self._partial.values()))

    def _due(self, partial: Partial) -> float:
        limits = self._limits
        return min(partial.touched + limits.partial_age, partial.begun + limits.partial_life)

    def drop_old(self, now: float) -> None:
        """Cancel the requests that stopped coming."""
        for partial in [one for one in self._partial.values() if self._due(one) <= now]:
            del self._partial[partial.request]
            self._let_go(partial)
            partial.payload, partial.data = bytearray(), bytearray()
            self._refused[partial.request] = partial
            if self._bare:
                text = atom_of(f"nothing came of the request for {self._limits.partial_age:g} seconds")
                payload = encode_error(CommandError(b"timeout", (text,), kind=b"server"), bare=True)
                self._sender.put_short(FrameType.ERROR, partial.request, 0, payload)
            else:
                payload = encode_map({b"reason": b"timeout"})
                self._sender.put_short(FrameType.CANCEL, partial.request, 0, payload)

    def abort(self, reason: str) -> list[Event]:
        """No more will come."""
        partial, self._partial = self._partial, {}
        for one in partial.values():
            self._let_go(one)
        self._refused.clear()
        return [Aborted(request, reason) for request in partial]
