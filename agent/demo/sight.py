"""What a demo has seen so far, and whether that is all that it waits for. It asks nobody: it is told."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen, mutable

from ..supervision.child import ChildState
from ..supervision.supervisor import ChildStatus
from .words import in_words

TOO_MANY_DEATHS = 3
"""A child that died so often in a row, and quickly, will not do better within a demo."""

LIVE = "session"
"""The carrier that is no POST."""
Json = dict[str, Any]
"""An object of the server's API, or the broker's status."""


@frozen(kw_only=True)
class TypeFigures:
    """The way of one type's messages: into the broker's store, out to the server, into the server's database."""

    stored: int = 0
    sent: int = 0
    received: int = 0
    latency: float | None = None
    """Seconds from the broker's disk to the server's, of the first message."""
    last: str = ""


@frozen(kw_only=True)
class _Arrivals:
    count: int
    first: float
    last: str


@mutable(kw_only=True)
class Sight:
    """Collects; `expected` are the types that must arrive."""

    expected: tuple[str, ...]
    status: Json | None = None
    """The broker's, as it was last."""
    broker_trouble: str | None = None
    server_trouble: str | None = None
    computer: int | None = None
    """The server's number for this machine, once it is approved there."""
    operation: Json | None = None
    children: tuple[ChildStatus, ...] = ()
    _arrivals: dict[str, _Arrivals] = field(factory=dict)

    def note_messages(self, messages: Iterable[Json]) -> None:
        """These are in the server's database, in this order."""
        for message in messages:
            kind = message["type"]
            before = self._arrivals.get(kind)
            self._arrivals[kind] = _Arrivals(
                count=1 if before is None else before.count + 1,
                first=message["received"] if before is None else before.first,
                last=in_words({**message["body"], "type": kind}),
            )

    def note_computers(self, computers: Sequence[Json]) -> None:
        """The server knows these."""
        for computer in computers:
            if computer["status"] == "approved":
                self.computer = computer["id"]

    def handles(self, kind: str, computers: Sequence[Json]) -> bool:
        """Whether our computer takes such operations, as far as the server knows."""
        return any(kind in (c["handles"] or ()) for c in computers if c["id"] == self.computer)

    @property
    def carrier(self) -> str | None:
        """How the broker reaches the server now, LIVE or `POST`; None while it has not said."""
        carrier: str | None = (self.status or {}).get("session", {}).get("carrier")
        return carrier

    @property
    def types(self) -> dict[str, TypeFigures]:
        """The expected types, then whatever else arrived."""
        counted: Json = (self.status or {}).get("types", {})
        return {
            kind: self._figures(counted.get(kind, {}), self._arrivals.get(kind))
            for kind in dict.fromkeys((*self.expected, *sorted(self._arrivals)))
        }

    def _figures(self, counted: Json, arrivals: _Arrivals | None) -> TypeFigures:
        received = 0 if arrivals is None else arrivals.count
        stored_at = counted.get("first-stored")
        return TypeFigures(
            # The status is from a moment ago; whatever arrived was stored and sent before.
            stored=max(received, counted.get("stored", 0)),
            sent=max(received, counted.get("sent", 0)),
            received=received,
            latency=None if arrivals is None or stored_at is None else max(0.0, arrivals.first - stored_at),
            last="" if arrivals is None else arrivals.last,
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Expected types of which nothing has arrived."""
        return tuple(kind for kind in self.expected if kind not in self._arrivals)

    @property
    def is_complete(self) -> bool:
        """Whether each expected type has arrived, and the operation's result is back and good."""
        is_done = self.operation is not None and self.operation["status"] == "succeeded"
        return not self.missing and is_done and self._are_counted()

    def _are_counted(self) -> bool:
        """The latencies are known: the broker's figures have caught up with the server's."""
        return all(self.types[kind].latency is not None for kind in self.expected)

    def hopeless(self) -> str | None:
        """Why waiting is of no use any more; None while it is."""
        for child in self.children:
            if child.quick_deaths >= TOO_MANY_DEATHS:
                return _death_of(child)
        if self.operation is not None and self.operation["status"] == "failed":
            text = self.operation["result-text"] or "no text"
            return f"the operation failed: {text}"
        return None

    def reason(self) -> str:
        """What is not there, and the likely causes, for a person."""
        lacks = [f"no message of {', '.join(self.missing)} reached the server"] if self.missing else []
        if self.operation is None:
            lacks.append("no operation could be sent" if self.computer else "the computer is not registered")
        elif self.operation["status"] != "succeeded":
            lacks.append(f"the operation is {self.operation['status']}")
        causes = [trouble for trouble in (self.server_trouble, self.broker_trouble) if trouble]
        causes += [_death_of(child) for child in self.children if child.state is ChildState.WAITING]
        return "; ".join(lacks + causes) or "the broker's figures have not come"


def _death_of(child: ChildStatus) -> str:
    said = f"; it said: {child.last_lines[-1]}" if child.last_lines else ""
    return f"{child.name} ended by itself ({child.last_exit}){said}"
