"""The one row of the store that says who we are, what the server told us, and how far both have come."""

import json
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from attrs import fields, frozen

from ...runtime.database import DatabaseBroken, path_of
from ...wire.api import OLDEST_SERVER_API, ApiLevel
from ...wire.errors import Malformed
from .records import State, TypeChanges

parse_level = lru_cache(maxsize=64)(ApiLevel.parse)
"""ApiLevel.parse, for the few levels that are written in a store."""

_NAMES = [field.name for field in fields(State)]
_LARGEST = 2**62


def storable(number: int, name: str) -> int:
    """
    The same number, when the store can hold it and count on from it.

    Raises Malformed, since it is always a peer that names such numbers.
    """
    if not -_LARGEST < number < _LARGEST:
        raise Malformed(f"{name} is beyond what this agent can hold: {str(number)[:40]}")
    return number


def create_state_txn(txn: sqlite3.Connection, registration_id: str) -> None:
    """Make the row, unless it is there."""
    txn.execute("INSERT OR IGNORE INTO state (id, registration_id) VALUES (1, ?)", (registration_id,))


def is_used_txn(txn: sqlite3.Connection) -> bool:
    """Whether anything was ever stored beside the state."""
    return txn.execute("SELECT 1 FROM sqlite_sequence").fetchone() is not None


def _read_txn(txn: sqlite3.Connection, columns: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = txn.execute(f"SELECT {columns} FROM state").fetchone()
    if row is None:
        raise DatabaseBroken(f"{path_of(txn)}: the state is missing")
    return row


def read_state_txn(txn: sqlite3.Connection) -> State:
    """Raises DatabaseBroken when the row is not what we wrote."""
    values = dict(zip(_NAMES, _read_txn(txn, ", ".join(_NAMES)), strict=True))
    try:
        values["api"] = parse_level(values["api"])
        values["accepted_types"] = tuple(json.loads(values["accepted_types"]))
        values["is_landscape"] = bool(values["is_landscape"])
    except (ValueError, TypeError, Malformed) as error:
        raise DatabaseBroken(f"{path_of(txn)}: the state cannot be read: {error}") from error
    return State(**values)


@frozen
class Stamp:
    """What a message gets when it is queued: the level and the identity in force."""

    api: ApiLevel
    secure_id: bytes | None


def read_stamp_txn(txn: sqlite3.Connection) -> Stamp:
    """The part of the state that every batch needs."""
    api, secure_id = _read_txn(txn, "api, secure_id")
    return Stamp(parse_level(api), secure_id)


def update_state_txn(txn: sqlite3.Connection, **values: object) -> None:
    """Set these columns."""
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    txn.execute(f"UPDATE state SET {assignments}", values)


@frozen(kw_only=True)
class Position:
    """Where the sending side is: `sequence` of State, and the number that the next message gets."""

    sequence: int
    next_number: int

    @property
    def unacknowledged(self) -> int:
        """How many messages have a number and no acknowledgement."""
        return self.next_number - self.sequence


def read_position_txn(txn: sqlite3.Connection) -> Position:
    """The row's other half, which only the outbox needs."""
    sequence, next_number = _read_txn(txn, "sequence, next_number")
    return Position(sequence=sequence, next_number=next_number)


def take_token_txn(txn: sqlite3.Connection) -> bytes | None:
    """The token, which is gone from the store with this transaction: it is shown once."""
    token: bytes | None = _read_txn(txn, "token")[0]
    if token is not None:
        update_state_txn(txn, token=None)
    return token


def lower_api_txn(txn: sqlite3.Connection) -> None:
    """Back to the level that every server has."""
    update_state_txn(txn, api=str(OLDEST_SERVER_API))


def speak_landscape_txn(txn: sqlite3.Connection, wanted: bool) -> None:
    """The types that we take are told anew then: Landscape's client does so after each start (landscape 1.3)."""
    state = read_state_txn(txn)
    if wanted and not (state.is_landscape and state.client_types_hash is None):
        update_state_txn(txn, is_landscape=1, client_types_hash=None)
    elif not wanted and state.is_landscape:
        update_state_txn(txn, is_landscape=0)


def accept_types_txn(txn: sqlite3.Connection, types: Iterable[str]) -> TypeChanges:
    """Replace the list of accepted types."""
    old, new = set(read_state_txn(txn).accepted_types), set(types)
    update_state_txn(txn, accepted_types=json.dumps(sorted(new)))
    return TypeChanges(
        added=tuple(sorted(new - old)), kept=tuple(sorted(new & old)), dropped=tuple(sorted(old - new))
    )


def set_intervals_txn(
    txn: sqlite3.Connection, exchange: int | None, urgent_exchange: int | None, ping: int | None
) -> None:
    """None leaves one as it is."""
    given = {
        "exchange_interval": exchange,
        "urgent_exchange_interval": urgent_exchange,
        "ping_interval": ping,
    }
    values = {name: storable(value, name) for name, value in given.items() if value is not None}
    if values:
        update_state_txn(txn, **values)


def set_identity_txn(txn: sqlite3.Connection, secure_id: bytes, insecure_id: int | None) -> None:
    """Registered: what was remembered of a clone has served."""
    update_state_txn(txn, secure_id=secure_id, clone_secure_id=None)
    if insecure_id is not None:
        update_state_txn(txn, insecure_id=storable(insecure_id, "insecure-id"))


def forget_identity_txn(txn: sqlite3.Connection) -> None:
    """The token goes along: it was this identity's."""
    update_state_txn(txn, secure_id=None, insecure_id=None, token=None)


def become_clone_txn(txn: sqlite3.Connection, registration_id: str) -> None:
    """Remember whose clone we are, before that identity is forgotten, and register as somebody new."""
    txn.execute(
        "UPDATE state SET clone_secure_id = coalesce(secure_id, clone_secure_id), registration_id = ?",
        (registration_id,),
    )
