"""What a monitor's author writes is reading, closing and wording; the rest is the monitor's."""

from collections.abc import Iterable, Sequence

import pytest

from fieldpost.plugins import Message, Monitor
from fieldpost.testing import START, FakeBroker, PluginRun


class Count(Monitor):
    """Counts its readings; every second one completes a point."""

    name = "count"
    sends = ("count",)
    readings = 0

    def read(self, now: float) -> Iterable[int]:
        self.readings += 1
        return [self.readings] if self.readings % 2 == 0 else []

    def close(self, now: float) -> Iterable[int]:
        return [-self.readings]

    def word(self, points: Sequence[int]) -> Message:
        return {"type": "count", "points": list(points)}


def test_the_first_report_comes_a_second_after_the_start() -> None:
    """With a step that is not over."""
    run = PluginRun(Count)

    run.advance(1)

    assert run.messages == [{"type": "count", "points": [2, -2]}]


def test_later_reports_come_before_an_exchange() -> None:
    """With the steps that are over."""
    run = PluginRun(Count)
    run.advance(100)

    run.impending_exchange()
    run.impending_exchange()

    assert [message["points"] for message in run.messages] == [[2, -2], [4, 6]]


def test_the_last_report_comes_at_the_end() -> None:
    """With what is there."""
    run = PluginRun(Count)
    run.advance(50)

    run.stop()

    assert run.messages[-1]["points"] == [4, -5]


def test_points_that_found_no_room_come_with_the_next_report() -> None:
    """Nothing is lost, nothing doubled."""
    run = PluginRun(Count, broker=FakeBroker(max_waiting=0))
    run.broker.away()
    run.advance(50)
    run.broker.back()
    run.broker.max_waiting = 10

    run.impending_exchange()

    assert [message["points"] for message in run.messages] == [[2, -2, 4]]


def test_a_monitor_must_read_close_and_word() -> None:
    """There is nothing else to it."""

    class Empty(Monitor):
        name = "empty"

    plugin = PluginRun(Empty, start=False).plugin

    for call in (lambda: plugin.read(START), lambda: plugin.close(START), lambda: plugin.word([])):
        with pytest.raises(NotImplementedError):
            call()
