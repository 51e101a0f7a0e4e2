"""
Our calls to the peer, and what comes back for them.

Whatever comes is handled in the order in which it came, and callbacks run before the next is looked at: a value that
the peer sent before an answer is seen before it (spec/wire.md Z20, Z21). A call is forgotten before its Deferred fires,
so a callback may make the next call, and a second answer finds nobody (N9, N10).
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...wire.cbor import Value
from ...wire.errors import LocalProtocolError
from ...wire.session.events import Aborted, Failed, Map, Output, Progress, Responded
from ...wire.session.outcome import Busy
from .errors import CallCancelled, CommandFailed, SessionLost, TooManyCalls
from .later import deferred_of

Args = Mapping[str, Value] | Mapping[bytes, Value]
OnValue = Callable[[Value], object]
"""Takes a value when it comes; where it gives a Deferred or a coroutine, the peer is held back until that is done."""
OnOutput = Callable[[str], object]
OnProgress = Callable[[Progress], object]
OnSent = Callable[[], object]

MAX_WAITING = 1_000
"""Calls that wait here because the peer has as many of ours as it takes."""
PIECE = 128 * 1024
"""Octets of a call's data that lie here unsent, while the rest waits for the peer to take them."""
MAX_ANSWER = 64 * 1024 * 1024
"""Octets of memory for an answer that is kept until it is whole."""
MAX_VALUES = 100_000
"""Values of such an answer."""
_SMALL = 32
_MOST_SMALL = 1024 * 1024
"""Of one value, which has a limited number of members."""


class Asking(Protocol):
    """What calls need of a session."""

    @property
    def most_data(self) -> int:
        """Octets of data that the peer holds for all requests together."""

    def request(
        self, name: bytes, args: Map, *, data: bytes | None, has_data: bool, bulk: bool, now: float
    ) -> int:
        """Ask the peer."""

    def send_data(self, request: int, octets: bytes, *, end: bool) -> None:
        """More of its data."""

    def unsent_of(self, request: int) -> int:
        """Octets of it that are queued."""

    def cancel(self, request: int, reason: bytes | None = None) -> None:
        """Take it back."""

    def consume(self, request: int, octets: int) -> None:
        """Let the peer send as much again."""


class _Call:
    __slots__ = (
        "answer",
        "args",
        "bulk",
        "data",
        "gathered",
        "name",
        "on_output",
        "on_progress",
        "on_sent",
        "on_value",
        "request",
        "values",
    )

    def __init__(
        self,
        name: bytes,
        args: Map,
        data: bytes | None,
        bulk: bool,
        on_value: OnValue | None,
        on_output: OnOutput | None,
        on_progress: OnProgress | None,
        on_sent: OnSent | None,
    ) -> None:
        self.name = name
        self.args = args
        self.data = data
        self.bulk = bulk
        self.on_value = on_value
        self.on_output = on_output
        self.on_progress = on_progress
        self.on_sent = on_sent
        self.request = 0
        """0 while it waits for its turn."""
        self.values: list[Value] | None = None
        self.gathered = 0
        self.answer: Deferred[tuple[Value, ...]]


class Stream:
    """An answer that stays open: `on_value` has its values until it ends."""

    def __init__(self, ended: "Deferred[Any]") -> None:
        self.ended = ended
        """Fires with None when the peer ends it; fails as a call does."""
        ended.addCallback(lambda _: None)

    def cancel(self) -> None:
        """No more of it: `ended` fails with CallCancelled, and nothing is told after this."""
        self.ended.cancel()


class Calls:
    """All calls of one side that have no answer yet."""

    def __init__(
        self,
        *,
        session: Asking,
        now: Callable[[], float],
        wake: Callable[[], object],
        max_answer: int,
        log: Logger,
    ) -> None:
        self._max_answer = max_answer
        self._session = session
        self._now = now
        self._wake = wake
        self._log = log
        self._asked: dict[int, _Call] = {}
        self._waiting: deque[_Call] = deque()
        self._feeds: deque[tuple[_Call, int]] = deque()
        """Calls whose data have left in part, and how much of it has."""
        self._leaving: list[_Call] = []
        """Calls of which somebody wants to know when they have left, and all of which the session has."""
        self._lost: SessionLost | None = None

    def __len__(self) -> int:
        return len(self._asked) + len(self._waiting)

    def call(
        self,
        name: str,
        args: Args | None,
        data: bytes | None = None,
        bulk: bool = False,
        on_value: OnValue | None = None,
        on_output: OnOutput | None = None,
        on_progress: OnProgress | None = None,
        on_sent: OnSent | None = None,
    ) -> "Deferred[tuple[Value, ...]]":
        """See Peer.call."""
        if self._lost is not None:
            return fail(self._lost)
        call = _Call(name.encode(), _keyed(args), data, bulk, on_value, on_output, on_progress, on_sent)
        call.answer = Deferred(lambda _: self._cancel(call))
        try:
            if self._waiting or not self._ask(call):
                self._wait(call)
        except (LocalProtocolError, TooManyCalls):
            return fail()
        return call.answer

    def _ask(self, call: _Call) -> bool:
        """Whether the peer takes one more."""
        data = call.data
        if data and not self._has_room(len(data)):
            return False
        feeds = data is not None and len(data) > PIECE
        try:
            call.request = request = self._session.request(
                call.name,
                call.args,
                data=None if feeds else data,
                has_data=feeds,
                bulk=call.bulk,
                now=self._now(),
            )
        except Busy:
            return False
        self._asked[request] = call
        if feeds:
            self._feeds.append((call, 0))
        elif call.on_sent is not None:
            self._leaving.append(call)
        self._wake()
        return True

    def _has_room(self, octets: int) -> bool:
        """Whether the peer holds so many beside what it holds for us. What is more than it ever does it may refuse itself."""
        held = sum(len(call.data or b"") for call in self._asked.values())
        return not held or held + octets <= self._session.most_data

    def _wait(self, call: _Call) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise TooManyCalls(f"{MAX_WAITING} calls wait for their turn already; let some end first")
        self._waiting.append(call)

    def resume(self) -> None:
        """There may be room: let those who wait have their turn."""
        while self._waiting:
            call = self._waiting[0]
            try:
                if not self._ask(call):
                    return
                self._waiting.popleft()
            except LocalProtocolError:
                self._waiting.popleft()
                call.answer.errback(Failure())

    def produce(self) -> bool:
        """
        Feed data of calls to the session, as fast as the peer takes them, and tell of those that have left.

        Whether there is anything new to send.
        """
        return bool(self._feeds or self._leaving) and (self._feed_all() | self._tell_sent())

    def _tell_sent(self) -> bool:
        leaving, self._leaving = self._leaving, []
        told = False
        for call in leaving:
            if self._asked.get(call.request) is not call:
                continue
            if self._session.unsent_of(call.request):
                self._leaving.append(call)
            elif call.on_sent is not None:
                told = True
                call.on_sent()
        return told

    def _feed_all(self) -> bool:
        fed = False
        for _ in range(len(self._feeds)):
            call, at = self._feeds.popleft()
            data = call.data
            if data is None or self._asked.get(call.request) is not call:
                continue
            if self._session.unsent_of(call.request) > PIECE:
                self._feeds.append((call, at))
                continue
            fed |= self._feed(call, data, at)
        return fed

    def _feed(self, call: _Call, data: bytes, at: int) -> bool:
        stop = at + PIECE
        try:
            self._session.send_data(call.request, data[at:stop], end=stop >= len(data))
        except Busy:
            self._feeds.append((call, at))
            return False
        except LocalProtocolError:
            return False  # it is over, and the event that says so lies behind what is handled now
        if stop < len(data):
            self._feeds.append((call, stop))
        elif call.on_sent is not None:
            self._leaving.append(call)
        return True

    def _cancel(self, call: _Call) -> None:
        if not call.request:
            with suppress(ValueError):  # all of them are failing just now
                self._waiting.remove(call)
        elif self._asked.pop(call.request, None) is not None:
            self._drop(call.request)
        call.answer.errback(Failure(CallCancelled("the call was taken back")))

    def _drop(self, request: int) -> None:
        """Take a call back from the peer; its answer may lie behind what is handled now."""
        with suppress(LocalProtocolError):
            self._session.cancel(request)
        self.resume()
        self._wake()

    # What comes

    def responded(self, event: Responded) -> None:
        """Values of an answer."""
        request = event.request
        call = self._asked.get(request)
        if call is None:
            self._session.consume(request, event.octets)
            return
        if call.on_value is not None:
            self._stream(call, call.on_value, event)
            values: tuple[Value, ...] = ()
        else:
            if event.octets:
                self._session.consume(request, event.octets)
            values = event.values if event.end and call.values is None else self._gather(call, event)
        if event.end and self._asked.get(request) is call:
            del self._asked[request]
            if self._waiting:
                self.resume()
            call.answer.callback(values)

    def _gather(self, call: _Call, event: Responded) -> tuple[Value, ...]:
        if call.values is None:
            call.values = []
        call.values += event.values
        call.gathered += _cost(event)
        if (call.gathered > self._max_answer or len(call.values) > MAX_VALUES) and not event.end:
            text = f"the answer is of more than {self._max_answer} octets, or {MAX_VALUES} values"
            self._give_up(call, CommandFailed("too-large", text, {}))
        return tuple(call.values) if event.end else ()

    def _give_up(self, call: _Call, error: Exception) -> None:
        del self._asked[call.request]
        self._drop(call.request)
        call.answer.errback(Failure(error))

    def _stream(self, call: _Call, on_value: OnValue, event: Responded) -> None:
        later = []
        for value in event.values:
            if self._asked.get(event.request) is not call:  # it was cancelled from within
                break
            try:
                doing = deferred_of(on_value(value))
            except Exception:  # noqa: BLE001 - it is logged; what else comes is not to suffer (N20)
                self._log.failure("a value of an answer could not be handled")
            else:
                if doing is not None:
                    later.append(doing)
        self._consume_after(later, event)

    def _consume_after(self, later: "list[Deferred[Any]]", event: Responded) -> None:
        """Any: what a handler's Deferred fires with is nobody's."""
        left = len(later)

        def done(_: object) -> None:
            nonlocal left
            left -= 1
            if left <= 0 and event.octets and self._lost is None:
                self._session.consume(event.request, event.octets)
                self._wake()

        for doing in later:
            doing.addErrback(lambda failure: self._log.failure("a value could not be handled", failure))
            doing.addBoth(done)
        if not later:
            done(None)

    def failed(self, event: Failed) -> None:
        """The peer refused a call."""
        call = self._asked.pop(event.request, None)
        if call is not None:
            self.resume()
            error = event.error
            call.answer.errback(Failure(CommandFailed(_text(error.code), error.text, _named(error.details))))

    def output(self, event: Output) -> None:
        """Text about a call."""
        call = self._asked.get(event.request)
        if call is not None and call.on_output is not None:
            call.on_output(" ".join(atom.text for atom in event.atoms))

    def progress(self, event: Progress) -> None:
        """How far a call is."""
        call = self._asked.get(event.request)
        if call is not None and call.on_progress is not None:
            call.on_progress(event)

    def aborted(self, event: Aborted, lost: SessionLost) -> bool:
        """A call will have no answer; whether it is ours."""
        call = self._asked.pop(event.request, None)
        if call is not None:
            call.answer.errback(Failure(lost))
        return call is not None

    def close(self, lost: SessionLost) -> None:
        """The session ends: nothing new begins, and what has not begun never will."""
        self._lost = lost
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.answer.called:  # one that failed may have cancelled others
                call.answer.errback(Failure(lost))

    def lose(self, lost: SessionLost) -> None:
        """There is no session any more: whatever has no answer fails, once."""
        self.close(lost)
        asked, self._asked = self._asked, {}
        for call in asked.values():
            if not call.answer.called:
                call.answer.errback(Failure(lost))


def _cost(event: Responded) -> int:
    """Octets of memory that the values of an event take, roughly: small things take far more than they are on the wire."""
    plain = sum(len(value) for value in event.values if type(value) in (bytes, str))
    others = sum(type(value) not in (bytes, str) for value in event.values)
    return event.size + min(_SMALL * max(0, event.size - plain), _MOST_SMALL * others)


def _keyed(args: Args | None) -> Map:
    """Maps travel with octets for keys."""
    if not args:
        return {}
    return {key.encode() if isinstance(key, str) else key: value for key, value in args.items()}


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


def _named(details: Map) -> dict[str, Value]:
    return {_text(key).replace("-", "_"): value for key, value in details.items()}
