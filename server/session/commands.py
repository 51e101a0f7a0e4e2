"""
What agents ask in a session: `exchange`, `subscribe`, `wait`, `ping` (wire 5.11, 5.12).

An exchange is the same as by POST: the same octets, taken by the same rules, in one transaction. Those of one session are
taken in the order in which they came, though many may be under way. Who has no identity can only exchange, which
registers it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from ...runtime.session.answers import Asked, Handler
from ...runtime.session.errors import CommandError
from ...runtime.session.topics import Topics
from ...wire.api import ApiLevel
from ...wire.cbor import Value
from ...wire.encoding import CBOR
from ...wire.errors import Malformed
from ...wire.session.encodings import WORTH_PACKING
from ...wire.session.subscription import SUBSCRIBE, WAIT
from ..exchange import Outcome
from ..front import refusal_of
from ..intake import Envelope, Intake
from .room import Room

EXCHANGE = "exchange"
PING = "ping"
BEFORE_REGISTRATION = (EXCHANGE,)
"""What an agent without identity may ask."""
CODES = {400: "malformed", 404: "unknown-level", 413: "too-large", 415: "malformed", 503: "unavailable"}
"""Codes of refusals by their HTTP status, which goes along."""
_INTERNAL = "internal"


class ExchangeCommand:
    """
    Answers `exchange` for one session.

    `identity` gives the secure id that the session has proved, if any; `taken` hears what came of each exchange.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        room: Room,
        identity: Callable[[], bytes | None],
        peer: str,
        taken: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._intake = intake
        self._room = room
        self._identity = identity
        self._peer = peer
        self._taken = taken
        self._turn = DeferredLock()

    async def __call__(self, asked: Asked) -> list[Value]:
        """The octets of the answer's payload. Raises CommandError."""
        try:
            envelope = self._envelope(asked)
            with self._room.taken(len(envelope.body)):
                committing = await self._begin(envelope)
                outcome = await committing[0]
        except Exception as error:
            raise _refusal(error) from error
        self._taken(outcome)
        octets = envelope.encoding.encode(outcome.answer.to_map())
        asked.bulk = len(octets) >= WORTH_PACKING
        return [octets]

    async def _begin(self, envelope: Envelope) -> "tuple[Deferred[Outcome]]":
        """Have it opened and given to the database when its turn has come; what comes of it is waited for by others."""
        await self._turn.acquire()
        try:
            parcel = await self._intake.open(envelope)
            return (self._intake.take(envelope, parcel),)
        finally:
            self._turn.release()

    def _envelope(self, asked: Asked) -> Envelope:
        args, secure_id = asked.args, self._identity()
        if asked.data is None:
            raise Malformed("an exchange needs its payload as the command's data")
        return Envelope(
            body=asked.data,
            encoding=CBOR,
            level=_level(args.get(b"api")),
            secure_id=secure_id,
            token=_octets(args, b"token") if secure_id is not None else None,
            peer=self._peer,
            quiet=args.get(b"quiet") is True,
        )


def _level(api: Any) -> ApiLevel | None:
    if api is None:
        return None
    if type(api) is not bytes:
        raise Malformed("`api` must be octets such as 3.3")
    return ApiLevel.parse(api.decode("latin-1"))


def _octets(args: Mapping[bytes, Any], name: bytes) -> bytes | None:
    value = args.get(name)
    if value is not None and type(value) is not bytes:
        raise Malformed(f"`{name.decode()}` must be octets")
    return value


def _refusal(error: Exception) -> Exception:
    """What the agent is told: the status that a POST would have been answered with goes along."""
    refused = refusal_of(error)
    if refused is None:
        return error
    details: dict[str, Value] = {"status": refused.status}
    after = dict(refused.headers).get("Retry-After")
    if after is not None:
        details["retry_after"] = int(after)
    return CommandError(CODES.get(refused.status, _INTERNAL), str(refused), **details)


def commands_of(exchange: ExchangeCommand, topics: Topics, scope: Callable[[], str]) -> dict[str, Handler]:
    """All that an agent may ask; `scope` gives that of its topics, once it is known."""
    return {
        EXCHANGE: exchange,
        PING: lambda asked: (),
        SUBSCRIBE: lambda asked: topics.subscribe(asked, scope()),
        WAIT: lambda asked: topics.wait(asked, scope()),
    }
