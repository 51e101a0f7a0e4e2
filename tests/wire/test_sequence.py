"""
Numbers of messages: the vectors of the real program, and exactly once in order over a line that loses things.

The sender and the receiver here keep what a broker and a server keep in their databases, and decide by `judge_answer`
and `admit` alone.
"""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.sequence import Admission, Verdict, admit, judge_answer

numbers = st.integers(-100, 100)
counts = st.integers(0, 100)


class Sender:
    """
    What is kept, then what is pending, of which the first `sent` have gone out once or more often.

    `sequence` is the number of the first that is not acknowledged.
    """

    def __init__(self, messages: Iterable[str] = (), *, sequence: int = 0, kept: int = 0) -> None:
        self.messages = list(messages)
        self.kept = kept
        self.sent = 0
        self.sequence = sequence
        self.resynchronized = 0

    @property
    def pending(self) -> list[str]:
        """All that is not acknowledged, in order."""
        return self.messages[self.kept :]

    def send(self, size: int) -> list[str]:
        """The next batch, from `sequence` on."""
        batch = self.pending[:size]
        self.sent = max(self.sent, len(batch))
        return batch

    def hear(self, expected: int) -> Verdict:
        """Move on, or back."""
        step = expected - self.sequence
        verdict = judge_answer(sequence=self.sequence, kept=self.kept, sent=self.sent, expected=expected)
        if verdict in (Verdict.ACKNOWLEDGED, Verdict.AHEAD):
            del self.messages[: self.kept]
            self.kept = 0
        if verdict.resynchronizes:
            self.kept = self.sent = 0
            self.resynchronized += 1
        else:
            self.kept += step
            self.sent -= step
        self.sequence = expected
        return verdict


class Receiver:
    """What has come, and the number that is due."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.expected = 0

    def take(self, sequence: int, batch: list[str]) -> int:
        """Take a batch; the number that is due next."""
        admission = admit(expected=self.expected, sequence=sequence, count=len(batch))
        self.messages += batch[admission.skip :]
        self.expected += admission.take
        return self.expected


# Vectors


@pytest.mark.parametrize(
    ("expected", "resynchronizes", "kept", "left", "first_pending", "pending"),
    [
        (15, False, 5, 15, "m10", 10),
        (10, False, 5, 20, "m5", 15),
        (12, False, 2, 15, "m7", 13),
        (25, False, 15, 15, None, 0),
        (26, True, 0, 15, "m5", 15),
        (7, False, 2, 20, "m2", 18),
        (5, False, 0, 20, "m0", 20),
        (4, True, 0, 20, "m0", 20),
        (-1, True, 0, 20, "m0", 20),
    ],
)
def test_an_answer_moves_the_sender_as_it_moves_the_real_program(
    expected: int, resynchronizes: bool, kept: int, left: int, first_pending: str | None, pending: int
) -> None:
    """The table of landscape 1.8: 20 messages, 5 of them kept, the 15 others sent from number 10 on."""
    sender = Sender([f"m{index}" for index in range(20)], sequence=10, kept=5)
    sender.send(15)

    verdict = sender.hear(expected)

    assert verdict.resynchronizes == resynchronizes
    assert sender.sequence == expected
    assert (sender.kept, len(sender.messages)) == (kept, left)
    assert (sender.pending[:1], len(sender.pending)) == ([first_pending] if first_pending else [], pending)


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [
        (4, Verdict.ANCIENT),
        (5, Verdict.RESEND),
        (10, Verdict.RESEND),
        (11, Verdict.ACKNOWLEDGED),
        (13, Verdict.ACKNOWLEDGED),
        (14, Verdict.AHEAD),
    ],
)
def test_the_bounds_of_each_verdict(expected: int, verdict: Verdict) -> None:
    """What was sent counts, not what waits: nobody can have a message that never went out."""
    assert judge_answer(sequence=10, kept=5, sent=3, expected=expected) is verdict


@given(numbers, counts, counts, numbers)
def test_every_number_has_one_verdict(sequence: int, kept: int, sent: int, expected: int) -> None:
    """Below what is kept, kept, sent, above what was sent: in this order, without a gap."""
    verdict = judge_answer(sequence=sequence, kept=kept, sent=sent, expected=expected)
    ranges = {
        Verdict.ANCIENT: expected < sequence - kept,
        Verdict.RESEND: sequence - kept <= expected <= sequence,
        Verdict.ACKNOWLEDGED: sequence < expected <= sequence + sent,
        Verdict.AHEAD: sequence + sent < expected,
    }

    assert [each for each, holds in ranges.items() if holds] == [verdict]


@pytest.mark.parametrize(
    ("expected", "sequence", "count", "admission"),
    [
        (10, 10, 3, Admission(skip=0, take=3, gap=False)),
        (10, 8, 3, Admission(skip=2, take=1, gap=False)),
        (10, 7, 3, Admission(skip=3, take=0, gap=False)),
        (10, 2, 3, Admission(skip=3, take=0, gap=False)),
        (10, 11, 3, Admission(skip=3, take=0, gap=True)),
        (10, 10, 0, Admission(skip=0, take=0, gap=False)),
        (10, 12, 0, Admission(skip=0, take=0, gap=True)),
        (-3, -5, 4, Admission(skip=2, take=2, gap=False)),
    ],
)
def test_a_receiver_takes_what_is_new_to_it(
    expected: int, sequence: int, count: int, admission: Admission
) -> None:
    """What it has is passed over; a batch above the number that is due is not taken at all (landscape 1.8)."""
    assert admit(expected=expected, sequence=sequence, count=count) == admission


@given(numbers, numbers, counts)
def test_a_receiver_takes_exactly_the_numbers_from_the_due_one_on(
    expected: int, sequence: int, count: int
) -> None:
    """Each message is either passed over or taken, and those taken start at the number that is due."""
    admission = admit(expected=expected, sequence=sequence, count=count)

    assert admission.skip + admission.take == count
    assert admission.take == 0 or sequence + admission.skip == expected
    assert admission.gap == (sequence > expected)


# Both ends


class Line:
    """
    Both ends, and between them whatever a network and two crashes can do to an exchange.

    A request may be lost, or arrive again late; an answer may be lost. Each end saves all or nothing of what one
    exchange changes in it, as one transaction does. What is to arrive is every message once, in order.
    """

    def __init__(self) -> None:
        self.sender = Sender()
        self.receiver = Receiver()
        self.added = 0
        self.late: list[tuple[int, list[str]]] = []

    def add(self, count: int) -> None:
        self.sender.messages += [f"m{number}" for number in range(self.added, self.added + count)]
        self.added += count

    def exchange(self, *, size: int, loses: str | None) -> None:
        sequence, batch = self.sender.sequence, self.sender.send(size)
        self.late.append((sequence, batch))
        if loses != "request":
            expected = self.receiver.take(sequence, batch)
            if loses != "answer":
                self.sender.hear(expected)
        self.check()

    def deliver_late(self, which: int) -> None:
        """A request that the network held back comes again; nobody waits for its answer."""
        self.receiver.take(*self.late[which % len(self.late)])
        self.check()

    def check(self) -> None:
        assert self.receiver.messages == [f"m{number}" for number in range(len(self.receiver.messages))]
        assert self.sender.resynchronized == 0
        assert len(self.sender.messages) >= self.added - len(self.receiver.messages)


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 8)),
    st.tuples(st.just("late"), st.integers(0, 50)),
    st.tuples(st.sampled_from(["exchange", "request", "answer"]), st.integers(0, 6)),
)


@given(st.lists(steps, max_size=60))
def test_every_message_arrives_once_and_in_order_whatever_is_lost(todo: list[tuple[str, int]]) -> None:
    """Requests and answers get lost, requests come again late, and batches are of any size."""
    line = Line()

    for what, much in todo:
        if what == "add":
            line.add(much)
        elif what == "late" and line.late:
            line.deliver_late(much)
        else:
            line.exchange(size=much, loses=None if what in ("exchange", "late") else what)

    while line.sender.pending:
        line.exchange(size=5, loses=None)
    assert line.receiver.messages == [f"m{number}" for number in range(line.added)]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=20), st.integers(0, 6))
def test_a_receiver_that_went_back_by_one_generation_gets_it_again(
    exchanges: list[tuple[int, int]], last: int
) -> None:
    """A server restored to before its last answer loses nothing: the sender still keeps what it acknowledged."""
    line = Line()
    for added, size in exchanges:
        line.add(added)
        line.exchange(size=size, loses=None)
    before = line.receiver.expected, list(line.receiver.messages)
    line.add(3)
    line.exchange(size=last, loses=None)

    line.receiver.expected, line.receiver.messages = before
    line.exchange(size=0, loses=None)
    while line.sender.pending:
        line.exchange(size=4, loses=None)

    assert line.receiver.messages == [f"m{number}" for number in range(line.added)]


@given(st.integers(1, 9), st.integers(0, 9), st.integers(-20, 20))
def test_ends_that_have_lost_each_other_meet_again(kept: int, pending: int, expected: int) -> None:
    """Whatever number a receiver asks for, what the sender has left arrives, once and in order."""
    sender = Sender([f"m{index}" for index in range(kept + pending)], sequence=0, kept=kept)
    receiver = Receiver()
    receiver.expected = expected

    for _ in range(3):
        batch = sender.send(100)
        sender.hear(receiver.take(sender.sequence, batch))

    assert sender.pending == []
    assert receiver.expected == sender.sequence
    assert receiver.messages == sorted(set(receiver.messages), key=lambda name: int(name[1:]))
