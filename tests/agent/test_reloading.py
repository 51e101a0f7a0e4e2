"""A service is made anew from its configuration, and a wrong configuration changes nothing."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.agent.reloading import ReloadingService
from fieldpost.runtime.notify import Notifier
from fieldpost.wire.errors import FieldpostError


class Numbered(Service):
    """The service made from the configuration of that number."""

    def __init__(self, number: int, *, breaks: bool = False) -> None:
        self.number = number
        self.breaks = breaks
        self.stopped: Deferred[None] | None = None

    def startService(self) -> None:
        if self.breaks:
            raise FieldpostError("its port is taken")
        super().startService()

    def stopService(self) -> "Deferred[None] | None":
        super().stopService()
        return self.stopped

    async def when_ready(self) -> None:
        """At once."""

    async def vitals(self) -> str:
        return f"number {self.number}"


class ReloadingTests(SynchronousTestCase):
    """`self.next` is what the configuration says next."""

    def setUp(self) -> None:
        self.made: list[Numbered] = []
        self.next: Callable[[], Numbered] = lambda: Numbered(len(self.made) + 1)
        self.service = ReloadingService(make=self._make, notifier=Notifier(None))
        self.service.startService()

    def _make(self) -> Numbered:
        self.made.append(self.next())
        return self.made[-1]

    def _vitals(self) -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.service.vitals()))

    def test_reload(self) -> None:
        """The new service runs, and the old one does not."""
        self.successResultOf(self.service.reload())

        assert [service.running for service in self.made] == [0, 1]
        assert self._vitals() == "number 2"

    def test_wrong_configuration(self) -> None:
        """What runs goes on untouched, and the log says what is wrong."""

        def refuse() -> Numbered:
            raise FieldpostError("agent.toml:3: no such option")

        self.next = refuse
        with capturedLogs() as logs:
            self.successResultOf(self.service.reload())

        assert self._vitals() == "number 1"
        assert self.made[0].running
        assert "agent.toml:3" in logs[0]["cause"]

    def test_configuration_that_does_not_run(self) -> None:
        """When the new service cannot start, the old one is started again."""
        self.next = lambda: Numbered(2, breaks=True)
        with capturedLogs() as logs:
            self.successResultOf(self.service.reload())

        assert [service.running for service in self.made] == [1, 0]
        assert self._vitals() == "number 1"
        assert "its port is taken" in logs[0]["cause"]

    def test_reload_meanwhile(self) -> None:
        """One that is asked for while one is under way is that one."""
        self.made[0].stopped = Deferred()
        first = self.service.reload()

        self.successResultOf(self.service.reload())
        assert len(self.made) == 2

        self.made[0].stopped.callback(None)
        self.successResultOf(first)
        assert self._vitals() == "number 2"

    def test_reload_after_stop(self) -> None:
        """What has ended stays so."""
        self.successResultOf(self.service.stopService())

        self.successResultOf(self.service.reload())

        assert len(self.made) == 1
        assert not self.made[0].running
