"""Batches on their way into the store: checked one by one, committed together, in order, within bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.local.grants import EVERY_TYPE, Grant
from fieldpost.broker.local.intake import IntakeLimits, Source, check
from fieldpost.broker.store.records import NewMessage
from fieldpost.runtime.database import DatabaseBroken, DatabaseFull
from fieldpost.wire import cbor
from fieldpost.wire.declaration import Catalogue, Declaration, Field
from fieldpost.wire.errors import RemoteProtocolError
from fieldpost.wire.kinds import INTEGER, TEXT
from fieldpost.wire.local import (
    MALFORMED,
    MAX_BATCH_MESSAGES,
    MAX_MESSAGE_OCTETS,
    NOT_GRANTED,
    OBSOLETE_SESSION,
    TOO_LARGE,
    Refused,
    Stored,
    Unavailable,
)
from tests.broker.store.stores import START
from tests.local_socket import LOAD, LocalSocket, batch_of

FULL = DatabaseFull("the disk is full")


def load(value: Any = 0, **more: Any) -> dict[str, Any]:
    return {"type": "load", "value": value, **more}


class IntakeTests(SynchronousTestCase):
    """What is taken is stored, or its sender hears why not."""

    def setUp(self) -> None:
        self.socket = LocalSocket(
            intake_limits=IntakeLimits(
                waiting_octets=1_000, group_octets=500, group_messages=10, slice_messages=4
            )
        )
        self.intake = self.socket.intake
        self.writer = self.socket.writer
        self.source = Source("one")

    def take(
        self, number: int, *messages: Any, source: Source | None = None, **more: Any
    ) -> "Deferred[Stored]":
        return self.intake.take(source or self.source, LOAD, batch_of(number, *messages, **more))

    def settle(self) -> None:
        for _ in range(10):
            self.socket.clock.advance(0)

    def values(self) -> list[Any]:
        return [message["value"] for message in self.socket.stored()]

    # Messages

    def test_stored(self) -> None:
        """A batch is answered when it is stored."""
        answer = self.take(1, load("a"), load("b"))

        assert self.successResultOf(answer) == Stored(stored=2)
        assert self.values() == ["a", "b"]

    def test_answer_waits_for_the_disk(self) -> None:
        """There is no answer before the transaction is done."""
        self.writer.is_held = True
        answer = self.take(1, load())
        self.assertNoResult(answer)

        self.writer.go()

        assert self.successResultOf(answer) == Stored(stored=1)

    def test_each_message_on_its_own(self) -> None:
        """Messages that may not pass are named by their place and reason; the others are stored."""
        answer = self.take(
            1,
            load("a"),
            b"\xff",
            {"type": "disk", "value": 1},
            load("b"),
            load("x" * MAX_MESSAGE_OCTETS),
            {"no": "type"},
            load("c"),
        )
        self.settle()

        stored = self.successResultOf(answer)
        assert [(each.index, each.code) for each in stored.refused] == [
            (1, MALFORMED),
            (2, NOT_GRANTED),
            (4, TOO_LARGE),
            (5, MALFORMED),
        ]
        assert stored.stored == 3
        assert self.values() == ["a", "b", "c"]

    def test_obsolete_session(self) -> None:
        """Messages under a session that is over are refused by the store, in places of the whole batch."""
        answer = self.take(1, b"\xff", load(), session_id="gone")

        refused = self.successResultOf(answer).refused
        assert [(each.index, each.code) for each in refused] == [(0, MALFORMED), (1, OBSOLETE_SESSION)]

    def test_nothing_in_a_batch(self) -> None:
        """A batch without messages is a batch."""
        assert self.successResultOf(self.take(1)) == Stored(stored=0)
        assert self.socket.store.last_batch("one") == 1

    def test_sent_again(self) -> None:
        """A batch that comes again under its number is stored once and answered alike."""
        first = self.successResultOf(self.take(1, load("a"), b""))

        assert self.successResultOf(self.take(1, load("a"), b"")) == first
        assert self.values() == ["a"]

    def test_no_batch_at_all(self) -> None:
        """What can be no batch is refused: number 0, too many messages, a session id of any length."""
        for wrong in (
            batch_of(0, b""),
            batch_of(1, *[b""] * (MAX_BATCH_MESSAGES + 1)),
            batch_of(1, b"", session_id="x" * 65),
        ):
            with pytest.raises(Refused):
                self.intake.take(self.source, LOAD, wrong)
        assert self.socket.store.last_batch("one") == 0

    # Groups

    def test_gathers_while_the_disk_works(self) -> None:
        """What comes during a transaction goes into the next one, all together."""
        self.writer.is_held = True
        first = self.take(1, load(1))
        others = [self.take(number, load(number)) for number in (2, 3, 4)]
        assert len(self.writer) == 1

        self.writer.one()
        self.successResultOf(first)
        assert len(self.writer) == 1
        self.writer.one()

        assert [self.successResultOf(other) for other in others] == [Stored(stored=1)] * 3
        assert self.values() == [1, 2, 3, 4]

    def test_group_octets(self) -> None:
        """A transaction takes no more batches than its limit of octets allows,"""
        self.writer.is_held = True
        answers = [self.take(number, load("x" * 250)) for number in range(1, 6)]

        self.writer.one()
        self.writer.one()

        assert [answer.called for answer in answers] == [True, True, True, False, False]
        self.writer.go()

    def test_group_messages(self) -> None:
        """nor than its number of messages."""
        self.writer.is_held = True
        answers = [self.take(number, *[{"type": "load"}] * 5) for number in range(1, 7)]
        self.settle()

        self.writer.one()
        self.writer.one()

        assert [answer.called for answer in answers] == [True, True, True, False, False, False]
        self.writer.go()
        assert answers[5].called

    def test_checked_in_slices(self) -> None:
        """A long batch does not keep the reactor: it is checked in slices, and a later one waits behind it."""
        answers = [self.take(1, *[load(value) for value in range(9)]), self.take(2, load(9))]
        self.assertNoResult(answers[0])

        self.settle()

        assert [self.successResultOf(answer).stored for answer in answers] == [9, 1]
        assert self.values() == list(range(10))

    # Failure

    def test_full_disk(self) -> None:
        """With a full disk the sender hears that it may try again, and why; and so does it when it then passes."""
        self.writer.failures = [FULL]
        with capturedLogs() as logged:
            failed = self.take(1, load("a"))
            assert "the disk is full" in str(self.failureResultOf(failed, Unavailable).value)
            assert self.intake.trouble == "the disk is full"

            assert self.successResultOf(self.take(1, load("a"))) == Stored(stored=1)

        assert self.intake.trouble is None
        assert [formatEvent(event) for event in logged] == [
            "messages cannot be stored now: the disk is full",
            "messages are stored again",
        ]

    def test_trouble_is_logged_once(self) -> None:
        """A plugin that tries again and again does not fill the log."""
        self.writer.failures = [FULL] * 3
        with capturedLogs() as logged:
            for _ in range(3):
                self.failureResultOf(self.take(1, load()), Unavailable)

        assert [event["log_level"] for event in logged] == [LogLevel.error]

    def test_full_disk_fails_the_group(self) -> None:
        """All batches of a transaction come again when the disk has no room for its first either."""
        self.writer.is_held = True
        answers = [self.take(number, load(number)) for number in (1, 2, 3)]
        self.writer.one()
        self.writer.failures = [FULL, FULL]

        self.writer.go()

        self.successResultOf(answers[0])
        for answer in answers[1:]:
            self.failureResultOf(answer, Unavailable)

    def test_what_fits_is_stored(self) -> None:
        """What is too much for the disk at once goes in by and by, in order, as far as there is room."""
        self.writer.is_held = True
        answers = [self.take(number, load(number)) for number in range(1, 6)]
        self.writer.one()
        # All four and the half of them; the second half of that goes with the rest, which fails, and again alone.
        self.writer.failures = [FULL, FULL]
        for _ in range(3):
            self.writer.one()
        self.writer.failures = [FULL]
        self.writer.go()

        assert [self.successResultOf(answer).stored for answer in answers] == [1] * 5
        assert self.values() == [1, 2, 3, 4, 5]
        assert self.intake.trouble is None

    def test_nothing_overtakes_a_half(self) -> None:
        """When the first half finds no room, the second, of the same source, is not stored before it."""
        self.writer.is_held = True
        other = Source("two")
        answers = [self.take(number, load(number)) for number in (1, 2, 3)]
        answers.append(self.take(1, load("other"), source=other))
        self.writer.one()
        self.writer.failures = [FULL, FULL]

        self.writer.go()

        assert [type(self.result(answer)) for answer in answers] == [Stored, Unavailable, Unavailable, Stored]
        assert self.values() == [1, "other"]

    def test_nothing_overtakes(self) -> None:
        """After a batch that failed no later one of its source is stored before it has come again."""
        self.writer.failures = [FULL]
        self.failureResultOf(self.take(2, load("b")), Unavailable)

        later = self.failureResultOf(self.take(3, load("c")), Unavailable)
        assert "batch 2 is not stored yet" in str(later.value)
        earlier = self.take(1, load("a"))
        assert self.successResultOf(earlier).stored == 1
        self.failureResultOf(self.take(3, load("c")), Unavailable)

        for number, value in ((2, "b"), (3, "c")):
            self.successResultOf(self.take(number, load(value)))
        assert self.values() == ["a", "b", "c"]

    def test_what_was_already_under_way_does_not_overtake(self) -> None:
        """Batches that had come before the failure was known wait for it, too."""
        self.writer.is_held = True
        self.writer.failures = [FULL]
        first = self.take(1, load(1))
        second = self.take(2, load(2))

        self.writer.go()

        self.failureResultOf(first, Unavailable)
        self.failureResultOf(second, Unavailable)
        assert self.socket.store.last_batch("one") == 0

    def test_nothing_overtakes_what_came_again(self) -> None:
        """Batches that come again while another source's are stored keep their order, also before what comes later."""
        self.writer.failures = [FULL]
        self.failureResultOf(self.take(1, load(1)), Unavailable)
        self.writer.is_held = True
        answers = [self.take(1, load("other"), source=Source("two"))]
        answers += [self.take(number, load(number)) for number in (1, 2)]
        self.writer.one()
        answers.append(self.take(3, load(3)))

        self.writer.go()

        assert [self.successResultOf(answer).stored for answer in answers] == [1] * 4
        assert self.values() == ["other", 1, 2, 3]

    def test_lowest_failure_counts(self) -> None:
        """When a batch and one before it have failed, it is the first that must come again."""
        self.writer.failures = [FULL, FULL]
        self.failureResultOf(self.take(5, load(5)), Unavailable)
        self.failureResultOf(self.take(4, load(4)), Unavailable)

        assert "batch 4 is" in str(self.failureResultOf(self.take(5, load(5)), Unavailable).value)
        self.successResultOf(self.take(4, load(4)))
        self.successResultOf(self.take(5, load(5)))

    def test_other_sources_go_on(self) -> None:
        """The failure of one plugin's batch holds up no other plugin."""
        self.writer.failures = [FULL]
        self.failureResultOf(self.take(1, load(1)), Unavailable)

        answer = self.take(9, load(2), source=Source("two"))

        assert self.successResultOf(answer).stored == 1

    def test_one_bad_batch_of_many(self) -> None:
        """A batch at which the store itself fails does not take others of its transaction along."""
        self.writer.is_held = True
        sources = [Source(str(index)) for index in range(4)]
        answers = [self.take(1, load(index), source=source) for index, source in enumerate(sources)]
        self.writer.one()
        # The group of three, then the first of them alone; then the other two, and the bad one alone.
        self.writer.failures = [ZeroDivisionError()]
        self.writer.one()
        self.writer.one()
        self.writer.failures = [ZeroDivisionError(), ZeroDivisionError()]

        self.writer.go()

        assert [type(self.result(answer)) for answer in answers] == [Stored, Stored, Unavailable, Stored]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert self.values() == [0, 1, 3]

    def result(self, answer: "Deferred[Stored]") -> Any:
        found: list[Any] = []
        answer.addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found[0]

    def test_broken_store(self) -> None:
        """A damaged store is a trouble with a cause, like a full disk."""
        self.writer.failures = [DatabaseBroken("the file is damaged")]

        failure = self.failureResultOf(self.take(1, load()), Unavailable)

        assert str(failure.value) == "not stored: the file is damaged"

    def test_own_fault(self) -> None:
        """A fault of the program is logged in full, and the plugin is told to look there."""
        self.writer.failures = [ZeroDivisionError("inner words")]

        failure = self.failureResultOf(self.take(1, load()), Unavailable)

        assert str(failure.value) == "not stored: the broker failed; its log says how"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_store_that_answers_wrongly(self) -> None:
        """Whatever goes wrong in the intake itself is logged."""
        self.writer.is_held = True
        self.take(1, load())
        done, _ = self.writer._calls.pop()

        done.callback([])

        assert len(self.flushLoggedErrors(ValueError)) == 1

    # Sources that come and go

    def test_abandoned(self) -> None:
        """Once a process has come back, what its old connection left waiting is not stored behind its back."""
        self.writer.is_held = True
        under_way = self.take(1, load(1))
        waiting = self.take(2, load("old"))

        self.source.abandon()
        self.writer.go()

        assert self.successResultOf(under_way).stored == 1
        self.failureResultOf(waiting, Unavailable)
        assert self.successResultOf(self.take(2, load("new"), source=Source("one"))).stored == 1
        assert self.values() == [1, "new"]

    # Bounds

    def test_full_and_roomy(self) -> None:
        """Above the limit the intake is full; at half of it, there is room, and who waits for that is told once."""
        told: list[str] = []
        self.writer.is_held = True
        for number in range(1, 5):
            self.take(number, load("x" * 280))
        assert self.intake.is_full

        self.intake.when_roomy(lambda: told.append("room"))
        self.writer.one()
        assert not self.intake.is_full
        assert told == []

        self.writer.go()
        assert told == ["room"]

    def test_room_at_once(self) -> None:
        """Who waits for room where there is some is told at once."""
        told: list[str] = []

        self.intake.when_roomy(lambda: told.append("room"))

        assert told == ["room"]

    def test_refused_batches_take_no_room(self) -> None:
        """A batch that could not be stored takes no room any more."""
        self.writer.failures = [FULL]
        self.failureResultOf(self.take(1, load("x" * 2_000)), Unavailable)

        assert not self.intake.is_full

    def test_idle(self) -> None:
        """The intake is idle when all is answered, and not while a slice or a transaction is to come."""
        assert self.intake.when_idle().called
        self.writer.is_held = True
        answer = self.take(1, *[load(value) for value in range(9)])
        idle = self.intake.when_idle()
        self.settle()
        self.assertNoResult(idle)

        answered: list[bool] = []
        answer.addCallback(lambda _: answered.append(idle.called))
        self.writer.go()

        assert answered == [False]
        assert idle.called


GRANT = Grant(name="any", uids=frozenset(), sends=frozenset({EVERY_TYPE}))


def test_timestamp() -> None:
    """A message has the timestamp that the plugin gave it, or that of its arrival; it is not in the body."""
    without = cbor.encode(load())

    assert check(without, GRANT, START) == NewMessage(type="load", body=without, timestamp=START)
    assert check(cbor.encode(load(timestamp=5)), GRANT, START) == NewMessage(
        type="load", body=without, timestamp=5
    )


@pytest.mark.parametrize("timestamp", ["5", 5.0, True, None, -1, 2**63, [5]])
def test_wrong_timestamp(timestamp: Any) -> None:
    """A timestamp that is none is refused."""
    with pytest.raises(RemoteProtocolError, match="`timestamp` must be an integer") as caught:
        check(cbor.encode(load(timestamp=timestamp)), GRANT, START)

    assert caught.value.code == MALFORMED


def test_api_is_not_the_plugins() -> None:
    """A plugin cannot choose the API level under which its message is sent."""
    with pytest.raises(RemoteProtocolError, match="`api` is the broker's"):
        check(cbor.encode(load(api=b"3.2")), GRANT, START)


def test_operation_result() -> None:
    """The result of an operation is stored with the operation's number,"""
    octets = cbor.encode({"type": "operation-result", "operation-id": 7, "status": 6})

    assert check(octets, GRANT, START).operation_id == 7


@pytest.mark.parametrize("operation", [None, "7", True, 2**63, -(2**63) - 1])
def test_wrong_operation(operation: Any) -> None:
    """and refused without a number that a database can hold."""
    message = {"type": "operation-result", "operation-id": operation}

    with pytest.raises(RemoteProtocolError, match="needs an `operation-id`"):
        check(cbor.encode(message), GRANT, START)


DECLARED = Declaration(
    type="load",
    fields=(Field(name="note", kind=TEXT, most=5), Field(name="level", kind=INTEGER, required=False)),
)


def test_declared_type() -> None:
    """A message of a declared type is stored as declared,"""
    octets = cbor.encode({"type": "load", "note": b"a long note", "more": [1], "timestamp": 5})

    stored = check(octets, GRANT, START, Catalogue.of([DECLARED]))

    assert cbor.decode(stored.body) == {"type": "load", "note": "a lon", "more": [1]}
    assert stored.timestamp == 5


def test_declared_type_as_it_should_be() -> None:
    """as the plugin encoded it when nothing has to change,"""
    octets = cbor.encode({"type": "load", "note": "short", "level": 1})

    assert check(octets, GRANT, START, Catalogue.of([DECLARED])).body is octets


@pytest.mark.parametrize("fields", [{}, {"note": 1}, {"note": "a", "level": "high"}])
def test_other_than_declared(fields: dict[str, Any]) -> None:
    """and refused when it is something else."""
    with pytest.raises(RemoteProtocolError) as caught:
        check(cbor.encode({"type": "load", **fields}), GRANT, START, Catalogue.of([DECLARED]))

    assert caught.value.code == MALFORMED


def test_other_than_landscape_has_it() -> None:
    """So is one of Landscape's types, with the way to what is wrong in it."""
    devices = [{"device": "/dev/sdb", "mounted": True}, {"device": "/dev/sdc", "mounted": "yes"}]
    with pytest.raises(RemoteProtocolError) as caught:
        check(cbor.encode({"type": "swift-device-info", "swift-device-info": devices}), GRANT, START)

    assert caught.value.code == MALFORMED
    assert str(caught.value) == "`swift-device-info`[1] [mounted] must be true or false, not text"


@pytest.mark.parametrize("kind", ["register", "resynchronize", "receipt"])
def test_own_types(kind: str) -> None:
    """What only the broker says is taken from nobody."""
    with pytest.raises(RemoteProtocolError) as caught:
        check(cbor.encode({"type": kind}), GRANT, START)

    assert caught.value.code == NOT_GRANTED


@given(octets=st.binary(max_size=60))
def test_any_octets(octets: bytes) -> None:
    """Any octets are a message or are refused with a code."""
    try:
        check(octets, GRANT, START)
    except RemoteProtocolError as error:
        assert error.code in (MALFORMED, TOO_LARGE, NOT_GRANTED)


@given(value=st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_any_value(value: Any) -> None:
    """Whatever a field holds, the message is stored as the plugin encoded it."""
    octets = cbor.encode(load(value))

    assert check(octets, GRANT, START).body == octets
