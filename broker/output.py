"""
What operations write while they run, for whoever watches.

Nothing of it is stored: the operation's result is. So all of it is bounded. The newest 64 KiB of each operation are
kept, that of the last operations that ended a while longer, so that who comes late sees them too.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..wire.local import MAX_OUTPUT_CHARACTERS
from .errors import BrokerError

MAX_ENDED = 16
"""Operations that ended, of which the output is kept."""
MAX_WATCHERS = 16
"""Who may wait for operations that have not begun."""
BEGIN_WITHIN = 15.0
"""Seconds that a watcher waits for an operation to begin: it may be on its way from the inbox to its plugin."""


class NotRunning(BrokerError):
    """There is no such operation here now."""


@frozen(kw_only=True)
class Progress:
    """How far an operation is, of what."""

    topic: str
    position: int
    total: int | None = None


class Watcher(Protocol):
    """Who sees what an operation writes."""

    def output(self, text: str) -> None:
        """It wrote this."""

    def progress(self, progress: Progress) -> None:
        """It is so far."""


@define(eq=False)
class _Watch:
    watcher: Watcher
    ended: "Deferred[None]"
    timer: "IDelayedCall | None" = None


@define(eq=False)
class _Operation:
    """Several plugins may be at it: it ends when all are done."""

    at_it: int = 0
    text: str = ""
    progress: Progress | None = None
    watches: list[_Watch] = field(factory=list)

    def show(self, watcher: Watcher) -> None:
        """What was so far."""
        if self.text:
            watcher.output(self.text)
        if self.progress is not None:
            watcher.progress(self.progress)


class Outputs:
    """Of all operations, by their ids."""

    log = Logger()

    def __init__(self, *, clock: IReactorTime) -> None:
        self._clock = clock
        self._running: dict[int, _Operation] = {}
        self._ended: OrderedDict[int, _Operation] = OrderedDict()
        self._awaited: dict[int, list[_Watch]] = {}

    # What plugins do

    def begin(self, operation: int) -> None:
        """A plugin is about to get it."""
        found = self._running.setdefault(operation, _Operation())
        found.at_it += 1
        self._ended.pop(operation, None)
        for watch in self._awaited.pop(operation, ()):
            _stop(watch)
            found.watches.append(watch)

    def add(self, operation: int, text: str) -> None:
        """It wrote something."""
        found = self._running.get(operation)
        if found is not None and text:
            found.text = (found.text + text)[-MAX_OUTPUT_CHARACTERS:]
            self._tell(found, lambda watcher: watcher.output(text))

    def progress(self, operation: int, progress: Progress) -> None:
        """It came so far."""
        found = self._running.get(operation)
        if found is not None:
            found.progress = progress
            self._tell(found, lambda watcher: watcher.progress(progress))

    def end(self, operation: int) -> None:
        """A plugin is done with it, or gone."""
        found = self._running.get(operation)
        if found is None:
            return
        found.at_it -= 1
        if found.at_it > 0:
            return
        del self._running[operation]
        watches, found.watches = found.watches, []
        self._ended[operation] = found
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        for watch in watches:
            _fire(watch)

    # What watchers do

    def watch(self, operation: int, watcher: Watcher) -> "Deferred[None]":
        """
        Show what it wrote so far, and what it writes from now on.

        Fires when it has ended; fails with NotRunning when it does not begin soon. Cancelling it ends the watching.
        """
        watch = _Watch(watcher, Deferred(lambda _: self._forget(operation, watch)))
        running, ended = self._running.get(operation), self._ended.get(operation)
        if running is not None:
            running.show(watcher)
            running.watches.append(watch)
        elif ended is not None:
            ended.show(watcher)
            watch.ended.callback(None)
        elif sum(map(len, self._awaited.values())) >= MAX_WATCHERS:
            watch.ended.errback(NotRunning(f"operation {operation} is not under way; ask again when it is"))
        else:
            self._awaited.setdefault(operation, []).append(watch)
            watch.timer = self._clock.callLater(BEGIN_WITHIN, self._give_up, operation, watch)
        return watch.ended

    def _give_up(self, operation: int, watch: _Watch) -> None:
        self._forget(operation, watch)
        watch.ended.errback(
            NotRunning(
                f"operation {operation} is not under way here; its result says how it ended, if it has begun at all"
            )
        )

    def _forget(self, operation: int, watch: _Watch) -> None:
        _stop(watch)
        running = self._running.get(operation)
        if running is not None and watch in running.watches:
            running.watches.remove(watch)
        awaited = self._awaited.get(operation, [])
        if watch in awaited:
            awaited.remove(watch)
            if not awaited:
                del self._awaited[operation]

    def _tell(self, operation: _Operation, tell: Callable[[Watcher], None]) -> None:
        for watch in tuple(operation.watches):
            try:
                tell(watch.watcher)
            except Exception:  # noqa: BLE001 - whoever watches must not disturb the operation
                self.log.failure("an operation's output was not shown")


def _fire(watch: _Watch) -> None:
    if not watch.ended.called:
        watch.ended.callback(None)


def _stop(watch: _Watch) -> None:
    if watch.timer is not None and watch.timer.active():
        watch.timer.cancel()
