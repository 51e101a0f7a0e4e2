"""
At most one session, and always on the way to one.

The keeper opens a channel, says hello with the identity that the store has, proves it, and from then on holds the session
until it ends; then the course says when to try again. What rides on it is others' business: they ask for `peer` and go by
POST while there is none.

An identity that changes (the machine was registered, or is not known any more) ends the session at once, for what travels
over it travels in that name. Of all that a session teaches nothing is kept over a restart: attempts are counted, and the
last decision remembered, within one life of the process, which is what the incarnation stands for.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from random import Random
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.logger import Logger

from ...runtime.database import DatabaseError
from ...runtime.doors import following, returns_deferred
from ...runtime.session.answers import Handler
from ...runtime.session.errors import SessionLost, SessionRefused
from ...runtime.session.line import SessionLine
from ...runtime.session.peer import Ending, Peer
from ...runtime.session.subscriptions import Subscriptions
from ...wire.session.agreement import Profile
from ...wire.session.hello import Hello
from ...wire.session.identity import AGENT, NONCE_OCTETS, SERVER, Evidence, Role
from ...wire.session.limits import KIB, Limits
from ...wire.session.opening import Denied, Later, NotHere, NoUpgrade
from ...wire.session.session import Session
from ..carriage.wording import printable
from .course import Course, State
from .opener import Channel, Failing

_LIMITS = Limits(data=64 * KIB, request=64 * KIB, partial=4, streams=2)
"""What the server asks is short; what it answers is not."""
STOP_WITHIN = 3.0
"""Seconds that a goodbye may take when the broker stops."""
BARRING = frozenset({"version", "identity", "proof", "clone", "revoked"})
"""Why the server will have no session with us for now, whatever we do."""
RESTING_AFTER = 3
"""Failures in a row, after which it may take long until there is a session."""
REPLACED = "replaced"
NEW_IDENTITY = "identity"
STOPPING = "shutdown"
_STEPS = {  # but for `identity`: of that the server says itself what is to be done
    "clone": "another machine uses this one's identity: let one of them register anew",
    "proof": "the next exchange settles who this machine is",
    "version": "bring agent and server to versions that go together",
    "revoked": "the next exchange settles who this machine is",
}


@frozen(kw_only=True)
class Identity:
    """Who we are to the server; both None before we are registered."""

    secure_id: bytes | None
    insecure_id: int | None

    @property
    def id(self) -> str | None:
        """As a session says it; it has to be proved."""
        is_known = self.secure_id is not None and self.insecure_id is not None
        return f"{AGENT}{self.insecure_id}" if is_known else None


class Opening(Protocol):
    """What opens channels."""

    def open(
        self, build: Callable[[Channel], IProtocol], *, location: str | None = None
    ) -> Awaitable[Channel | Failing]:
        """See Opener."""


class Keeper:
    """
    Keeps a session from `start` to `stop`.

    `handlers` answer what the server asks. `on_live` is told whenever there is a session, and whenever there is none any
    more; `on_change` whenever an attempt has come to an end, good or bad. `new_octets` draws nonces.
    """

    log = Logger()

    def __init__(
        self,
        *,
        opener: Opening,
        course: Course,
        clock: IReactorTime,
        random: Random,
        identity: Callable[[], Awaitable[Identity]],
        handlers: Mapping[str, Handler],
        subscriptions: Subscriptions,
        incarnation: bytes,
        new_octets: Callable[[int], bytes],
        wanted: str | None = None,
        limits: Limits = _LIMITS,
        on_live: Callable[[bool], None] = lambda is_live: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._opener = opener
        self._course = course
        self._clock = clock
        self._random = random
        self._find_identity = identity
        self._handlers = handlers
        self._subscriptions = subscriptions
        self._incarnation = incarnation
        self._new_octets = new_octets
        self._wanted = wanted
        self._limits = limits
        self._on_live = on_live
        self._on_change = on_change
        self._attempts = 0
        self._last: tuple[bytes, int] | None = None
        self._location: str | None = None
        self._identity: Identity | None = None
        self._peer: Peer | None = None
        self._line: SessionLine | None = None
        self._is_live = False
        self._opened_at: float | None = None
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] = succeed(None)

    # For those who use the session

    @property
    def state(self) -> State:
        """Where the course stands."""
        return self._course.state

    @property
    def is_resting(self) -> bool:
        """Whether no session is to be had for a while."""
        state = self._course.state
        if state in (State.FALLBACK, State.BARRED):
            return True
        return state in (State.WAITING, State.OPENING) and self._course.failures >= RESTING_AFTER

    def peer_as(self, secure_id: bytes | None) -> Peer | None:
        """The server, over a session that is open in this name; None when there is none."""
        peer, identity = self._peer, self._identity
        if peer is None or identity is None or not self._is_live or not peer.is_open:
            return None
        return peer if identity.secure_id == secure_id else None

    def report(self) -> dict[str, Any]:
        """For `fieldpost status`."""
        due, now = self._course.due_at, self._clock.seconds()
        return {
            "carrier": "session" if self._is_live else "POST",
            "state": self._course.state.value,
            "cause": self._course.cause,
            "failures": self._course.failures,
            "attempts": self._attempts,
            "next-try-in": None if due is None else max(0.0, due - now),
            "open-for": None if self._opened_at is None else now - self._opened_at,
        }

    # From start to stop

    def start(self) -> None:
        """Try soon, and again and again."""
        self._course.start(self._clock.seconds())
        self._arm()

    @returns_deferred
    async def stop(self) -> None:
        """Say goodbye, and try no more. For good: a new start needs a new object."""
        self._course.stop()
        self._disarm()
        peer, line = self._peer, self._line
        if peer is None:
            self._running.cancel()
        else:
            peer.close(STOPPING)
        cut = self._clock.callLater(STOP_WITHIN, self._running.cancel if line is None else line.cut)
        await following(self._running)
        if cut.active():
            cut.cancel()

    async def check_identity(self) -> None:
        """Let the session, or the attempt for one, be in the name that the store has now."""
        if self._identity is None:
            return
        try:
            identity = await self._find_identity()
        except DatabaseError:
            return  # the next exchange asks again
        if identity != self._identity and self._course.state is not State.STOPPED:
            self.hurry()
            if self._peer is not None:
                self._peer.close(NEW_IDENTITY)

    def hurry(self) -> None:
        """What stood in the way may be gone."""
        self._course.hurry(self._clock.seconds())
        self._arm()

    def reached(self) -> None:
        """The server is reached again after a while in which it was not, though without us."""
        self._course.reached(self._clock.seconds())
        self._arm()

    def _arm(self) -> None:
        self._disarm()
        due = self._course.due_at
        if due is not None:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._begin)

    def _disarm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _begin(self) -> None:
        self._timer = None
        self._course.begin()
        self._running = Deferred.fromCoroutine(self._whole())
        self._running.addErrback(
            lambda failure: self.log.failure("no session is tried for any more", failure)
        )

    # One attempt, and the session that comes of it

    async def _whole(self) -> None:
        """Never raises; afterwards the next attempt is planned, unless there was a stop."""
        try:
            await self._attempt()
        except CancelledError:
            pass
        except DatabaseError as error:
            self._failed(f"who this machine is cannot be read: {error}")
        except Exception as error:  # noqa: BLE001 - no mistake of ours may end all attempts
            self.log.failure("a session broke")
            self._failed(f"the agent broke over it: {error!r}; please report this")
        finally:
            self._end()
        if self._course.state is not State.STOPPED:
            self._arm()
        self._on_change()

    async def _attempt(self) -> None:
        identity = self._identity = await self._find_identity()
        location, self._location = self._location, None
        self._attempts += 1
        channel = await self._opener.open(partial(self._build, identity), location=location)
        if self._course.state is State.STOPPED:
            return
        if not isinstance(channel, Channel):
            self._missed(channel)
            return
        peer = self._peer
        assert peer is not None  # it was built for the channel
        await self._handshake(peer)
        if self._is_live:
            self._ended(await peer.lost)

    def _build(self, identity: Identity, channel: Channel) -> IProtocol:
        """The session, as soon as there is a channel for it."""
        profile = Profile(
            incarnation=self._incarnation,
            nonce=self._new_octets(NONCE_OCTETS),
            id=identity.id,
            attempt=self._attempts,
            last=self._last,
            announces_proof=identity.id is not None,
            wanted=self._wanted,
        )
        session = Session(
            role=Role.CLIENT,
            us=profile,
            limits=self._limits,
            evidence=Evidence(roles=frozenset({SERVER}), vouched=True, exporter=channel.exporter),
            now=self._clock.seconds(),
            random=self._random.random,
        )
        self._peer = Peer(clock=self._clock, handlers=self._handlers, on_hello=partial(_prove, identity))
        self._line = SessionLine(session=session, peer=self._peer, clock=self._clock)
        return self._line

    async def _handshake(self, peer: Peer) -> None:
        try:
            agreement = await peer.opened
        except SessionRefused as error:
            await peer.lost
            self._turned_away(error)
            return
        except SessionLost as error:
            self._failed(f"no session: {printable(str(error))}")
            return
        if self._course.state is State.STOPPED:
            return
        self._last = agreement.connection or self._last
        self._course.opened(self._clock.seconds())
        self._opened_at = self._clock.seconds()
        self._is_live = True
        self.log.info(
            "session open: version {version}, as {name}",
            version=agreement.version,
            name="a machine to register" if self._identity is None else self._identity.id or "nobody yet",
        )
        if self._identity is not None and self._identity.id is not None:
            self._subscriptions.attach(peer)
        self._on_live(True)
        self._on_change()
        # It may have changed while this was under way.
        await self.check_identity()

    def _end(self) -> None:
        was_live, self._is_live = self._is_live, False
        line, self._line, self._peer, self._opened_at = self._line, None, None, None
        if line is not None:
            line.cut()
        if was_live:
            self._subscriptions.detach()
            self._on_live(False)

    # What came of it

    def _missed(self, found: Failing) -> None:
        now, cause = self._clock.seconds(), printable(found.text, 600)
        if isinstance(found, NoUpgrade):
            self.log.info("no session, exchanges go by POST: {cause}", cause=cause)
            self._course.no_upgrade(now, f"{cause}; {found.step}")
        elif isinstance(found, NotHere):
            self._barred(f"{cause}: it is not the server named by `server-id` in [server]")
        elif isinstance(found, Denied):
            self._barred(f"{cause}: something before the server asks who we are")
        else:
            self._failed(cause, found.after if isinstance(found, Later) else None)

    def _turned_away(self, error: SessionRefused) -> None:
        if self._course.state is State.STOPPED:
            return
        cause = printable(str(error), 600)
        if error.reason in BARRING:
            self._barred(_with_step(cause, error.reason), error.retry_after)
        else:
            self._failed(cause, error.retry_after)

    def _ended(self, ending: Ending) -> None:
        if self._course.state is State.STOPPED:
            return
        cause = printable(ending.text, 600)
        self._location = ending.location
        self.log.info("session over: {cause}", cause=cause)
        now = self._clock.seconds()
        if ending.by_peer and ending.reason in BARRING:
            self._barred(_with_step(cause, ending.reason), ending.retry_after)
        else:
            is_replaced = ending.by_peer and ending.reason == REPLACED
            self._course.ended(now, cause, retry_after=ending.retry_after, is_replaced=is_replaced)

    def _barred(self, cause: str, retry_after: float | None = None) -> None:
        self.log.warn("no session: {cause}", cause=cause)
        self._course.refused(self._clock.seconds(), cause, retry_after=retry_after)

    def _failed(self, cause: str, retry_after: float | None = None) -> None:
        state = self._course.state
        if state is State.STOPPED:
            return
        if self._course.failures == 0:
            self.log.warn("no session: {cause}", cause=cause)
        if state is State.OPEN:
            self._course.ended(self._clock.seconds(), cause)
        else:
            self._course.failed(self._clock.seconds(), cause, retry_after=retry_after)


def _with_step(cause: str, reason: str) -> str:
    step = _STEPS.get(reason)
    return cause if step is None else f"{cause}; {step}"


def _prove(identity: Identity, peer: Peer, hello: Hello) -> None:
    """Show the server that this is who the session says: only the holder of the secret can."""
    if identity.id is not None and identity.secure_id is not None:
        peer.prove(identity.secure_id)
