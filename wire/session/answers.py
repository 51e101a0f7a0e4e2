"""
The requests of the peer that run, and what we answer (spec/wire.md 1.7, 5.6, 5.7).

    active -> ended -> forgotten       when its last frame is handed out
"""

from collections.abc import Iterable

from ..errors import LocalProtocolError, RemoteProtocolError
from .credit import SendWindow
from .events import Aborted, Atom, Cancelled, CommandError, Event, Progress, Requested, Value, atom_of
from .frame import FrameType, PartFlag
from .limits import Limits
from .outbound import Outbound, Sender
from .outcome import (
    STATUS_OK,
    NotActive,
    Unencodable,
    encode_atoms,
    encode_error,
    encode_error_within,
    encode_progress,
    encode_status_error,
)
from .outstreams import Aside
from .values import Codec

CANCELLED = CommandError(b"cancelled", (atom_of("the request was cancelled"),), kind=b"cancelled")


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

    def __init__(self, *, bare: bool, deferred: bool, limits: Limits, codec: Codec, sender: Sender) -> None:
        self._bare = bare
        self._deferred = deferred
        self._limits = limits
        self.codec = codec
        self._sender = sender
        self.send_credit: int | None = None
        """Window of one answer; None without credit."""
        self._active: dict[int, Answer] = {}
        self._leaving: list[int] = []
        """Their last frame is among those that leave next."""
        self.held = 0
        """Octets of data that came with them."""

    def __len__(self) -> int:
        return len(self._active)

    def __contains__(self, request: int) -> bool:
        return request in self._active

    # what comes

    def start(self, requested: Requested, size: int) -> list[Event]:
        """A request is whole, with so many octets of data."""
        if len(self._active) >= self._limits.active:
            text = f"{self._limits.active} requests run already; wait for one to end"
            self.refuse(requested.request, CommandError(b"busy", (atom_of(text),)))
            return []
        self._active[requested.request] = Answer(requested.request, size)
        self.held += size
        return [requested]

    def refuse(self, id: int, error: CommandError) -> None:
        """
        The answer to a request that never ran.

        Raises RemoteProtocolError when the peer has so many of them to read that it cannot be reading.
        """
        if len(self._active) >= self._limits.untold:
            text = f"{len(self._active)} requests are under way, where {self._limits.active} may be"
            raise RemoteProtocolError("flood", text)
        answer = self._active[id] = Answer(id, 0)
        self._end_with(answer, error)

    def take_cancel(self, id: int, reason: bytes | None) -> list[Event]:
        """The peer takes a request back. It may be over already."""
        answer = self._active.get(id)
        if answer is None or id in self._leaving:
            return []
        was_ended = answer.ended
        self._drop(answer, CANCELLED)
        return [] if was_ended else [Cancelled(id, reason)]

    def window_of(self, request: int) -> SendWindow | None:
        """Of what we send for it; None without, or when all is sent."""
        answer = self._active.get(request)
        return answer.outbound.window if answer is not None and answer.outbound is not None else None

    # what we answer

    def _get(self, request: int) -> Answer:
        answer = self._active.get(request)
        if answer is None or answer.ended:
            raise NotActive(f"request {request} is not one that can be answered: unknown, cancelled or over")
        return answer

    def respond(
        self, request: int, values: Iterable[Value], *, end: bool, aside: Aside | None, flush: bool
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
        if end and answer.outbound is None and aside is None and self._end_short(answer, octets):
            return
        outbound = self._outbound_of(answer, aside)
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

    def _outbound_of(self, answer: Answer, aside: Aside | None = None) -> Outbound:
        if answer.outbound is None:
            window = SendWindow(self.send_credit) if self.send_credit is not None else None
            answer.outbound = Outbound(answer.request, FrameType.RESPONSE, self._sender.main, window)
            answer.outbound.aside = aside
        elif not answer.outbound.started and not answer.outbound.size:
            answer.outbound.aside = aside
        return answer.outbound

    def _put_turn(self, outbound: Outbound) -> None:
        if not self._deferred or outbound.ended or outbound.farewell:
            self._sender.put_turn(outbound)

    def _respond_bare(self, answer: Answer, rows: list[Value], pieces: list[bytes], end: bool) -> None:
        """In the frames that the older peers make: status, values joined to less than a frame, an empty end."""
        outbound = self._outbound_of(answer)
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
        payload = encode_error_within(self._sender.most, error, bare=self._bare)
        outbound = answer.outbound
        if outbound is not None and (outbound.size or outbound.body or outbound.queued):
            outbound.held, outbound.ended = False, False
            outbound.farewell = (FrameType.ERROR, payload)
            self._put_turn(outbound)
        else:
            self._leave_with(answer, payload)

    def _end_with_status(self, answer: Answer, octets: bytes) -> None:
        if answer.outbound is None and self._end_short(answer, octets):
            return
        outbound = self._outbound_of(answer)
        outbound.put(octets)
        outbound.ended = True
        self._put_turn(outbound)

    def _leave_with(self, answer: Answer, payload: bytes) -> None:
        self._sender.put_short(FrameType.ERROR, answer.request, 0, payload, ends=answer.outbound)
        self._leaving.append(answer.request)

    def drop(self, request: int) -> None:
        """See Reactor.drop."""
        self._drop(self._get(request), CANCELLED)

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
            self.held -= answer.size

    def sent_short(self) -> None:
        """So have the last frames of those that did not queue."""
        leaving, self._leaving = self._leaving, []
        for request in leaving:
            self.sent(request)

    @property
    def has_leaving(self) -> bool:
        """Whether `sent_short` has something to do."""
        return bool(self._leaving)

    def abort(self, reason: str) -> list[Event]:
        """The connection is over."""
        active, self._active = self._active, {}
        return [Aborted(one.request, reason) for one in active.values() if not one.ended]


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
