"""The thread that owns a database: one call after the other, answers in the reactor's thread."""

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.runtime.writer import SWITCH_INTERVAL, Writer, WriterThread
from tests.fakes import InlineWriter


class ThreadCalls:
    """The part of a reactor that takes calls from threads; the test's own thread makes them."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self._calls.put(lambda: function(*args, **kwargs))

    def until(self, awaited: "Deferred[Any]") -> "Deferred[Any]":
        while not awaited.called:
            self._calls.get(timeout=120)()
        return awaited


class WriterTests(SynchronousTestCase):
    """What every Writer promises."""

    def setUp(self) -> None:
        self.calls = ThreadCalls()
        reactor: Any = self.calls
        self.thread = WriterThread(reactor=reactor, name="test")
        self.addCleanup(lambda: self.calls.until(self.thread.stop()))

    def writers(self) -> tuple[Writer, ...]:
        return (self.thread, InlineWriter())

    def test_result(self) -> None:
        """A call's result comes with its Deferred."""
        for writer in self.writers():
            assert self.successResultOf(self.calls.until(writer.run(divmod, 7, 2))) == (3, 1)

    def test_failure(self) -> None:
        """So does what it raises, and the next call is run all the same."""
        for writer in self.writers():
            failed = self.calls.until(writer.run(divmod, 7, 0))
            self.failureResultOf(failed, ZeroDivisionError)
            assert self.successResultOf(self.calls.until(writer.run(int, "7", base=8))) == 7

    def test_order(self) -> None:
        """Calls are run in the order in which they were given."""
        for writer in self.writers():
            ran: list[int] = []
            for number in range(100):
                last = writer.run(ran.append, number)
            self.calls.until(last)

            assert ran == list(range(100))

    def test_own_thread(self) -> None:
        """Calls are run in one thread that is not the reactor's; answers are given in the reactor's."""
        answered: list[threading.Thread] = []
        ran = self.thread.run(threading.current_thread)

        def note(thread: threading.Thread) -> threading.Thread:
            answered.append(threading.current_thread())
            return thread

        ran.addCallback(note)
        thread = self.successResultOf(self.calls.until(ran))

        assert (thread.name, thread.daemon) == ("test", True)
        assert thread is not threading.current_thread()
        assert answered == [threading.current_thread()]

    def test_stop(self) -> None:
        """What was given before the stop is run before it is over."""
        reactor: Any = self.calls
        writer = WriterThread(reactor=reactor, name="other")
        last = writer.run(divmod, 7, 2)

        self.calls.until(writer.stop())

        assert self.successResultOf(last) == (3, 1)

    def test_switch_interval(self) -> None:
        """While there is such a thread the reactor does not keep the interpreter for long."""
        assert sys.getswitchinterval() <= SWITCH_INTERVAL * 1.01
