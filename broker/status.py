"""How the broker is: what happened last, whether it is registered, what is to be done; for people and programs."""

from collections.abc import Callable
from typing import Any

from attrs import asdict, frozen

from ..runtime.database import DatabaseError
from ..runtime.writer import Writer
from .registration import Registration
from .store.records import State, StoreStatus
from .store.store import Store
from .timetable import Timetable


@frozen(kw_only=True)
class Exchanged:
    """An exchange that went well. `at`: seconds since 1970."""

    at: float
    sent: int
    received: int
    pending: int


@frozen(kw_only=True)
class Failed:
    """An exchange that did not; the cause is for a person and names the next step."""

    at: float
    cause: str
    retry_after: float | None = None


Result = Exchanged | Failed


class Record:
    """What happened since the start."""

    def __init__(self) -> None:
        self.latest: Result | None = None
        self.last_exchange: Exchanged | None = None
        self.last_failure: Failed | None = None
        self.exchanges = 0
        self.failures = 0
        self.unusable = 0
        self.last_unusable: str | None = None

    def note(self, result: Result) -> None:
        """An exchange ended."""
        self.latest = result
        if isinstance(result, Failed):
            self.last_failure = result
            self.failures += 1
        else:
            self.last_exchange = result
            self.exchanges += 1

    def note_unusable(self, type: str, reason: str) -> None:
        """A message of the server's could not be taken."""
        self.unusable += 1
        self.last_unusable = f"{type}: {reason}"


class Status:
    """Gathers the report that `fieldpost status` shows."""

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        registration: Registration,
        timetable: Timetable,
        record: Record,
        waiting: Callable[[], int],
    ) -> None:
        """`waiting`: how many of the server's messages plugins have not dealt with."""
        self._store = store
        self._writer = writer
        self._registration = registration
        self._timetable = timetable
        self._record = record
        self._waiting = waiting

    async def report(self) -> dict[str, Any]:
        """Values that travel; what cannot be had now is replaced by its error."""
        report: dict[str, Any] = {"exchange": self._exchange(), "incoming": self._incoming()}
        try:
            state, store = await self._writer.run(self._read)
        except DatabaseError as error:
            return {**report, "store": {"error": str(error)}}
        return {
            **report,
            "registration": _named(asdict(self._registration.standing(state))),
            "server": _server(state),
            "store": _store(store),
        }

    def _read(self) -> tuple[State, StoreStatus]:
        return self._store.state(), self._store.status()

    def _exchange(self) -> dict[str, Any]:
        record, timetable = self._record, self._timetable
        return {
            "failing": isinstance(record.latest, Failed),
            "last": _last(record.last_exchange),
            "last-failure": _last(record.last_failure),
            "exchanges": record.exchanges,
            "failures": record.failures,
            "back-off-steps": timetable.failures,
            "next-in": timetable.seconds_left,
            "interval": timetable.intervals.normal,
            "urgent-interval": timetable.intervals.urgent,
        }

    def _incoming(self) -> dict[str, Any]:
        return {
            "waiting": self._waiting(),
            "unusable": self._record.unusable,
            "last-unusable": self._record.last_unusable,
        }


def _last(result: Result | None) -> dict[str, Any] | None:
    return None if result is None else _named(asdict(result))


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in values.items()}


def _server(state: State) -> dict[str, Any]:
    return {
        "uuid": state.server_uuid,
        "api": str(state.api),
        "accepted-types": list(state.accepted_types),
    }


def _store(status: StoreStatus) -> dict[str, Any]:
    lanes = [
        {
            "type": lane.type,
            "api": str(lane.api),
            "count": lane.count,
            "octets": lane.octets,
            "held": lane.held,
        }
        for lane in status.lanes
    ]
    figures = asdict(status, filter=lambda field, _: field.name != "lanes")
    return {**_named(figures), "quarantined": list(status.quarantined), "lanes": lanes}
