"""
What operations write while they run, for whoever looks (wire 5.12).

Nobody watches an operation until somebody asks: then its computer is asked to `tail` it over the live session, and what
comes is kept, the newest of it. Each look names the place up to which it has read; it is answered at once with what is
beyond, or waits a while for more. When nobody has looked for a minute the computer is told to stop. None of this is
stored: what must not be lost is in the operation's result.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ...runtime.session.errors import SessionError
from ...wire.session.events import Progress
from ..errors import Refused
from .kept import KeptText

TAIL = "tail"
KEPT_CHARACTERS = 256 * 1024
"""Of each operation that is watched."""
MOST_WATCHED = 200
IDLE_SECONDS = 60.0
MOST_TOPICS = 16
MAX_TOPIC_OCTETS = 200
_OVERLAP = 4_096


class Callee(Protocol):
    """A computer that can be asked; runtime.session's Peer."""

    def call(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        on_output: Callable[[str], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> "Deferred[tuple[Any, ...]]":
        """Ask. Any: values are whatever travels."""


@frozen(kw_only=True)
class Look:
    """What one look is answered with."""

    text: str
    next: int
    """The place up to which was read: the next look's `after`."""
    missed: int
    """Characters between `after` and this text that are not kept any more."""
    progress: dict[str, Any]
    """By topic. Any: its members are in docs/server.md."""
    is_live: bool
    """More may come."""
    trouble: str | None


@define(eq=False)
class _Watched:
    kept: KeptText = field(factory=lambda: KeptText(KEPT_CHARACTERS))
    progress: dict[str, Any] = field(factory=dict)
    version: int = 0
    """Grows with whatever can be seen."""
    is_again: bool = False
    """What comes next begins anew, and repeats what came before."""
    asking: "Deferred[Any] | None" = None
    trouble: str | None = None
    waiting: "list[Deferred[None]]" = field(factory=list)
    idle: "IDelayedCall | None" = None

    def add(self, text: str) -> None:
        if self.is_again:
            text = _news(self.kept.text, text)
            self.is_again = False
        self.kept.add(text)
        self.changed()

    def changed(self) -> None:
        self.version += 1
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)

    def wake(self, one: "Deferred[None]") -> None:
        """One of those who wait, alone."""
        self.waiting.remove(one)
        one.callback(None)


class Outputs:
    """Of all operations that somebody watches, by their ids."""

    def __init__(self, *, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: dict[int, _Watched] = {}

    async def look(
        self, operation: int, *, after: int, wait: float, find: Callable[[], Callee | None]
    ) -> Look:
        """
        What an operation wrote beyond `after`, or writes within `wait` seconds.

        `find` gives its computer, if that is connected and the operation may still write. Who takes it back waits no longer.
        Raises Refused.
        """
        watched = self._watch(operation)
        self._tail(operation, watched, find())
        if watched.kept.end <= after and watched.asking is not None and wait > 0:
            await self._change(watched, wait)
        return _answer(watched, after)

    def _watch(self, operation: int) -> _Watched:
        watched = self._watched.get(operation)
        if watched is None:
            if len(self._watched) >= MOST_WATCHED:
                cause = f"{MOST_WATCHED} operations are being watched"
                raise Refused(503, cause, "try again in a minute", headers=(("Retry-After", "60"),))
            watched = self._watched[operation] = _Watched()
        if watched.idle is not None and watched.idle.active():
            watched.idle.cancel()
        watched.idle = self._clock.callLater(IDLE_SECONDS, self._forget, operation)
        return watched

    def _tail(self, operation: int, watched: _Watched, callee: Callee | None) -> None:
        if watched.asking is not None or callee is None:
            return
        watched.trouble, watched.is_again = None, bool(watched.kept.end)
        asking = watched.asking = callee.call(
            TAIL,
            {"operation": operation},
            on_output=watched.add,
            on_progress=lambda progress: _note(watched, progress),
        )
        asking.addBoth(self._ended, watched)

    def _ended(self, outcome: Any, watched: _Watched) -> None:
        watched.asking = None
        if isinstance(outcome, Failure):
            known = outcome.check(SessionError)
            watched.trouble = str(outcome.value) if known else "the output could not be fetched"
        watched.changed()

    def _change(self, watched: _Watched, wait: float) -> "Deferred[None]":
        """When there is something new, the time is up, or it is taken back."""
        change: Deferred[None] = Deferred(watched.wake)
        watched.waiting.append(change)
        timer = self._clock.callLater(wait, watched.wake, change)

        def stop(_: None) -> None:
            if timer.active():
                timer.cancel()

        return change.addCallback(stop)

    def _forget(self, operation: int) -> None:
        watched = self._watched.pop(operation)
        if watched.asking is not None:
            watched.asking.cancel()

    def stop(self) -> None:
        """Nobody looks any more."""
        for operation, watched in list(self._watched.items()):
            if watched.idle is not None and watched.idle.active():
                watched.idle.cancel()
            self._forget(operation)


def _note(watched: _Watched, progress: Progress) -> None:
    topic = progress.topic[:MAX_TOPIC_OCTETS].decode("utf-8", "backslashreplace")
    if progress.position < 0:
        watched.progress.pop(topic, None)
    elif topic in watched.progress or len(watched.progress) < MOST_TOPICS:
        watched.progress[topic] = {"position": progress.position, "total": progress.total}
    watched.changed()


def _news(kept: str, told: str) -> str:
    """What is new in a text that is told again from its beginning, or from as far back as is kept there."""
    known = kept[-_OVERLAP:]
    at = told.rfind(known)
    return told if at < 0 else told[at + len(known) :]


def _answer(watched: _Watched, after: int) -> Look:
    text, start, end = watched.kept.text, watched.kept.start, watched.kept.end
    begin = min(max(after, start), end)
    return Look(
        text=text[begin - start :],
        next=end,
        missed=max(0, start - after),
        progress=dict(watched.progress),
        is_live=watched.asking is not None,
        trouble=watched.trouble,
    )
