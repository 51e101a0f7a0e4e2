"""
The exchange over the session, and by POST whenever there is none.

The same payload goes either way, and the server takes it by the same rules; so the two may be mixed from one exchange to
the next. When a session ends under an exchange, nobody knows whether the server took it. It is repeated by POST at once:
its messages are numbered, so those that were taken are passed over; its token may have been seen, and one that is seen
twice is the mark of a clone, so it stays behind (docs/decisions/0003-repeated-post.md).

What is given in order arrives in order: an exchange is sent when all of the one before it has left, and while one goes by
POST, those behind it do too. Only what follows another
payload that is under way does not go by POST: its answer would tell again what the first one's tells. It fails instead, and
what it held goes with the next exchange.
"""

from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...runtime.session.errors import CallCancelled, CommandFailed, SessionError
from ...runtime.session.later import Moment
from ...runtime.session.peer import Peer
from ...runtime.writer import Writer
from ...wire.cbor import Limits, decode, encode
from ...wire.errors import LocalProtocolError, RemoteProtocolError
from ...wire.payload import ServerPayload
from ...wire.session.encodings import WORTH_PACKING
from ..carriage.answers import MAX_RETRY_AFTER
from ..carriage.transport import Answered, Refused, Reply, Request, Transport, Unreachable
from ..carriage.wording import printable

T = TypeVar("T")
EXCHANGE = "exchange"
DEPTH = 4
"""Exchanges that may be under way over a session."""
_OF_THE_WAY = frozenset({"unknown-command", "too-large"})
"""Refusals of the session, where they come without the server's own status: it has not seen what was sent."""


class Sessions(Protocol):
    """Where there may be a session."""

    def peer_as(self, secure_id: bytes | None) -> Peer | None:
        """The server, over a session in this name."""

    def reached(self) -> None:
        """An exchange got through by POST after one that did not."""


class Fallback(Transport, Protocol):
    """The other way."""

    async def stop(self) -> None:
        """End what is under way."""


class SessionTransport:
    """A Transport over whichever session there is. `within`: seconds that an answer may take."""

    log = Logger()

    def __init__(
        self,
        *,
        sessions: Sessions,
        fallback: Fallback,
        worker: Writer,
        clock: IReactorTime,
        within: float,
        max_answer_octets: int,
    ) -> None:
        self._sessions = sessions
        self._fallback = fallback
        self._worker = worker
        self._clock = clock
        self._within = within
        self._max_answer_octets = max_answer_octets
        self._turn = DeferredLock()
        self._posting = 0
        self._is_lost = False
        self._name: bytes | None = None

    @property
    def depth(self) -> int:
        """See Transport."""
        if self._posting or self._sessions.peer_as(self._name) is None:
            return self._fallback.depth
        return DEPTH

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        self._name = request.secure_id
        if self._has_session(request):
            reply = await self._converse(request)
            if reply is not None:
                return reply
            request = evolve(request, token=None)
        if request.follows:
            return Unreachable(reason=_ENDED)
        self._posting += 1
        try:
            reply = await self._fallback.exchange(request)
        finally:
            self._posting -= 1
        self._note(reply)
        return reply

    def _note(self, reply: Reply) -> None:
        """What kept exchanges from getting through kept sessions too, and is gone when one does."""
        if isinstance(reply, Unreachable):
            self._is_lost = True
        elif isinstance(reply, Answered) and self._is_lost:
            self._is_lost = False
            self._sessions.reached()

    async def stop(self) -> None:
        """End what is under way by POST; the session is its keeper's."""
        await self._fallback.stop()

    def _has_session(self, request: Request) -> bool:
        return not self._posting and self._sessions.peer_as(request.secure_id) is not None

    async def _converse(self, request: Request) -> Reply | None:
        """None: it has to go the other way."""
        octets = await self._worker.run(_encode, request)
        try:
            called = await self._call(request, octets)
            if called is None:
                return None
            values = await called.wait_for(called.answered)
        except CommandFailed as error:
            return None if _is_of_the_way(error) else _refused(error)
        except TimeoutError:
            return Unreachable(
                reason=f"the server did not answer over the session within {self._within:g} s; see its log"
            )
        except CallCancelled as error:
            raise CancelledError from error
        except (SessionError, LocalProtocolError) as error:
            self.log.info("an exchange goes by POST: {reason}", reason=str(error))
            return None
        return await self._worker.run(_read, values, self._max_answer_octets)

    async def _call(self, request: Request, octets: bytes) -> "_Called | None":
        """A call that has left; None without a session."""
        await self._turn.acquire()
        try:
            peer = self._sessions.peer_as(request.secure_id)
            if peer is None or self._posting:
                return None
            called = _Called()
            bulk = len(octets) >= WORTH_PACKING
            answer = peer.call(EXCHANGE, _arguments(request), data=octets, bulk=bulk, on_sent=called.leave)
            called.begin(answer.addTimeout(self._within, self._clock, _give_up))
            await called.wait_for(called.left)
            return called
        finally:
            self._turn.release()


class _Called:
    """A call on its way: when it has left, and when it has an answer, or neither any more. Any: values of whatever kind."""

    def __init__(self) -> None:
        self.left = Moment[None]()
        self.answered = Moment[tuple[Any, ...]]()
        self._take_back: Callable[[], None] = lambda: None

    def begin(self, answer: "Deferred[tuple[Any, ...]]") -> None:
        self._take_back = answer.cancel
        answer.addBoth(self._end)

    async def wait_for(self, moment: "Moment[T]") -> T:
        """Whoever does not want to wait any more takes the call back."""
        try:
            return await moment.when()
        except CancelledError:
            self._take_back()
            raise

    def leave(self) -> None:
        self.left.happen(None)

    def _end(self, outcome: "tuple[Any, ...] | Failure") -> None:
        self.answered.happen(outcome)
        self.leave()


def _give_up(_: object, seconds: float) -> NoReturn:
    raise TimeoutError(f"no answer within {seconds:g} s")


def _encode(request: Request) -> bytes:
    """In the worker: the payload."""
    return encode(request.payload.to_map())


def _arguments(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {"api": bytes(request.payload.server_api)}
    if request.token is not None:
        found["token"] = request.token
    if request.follows:
        found["quiet"] = True
    return found


def _read(values: tuple[Any, ...], limit: int) -> Reply:
    """In the worker: what the server says."""
    octets = values[0] if len(values) == 1 else None
    if type(octets) is not bytes:
        return Unreachable(reason=f"the server's answer is no payload; {_SPOILT}")
    try:
        return Answered(payload=ServerPayload.from_map(decode(octets, Limits(octets=limit))))
    except RemoteProtocolError as error:
        return Unreachable(reason=f"the server's answer cannot be used: {printable(str(error))}; {_SPOILT}")


def _is_of_the_way(error: CommandFailed) -> bool:
    """Whether only the session did not take it: then the other way will tell what the server says."""
    return error.code in _OF_THE_WAY and "status" not in error.details


_ENDED = "the session ended under it; what it held goes with the next exchange"
_SPOILT = "see the server's log, and check that server and agent are of versions that go together"


def _refused(error: CommandFailed) -> Refused:
    """A command error with the status that a POST would have had."""
    status, after = error.details.get("status"), error.details.get("retry_after")
    is_wish = isinstance(after, int | float) and after > 0
    return Refused(
        status=status if type(status) is int else 503,
        reason=printable(error.text or error.code, 600),
        retry_after=float(min(after or 0, MAX_RETRY_AFTER)) if is_wish else None,
    )
