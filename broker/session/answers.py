"""
What the server may ask of this machine over a session: to exchange now, whether a plugin lives, what is written here.

Nothing durable travels this way: what must not be lost is in exchanges, which have numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ...runtime.newest import Newest
from ...runtime.session.answers import Asked, Handler
from ...runtime.session.errors import CommandError
from ...wire.cbor import Value
from ...wire.local import MAX_OUTPUT_CHARACTERS
from ..output import NotRunning, Outputs, Progress
from ..schedule import Urgency

EXCHANGE_NOW = "exchange-now"
PING_PLUGIN = "ping-plugin"
TAIL = "tail"
MAX_LINES = 500
"""Of the log, in one answer."""
PIECE_CHARACTERS = 4_096
"""In one frame, which then is small enough whatever the characters are."""


class Pinged(Protocol):
    """A plugin's process."""

    def ping(self, plugin: str) -> "Deferred[bool]":
        """Whether it answers in time."""


class Links(Protocol):
    """Where plugins' processes are found."""

    def of_plugin(self, name: str) -> Pinged | None:
        """The process that says that it has this plugin."""


class ServersRequests:
    """
    Answers them. `ask` asks for an exchange; `log_lines` gives the last lines of the broker's log, at most so many.
    """

    def __init__(
        self,
        *,
        ask: Callable[[Urgency], None],
        links: Links,
        outputs: Outputs,
        log_lines: Callable[[int], Sequence[str]],
    ) -> None:
        self._ask = ask
        self._links = links
        self._outputs = outputs
        self._log_lines = log_lines

    @property
    def handlers(self) -> dict[str, Handler]:
        """By the names of the commands."""
        return {EXCHANGE_NOW: self._exchange, PING_PLUGIN: self._ping, TAIL: self._tail}

    def _exchange(self, asked: Asked) -> tuple[Value, ...]:
        self._ask(Urgency.CALLED)
        return ()

    async def _ping(self, asked: Asked) -> list[Value]:
        plugin = _text(asked, b"plugin")
        link = self._links.of_plugin(plugin)
        if link is None:
            raise CommandError(
                "no-plugin", f"no process with plugin `{plugin[:64]}` is connected to the broker"
            )
        if not await link.ping(plugin):
            raise CommandError("no-answer", f"the process of plugin `{plugin[:64]}` does not answer")
        return [{b"plugin": plugin.encode()}]

    async def _tail(self, asked: Asked) -> list[Value]:
        if b"log" in asked.args:
            lines = self._log_lines(min(_number(asked, b"log"), MAX_LINES))
            _Tail(asked).output("".join(f"{line}\n" for line in lines))
            return []
        tail = _Tail(asked)
        try:
            await self._outputs.watch(_number(asked, b"operation"), tail)
        except NotRunning as error:
            raise CommandError("not-running", str(error)) from error
        tail.finish()
        return []


class _Tail:
    """Passes on what is written as fast as the peer takes it; of what is too much the newest, behind a word on the rest."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._text = Newest(MAX_OUTPUT_CHARACTERS)
        self._progress: dict[str, Progress] = {}
        self._is_waiting = False

    def output(self, text: str) -> None:
        """See Watcher."""
        self._text.add(text)
        self._speak()

    def progress(self, progress: Progress) -> None:
        """See Watcher."""
        self._progress = {progress.topic: progress}
        self._speak()

    def finish(self) -> None:
        """Nothing more comes: what waits goes before the answer ends."""
        if not self._asked.is_over:
            self._say()

    def _speak(self) -> None:
        if self._is_waiting or self._asked.is_over:
            return
        if self._asked.is_clear:
            self._say()
        else:
            self._is_waiting = True
            self._asked.when_clear(self._cleared)

    def _cleared(self) -> None:
        self._is_waiting = False
        self._say()

    def _say(self) -> None:
        text = self._text.take()
        for start in range(0, len(text), PIECE_CHARACTERS):
            self._asked.output(text[start : start + PIECE_CHARACTERS])
        told, self._progress = self._progress, {}
        for progress in told.values():
            self._asked.progress(progress.topic, progress.position, progress.total or 0)


def _text(asked: Asked, key: bytes) -> str:
    value: Any = asked.args.get(key)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if not isinstance(value, str):
        raise CommandError("malformed", f"`{asked.name}` needs `{key.decode()}`, a name")
    return value


def _number(asked: Asked, key: bytes) -> int:
    value: Any = asked.args.get(key)
    if type(value) is not int or value < 0:
        raise CommandError("malformed", f"`{asked.name}` needs `operation` or `log`, a number")
    return value
