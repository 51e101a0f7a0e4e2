"""
What waits to be sent, and whose turn it is (spec/wire.md 5.9).

Frames of the connection go first, then short messages that found nothing before them, then the requests in turn, a frame
each, as far as credit reaches. A frame is built when its turn has come: begin flags, limits and credit are those of that
moment, and what shares a packer is packed in the order in which it leaves.
"""

from collections import deque
from collections.abc import Callable

from .credit import SendWindow
from .events import Map
from .frame import FrameType, PartFlag, RequestFlag, StreamFlag, encode_header
from .outstreams import Aside, OutStream
from .values import encode_map

LARGEST_ID = 0xFFFF


class Outbound:
    """All that waits to be sent for one request."""

    __slots__ = (
        "_at",
        "_head",
        "_head_at",
        "_packed",
        "_type",
        "aside",
        "body",
        "ended",
        "exact",
        "farewell",
        "has_data",
        "held",
        "is_admitted",
        "is_done",
        "queued",
        "request",
        "size",
        "started",
        "stream",
        "window",
    )

    def __init__(self, request: int, type: FrameType, stream: OutStream, window: SendWindow | None) -> None:
        self.request = request
        self.stream = stream
        self.window = window
        self.aside: Aside | None = None
        """Where a stream for the body is taken from when that begins; None: it stays on this one."""
        self._type = type
        self._head = b""
        self._head_at = 0
        self.has_data = False
        self.body: deque[bytes] = deque()
        self._at = 0
        """How much of the first piece of the body is sent."""
        self._packed = b""
        """What comes before the rest of the body, on a stream for that alone."""
        self.size = 0
        """Octets that wait."""
        self.ended = False
        self.exact = False
        """Each piece of the body is a frame; else they are joined and cut as they fit."""
        self.farewell: tuple[int, bytes] | None = None
        """Type and payload of a last frame behind the body, in place of its end."""
        self.held = False
        """The last of the body waits for more, or for a flush."""
        self.started = False
        """Whether a frame has left."""
        self.is_done = False
        """The last frame has left."""
        self.queued = False
        """Waits for its turn; the Sender's to say."""
        self.is_admitted = type != FrameType.DATA
        """It may begin; of a request the Sender's to say."""

    def has_parts(self, most: int) -> bool:
        """Whether a request takes several frames with at most so much payload."""
        return self.has_data or len(self._head) > most

    def put_head(self, octets: bytes, has_data: bool) -> None:
        """The map of a request."""
        self._head = octets
        self.size += len(octets)
        self.has_data = has_data
        self.ended = not has_data

    def put(self, octets: bytes) -> None:
        """More of the body."""
        self.body.append(octets)
        self.size += len(octets)

    def next_frame(self, most: int, connection: SendWindow | None) -> bytes:
        """
        The next frame, with at most so much payload; empty when there is none now.

        After the last one, `is_done`. Without credit there is none, unless it needs none.
        """
        if self._head:
            return self._next_of_head(most)
        if self.body or self._packed or (self.ended and self.farewell is None):
            return self._next_of_body(most, connection)
        if self.farewell is not None:
            type, payload = self.farewell
            self.farewell = None
            self.started = self.is_done = True
            return self.stream.frame(type, self.request, 0, payload, is_last=True)
        return b""

    def _next_of_head(self, most: int) -> bytes:
        at, head = self._head_at, self._head
        part = head[at : at + most]
        flags = RequestFlag.CONTINUATION if at else RequestFlag.NEW
        if self.has_data:
            flags |= RequestFlag.DATA
        self._head_at = at + len(part)
        self.size -= len(part)
        if self._head_at < len(head):
            flags |= RequestFlag.MORE
        else:
            self._head = b""
            self._head_at = 0
            self.is_done = not self.has_data
        self.started = True
        return self.stream.frame(FrameType.REQUEST, self.request, flags, part)

    def _next_of_body(self, most: int, connection: SendWindow | None) -> bytes:
        if self.aside is not None:
            self.stream, self.aside = self.aside.begin(), None
        if self.stream.at_once:
            return self._next_of_packed(most, connection)
        slack = self.stream.slack
        room = most - slack
        wanted = len(self.body[0]) if self.exact and self.body else min(self.size, room)
        if self.held and not self.ended and wanted < room:
            return b""
        size = min(wanted, room)
        if connection is not None and self.window is not None:
            size = min(size, connection.left, self.window.left)
            if wanted and size <= 0:
                return b""
        announced = self.stream.announce(self.request)
        part = self._take(size)
        packed = self.stream.is_packed and bool(part)
        payload = self.stream.pack(part)
        if connection is not None and self.window is not None:
            connection.left -= len(payload)
            self.window.left -= len(payload)
        self.is_done = self._is_end(size, most)
        flags = PartFlag.END if self.is_done else PartFlag.CONTINUATION
        self.started = True
        return announced + self.stream.frame(
            self._type, self.request, flags, payload, packed=packed, is_last=self.is_done
        )

    def _next_of_packed(self, most: int, connection: SendWindow | None) -> bytes:
        stream = self.stream
        if self.body and not self._packed:
            if self.held and not self.ended and self.size < most:
                return b""
            self._packed = stream.pack(self._take(min(self.size, stream.at_once)))
            self.size += len(self._packed)
        size = min(len(self._packed), most)
        if connection is not None and self.window is not None and size:
            size = min(size, connection.left, self.window.left)
            if size <= 0:
                return b""
            connection.left -= size
            self.window.left -= size
        payload, self._packed = self._packed[:size], self._packed[size:]
        self.size -= size
        is_all = not self.body and not self._packed
        self.is_done = is_all and self.ended and self.farewell is None
        flags = PartFlag.END if self.is_done else PartFlag.CONTINUATION
        self.started = True
        announced = stream.announce(self.request)
        return announced + stream.frame(
            self._type, self.request, flags, payload, packed=bool(payload), is_last=self.is_done
        )

    def _is_end(self, size: int, most: int) -> bool:
        """Whether the frame is the last: data that fill their last frame are followed by an empty one (M13)."""
        if not self.ended or self.body or self.farewell is not None:
            return False
        if self._type == FrameType.DATA and size == most:
            self.body.append(b"")
            return False
        return True

    def _take(self, size: int) -> bytes:
        body, at = self.body, self._at
        if not body:
            return b""
        first = body[0]
        self.size -= size
        if self.exact or len(first) - at >= size:
            part = first[at : at + size] if at or size < len(first) else first
            self._at = at + size
            if self._at >= len(first):
                body.popleft()
                self._at = 0
            return part
        parts, left = [], size
        while left:
            piece = body[0][self._at : self._at + left]
            parts.append(piece)
            left -= len(piece)
            self._at += len(piece)
            if self._at >= len(body[0]):
                body.popleft()
                self._at = 0
        return b"".join(parts)


class Sender:
    """All that waits to be sent."""

    def __init__(self, main: OutStream, *, most: int, window: SendWindow | None, in_turn: bool) -> None:
        self.main = main
        self.most = most
        """Payload at which frames are cut."""
        self.window = window
        """Credit of the connection; None where there is none."""
        self._in_turn = in_turn
        self._control: list[bytes] = []
        self._short: list[bytes] = []
        self._cut = b""
        """The rest of what was handed out in part."""
        self._turns: deque[Outbound] = deque()
        self._waiting: dict[int, Outbound] = {}
        """Those without credit, in the order in which they ran out."""
        self.most_parted = LARGEST_ID
        """Requests of ours of which a part has left, at most: what the peer takes at once."""
        self._parted: set[int] = set()
        self._behind: deque[Outbound] = deque()
        """Those that have to wait for that, and requests made after them."""
        self._spent = 0
        """Credit used for requests that are over."""
        self.is_silent = False
        """Nothing leaves until this is False."""

    @property
    def unsent(self) -> int:
        """Octets that wait, without the headers of frames that are not built yet."""
        octets = len(self._cut)
        if self._control or self._short:
            octets += sum(map(len, self._control)) + sum(map(len, self._short))
        if self._turns or self._waiting or self._behind:
            octets += sum(one.size for one in self._turns) + sum(one.size for one in self._waiting.values())
            octets += sum(one.size for one in self._behind)
        return octets

    @property
    def has_more(self) -> bool:
        """Whether something is left that could have left with what was taken last, but for the limit."""
        return bool(self._cut or self._turns)

    def put_control(self, type: int, request: int, flags: int, payload: bytes) -> None:
        """A frame of the connection, ahead of all others."""
        self._control.append(self._frame(type, request, flags, payload))

    def put_map(self, type: int, flags: int, values: Map, *, request: int = 0) -> None:
        """A map of the connection, over as many frames as it needs; `flags` are those of the last."""
        octets = encode_map(values)
        starts = range(0, len(octets), self.most)
        for start in starts:
            last = start + self.most >= len(octets)
            part = octets[start : start + self.most]
            self.put_control(type, request, flags if last else PartFlag.CONTINUATION, part)

    def put_short(
        self, type: int, request: int, flags: int, payload: bytes, *, ends: Outbound | None = None
    ) -> None:
        """
        A frame that goes before those that wait for turns, and behind those put so before.

        With `ends` it stands in place of what that has not sent, and ends a stream that was for that alone.
        """
        if ends is None or ends.stream is self.main:
            self._short.append(self._frame(type, request, flags, payload))
        else:
            self._short.append(ends.stream.frame(type, request, flags, payload, is_last=True))

    def try_short(self, type: int, request: int, flags: int, payload: bytes) -> bool:
        """The same for a frame that needs credit of the connection; False when it has to queue."""
        if self._turns or self._waiting or self._behind or self.is_silent or len(payload) > self.most:
            return False
        if self.window is not None and type != FrameType.REQUEST:
            if self.window.left < len(payload):
                return False
            self.window.left -= len(payload)
        self._short.append(encode_header(len(payload), request, self.main.id, 0, type, flags) + payload)
        return True

    def _frame(self, type: int, request: int, flags: int, payload: bytes) -> bytes:
        """Its begin flag is set when it leaves: until then others may overtake it."""
        return encode_header(len(payload), request, self.main.id, 0, type, flags) + payload

    def put_turn(self, outbound: Outbound) -> None:
        """It has something to send; again when it has more."""
        if not outbound.queued:
            outbound.queued = True
            self._waiting.pop(outbound.request, None)
            self._turns.append(outbound)

    def remove(self, outbound: Outbound) -> None:
        """It sends nothing any more."""
        if outbound.queued:
            outbound.queued = False
            (self._behind if outbound in self._behind else self._turns).remove(outbound)
        self._waiting.pop(outbound.request, None)
        self._note_spent(outbound)
        self._let_on(outbound)

    def _may_begin(self, outbound: Outbound) -> bool:
        return outbound.is_admitted or (not self._behind and self._admit(outbound))

    def _admit(self, outbound: Outbound) -> bool:
        """Let a request begin, if the peer takes one more in parts or it has none."""
        if outbound.has_parts(self.most):
            if len(self._parted) >= max(1, self.most_parted):
                return False
            self._parted.add(outbound.request)
        outbound.is_admitted = True
        return True

    def _let_on(self, outbound: Outbound) -> None:
        """It has left, or never will: those that waited for it may begin, in their order."""
        self._parted.discard(outbound.request)
        while self._behind and self._admit(self._behind[0]):
            self._turns.append(self._behind.popleft())

    def _note_spent(self, outbound: Outbound) -> None:
        if outbound.window is not None:
            self._spent += max(0, outbound.window.size - outbound.window.left)

    def was_spent(self, octets: int) -> bool:
        """Whether credit for a request that is over gives back what was sent for such: it was under way."""
        is_owed = 0 < octets <= self._spent
        self._spent -= octets if is_owed else 0
        return is_owed

    def wake(self) -> None:
        """Credit has come."""
        waiting, self._waiting = self._waiting, {}
        for outbound in waiting.values():
            self.put_turn(outbound)

    def clear(self) -> None:
        """Drop all that waits, but the rest of what was handed out in part."""
        self._control.clear()
        self._short.clear()
        self._turns.clear()
        self._waiting.clear()
        self._behind.clear()

    def take(self, limit: int | None, on_done: Callable[[Outbound], None]) -> bytes:
        """What is to be written now, at most `limit` octets. Tells of each request whose last frame is in it."""
        if self.is_silent:
            return b""
        out = [self._cut, *self._control, *self._short]
        self._cut = b""
        if not self.main.begun:
            self._begin(out)
        self._control.clear()
        self._short.clear()
        if self._turns:
            self._take_turns(out, limit, on_done)
        octets = b"".join(out)
        if limit is not None and len(octets) > limit:
            self._cut = octets[limit:]
            return octets[:limit]
        return octets

    def _begin(self, out: list[bytes]) -> None:
        for place, frame in enumerate(out):
            if place and frame[5] == self.main.id:
                self.main.begun = True
                out[place] = frame[:6] + bytes([frame[6] | StreamFlag.BEGIN]) + frame[7:]
                return

    def _take_turns(self, out: list[bytes], limit: int | None, on_done: Callable[[Outbound], None]) -> None:
        size = sum(map(len, out))
        turns, most, window = self._turns, self.most, self.window
        while turns and (limit is None or size < limit):
            outbound = turns.popleft()
            if not self._may_begin(outbound):
                self._behind.append(outbound)
                continue
            waited = outbound.size
            frame = outbound.next_frame(most, window)
            if frame:
                out.append(frame)
                # To pack takes time, however little comes of it.
                size += max(len(frame), waited - outbound.size)
            outbound.queued = False
            if outbound.is_done:
                self._note_spent(outbound)
                on_done(outbound)
                self._let_on(outbound)
            elif not frame:
                self._waiting[outbound.request] = outbound
            elif outbound.size or outbound.body or outbound.ended or outbound.farewell:
                outbound.queued = True
                turns.append(outbound) if self._in_turn else turns.appendleft(outbound)
