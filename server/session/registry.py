"""
The sessions that are live, by computer: at most one each.

A second one for a computer is judged by the rules of duplicates (wire 5.5). They may want the live one probed first; all
newcomers for that computer wait meanwhile, in order. Nothing of this is done before the newcomer has proved who it is.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ...wire.session.duplicates import Accept, CloneWatch, Live, Offer, Probe, Reject, after_probe, judge
from ...wire.session.identity import AGENT
from ..commits import Commits
from .awaited import Awaited
from .output import Callee
from .records import forget_twins_txn, next_sequence_txn, note_twins_txn

OLD_AFTER = 60.0
"""Seconds after which an agent that does not say in which life it is may take its session's place unasked."""
REPLACED = "replaced"
SHUTDOWN = "shutdown"
MOST_STRANGERS = 500
"""Agents without identity, at once."""
EXCHANGE_NOW = "exchange-now"
REVOKED = "revoked"
"""The operator took the computer's identity away."""


class Line(Callee, Protocol):
    """A session as the server's parts need it: runtime.session's peer."""

    def probe(self) -> "Deferred[bool]":
        """Whether the other end answers a ping soon."""

    def close(self, reason: str, retry_after: int | None = None) -> object:
        """Say goodbye and end."""

    def tell(self, name: str, args: Mapping[str, Any] | None = None) -> object:
        """Ask for something whose answer nobody waits for. Any: as in `call`."""


@frozen(kw_only=True, eq=False)
class Entry:
    """One live session. `line` is the way to it."""

    computer: int
    line: Line
    offer: Offer
    sequence: int
    since: float
    address: str
    version: int
    """Of the session's protocol."""

    def as_live(self) -> Live:
        """What the rules of duplicates look at."""
        return Live(
            incarnation=self.offer.incarnation,
            attempt=self.offer.attempt,
            sequence=self.sequence,
            opened_at=self.since,
        )


class Registry:
    """
    Who is connected.

    `incarnation` is ours, drawn when the process starts. `twins` says of which computers two machines use the identity
    in turn, and when that was last seen.
    """

    log = Logger()

    def __init__(
        self,
        *,
        commits: Commits,
        clock: IReactorTime,
        incarnation: bytes,
        twins: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        self._commits = commits
        self._clock = clock
        self._clones = CloneWatch()
        self._twins = dict(twins)
        self._live: dict[int, Entry] = {}
        self._locks: dict[int, DeferredLock] = {}
        self._strangers: dict[Line, int | None] = {}
        self._waiting: Counter[int] = Counter()
        self._awaited = Awaited(clock=clock)
        self.incarnation = incarnation

    def __len__(self) -> int:
        return len(self._live)

    def find(self, computer_id: int) -> Entry | None:
        """The live session of a computer."""
        return self._live.get(computer_id)

    def wait_for(self, computer_id: int, seconds: float) -> "Deferred[Callee | None]":
        """
        The live session of a computer, or its next within so many seconds; None without one in time.

        Raises Refused when too many wait.
        """
        entry = self._live.get(computer_id)
        if entry is None and seconds:
            return self._awaited.wait(computer_id, seconds)
        return succeed(None if entry is None else entry.line)

    def stop(self) -> None:
        """Nobody comes any more: let nobody wait."""
        self._awaited.stop()

    def reachable(self) -> set[int]:
        """The computers that hear of topics now: those with a session, and those that wait by POST."""
        return {*self._live, *self._waiting}

    def is_reachable(self, computer_id: int) -> bool:
        """Whether it is among them."""
        return computer_id in self._live or computer_id in self._waiting

    def begin_wait(self, computer_id: int) -> None:
        """A computer waits by POST."""
        self._waiting[computer_id] += 1

    def end_wait(self, computer_id: int) -> None:
        """It does not any more; to be called once for each beginning."""
        self._waiting[computer_id] -= 1
        self._waiting += Counter()

    async def admit(
        self,
        computer_id: int,
        *,
        offer: Offer,
        line: Line,
        address: str,
        version: int = 1,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Entry | Reject | None:
        """
        Let a newcomer take the computer's place, or say why not; None when it `is_gone` before that was known.

        Raises DatabaseError, Stopping.
        """
        lock = self._locks.setdefault(computer_id, DeferredLock())
        await lock.acquire()
        try:
            return await self._admit(computer_id, offer, line, address, version, is_gone)
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(computer_id, None)

    async def _admit(
        self,
        computer_id: int,
        offer: Offer,
        line: Line,
        address: str,
        version: int,
        is_gone: Callable[[], bool],
    ) -> Entry | Reject | None:
        verdict = await self._judge(computer_id, offer)
        if isinstance(verdict, Reject):
            return verdict
        name, now = f"{AGENT}{computer_id}", self._clock.seconds()
        if self._clones.is_clone(name, offer.incarnation, now):
            await self._commits.run(partial(note_twins_txn, computer_id=computer_id, now=now))
            self._twins[computer_id] = now
            text = "two machines use the identity of computer {computer} in turn, one of them at {address}: one is a copy of the other"
            self.log.error(text, computer=computer_id, address=address)
            return self._clones.refusal()
        sequence = await self._commits.run(partial(next_sequence_txn, computer_id=computer_id))
        if is_gone():
            return None
        self._clones.accepted(name, offer.incarnation, now)
        self._awaited.come(computer_id, line)
        entry = Entry(
            computer=computer_id,
            line=line,
            offer=offer,
            sequence=sequence,
            since=now,
            address=address,
            version=version,
        )
        self._replace(entry, verdict)
        return entry

    async def _judge(self, computer_id: int, offer: Offer) -> Accept | Reject:
        live = self._live.get(computer_id)
        now = self._clock.seconds()
        known = live.as_live() if live else None
        verdict = judge(offer, known, master=self.incarnation, now=now, old_after=OLD_AFTER)
        if isinstance(verdict, Probe):
            assert live is not None
            answered = await live.line.probe()
            return after_probe(verdict, answered=answered and self._live.get(computer_id) is live)
        return verdict

    def _replace(self, entry: Entry, verdict: Accept) -> None:
        old, self._live[entry.computer] = self._live.get(entry.computer), entry
        if old is not None:
            text = "the session of computer {computer} at {old} is replaced by one at {new}: {why}"
            self.log.info(text, computer=entry.computer, old=old.address, new=entry.address, why=verdict.why)
            old.line.close(REPLACED)

    def remove(self, entry: Entry) -> None:
        """It is over. Nothing happens when another has its place."""
        if self._live.get(entry.computer) is entry:
            del self._live[entry.computer]

    def admit_stranger(self, line: Line) -> bool:
        """Whether there is room for one more agent without identity."""
        if len(self._strangers) >= MOST_STRANGERS:
            return False
        self._strangers[line] = None
        return True

    def expect(self, computer_id: int, line: Line) -> None:
        """The agent of a computer that waits for approval is there, without identity: of each the latest is remembered."""
        if line in self._strangers:
            self._strangers[line] = computer_id

    def remove_stranger(self, line: Line) -> None:
        """It is gone, if it was one."""
        self._strangers.pop(line, None)

    def facts(self, computer_id: int) -> dict[str, Any]:
        """What the API shows. Any: JSON."""
        entry = self._live.get(computer_id)
        return {
            "session": None if entry is None else _facts(entry),
            "twins-seen": self._twins.get(computer_id),
        }

    def decided(self, computer_id: int, *, approved: bool) -> None:
        """The operator approved it, and so has dealt with its twins; or rejected it: its identity is none any more."""
        entry = self._live.get(computer_id)
        if approved and self._twins.pop(computer_id, None) is not None:
            forgetting = self._commits.run(partial(forget_twins_txn, computer_id=computer_id))
            forgetting.addErrback(lambda failure: self.log.failure("twins were not forgotten", failure))
        elif not approved and entry is not None:
            entry.line.close(REVOKED)
        if approved:
            for line in [line for line, number in self._strangers.items() if number == computer_id]:
                self._strangers[line] = None
                line.tell(EXCHANGE_NOW)


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "since": entry.since,
        "address": entry.address,
        "number": entry.sequence,
        "version": entry.version,
    }
