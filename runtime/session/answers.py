"""
The peer's calls to us, and the answers of our handlers.

A handler is called when all of a call has come, one after the other in that order. What it gives at once is sent at
once; a Deferred or a coroutine is waited for; an iterator is asked for its next value only when the one before has been
taken (spec/wire.md Z24). However it ends, the peer is answered exactly once (N21).
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...wire.cbor import Value
from ...wire.errors import LocalProtocolError, RemoteProtocolError
from ...wire.session.events import Aborted, Atom, Cancelled, Map, Requested, atom_of
from ...wire.session.outcome import NotActive, Unencodable, details_of
from .errors import CallCancelled, CommandError, Details
from .later import deferred_of

Answer = Iterable[Value] | Awaitable[Iterable[Value] | None] | None
"""None answers without a value. An iterator is drawn from as fast as the peer takes the values."""
Handler = Callable[["Asked"], Answer]
"""
Answers a call, at once or later. It may be called again before it is through with an earlier call.

What it raises: CommandError is the peer's to see, and so is what is wrong with its arguments (RemoteProtocolError).
Anything else is logged here and becomes the peer's `internal`. When the call is taken back or the session lost, a
Deferred or coroutine is cancelled.
"""

MAX_RUNNING = 128
"""Handlers at work for one peer, those included whose call was taken back; the next call is answered `busy`."""
QUANTUM = 64 * 1024
"""Octets of an answer that may lie here unsent before its iterator is asked for more."""


class Answering(Protocol):
    """What answers need of a session."""

    def unsent_of(self, request: int) -> int:
        """Octets of an answer that are queued."""

    def respond(self, request: int, values: Iterable[Value], *, end: bool, bulk: bool = False) -> None:
        """Values of an answer."""

    def fail(self, request: int, code: bytes, text: str, details: Map | None = None, /) -> None:
        """Refuse."""

    def output(self, request: int, atoms: Iterable[Atom]) -> None:
        """Text about it."""

    def progress(self, request: int, topic: bytes, position: int, total: int) -> None:
        """How far it is."""


class Asked:
    """A call of the peer to us."""

    __slots__ = (
        "_answers",
        "_work",
        "args",
        "bulk",
        "data",
        "is_over",
        "is_standing",
        "name",
        "request",
    )

    def __init__(self, answers: "Answers", event: Requested) -> None:
        self._answers = answers
        self._work: Deferred[Any] | None = None
        self.request = event.request
        self.name: str = event.name.decode("utf-8", "backslashreplace")
        self.args: Map = event.args
        """With octets for keys, as they travel. Nothing about them has been checked."""
        self.data: bytes | None = event.data
        self.bulk = False
        """Whether the answer is worth packing: set it for much data without secrets in it."""
        self.is_over = False
        """Whether it is answered, taken back or lost, so that nothing more can be said."""
        self.is_standing = False
        """Whether the answer is open only for what may come: a goodbye, of either side, ends it and waits for nothing."""

    def send(self, value: Value) -> None:
        """
        One value of the answer, now; what the handler gives in the end comes behind.

        Raises CallCancelled when the call is over, LocalProtocolError when the value does not travel.
        """
        self._answers.send(self, value)

    def output(self, text: str) -> None:
        """Text for the people at the other end, beside the answer. Raises CallCancelled."""
        self._answers.output(self, text)

    def progress(self, topic: str, position: int, total: int) -> None:
        """How far it is; a position of -1 ends the topic. Raises CallCancelled."""
        self._answers.progress(self, topic, position, total)

    @property
    def is_clear(self) -> bool:
        """Whether all that was said has left, so that a peer who is slow does not make it pile up here."""
        return self._answers.is_clear(self)

    def when_clear(self, callback: Callable[[], object]) -> None:
        """Call this, once, as soon as `is_clear`, but never from within this; not at all when the call is over."""
        self._answers.when_clear(self, callback)

    def stop(self) -> None:
        """Nobody waits for the answer any more: say so to those who make it."""
        self.is_over = True
        if self._work is not None:
            self._work.cancel()

    def follow(self, work: "Deferred[Any]") -> None:
        """This makes the answer. Any: it may give what is no answer."""
        self._work = work


class Answers:
    """All calls of one peer that we have not answered yet."""

    def __init__(
        self,
        *,
        session: Answering,
        handlers: Mapping[str, Handler],
        is_paused: Callable[[], bool],
        wake: Callable[[], object],
        log: Logger,
    ) -> None:
        self._session = session
        self._handlers = {name.encode(): handler for name, handler in handlers.items()}
        self._is_paused = is_paused
        self._wake = wake
        self._log = log
        self._asked: dict[int, Asked] = {}
        self._running = 0
        self._draws: deque[tuple[Asked, Iterator[Value]]] = deque()
        self._clearing: list[tuple[Asked, Callable[[], object]]] = []

    def __len__(self) -> int:
        return len(self._asked)

    # What comes

    def requested(self, event: Requested) -> None:
        """A call, complete."""
        handler = self._handlers.get(event.name)
        if handler is None or self._running >= MAX_RUNNING:
            self._turn_away(event, handler)
            return
        asked = self._asked[event.request] = Asked(self, event)
        try:
            answer = handler(asked)
        except Exception:  # noqa: BLE001 - _refuse tells the peer, and the log what is not the peer's to see
            self._refuse(asked, Failure())
            return
        if type(answer) is list or type(answer) is tuple:
            self._end(asked, answer)
        else:
            self._follow(asked, answer)

    def cancelled(self, event: Cancelled) -> None:
        """The peer takes a call back. It has its answer from the session already."""
        asked = self._asked.pop(event.request, None)
        if asked is not None:
            asked.stop()

    def aborted(self, event: Aborted) -> bool:
        """A call cannot be answered any more; whether it was the peer's."""
        asked = self._asked.pop(event.request, None)
        if asked is not None:
            asked.stop()
        return asked is not None

    def part(self) -> None:
        """Goodbye was said: what only stands open ends, so that it is not waited for."""
        for asked in tuple(self._asked.values()):
            if asked.is_standing:
                self._end(asked, ())
                asked.stop()

    def lose(self) -> None:
        """There is no session any more."""
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.stop()

    def _turn_away(self, event: Requested, handler: Handler | None) -> None:
        name = event.name[:64].decode("utf-8", "backslashreplace")
        if handler is None:
            self._fail(event.request, "unknown-command", f"there is no command `{name}` here")
        else:
            self._fail(event.request, "busy", f"{MAX_RUNNING} calls are at work; ask later")

    # What handlers give

    def _follow(self, asked: Asked, answer: Any) -> None:  # Any: handlers are not all typed
        later = deferred_of(answer)
        if later is None:
            self._give(asked, answer)
            return
        self._running += 1
        asked.follow(later)
        later.addBoth(self._worked, asked)

    def _worked(self, answer: Any, asked: Asked) -> None:
        self._running -= 1
        if not asked.is_over:
            if isinstance(answer, Failure):
                self._refuse(asked, answer)
            else:
                self._give(asked, answer)
            self._wake()
        elif isinstance(answer, Failure) and not answer.check(CancelledError, CallCancelled):
            self._log.failure("`{command}` failed when it was over already", answer, command=asked.name)

    def _give(self, asked: Asked, answer: Any) -> None:
        if asked.is_over:
            return
        if answer is None:
            self._end(asked, ())
        elif isinstance(answer, Iterator):
            self._draws.append((asked, answer))
            self._wake()
        elif isinstance(answer, Iterable) and not isinstance(answer, (str, bytes, Mapping)):
            self._end_with(asked, answer)
        else:
            text = f"`{asked.name}` answered {type(answer).__name__}, which is no row of values"
            self._refuse(asked, Failure(TypeError(text)))

    def _end_with(self, asked: Asked, answer: Iterable[Value]) -> None:
        """What kind of row it is nobody knows: going through it may fail."""
        try:
            values = tuple(answer)
        except Exception:  # noqa: BLE001 - as in `requested`
            self._refuse(asked, Failure())
        else:
            self._end(asked, values)

    def _end(self, asked: Asked, values: Sequence[Value]) -> None:
        if asked.is_over:
            return
        try:
            self._session.respond(asked.request, values, end=True, bulk=asked.bulk)
        except NotActive:
            pass  # that it is taken back lies behind what is handled now
        except LocalProtocolError:
            self._log.failure("the answer to `{command}` does not travel", command=asked.name)
        self._leave(asked)

    def _refuse(self, asked: Asked, failure: Failure) -> None:
        """Any exception at all becomes a refusal."""
        if asked.is_over:
            return
        self._leave(asked)
        error = failure.value
        if isinstance(error, CommandError):
            self._fail(asked.request, error.code, error.text, error.details)
        elif isinstance(error, RemoteProtocolError):
            self._fail(asked.request, error.code, str(error))
        else:
            self._log.failure("`{command}` failed here", failure, command=asked.name)
            self._fail(asked.request, "internal", "it failed for a reason that the log there names")

    def _fail(self, request: int, code: str, text: str, details: Details | None = None) -> None:
        try:
            self._session.fail(request, code.encode(), text, details_of(dict(details)) if details else None)
        except NotActive:
            pass  # as in `_end`
        except LocalProtocolError:
            self._log.failure("a refusal does not travel: {code}", code=code)
            self._session.fail(request, b"internal", "it was refused, and the log there has more")

    def _leave(self, asked: Asked) -> None:
        asked.is_over = True
        self._asked.pop(asked.request, None)
        self._wake()

    # What handlers say meanwhile

    def send(self, asked: Asked, value: Value) -> None:
        """See Asked.send."""
        with self._saying(asked):
            self._session.respond(asked.request, (value,), end=False, bulk=asked.bulk)

    def output(self, asked: Asked, text: str) -> None:
        """See Asked.output."""
        with self._saying(asked):
            self._session.output(asked.request, (atom_of(text),))

    def progress(self, asked: Asked, topic: str, position: int, total: int) -> None:
        """See Asked.progress."""
        with self._saying(asked):
            self._session.progress(asked.request, topic.encode(), position, total)

    @contextmanager
    def _saying(self, asked: Asked) -> Iterator[None]:
        try:
            if asked.is_over:
                raise NotActive
            yield
        except NotActive:
            asked.is_over = True  # and the event that says so lies behind what is handled now
            raise CallCancelled(f"nobody waits for the answer of `{asked.name}` any more") from None
        except Unencodable:
            self._leave(asked)
            raise
        self._wake()

    # As fast as the peer takes it

    def is_clear(self, asked: Asked, within: int = 0) -> bool:
        """Whether at most so much of an answer lies here unsent."""
        return not self._is_paused() and self._session.unsent_of(asked.request) <= within

    def when_clear(self, asked: Asked, callback: Callable[[], object]) -> None:
        """See Asked.when_clear."""
        self._clearing.append((asked, callback))
        self._wake()

    def produce(self) -> bool:
        """Room was made: say more, if there is more to say; whether there was."""
        return bool(self._draws or self._clearing) and (self._draw() | self._clear())

    def _draw(self) -> bool:
        drawn = False
        for _ in range(len(self._draws)):
            asked, values = self._draws.popleft()
            if asked.is_over:
                continue
            while self.is_clear(asked, QUANTUM):
                drawn = True
                if not self._draw_one(asked, values):
                    break
            if not asked.is_over:
                self._draws.append((asked, values))
        return drawn

    def _draw_one(self, asked: Asked, values: Iterator[Value]) -> bool:
        """Whether there may be more."""
        try:
            self.send(asked, next(values))
        except StopIteration:
            self._end(asked, ())
        except CallCancelled:
            pass
        except Unencodable:
            self._log.failure("a value of `{command}` does not travel", command=asked.name)
        except Exception:  # noqa: BLE001 - as in `requested`
            self._refuse(asked, Failure())
        return not asked.is_over

    def _clear(self) -> bool:
        waiting, self._clearing = self._clearing, []
        cleared = False
        for asked, callback in waiting:
            if asked.is_over:
                continue
            if self.is_clear(asked):
                cleared = True
                self._call_back(callback, asked)
            else:
                self._clearing.append((asked, callback))
        return cleared

    def _call_back(self, callback: Callable[[], object], asked: Asked) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - as in `requested`
            self._refuse(asked, Failure())
