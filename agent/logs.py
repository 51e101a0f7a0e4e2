"""Log events as lines: for people, or one JSON object each."""

import json
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import implementer

MAX_FIELD_CHARACTERS = 2000
_LEGACY = frozenset({"message", "time", "system", "format", "isError", "why", "failure"})


def log_observer(stream: TextIO, *, level: str, format: str) -> ILogObserver:
    """An observer that writes events of this level and above; `format` is `text` or `json`."""
    form = _json_line if format == "json" else _text_line
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    observer: ILogObserver = FilteringLogObserver(_LineObserver(stream, form), [predicate])
    return observer


@implementer(ILogObserver)
class RecentLines:
    """Keeps the last lines of the log, as people read it, for whoever asks for them from afar."""

    def __init__(self, *, most: int = 500) -> None:
        self._lines: deque[str] = deque(maxlen=most)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver. Debugging is left out."""
        if event.get("log_level") is not LogLevel.debug:
            self._lines.append(_text_line(event)[:MAX_FIELD_CHARACTERS])

    def last(self, count: int) -> list[str]:
        """At most so many, the newest last."""
        return list(self._lines)[-count:] if count > 0 else []


@implementer(ILogObserver)
class _LineObserver:
    def __init__(
        self, stream: TextIO, form: Any
    ) -> None:  # Any: a function of an event, which mypy takes for a method
        self._stream = stream
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        try:
            self._stream.write(self._form(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            """Whoever read the log is gone. There is nobody to tell."""


def _text_line(event: LogEvent) -> str:
    time = datetime.fromtimestamp(event["log_time"]).astimezone().isoformat(timespec="milliseconds")
    head = f"{time} {_level(event)} {event.get('log_namespace', '-')}: {_one_line(_words(event))}"
    lines = [head, *(f"  {_one_line(line)}" for line in _traceback(event).splitlines())]
    return "\n".join(lines)


def _json_line(event: LogEvent) -> str:
    found: dict[str, Any] = {
        "time": event["log_time"],
        "level": _level(event),
        "from": event.get("log_namespace", "-"),
        "text": _words(event),
    }
    if trace := _traceback(event):
        found["traceback"] = trace
    found.update(_fields(event))
    return json.dumps(found)


def _fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an event, without those of the logging itself."""
    return {
        name: value
        if isinstance(value, (bool, int, float, type(None)))
        else str(value)[:MAX_FIELD_CHARACTERS]
        for name, value in event.items()
        if not name.startswith("log_") and name not in _LEGACY
    }


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "info"


def _words(event: LogEvent) -> str:
    return formatEvent(event)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if failure is not None else ""


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
