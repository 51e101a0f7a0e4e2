"""
A plugin that counts, and writes down which numbers it was told are stored.

Each life of its process has a name of its own; the first line of a life in the book is `LIFE start.`, each further one
`LIFE NUMBER.` for an answered message. Of a killed process the last line may be cut short: it has no full stop, and each life
begins with a new line.
"""

import os
import uuid
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from fieldpost.plugins import SECONDS, Context, Plugin, option

BURST = 8
"""Messages that are under way at a time, so that there is an order to lose."""


@frozen(kw_only=True)
class CountingSettings:
    """Where the book is, and how long the plugin rests between two bursts."""

    book: Path = option(example="/var/lib/counting/book")
    interval: float = option(default=0.05, unit=SECONDS, at_least=0.01)


class Counting(Plugin):
    """Sends 0, 1, 2, ... as fast as it may."""

    name = "counting"
    sends = ("counting",)
    run_at_start = True
    Settings = CountingSettings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.interval = self.settings.interval
        self._life = uuid.uuid4().hex
        self._number = 0
        self._book = os.open(self.settings.book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._book, b"\n")
        self._write("start")

    async def run(self) -> None:
        """One burst; ends when all of it is stored."""
        await gatherResults([self._send_next() for _ in range(BURST)], consumeErrors=True)

    def _send_next(self) -> Deferred[None]:
        number, self._number = self._number, self._number + 1
        stored = self.send({"type": "counting", "life": self._life, "number": number})
        return stored.addCallback(lambda _: self._write(str(number)))

    def _write(self, word: str) -> None:
        os.write(self._book, f"{self._life} {word}.\n".encode())
