"""
The exchange: checks what came, has it decoded and committed, answers. HTTP brings it (landscape 1.1), or a session.

Bodies of any size are decoded away from the reactor, all but the small ones; the commit is a group commit, and the
answer leaves after its sync.
"""

from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from ..runtime.writer import Writer
from ..wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from ..wire.compression import GZIP, WORTHWHILE_OCTETS, deflate
from ..wire.encoding import ENCODINGS, Encoding
from ..wire.errors import Malformed
from ..wire.http import COMPUTER_ID, EXCHANGE_TOKEN, MESSAGE_API
from .call import Answer, Call
from .commits import Commits
from .errors import Refused
from .exchange import Exchange, Outcome
from .parcel import Parcel, ParcelLimits, UnknownLevel, open_parcel
from .ration import RationedLogger
from .typed import Typed

SMALL_OCTETS = 16 * 1024
"""A plain body up to this is decoded at once: it takes less than handing it to another thread and back."""

_LEVELS = {"exchange": LogLevel.info, "unregistered": LogLevel.debug, "registered": LogLevel.info}


_LIMITS = ParcelLimits()


@frozen(kw_only=True)
class Envelope:
    """A body as it came, and what was said beside it, however it was carried."""

    body: bytes
    encoding: Encoding
    packed: bool = False
    """Whether the body is packed with gzip."""
    level: ApiLevel | None = None
    secure_id: bytes | None = None
    token: bytes | None = None
    peer: str
    """Address of the sender, for the log."""
    quiet: bool = False
    """Take the messages and say so; no messages back and no new token."""

    @property
    def is_small(self) -> bool:
        """Whether it takes next to no time to open; of what is packed nobody can tell."""
        return not self.packed and len(self.body) <= SMALL_OCTETS


class Intake:
    """Takes exchanges."""

    log = Logger()

    def __init__(
        self,
        *,
        exchange: Exchange,
        commits: Commits,
        decoder: Writer,
        clock: IReactorTime,
        limits: ParcelLimits = _LIMITS,
        typed: Typed,
    ) -> None:
        self._strangers_log = RationedLogger(__name__, clock=clock)
        self._typed = typed
        self._exchange = exchange
        self._commits = commits
        self._decoder = decoder
        self._clock = clock
        self._limits = limits

    async def answer(self, call: Call) -> Answer:
        """Raises Refused, Malformed and TooLarge for what is wrong with a request, DatabaseError."""
        envelope = _envelope_of(call)
        outcome = await self.take(envelope, await self.open(envelope))
        return _answer(envelope.encoding, outcome, call)

    async def open(self, envelope: Envelope) -> Parcel:
        """
        What is in an envelope.

        Raises Refused for a level that is not had here, Malformed, TooLarge.
        """
        _check_level(envelope.level)
        opening = partial(
            open_parcel,
            envelope.body,
            encoding=envelope.encoding,
            packed=envelope.packed,
            level=envelope.level,
            secure_id=envelope.secure_id,
            token=envelope.token,
            limits=self._limits,
            typed=self._typed,
        )
        try:
            parcel = opening() if envelope.is_small else await self._decoder.run(opening)
        except UnknownLevel as unknown:
            raise _no_such_level(unknown.level) from None
        if envelope.level is not None and envelope.level != parcel.payload.server_api:
            said = parcel.payload.server_api
            raise Malformed(
                f"{MESSAGE_API} says {envelope.level}, `server-api` in the payload {said}; they must agree"
            )
        return parcel

    def take(self, envelope: Envelope, parcel: Parcel) -> "Deferred[Outcome]":
        """
        Commit what was opened. Those given first are committed first.

        Raises Malformed, DatabaseError, Stopping, through the Deferred.
        """
        taking = partial(
            self._exchange.take_txn, parcel=parcel, now=self._clock.seconds(), quiet=envelope.quiet
        )
        done = self._commits.run(taking)
        return done.addCallback(self._note, envelope.peer)

    def _note(self, outcome: Outcome, peer: str) -> Outcome:
        facts: dict[str, Any] = {
            "event": outcome.event,
            "computer": outcome.computer,
            "peer": peer,
            "taken": outcome.taken,
            "known": outcome.known,
            "sent": len(outcome.answer.messages),
        }
        text = "{event}: computer {computer} at {peer}, {taken} taken, {known} known before, {sent} sent"
        log = self.log if outcome.computer is not None else self._strangers_log
        log.emit(_LEVELS.get(outcome.event, LogLevel.warn), text, **facts)
        if outcome.strays:
            text = "computer {computer} sent {strays} results that no open operation of it waits for"
            self.log.warn(text, computer=outcome.computer, strays=outcome.strays)
        return outcome


def _envelope_of(call: Call) -> Envelope:
    level = call.header(MESSAGE_API)
    return Envelope(
        body=call.body,
        encoding=_encoding_of(call),
        packed=_is_packed(call),
        level=None if level is None else ApiLevel.parse(level),
        secure_id=_octets_of(call, COMPUTER_ID),
        token=_octets_of(call, EXCHANGE_TOKEN),
        peer=call.peer,
    )


def _encoding_of(call: Call) -> Encoding:
    """What the body says that it is written in; the answer is written in the same."""
    form = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
    if form not in ENCODINGS:
        raise Refused(
            415,
            f"the body must be {' or '.join(ENCODINGS)}, not {form[:60] or 'unnamed'}",
            f"send Content-Type: {' or '.join(ENCODINGS)}",
            headers=(("Accept", ", ".join(ENCODINGS)),),
        )
    return ENCODINGS[form]


def _is_packed(call: Call) -> bool:
    coding = (call.header("Content-Encoding") or "identity").lower()
    if coding not in (GZIP, "identity"):
        raise Refused(
            415,
            f"the coding {coding[:60]} is not known here",
            f"send the body as it is, or in {GZIP}",
            headers=(("Accept-Encoding", GZIP),),
        )
    return coding == GZIP


def _octets_of(call: Call, name: str) -> bytes | None:
    value = call.header(name)
    return value.encode("latin-1") if value else None


def _check_level(level: ApiLevel | None) -> None:
    if level is not None and not OLDEST_SERVER_API <= level <= NEWEST_SERVER_API:
        raise _no_such_level(level)


def _no_such_level(level: ApiLevel) -> Refused:
    return Refused(
        404,
        f"API level {level} is not known here",
        f"speak a level from {OLDEST_SERVER_API} to {NEWEST_SERVER_API}",
    )


def _answer(encoding: Encoding, outcome: Outcome, call: Call) -> Answer:
    octets = encoding.encode(outcome.answer.to_map())
    # Accept-Encoding in an answer says what the next request may use (RFC 7694).
    headers = [("Content-Type", encoding.media_type), ("Accept-Encoding", GZIP)]
    if len(octets) >= WORTHWHILE_OCTETS and _takes_gzip(call.header("Accept-Encoding") or ""):
        headers.append(("Content-Encoding", GZIP))
        octets = deflate(octets)
    return Answer(headers=tuple(headers), body=octets)


def _takes_gzip(accepted: str) -> bool:
    codings = [part.replace(" ", "").lower().partition(";") for part in accepted.split(",")]
    return any(name == GZIP and weight not in ("q=0", "q=0.0") for name, _, weight in codings)
