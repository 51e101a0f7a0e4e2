"""Strangers cannot fill the log."""

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, capturedLogs, formatEvent
from twisted.python.failure import Failure

from fieldpost.server.ration import RationedLogger


def lines(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


def test_a_flood_of_lines() -> None:
    """After a burst only a few come each second; how many were left out is told."""
    clock = Clock()
    log = RationedLogger("strangers", clock=clock, burst=3, each_second=2.0)

    with capturedLogs() as events:
        for number in range(1_000):
            log.info("line {number}", number=number)
        clock.advance(1)
        for number in range(1_000, 1_010):
            log.warn("line {number}", number=number)

    assert lines(events) == [
        "line 0",
        "line 1",
        "line 2",
        "997 lines about strangers were left out",
        "line 1000",
        "line 1001",
    ]


def test_after_a_pause() -> None:
    """The burst comes back; a clock that is set back does no harm."""
    clock = Clock()
    log = RationedLogger("strangers", clock=clock, burst=3, each_second=2.0)
    with capturedLogs() as events:
        for _ in range(2):
            for _ in range(9):
                log.info("line")
            clock.rightNow += 1_000
        clock.rightNow -= 5_000
        log.info("line")

    assert lines(events).count("line") == 6


def test_our_own_failures() -> None:
    """They are told, always."""
    log = RationedLogger("strangers", clock=Clock(), burst=0, each_second=0.0)

    with capturedLogs() as events:
        for _ in range(5):
            log.failure("ours", Failure(ZeroDivisionError()))

    assert lines(events) == ["ours"] * 5
    assert isinstance(log, Logger)
