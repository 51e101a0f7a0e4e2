"""
The way of the server's messages out of the inbox.

An answer's messages are in the store, and its number has moved on, before anything here begins (faults L6 to L8). They are
read from there in order of number, twice. The first reading is part of the exchange: each message is told on the bus, and
those that the broker itself takes are dealt with. The second reading hands the others over to plugins, who take their time
and hold nobody up.

What cannot be taken goes to the dead letters, the server is told, and the stream goes on. Only a store that cannot be
written stops it: then the same message comes first again after the next exchange.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..runtime.database import DatabaseError
from ..runtime.writer import Writer
from ..wire.errors import Malformed
from ..wire.message import RESYNCHRONIZE, SUCCEEDED
from .bus import MESSAGE, Bus, Forget
from .carriage.wording import printable
from .handlers import DeliverCall, Handlers, Reaction
from .handover import Handover, HandoverLimits
from .schedule import Urgency
from .status import Record
from .store.records import Incoming, OperationResult
from .store.store import Store

PAGE = 50
"""Messages read from the inbox at a time."""
_LIMITS = HandoverLimits()


class Delivery:
    """Reads the inbox; lets reactions react and plugins have the rest."""

    log = Logger()

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        bus: Bus,
        handlers: Handlers,
        clock: IReactorTime,
        ask: Callable[[Urgency], None],
        record: Record,
        limits: HandoverLimits = _LIMITS,
    ) -> None:
        self._store = store
        self._writer = writer
        self._bus = bus
        self._handlers = handlers
        self._record = record
        self._ask = ask
        self._turn = DeferredLock()
        self._reacted = self._handed = -1
        self._handover = Handover(
            store=store,
            writer=writer,
            handlers=handlers,
            clock=clock,
            ask=ask,
            on_room=self._continue,
            limits=limits,
        )

    @property
    def waiting(self) -> int:
        """Messages that plugins have not dealt with."""
        return self._handover.waiting

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Forget:
        """From now on a plugin takes the server's messages of these types, until the answer is called."""
        return self._handover.register(types, plugin, deliver)

    async def start(self) -> None:
        """Go on where the last run ended."""
        for incoming in await self._writer.run(self._store.recover_deliveries):
            self.log.warn(
                "operation {id} of type {type} was under way when the agent stopped; its outcome is unknown",
                id=incoming.operation_id,
                type=incoming.type,
            )
        await self.take()

    async def stop(self) -> None:
        """Begin nothing more; wait a little for what is under way."""
        await self._handover.stop()

    async def take(self) -> None:
        """Deal with all that is in the inbox, except that plugins may be at it for long."""
        async with self._turn:
            await self._let_react()
            await self._hand_over()

    def _continue(self) -> None:
        done = Deferred.fromCoroutine(self.take())
        done.addErrback(lambda failure: self.log.failure("the inbox cannot be read", failure))

    async def _let_react(self) -> None:
        while page := await self._writer.run(self._store.next_incoming, PAGE, self._reacted):
            for incoming in page:
                await self._bus.fire(MESSAGE, number=incoming.number, message=incoming.message)
                reactions = self._handlers.reactions(incoming.type)
                if reactions and not await self._react(incoming, reactions):
                    return
                self._reacted = incoming.number

    async def _hand_over(self) -> None:
        while page := await self._writer.run(self._store.next_incoming, PAGE, self._handed):
            for incoming in page:
                if incoming.number > self._reacted or self._handover.is_full:
                    return
                self._handed = incoming.number
                self._handover.add(incoming.number, incoming.type)

    async def _react(self, incoming: Incoming, reactions: tuple[Reaction, ...]) -> bool:
        """Whether the message is dealt with, one way or the other."""
        try:
            await self._react_or_refuse(incoming, reactions)
        except DatabaseError as error:
            self.log.error(
                "message {number} of type {type} waits for the next exchange: {error}",
                number=incoming.number,
                type=incoming.type,
                error=str(error),
            )
            return False
        return True

    async def _react_or_refuse(self, incoming: Incoming, reactions: tuple[Reaction, ...]) -> None:
        try:
            for reaction in reactions:
                await reaction(incoming)
        except DatabaseError:
            raise
        except Malformed as error:
            await self._refuse(incoming, str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not jam the stream (fault L6)
            self.log.failure("the reaction to a message of type {type} broke", type=incoming.type)
            await self._refuse(incoming, f"the agent broke over it: {error!r}")
        else:
            await self._writer.run(self._store.finish_delivery, incoming.number, _result(incoming))

    async def _refuse(self, incoming: Incoming, reason: str) -> None:
        reason = printable(reason)
        self.log.warn(
            "message {number} of type {type} from the server cannot be taken and is set aside: {reason}",
            number=incoming.number,
            type=incoming.type,
            reason=reason,
        )
        self._record.note_unusable(incoming.type, reason)
        await self._writer.run(self._store.refuse_incoming, incoming.number, reason)


def _result(incoming: Incoming) -> OperationResult | None:
    """Asked as an operation, it has succeeded; a resynchronize is answered by the message of that type itself."""
    return None if incoming.type == RESYNCHRONIZE else OperationResult(status=SUCCEEDED)
