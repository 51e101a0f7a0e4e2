"""
The exchange over HTTP (landscape 1.1): checks the request, has it decoded and committed, answers.

Bodies of any size are decoded away from the reactor, all but the small ones; the commit is a group commit, and the
answer leaves after its sync.
"""

from functools import partial
from typing import Any

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

SMALL_OCTETS = 16 * 1024
"""A body up to this is decoded at once: it takes less than handing it to another thread and back."""

_LEVELS = {"exchange": LogLevel.info, "unregistered": LogLevel.debug, "registered": LogLevel.info}


_LIMITS = ParcelLimits()


class Intake:
    """Answers exchanges."""

    log = Logger()

    def __init__(
        self,
        *,
        exchange: Exchange,
        commits: Commits,
        decoder: Writer,
        clock: IReactorTime,
        limits: ParcelLimits = _LIMITS,
    ) -> None:
        self._exchange = exchange
        self._commits = commits
        self._decoder = decoder
        self._clock = clock
        self._limits = limits

    async def answer(self, call: Call) -> Answer:
        """Raises Refused, Malformed and TooLarge for what is wrong with a request, DatabaseError."""
        encoding = _encoding_of(call)
        parcel = await self._open(call, encoding)
        outcome = await self._commits.run(
            partial(self._exchange.take_txn, parcel=parcel, now=self._clock.seconds())
        )
        self._note(call, outcome)
        return _answer(encoding, outcome, call)

    async def _open(self, call: Call, encoding: Encoding) -> Parcel:
        packed, level = _is_packed(call), _level_of(call)
        opening = partial(
            open_parcel,
            call.body,
            encoding=encoding,
            packed=packed,
            level=level,
            secure_id=_octets_of(call, COMPUTER_ID),
            token=_octets_of(call, EXCHANGE_TOKEN),
            limits=self._limits,
        )
        try:
            small = len(call.body) <= SMALL_OCTETS
            parcel = opening() if small else await self._decoder.run(opening)
        except UnknownLevel as unknown:
            raise _no_such_level(unknown.level) from None
        if level is not None and level != parcel.payload.server_api:
            said = parcel.payload.server_api
            raise Malformed(
                f"{MESSAGE_API} says {level}, `server-api` in the payload {said}; they must agree"
            )
        return parcel

    def _note(self, call: Call, outcome: Outcome) -> None:
        facts: dict[str, Any] = {
            "event": outcome.event,
            "computer": outcome.computer,
            "peer": call.peer,
            "taken": outcome.taken,
            "known": outcome.known,
            "sent": len(outcome.answer.messages),
        }
        text = "{event}: computer {computer} at {peer}, {taken} taken, {known} known before, {sent} sent"
        self.log.emit(_LEVELS.get(outcome.event, LogLevel.warn), text, **facts)
        if outcome.strays:
            text = "computer {computer} sent {strays} results that no open operation of it waits for"
            self.log.warn(text, computer=outcome.computer, strays=outcome.strays)


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


def _level_of(call: Call) -> ApiLevel | None:
    """The level in the header, when there is one; Refused when it is none of ours."""
    said = call.header(MESSAGE_API)
    if said is None:
        return None
    level = ApiLevel.parse(said)
    if not OLDEST_SERVER_API <= level <= NEWEST_SERVER_API:
        raise _no_such_level(level)
    return level


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
