"""The plugins of one process: what the broker says finds the one that it is for."""

from collections.abc import Iterator

from twisted.internet.defer import Deferred, DeferredList, succeed

from ..wire.local import NOT_HANDLED, Deliver, Event, Outcome, Welcome
from .errors import PluginInvalid
from .runner import Runner


class Roster:
    """All runners of a process. Runners are added before `start`."""

    def __init__(self) -> None:
        self._runners: dict[str, Runner] = {}
        self._stopping = False

    def add(self, runner: Runner) -> None:
        """
        Take a plugin in.

        Raises PluginInvalid when there is one of that name.
        """
        if runner.name in self._runners:
            raise PluginInvalid(f"two plugins are called {runner.name!r}; rename one of them")
        self._runners[runner.name] = runner

    def __iter__(self) -> Iterator[Runner]:
        return iter(self._runners.values())

    def __len__(self) -> int:
        return len(self._runners)

    def start(self) -> None:
        """Start each."""
        for runner in self:
            runner.start()

    def stop(self, within: float) -> "Deferred[list[tuple[bool, None]]]":
        """Stop all at the same time; fires after at most so many seconds."""
        self._stopping = True
        return DeferredList([runner.stop(within) for runner in self])

    def deliver(self, delivery: Deliver) -> "Deferred[Outcome]":
        """Hand the server's message to the plugin that it is for."""
        runner = self._runners.get(delivery.plugin)
        if runner is None or self._stopping:
            return succeed(Outcome(status=NOT_HANDLED))
        return runner.deliver(delivery.message)

    def event(self, event: Event) -> None:
        """Tell everybody."""
        if not self._stopping:
            for runner in self:
                runner.event(event.name, event.details)

    def welcome(self, welcome: Welcome) -> None:
        """There is a connection, anew perhaps: what happened meanwhile was not heard."""
        for runner in self:
            runner.welcome()
