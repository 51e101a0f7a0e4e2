"""
Notifications where no session can be had: the server is asked again and again, and holds each answer back until there is
something to say, or 50 s have passed (spec, 5.11).

The handlers are those of the session, and cannot tell the difference. Asking goes over a connection of its own, so that
exchanges do not wait behind it; it rests while there is a session or one is about to be tried for, and where the server
does not know the question it is put again after an hour. What the server says of sessions is heeded: one that had none and now
has them is tried at once.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ...runtime.database import DatabaseError
from ...runtime.doors import following
from ...runtime.session.subscriptions import Subscriptions
from ...wire.cbor import Value
from ...wire.errors import Malformed
from ...wire.http import COMPUTER_ID, is_credential
from ...wire.session.agreement import Profile
from ...wire.session.events import Broken, Failed, Map, Responded
from ...wire.session.identity import NONCE_OCTETS, Role
from ...wire.session.post import MEDIA_TYPE, POST_PATH, AnyEvent, Post
from ...wire.session.subscription import MAX_WAIT, WAIT
from ..backoff import Backoff
from ..carriage.address import Address
from ..carriage.answers import Answer
from ..carriage.post import Letter, PostFailed
from .course import BASE, CAP, HOURLY, State
from .keeper import Identity

NOTHING_TO_HEAR = 60.0
"""Seconds until it is looked again whether there is anything to ask for."""
MAX_ANSWER_OCTETS = 3 * 1024 * 1024
"""Of an answer: each of 32 topics may have a value of 64 KiB."""
LEAST = 1.0
"""Seconds from one question to the next, however quick the answer."""
_UNKNOWN_THERE = (404, 405, 406, 415)


class Postman(Protocol):
    """What carries letters."""

    def post(self, letter: Letter) -> Awaitable[Answer]:
        """Raises PostFailed."""

    async def stop(self) -> None:
        """End what is under way."""


class Sessions(Protocol):
    """The keeper, as far as it is needed."""

    @property
    def state(self) -> State:
        """Where its course stands."""

    @property
    def is_resting(self) -> bool:
        """Whether no session is to be had for a while."""

    def hurry(self) -> None:
        """Try for a session now."""


def poll_path(address: Address) -> str:
    """Beside the exchange's."""
    return address.target.partition("?")[0].rpartition("/")[0] + POST_PATH


class Poll:
    """Asks while there is no session. `within`: seconds for which the server may hold an answer back."""

    log = Logger()

    def __init__(
        self,
        *,
        poster: Postman,
        path: str,
        sessions: Sessions,
        subscriptions: Subscriptions,
        identity: Callable[[], Awaitable[Identity]],
        clock: IReactorTime,
        random: Random,
        incarnation: bytes,
        new_octets: Callable[[int], bytes],
        within: float = MAX_WAIT,
    ) -> None:
        self._poster = poster
        self._path = path
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._find_identity = identity
        self._clock = clock
        self._random = random
        self._incarnation = incarnation
        self._new_octets = new_octets
        self._within = min(within, MAX_WAIT)
        self._backoff = Backoff(base=BASE, cap=CAP, random=random)
        self._had_sessions: bool | None = None
        self._is_running = self._is_stopped = False
        self._running: Deferred[None] = succeed(None)
        self._nap: Deferred[None] | None = None

    def look(self) -> None:
        """Something changed with the session."""
        if self._is_wanted() and not self._is_running:
            self._is_running = True
            self._running = Deferred.fromCoroutine(self._ask_on())
            self._running.addErrback(self._ended)
        elif self._is_running and self._sessions.state is State.OPEN:
            self._running.cancel()
        elif self._nap is not None:
            self._nap.callback(None)

    async def stop(self) -> None:
        """Ask no more."""
        self._is_stopped = True
        self._running.cancel()
        await following(self._running)
        await self._poster.stop()

    def _is_wanted(self) -> bool:
        return not self._is_stopped and self._sessions.is_resting

    def _ended(self, failure: object) -> None:
        self.log.failure("notifications are not asked for any more", failure)  # type: ignore[arg-type]

    async def _ask_on(self) -> None:
        try:
            while self._is_wanted():
                begun = self._clock.seconds()
                pause = await self._ask()
                if pause is None:
                    await self._doze()
                else:
                    least = begun + LEAST - self._clock.seconds()
                    await deferLater(self._clock, max(pause, least, 0.0))
        except CancelledError:
            pass
        finally:
            self._is_running = False

    async def _doze(self) -> None:
        """There is nothing to ask for: wait until something changes with the session or the identity, or for a while."""
        self._nap = Deferred()
        waking = self._clock.callLater(NOTHING_TO_HEAR, self._nap.callback, None)
        try:
            await self._nap
        finally:
            self._nap = None
            if waking.active():
                waking.cancel()

    async def _ask(self) -> float | None:
        """One question; seconds until the next, None when there is none to put now."""
        try:
            identity = await self._find_identity()
        except DatabaseError:
            return None
        args = self._subscriptions.wait_args(self._within)
        if args is None or identity.secure_id is None or not is_credential(identity.secure_id):
            return None
        post, letter = self._letter(args, identity.secure_id)
        try:
            answer = await self._poster.post(letter)
        except PostFailed as failure:
            return self._failed(failure.reason)
        return self._heed(post, answer)

    def _letter(self, args: Map, secure_id: bytes) -> tuple[Post, Letter]:
        us = Profile(incarnation=self._incarnation, nonce=self._new_octets(NONCE_OCTETS))
        post = Post(role=Role.CLIENT, us=us)
        post.request(WAIT.encode(), args)
        form = MEDIA_TYPE.encode()
        headers = {"Content-Type": form, "Accept": form, COMPUTER_ID: secure_id}
        return post, Letter(path=self._path, headers=headers, body=post.data_to_send())

    def _heed(self, post: Post, answer: Answer) -> float:
        if answer.status in _UNKNOWN_THERE:
            self.log.info("the server does not notify by POST ({status})", status=answer.status)
            return HOURLY * self._random.uniform(0.8, 1.2)
        if answer.status != 200 or answer.media_type != MEDIA_TYPE or not answer.whole:
            return self._failed(f"it answered {answer.status}, {answer.media_type or 'without a media type'}")
        now = self._clock.seconds()
        events = [*post.receive_data(answer.body, now), *post.receive_end(now)]
        self._climb(post.upgrade)
        return self._hear(events)

    def _hear(self, events: list[AnyEvent]) -> float:
        values: list[Value] = []
        is_whole = False
        for event in events:
            if isinstance(event, Responded):
                values += event.values
                is_whole = event.end
            elif isinstance(event, Failed):
                return self._failed(event.error.text)
            elif isinstance(event, Broken):
                return self._failed(event.text)
        if not is_whole:
            return self._failed("its answer was cut")
        try:
            self._subscriptions.heard(values)
        except Malformed as error:
            return self._failed(str(error))
        self._backoff.succeeded()
        return 0.0

    def _climb(self, has_sessions: bool | None) -> None:
        """A server that begins to take sessions gets one tried."""
        if has_sessions and self._had_sessions is False:
            self._sessions.hurry()
        if has_sessions is not None:
            self._had_sessions = has_sessions

    def _failed(self, cause: str) -> float:
        if self._backoff.steps == 0:
            self.log.info("no notifications: {cause}", cause=cause)
        return self._backoff.failed()
