"""A plugin that notes when an operation reaches it; `benchmarks/operation.py` runs it in a plugin host."""

import time
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from fieldpost.plugins.plugin import Plugin, handles
from fieldpost.runtime.settings import option
from fieldpost.wire.message import Message

TYPE = "stopwatch"


@frozen(kw_only=True)
class Settings:
    """Where it notes."""

    file: str = option(example='file = "/tmp/notes"')


class Stopwatch(Plugin):
    """Appends a line for each: its number, and this machine's monotonic time."""

    name = "stopwatch"
    Settings: ClassVar[type] = Settings

    @handles(TYPE)
    def stop(self, message: Message) -> None:
        """The first thing that happens."""
        now = time.monotonic()
        with Path(self.settings.file).open("a") as notes:
            notes.write(f"{message['number']} {now}\n")
