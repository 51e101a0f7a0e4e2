"""The durable message store: what plugins and the server sent, until it is safe with the other."""

from collections.abc import Callable, Iterable, Sequence

from ..wire.local import Stored
from ..wire.message import Message
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


class Store:
    """
    One SQLite file; each method is one transaction, synced when it returns.

    Raises DatabaseFull and its siblings of runtime.database, never an error of SQLite.
    """

    @classmethod
    def open(
        cls, path: str, *, limits: StoreLimits, new_id: Callable[[], str], now: Callable[[], float]
    ) -> "Store":
        """The store at `path`; `:memory:` is allowed."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def add(self, batches: Sequence[Batch]) -> list[Stored]:
        raise NotImplementedError

    def put(self, message: Message) -> None:
        raise NotImplementedError

    def has_queued(self, type: str) -> bool:
        raise NotImplementedError

    def last_batch(self, instance: str) -> int:
        raise NotImplementedError

    def begin_exchange(self, *, max_messages: int, max_octets: int) -> Outgoing:
        raise NotImplementedError

    def commit_answer(self, answer: Answer) -> Settlement:
        raise NotImplementedError

    def set_aside(self, number: int, reason: str) -> None:
        raise NotImplementedError

    def shed_old(self) -> int:
        raise NotImplementedError

    def state(self) -> State:
        raise NotImplementedError

    def lower_api(self) -> None:
        raise NotImplementedError

    def accept_types(self, types: Iterable[str]) -> TypeChanges:
        raise NotImplementedError

    def set_intervals(self, *, exchange: int | None, urgent_exchange: int | None) -> None:
        raise NotImplementedError

    def set_identity(self, *, secure_id: bytes, insecure_id: int | None) -> None:
        raise NotImplementedError

    def forget_identity(self, *, clone_of: str | None) -> None:
        raise NotImplementedError

    def open_session(self, plugin: str, scope: str | None) -> str:
        raise NotImplementedError

    def resynchronize(self, *, operation_id: int | None, scopes: tuple[str, ...] | None) -> None:
        raise NotImplementedError

    def next_incoming(self, limit: int) -> list[Incoming]:
        raise NotImplementedError

    def start_delivery(self, number: int) -> None:
        raise NotImplementedError

    def finish_delivery(self, number: int, result: OperationResult | None) -> Conclusion:
        raise NotImplementedError

    def recover_deliveries(self) -> list[Incoming]:
        raise NotImplementedError

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        raise NotImplementedError

    def status(self) -> StoreStatus:
        raise NotImplementedError
