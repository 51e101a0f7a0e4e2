"""
The exchange: one payload to the server, one back, then the bookkeeping of both (landscape 1.13).

*Sequence.* The store numbers what goes out, durably, before it goes; the server's answer names the number that it expects
next, and only what is below it is forgotten, one exchange later still. So whatever is lost on the way, a payload or an
answer, the same messages go again under the same numbers, and the server passes over those that it has. The other
direction is the same with the roles changed: the server's messages are in the inbox, and their numbers counted, in the
transaction that takes the answer in.

*One at a time.* An exchange asked for while one is under way is that one. What was asked of the schedule meanwhile comes
next. Where the transport carries several payloads at a time, an exchange with a backlog has some of them under way
together (`pipeline`); their answers are taken in one after the other.

*What goes.* As much as the limits allow, of one API level. The token leaves the store before the payload leaves the
machine, so that it is shown once, whatever happens.

*In order.* pre-exchange; payload; answer; its acknowledgement, token, level and messages in one transaction; the
reactions to its messages; the next exchange is planned; exchange-done. A failure is told as exchange-failed first.

*Refused.* A server that does not have our level (404) gets the oldest one, at once. A payload that it cannot take (400, 413,
422) is halved until one message is left; when the server then takes a payload without it, that message is the culprit
and goes to the dead letters. When it takes none either, it is not the message's fault. A server whose refusals go on like
this is given time in between. All other refusals are failures that wait for the schedule.

*Failure.* Nothing that goes wrong in here, foreseen or not, gets out other than as a Failed (fault L10): it is recorded with
its cause, and the next exchange is planned.
"""

from collections.abc import Callable
from enum import Enum

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..runtime.database import DatabaseError
from ..runtime.writer import Writer
from ..wire.api import OLDEST_SERVER_API
from ..wire.errors import RemoteProtocolError
from ..wire.local import (
    EXCHANGE_DONE,
    EXCHANGE_FAILED,
    PRE_EXCHANGE,
    RESYNCHRONIZE_CLIENTS,
    SERVER_UUID_CHANGED,
)
from ..wire.message import RECEIPT, REGISTER
from ..wire.payload import ServerPayload
from ..wire.sequence import Verdict
from .bus import EXCHANGE_DUE, Bus, Details
from .carriage.transport import Answered, Refused, Reply, Transport, Unreachable
from .delivery import Delivery
from .handlers import Handlers
from .parcel import Parcel, pack
from .pipeline import Pipeline
from .schedule import Bad, Good, Urgency
from .status import Exchanged, Failed, Record, Result
from .store.records import Answer, Settlement
from .store.store import Store
from .timetable import Timetable

_LEVEL_UNKNOWN = 404
_CANNOT_TAKE = (400, 413, 422)
_NEVER_TO_BLAME = (RECEIPT, REGISTER)
"""Our own messages that every server takes: one that refuses these refuses us."""


@frozen(kw_only=True)
class ExchangeLimits:
    """How much goes into one payload, and how long a stop waits for an answer (seconds)."""

    messages: int = 1_000
    octets: int = 4 * 1024 * 1024
    stop_grace: float = 5.0


class _Remedy(Enum):
    """What to do about a refusal."""

    OLDER_LEVEL = "older level"
    FEWER_MESSAGES = "fewer messages"
    BLAME_MESSAGE = "blame the message"
    NONE = "none"


class Exchange:
    """Carries out exchanges when the timetable says so, or somebody asks."""

    log = Logger()

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        transport: Transport,
        bus: Bus,
        handlers: Handlers,
        delivery: Delivery,
        timetable: Timetable,
        record: Record,
        clock: IReactorTime,
        now: Callable[[], float],
        limits: ExchangeLimits = ExchangeLimits(),
    ) -> None:
        """`now` tells the time of day, for the record."""
        self._store = store
        self._writer = writer
        self._transport = transport
        self._bus = bus
        self._handlers = handlers
        self._delivery = delivery
        self._timetable = timetable
        self._record = record
        self._clock = clock
        self._now = now
        self._limits = limits
        self._most = limits.messages
        self._blamed = 0
        self._joined: list[Deferred[Result]] = []
        self._pipeline: Pipeline | None = None
        self._is_stopping = False
        bus.listen(EXCHANGE_DUE, self._due)

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return bool(self._joined)

    async def start(self) -> None:
        """Go on with what the last run left, and begin to plan. A store that fails now shall not keep us from trying."""
        try:
            state = await self._writer.run(self._store.state)
            self._timetable.override(
                exchange=state.exchange_interval, urgent_exchange=state.urgent_exchange_interval
            )
            await self._delivery.start()
        except DatabaseError as error:
            self.log.error("the start is incomplete: {error}", error=str(error))
        if not self._is_stopping:
            self._timetable.start()

    async def stop(self) -> None:
        """Plan no more; wait a little for what is under way. For good: a new start needs a new object."""
        self._is_stopping = True
        self._timetable.stop()
        if self.is_running:
            timer = self._clock.callLater(self._limits.stop_grace, self._cut)
            await self._join()
            if timer.active():
                timer.cancel()
        await self._delivery.stop()

    def run(self) -> "Deferred[Result]":
        """An exchange now, or the one under way. Never fails: see Failed."""
        if not self._timetable.is_running:
            ended: Deferred[Result] = Deferred()
            ended.callback(Failed(at=self._now(), cause="the broker is not running; start it"))
            return ended
        if self.is_running:
            return self._join()
        joined = self._join()
        whole = Deferred.fromCoroutine(self._whole())
        whole.addErrback(lambda failure: self.log.failure("an exchange broke", failure))
        return joined

    def _join(self) -> "Deferred[Result]":
        joined: Deferred[Result] = Deferred()
        self._joined.append(joined)
        return joined

    def _due(self, _: Details) -> None:
        if not self.is_running:
            self.run()

    def _cut(self) -> None:
        if self._pipeline is not None:
            self._pipeline.cancel()

    # One exchange

    async def _whole(self) -> None:
        self._timetable.begin()
        outcome, result = await self._outcome()
        self._record.note(result)
        if isinstance(result, Failed):
            self.log.warn("exchange failed: {cause}", cause=result.cause)
            await self._bus.fire(EXCHANGE_FAILED, cause=result.cause)
        self._timetable.finish(outcome)
        joined, self._joined = self._joined, []
        await self._bus.fire(EXCHANGE_DONE, **_details(result))
        for one in joined:
            one.callback(result)

    async def _outcome(self) -> tuple[Good | Bad, Result]:
        try:
            return await self._attempts()
        except DatabaseError as error:
            failed = Failed(at=self._now(), cause=str(error))
        except RemoteProtocolError as error:
            failed = Failed(at=self._now(), cause=f"the server's answer cannot be taken: {error}")
        except Exception as error:  # noqa: BLE001 - no mistake of ours may end all exchanges (fault L10)
            self.log.failure("an exchange broke")
            failed = Failed(at=self._now(), cause=f"the agent broke over it: {error!r}; please report this")
        return Bad(), failed

    async def _attempts(self) -> tuple[Good | Bad, Result]:
        await self._bus.fire(PRE_EXCHANGE)
        while True:
            parcel = await self._writer.run(self._pack)
            reply = await self._converse(parcel)
            if isinstance(reply, _Taken):
                return await self._conclude(reply)
            if isinstance(reply, Unreachable):
                return self._failed(reply.reason)
            remedy = _remedy(parcel, reply)
            if remedy is _Remedy.NONE:
                return self._refused(reply)
            if remedy is _Remedy.BLAME_MESSAGE:
                return await self._blame(parcel, reply)
            if remedy is _Remedy.OLDER_LEVEL:
                self.log.info("the server does not have API {api}", api=str(parcel.outgoing.api))
                await self._writer.run(self._store.lower_api)
            else:
                self._most = len(parcel.messages) // 2

    def _pack(self, behind: Parcel | None = None) -> Parcel:
        octets = self._limits.octets
        return pack(self._store, max_messages=self._most, max_octets=octets, behind=behind)

    async def _converse(self, first: Parcel) -> "_Taken | Refused | Unreachable":
        """Send a payload and those that may follow it at once; commit what the answers say, in order."""
        pipeline = self._pipeline = Pipeline(
            first,
            send=lambda parcel: Deferred.fromCoroutine(self._carry(parcel)),
            follow=lambda parcel: self._writer.run(self._pack, parcel),
            depth=self._transport.depth,
        )
        try:
            taken = await self._take_answers(pipeline)
        except Exception:
            await pipeline.settle()
            raise
        await pipeline.settle()
        return taken

    async def _carry(self, parcel: Parcel) -> Reply:
        try:
            return await self._transport.exchange(parcel.request(self._handlers.types))
        except CancelledError:
            return Unreachable(reason="the broker stopped before the answer came; it asks again when it runs")

    # The answers

    async def _take_answers(self, pipeline: Pipeline) -> "_Taken | Refused | Unreachable":
        """
        Up to the first that does not acknowledge just its own payload: the others stand on sand then.

        What an answer behind it would have acknowledged goes again. And of a follower such an answer does not count itself.
        It may have overtaken those before it, and then what it says of the server was true before they
        arrived: to believe it now would be to number anew what the server has (ancient), and lose or double it.
        """
        taken = _Taken()
        while (answered := await pipeline.next()) is not None:
            parcel, reply = answered
            if not isinstance(reply, Answered):
                return taken if taken.settlements else reply
            answer = _answer(reply.payload, parcel)
            is_acknowledged = answer.next_expected_sequence == parcel.end
            if taken.settlements and not is_acknowledged:
                break
            taken.sent += len(parcel.messages)
            taken.settlements.append(await self._writer.run(self._store.commit_answer, answer))
            if not is_acknowledged:
                break
        return taken

    async def _conclude(self, taken: "_Taken") -> tuple[Good, Result]:
        """React to what has been committed."""
        if taken.sent:
            self._most = min(self._limits.messages, self._most * 2)
            self._blamed = 0
        for settlement in taken.settlements:
            await self._tell(settlement)
        await self._delivery.take()
        settlement = taken.settlements[-1]
        draining = settlement.pending > 0 and settlement.verdict is Verdict.ACKNOWLEDGED
        if settlement.pending and settlement.moved:
            self._timetable.ask(Urgency.URGENT)
        result = Exchanged(
            at=self._now(),
            sent=taken.sent,
            received=sum(settlement.received for settlement in taken.settlements),
            pending=settlement.pending,
        )
        self.log.info(
            "exchange done: {sent} sent, {received} received, {pending} pending",
            sent=result.sent,
            received=result.received,
            pending=result.pending,
        )
        return Good(draining=draining), result

    async def _tell(self, settlement: Settlement) -> None:
        if settlement.server_uuid_changed is not None:
            old, new = settlement.server_uuid_changed
            self.log.info("another server answers: {old} before, {new} now", old=old, new=new)
            await self._bus.fire(SERVER_UUID_CHANGED, old=old, new=new)
        if settlement.verdict.resynchronizes:
            self.log.warn(
                "the server's numbers do not fit ours ({verdict}); all is told afresh",
                verdict=settlement.verdict.value,
            )
            await self._bus.fire(RESYNCHRONIZE_CLIENTS, scopes=None)
            self._timetable.ask(Urgency.URGENT)

    # No answer

    def _failed(self, cause: str, retry_after: float | None = None) -> tuple[Bad, Result]:
        return Bad(retry_after), Failed(at=self._now(), cause=cause, retry_after=retry_after)

    def _refused(self, refused: Refused) -> tuple[Bad, Result]:
        return self._failed(
            f"the server refused the exchange ({refused.status}): {refused.reason}", refused.retry_after
        )

    async def _blame(self, parcel: Parcel, refused: Refused) -> tuple[Good | Bad, Result]:
        """One message is left, and the server refuses it. See whether it takes a payload without."""
        message = parcel.outgoing.messages[0]
        empty = parcel.emptied()
        reply = await self._converse(empty)
        if not isinstance(reply, _Taken):
            return self._refused(reply) if isinstance(reply, Refused) else self._failed(reply.reason)
        await self._conclude(reply)
        reason = f"the server refused it ({refused.status}): {refused.reason}"
        await self._writer.run(self._store.set_aside, message.number, reason)
        self._blamed += 1
        _, failed = self._failed(
            f"message {message.number} of type {message.type} is set aside in the dead letters: {reason}"
        )
        return Good(draining=True) if self._blamed == 1 else Bad(), failed


@define
class _Taken:
    """What the answers of one exchange changed, in order, and how many messages they were for."""

    sent: int = 0
    settlements: list[Settlement] = field(factory=list)


def _answer(payload: ServerPayload, parcel: Parcel) -> Answer:
    expected = payload.next_expected_sequence
    return Answer(
        next_expected_sequence=parcel.end if expected is None else expected,
        # What follows another payload may be answered before it: a token there may be the older one.
        token=None if parcel.follows else payload.next_exchange_token,
        server_uuid=payload.server_uuid,
        server_api=payload.server_api,
        client_types_hash=payload.client_accepted_types_hash,
        messages=payload.messages,
    )


def _remedy(parcel: Parcel, refused: Refused) -> _Remedy:
    if refused.status == _LEVEL_UNKNOWN and parcel.outgoing.api > OLDEST_SERVER_API:
        return _Remedy.OLDER_LEVEL
    if refused.status not in _CANNOT_TAKE or not parcel.messages:
        return _Remedy.NONE
    if len(parcel.messages) > 1:
        return _Remedy.FEWER_MESSAGES
    return _Remedy.NONE if parcel.outgoing.messages[0].type in _NEVER_TO_BLAME else _Remedy.BLAME_MESSAGE


def _details(result: Result) -> dict[str, object]:
    """Of exchange-done."""
    if isinstance(result, Failed):
        return {"ok": False, "cause": result.cause}
    return {"ok": True, "sent": result.sent, "received": result.received, "pending": result.pending}
