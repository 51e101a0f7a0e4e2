"""
The light poll of Landscape's protocol (landscape 1.10): is there anything for us? If so, an exchange comes at once.

A ping shows the computer's public number and nothing else. It goes at the server's interval, counted from the last ping or the
last message that came, whichever is later; only the first is at a random moment, so that machines which start together do
not ask together. While pings fail they become rarer, up to `MAX_PATIENCE` intervals; the cause is logged when it changes, and is in
the status.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.database import DatabaseError
from ..runtime.writer import Writer
from ..wire.cbor import Limits
from ..wire.encoding import BPICKLE
from ..wire.errors import RemoteProtocolError
from ..wire.local import EXCHANGE_DONE
from .bus import Bus, Details
from .carriage.answers import Answer, body_of
from .carriage.post import Letter, PostFailed
from .carriage.wording import printable
from .schedule import Urgency, clamp_interval
from .store.records import State
from .store.store import Store

MAX_PATIENCE = 16
MAX_ANSWER_OCTETS = 4_096
_LIMITS = Limits(octets=MAX_ANSWER_OCTETS, items=64, depth=4)


class Post(Protocol):
    """What of a Poster is needed here."""

    async def post(self, letter: Letter) -> Answer:
        """Raises PostFailed."""

    async def stop(self) -> None:
        """Later letters fail at once."""


@frozen(kw_only=True)
class PingStatus:
    """How the pings go. `at`: when the last one was answered, in seconds since 1970."""

    interval: float
    pings: int
    at: float | None
    failing: str | None


class Ping:
    """Pings from `start` to `stop`; `interval` is in force until the server sets one."""

    log = Logger()

    def __init__(
        self,
        *,
        poster: Post,
        store: Store,
        writer: Writer,
        bus: Bus,
        ask: Callable[[Urgency], None],
        clock: IReactorTime,
        now: Callable[[], float],
        random: Random,
        interval: float,
    ) -> None:
        """`now` tells the time of day, for the status."""
        self._poster = poster
        self._store = store
        self._writer = writer
        self._ask = ask
        self._clock = clock
        self._now = now
        self._random = random
        self._configured = self._interval = interval
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False
        self._failures = self._pings = 0
        self._at: float | None = None
        self._cause: str | None = None
        bus.listen(EXCHANGE_DONE, self._exchanged)

    @property
    def status(self) -> PingStatus:
        """How the pings go."""
        return PingStatus(interval=self._interval, pings=self._pings, at=self._at, failing=self._cause)

    def start(self) -> None:
        """The first ping comes within an interval."""
        self._arm(self._random.uniform(0, self._interval))

    async def stop(self) -> None:
        """No more pings; the one under way is given up."""
        self._stopped = True
        self._disarm()
        await self._poster.stop()
        if self._running is not None:
            self._running.cancel()

    async def _exchanged(self, details: Details) -> None:
        """The server may have set the interval; and what it had for us it has said."""
        if self._timer is None or not details.get("received"):
            return
        try:
            self._use_interval(await self._writer.run(self._store.state))
        except DatabaseError as error:
            self.log.debug("no interval for pings: {error}", error=str(error))
        if self._timer is not None:
            self._arm(self._interval)

    def _use_interval(self, state: State) -> None:
        self._interval = clamp_interval(
            self._configured if state.ping_interval is None else state.ping_interval
        )

    def _arm(self, delay: float) -> None:
        self._disarm()
        if not self._stopped:
            self._timer = self._clock.callLater(delay, self._due)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _due(self) -> None:
        self._timer = None
        self._running = Deferred.fromCoroutine(self._ping())
        self._running.addErrback(_forget_cancellation)
        self._running.addErrback(lambda failure: self.log.failure("a ping broke", failure))
        self._running.addCallback(lambda _: self._next())

    def _next(self) -> None:
        self._running = None
        self._arm(self._interval * min(2**self._failures, MAX_PATIENCE))

    async def _ping(self) -> None:
        try:
            state = await self._writer.run(self._store.state)
        except DatabaseError as error:
            self._failed(str(error))
            return
        self._use_interval(state)
        if state.secure_id is None or state.insecure_id is None:
            return
        try:
            waits = _read(await self._poster.post(_letter(state.insecure_id)))
        except (PostFailed, RemoteProtocolError) as error:
            self._failed(str(error))
            return
        self._succeeded()
        if waits:
            self.log.debug("the server has messages for us")
            self._ask(Urgency.AT_ONCE)

    def _failed(self, cause: str) -> None:
        self._failures = min(self._failures + 1, MAX_PATIENCE)
        if cause != self._cause:
            self.log.warn("the server cannot be pinged: {cause}", cause=cause)
        self._cause = cause

    def _succeeded(self) -> None:
        if self._cause is not None:
            self.log.info("the server can be pinged again")
        self._failures, self._cause = 0, None
        self._pings += 1
        self._at = self._now()


def _forget_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)


def _letter(insecure_id: int) -> Letter:
    return Letter(
        headers={
            "Accept": b"*/*",
            "Accept-Encoding": b"gzip,deflate",
            "Content-Type": b"application/x-www-form-urlencoded",
        },
        body=b"insecure_id=%d" % insecure_id,
    )


def _read(answer: Answer) -> bool:
    """Whether messages wait. Raises RemoteProtocolError for what is no answer to a ping."""
    if answer.status != 200:
        raise RemoteProtocolError(
            "refused", f"the answer is {answer.status} {answer.phrase}; check `ping-url` in [server]"
        )
    found: Any = BPICKLE.decode(body_of(answer, _LIMITS.octets), _LIMITS)
    if type(found) is not dict or type(found.get("messages")) is not bool:
        words = printable(repr(answer.body[:60]))
        raise RemoteProtocolError(
            "malformed", f"{words} is no answer to a ping; check `ping-url` in [server]"
        )
    return found["messages"] is True
