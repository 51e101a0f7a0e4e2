"""
What a plugin process has sent and the broker has not answered.

Messages gather in batches: one more goes into the last batch as long as that has not been said, so that a process whose
broker is away or slow ends up with few large batches instead of many small ones. A batch gets its number when it is
first said and keeps it: said again, it is stored once. Nothing here does I/O.
"""

from collections import deque
from collections.abc import Iterator

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..wire.local import MAX_BATCH_MESSAGES, MAX_BATCHES_IN_FLIGHT, Send, Stored
from .errors import BufferFull, MessageRefused


@frozen(kw_only=True)
class OutboxLimits:
    """How much may wait for the broker, and in what portions it goes."""

    messages: int = 20_000
    octets: int = 8 * 1024 * 1024
    batch_messages: int = 1_000
    batch_octets: int = 512 * 1024
    """A batch takes no further message once it holds this much."""
    batches_in_flight: int = MAX_BATCHES_IN_FLIGHT

    def __attrs_post_init__(self) -> None:
        if not 0 < self.batch_messages <= MAX_BATCH_MESSAGES:
            raise ValueError(f"batch_messages must be 1 to {MAX_BATCH_MESSAGES}")
        if not 0 < self.batches_in_flight <= MAX_BATCHES_IN_FLIGHT:
            raise ValueError(f"batches_in_flight must be 1 to {MAX_BATCHES_IN_FLIGHT}")


def too_much(messages: int, octets: int) -> BufferFull:
    """What a sender is told when so much waits that no more may."""
    return BufferFull(
        f"{messages} messages of {octets} octets wait for the broker, and no more may; see that the "
        "broker runs and has disk space, and send this again later"
    )


class OutgoingBatch:
    """Messages that travel together, and who waits for each."""

    __slots__ = ("answers", "is_flying", "messages", "number", "octets", "plugin", "session_id", "urgent")

    def __init__(self, plugin: str, session_id: str | None) -> None:
        self.plugin = plugin
        self.session_id = session_id
        self.urgent = False
        self.messages: list[bytes] = []
        self.answers: list[Deferred[None]] = []
        self.octets = 0
        self.number = 0
        """0 until it is first said."""
        self.is_flying = False
        """Said, over the connection of now, and not answered."""

    def as_send(self) -> Send:
        """What is said to the broker."""
        return Send(
            plugin=self.plugin,
            batch=self.number,
            session_id=self.session_id,
            urgent=self.urgent,
            messages=tuple(self.messages),
        )


class Outbox:
    """
    Batches in order, each until it is answered.

    Batches never overtake each other: after one that could not be stored, `next_batch` gives nothing until all others
    that were under way are back and `go_on` is called; then it begins again with the lowest number.
    """

    def __init__(self, limits: OutboxLimits) -> None:
        self._limits = limits
        self._said: dict[int, OutgoingBatch] = {}
        self._unsaid: deque[OutgoingBatch] = deque()
        self._last_number = 0
        self._flying = 0
        self._is_stuck = False
        self.messages = self.octets = 0

    def __len__(self) -> int:
        return self.messages

    @property
    def is_stuck(self) -> bool:
        """Whether a batch could not be stored and `go_on` has to be called, once nothing flies."""
        return self._is_stuck

    @property
    def flying(self) -> int:
        """Batches that are said and not answered."""
        return self._flying

    def add(self, plugin: str, octets: bytes, session_id: str | None, urgent: bool) -> "Deferred[None]":
        """
        Take a message.

        Raises BufferFull.
        """
        size = len(octets)
        limits = self._limits
        # Whatever the limits, one message is always taken.
        if self.messages and (self.messages >= limits.messages or self.octets + size > limits.octets):
            raise too_much(self.messages, self.octets)
        batch = self._batch_for(plugin, session_id)
        batch.messages.append(octets)
        batch.octets += size
        if urgent:
            batch.urgent = True
        self.messages += 1
        self.octets += size
        answer: Deferred[None] = Deferred()
        batch.answers.append(answer)
        return answer

    def _batch_for(self, plugin: str, session_id: str | None) -> OutgoingBatch:
        if self._unsaid:
            last = self._unsaid[-1]
            if (
                last.plugin == plugin
                and last.session_id == session_id
                and len(last.messages) < self._limits.batch_messages
                and last.octets < self._limits.batch_octets
            ):
                return last
        batch = OutgoingBatch(plugin, session_id)
        self._unsaid.append(batch)
        return batch

    def next_batch(self) -> OutgoingBatch | None:
        """The next to be said now, which is under way from here on; None when nothing is to be said now."""
        if self._is_stuck or self._flying >= self._limits.batches_in_flight:
            return None
        batch = self._returned() if self._flying < len(self._said) else self._fresh()
        if batch is not None:
            batch.is_flying = True
            self._flying += 1
        return batch

    def _returned(self) -> OutgoingBatch | None:
        return next((batch for batch in self._said.values() if not batch.is_flying), None)

    def _fresh(self) -> OutgoingBatch | None:
        if not self._unsaid:
            return None
        batch = self._unsaid.popleft()
        self._last_number += 1
        batch.number = self._last_number
        self._said[batch.number] = batch
        return batch

    def stored(self, batch: OutgoingBatch, stored: Stored) -> None:
        """The broker has it, but for the messages that it refused."""
        self._remove(batch)
        if not stored.refused:
            for answer in batch.answers:
                answer.callback(None)
            return
        refused = {refusal.index: refusal for refusal in stored.refused}
        for index, answer in enumerate(batch.answers):
            refusal = refused.get(index)
            if refusal is None:
                answer.callback(None)
            else:
                answer.errback(Failure(MessageRefused(refusal.code, refusal.text)))

    def refused(self, batch: OutgoingBatch, error: MessageRefused) -> None:
        """The broker will never take it."""
        self._remove(batch)
        for answer in batch.answers:
            answer.errback(Failure(error))

    def not_stored(self, batch: OutgoingBatch) -> None:
        """The broker could not store it now."""
        self.came_back(batch)
        self._is_stuck = True

    def came_back(self, batch: OutgoingBatch) -> None:
        """Its answer will not come: it has to be said again."""
        batch.is_flying = False
        self._flying -= 1

    def go_on(self) -> None:
        """Begin again after `not_stored`, or over a new connection."""
        self._is_stuck = False

    def drop_all(self, error: Exception) -> None:
        """Nothing will be said any more: whoever waits is told so."""
        batches = [*self._said.values(), *self._unsaid]
        self._said.clear()
        self._unsaid.clear()
        self._flying = self.messages = self.octets = 0
        for answer in _answers(batches):
            answer.errback(Failure(error))

    def _remove(self, batch: OutgoingBatch) -> None:
        self.came_back(batch)
        del self._said[batch.number]
        self.messages -= len(batch.messages)
        self.octets -= batch.octets


def _answers(batches: list[OutgoingBatch]) -> Iterator["Deferred[None]"]:
    for batch in batches:
        yield from batch.answers
