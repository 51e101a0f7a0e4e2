"""
The requests of the peer: put together from frames, run by whoever owns the reactor, and answered (spec/wire.md 1.7, 5.7).

    partial -> active -> ended -> forgotten       when its last frame is handed out
       `-> refused -> forgotten                    when the rest of it has come, or a cancel

A request that is refused, because it is too large or too many, is answered at once; the rest of it is dropped.
"""

from collections.abc import Iterable

from .. import cbor
from ..errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from .credit import Ledger, ReceiveWindow, SendWindow
from .events import Aborted, Atom, Cancelled, CommandError, Event, Progress, Requested, Value, atom_of
from .frame import Frame, FrameType, PartFlag, RequestFlag, StreamFlag
from .limits import Limits
from .outbound import Outbound, OutStream, Sender
from .outcome import (
    STATUS_OK,
    NotActive,
    Unencodable,
    encode_atoms,
    encode_error,
    encode_progress,
    encode_status_error,
)
from .values import Codec, encode_map

_CANCELLED = CommandError(b"cancelled", (atom_of("the request was cancelled"),), kind=b"cancelled")
_BOTH = RequestFlag.NEW | RequestFlag.CONTINUATION


class Partial:
    """A request of which not all has come."""

    __slots__ = (
        "asked",
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

    def __init__(self, request: int, has_data: bool) -> None:
        self.request = request
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


class Answer:
    """A request that runs, or whose answer is not all sent."""

    __slots__ = ("began", "ended", "outbound", "request", "size")

    def __init__(self, request: int, size: int) -> None:
        self.request = request
        self.size = size
        self.began = False
        """An `ok` was given."""
        self.ended = False
        self.outbound: Outbound | None = None


class Answers:
    """All of them."""

    def __init__(
        self,
        *,
        odd: bool,
        bare: bool,
        deferred: bool,
        limits: Limits,
        codec: Codec,
        sender: Sender,
        ledger: Ledger | None,
    ) -> None:
        self._odd = odd
        self._bare = bare
        self._deferred = deferred
        self._limits = limits
        self._map_limits = cbor.Limits(octets=limits.request, depth=limits.depth, items=limits.members)
        self.codec = codec
        self._sender = sender
        self.ledger = ledger
        self.send_credit: int | None = None
        """Window of one answer; None without credit."""
        self._partial: dict[int, Partial] = {}
        self._refused: dict[int, Partial] = {}
        self._active: dict[int, Answer] = {}
        self._leaving: list[int] = []
        """Their last frame is among those that leave next."""
        self._data_held = 0
        self.is_closing = False
        self.last = 0
        """The latest request that was taken up."""
        self.is_initial = True
        """Nothing has come but frames of the connection."""

    def __len__(self) -> int:
        return len(self._active)

    @property
    def partial_count(self) -> int:
        """How many are not whole."""
        return len(self._partial)

    # what comes

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
        if id in self._active:
            raise RemoteProtocolError("request-id-active", f"request {id} is begun anew while it runs")
        if id in self._partial or id in self._refused:
            raise RemoteProtocolError(
                "request-id-still-receiving", f"request {id} is begun anew before it is whole"
            )

    def _begin(self, frame: Frame, now: float) -> list[Event]:
        partial = Partial(frame.request, bool(frame.flags & RequestFlag.DATA))
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
        if self._data_held + size > self._limits.data:
            text = f"more than {self._limits.data} octets of data for all requests that run"
            return self._refuse(partial, CommandError(b"too-large", (atom_of(text),)), frame)
        partial.data += frame.payload
        partial.size += size
        self._data_held += size
        if not end:
            return []
        del self._partial[partial.request]
        return self._run(partial.request, partial.asked, bytes(partial.data), partial.size)

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
            self._tell_failure(id, CommandError(b"too-large", (atom_of(str(error)),)))
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
        if len(self._active) >= self._limits.active:
            self._data_held -= size
            text = f"{self._limits.active} requests run already; wait for one to end"
            self._tell_failure(id, CommandError(b"busy", (atom_of(text),)))
            return []
        self._active[id] = Answer(id, size)
        return [Requested(id, asked[0], asked[1], data)]

    def _refuse(self, partial: Partial, error: CommandError | None, frame: Frame) -> list[Event]:
        """Answer it at once, and drop what comes of it."""
        self._partial.pop(partial.request, None)
        self._data_held -= partial.size
        if not partial.ends_with(frame):
            partial.payload, partial.data, partial.size = bytearray(), bytearray(), 0
            self._refused[partial.request] = partial
        if error is not None:
            self._tell_failure(partial.request, error)
        return []

    def _tell_failure(self, id: int, error: CommandError) -> None:
        """The answer to a request that never ran."""
        answer = self._active[id] = Answer(id, 0)
        self._end_with(answer, error)

    def take_cancel(self, id: int, reason: bytes | None) -> list[Event]:
        """The peer takes a request back. It may be over already."""
        if self._refused.pop(id, None) is not None:
            return []
        partial = self._partial.pop(id, None)
        if partial is not None:
            self._data_held -= partial.size
            self._active[id] = Answer(id, 0)
        answer = self._active.get(id)
        if answer is None or id in self._leaving:
            return []
        was_ended = answer.ended or partial is not None
        self._drop(answer, _CANCELLED)
        return [] if was_ended else [Cancelled(id, reason)]

    def add_credit(self, request: int, octets: int) -> bool:
        """See SendWindow.add. Of an answer that is over it was under way."""
        answer = self._active.get(request)
        if answer is None or self.send_credit is None:
            return octets > 0
        outbound = self._outbound_of(answer, self._sender.main)
        return outbound.window.add(octets) if outbound.window is not None else octets > 0

    # what we answer

    def _get(self, request: int) -> Answer:
        answer = self._active.get(request)
        if answer is None or answer.ended:
            raise NotActive(f"request {request} is not one that can be answered: unknown, cancelled or over")
        return answer

    def respond(
        self, request: int, values: Iterable[Value], *, end: bool, stream: OutStream, flush: bool
    ) -> None:
        """See Reactor.respond."""
        answer = self._get(request)
        rows = list(values)
        try:
            pieces = list(map(self.codec.encode, rows))
        except LocalProtocolError as error:
            self._end_with(
                answer, CommandError(b"internal", (atom_of("the answer does not travel"),), kind=b"server")
            )
            raise Unencodable(f"the answer to request {request}: {error}") from error
        if self._bare:
            self._respond_bare(answer, rows, pieces, end)
            return
        if not answer.began:
            answer.began = True
            pieces.insert(0, STATUS_OK)
        octets = b"".join(pieces)
        if (
            end
            and answer.outbound is None
            and stream is self._sender.main
            and self._end_short(answer, octets)
        ):
            return
        outbound = self._outbound_of(answer, stream)
        if octets:
            outbound.put(octets)
        outbound.held = not flush
        outbound.ended = answer.ended = end
        self._put_turn(outbound)

    def _end_short(self, answer: Answer, octets: bytes) -> bool:
        """Send an answer that is all in one frame; False when it has to queue."""
        if self.send_credit is not None and len(octets) > self.send_credit:
            return False
        if not self._sender.try_short(FrameType.RESPONSE, answer.request, PartFlag.END, octets):
            return False
        answer.ended = True
        self._leaving.append(answer.request)
        return True

    def _outbound_of(self, answer: Answer, stream: OutStream) -> Outbound:
        if answer.outbound is None:
            window = SendWindow(self.send_credit) if self.send_credit is not None else None
            answer.outbound = Outbound(answer.request, FrameType.RESPONSE, stream, window)
        elif not answer.outbound.started and not answer.outbound.body:
            answer.outbound.stream = stream
        return answer.outbound

    def _put_turn(self, outbound: Outbound) -> None:
        if not self._deferred or outbound.ended or outbound.farewell:
            self._sender.put_turn(outbound)

    def _respond_bare(self, answer: Answer, rows: list[Value], pieces: list[bytes], end: bool) -> None:
        """In the frames that the older peers make: status, values joined to less than a frame, an empty end."""
        outbound = self._outbound_of(answer, self._sender.main)
        outbound.exact = True
        is_empty = end and not pieces and not answer.began
        if not answer.began:
            answer.began = True
            outbound.put(STATUS_OK)
        for chunk in _coalesce(_split_heads(rows, pieces), self._sender.most):
            outbound.put(chunk)
        if end and not is_empty:
            outbound.put(b"")
        outbound.ended = answer.ended = end
        self._put_turn(outbound)

    def fail(self, request: int, error: CommandError) -> None:
        """See Reactor.fail."""
        self._end_with(self._get(request), error)

    def _end_with(self, answer: Answer, error: CommandError) -> None:
        """An error in place of the (rest of the) answer, behind what is there of it."""
        answer.ended = True
        if not answer.began and error.kind == b"command":
            self._end_with_status(answer, encode_status_error(error, bare=self._bare))
            return
        payload = self._fit(encode_error(error, bare=self._bare), error)
        outbound = answer.outbound
        if outbound is not None and (outbound.body or outbound.queued):
            outbound.held, outbound.ended = False, False
            outbound.farewell = (FrameType.ERROR, payload)
            self._put_turn(outbound)
        else:
            self._leave_with(answer, payload)

    def _end_with_status(self, answer: Answer, octets: bytes) -> None:
        if answer.outbound is None and self._end_short(answer, octets):
            return
        outbound = self._outbound_of(answer, self._sender.main)
        outbound.put(octets)
        outbound.ended = True
        self._put_turn(outbound)

    def _fit(self, payload: bytes, error: CommandError) -> bytes:
        """Error frames cannot be cut: one that is too long loses its text."""
        if len(payload) <= self._sender.most:
            return payload
        return encode_error(CommandError(error.code[:64], (), {}, error.kind), bare=self._bare)

    def _leave_with(self, answer: Answer, payload: bytes) -> None:
        self._sender.put_short(FrameType.ERROR, answer.request, 0, payload)
        self._leaving.append(answer.request)

    def drop(self, request: int) -> None:
        """See Reactor.drop."""
        self._drop(self._get(request), _CANCELLED)

    def _drop(self, answer: Answer, error: CommandError) -> None:
        answer.ended = True
        if answer.outbound is not None:
            self._sender.remove(answer.outbound)
        self._leave_with(answer, encode_error(error, bare=self._bare))

    def output(self, request: int, atoms: tuple[Atom, ...]) -> None:
        """See Reactor.output."""
        self._get(request)
        self._sender.put_short(FrameType.OUTPUT, request, 0, self._check_fits(encode_atoms(atoms)))

    def progress(self, progress: Progress) -> None:
        """See Reactor.progress."""
        self._get(progress.request)
        payload = self._check_fits(encode_progress(progress))
        self._sender.put_short(FrameType.PROGRESS, progress.request, 0, payload)

    def _check_fits(self, payload: bytes) -> bytes:
        if len(payload) > self._sender.most:
            raise LocalProtocolError(
                f"{len(payload)} octets do not fit a frame of {self._sender.most}; say it in parts"
            )
        return payload

    def unsent_of(self, request: int) -> int:
        """Octets of it that wait."""
        answer = self._active.get(request)
        return answer.outbound.size if answer is not None and answer.outbound is not None else 0

    def sent(self, request: int) -> None:
        """The last frame of an answer has left."""
        answer = self._active.pop(request, None)
        if answer is not None:
            self._data_held -= answer.size

    def sent_short(self) -> None:
        """So have the last frames of those that did not queue."""
        leaving, self._leaving = self._leaving, []
        for request in leaving:
            self.sent(request)

    @property
    def has_leaving(self) -> bool:
        """Whether `sent_short` has something to do."""
        return bool(self._leaving)

    # time and end

    @property
    def deadline(self) -> float | None:
        """When a request has been partial for too long."""
        if not self._partial:
            return None
        return min(partial.touched for partial in self._partial.values()) + self._limits.partial_age

    def drop_old(self, now: float) -> None:
        """Cancel the requests that stopped coming."""
        for partial in [
            one for one in self._partial.values() if one.touched + self._limits.partial_age <= now
        ]:
            del self._partial[partial.request]
            self._data_held -= partial.size
            partial.payload, partial.data, partial.size = bytearray(), bytearray(), 0
            self._refused[partial.request] = partial
            if self._bare:
                text = atom_of(f"nothing came of the request for {self._limits.partial_age:g} seconds")
                payload = encode_error(CommandError(b"timeout", (text,), kind=b"server"), bare=True)
                self._sender.put_short(FrameType.ERROR, partial.request, 0, payload)
            else:
                payload = encode_map({b"reason": b"timeout"})
                self._sender.put_short(FrameType.CANCEL, partial.request, 0, payload)

    def abort(self, reason: str) -> list[Event]:
        """The connection is over."""
        partial = self.abort_partial(reason)
        active, self._active = self._active, {}
        return partial + [Aborted(one.request, reason) for one in active.values() if not one.ended]

    def abort_partial(self, reason: str) -> list[Event]:
        """No more will come."""
        partial, self._partial = self._partial, {}
        self._refused.clear()
        return [Aborted(request, reason) for request in partial]


def _split_heads(rows: list[Value], pieces: list[bytes]) -> list[bytes]:
    """Octets fall into their head and their content; the rest goes whole."""
    found: list[bytes] = []
    for row, piece in zip(rows, pieces, strict=True):
        head = len(piece) - len(row) if isinstance(row, bytes) else 0
        found += [piece[:head], piece[head:]] if head else [piece]
    return found


def _coalesce(chunks: list[bytes], most: int) -> list[bytes]:
    """Chunks are joined until the next would reach the size of a frame; larger ones are cut (spec/wire.md 1.7)."""
    frames: list[bytes] = []
    joined = b""
    for chunk in chunks:
        if len(joined) + len(chunk) < most:
            joined += chunk
            continue
        frames += [joined] if joined else []
        cuts = [chunk[start : start + most] for start in range(0, len(chunk), most)]
        joined = cuts.pop() if len(cuts[-1]) < most else b""
        frames += cuts
    return frames + ([joined] if joined else [])
