"""
What went through the store since the broker started, by message type: for `status`, and for whoever watches.

The store itself keeps no such figures: they are lost with the process, and nothing depends on them.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..broker.store.records import Answer, Batch, Conclusion, OperationResult, Outgoing, Settlement
from ..broker.store.store import Store
from ..wire.local import Stored
from ..wire.message import OPERATION_RESULT, Message
from ..wire.sequence import Verdict

MAX_TYPES = 1_000
"""Further types are counted together."""
OTHERS = "*"
MAX_INSTANCES = 256


class Tally:
    """Counts per type, and when the first message of each was stored (seconds since 1970)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stored: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._first_stored: dict[str, float] = {}
        self._batches: dict[str, int] = {}
        self._under_way: deque[Outgoing] = deque()
        self._acknowledged = 0

    def note_batches(self, batches: Sequence[Batch], answers: Sequence[Stored]) -> None:
        """These were given to the store, which answered so. A batch that comes again counts once."""
        for batch, answer in zip(batches, answers, strict=True):
            if batch.number > self._batches.get(batch.instance, 0):
                self._remember(batch)
                self.note_stored(_stored_types(batch, answer))

    def note_stored(self, types: Iterable[str]) -> None:
        """Messages of these types were stored."""
        for kind, count in Counter(types).items():
            name = _column(kind, self._stored)
            self._stored[name] += count
            self._first_stored.setdefault(name, self._now())

    def note_under_way(self, outgoing: Outgoing) -> None:
        """This is what the next answer is for; no other answer will come."""
        self._under_way = deque([outgoing])

    def note_following(self, outgoing: Outgoing) -> None:
        """This is what an answer will be for that comes after the others."""
        self._under_way.append(outgoing)

    def note_answer(self, answer: Answer, settlement: Settlement) -> None:
        """What the answer acknowledges was sent."""
        if not self._under_way:
            return
        outgoing = self._under_way.popleft()
        end = answer.next_expected_sequence
        if end is None:
            end = outgoing.sequence + len(outgoing.messages)
        if settlement.verdict.resynchronizes:
            self._acknowledged = end
        elif settlement.verdict is Verdict.ACKNOWLEDGED:
            start = max(outgoing.sequence, self._acknowledged)
            for message in outgoing.messages:
                if start <= message.number < end:
                    self._sent[_column(message.type, self._sent)] += 1
            self._acknowledged = max(self._acknowledged, end)

    def report(self) -> dict[str, dict[str, Any]]:
        """By type: `stored`, `sent`, `first-stored`."""
        return {
            kind: {
                "stored": self._stored[kind],
                "sent": self._sent[kind],
                "first-stored": self._first_stored.get(kind),
            }
            for kind in sorted({*self._stored, *self._sent})
        }

    def _remember(self, batch: Batch) -> None:
        self._batches.pop(batch.instance, None)
        self._batches[batch.instance] = batch.number
        if len(self._batches) > MAX_INSTANCES:
            del self._batches[next(iter(self._batches))]


def _column(kind: str, counts: Counter[str]) -> str:
    return kind if kind in counts or len(counts) < MAX_TYPES else OTHERS


def _stored_types(batch: Batch, answer: Stored) -> Iterable[str]:
    if answer.stored == len(batch.messages):
        return (message.type for message in batch.messages)
    refused_before = {refusal.index for refusal in batch.refused}
    refused = {refusal.index for refusal in answer.refused}
    indexes = (i for i in range(len(batch.messages) + len(refused_before)) if i not in refused_before)
    return (
        message.type for index, message in zip(indexes, batch.messages, strict=False) if index not in refused
    )


class TalliedStore(Store):
    """The store, with every message that passes counted in `tally`."""

    def __init__(self, *args: Any, now: Callable[[], float], **kwargs: Any) -> None:
        """Any: as Store, which `open` calls."""
        super().__init__(*args, now=now, **kwargs)
        self.tally = Tally(now)

    def add(self, batches: Sequence[Batch]) -> list[Stored]:
        """See Store.add."""
        answers = super().add(batches)
        self.tally.note_batches(batches, answers)
        return answers

    def put(self, message: Message) -> None:
        """See Store.put."""
        super().put(message)
        self.tally.note_stored([message["type"]])

    def begin_exchange(self, *, max_messages: int, max_octets: int) -> Outgoing:
        """See Store.begin_exchange."""
        outgoing = super().begin_exchange(max_messages=max_messages, max_octets=max_octets)
        self.tally.note_under_way(outgoing)
        return outgoing

    def follow_exchange(self, first: int, *, max_messages: int, max_octets: int) -> Outgoing:
        """See Store.follow_exchange."""
        outgoing = super().follow_exchange(first, max_messages=max_messages, max_octets=max_octets)
        self.tally.note_following(outgoing)
        return outgoing

    def commit_answer(self, answer: Answer) -> Settlement:
        """See Store.commit_answer."""
        settlement = super().commit_answer(answer)
        self.tally.note_answer(answer, settlement)
        return settlement

    def finish_delivery(self, number: int, result: OperationResult | None) -> Conclusion:
        """See Store.finish_delivery."""
        conclusion = super().finish_delivery(number, result)
        if conclusion is Conclusion.ANSWERED:
            self.tally.note_stored([OPERATION_RESULT])
        return conclusion
