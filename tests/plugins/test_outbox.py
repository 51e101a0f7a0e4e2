"""Messages on their way to the broker: gathered, numbered, never overtaking each other, never too many."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.plugins.errors import BufferFull, MessageRefused, Stopped
from fieldpost.plugins.outbox import Outbox, OutboxLimits, OutgoingBatch
from fieldpost.wire.local import MAX_BATCH_MESSAGES, MAX_BATCHES_IN_FLIGHT, Refusal, Stored

SMALL = OutboxLimits(messages=10, octets=100, batch_messages=3, batch_octets=20, batches_in_flight=2)


class OutboxTests(SynchronousTestCase):
    """Batches of messages."""

    def setUp(self) -> None:
        self.outbox = Outbox(SMALL)

    def add(self, *messages: bytes, plugin: str = "p", session: str | None = None) -> list["Deferred[None]"]:
        return [self.outbox.add(plugin, message, session, False) for message in messages]

    def next(self) -> OutgoingBatch:
        batch = self.outbox.next_batch()
        assert batch is not None
        return batch

    def test_gathers(self) -> None:
        """Messages of one plugin and session that wait travel together, in order."""
        self.add(b"a", b"b")

        send = self.next().as_send()

        assert (send.plugin, send.batch, send.session_id, send.messages) == ("p", 1, None, (b"a", b"b"))

    def test_parted_by_plugin_and_session(self) -> None:
        """Others go in batches of their own, and what comes later stays behind them."""
        self.add(b"a")
        self.add(b"b", session="s")
        self.add(b"c", plugin="q")
        self.outbox = self._with_room(self.outbox)
        sends = [self.next().as_send() for _ in range(3)]

        assert [(send.plugin, send.session_id, send.messages) for send in sends] == [
            ("p", None, (b"a",)),
            ("p", "s", (b"b",)),
            ("q", None, (b"c",)),
        ]

    def _with_room(self, outbox: Outbox) -> Outbox:
        outbox._limits = OutboxLimits()
        return outbox

    def test_urgency_spreads(self) -> None:
        """One urgent message makes its batch urgent."""
        self.add(b"a")
        self.outbox.add("p", b"b", None, True)
        self.add(b"c")

        assert self.next().as_send().urgent

    def test_batch_limits(self) -> None:
        """A batch ends at its number of messages, and at its octets."""
        self.add(b"a", b"b", b"c", b"d" * 25, b"e")

        assert [self.next().messages for _ in range(2)] == [[b"a", b"b", b"c"], [b"d" * 25]]

    def test_in_flight(self) -> None:
        """Only so many batches are under way; what waits meanwhile still gathers."""
        self.add(b"a" * 20)
        first = self.next()
        self.add(b"b" * 20)
        self.next()
        self.add(b"c")
        self.add(b"d")
        assert self.outbox.next_batch() is None

        self.outbox.stored(first, Stored(stored=1))

        assert self.next().messages == [b"c", b"d"]

    def test_nothing_to_say(self) -> None:
        """An empty outbox has nothing next."""
        assert self.outbox.next_batch() is None

    def test_full_by_number(self) -> None:
        """So many messages may wait and no more; answered ones make room."""
        self.add(*[b"x"] * 10)

        with self.assertRaises(BufferFull) as caught:
            self.add(b"y")
        assert "10 messages of 10 octets wait" in str(caught.exception)

        self.outbox.stored(self.next(), Stored(stored=3))
        self.add(b"y")
        assert len(self.outbox) == 8

    def test_full_by_octets(self) -> None:
        """So many octets, too; but one message is always taken, however long."""
        self.add(b"x" * 1_000)

        with self.assertRaises(BufferFull):
            self.add(b"y")

        self.outbox.stored(self.next(), Stored(stored=1))
        self.add(b"y")

    def test_answers(self) -> None:
        """Each message has its own answer: stored, or refused and why."""
        answers = self.add(b"a", b"b", b"c")
        refused = (Refusal(index=1, code="malformed", text="why"), Refusal(index=9, code="x", text="of none"))

        self.outbox.stored(self.next(), Stored(stored=2, refused=refused))

        assert self.successResultOf(answers[0]) is None
        error = self.failureResultOf(answers[1], MessageRefused).value
        assert (error.code, str(error)) == ("malformed", "why")
        assert self.successResultOf(answers[2]) is None

    def test_refused_batch(self) -> None:
        """A batch that is refused takes all its messages along, and the next has the next number."""
        answers = self.add(b"a", b"b", b"c", b"d")

        self.outbox.refused(self.next(), MessageRefused("REFUSED", "no"))

        for answer in answers[:3]:
            self.failureResultOf(answer, MessageRefused)
        assert self.next().number == 2

    def test_came_back(self) -> None:
        """Batches whose answers were lost are said again, in order, under their numbers, before anything new."""
        self.add(*[b"x"] * 7)
        first, second = self.next(), self.next()

        for batch in (second, first):
            self.outbox.came_back(batch)

        assert [self.next(), self.next()] == [first, second]

    def test_not_stored(self) -> None:
        """After a batch that could not be stored nothing is said until the others are back and it goes on."""
        self.add(*[b"x"] * 7)
        first, second = self.next(), self.next()
        self.outbox.not_stored(first)
        assert self.outbox.next_batch() is None
        self.outbox.not_stored(second)
        assert (self.outbox.is_stuck, self.outbox.flying) == (True, 0)

        self.outbox.go_on()

        assert [self.next(), self.next()] == [first, second]

    def test_drop_all(self) -> None:
        """At the end everybody who waits is told."""
        answers = self.add(*[b"x"] * 5)
        self.next()

        self.outbox.drop_all(Stopped("the end"))

        for answer in answers:
            self.failureResultOf(answer, Stopped)
        assert (len(self.outbox), self.outbox.octets, self.outbox.next_batch()) == (0, 0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_messages": 0},
        {"batch_messages": MAX_BATCH_MESSAGES + 1},
        {"batches_in_flight": 0},
        {"batches_in_flight": MAX_BATCHES_IN_FLIGHT + 1},
    ],
)
def test_limits_of_the_protocol(wrong: dict[str, int]) -> None:
    """No outbox is set to what a broker would refuse."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OutboxLimits(**wrong)


class Exchanges(RuleBasedStateMachine):
    """An outbox against a broker that stores in order, fails, forgets to answer and goes away."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(OutboxLimits(batch_messages=2, batches_in_flight=3))
        self.sent: list[bytes] = []
        self.done: list[bytes] = []
        self.flying: list[OutgoingBatch] = []
        self.stored: list[bytes] = []
        self.highest = 0
        self.failed: int | None = None

    @rule(plugin=st.sampled_from("pq"))
    def send(self, plugin: str) -> None:
        octets = b"%d" % len(self.sent)
        self.sent.append(octets)
        self.outbox.add(plugin, octets, None, False).addCallback(lambda _: self.done.append(octets))

    @rule()
    def say(self) -> None:
        batch = self.outbox.next_batch()
        if batch is not None:
            self.flying.append(batch)

    @precondition(lambda self: self.flying)
    @rule(is_full=st.booleans())
    def hear(self, is_full: bool) -> None:
        """The broker answers the oldest call."""
        batch = self.flying.pop(0)
        if is_full or (self.failed is not None and batch.number > self.failed):
            self.failed = batch.number if self.failed is None else min(self.failed, batch.number)
            self.outbox.not_stored(batch)
        else:
            self._store(batch)
            if self.failed == batch.number:
                self.failed = None
            self.outbox.stored(batch, Stored(stored=len(batch.messages)))

    def _store(self, batch: OutgoingBatch) -> None:
        if batch.number > self.highest:
            self.highest = batch.number
            self.stored += batch.messages

    @precondition(lambda self: self.outbox.is_stuck and not self.flying)
    @rule()
    def go_on(self) -> None:
        self.outbox.go_on()

    @rule(kept=st.integers(0, 3))
    def lose(self, kept: int) -> None:
        """The connection is lost; the broker had stored some of what came, without an answer."""
        if self.failed is None:
            for batch in self.flying[:kept]:
                self._store(batch)
        for batch in self.flying:
            self.outbox.came_back(batch)
        self.flying = []
        self.failed = None
        self.outbox.go_on()

    @invariant()
    def stored_once_in_order(self) -> None:
        """What is stored are the first messages, each once."""
        assert self.stored == self.sent[: len(self.stored)]

    @invariant()
    def done_is_stored(self) -> None:
        """Who was told has it stored."""
        assert set(self.done) <= set(self.stored)

    def teardown(self) -> None:
        """In the end everything is stored."""
        self.lose(0)
        while (batch := self.outbox.next_batch()) is not None:
            self._store(batch)
            self.outbox.stored(batch, Stored(stored=len(batch.messages)))
        assert self.stored == self.sent
        assert len(self.done) == len(self.sent)


ExchangesTests: Any = Exchanges.TestCase


@given(sizes=st.lists(st.integers(0, 40), max_size=40))
def test_bounded(sizes: list[int]) -> None:
    """However messages come, no more than the limits wait: but for the one that is always taken."""
    outbox = Outbox(SMALL)
    for size in sizes:
        try:
            outbox.add("p", bytes(size), None, False)
        except BufferFull:
            continue
        assert len(outbox) <= 10
        assert outbox.octets <= 100
