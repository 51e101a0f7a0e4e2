"""
The way of plugins' messages into the store.

Every batch is checked as soon as it comes: each message on its own, so that one which may not pass is named and the
others go on. One of a declared type must be what its declaration says, and is stored so: texts cut, octets as text where text is
declared. What passed is committed in groups: while one transaction is on its way to the disk, what arrives gathers
and goes into the next. A lone batch waits for nobody, and a crowd pays for one sync. A group that finds the disk full is halved,
since there may be room for some of it.

The store takes a batch number that is not above the highest it has for one that it knows already. So batches of one
source must never overtake each other: when one could not be stored, every later one of its source is turned away with
Unavailable until that one has come again.

What waits is counted in octets. Above a limit `is_full` is true, and whoever reads from plugins stops reading.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...runtime.database import DatabaseError, DatabaseFull, DatabaseUnavailable
from ...runtime.writer import Writer
from ...wire import cbor
from ...wire.catalogue.from_agents import AGENT_MESSAGES
from ...wire.declaration import Catalogue
from ...wire.errors import RemoteProtocolError
from ...wire.local import (
    MALFORMED,
    MAX_BATCH_MESSAGES,
    MAX_MESSAGE_DEPTH,
    MAX_MESSAGE_ITEMS,
    MAX_MESSAGE_OCTETS,
    NOT_GRANTED,
    Refusal,
    Refused,
    Send,
    Stored,
    Unavailable,
)
from ...wire.message import OPERATION_RESULT, Message, check_message
from ..store.records import Batch, NewMessage
from .grants import Grant

MAX_SESSION_ID_LENGTH = 64
_END_OF_INTEGERS = 2**63
_MESSAGE_LIMITS = cbor.Limits(octets=MAX_MESSAGE_OCTETS, items=MAX_MESSAGE_ITEMS, depth=MAX_MESSAGE_DEPTH)


class Storage(Protocol):
    """What of the store is needed here."""

    def add(self, batches: Sequence[Batch]) -> list[Stored]:
        """One transaction for all batches, synced on return."""


@frozen(kw_only=True)
class IntakeLimits:
    """How much is done at a time, and how much may wait."""

    waiting_octets: int = 32 * 1024 * 1024
    """Above this much unstored, plugins are not read."""
    group_octets: int = 4 * 1024 * 1024
    """A transaction takes no further batch once it holds this much."""
    group_messages: int = 20_000
    """Nor once it holds so many."""
    slice_messages: int = 1000
    """So many messages are checked before others have their turn: a few milliseconds."""


class Source:
    """Batches of one instance of a plugin process, over one connection."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.failed: int | None = None
        """Lowest number that could not be stored, until it has come again; nothing later is taken before it."""
        self.is_abandoned = False

    def abandon(self) -> None:
        """
        Store nothing of it that is not on its way to the disk by now.

        So once the source has come back over another connection, nothing old gets in between.
        """
        self.is_abandoned = True


@define(eq=False, kw_only=True)
class _Arrival:
    """A batch from when it came until it is answered."""

    source: Source
    grant: Grant
    send: Send
    octets: int
    answer: "Deferred[Stored]"
    messages: list[NewMessage]
    refused: list[Refusal]
    checked: int = 0

    def as_batch(self) -> Batch:
        return Batch(
            instance=self.source.instance,
            number=self.send.batch,
            plugin=self.send.plugin,
            session_id=self.send.session_id,
            messages=tuple(self.messages),
            refused=tuple(self.refused),
        )


class Intake:
    """Checks batches and has them stored; answers each when the disk has it."""

    log = Logger()

    def __init__(
        self,
        *,
        store: Storage,
        writer: Writer,
        clock: IReactorTime,
        now: Callable[[], float],
        limits: IntakeLimits = IntakeLimits(),
        catalogue: Catalogue = AGENT_MESSAGES,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._writer = writer
        self._clock = clock
        self._now = now
        self._limits = limits
        self._unchecked: deque[_Arrival] = deque()
        self._ready: deque[_Arrival] = deque()
        self._is_checking = False
        self._is_storing = False
        self._unanswered = self._waiting_octets = 0
        self._when_roomy: list[Callable[[], None]] = []
        self._when_idle: list[Deferred[None]] = []
        self.trouble: str | None = None
        """Why the last transaction failed; None when it did not."""

    def take(self, source: Source, grant: Grant, send: Send) -> "Deferred[Stored]":
        """
        Store a batch.

        The Deferred fires once the disk has it; it fails with Refused for a batch that is none, with Unavailable for
        one that must come again.
        """
        _check_shape(send)
        arrival = _Arrival(
            source=source,
            grant=grant,
            send=send,
            octets=sum(map(len, send.messages)),
            answer=Deferred(),
            messages=[],
            refused=[],
        )
        self._unanswered += 1
        self._waiting_octets += arrival.octets
        self._unchecked.append(arrival)
        if not self._is_checking:
            self._check()
        return arrival.answer

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be read."""
        return self._waiting_octets > self._limits.waiting_octets

    def when_roomy(self, call: Callable[[], None]) -> None:
        """Call this once, when so little waits that reading may go on; at once when that is now."""
        self._when_roomy.append(call)
        self._tell_if_roomy()

    def when_idle(self) -> "Deferred[None]":
        """Fires when nothing waits to be stored or answered."""
        idle: Deferred[None] = Deferred()
        self._when_idle.append(idle)
        self._tell_if_idle()
        return idle

    # Checking

    def _check(self) -> None:
        """Check what has come, a slice at a time; what is checked is stored meanwhile."""
        left = self._limits.slice_messages
        while self._unchecked and left > 0:
            arrival = self._unchecked[0]
            left -= self._check_some(arrival, left)
            if arrival.checked == len(arrival.send.messages):
                self._ready.append(self._unchecked.popleft())
        self._is_checking = bool(self._unchecked)
        if self._is_checking:
            self._clock.callLater(0, self._check)
        self._commit()

    def _check_some(self, arrival: _Arrival, most: int) -> int:
        """Check up to so many messages of a batch; how many they were, and one for the batch itself."""
        start = arrival.checked
        messages = arrival.send.messages[start : start + most]
        grant, now, catalogue = arrival.grant, int(self._now()), self._catalogue
        take, refuse = arrival.messages.append, arrival.refused.append
        for index, octets in enumerate(messages, start):
            try:
                take(check(octets, grant, now, catalogue))
            except RemoteProtocolError as error:
                refuse(Refusal(index=index, code=error.code, text=str(error)))
        arrival.checked += len(messages)
        return len(messages) + 1

    # Storing

    def _commit(self) -> None:
        if not self._is_storing:
            group = self._next_group()
            if group:
                self._is_storing = True
                self._store_group(group)

    def _next_group(self) -> list[_Arrival]:
        group: list[_Arrival] = []
        octets = messages = 0
        limits = self._limits
        while self._ready and octets < limits.group_octets and messages < limits.group_messages:
            arrival = self._ready.popleft()
            source = arrival.source
            if source.is_abandoned:
                self._answer(arrival, Unavailable("this process has said hello anew; send it there"))
            elif source.failed is not None and arrival.send.batch > source.failed:
                self._answer(
                    arrival, Unavailable(f"batch {source.failed} is not stored yet; send that again first")
                )
            else:
                if source.failed == arrival.send.batch:
                    # It has come again. What is behind it may follow: should it fail once more, that comes to light first.
                    source.failed = None
                group.append(arrival)
                octets += arrival.octets
                messages += len(arrival.messages)
        return group

    def _store_group(self, group: list[_Arrival]) -> None:
        done = self._writer.run(self._store.add, [arrival.as_batch() for arrival in group])
        done.addCallbacks(self._stored, self._not_stored, callbackArgs=(group,), errbackArgs=(group,))
        done.addErrback(lambda failure: self.log.failure("the intake failed", failure))

    def _stored(self, answers: list[Stored], group: list[_Arrival]) -> None:
        if self.trouble is not None:
            self.log.info("messages are stored again")
            self.trouble = None
        self._is_storing = False
        # First the next group, then the answers: the disk works while they are written.
        self._commit()
        for arrival, stored in zip(group, answers, strict=True):
            self._answer(arrival, stored)

    def _not_stored(self, failure: Failure, group: list[_Arrival]) -> None:
        if len(group) > 1 and (most := _fewer(failure, group)):
            self._ready.extendleft(reversed(group[most:]))
            self._store_group(group[:most])
            return
        self._note(failure)
        error = Unavailable(f"not stored: {_cause(failure)}")
        for arrival in group:
            source, number = arrival.source, arrival.send.batch
            source.failed = number if source.failed is None else min(source.failed, number)
            self._answer(arrival, error)
        self._is_storing = False
        self._commit()

    def _note(self, failure: Failure) -> None:
        """Log a trouble when it begins, not each time that a plugin tries again."""
        cause = _cause(failure)
        if cause != self.trouble:
            if failure.check(DatabaseError):
                self.log.error("messages cannot be stored now: {cause}", cause=cause)
            else:
                self.log.failure("messages cannot be stored now", failure)
        self.trouble = cause

    # Answers

    def _answer(self, arrival: _Arrival, answer: Stored | Unavailable) -> None:
        self._unanswered -= 1
        self._waiting_octets -= arrival.octets
        if isinstance(answer, Stored):
            arrival.answer.callback(answer)
        else:
            arrival.answer.errback(Failure(answer))
        self._tell_if_roomy()
        self._tell_if_idle()

    def _tell_if_roomy(self) -> None:
        if self._when_roomy and self._waiting_octets <= self._limits.waiting_octets // 2:
            waiting, self._when_roomy = self._when_roomy, []
            for call in waiting:
                call()

    def _tell_if_idle(self) -> None:
        if self._when_idle and not self._unanswered:
            waiting, self._when_idle = self._when_idle, []
            for idle in waiting:
                idle.callback(None)


def check(octets: bytes, grant: Grant, now: int, catalogue: Catalogue = AGENT_MESSAGES) -> NewMessage:
    """
    A message as a plugin encoded it, as the store wants it; of a declared type, as its declaration says.

    Raises RemoteProtocolError, whose code says why it cannot be stored.
    """
    message = check_message(cbor.decode(octets, _MESSAGE_LIMITS))
    kind = message["type"]
    if kind not in grant.sends and not grant.may_send(kind):
        raise RemoteProtocolError(
            NOT_GRANTED,
            f"plugin `{grant.name}` may not send `{kind}`; name it under `sends` in the plugin's manifest, unless it "
            "is one of the broker's own types",
        )
    operation_id = _operation_id(message) if kind == OPERATION_RESULT else None
    declaration = catalogue.declarations.get(kind)
    if declaration is not None:
        fitted = declaration.fit(message)
        if fitted is not message:
            message, octets = fitted, cbor.encode(fitted)
    if "timestamp" in message or "api" in message:
        now, octets = _without_columns(message, now)
    return NewMessage(
        type=kind,
        body=octets,
        timestamp=now,
        operation_id=operation_id,
    )


def _without_columns(message: Message, now: int) -> tuple[int, bytes]:
    """The timestamp that the plugin gave, and the octets without it."""
    if "api" in message:
        raise RemoteProtocolError(MALFORMED, "`api` is the broker's to say; leave it out")
    timestamp = message.pop("timestamp")
    if type(timestamp) is not int or not 0 <= timestamp < _END_OF_INTEGERS:
        raise RemoteProtocolError(MALFORMED, "`timestamp` must be an integer: whole seconds since 1970")
    return timestamp, cbor.encode(message)


def _operation_id(message: Message) -> int:
    found: Any = message.get("operation-id")
    if type(found) is not int or not -_END_OF_INTEGERS <= found < _END_OF_INTEGERS:
        raise RemoteProtocolError(
            MALFORMED, f"an `{OPERATION_RESULT}` needs an `operation-id` that is an integer"
        )
    return found


def _check_shape(send: Send) -> None:
    if send.batch < 1:
        raise Refused("batches count from 1")
    if len(send.messages) > MAX_BATCH_MESSAGES:
        raise Refused(f"a batch of {len(send.messages)} messages; send at most {MAX_BATCH_MESSAGES} in one")
    if send.session_id is not None and len(send.session_id) > MAX_SESSION_ID_LENGTH:
        raise Refused("that `session-id` was never given out; ask for one with open-session")


def _fewer(failure: Failure, group: list[_Arrival]) -> int:
    """How many of a group that could not be stored to try alone; 0 when that would not help."""
    if failure.check(DatabaseFull):
        # There may be room for some of them.
        return len(group) // 2
    # One of them may be the reason, unless nothing can be stored: the others shall not suffer from it.
    return 0 if failure.check(DatabaseUnavailable) else 1


def _cause(failure: Failure) -> str:
    if failure.check(DatabaseError):
        return failure.getErrorMessage()
    return "the broker failed; its log says how"
