"""One service on one reactor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.hosting import Hosting
from fieldpost.runtime.settings import SettingsError
from fieldpost.runtime.toml_source import Problem


class FakeReactor:
    """A reactor whose run is what the test says; it takes no signals."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.during = during
        self.before_shutdown: list[Callable[[], Any]] = []
        self.stops = 0
        self.has_run = False

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], Any]) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.before_shutdown.append(call)

    def callWhenRunning(self, call: Callable[[], None]) -> None:
        pass

    def run(self) -> None:
        self.has_run = True
        self.during()
        for call in self.before_shutdown:
            call()

    def stop(self) -> None:
        self.stops += 1


class ScriptedService(Service):
    """Fails where the test says so."""

    def __init__(self, *, start: Exception | None = None, stop: Exception | None = None) -> None:
        self.start, self.stop = start, stop
        self.stopped = False

    def startService(self) -> None:
        if self.start is not None:
            raise self.start
        super().startService()

    def stopService(self) -> "Deferred[None] | None":
        self.stopped = True
        if self.stop is not None:
            raise self.stop
        super().stopService()
        return None


class HostingTests(SynchronousTestCase):
    def test_a_run(self) -> None:
        """A service is started, runs, is stopped; the exit code is 0."""
        service, reactor = ScriptedService(), FakeReactor()

        self.assertEqual(0, Hosting(service, reactor).run())
        self.assertTrue(service.stopped)

    def test_asked_twice(self) -> None:
        """Asked to stop twice, it stops once; the worse exit code counts."""

        def stop_twice() -> None:
            hosting.stop(3)
            hosting.stop(0)

        reactor = FakeReactor(during=stop_twice)
        hosting = Hosting(ScriptedService(), reactor)

        self.assertEqual(3, hosting.run())
        self.assertEqual(1, reactor.stops)

    def test_cannot_start(self) -> None:
        """A service that cannot start says why in a line, without a traceback; the reactor never runs."""
        for error in (
            SettingsError([Problem(file=Path("x.toml"), text="is wrong")]),
            CannotListenError("127.0.0.1", 80, OSError(98, "in use")),
        ):
            with self.subTest(error=error), capturedLogs() as logs:
                reactor = FakeReactor()
                self.assertEqual(1, Hosting(ScriptedService(start=error), reactor).run())
                self.assertFalse(reactor.has_run)
                self.assertEqual(str(error), logs[-1]["cause"])
                self.assertNotIn("log_failure", logs[-1])

    def test_mistake_at_the_start(self) -> None:
        """A mistake of ours leaves its traceback in the log."""
        self.assertEqual(1, Hosting(ScriptedService(start=ZeroDivisionError()), FakeReactor()).run())

        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_mistake_at_the_end(self) -> None:
        """A service that fails to stop is one that failed."""
        service, reactor = ScriptedService(stop=ZeroDivisionError()), FakeReactor()
        hosting = Hosting(service, reactor)
        reactor.before_shutdown.append(lambda: None)
        hosting.run()

        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(1, hosting.exit_code)
