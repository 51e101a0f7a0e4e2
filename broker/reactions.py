"""
What the broker itself does about the server's messages (landscape 1.5).

Each reaction may be done twice without harm: after a stop in the middle, the message is simply taken again. One that
cannot be taken is Malformed, whatever is wrong with it, so that nothing that a server sends jams the stream (fault L6).
"""

import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from ..runtime.writer import Writer
from ..wire import kinds
from ..wire.errors import Malformed
from ..wire.local import (
    ACCEPTANCE_CHANGED,
    REGISTRATION_DONE,
    REGISTRATION_FAILED,
    RESYNCHRONIZE_CLIENTS,
)
from ..wire.message import (
    ACCEPTED_TYPES,
    REGISTER,
    REGISTRATION,
    RESYNCHRONIZE,
    SET_ID,
    SET_INTERVALS,
    UNKNOWN_ID,
    Message,
    check_message,
)
from ..wire.payload import MAX_TYPES, WRECK
from ..wire.schema import INTEGER, field_of, from_map, list_of, optional
from .bus import Bus
from .carriage.wording import printable
from .handlers import Handlers
from .registration import Registration
from .schedule import Urgency, clamp_interval
from .store.records import Incoming
from .store.store import Store
from .timetable import Timetable

_FITS_A_HEADER = re.compile(rb"[\x21-\x7e]{1,1024}\Z")
_COLUMN_END = 2**62
_MAX_SCOPES = 1_000


TEXT = kinds.TEXT.fit
"""Text, or octets in its place (landscape 1.6)."""


def _type_name(value: Any) -> str:
    name: str = check_message({"type": TEXT(value)})["type"]
    return name


def _identity(value: Any) -> bytes:
    octets = value.encode() if isinstance(value, str) else value
    if not isinstance(octets, bytes) or not _FITS_A_HEADER.match(octets):
        raise Malformed("must be 1 to 1024 octets that fit in a header: printable ASCII without blanks")
    return octets


def _column(value: Any) -> int:
    number: int = INTEGER(value)
    if not -_COLUMN_END < number < _COLUMN_END:
        raise Malformed("must be a number that a database column holds")
    return number


@frozen(kw_only=True)
class _AcceptedTypes:
    types: tuple[str, ...] = field_of(list_of(_type_name))


@frozen(kw_only=True)
class _SetId:
    id: bytes = field_of(_identity)
    insecure_id: Any = field_of(lambda value: value, default=None)
    """Whatever it is: a number that is odd must not cost us the identity."""


@frozen(kw_only=True)
class _Resynchronize:
    operation_id: int = field_of(_column)
    scopes: tuple[str, ...] | None = field_of(optional(list_of(TEXT)), default=None)


@frozen(kw_only=True)
class _SetIntervals:
    exchange: int | None = field_of(optional(INTEGER), default=None)
    urgent_exchange: int | None = field_of(optional(INTEGER), default=None)
    ping: int | None = field_of(optional(INTEGER), default=None)


@frozen(kw_only=True)
class _Registration:
    info: str = field_of(TEXT)


class Reactions:
    """The broker's own handlers; they are registered with the object."""

    log = Logger()

    def __init__(
        self,
        *,
        handlers: Handlers,
        store: Store,
        writer: Writer,
        bus: Bus,
        timetable: Timetable,
        registration: Registration,
    ) -> None:
        self._store = store
        self._writer = writer
        self._bus = bus
        self._timetable = timetable
        self._registration = registration
        for type, reaction in {
            ACCEPTED_TYPES: self._accept_types,
            REGISTRATION: self._hear_of_registration,
            RESYNCHRONIZE: self._resynchronize,
            SET_ID: self._set_id,
            SET_INTERVALS: self._set_intervals,
            UNKNOWN_ID: self._forget_id,
            WRECK: self._refuse,
        }.items():
            handlers.react(type, reaction)

    async def _accept_types(self, incoming: Incoming) -> None:
        types = from_map(_AcceptedTypes, incoming.message).types
        if len(types) > MAX_TYPES:
            raise Malformed(f"`types` must hold at most {MAX_TYPES} types, not {len(types)}")
        if await self._replace_types(types) and await self._has_pending():
            self._timetable.ask(Urgency.AT_ONCE)

    async def _replace_types(self, types: Iterable[str]) -> bool:
        """Whether anything changed."""
        changes = await self._writer.run(self._store.accept_types, types)
        if not changes.added and not changes.dropped:
            return False
        self.log.info(
            "accepted types changed: {changes}",
            changes=_signed(added=changes.added, kept=changes.kept, dropped=changes.dropped),
        )
        for type in changes.added:
            await self._bus.fire(ACCEPTANCE_CHANGED, type=type, accepted=True)
        for type in changes.dropped:
            await self._bus.fire(ACCEPTANCE_CHANGED, type=type, accepted=False)
        return True

    async def _has_pending(self) -> bool:
        return (await self._writer.run(self._store.status)).pending > 0

    async def _set_id(self, incoming: Incoming) -> None:
        said = from_map(_SetId, incoming.message)
        insecure_id = _insecure_id(said.insecure_id)
        state = await self._writer.run(self._store.state)
        if state.secure_id == said.id and insecure_id in (None, state.insecure_id):
            return
        await self._writer.run(self._store.set_identity, secure_id=said.id, insecure_id=insecure_id)
        self._registration.succeeded()
        self.log.info("registered: the server knows this machine as computer {id}", id=insecure_id)
        await self._bus.fire(REGISTRATION_DONE, **{"insecure-id": insecure_id})
        await self._bus.fire(RESYNCHRONIZE_CLIENTS, scopes=None)
        self._timetable.ask(Urgency.AT_ONCE)

    async def _forget_id(self, incoming: Incoming) -> None:
        title = _title(incoming.message)
        state = await self._writer.run(self._store.state)
        if state.secure_id is None and title is None:
            return
        if (
            not state.is_landscape
        ):  # whose servers name all types, and mean them for those who have an identity
            # Types first: whoever stops in between still says who it is, and is told the types again.
            await self._replace_types(set(state.accepted_types) & {REGISTER})
        await self._writer.run(self._store.forget_identity, clone_of=title)
        if title is None:
            self.log.warn("the server does not know this machine; it registers anew")
        else:
            self._registration.became_clone(title)
            self.log.warn(
                "the server takes this machine for a clone of {title}; it registers as a new one", title=title
            )
        self._timetable.ask(Urgency.AT_ONCE)

    async def _hear_of_registration(self, incoming: Incoming) -> None:
        info = printable(from_map(_Registration, incoming.message).info)
        next_step = self._registration.denied(info)
        self.log.warn(
            "the server refuses to register this machine: {info}; {next_step}", info=info, next_step=next_step
        )
        await self._bus.fire(REGISTRATION_FAILED, info=info, **{"next-step": next_step})

    async def _resynchronize(self, incoming: Incoming) -> None:
        asked = from_map(_Resynchronize, incoming.message)
        if len(asked.scopes or ()) > _MAX_SCOPES:
            raise Malformed(f"`scopes` must name at most {_MAX_SCOPES} scopes")
        scopes = asked.scopes or None
        await self._writer.run(self._store.resynchronize, operation_id=asked.operation_id, scopes=scopes)
        self.log.info(
            "the server asks to be told afresh: {scopes}", scopes=", ".join(scopes or ("everything",))
        )
        await self._bus.fire(RESYNCHRONIZE_CLIENTS, scopes=None if scopes is None else list(scopes))
        self._timetable.ask(Urgency.URGENT)

    async def _set_intervals(self, incoming: Incoming) -> None:
        asked = from_map(_SetIntervals, incoming.message)
        exchange, urgent, ping = map(_clamped, (asked.exchange, asked.urgent_exchange, asked.ping))
        await self._writer.run(
            self._store.set_intervals, exchange=exchange, urgent_exchange=urgent, ping=ping
        )
        state = await self._writer.run(self._store.state)
        self._timetable.override(
            exchange=state.exchange_interval, urgent_exchange=state.urgent_exchange_interval
        )
        self.log.info(
            "the server sets the intervals to {normal} s and {urgent} s",
            normal=self._timetable.intervals.normal,
            urgent=self._timetable.intervals.urgent,
        )

    async def _refuse(self, incoming: Incoming) -> None:
        raise Malformed(str(incoming.message.get("cause", "it is no message")))


def _signed(*, added: Iterable[str], kept: Iterable[str], dropped: Iterable[str]) -> str:
    """The change as one line: `+added kept -removed`."""
    return " ".join([*(f"+{type}" for type in added), *kept, *(f"-{type}" for type in dropped)])


def _insecure_id(value: Any) -> int | None:
    """The public number, in whichever of its forms (landscape 1.6); None for what is none."""
    if isinstance(value, (str, bytes)) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value if type(value) is int and -_COLUMN_END < value < _COLUMN_END else None


def _title(message: Message) -> str | None:
    """Whose clone we are, if that; an odd title must not keep us with an identity that is none."""
    title = message.get("clone-of")
    if isinstance(title, bytes):
        title = title.decode("utf-8", "replace")
    return None if title is None else printable(title if isinstance(title, str) else repr(title)[:1000])


def _clamped(interval: int | None) -> int | None:
    return None if interval is None else int(clamp_interval(interval))
