"""
A plugin, run in memory: under a clock that the test moves, with a broker that keeps what it is told.

    run = PluginRun(LoadAverage, settings={"interval": 60}, read=lambda: 0.5)
    run.advance(60)
    assert run.messages == [...]
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ..plugins.context import Surroundings
from ..plugins.plugin import Plugin
from ..plugins.runner import Runner
from ..runtime.settings import load_table
from ..wire.local import IMPENDING_EXCHANGE, Outcome
from ..wire.message import Message
from .broker import FakeBroker
from .machine import FakeSpawner, FakeThreads
from .results import result_of

Kind = TypeVar("Kind", bound=Plugin)

START = 1_700_000_100.0
"""The time when every run begins, in seconds since 1970: a full five minutes."""
STOP_WITHIN = 5.0


class PluginRun(Generic[Kind]):
    """
    One plugin at work, started at once unless `start=False`.

    `settings` are as in a manifest. Processes are fakes, unless `spawner` is a reactor. Further arguments go to the
    plugin's `__init__`, in place of its defaults.
    """

    def __init__(
        self,
        kind: type[Kind],
        *,
        settings: Mapping[str, Any] | None = None,
        broker: FakeBroker | None = None,
        seed: int = 0,
        start: bool = True,
        spawner: Any = None,
        **parts: Any,
    ) -> None:
        self.clock = Clock()
        self.broker = broker or FakeBroker()
        self.threads = FakeThreads()
        self.spawner = FakeSpawner()
        self._wall = START
        self.runner = Runner(
            kind,
            settings=load_table(dict(settings or {}), kind.Settings, file=Path(f"{kind.__name__} settings")),
            surroundings=Surroundings(
                broker=self.broker,
                clock=self.clock,
                now=self.now,
                random=Random(seed),
                in_thread=self.threads.run,
                spawner=spawner or self.spawner,
            ),
            make=partial(kind, **parts),
        )
        self.broker.listen(on_deliver=self._on_deliver, on_event=self._on_event)
        if start:
            self.runner.start()

    @property
    def plugin(self) -> Kind:
        """The plugin itself."""
        return cast(Kind, self.runner.plugin)

    @property
    def messages(self) -> list[Message]:
        """What the broker stored, in order."""
        return self.broker.messages

    def messages_of(self, type: str) -> list[Message]:
        """Those of one type."""
        return [message for message in self.messages if message["type"] == type]

    # Time

    def now(self) -> float:
        """The time of day, in seconds since 1970."""
        return self._wall + self.clock.seconds()

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let so much time pass, a second at a time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))

    def set_clock(self, seconds: float) -> None:
        """Step the time of day by so many seconds, forwards or backwards. No time passes."""
        self._wall += seconds

    # What the broker says

    def impending_exchange(self) -> None:
        """In ten seconds messages go to the server."""
        self.broker.fire(IMPENDING_EXCHANGE)

    def deliver(self, message: Message) -> Outcome:
        """A message of the server, handled at once; raises NotYet when the plugin takes its time."""
        return result_of(self.begin_delivery(message))

    def begin_delivery(self, message: Message) -> "Deferred[Outcome]":
        """A message of the server; the outcome comes when it comes."""
        return self.broker.deliver(self.runner.name, message)

    def stop(self) -> None:
        """Stop the plugin as its process would, and let its time for that pass."""
        stopped = self.runner.stop(STOP_WITHIN)
        self.advance(STOP_WITHIN)
        result_of(stopped)

    def _on_deliver(self, delivery: Any) -> "Deferred[Outcome]":
        return self.runner.deliver(delivery.message)

    def _on_event(self, event: Any) -> None:
        self.runner.event(event.name, event.details)
