"""A broker's exchange in a test's hands: a transport with a script, a server that is a model, plugins that record."""

from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import Any, ParamSpec, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from fieldpost.broker.backoff import Backoff
from fieldpost.broker.bus import Bus, Details
from fieldpost.broker.carriage.transport import Answered, Refused, Reply, Request, Transport, Unreachable
from fieldpost.broker.delivery import Delivery
from fieldpost.broker.exchange import Exchange, ExchangeLimits
from fieldpost.broker.handlers import Handlers
from fieldpost.broker.handover import HandoverLimits
from fieldpost.broker.reactions import Reactions
from fieldpost.broker.registration import Account, Registration
from fieldpost.broker.schedule import Intervals, Schedule
from fieldpost.broker.status import Record, Result, Status
from fieldpost.broker.store.store import Store
from fieldpost.broker.timetable import Timetable
from fieldpost.wire import cbor
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.digest import types_digest
from fieldpost.wire.local import DONE, EVENTS, Outcome
from fieldpost.wire.message import Message
from fieldpost.wire.payload import ClientPayload, ServerPayload
from fieldpost.wire.sequence import admit
from tests.broker.store.stores import clock_at, open_store
from tests.fakes import InlineWriter

P = ParamSpec("P")
T = TypeVar("T")

ACCOUNT = Account(
    account_name="acme", computer_title="Press 7", hostname="press-7", registration_password="key", tags=None
)
MESSAGES_ALSO = ("message",)


def result_of(deferred: "Deferred[T]") -> T:
    """What a Deferred that has fired fired with."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    result: T = found[0]
    return result


def payload(*messages: Message, expected: int | None = None, **more: Any) -> ServerPayload:
    """What a server says; it takes all that was sent unless it names a number."""
    fields: dict[str, Any] = {"server_api": OLDEST_SERVER_API, "server_uuid": "server-1"}
    return ServerPayload(messages=messages, next_expected_sequence=expected, **{**fields, **more})


def says(*messages: Message, expected: int | None = None, **more: Any) -> Answered:
    """A good answer."""
    return Answered(payload=payload(*messages, expected=expected, **more))


Line = Reply | Exception | Callable[[Request], Reply] | Awaitable[Reply]
"""Of a script: what comes of one request."""


class ScriptedTransport:
    """Answers by its script, line by line, and then by its last line for ever."""

    depth = 1

    def __init__(self, *script: Line) -> None:
        self.script: list[Line] = list(script) or [says()]
        self.requests: list[Request] = []

    async def exchange(self, request: Request) -> Reply:
        self.requests.append(request)
        line = self.script[0]
        if len(self.script) > 1:
            del self.script[0]
        if isinstance(line, Exception):
            raise line
        if isinstance(line, Answered | Refused | Unreachable):
            return line
        return line(request) if callable(line) else await line

    @property
    def last(self) -> ClientPayload:
        return self.requests[-1].payload

    @property
    def sent(self) -> list[list[Any]]:
        """The `value` of each message, payload by payload."""
        return [[message.get("value") for message in request.payload.messages] for request in self.requests]

    @property
    def types(self) -> list[list[str]]:
        """The type of each message, payload by payload."""
        return [[message["type"] for message in request.payload.messages] for request in self.requests]


@define
class RecordingPlugin:
    """Takes deliveries; answers at once with what it is told to, or keeps them in `held` for the test to answer."""

    name: str = "plugin-1"
    answers: Callable[[Message], Outcome | Exception] | None = lambda _: Outcome(status=DONE)
    delivered: list[tuple[int, Message]] = field(factory=list)
    held: list["Deferred[Outcome]"] = field(factory=list)

    def deliver(self, plugin: str, number: int, message: Message) -> "Deferred[Outcome]":
        assert plugin == self.name
        self.delivered.append((number, message))
        answer: Deferred[Outcome] = Deferred()
        if self.answers is None:
            self.held.append(answer)
            return answer
        outcome = self.answers(message)
        if isinstance(outcome, Exception):
            answer.errback(outcome)
            return answer
        return succeed(outcome)

    @property
    def values(self) -> list[Any]:
        return [message.get("value") for _, message in self.delivered]


class SteadyRandom(Random):
    """Chance that always draws the top of a range, so that a test can name the moment."""

    def uniform(self, a: float, b: float) -> float:
        return b


class NoSpread(Random):
    """Chance that always draws the bottom: intervals are exact, back-off is none."""

    def uniform(self, a: float, b: float) -> float:
        return a


@define(kw_only=True)
class Rig:
    """All parts of the exchange, as the broker's composition root joins them."""

    clock: Clock
    store: Store
    writer: InlineWriter
    bus: Bus
    handlers: Handlers
    schedule: Schedule
    timetable: Timetable
    record: Record
    registration: Registration
    delivery: Delivery
    exchange: Exchange
    status: Status
    events: list[tuple[str, Details]] = field(factory=list)

    @classmethod
    def build(
        cls,
        transport: Transport,
        *,
        clock: Clock | None = None,
        store: Store | None = None,
        writer: InlineWriter | None = None,
        random: Random | None = None,
        account: Account | None = None,
        intervals: Intervals = Intervals(),  # noqa: B008 - frozen
        limits: ExchangeLimits = ExchangeLimits(messages=100),  # noqa: B008 - frozen
        handover: HandoverLimits = HandoverLimits(),  # noqa: B008 - frozen
    ) -> "Rig":
        clock = clock or clock_at()
        store = store or open_store(clock=clock)
        writer = writer or InlineWriter()
        random = random or NoSpread()
        bus, handlers, record = Bus(), Handlers(), Record()
        schedule = Schedule(
            intervals=intervals, backoff=Backoff(base=60.0, cap=7_200.0, random=random), random=random
        )
        timetable = Timetable(clock=clock, schedule=schedule, bus=bus)
        registration = Registration(account=account, store=store, writer=writer, bus=bus, ask=timetable.ask)
        Reactions(
            handlers=handlers,
            store=store,
            writer=writer,
            bus=bus,
            timetable=timetable,
            registration=registration,
        )
        delivery = Delivery(
            store=store,
            writer=writer,
            bus=bus,
            handlers=handlers,
            clock=clock,
            ask=timetable.ask,
            record=record,
            limits=handover,
        )
        exchange = Exchange(
            store=store,
            writer=writer,
            transport=transport,
            bus=bus,
            handlers=handlers,
            delivery=delivery,
            timetable=timetable,
            record=record,
            clock=clock,
            now=clock.seconds,
            limits=limits,
        )
        status = Status(
            store=store,
            writer=writer,
            registration=registration,
            timetable=timetable,
            record=record,
            waiting=lambda: delivery.waiting,
        )
        rig = cls(
            clock=clock,
            store=store,
            writer=writer,
            bus=bus,
            handlers=handlers,
            schedule=schedule,
            timetable=timetable,
            record=record,
            registration=registration,
            delivery=delivery,
            exchange=exchange,
            status=status,
        )
        for name in (*EVENTS, *MESSAGES_ALSO):
            bus.listen(name, rig._recorder(name))
        return rig

    def _recorder(self, name: str) -> Callable[[Details], None]:
        return lambda details: self.events.append((name, details))

    def start(self) -> "Rig":
        result_of(Deferred.fromCoroutine(self.exchange.start()))
        return self

    def run(self) -> Result:
        """One exchange, now."""
        result = result_of(self.exchange.run())
        self.clock.advance(0)
        return result

    def stop(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.exchange.stop())

    def heard(self, name: str) -> list[Details]:
        """The details of each event of this name."""
        return [details for event, details in self.events if event == name]

    def report(self) -> dict[str, Any]:
        return result_of(Deferred.fromCoroutine(self.status.report()))

    @property
    def until_next(self) -> float | None:
        return self.timetable.seconds_left


def started(*script: Line, **parts: Any) -> tuple[Rig, ScriptedTransport]:
    """A rig that runs, and its transport."""
    transport = ScriptedTransport(*script)
    return Rig.build(transport, **parts).start(), transport


@define
class _Known:
    """What the model server knows of one computer."""

    registration_id: str
    title: str
    approved: bool
    secure_id: bytes
    expected: int = 0
    token: bytes | None = None
    outgoing: list[tuple[int, Message]] = field(factory=list)
    """Number and message of what is not acknowledged."""
    waiting: list[Message] = field(factory=list)
    """What has no number yet."""
    stored: list[Message] = field(factory=list)
    client_types: tuple[str, ...] | None = None


@frozen
class Weather:
    """What happens to the next exchange."""

    reply: Reply | None = None
    """Comes instead of the server's."""
    loses_answer: bool = False
    """The server took all in, but its answer is lost."""


FAIR = Weather()


class ModelServer:
    """
    The server's side of the protocol, as small as it can be said: registration, numbers, tokens, types, operations.

    It is a Transport: each payload goes through its encoded form both ways.
    """

    def __init__(
        self,
        *types: str,
        auto_accept: bool = True,
        api: ApiLevel = NEWEST_SERVER_API,
        weather: Callable[[Request], Weather] = lambda _: FAIR,
        window: int = 10,
        depth: int = 1,
    ) -> None:
        self.types = (*types, "register", "resynchronize", "receipt", "operation-result")
        self.auto_accept = auto_accept
        self.api = api
        self.weather = weather
        self.travel: Callable[[], Deferred[None]] = lambda: succeed(None)
        """How long an answer is on its way."""
        self.window = window
        self.depth = depth
        self.computers: list[_Known] = []
        self.requests: list[Request] = []
        self.poison: Callable[[Message], bool] = lambda _: False
        self._numbers = count(1)

    async def exchange(self, request: Request) -> Reply:
        self.requests.append(request)
        weather = self.weather(request)
        if weather.reply is not None:
            return weather.reply
        sent = ClientPayload.from_map(cbor.decode(cbor.encode(request.payload.to_map())))
        reply = self._reply(request, sent)
        await self.travel()
        if not isinstance(reply, ServerPayload):
            return reply
        if weather.loses_answer:
            return Unreachable(reason="the answer was lost")
        return Answered(payload=ServerPayload.from_map(cbor.decode(cbor.encode(reply.to_map()))))

    @property
    def computer(self) -> _Known:
        """The one that is registered, when there is just one."""
        (known,) = self.computers
        return known

    def stored(self, type: str) -> list[Any]:
        """The `value` of the messages of a type that the server has."""
        return [message.get("value") for message in self.computer.stored if message["type"] == type]

    def operate(self, type: str, **fields: Any) -> int:
        """Queue an operation; its id."""
        id = next(self._numbers)
        self.computer.waiting.append({"type": type, "operation-id": id, **fields})
        return id

    def results(self, id: int) -> list[Message]:
        """All results that came for an operation."""
        return [message for message in self.computer.stored if message.get("operation-id") == id]

    def _reply(self, request: Request, sent: ClientPayload) -> ServerPayload | Refused:
        if sent.server_api > self.api:
            return Refused(status=404, reason="no such API")
        if any(self.poison(message) for message in sent.messages):
            return Refused(status=422, reason="one of these cannot be taken")
        if request.secure_id is None:
            return self._register(sent)
        known = next((k for k in self.computers if k.secure_id == request.secure_id and k.approved), None)
        if known is None:
            return self._answer(sent.sequence, [{"type": "unknown-id"}])
        if request.token not in (None, known.token):
            return self._answer(sent.sequence, [{"type": "unknown-id", "clone-of": known.title}])
        if request.follows:
            return self._acknowledge(known, sent)
        return self._take(known, sent)

    def _register(self, sent: ClientPayload) -> ServerPayload:
        registers = [message for message in sent.messages if message["type"] == "register"]
        # What must not be taken is not acknowledged: a number beyond all makes the agent number it anew.
        after = sent.sequence + len(sent.messages) + (0 if len(registers) == len(sent.messages) else 1)
        if not registers:
            return self._answer(after, self._types(sent, ("register",)))
        id = registers[-1]["registration-id"]
        known = next((k for k in self.computers if k.registration_id == id), None)
        if known is None:
            known = _Known(id, registers[-1]["computer_title"], self.auto_accept, f"secure-{id}".encode())
            self.computers.append(known)
        if not known.approved:
            return self._answer(after, self._types(sent, ("register",)))
        known.expected = max(known.expected, after)
        identity: Message = {"type": "set-id", "id": known.secure_id, "insecure-id": len(self.computers)}
        return self._answer(known.expected, [identity, *self._types(sent, self.types)])

    def _acknowledge(self, known: _Known, sent: ClientPayload) -> ServerPayload:
        self._store(known, sent)
        return self._with_token(known, [])

    def _store(self, known: _Known, sent: ClientPayload) -> None:
        admission = admit(expected=known.expected, sequence=sent.sequence, count=len(sent.messages))
        known.stored += sent.messages[admission.skip : admission.skip + admission.take]
        known.expected += admission.take

    def _take(self, known: _Known, sent: ClientPayload) -> ServerPayload:
        self._store(known, sent)
        known.client_types = sent.client_accepted_types or known.client_types
        known.outgoing = [(n, m) for n, m in known.outgoing if n >= sent.next_expected_sequence]
        after = known.outgoing[-1][0] + 1 if known.outgoing else sent.next_expected_sequence
        types = [m for m in self._types(sent, self.types) if m not in [o for _, o in known.outgoing]]
        fresh = types + known.waiting[: self.window]
        del known.waiting[: self.window]
        known.outgoing += list(enumerate(fresh, after))
        known.token = b"token-%d" % next(self._numbers)
        return self._with_token(known, [message for _, message in known.outgoing])

    def _with_token(self, known: _Known, messages: list[Message]) -> ServerPayload:
        return evolve(
            self._answer(known.expected, messages),
            next_exchange_token=known.token,
            client_accepted_types_hash=types_digest(known.client_types) if known.client_types else None,
        )

    def _types(self, sent: ClientPayload, types: tuple[str, ...]) -> list[Message]:
        known = sent.accepted_types == types_digest(types)
        return [] if known else [{"type": "accepted-types", "types": sorted(types)}]

    def _answer(self, expected: int, messages: list[Message]) -> ServerPayload:
        return ServerPayload(
            server_api=self.api,
            server_uuid="model",
            messages=tuple(messages),
            next_expected_sequence=expected,
        )


class FailingWriter(InlineWriter):
    """A writer whose next calls fail, one after the other, before they reach the store."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if self.failures:
            return fail(self.failures.pop(0))
        return super().run(function, *args, **kwargs)


class HeldWriter(InlineWriter):
    """A slow writer: while it is held, what is given to it waits for the test."""

    def __init__(self) -> None:
        self.is_held = False
        self._waiting: list[Deferred[None]] = []

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if not self.is_held:
            return super().run(function, *args, **kwargs)
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        return turn.addCallback(lambda _: function(*args, **kwargs))

    def release(self) -> None:
        """Do all that waits, and what comes of it, oldest first."""
        while self._waiting:
            self._waiting.pop(0).callback(None)
        self.is_held = False
