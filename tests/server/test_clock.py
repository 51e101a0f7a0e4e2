"""What is written down has the time of day; what waits counts seconds."""

from twisted.internet.task import Clock

from fieldpost.server.clock import DayClock


def test_clock_that_is_set() -> None:
    """A timer comes after its seconds, also when the time of day is set back meanwhile."""
    reactor, day = Clock(), [1_700_000_000.0]
    clock = DayClock(reactor, now=lambda: day[0])
    fired: list[float] = []
    clock.callLater(5, lambda: fired.append(clock.seconds()))

    day[0] -= 86_400
    reactor.advance(5)

    assert fired == [1_699_913_600.0]
    assert clock.getDelayedCalls() == []
