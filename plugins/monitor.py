"""A plugin that reads figures, gathers them as points, and reports them before each exchange."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from ..runtime.settings import SECONDS, option
from ..wire.message import Message
from .context import Context
from .plugin import Plugin
from .points import Points

FIRST_REPORT = 1.0
"""The first report is made so many seconds after the start: whoever installs a monitor sees it work."""


@frozen(kw_only=True)
class MonitorSettings:
    """How often to read, and how long a step is."""

    interval: float = option(default=30.0, unit=SECONDS, at_least=1, at_most=86_400)
    step: int = option(default=300, unit=SECONDS, at_least=1, at_most=86_400)


class Monitor(Plugin):
    """
    A subclass reads, closes and words; gathering and reporting is done here.

    What a point is, is the subclass's own affair.
    """

    interval = 30.0
    Settings = MonitorSettings
    settings: Any  # MonitorSettings, or a class of the subclass with the same options

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.interval = self.settings.interval
        self._points = Points(word=self.word, send=self.send, log=self.log)

    def read(self, now: float) -> Iterable[Any]:
        """Take a reading; the points that it completes. The first reading is where counting begins."""
        raise NotImplementedError

    def close(self, now: float) -> Iterable[Any]:
        """End the step now; the points that this makes."""
        raise NotImplementedError

    def word(self, points: Sequence[Any]) -> Message:
        """The message that tells these points."""
        raise NotImplementedError

    def on_start(self) -> None:
        """Begin counting, and report soon."""
        self.later(FIRST_REPORT, self._report_what_is_there)
        self.run()

    def run(self) -> None:
        """Take a reading."""
        self._points.add(self.read(self.now()))

    async def on_impending_exchange(self) -> None:
        """Report the steps that are over."""
        await self._points.report()

    async def on_stop(self) -> None:
        """Report everything."""
        await self._report_what_is_there()

    async def _report_what_is_there(self) -> None:
        now = self.now()
        self._points.add(self.read(now))
        self._points.add(self.close(now))
        await self._points.report()
