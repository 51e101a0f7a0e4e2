"""Log events as lines."""

import json
from io import StringIO
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.logs import RecentLines, log_observer


class LogTests(SynchronousTestCase):
    def written(self, format: str, level: str = "info") -> tuple[Logger, StringIO]:
        stream = StringIO()
        return Logger("here", observer=log_observer(stream, level=level, format=format)), stream

    def test_text(self) -> None:
        """A line for people has time, level, origin and the words."""
        log, stream = self.written("text")

        log.info("exchange done: {sent} sent", sent=5)

        time, rest = stream.getvalue().split(" ", 1)
        self.assertRegex(time, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$")
        self.assertEqual("info here: exchange done: 5 sent\n", rest)

    def test_json(self) -> None:
        """A line for programs is one object, with the event's data as fields."""
        log, stream = self.written("json")

        log.warn("{peer} left", peer=["x"], count=5)

        found: dict[str, Any] = json.loads(stream.getvalue())
        del found["time"]
        self.assertEqual(
            {"level": "warn", "from": "here", "text": "['x'] left", "peer": "['x']", "count": 5}, found
        )

    def test_level(self) -> None:
        """What is below the level is left out."""
        log, stream = self.written("text", level="warn")

        log.info("small")
        log.error("large")

        self.assertIn("large", stream.getvalue())
        self.assertNotIn("small", stream.getvalue())

    def test_strangers_words(self) -> None:
        """What a stranger said stays on its line, and cannot steer a terminal."""
        log, stream = self.written("text")

        log.info("{said}", said="a\nb\x1b[2J")

        self.assertTrue(stream.getvalue().endswith(": a\\nb\\x1b[2J\n"))

    def test_failure(self) -> None:
        """A traceback follows its line, indented; in JSON it is a field."""
        for format in ("text", "json"):
            log, stream = self.written(format)
            log.failure("it broke", Failure(ValueError("why")))
            self.assertIn("ValueError: why", stream.getvalue())
        self.assertIn("ValueError: why", json.loads(stream.getvalue())["traceback"])

    def test_reader_is_gone(self) -> None:
        """A log that nobody reads any more hurts nobody."""
        log, stream = self.written("text")
        stream.close()

        log.info("hello?")


class RecentTests(SynchronousTestCase):
    def test_last(self) -> None:
        """The last lines are kept for whoever asks from afar: so many, of a bounded length, without debugging."""
        recent = RecentLines(most=3)
        log = Logger("here", observer=recent)

        for number in range(5):
            log.info("line {number} {more}", number=number, more="x" * 10_000)
            log.debug("not this")

        assert [line.split(" ")[4] for line in recent.last(9)] == ["2", "3", "4"]
        assert len(recent.last(2)) == 2
        assert recent.last(0) == []
        assert all(len(line) <= 2_000 for line in recent.last(9))
