"""Between Twisted and coroutines nothing is lost."""

import time

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.runtime.doors import following, keep_steady_time, returns_deferred


class DoorTests(SynchronousTestCase):
    """What Twisted calls, and what it gets."""

    def test_result(self) -> None:
        """Twisted gets a Deferred with what the coroutine returns, at once if it can."""

        @returns_deferred
        async def double(number: int) -> int:
            return number * 2

        assert self.successResultOf(double(21)) == 42

    def test_error(self) -> None:
        """What the coroutine raises is the Deferred's failure."""

        @returns_deferred
        async def refuse() -> None:
            raise ValueError("no")

        self.failureResultOf(refuse(), ValueError)

    def test_following_a_result(self) -> None:
        """Who follows hears of the end, and the owner keeps the result."""
        followed: Deferred[int] = Deferred()
        follower = following(followed)
        self.assertNoResult(follower)

        followed.callback(7)

        assert self.successResultOf(follower) is None
        assert self.successResultOf(followed) == 7

    def test_following_a_failure(self) -> None:
        """A failure is an end too, and stays with its owner."""
        followed: Deferred[int] = Deferred()
        follower = following(followed)

        followed.errback(ValueError("no"))

        assert self.successResultOf(follower) is None
        self.failureResultOf(followed, ValueError)

    def test_steady_time(self) -> None:
        """A reactor's timers do not follow the time of day."""
        reactor = Clock()

        keep_steady_time(reactor)

        assert abs(reactor.seconds() - time.monotonic()) < 60
