"""How a demo is shown: a live table on a terminal, lines elsewhere, nothing when only the outcome is asked for."""

from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..supervision.child import ChildState
from .sight import LIVE, Sight, TypeFigures
from .words import octets_in_words


class View(Protocol):
    """Somebody who is shown what was seen."""

    def start(self) -> None: ...

    def show(self, sight: Sight) -> None:
        """This is how it is now; called again and again."""

    def stop(self) -> None:
        """Nothing more comes."""


class NoView:
    """Shows nothing."""

    def start(self) -> None:
        """See View."""

    def show(self, sight: Sight) -> None:
        """See View."""

    def stop(self) -> None:
        """See View."""


class LineView:
    """Writes a line when something happens for the first time, and of each type the latest once in a while."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: set[str] = set()

    def start(self) -> None:
        """See View."""

    def show(self, sight: Sight) -> None:
        """See View."""
        for key, line in _events(sight):
            if key not in self._told:
                self._told.add(key)
                self._stream.write(line + "\n")
                self._stream.flush()

    def stop(self) -> None:
        """See View."""


def _events(sight: Sight) -> Iterator[tuple[str, str]]:
    """What is worth a line, with a key under which it is written once."""
    for child in sight.children:
        if child.state is ChildState.RUNNING:
            yield f"child {child.name} {child.starts}", f"{child.name} runs as process {child.pid}"
        elif child.state is ChildState.WAITING:
            yield f"death {child.name} {child.starts}", f"{child.name} ended by itself: {child.last_exit}"
    if sight.computer is not None:
        yield "registered", f"registered: the server knows this machine as computer {sight.computer}"
    for line in carrier_lines(sight):
        yield f"carrier {sight.carrier}", line
    for kind, figures in sight.types.items():
        if figures.received:
            took = "" if figures.latency is None else f" after {figures.latency:.2f} s"
            yield f"received {kind}", f"{kind} arrived{took}: {figures.last}"
    if sight.operation is not None:
        yield f"operation {sight.operation['status']}", operation_line(sight.operation)


def operation_line(operation: dict[str, Any]) -> str:
    """How the operation is, in one line."""
    head = f"operation {operation['id']}, {operation['type']}: {operation['status']}"
    text = " ".join((operation["result-text"] or "").split())
    took = _seconds_of(operation)
    return head + ("" if took is None else f" after {took:.2f} s") + (f": {text}" if text else "")


def _seconds_of(operation: dict[str, Any]) -> float | None:
    finished: float | None = operation["finished"]
    return None if finished is None else finished - operation["created"]


class LiveView:
    """A table that changes in place."""

    def __init__(self, console: Console, headline: str) -> None:
        self._headline = headline
        self._live = Live(console=console, auto_refresh=False)

    def start(self) -> None:
        """See View."""
        self._live.start()

    def show(self, sight: Sight) -> None:
        """See View."""
        self._live.update(picture(sight, self._headline), refresh=True)

    def stop(self) -> None:
        """See View."""
        self._live.stop()


def picture(sight: Sight, headline: str) -> Group:
    """All that was seen, as rich draws it."""
    troubles = [trouble for trouble in (sight.server_trouble, sight.broker_trouble) if trouble]
    return Group(
        Text(headline, style="bold"),
        _table(sight),
        *(Text(line) for line in _facts(sight)),
        *(Text(trouble, style="yellow") for trouble in troubles),
    )


def _table(sight: Sight) -> Table:
    table = Table(expand=True)
    table.add_column("message type", no_wrap=True)
    for title in ("stored", "sent", "received", "first after"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("last value", ratio=1, no_wrap=True, overflow="ellipsis")
    for kind, figures in sight.types.items():
        table.add_row(*map(Text, _cells(kind, figures)))
    return table


def _cells(kind: str, figures: TypeFigures) -> tuple[str, ...]:
    latency = "" if figures.latency is None else f"{figures.latency:.2f} s"
    counts = (str(count) if count else "" for count in (figures.stored, figures.sent, figures.received))
    return (kind, *counts, latency, figures.last)


def _facts(sight: Sight) -> Iterator[str]:
    processes = ", ".join(f"{child.name} {child.pid or child.state.value}" for child in sight.children)
    if processes:
        yield f"processes: {processes}"
    if sight.status is not None:
        yield broker_line(sight)
        yield from carrier_lines(sight)
    if sight.operation is not None:
        yield operation_line(sight.operation)


def carrier_lines(sight: Sight) -> Iterator[str]:
    """How exchanges and operations travel, once the broker has tried."""
    found = (sight.status or {}).get("session", {})
    if sight.carrier == LIVE:
        yield "session: open; exchanges and operations travel over it"
    elif found.get("cause") and (found.get("failures") or found.get("state") != "waiting"):
        yield f"session: none, exchanges go by POST: {found['cause']}"


def broker_line(sight: Sight) -> str:
    """The broker's state in one line."""
    status = sight.status or {}
    store = status.get("store", {})
    who = "not registered yet" if sight.computer is None else f"computer {sight.computer}"
    waiting = f"{store.get('pending', 0)} pending, {store.get('held', 0)} held"
    return f"broker: {who}, {waiting}, {octets_in_words(store.get('octets', 0))} stored"
