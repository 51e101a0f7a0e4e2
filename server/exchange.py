"""
One exchange, seen from the database: everything that it changes, in one transaction.

A computer is found by its secure id and vouched for by its token (`tokens`). Of its messages those below the expected
number are known and passed over; the rest is stored, results of operations are noted, and the expected number moves
on: all or nothing, so that an exchange repeated after any failure changes nothing twice. In the other direction
its word acknowledges what it has and numbers what it gets (`outgoing`). The answer hands out the next token.

Whoever presents no identity can only register. The messages of its exchange count as taken when they are nothing but
`register`; if there are others, which we must not take, the answer names a number far beyond all that it has pending: the agent
then keeps them, numbers them anew, and holds them back until it is registered. Beyond what it sent would not do: Landscape's client
takes any number up to its pending count for an acknowledgement, and deletes.

A registration that no broker sent (`Parcel.numbered`) takes part in none of this: its computer's numbers start at 0, where
the broker will start once it has the identity.
"""

from collections.abc import Callable
from sqlite3 import Connection

from attrs import evolve, frozen

from ..wire import cbor
from ..wire.api import NEWEST_SERVER_API
from ..wire.digest import types_digest
from ..wire.message import ACCEPTED_TYPES, REGISTER, REGISTRATION, SET_ID, UNKNOWN_ID, Message
from ..wire.payload import ClientPayload, ServerPayload
from ..wire.sequence import Admission, admit
from .computers import Computer, Status, find_by_secure_id_txn, save_computer_txn, save_exchange_txn
from .messages import store_messages_txn
from .operations import finish_operation_txn
from .outgoing import Repetition, Window, acknowledge_txn, is_queued_txn, queue_message_txn, take_outgoing_txn
from .parcel import Parcel
from .policy import BEFORE_APPROVAL, AcceptedTypes, Policy
from .registration import Denial, Register, register_txn
from .tokens import Presented, Tokens
from .typed import store_parts_txn


@frozen(kw_only=True)
class Outcome:
    """What came of an exchange: the answer, and what the log should say."""

    answer: ServerPayload
    event: str
    computer: int | None = None
    taken: int = 0
    known: int = 0
    strays: int = 0
    """Results that belong to no open operation of this computer."""


_WINDOW = Window()


class Exchange:
    """The rules of the exchange over a database. Ids and tokens come from the callables given."""

    def __init__(
        self,
        *,
        policy: Policy,
        uuid: str,
        new_id: Callable[[], str],
        new_token: Callable[[], bytes],
        window: Window = _WINDOW,
    ) -> None:
        self._policy = policy
        self._uuid = uuid
        self._new_id = new_id
        self._new_token = new_token
        self._window = window

    def take_txn(self, txn: Connection, parcel: Parcel, now: float, *, quiet: bool = False) -> Outcome:
        """
        Take one exchange.

        `quiet` takes the messages and says so, nothing else: the queue to the computer and the token stay as they are. So
        exchanges can follow each other without waiting for answers. Raises Malformed for a `register` message that is none.
        """
        if parcel.secure_id is None:
            return self._register_txn(txn, parcel, now)
        computer = find_by_secure_id_txn(txn, parcel.secure_id)
        if computer is None or computer.status is not Status.APPROVED:
            return self._disown(parcel, "unknown id")
        tokens = Tokens.read(computer.token, computer.previous_token)
        presented = tokens.judge(parcel.token)
        if presented is Presented.FOREIGN:
            return self._disown(parcel, "clone", computer)
        if quiet:
            return self._take_quietly_txn(txn, computer, parcel, now)
        tokens = tokens.after(parcel.token, self._new_token)
        computer = evolve(computer, token=tokens.newest, previous_token=tokens.note)
        return self._take_known_txn(txn, computer, parcel, now, vouched=presented is Presented.NEWEST)

    def _take_quietly_txn(self, txn: Connection, computer: Computer, parcel: Parcel, now: float) -> Outcome:
        payload = parcel.payload
        admission = admit(expected=computer.expected, sequence=payload.sequence, count=len(payload.messages))
        strays = _store_txn(txn, computer, parcel, admission, now)
        computer = evolve(
            _with_client_types(computer, payload),
            expected=computer.expected + admission.take,
            last_exchange=now,
        )
        save_exchange_txn(txn, computer)
        answer = evolve(self._answer(computer.expected, [], computer), next_exchange_token=None)
        return _outcome(answer, computer, admission, strays)

    def _take_known_txn(
        self, txn: Connection, computer: Computer, parcel: Parcel, now: float, *, vouched: bool
    ) -> Outcome:
        payload = parcel.payload
        admission = admit(expected=computer.expected, sequence=payload.sequence, count=len(payload.messages))
        strays = _store_txn(txn, computer, parcel, admission, now)
        computer = acknowledge_txn(txn, computer, payload.next_expected_sequence, vouched=vouched)
        self._announce_types_txn(txn, computer, payload)
        filler = {"type": ACCEPTED_TYPES, "types": list(self._policy.accepted.types)}
        repetition = Repetition(renames=parcel.is_landscape, filler=filler)
        computer, messages = take_outgoing_txn(txn, computer, self._window, now, repetition)
        computer = evolve(
            _with_client_types(computer, payload),
            expected=computer.expected + admission.take,
            last_exchange=now,
        )
        save_exchange_txn(txn, computer)
        return _outcome(self._answer(computer.expected, messages, computer), computer, admission, strays)

    def _announce_types_txn(self, txn: Connection, computer: Computer, payload: ClientPayload) -> None:
        message = _types_message(self._policy.accepted, payload)
        if message is not None and not is_queued_txn(txn, computer.id, message):
            queue_message_txn(txn, computer.id, message)

    def _disown(self, parcel: Parcel, event: str, twin: Computer | None = None) -> Outcome:
        """Tell an agent that its identity is none; its messages stay with it."""
        message: Message = {"type": UNKNOWN_ID}
        if twin is not None:
            message["clone-of"] = twin.title
        answer = self._answer(parcel.payload.sequence, [message])
        return Outcome(answer=answer, event=event, computer=twin.id if twin else None)

    def _register_txn(self, txn: Connection, parcel: Parcel, now: float) -> Outcome:
        payload = parcel.payload
        after = _number_after(payload) if parcel.numbered else 0
        registers = [message for message in payload.messages if message["type"] == REGISTER]
        if not registers:
            return self._unregistered(payload, after, "unregistered")
        register = Register.from_message(registers[-1])
        found = register_txn(txn, register, self._policy, new_id=self._new_id, now=now)
        if isinstance(found, Denial):
            denial: Message = {"type": REGISTRATION, "info": found.value}
            return self._unregistered(payload, after, f"registration refused: {found.value}", denial)
        if found.status is Status.PENDING:
            return self._unregistered(payload, after, "registration pending", computer=found)
        return self._welcome_txn(txn, found, payload, after)

    def _unregistered(
        self,
        payload: ClientPayload,
        after: int,
        event: str,
        *messages: Message,
        computer: Computer | None = None,
    ) -> Outcome:
        types = _types_message(BEFORE_APPROVAL, payload)
        answer = self._answer(after, [*messages, *([types] if types else [])])
        return Outcome(answer=answer, event=event, computer=computer.id if computer else None)

    def _welcome_txn(
        self, txn: Connection, computer: Computer, payload: ClientPayload, after: int
    ) -> Outcome:
        known = computer.last_exchange is not None
        expected = max(computer.expected, after) if known else after
        computer = _with_client_types(evolve(computer, expected=expected), payload)
        save_computer_txn(txn, computer)
        messages: list[Message] = [{"type": SET_ID, "id": computer.secure_id, "insecure-id": computer.id}]
        types = _types_message(self._policy.accepted, payload)
        answer = self._answer(computer.expected, [*messages, *([types] if types else [])], computer)
        return Outcome(answer=answer, event="registered", computer=computer.id)

    def _answer(
        self, expected: int, messages: list[Message], computer: Computer | None = None
    ) -> ServerPayload:
        return ServerPayload(
            server_api=NEWEST_SERVER_API,
            server_uuid=self._uuid,
            messages=tuple(messages),
            next_expected_sequence=expected,
            next_exchange_token=computer.token if computer else None,
            client_accepted_types_hash=computer.client_types_hash if computer else None,
        )


def _outcome(answer: ServerPayload, computer: Computer, admission: Admission, strays: int) -> Outcome:
    return Outcome(
        answer=answer,
        event="gap" if admission.gap else "exchange",
        computer=computer.id,
        taken=admission.take,
        known=0 if admission.gap else admission.skip,
        strays=strays,
    )


def _store_txn(txn: Connection, computer: Computer, parcel: Parcel, admission: Admission, now: float) -> int:
    """Store what is admitted; how many results belonged to nothing."""
    if not admission.take:
        return 0
    items = parcel.items[admission.skip :]
    stored = [(number, item) for number, item in enumerate(items, computer.expected) if item.row is not None]
    numbered = [(number, item.row) for number, item in stored if item.row is not None]
    first = store_messages_txn(txn, computer=computer.id, received=now, numbered=numbered)
    store_parts_txn(
        txn, ((first + index, item.parts) for index, (_, item) in enumerate(stored) if item.parts)
    )
    results = [item.result for item in items if item.result is not None]
    return sum(not finish_operation_txn(txn, computer.id, result, now) for result in results)


_LEAP = 1_000
"""Room for what an agent puts into its queue while its exchange is on the way."""
_MOST_PENDING = 2**40


def _number_after(payload: ClientPayload) -> int:
    """The number that we expect next from an agent without identity."""
    count = len(payload.messages)
    if all(message["type"] == REGISTER for message in payload.messages):
        return payload.sequence + count
    return payload.sequence + max(count, min(payload.total_messages, _MOST_PENDING)) + _LEAP


def _types_message(accepted: AcceptedTypes, payload: ClientPayload) -> Message | None:
    """What tells an agent the types that are accepted, unless it knows."""
    if payload.accepted_types == accepted.digest:
        return None
    return {"type": ACCEPTED_TYPES, "types": list(accepted.types)}


def _with_client_types(computer: Computer, payload: ClientPayload) -> Computer:
    types = payload.client_accepted_types
    if types is None:
        return computer
    return evolve(computer, client_types=cbor.encode(list(types)), client_types_hash=types_digest(types))
