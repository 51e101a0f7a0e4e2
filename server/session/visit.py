"""One session, from its hello to its end: who it is, whether it may stay, what it may ask."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...runtime.doors import returns_deferred
from ...runtime.session.line import SessionLine
from ...runtime.session.peer import Ending, Peer
from ...runtime.session.topics import Topics
from ...wire.session.agreement import PROTOCOL_VERSIONS, Offered, Profile
from ...wire.session.decision import INTERNAL, LIMITS
from ...wire.session.duplicates import Offer, Reject
from ...wire.session.hello import Hello
from ...wire.session.identity import NONCE_OCTETS, SERVER, Evidence, Role
from ...wire.session.limits import Limits
from ...wire.session.session import Session
from ..commits import Commits
from ..computers import Computer
from ..exchange import Outcome
from ..front import RETRY_AFTER, refusal_of
from ..intake import Intake
from .bulletin import Bulletin
from .commands import BEFORE_REGISTRATION, ExchangeCommand, commands_of
from .credentials import Credentials, Denied, recognise
from .notices import Notices
from .registry import MOST_STRANGERS, Entry, Registry
from .room import Room

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

SESSION_OCTETS = 16
ENCODINGS = ("zlib",)
"""What agents may pack with. To unpack zstd takes 8 MiB for each stream, which thousands of them would have to share."""
DEAD_AFTER = 20.0
"""Seconds from a ping without answer to the end."""


@frozen(kw_only=True)
class Desk:
    """What all visits have in common: the server's parts. `new_octets` draws so many random ones."""

    uuid: str
    commits: Commits
    intake: Intake
    registry: Registry
    topics: Topics
    notices: Notices
    bulletin: Bulletin
    new_octets: Callable[[int], bytes]
    room: Room


class Visit:
    """
    A session with an agent.

    Its agent is nobody until it has proved who it is; `entry` is its place among the live ones. An agent without identity
    is let in too, to register. `strangers_log` has what those cause of whom nothing is known.
    """

    log = Logger()

    def __init__(
        self,
        *,
        desk: Desk,
        clock: IReactorTime,
        evidence: Evidence,
        address: str,
        limits: Limits,
        ping: float,
        random: Callable[[], float],
        strangers_log: Logger,
    ) -> None:
        self._strangers_log = strangers_log
        self._desk = desk
        self._evidence = evidence
        self._address = address
        self._computer: Computer | None = None
        self.entry: Entry | None = None
        exchange = ExchangeCommand(
            intake=desk.intake, room=desk.room, identity=self._identity, peer=address, taken=self._taken
        )
        handlers = commands_of(exchange, desk.topics, self._scope)
        self.peer = Peer(
            clock=clock,
            handlers=handlers,
            on_offered=self._offered,
            max_answer=limits.answer,
            log=strangers_log,
        )
        us = Profile(
            id=SERVER + desk.uuid,
            incarnation=desk.registry.incarnation,
            nonce=desk.new_octets(NONCE_OCTETS),
            keepalive=(ping, ping + DEAD_AFTER),
            encodings=ENCODINGS,
        )
        session = Session(
            role=Role.SERVER,
            us=us,
            limits=limits,
            now=clock.seconds(),
            random=random,
            evidence=evidence,
            pool=desk.room,
        )
        self.line = SessionLine(session=session, peer=self.peer, clock=clock)
        self.peer.lost.addCallback(self._left)

    def _identity(self) -> bytes | None:
        return self._computer.secure_id if self._computer else None

    def _scope(self) -> str:
        assert self._computer is not None  # the session lets nobody else subscribe
        return str(self._computer.id)

    def _offered(self, peer: Peer, offered: Offered) -> "Deferred[None]":
        deciding = self._decide(offered.hello)
        return deciding.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        refused = refusal_of(error) if isinstance(error, Exception) else None
        if refused is None:
            self.log.failure("a session could not be decided", failure)
        else:
            self._strangers_log.error("{peer} gets no session: {error}", peer=self._address, error=error)
        if self.peer.ending is None and self.peer.agreement is None:
            text = str(refused) if refused else "the server failed; its log has the reason"
            self.peer.refuse(INTERNAL, text, retry_after=RETRY_AFTER)

    @returns_deferred
    async def _decide(self, hello: Hello) -> None:
        if hello.id is None:
            self._let_in_stranger()
            return
        shown = Credentials(hello=hello, evidence=self._evidence, is_proved_by=self.peer.is_proved_by)
        try:
            computer = await recognise(self._desk.commits, shown)
        except Denied as denied:
            text = "{peer} is not let in: {why}"
            self._strangers_log.warn(text, peer=self._address, why=str(denied))
            self.peer.refuse(denied.code, str(denied))
            return
        await self._place(computer, hello)

    async def _place(self, computer: Computer, hello: Hello) -> None:
        found = await self._desk.registry.admit(
            computer.id,
            offer=Offer(incarnation=hello.incarnation, attempt=hello.attempt, last=hello.last),
            line=self.peer,
            address=self._address,
            version=min(hello.versions[1], PROTOCOL_VERSIONS[1]),
            is_gone=lambda: self.peer.ending is not None,
        )
        if isinstance(found, Reject):
            self.peer.refuse(found.code, found.text, retry_after=found.retry_after)
        elif found is not None:
            self._computer, self.entry = computer, found
            self._let_in(found.sequence)
            await self._desk.notices.refresh(computer.id)
            self._desk.bulletin.welcome(computer.id)

    def _let_in_stranger(self) -> None:
        if self._desk.registry.admit_stranger(self.peer):
            self._let_in(0, BEFORE_REGISTRATION)
        else:
            text = f"{MOST_STRANGERS} agents without identity are here already; register by POST"
            self.peer.refuse(LIMITS, text, retry_after=RETRY_AFTER)

    def _let_in(self, number: int, allowed: tuple[str, ...] | None = None) -> None:
        self.peer.decide(
            connection=(self._desk.registry.incarnation, number),
            session=self._desk.new_octets(SESSION_OCTETS),
            allowed=allowed,
        )
        text = "session: {who} at {peer}"
        who = f"computer {self._computer.id}" if self._computer else "an unregistered agent"
        log = self.log if self._computer else self._strangers_log
        log.info(text, who=who, peer=self._address)

    def _taken(self, outcome: Outcome) -> None:
        """An exchange was taken: of an agent without identity it may tell which computer waits for approval."""
        if self._computer is None and outcome.computer is not None:
            self._desk.registry.expect(outcome.computer, self.peer)

    def _left(self, ending: Ending) -> None:
        self._desk.registry.remove_stranger(self.peer)
        if self.entry is None:
            return
        self._desk.registry.remove(self.entry)
        if not self._desk.registry.is_reachable(self.entry.computer):
            self._desk.topics.forget(self._scope())
        text = "session: computer {computer} at {peer} is gone: {why}"
        self.log.info(text, computer=self.entry.computer, peer=self._address, why=ending.text)
