"""What operations write is seen by whoever watches, and never piles up."""

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.output import BEGIN_WITHIN, MAX_ENDED, MAX_WATCHERS, NotRunning, Outputs, Progress
from fieldpost.wire.local import MAX_OUTPUT_CHARACTERS


class Seen:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def output(self, text: str) -> None:
        self.all.append(text)

    def progress(self, progress: Progress) -> None:
        self.all.append(progress)


class OutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.outputs = Outputs(clock=self.clock)
        self.seen = Seen()

    def test_as_it_is_written(self) -> None:
        """A watcher sees what is written while it watches, and is told of the end."""
        self.outputs.begin(7)
        ended = self.outputs.watch(7, self.seen)

        self.outputs.add(7, "one")
        self.outputs.progress(7, Progress(topic="steps", position=1, total=2))
        self.outputs.add(7, "two")
        self.assertNoResult(ended)
        self.outputs.end(7)

        assert self.seen.all == ["one", Progress(topic="steps", position=1, total=2), "two"]
        assert self.successResultOf(ended) is None

    def test_late(self) -> None:
        """Who comes late sees what was before, and once it has ended all of it."""
        self.outputs.begin(7)
        self.outputs.add(7, "one")
        self.outputs.progress(7, Progress(topic="steps", position=1))
        self.outputs.watch(7, self.seen)
        self.outputs.add(7, "two")
        self.outputs.end(7)
        later = Seen()

        self.successResultOf(self.outputs.watch(7, later))

        assert self.seen.all == ["one", Progress(topic="steps", position=1), "two"]
        assert later.all == ["onetwo", Progress(topic="steps", position=1)]

    def test_early(self) -> None:
        """Who comes before the operation has reached its plugin waits for it."""
        ended = self.outputs.watch(7, self.seen)
        self.clock.advance(BEGIN_WITHIN - 1)

        self.outputs.begin(7)
        self.clock.advance(BEGIN_WITHIN)
        self.outputs.add(7, "one")

        assert self.seen.all == ["one"]
        self.assertNoResult(ended)

    def test_never(self) -> None:
        """One that does not begin is told to be none, and nothing of it is kept."""
        ended = self.outputs.watch(7, self.seen)

        self.clock.advance(BEGIN_WITHIN)

        assert "operation 7 is not under way" in str(self.failureResultOf(ended, NotRunning).value)
        assert self.outputs._awaited == {}

    def test_too_many_early_ones(self) -> None:
        """So many wait, and no more."""
        for number in range(MAX_WATCHERS):
            self.outputs.watch(number, self.seen)

        self.failureResultOf(self.outputs.watch(99, self.seen), NotRunning)

    def test_the_newest_is_kept(self) -> None:
        """What is kept of the output is bounded."""
        self.outputs.begin(7)
        self.outputs.add(7, "a" * MAX_OUTPUT_CHARACTERS)
        self.outputs.add(7, "b")

        self.outputs.watch(7, self.seen)

        assert self.seen.all == ["a" * (MAX_OUTPUT_CHARACTERS - 1) + "b"]

    def test_few_ended_ones_are_kept(self) -> None:
        """The last ones."""
        for number in range(MAX_ENDED + 1):
            self.outputs.begin(number)
            self.outputs.end(number)

        self.successResultOf(self.outputs.watch(MAX_ENDED, self.seen))
        self.assertNoResult(self.outputs.watch(0, self.seen))

    def test_several_plugins(self) -> None:
        """An operation that several plugins take ends with the last."""
        self.outputs.begin(7)
        self.outputs.begin(7)
        ended = self.outputs.watch(7, self.seen)

        self.outputs.end(7)
        self.assertNoResult(ended)
        self.outputs.end(7)

        self.successResultOf(ended)

    def test_cancelled(self) -> None:
        """Who stops watching, before or during, is told nothing more."""
        self.outputs.begin(7)
        for operation in (7, 8):
            ended = self.outputs.watch(operation, self.seen)
            ended.cancel()
            self.failureResultOf(ended, CancelledError)
        self.outputs.begin(8)

        for operation in (7, 8):
            self.outputs.add(operation, "one")
            self.outputs.end(operation)

        assert self.seen.all == []

    def test_a_watcher_that_fails(self) -> None:
        """It disturbs neither the operation nor the other watchers."""

        class Broken(Seen):
            def output(self, text: str) -> None:
                raise ValueError("gone")

        self.outputs.begin(7)
        self.outputs.watch(7, Broken())
        self.outputs.watch(7, self.seen)

        with capturedLogs() as logs:
            self.outputs.add(7, "one")

        assert self.seen.all == ["one"]
        assert "not shown" in logs[0]["log_format"]
        self.flushLoggedErrors(ValueError)

    def test_what_is_unknown(self) -> None:
        """An operation that is not under way writes nothing."""
        self.outputs.add(1, "one")
        self.outputs.progress(1, Progress(topic="steps", position=1))
        self.outputs.end(1)

        assert not self.outputs._running
        assert not self.outputs._ended
