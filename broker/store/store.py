"""
The durable message store: what plugins and the server sent, until it is safe with the other.

What the store answers for is on the disk. A message that `add` took is sent until the server has acknowledged it, in the
order of its lane and under one number, or a receipt goes in its place. A message of the server is stored in the transaction
that moves the server's number on, and delivered from there. docs/store.md has the files, the tables and the limits.

This is the face. Behind it, one noun each: `outbox` with `lanes`, `arrivals`, `outgoing`, `settlement`, `shedding`, `receipts`
and `substitution`; `inbox` with `deliveries` and `operations`; `state`, `sessions`, `feeds`, `dead_letters`; and for bad days
`file` with `reserve`, `quarantine` and `salvage`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ...wire.local import Stored
from ...wire.message import Message
from .arrivals import Arrivals
from .dead_letters import read_dead_letters_txn
from .deliveries import finish_delivery_txn, recover_deliveries_txn, refuse_incoming_txn
from .feeds import last_batch_txn
from .file import StoreFile
from .inbox import next_incoming_txn, start_txn
from .lanes import drop_empty_lanes_txn
from .outbox import Room, has_queued_txn, release_txn
from .outgoing import begin_exchange_txn, follow_exchange_txn
from .own_messages import put_txn, resynchronize_txn
from .receipts import Receipt, leave_txn
from .records import (
    Answer,
    Batch,
    Conclusion,
    DeadLetter,
    Incoming,
    OperationResult,
    Outgoing,
    Settlement,
    State,
    StoreLimits,
    StoreStatus,
    TypeChanges,
)
from .sessions import drop_sessions_txn, open_session_txn
from .settlement import commit_answer_txn
from .shedding import excess_txn, shed_excess_txn, shed_old_txn
from .state import (
    accept_types_txn,
    become_clone_txn,
    forget_identity_txn,
    lower_api_txn,
    read_position_txn,
    read_stamp_txn,
    read_state_txn,
    set_identity_txn,
    set_intervals_txn,
    speak_landscape_txn,
)
from .status import status_txn
from .substitution import drop_obsolete_results_txn, set_aside_txn

P = ParamSpec("P")
T = TypeVar("T")


def _transaction(
    method: Callable[Concatenate["Store", sqlite3.Connection, P], T],
) -> Callable[Concatenate["Store", P], T]:
    """The method is one transaction, which it gets first; its caller does not see it."""

    @wraps(method)
    def run(store: "Store", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store._file.run(lambda txn: method(store, txn, *args, **kwargs))

    return run


class Store:
    """
    One SQLite file; each public method is one transaction, on the disk when it returns.

    For one thread at a time. Raises DatabaseFull and its siblings of runtime.database, never an error of SQLite;
    Malformed for numbers of a peer that no column holds.
    """

    def __init__(
        self, file: StoreFile, *, limits: StoreLimits, new_id: Callable[[], str], now: Callable[[], float]
    ) -> None:
        self._file = file
        self._limits = limits
        self._new_id = new_id
        self._now = now
        # Messages of the payload that is under way. It need not outlive us: an answer does not either.
        self._sent = 0

    @classmethod
    def open(
        cls, path: str, *, limits: StoreLimits, new_id: Callable[[], str], now: Callable[[], float]
    ) -> "Store":
        """
        The store at `path`, made when missing; `:memory:` is allowed.

        A damaged file is put aside, and what can be read of it is in the store that comes back.

        Raises DatabaseNewer, DatabaseFull, DatabaseUnavailable.
        """
        file = StoreFile(path, limits=limits, new_id=new_id, now=now)
        return cls(file, limits=limits, new_id=new_id, now=now)

    def close(self) -> None:
        """Nothing may be called afterwards."""
        self._file.close()

    # The outbox

    def add(self, batches: Sequence[Batch]) -> list[Stored]:
        """
        Take batches of plugins, all in one transaction; the answer to each.

        Raises DatabaseFull; then nothing of any of them is stored.
        """
        return self._file.run_new(lambda txn: self._add_txn(txn, batches))

    def _add_txn(self, txn: sqlite3.Connection, batches: Sequence[Batch]) -> list[Stored]:
        arrivals = Arrivals(txn, read_stamp_txn(txn))
        answers = [arrivals.take_txn(batch) for batch in batches]
        self._file.require_room(arrivals.octets)
        arrivals.write_txn()
        excess = excess_txn(txn, self._limits.max_octets)
        if excess > 0:
            self._leave_txn(txn, shed_excess_txn(txn, excess))
        return answers

    @_transaction
    def put(self, txn: sqlite3.Connection, message: Message) -> None:
        """Queue a message of the broker's own; it gets a timestamp unless it has one."""
        put_txn(txn, read_state_txn(txn), message, now=self._time())

    @_transaction
    def has_queued(self, txn: sqlite3.Connection, type: str) -> bool:
        """Whether a message of this type is not acknowledged yet; one of a level that the server lost does not count."""
        return has_queued_txn(txn, type, read_stamp_txn(txn).api)

    @_transaction
    def last_batch(self, txn: sqlite3.Connection, instance: str) -> int:
        """The highest batch number that is stored of a plugin process; 0 for none."""
        return last_batch_txn(txn, instance)

    def begin_exchange(self, *, max_messages: int, max_octets: int) -> Outgoing:
        """
        What the next payload says. Its messages have their numbers for good when this returns, and the token is gone.

        At least one message goes, if any can, however small the limits.
        """
        room = Room(messages=max_messages, octets=max_octets)
        outgoing = self._file.run(lambda txn: begin_exchange_txn(txn, room))
        self._sent = len(outgoing.messages)
        return outgoing

    def follow_exchange(self, first: int, *, max_messages: int, max_octets: int) -> Outgoing:
        """
        What goes behind payloads that end before the number `first` and have no answer yet; perhaps nothing.

        Its answer must name a number, and is taken in after theirs.
        """
        room = Room(messages=max_messages, octets=max_octets)
        return self._file.run(lambda txn: follow_exchange_txn(txn, room, first))

    def commit_answer(self, answer: Answer) -> Settlement:
        """
        Take in all that the server's answer says, its messages included.

        Raises Malformed for a number that cannot be; then nothing is taken.
        """
        is_refusing = self._file.is_refusing
        settlement = self._file.run(
            lambda txn: commit_answer_txn(txn, answer, self._sent, self._time(), is_refusing=is_refusing)
        )
        if settlement.pending == 0:
            self._file.give_back()
        return settlement

    @_transaction
    def set_aside(self, txn: sqlite3.Connection, number: int, reason: str) -> None:
        """
        Move a message that the server cannot take to the dead letters; a receipt takes its number.

        `reason` is for a person. A number that is not under way any more is passed over.
        """
        set_aside_txn(txn, number, reason, self._time())

    def shed_old(self) -> int:
        """
        Drop what has waited longer than the age limit, and leave receipts; how many messages.

        To be called now and then. A great many may take several calls: see shedding.MOST_AT_ONCE.
        """
        shed = self._file.run(self._shed_old_txn)
        self._file.give_back()
        return shed

    def _shed_old_txn(self, txn: sqlite3.Connection) -> int:
        drop_empty_lanes_txn(txn)
        if self._limits.max_age is None:
            return 0
        receipts = shed_old_txn(txn, self._now() - self._limits.max_age)
        self._leave_txn(txn, receipts)
        return sum(receipt.count for receipt in receipts)

    # What the server told us

    @_transaction
    def state(self, txn: sqlite3.Connection) -> State:
        """Who we are, and how far the two sides have come."""
        return read_state_txn(txn)

    @_transaction
    def lower_api(self, txn: sqlite3.Connection) -> None:
        """Back to the level that every server has: this one did not know ours."""
        lower_api_txn(txn)

    @_transaction
    def accept_types(self, txn: sqlite3.Connection, types: Iterable[str]) -> TypeChanges:
        """The server takes these types and no others; what is held follows from that."""
        return accept_types_txn(txn, types)

    @_transaction
    def set_intervals(
        self,
        txn: sqlite3.Connection,
        *,
        exchange: int | None,
        urgent_exchange: int | None,
        ping: int | None = None,
    ) -> None:
        """Seconds that the server wants between exchanges, and between pings; None leaves one as it is."""
        set_intervals_txn(txn, exchange, urgent_exchange, ping)

    @_transaction
    def speak_landscape(self, txn: sqlite3.Connection, wanted: bool) -> None:
        """Say whether the server is Landscape's; to be called once, before the first exchange."""
        speak_landscape_txn(txn, wanted)

    @_transaction
    def set_identity(self, txn: sqlite3.Connection, *, secure_id: bytes, insecure_id: int | None) -> None:
        """
        We are registered. All sessions end: the server knows nothing of this computer yet.

        A missing insecure id leaves the old one. Results for another identity are dropped, with receipts.
        """
        drop_obsolete_results_txn(txn, read_state_txn(txn), secure_id, self._time())
        set_identity_txn(txn, secure_id, insecure_id)
        drop_sessions_txn(txn, None)

    @_transaction
    def forget_identity(self, txn: sqlite3.Connection, *, clone_of: str | None) -> None:
        """
        The server does not know us, or takes us for a clone of the computer of this title.

        A clone registers as somebody new, and says which secure id it had. Messages that were sent give their numbers
        back, since the answer in hand says that the server did not take them: they wait until we are somebody again.
        """
        if clone_of is not None:
            become_clone_txn(txn, self._new_id())
        forget_identity_txn(txn)
        release_txn(txn, read_position_txn(txn))

    # Sessions

    @_transaction
    def open_session(self, txn: sqlite3.Connection, plugin: str, scope: str | None) -> str:
        """
        The session id of a plugin's scope, the same one until a resynchronize ends it.

        Raises Refused when the plugin has too many scopes.
        """
        return open_session_txn(txn, plugin, scope, self._new_id)

    @_transaction
    def resynchronize(
        self, txn: sqlite3.Connection, *, operation_id: int | None, scopes: tuple[str, ...] | None
    ) -> None:
        """Queue a `resynchronize` message, and end the sessions of these scopes; all, when None."""
        resynchronize_txn(txn, read_state_txn(txn), self._time(), operation_id=operation_id, scopes=scopes)

    # The inbox

    @_transaction
    def next_incoming(self, txn: sqlite3.Connection, limit: int, after: int = -1) -> list[Incoming]:
        """The server's messages behind this number that no delivery was begun for, by number."""
        return next_incoming_txn(txn, limit, after)

    @_transaction
    def start_delivery(self, txn: sqlite3.Connection, number: int) -> None:
        """A handler is about to see it."""
        start_txn(txn, number)

    @_transaction
    def finish_delivery(
        self, txn: sqlite3.Connection, number: int, result: OperationResult | None
    ) -> Conclusion:
        """The message is dealt with; the result of an operation is queued in the same transaction."""
        return finish_delivery_txn(txn, number, result, self._time())

    @_transaction
    def refuse_incoming(self, txn: sqlite3.Connection, number: int, reason: str) -> Conclusion:
        """
        Nothing here can take the message: it goes to the dead letters, and the server is told.

        By the result of its operation, or a receipt where it is none. `reason` is for a person.
        """
        return refuse_incoming_txn(txn, number, reason, self._time())

    @_transaction
    def recover_deliveries(self, txn: sqlite3.Connection) -> list[Incoming]:
        """
        At start, before anything is delivered: end what a stop left half done.

        An operation has failed then, with its outcome unknown: those are returned. Other messages are new again.
        """
        return recover_deliveries_txn(txn, self._time())

    # For people

    @_transaction
    def dead_letters(self, txn: sqlite3.Connection, limit: int) -> list[DeadLetter]:
        """Messages that the server could not take, newest first."""
        return read_dead_letters_txn(txn, limit)

    @_transaction
    def status(self, txn: sqlite3.Connection) -> StoreStatus:
        """How full the store is and how well."""
        return status_txn(txn, full=self._file.is_full, quarantined=self._file.quarantined())

    def _leave_txn(self, txn: sqlite3.Connection, receipts: list[Receipt]) -> None:
        api = read_state_txn(txn).api
        for receipt in receipts:
            leave_txn(txn, receipt, api=api, timestamp=self._time())

    def _time(self) -> int:
        return int(self._now())
