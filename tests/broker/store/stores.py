"""Stores for tests, and the values that go in and out of them."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from twisted.internet.task import Clock

from fieldpost.broker.store.records import Answer, Batch, NewMessage, Outgoing, StoreLimits
from fieldpost.broker.store.store import Store
from fieldpost.wire import cbor
from fieldpost.wire.api import OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.local import Refusal
from fieldpost.wire.message import Message

MEMORY = ":memory:"
NEWER_API = ApiLevel(3, 3)
ACCEPTED = ("load", "disk", "operation-result", "receipt", "register", "resynchronize")
START = 1_700_000_000
"""What the clock of a test's store shows first."""


def ids(prefix: str = "id") -> Callable[[], str]:
    """Counted ids, so that a test can name them."""
    numbers = count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def clock_at(seconds: float = START) -> Clock:
    clock = Clock()
    clock.advance(seconds)
    return clock


def open_store(
    path: str = MEMORY,
    *,
    clock: Clock | None = None,
    new_id: Callable[[], str] | None = None,
    accept: tuple[str, ...] | None = ACCEPTED,
    **limits: Any,
) -> Store:
    """A store whose server accepts some types; `accept=None` leaves it as it is."""
    store = Store.open(
        path,
        limits=StoreLimits(**{"reserve_octets": 0, **limits}),
        new_id=new_id or ids(),
        now=(clock or clock_at()).seconds,
    )
    if accept is not None:
        store.accept_types(accept)
    return store


def new(type: str = "load", value: Any = 0, *, timestamp: int = START, **more: Any) -> NewMessage:
    return NewMessage(
        type=type, body=cbor.encode({"type": type, "value": value}), timestamp=timestamp, **more
    )


def batch(
    number: int,
    *messages: NewMessage,
    instance: str = "run-1",
    session_id: str | None = None,
    refused: tuple[Refusal, ...] = (),
) -> Batch:
    return Batch(
        instance=instance,
        number=number,
        plugin="plugin-1",
        session_id=session_id,
        messages=messages,
        refused=refused,
    )


_BATCHES = count(1)


def add(store: Store, *messages: NewMessage) -> None:
    """Add messages as one batch of their own."""
    store.add([batch(1, *messages, instance=f"feed-{next(_BATCHES)}")])


def add_values(store: Store, values: range, type: str = "load") -> None:
    """Add messages that differ by their value."""
    add(store, *(new(type, value) for value in values))


def begin(store: Store, max_messages: int = 100, max_octets: int = 1_000_000) -> Outgoing:
    return store.begin_exchange(max_messages=max_messages, max_octets=max_octets)


def answer(expected: int | None = None, *messages: Message, **more: Any) -> Answer:
    """What a server says; it accepts all that was sent unless it names a number."""
    fields: dict[str, Any] = {
        "token": None,
        "server_uuid": "server-1",
        "server_api": OLDEST_SERVER_API,
        "client_types_hash": None,
    }
    return Answer(next_expected_sequence=expected, messages=messages, **{**fields, **more})


def bodies(outgoing: Outgoing) -> list[Message]:
    return [cbor.decode(message.body) for message in outgoing.messages]


def values(outgoing: Outgoing) -> list[Any]:
    return [body.get("value") for body in bodies(outgoing)]


def numbers(outgoing: Outgoing) -> list[int]:
    return [message.number for message in outgoing.messages]


def receipts(outgoing: Outgoing) -> list[Message]:
    return [body for body in bodies(outgoing) if body["type"] == "receipt"]


def drain(store: Store, max_messages: int = 100) -> Iterator[Message]:
    """All that the store has to send, to a server that takes everything."""
    while (outgoing := begin(store, max_messages)).messages:
        yield from bodies(outgoing)
        store.commit_answer(answer())
