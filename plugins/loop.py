"""The runs of a plugin: one at a time, an interval apart, and one more whenever it is asked for."""

from random import Random

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..runtime.doors import returns_deferred
from .activity import Activity, result_of
from .plugin import Plugin

STAGGER = 0.1
"""The first run comes after a random part of this share of the interval, so that plugins do not run all at once."""


class Loop:
    """
    Calls `plugin.run`.

    The next run is due one interval after the last ended. One that fails is logged, the same failure in a row once;
    the loop goes on.
    """

    def __init__(self, *, plugin: Plugin, activity: Activity, clock: IReactorTime, random: Random) -> None:
        self._plugin = plugin
        self._activity = activity
        self._clock = clock
        self._random = random
        self._due: IDelayedCall | None = None
        self._running = self._again = self._afresh = self._stopped = False
        self._trouble = ""

    def start(self) -> None:
        """Run at once where the plugin says so, and after a random part of the interval otherwise."""
        interval = self._plugin.interval
        if interval is not None:
            self._arm(
                (interval if self._plugin.run_at_start else 0) + self._random.random() * STAGGER * interval
            )
        if self._plugin.run_at_start:
            self.run_soon()

    def stop(self) -> None:
        """Start no further run; the one that goes on is the activity's to end."""
        self._stopped = True
        if self._due is not None and self._due.active():
            self._due.cancel()

    def run_soon(self) -> None:
        """Run now, or again when the run that is going on is done."""
        if self._running:
            self._again = True
        elif not self._stopped:
            self._running = True
            self._activity.track(self._run())

    def start_afresh(self) -> None:
        """Let the plugin forget what it told, then run: now, or after the run that is going on."""
        self._afresh = True
        self.run_soon()

    def _arm(self, delay: float) -> None:
        self._due = self._clock.callLater(delay, self._interval_over)

    def _interval_over(self) -> None:
        if not self._running:
            self.run_soon()

    @returns_deferred
    async def _run(self) -> None:
        if self._afresh:
            self._afresh = False
            await self._activity.call("reset", self._plugin.reset)
        try:
            await result_of(self._plugin.run)
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._went_wrong(repr(error))
        else:
            self._went_well()
        self._running = False
        self._go_on()

    def _go_on(self) -> None:
        if self._again:
            self._again = False
            self.run_soon()
        elif not self._stopped and self._plugin.interval is not None and not self._is_due_later():
            self._arm(self._plugin.interval)

    def _is_due_later(self) -> bool:
        return self._due is not None and bool(self._due.active())

    def _went_wrong(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._plugin.log.failure("{plugin}: a run failed; the plugin goes on", plugin=self._plugin.name)
        self._trouble = trouble

    def _went_well(self) -> None:
        if self._trouble:
            self._plugin.log.info("{plugin}: it runs well again", plugin=self._plugin.name)
        self._trouble = ""
