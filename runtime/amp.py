"""
The calls of `wire.local`, carried both ways over one connection as AMP boxes.

The octets are AMP's: keys and values with two octets of length, an empty key at the box's end, `_command` and `_ask`,
`_answer`, `_error`. Twisted's own AMP classes talk to this one, and the tests let them. They are not used to carry it,
because they trust their peer: they put no bound on a box, take StartTLS from anybody, keep every file descriptor that
a UNIX peer passes, and end an unknown answer or a box without `_ask` in a traceback. They also cost twice the time per
call.

What a peer does wrong inside a call is answered with an error code. What is wrong with the boxes themselves ends the
connection, with the reason in the log.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IPushProducer, IWriteDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..wire import cbor
from ..wire.errors import FieldpostError, LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from ..wire.local import (
    CALLS,
    MAX_BODY_OCTETS,
    MAX_VALUE_OCTETS,
    NO_VERSION,
    REFUSED,
    UNAVAILABLE,
    NoVersion,
    Refused,
    Unavailable,
)
from ..wire.schema import from_map, to_map

Box = dict[bytes, bytes]
Respond = Callable[[Any], Awaitable[Any]]
"""Takes what a call carries, gives what its answer carries; or raises Refused, Unavailable, NoVersion."""

MAX_KEY_OCTETS = 255
MAX_BODY_PARTS = -(-MAX_BODY_OCTETS // MAX_VALUE_OCTETS)
MAX_BOX_KEYS = MAX_BODY_PARTS + 16
BOX_OVERHEAD_OCTETS = 64 * 1024
"""What a box may hold beside its body."""
MAX_CALLS_RUNNING = 64
"""A peer with this many calls unanswered is not read until one is."""
MAX_ERROR_TEXT = 8_000
BODY_LIMITS = cbor.Limits(octets=MAX_BODY_OCTETS, items=200_000)

_BODY, _ASK, _ANSWER, _COMMAND = b"body", b"_ask", b"_answer", b"_command"
_ERROR, _ERROR_CODE, _ERROR_DESCRIPTION = b"_error", b"_error_code", b"_error_description"
_UNHANDLED = b"UNHANDLED"
_PART_KEYS = (_BODY, *(b"body.%d" % part for part in range(1, MAX_BODY_PARTS)))
_ERRORS: dict[str, Callable[[str], RemoteProtocolError]] = {
    REFUSED: Refused,
    UNAVAILABLE: Unavailable,
    NO_VERSION: NoVersion,
    _UNHANDLED.decode(): Refused,
}


class Disconnected(FieldpostError):
    """The connection ended before the answer came: whether the call was carried out is not known."""


class BoxReader:
    """Cuts a stream of octets into boxes. It holds at most one unfinished box, of at most `max_octets`."""

    def __init__(self, *, max_octets: int, max_keys: int = MAX_BOX_KEYS) -> None:
        self.max_octets = max_octets
        self._max_keys = max_keys
        self._rest = bytearray()
        self._box: Box = {}
        self._key = b""
        self._keys = self._size = 0

    def receive(self, octets: bytes) -> Iterator[Box]:
        """
        The boxes that end within these octets.

        Raises Malformed and TooLarge, after the boxes before the fault; the stream is of no use then.
        """
        rest = self._rest
        rest += octets
        position, end = 0, len(rest)
        try:
            while end - position >= 2:
                length = rest[position] << 8 | rest[position + 1]
                start, stop = position + 2, position + 2 + length
                if not self._key and length > MAX_KEY_OCTETS:
                    raise Malformed(f"an AMP key of {length} octets; the longest is {MAX_KEY_OCTETS}")
                if stop > end:
                    break
                position = stop
                if self._key:
                    self._box[self._key] = bytes(rest[start:stop])
                    self._key = b""
                    self._size += length
                elif length:
                    self._key = bytes(rest[start:stop])
                    self._count(length)
                else:
                    box, self._box = self._box, {}
                    self._keys = self._size = 0
                    yield box
        finally:
            del rest[:position]

    def _count(self, key_octets: int) -> None:
        self._keys += 1
        self._size += key_octets
        if self._keys > self._max_keys:
            raise TooLarge(f"an AMP box of more than {self._max_keys} keys")
        if self._size > self.max_octets:
            raise TooLarge(f"an AMP box of more than {self.max_octets} octets")


def write_box(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The octets of a box."""
    pieces: list[bytes] = []
    for key, value in pairs:
        pieces += (len(key).to_bytes(2, "big"), key, len(value).to_bytes(2, "big"), value)
    pieces.append(b"\0\0")
    return b"".join(pieces)


def spread(body: bytes) -> Iterable[tuple[bytes, bytes]]:
    """
    The keys and values that carry a body.

    Raises LocalProtocolError when it is too long to travel.
    """
    if len(body) <= MAX_VALUE_OCTETS:
        return ((_BODY, body),)
    if len(body) > MAX_BODY_OCTETS:
        raise LocalProtocolError(f"a body of {len(body)} octets; the socket takes {MAX_BODY_OCTETS}")
    starts = range(0, len(body), MAX_VALUE_OCTETS)
    return [
        (key, body[start : start + MAX_VALUE_OCTETS]) for key, start in zip(_PART_KEYS, starts, strict=False)
    ]


def gather(box: Box) -> bytes:
    """
    The body that a box carries.

    Raises Malformed when it has none.
    """
    first = box.get(_BODY)
    if first is None:
        raise Malformed("`body` is missing")
    if _PART_KEYS[1] not in box:
        return first
    parts = [first]
    for key in _PART_KEYS[1:]:
        part = box.get(key)
        if part is None:
            break
        parts.append(part)
    return b"".join(parts)


@implementer(IPushProducer)
class CallProtocol(Protocol):
    """
    One end of a connection: makes calls, and answers those for which it has a responder.

    Calls are started in the order in which they came; each is answered when its responder is done. A peer that does
    not take its answers, or has too many calls running, is not read until that has passed.
    """

    log = Logger()

    def __init__(
        self,
        *,
        responders: Mapping[str, Respond],
        max_octets: int = MAX_BODY_OCTETS,
        max_running: int = MAX_CALLS_RUNNING,
    ) -> None:
        self._responders = {name.encode(): (CALLS[name][0], respond) for name, respond in responders.items()}
        self._reader = BoxReader(max_octets=max_octets + BOX_OVERHEAD_OCTETS)
        self._max_running = max_running
        self._running = 0
        self._asked: dict[bytes, tuple[Deferred[Any], type]] = {}
        self._last_tag = 0
        self._holds: set[str] = set()
        self._flush: Callable[[], object] | None = None
        self._is_reading = False
        self._is_written = True
        self.is_open = False

    # Calls to the peer

    def call(self, name: str, value: Any) -> "Deferred[Any]":
        """
        Say this to the peer; the Deferred has what the answer carries.

        It fails with Refused, Unavailable, NoVersion or another RemoteProtocolError of the peer's code, with
        Disconnected, or with LocalProtocolError when the value does not travel.
        """
        try:
            return self.call_encoded(name, cbor.encode(to_map(value)))
        except LocalProtocolError:
            return fail()

    def call_encoded(self, name: str, body: bytes) -> "Deferred[Any]":
        """
        The same, for what is encoded already.

        Raises LocalProtocolError when it is too long.
        """
        if not self.is_open:
            return fail(Disconnected(f"`{name}` was not said: there is no connection"))
        parts = spread(body)
        self._last_tag += 1
        tag = b"%x" % self._last_tag
        answer: Deferred[Any] = Deferred()
        self._asked[tag] = (answer, CALLS[name][1])
        self._write(((_ASK, tag), (_COMMAND, name.encode()), *parts))
        return answer

    @property
    def unanswered(self) -> int:
        """How many of our calls the peer has not answered yet."""
        return len(self._asked)

    # Reading, and not reading

    def hold(self, why: str) -> None:
        """Read nothing more from the peer until this reason, and every other, is released."""
        if not self._holds:
            self._producer().pauseProducing()
        self._holds.add(why)

    def release(self, why: str) -> None:
        """Take back a `hold`; one that was not there is no error."""
        if why in self._holds:
            self._holds.discard(why)
            if not self._holds and self.is_open:
                self._producer().resumeProducing()

    @property
    def holds(self) -> frozenset[str]:
        """Why the peer is not read now; empty when it is."""
        return frozenset(self._holds)

    def pauseProducing(self) -> None:
        """Twisted says: the peer does not take what we write."""
        self.hold("its answers are not taken")

    def resumeProducing(self) -> None:
        """Twisted says: all that we wrote is taken."""
        self.release("its answers are not taken")

    def stopProducing(self) -> None:
        """Twisted says: the connection is gone; `connectionLost` has the rest."""

    def _producer(self) -> Any:  # a transport; the interfaces that Twisted declares for it vary by release
        return self.transport

    # Ends

    def close(self) -> None:
        """End the connection once what was written is taken."""
        self._stop().loseConnection()

    def abort(self, reason: str) -> None:
        """End the connection at once, because of what the peer did."""
        if self.is_open:
            self.log.warn("{who}: connection closed: {reason}", who=str(self), reason=reason)
            self.cut()

    def cut(self) -> None:
        """End the connection at once; the peer is not to blame."""
        self._stop().abortConnection()

    def _stop(self) -> Any:  # as _producer
        if self.is_open:
            self.is_open = False
            self._producer().unregisterProducer()
        return self.transport

    def connectionMade(self) -> None:
        """See Protocol."""
        self.is_open = True
        transport = self._producer()
        transport.registerProducer(self, True)
        self._flush = transport.doWrite if IWriteDescriptor.providedBy(transport) else None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol. All calls without an answer fail."""
        self.is_open = False
        asked, self._asked = self._asked, {}
        for answer, _ in asked.values():
            answer.errback(Failure(Disconnected(f"the connection ended before the answer: {reason.value}")))

    # Boxes from the peer

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if not self.is_open:
            return
        self._is_reading = True
        try:
            for box in self._reader.receive(data):
                if self.is_open:
                    self._take(box)
        except RemoteProtocolError as error:
            self.abort(str(error))
        finally:
            self._is_reading = False
        self._hurry()

    def allow(self, max_octets: int) -> None:
        """From now on take bodies of up to so many octets."""
        self._reader.max_octets = max_octets + BOX_OVERHEAD_OCTETS

    def _take(self, box: Box) -> None:
        if _COMMAND in box:
            self._start(box)
        elif _ANSWER in box:
            self._settle(box)
        elif _ERROR in box:
            answer, _ = self._answered(box[_ERROR])
            answer.errback(Failure(_error_of(box)))
        else:
            raise Malformed("an AMP box that is neither call, answer nor error")

    def _answered(self, tag: bytes) -> "tuple[Deferred[Any], type]":
        try:
            return self._asked.pop(tag)
        except KeyError:
            raise Malformed("an answer to a call that was not made") from None

    def _settle(self, box: Box) -> None:
        answer, kind = self._answered(box[_ANSWER])
        try:
            value: Any = from_map(kind, cbor.decode(gather(box), BODY_LIMITS))
        except RemoteProtocolError as error:
            answer.errback(Failure(error))
            raise
        answer.callback(value)

    def _start(self, box: Box) -> None:
        if _ASK not in box:
            raise Malformed("a call without `_ask`")
        self._running += 1
        if self._running >= self._max_running:
            self.hold("too many calls are running")
        Deferred.fromCoroutine(self._answer(box))

    async def _answer(self, box: Box) -> None:
        """Never raises: every call ends in an answer or an error, and nothing but."""
        tag = box[_ASK]
        command = box[_COMMAND]
        try:
            if command not in self._responders:
                error = _error_box(tag, _UNHANDLED, f"there is no call {command[:64]!r} here")
                self._write(error)
                return
            kind, respond = self._responders[command]
            value = await respond(from_map(kind, cbor.decode(gather(box), BODY_LIMITS)))
            parts = spread(cbor.encode(to_map(value)))
            self._write(((_ANSWER, tag), *parts))
        except (Refused, Unavailable, NoVersion) as error:
            self._write(_error_box(tag, error.code.encode(), str(error)))
        except RemoteProtocolError as error:
            self._write(_error_box(tag, REFUSED.encode(), str(error)))
        except Exception:  # noqa: BLE001 - it is logged, and the peer is told
            self.log.failure("{who}: `{command}` failed here", who=str(self), command=command)
            self._write(_error_box(tag, UNAVAILABLE.encode(), "it failed for a reason that its log names"))
        finally:
            self._running -= 1
            if self._holds:
                self.release("too many calls are running")

    def _write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        if self.is_open:
            self._producer().write(write_box(pairs))
            self._is_written = False
            if not self._is_reading:
                self._hurry()

    def _hurry(self) -> None:
        """
        Write now what Twisted would write in the reactor's next turn.

        That turn is a third of the cost of a single call; and while a turn makes many calls the peer would be idle.
        What goes wrong here shows again in the next turn.
        """
        if self._flush is not None and self.is_open and not self._is_written:
            self._is_written = True
            self._flush()


def _error_box(tag: bytes, code: bytes, text: str) -> tuple[tuple[bytes, bytes], ...]:
    described = text[:MAX_ERROR_TEXT].encode("utf-8", "replace")
    return ((_ERROR, tag), (_ERROR_CODE, code), (_ERROR_DESCRIPTION, described))


def _error_of(box: Box) -> RemoteProtocolError:
    code = box.get(_ERROR_CODE, b"")[:64].decode("utf-8", "replace")
    text = box.get(_ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
    known = _ERRORS.get(code)
    return known(text) if known else RemoteProtocolError(code, text)
