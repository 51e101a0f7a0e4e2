"""Output and progress of an operation: seen soon, in few reports, and all of it before the answer."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from fieldpost.plugins import Message, Plugin, handles
from fieldpost.plugins.reporter import FINISH_WITHIN, PAUSE, Reporter
from fieldpost.testing import FakeBroker, NotYet, PluginRun, result_of
from fieldpost.wire.local import DONE, MAX_OUTPUT_CHARACTERS, Output, Refused


class Worker(Plugin):
    name = "worker"

    @handles("work")
    async def work(self, message: Message) -> str:
        operation = message["operation-id"]
        for step in (1, 2):
            self.context.report_output(operation, f"step {step}\n")
            self.context.report_progress(operation, "steps", step, 2)
        return "done"


class SlowBroker(FakeBroker):
    """Takes reports when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Deferred[None]] = []

    def report(self, output: Output) -> "Deferred[None]":
        super().report(output)
        self.held.append(Deferred())
        return self.held[-1]


def texts(broker: FakeBroker) -> list[str]:
    return [output.text for output in broker.reported]


def reporter(broker: FakeBroker) -> tuple[Reporter, Clock]:
    clock = Clock()
    return Reporter(broker=broker, plugin="worker", clock=clock), clock


def test_all_is_told_before_the_operation_is_answered() -> None:
    """Text and progress, in order."""
    run = PluginRun(Worker)

    outcome = run.deliver({"type": "work", "operation-id": 7})

    assert outcome.status == DONE
    assert "".join(texts(run.broker)) == "step 1\nstep 2\n"
    assert run.broker.reported[-1].position == 2
    assert {(output.plugin, output.operation) for output in run.broker.reported} == {("worker", 7)}


def test_the_first_word_goes_at_once_and_the_next_together() -> None:
    """A program that writes letter by letter does not make a report of each."""
    broker = FakeBroker()
    told, clock = reporter(broker)

    for letter in "abcd":
        told.output(7, letter)
    assert texts(broker) == ["a"]
    clock.advance(PAUSE)
    told.output(7, "e")
    assert texts(broker) == ["a", "bcd"]
    clock.advance(PAUSE)

    assert texts(broker) == ["a", "bcd", "e"]
    clock.advance(PAUSE)
    assert clock.getDelayedCalls() == []


def test_a_slow_broker_gets_the_newest() -> None:
    """What waits is bounded; of progress the last word counts."""
    broker = SlowBroker()
    told, clock = reporter(broker)
    told.output(7, "first")
    told.output(7, "a" * MAX_OUTPUT_CHARACTERS)
    told.output(7, "b")
    told.progress(7, "steps", 1)
    told.progress(7, "steps", 2, 9)

    broker.held[0].callback(None)
    clock.advance(PAUSE)

    last = broker.reported[-1]
    note, _, text = last.text[1:].partition("\n")
    assert note == f"[{MAX_OUTPUT_CHARACTERS + 1 - len(text)} characters were left out here]"
    assert text == "a" * (len(text) - 1) + "b"
    assert MAX_OUTPUT_CHARACTERS - 100 < len(last.text) <= MAX_OUTPUT_CHARACTERS
    assert (last.topic, last.position, last.total) == ("steps", 2, 9)


def test_a_broker_that_does_not_answer_delays_the_answer_for_a_moment_only() -> None:
    """The result counts for more."""
    run = PluginRun(Worker, broker=SlowBroker())

    outcome = run.begin_delivery({"type": "work", "operation-id": 7})
    with pytest.raises(NotYet):
        result_of(outcome)
    run.advance(FINISH_WITHIN)

    assert result_of(outcome).status == DONE


def test_a_broker_that_refuses() -> None:
    """Nobody is hurt."""

    class Refusing(FakeBroker):
        def report(self, output: Output) -> "Deferred[None]":
            return fail(Refused("not yours"))

    run: PluginRun[Any] = PluginRun(Worker, broker=Refusing())

    assert run.deliver({"type": "work", "operation-id": 7}).status == DONE


def test_what_is_no_operation_has_nothing_to_tell() -> None:
    """Finishing it does nothing."""
    told, clock = reporter(FakeBroker())

    result_of(Deferred.fromCoroutine(told.finish(7)))

    assert clock.getDelayedCalls() == []
