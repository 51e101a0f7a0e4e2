"""
The requests that we make: their ids, what is sent for them, and how their answers are read (spec/wire.md 1.8, 5.7).

An id is free again when the answer is over and all of the request was sent, or a cancel in its place. After our own cancel the
answer is still read to its end, and dropped.
"""

from enum import Enum

from .. import cbor
from ..errors import LocalProtocolError, RemoteProtocolError, TooLarge
from .credit import Ledger, ReceiveWindow, SendWindow
from .events import Aborted, CommandError, Event, Failed, Map, Output, Progress, Responded, atom_of
from .frame import Frame, FrameType, PartFlag, RequestFlag, StreamFlag
from .limits import Limits
from .outbound import LARGEST_ID, Outbound, Sender
from .outcome import STATUS_OK, Busy, read_atoms, read_error, read_progress, read_status
from .values import Codec, RowReader, encode_map


class RequestState(Enum):
    """How far a request of ours is (spec/wire.md 1.8)."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    RECEIVING = "receiving"
    OVER = "over"
    """Unknown, or free again."""


class Ask:
    """One request of ours."""

    __slots__ = (
        "began",
        "decoded",
        "given_up",
        "held",
        "is_over",
        "outbound",
        "reader",
        "request",
        "size",
        "window",
    )

    def __init__(self, request: int, outbound: Outbound | None) -> None:
        self.request = request
        self.outbound = outbound
        """What is still to be sent; None when all is."""
        self.began = False
        """An `ok` has come."""
        self.given_up = False
        """What comes is dropped: cancelled, or over while we still send."""
        self.is_over = False
        """For the peer as well; only our sending is not done."""
        self.reader: RowReader | None = None
        """Holds a value that is not whole."""
        self.held = 0
        self.window: ReceiveWindow | None = None
        self.decoded = 0
        self.size = 0
        """Octets of which nothing has been told."""


class Asks:
    """All of them."""

    def __init__(
        self, *, odd: bool, bare: bool, limits: Limits, codec: Codec, sender: Sender, ledger: Ledger | None
    ) -> None:
        self._first = 1 if odd else 2
        self._next = self._first
        self._bare = bare
        self._limits = limits
        self._sender = sender
        self.ledger = ledger
        self.use(codec)
        self._asks: dict[int, Ask] = {}
        self._buffered: list[Outbound] = []
        self._held = 0
        """Octets of values that are not whole, all requests together."""
        self._unread = 0
        """Octets told in events and not consumed yet."""

    def use(self, codec: Codec) -> None:
        """From the next request and answer on."""
        self._codec = codec
        self._value_limits = cbor.Limits(
            octets=self._limits.answer, depth=self._limits.depth, items=self._limits.members
        )
        self._spare = RowReader(codec, self._value_limits)

    def __len__(self) -> int:
        return len(self._asks)

    def grant(self, octets: int) -> None:
        """Credit is counted from now on; nothing of what waits has left."""
        for outbound in self._waiting():
            outbound.window = SendWindow(octets)

    def resize(self, octets: int) -> None:
        """The peer has told its window for a request."""
        for outbound in self._waiting():
            if outbound.window is not None:
                outbound.window.resize(octets)

    def _waiting(self) -> list[Outbound]:
        return [ask.outbound for ask in self._asks.values() if ask.outbound is not None]

    @property
    def has_buffered(self) -> bool:
        """Whether requests wait for a flush."""
        return bool(self._buffered)

    # what we send

    def begin(self, name: bytes, args: Map | None, peer: Limits) -> tuple[int, bytes]:
        """A free id, and the octets of the request's map. Raises Busy, LocalProtocolError; then nothing has changed."""
        if len(self._asks) >= peer.active:
            raise Busy(
                f"{peer.active} requests are under way, as many as the peer takes; wait for one to end"
            )
        encode = self._codec.encode
        octets = b"D" + b"name" + encode(name)
        octets = b"\xa2\x44args" + encode(args) + octets if args else b"\xa1" + octets
        if len(octets) > peer.request:
            text = f"the request is of {len(octets)} octets, the peer takes {peer.request}: send them as data"
            raise LocalProtocolError(text)
        return self._free_id(), octets

    def _free_id(self) -> int:
        id = self._next
        while id in self._asks:
            id = id + 2 if id + 2 <= LARGEST_ID else self._first
            if id == self._next:
                raise Busy("all request ids are in use; wait for a request to end")
        self._next = id + 2 if id + 2 <= LARGEST_ID else self._first
        return id

    def send(self, request: int, octets: bytes) -> bool:
        """Send a request that is all in one frame; False when it has to queue."""
        if self._sender.try_short(FrameType.REQUEST, request, RequestFlag.NEW, octets):
            self._asks[request] = Ask(request, None)
            return True
        return False

    def queue(self, outbound: Outbound, *, buffered: bool) -> None:
        """A request that goes when its turn comes, or at the next flush."""
        self._asks[outbound.request] = Ask(outbound.request, outbound)
        if buffered:
            self._buffered.append(outbound)
        else:
            self._sender.put_turn(outbound)

    def flush(self) -> None:
        """Let go what was buffered."""
        buffered, self._buffered = self._buffered, []
        for outbound in buffered:
            self._sender.put_turn(outbound)

    def send_data(self, request: int, octets: bytes, *, end: bool) -> None:
        """More command data. Raises LocalProtocolError for a request that takes none."""
        ask = self._asks.get(request)
        outbound = ask.outbound if ask is not None and not ask.given_up else None
        if outbound is None or not outbound.has_data or outbound.ended:
            raise LocalProtocolError(
                f"request {request} takes no data: it announced none, or has all, or is over"
            )
        if octets:
            outbound.put(octets)
        outbound.ended = end
        if (octets or end) and outbound not in self._buffered:
            self._sender.put_turn(outbound)

    def cancel(self, request: int, reason: bytes | None) -> None:
        """Take a request back. Raises LocalProtocolError when it is over, or cancelled already."""
        ask = self._asks.get(request)
        if ask is None or ask.given_up:
            raise LocalProtocolError(f"request {request} is over: there is nothing to cancel")
        self._give_up(ask, reason)

    def _give_up(self, ask: Ask, reason: bytes | None) -> None:
        outbound = self._drop_outbound(ask)
        if outbound is not None and not outbound.started:
            del self._asks[ask.request]
        else:
            ask.given_up = True
            self._send_cancel(ask.request, reason, outbound)

    def _drop_outbound(self, ask: Ask) -> Outbound | None:
        outbound, ask.outbound = ask.outbound, None
        if outbound is not None:
            self._sender.remove(outbound)
            if outbound in self._buffered:
                self._buffered.remove(outbound)
        return outbound

    def _send_cancel(self, request: int, reason: bytes | None, outbound: Outbound | None) -> None:
        payload = b"" if reason is None else encode_map({b"reason": reason})
        self._sender.put_short(FrameType.CANCEL, request, 0, payload, ends=outbound)

    def sent(self, request: int) -> None:
        """The last frame of a request has left."""
        ask = self._asks.get(request)
        if ask is not None:
            ask.outbound = None
            if ask.is_over:
                del self._asks[request]

    def window_of(self, request: int) -> SendWindow | None:
        """Of what we send for it; None without, or when all is sent."""
        ask = self._asks.get(request)
        return ask.outbound.window if ask is not None and ask.outbound is not None else None

    def unsent_of(self, request: int) -> int:
        """Octets of it that wait."""
        ask = self._asks.get(request)
        return ask.outbound.size if ask is not None and ask.outbound is not None else 0

    def state_of(self, request: int) -> RequestState:
        """How far it is."""
        ask = self._asks.get(request)
        if ask is None or ask.given_up:
            return RequestState.OVER
        if ask.began:
            return RequestState.RECEIVING
        if ask.outbound is None:
            return RequestState.SENT
        return RequestState.SENDING if ask.outbound.started else RequestState.PENDING

    # what comes

    def _find(self, frame: Frame) -> Ask:
        ask = self._asks.get(frame.request)
        if ask is None or ask.is_over or (ask.outbound is not None and not ask.outbound.started):
            raise RemoteProtocolError("inactive-request-id", f"request {frame.request} is not under way")
        return ask

    def take_response(self, frame: Frame, wire: int) -> list[Event]:
        """A piece of an answer, `wire` octets of credit. Raises RemoteProtocolError."""
        ask = self._find(frame)
        if self.ledger is not None and wire:
            if ask.window is None:
                ask.window = self.ledger.new_window()
            self.ledger.take(ask.window, wire)
        if frame.stream_flags & StreamFlag.ENCODED:
            self._count_decoded(ask, len(frame.payload))
        end = bool(frame.flags & PartFlag.END)
        if ask.given_up:
            self._pass_over(ask, wire, end)
            return []
        try:
            return self._read(ask, frame.payload, wire, end)
        except TooLarge as error:
            self._spare = RowReader(self._codec, self._value_limits)
            self._give_back(ask, wire)
            return self._fail(
                ask, CommandError(b"too-large", (atom_of(str(error)),), kind=b"local"), over=end
            )
        except RemoteProtocolError as error:
            code = "response-malformed" if error.code == "malformed" else error.code
            raise RemoteProtocolError(code, f"the answer to request {ask.request}: {error}") from error

    def _read(self, ask: Ask, octets: bytes, wire: int, end: bool) -> list[Event]:
        reader, begins = ask.reader or self._spare, False
        ask.size += len(octets)
        if not ask.began and ask.reader is None and octets.startswith(STATUS_OK):
            ask.began = begins = True
            octets = octets[len(STATUS_OK) :]
        values = reader.feed(octets) if octets else []
        if reader.held or ask.held:
            self._note_held(ask, reader)
        if not ask.began and values:
            error = read_status(values.pop(0))
            if error is not None:
                self._give_back(ask, wire)
                return self._fail(ask, error, over=end)
            ask.began = begins = True
        if end:
            self._check_end(ask)
            self._finish(ask)
        elif not values and not begins:
            self._give_back(ask, wire)
            return []
        octets_to_consume = wire if self.ledger is not None else 0
        self._unread += octets_to_consume
        size, ask.size = ask.size, 0
        return [Responded(ask.request, tuple(values), octets_to_consume, end, size)]

    def _note_held(self, ask: Ask, reader: RowReader) -> None:
        self._held += reader.held - ask.held
        ask.held = reader.held
        if ask.held and ask.reader is None:
            ask.reader, self._spare = reader, RowReader(self._codec, self._value_limits)
        if self._held > self._limits.answer:
            raise TooLarge(f"values that are not whole take more than {self._limits.answer} octets")

    def _check_end(self, ask: Ask) -> None:
        if not ask.began:
            raise RemoteProtocolError("response-without-status", "it ends before its status map")
        missing = ask.reader.end() if ask.reader is not None else None
        if missing:
            raise RemoteProtocolError("response-cut", missing)

    def _count_decoded(self, ask: Ask, octets: int) -> None:
        ask.decoded += octets
        if ask.decoded > self._limits.decoded_request:
            text = f"the answer to request {ask.request} unpacks to more than {self._limits.decoded_request} octets"
            raise RemoteProtocolError("decoded-request-too-large", text)

    def _pass_over(self, ask: Ask, wire: int, end: bool) -> None:
        self._give_back(ask, wire)
        if end:
            self._finish(ask)

    def _give_back(self, ask: Ask, wire: int) -> None:
        if self.ledger is not None and wire:
            self.ledger.give(wire, ask.request, ask.window)

    def _finish(self, ask: Ask) -> None:
        """The peer is done with it. What is not sent of it is not wanted any more."""
        self._forget_values(ask)
        if ask.outbound is None:
            del self._asks[ask.request]
        elif self._bare:
            ask.given_up = ask.is_over = True
        else:
            self._send_cancel(ask.request, None, self._drop_outbound(ask))
            del self._asks[ask.request]

    def _forget_values(self, ask: Ask) -> None:
        self._held -= ask.held
        ask.held, ask.reader = 0, None

    def _fail(self, ask: Ask, error: CommandError, *, over: bool) -> list[Event]:
        """It is over for us; for the peer too, or we stop listening."""
        self._forget_values(ask)
        if over:
            self._finish(ask)
        elif self._bare or error.kind != b"local":
            ask.given_up = True
        else:
            self._give_up(ask, b"too-large")
        return [Failed(ask.request, error, ask.began)]

    def take_error(self, frame: Frame) -> list[Event]:
        """An error frame ends a request. Raises RemoteProtocolError."""
        ask = self._find(frame)
        error = read_error(frame.payload)
        return self._end_by_peer(ask, error)

    def take_cancel(self, request: int, reason: bytes | None) -> list[Event]:
        """The peer gives up a request of ours. It may be over already."""
        ask = self._asks.get(request)
        if ask is None or ask.is_over or (ask.outbound is not None and not ask.outbound.started):
            return []
        text = "the peer gave the request up" + (f": {reason.decode('ascii', 'replace')}" if reason else "")
        return self._end_by_peer(
            ask, CommandError(reason or b"cancelled", (atom_of(text),), kind=b"cancelled")
        )

    def _end_by_peer(self, ask: Ask, error: CommandError) -> list[Event]:
        was_given_up = ask.given_up
        self._finish(ask)
        return [] if was_given_up else [Failed(ask.request, error, ask.began)]

    def take_output(self, frame: Frame) -> list[Event]:
        """Text for people. Raises RemoteProtocolError."""
        ask = self._find(frame)
        atoms = read_atoms(frame.payload)
        return [] if ask.given_up else [Output(frame.request, atoms)]

    def take_progress(self, frame: Frame) -> list[Event]:
        """How far it is. Raises RemoteProtocolError."""
        ask = self._find(frame)
        progress: Progress = read_progress(frame.request, frame.payload)
        return [] if ask.given_up else [progress]

    def consume(self, request: int, octets: int) -> None:
        """Values were used. Raises LocalProtocolError for more octets than were told."""
        if octets > self._unread or octets < 0:
            raise LocalProtocolError(
                f"{octets} octets are more than were told and not consumed, {self._unread}"
            )
        self._unread -= octets
        if self.ledger is not None and octets:
            ask = self._asks.get(request)
            self.ledger.give(octets, request, ask.window if ask is not None else None)

    def abort(self, reason: str) -> list[Event]:
        """The connection is over."""
        asks, self._asks, self._buffered = self._asks, {}, []
        return [Aborted(ask.request, reason) for ask in asks.values() if not ask.given_up]
