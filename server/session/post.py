"""
A session in a POST, for networks in which nothing upgrades (wire 5.11).

The same commands, answered by the same code: hello and requests are the body, decision and answers what comes back, in the
order in which they are ready. `wait` holds the answer back up to 50 seconds. Who asks says so as an exchange by POST does,
with its secure id in the header `X-Computer-ID`; it is believed as much. At `/exchange/NAME` nothing but that one command is
answered.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ...runtime.session.answers import Answers, Asked, Handler
from ...runtime.session.errors import CommandError
from ...wire.http import COMPUTER_ID
from ...wire.session.agreement import Profile
from ...wire.session.events import Broken, Cancelled, Requested
from ...wire.session.identity import NONCE_OCTETS, SERVER, Role
from ...wire.session.limits import Limits
from ...wire.session.opening import PRODUCT, SESSION_PATH
from ...wire.session.post import MEDIA_TYPE, POST_PATH, AnyEvent, Post
from ...wire.session.subscription import SUBSCRIBE, WAIT
from ..call import Answer, Call
from ..computers import Computer, Status, find_by_secure_id_txn
from ..errors import Refused
from ..front import Route
from .commands import BEFORE_REGISTRATION, EXCHANGE, PING, ExchangeCommand, commands_of
from .visit import Desk

_COMMANDS = (EXCHANGE, PING, WAIT)


class _Quiet(Post):
    """A Post as the answers of calls want it: nothing of an answer is ever too much, for it is sent when it is whole."""

    def unsent_of(self, request: int) -> int:
        """See Answering."""
        return 0


class PostedSessions:
    """Answers POST /exchange. `upgrade`: sessions are to be had here too."""

    log = Logger()

    def __init__(self, *, desk: Desk, clock: IReactorTime, limits: Limits, upgrade: bool) -> None:
        self._desk = desk
        self._clock = clock
        self._limits = limits
        self._upgrade = upgrade

    def routes(self) -> list[Route]:
        """What is answered here. That nothing but POST is, is said before any command is looked at."""
        routes = [
            Route("POST", POST_PATH, self._answer_any),
            Route("POST", f"{POST_PATH}/*", self._answer_one),
        ]
        # A session is asked for at the door. What gets here did so in another way.
        return [*routes, Route("GET", f"{SESSION_PATH}*", _ask_at_the_door)] if self._upgrade else routes

    async def _answer_any(self, call: Call) -> Answer:
        return await self._answer(call, None)

    async def _answer_one(self, call: Call, command: str) -> Answer:
        if command not in _COMMANDS:
            raise Refused(404, f"there is no command {command[:60]!r} here", f"use {', '.join(_COMMANDS)}")
        return await self._answer(call, command)

    async def _answer(self, call: Call, command: str | None) -> Answer:
        """Raises Refused for a request of the wrong form, DatabaseError."""
        _check_form(call)
        computer = await self._computer(call)
        post = self._post(computer, command)
        now = self._clock.seconds()
        events = [*post.receive_data(call.body, now), *post.receive_end(now)]
        waits = computer is not None and any(_is_wait(event) for event in events)
        with self._present(computer if waits else None):
            if waits and computer is not None:
                await self._desk.notices.refresh(computer.id)
                self._desk.bulletin.welcome(computer.id)
            served = self._served(post, call, computer)
            is_broken = served.take(events)
            await served.done()
        status = 400 if is_broken else 200
        return Answer(status=status, headers=(("Content-Type", MEDIA_TYPE),), body=post.data_to_send())

    @contextmanager
    def _present(self, computer: Computer | None) -> Iterator[None]:
        """Let a computer that waits hear of its topics meanwhile."""
        if computer is None:
            yield
            return
        registry = self._desk.registry
        registry.begin_wait(computer.id)
        try:
            yield
        finally:
            registry.end_wait(computer.id)
            if not registry.is_reachable(computer.id):
                self._desk.topics.forget(str(computer.id))

    async def _computer(self, call: Call) -> Computer | None:
        secure_id = call.header(COMPUTER_ID)
        if not secure_id:
            return None
        finding = partial(find_by_secure_id_txn, secure_id=secure_id.encode("latin-1"))
        return await self._desk.commits.run(finding)

    def _post(self, computer: Computer | None, command: str | None) -> _Quiet:
        names: tuple[str, ...] = _COMMANDS if command is None else (command,)
        if computer is None or computer.status is not Status.APPROVED:
            names = tuple(name for name in names if name in BEFORE_REGISTRATION)
        us = Profile(
            id=SERVER + self._desk.uuid,
            incarnation=self._desk.registry.incarnation,
            nonce=self._desk.new_octets(NONCE_OCTETS),
        )
        allowed = None if set(names) == set(_COMMANDS) else [name.encode() for name in names]
        return _Quiet(role=Role.SERVER, us=us, limits=self._limits, allowed=allowed, upgrade=self._upgrade)

    def _served(self, post: _Quiet, call: Call, computer: Computer | None) -> "_Served":
        said = call.header(COMPUTER_ID)
        secure_id = said.encode("latin-1") if said else None
        exchange = ExchangeCommand(
            intake=self._desk.intake, room=self._desk.room, identity=lambda: secure_id, peer=call.peer
        )
        handlers = commands_of(exchange, self._desk.topics, lambda: str(computer.id) if computer else "")
        return _Served(
            post=post, handlers={**handlers, SUBSCRIBE: _stays_open}, clock=self._clock, log=self.log
        )


async def _ask_at_the_door(call: Call, server: str) -> Answer:
    raise Refused(
        426,
        "a session is asked for by a request of its own, without a body, that waits for no other's answer",
        f"send GET with `Upgrade: {PRODUCT}` alone on its connection",
        headers=(("Upgrade", PRODUCT), ("Connection", "Upgrade")),
    )


def _is_wait(event: AnyEvent) -> bool:
    return isinstance(event, Requested) and event.name == WAIT.encode()


def _stays_open(asked: Asked) -> None:
    raise CommandError("not-here", f"nothing stays open in a POST; use `{WAIT}`")


class _Served:
    """The requests of one POST on their way to their answers."""

    def __init__(
        self, *, post: _Quiet, handlers: Mapping[str, Handler], clock: IReactorTime, log: Logger
    ) -> None:
        self._answers = Answers(
            session=post,
            handlers=handlers,
            is_paused=lambda: False,
            wake=self._wake,
            log=log,
        )
        self._clock = clock
        self._done: Deferred[None] | None = None

    def take(self, events: list[AnyEvent]) -> bool:
        """Have them answered; whether the body broke a rule, so that nothing else will be."""
        is_broken = False
        for event in events:
            if isinstance(event, Requested):
                self._answers.requested(event)
            elif isinstance(event, Cancelled):
                self._answers.cancelled(event)
            is_broken = is_broken or isinstance(event, Broken)
        if is_broken:
            self._answers.lose()
        return is_broken

    def done(self) -> "Deferred[None]":
        """Fires when all are answered."""
        self._done = Deferred()
        done = self._done
        self._look()
        return done

    def _wake(self) -> None:
        """Something is being answered; at the end of this turn it is."""
        if self._done is not None:
            self._clock.callLater(0, self._look)

    def _look(self) -> None:
        if self._done is not None and not len(self._answers):
            done, self._done = self._done, None
            done.callback(None)


def _check_form(call: Call) -> None:
    accepted = call.header("Accept")
    if accepted is not None and not _takes(accepted):
        raise Refused(406, f"the answer is {MEDIA_TYPE}", f"send Accept: {MEDIA_TYPE}")
    form = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
    if form != MEDIA_TYPE:
        cause = f"the body must be {MEDIA_TYPE}, not {form[:60] or 'unnamed'}"
        raise Refused(415, cause, f"send Content-Type: {MEDIA_TYPE}", headers=(("Accept", MEDIA_TYPE),))


def _takes(accepted: str) -> bool:
    forms = [part.partition(";")[0].strip().lower() for part in accepted.split(",")]
    return any(form in (MEDIA_TYPE, "application/*", "*/*") for form in forms)
