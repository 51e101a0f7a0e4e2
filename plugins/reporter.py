"""
What running operations write, told to the broker for those who watch them.

It is an aside: the operation's result is what counts, and is stored. So nothing waits for it, little of it waits for the
broker, and of what is too much the newest is kept, behind a word on the rest.
"""

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..runtime.newest import Newest
from ..wire.errors import FieldpostError
from ..wire.local import MAX_OUTPUT_CHARACTERS, Output
from .context import Broker
from .patience import wait_at_most

PAUSE = 0.1
"""Seconds between two reports of an operation: what is written meanwhile goes together."""
FINISH_WITHIN = 1.0
"""Seconds that an operation's end waits at most, so that whoever watches sees the last words."""


@define(eq=False)
class _Operation:
    text: Newest = field(factory=lambda: Newest(MAX_OUTPUT_CHARACTERS))
    progress: tuple[str, int, int | None] | None = None
    is_speaking: bool = False
    is_ending: bool = False
    pause: "Deferred[None] | None" = None
    when_silent: "list[Deferred[None]]" = field(factory=list)

    @property
    def is_unsaid(self) -> bool:
        return bool(self.text) or self.progress is not None


class Reporter:
    """Of one plugin. An operation is known from its first word until `finish`."""

    log = Logger()

    def __init__(self, *, broker: Broker, plugin: str, clock: IReactorTime) -> None:
        self._broker = broker
        self._plugin = plugin
        self._clock = clock
        self._operations: dict[int, _Operation] = {}

    def output(self, operation: int, text: str) -> None:
        """It wrote this."""
        found = self._operations.setdefault(operation, _Operation())
        found.text.add(text)
        self._speak(operation, found)

    def progress(self, operation: int, topic: str, position: int, total: int | None = None) -> None:
        """It is so far; of several reports the newest counts."""
        found = self._operations.setdefault(operation, _Operation())
        found.progress = (topic, position, total)
        self._speak(operation, found)

    async def finish(self, operation: int) -> None:
        """It is about to be answered: say what is unsaid, within a moment."""
        found = self._operations.pop(operation, None)
        if found is None or not found.is_speaking:
            return
        found.is_ending = True
        silent: Deferred[None] = Deferred()
        found.when_silent.append(silent)
        _go_on(found)
        await wait_at_most(silent, FINISH_WITHIN, self._clock)

    def _speak(self, operation: int, found: _Operation) -> None:
        if not found.is_speaking:
            found.is_speaking = True
            spoken = Deferred.fromCoroutine(self._say_all(operation, found))
            spoken.addErrback(lambda failure: self.log.failure("output was not reported", failure))

    async def _say_all(self, operation: int, found: _Operation) -> None:
        try:
            while found.is_unsaid:
                await self._say(operation, found)
                if not found.is_ending:
                    await self._pause(found)
        finally:
            found.is_speaking = False
            waiting, found.when_silent = found.when_silent, []
            for silent in waiting:
                silent.callback(None)

    async def _say(self, operation: int, found: _Operation) -> None:
        text = found.text.take()
        (topic, position, total), found.progress = found.progress or (None, 0, None), None
        output = Output(
            plugin=self._plugin, operation=operation, text=text, topic=topic, position=position, total=total
        )
        try:
            await self._broker.report(output)
        except FieldpostError as error:
            self.log.debug("the broker did not take what an operation wrote: {error}", error=str(error))

    def _pause(self, found: _Operation) -> "Deferred[None]":
        found.pause = Deferred()
        self._clock.callLater(PAUSE, _go_on, found)
        return found.pause


def _go_on(found: _Operation) -> None:
    pause, found.pause = found.pause, None
    if pause is not None:
        pause.callback(None)
