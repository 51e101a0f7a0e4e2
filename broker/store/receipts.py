"""
Receipts: messages of the store itself, which say what it could not keep.

Nothing is dropped silently: whatever goes otherwise than to the server is counted in a receipt, which travels first.
Receipts about the same thing are merged until they are sent, so that they stay few; they do not count in the size limit.
"""

import sqlite3

from attrs import frozen

from ...wire import cbor
from ...wire.api import ApiLevel
from ...wire.errors import RemoteProtocolError
from ...wire.message import RECEIPT
from ...wire.schema import INTEGER, NATURAL, TEXT, field_of, from_map, optional, to_map
from .lanes import grow_txn, lane_txn

SIZE = "size"
AGE = "age"
POISON = "poison"
CORRUPT = "corrupt"
OBSOLETE = "obsolete"
UNUSABLE = "unusable"
"""
Why messages are gone: `reason` of a receipt.

Obsolete: the operation's result was for another identity. Unusable: the server's message, not ours; nothing here took it.
"""


@frozen(kw_only=True)
class Receipt:
    """How many messages of a type are gone and why; from which to which id of the store and timestamp, where known."""

    reason: str = field_of(TEXT)
    message_type: str = field_of(TEXT)
    count: int = field_of(NATURAL)
    first: int | None = field_of(optional(INTEGER), default=None)
    last: int | None = field_of(optional(INTEGER), default=None)
    oldest: int | None = field_of(optional(INTEGER), default=None)
    newest: int | None = field_of(optional(INTEGER), default=None)

    @property
    def subject(self) -> str:
        """Receipts of one subject are merged."""
        return f"{self.reason} {self.message_type}"

    def merge(self, other: "Receipt") -> "Receipt":
        """One receipt for both."""
        return Receipt(
            reason=self.reason,
            message_type=self.message_type,
            count=self.count + other.count,
            first=_least(self.first, other.first),
            last=_greatest(self.last, other.last),
            oldest=_least(self.oldest, other.oldest),
            newest=_greatest(self.newest, other.newest),
        )

    def encode(self) -> bytes:
        """The body of the message."""
        return cbor.encode({"type": RECEIPT, **to_map(self)})


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _greatest(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


def leave_txn(txn: sqlite3.Connection, receipt: Receipt, *, api: ApiLevel, timestamp: int) -> None:
    """Queue a receipt, or add it to the one on the same subject that waits."""
    waiting = txn.execute(
        "SELECT id, lane, body FROM outbox WHERE subject = ? AND number IS NULL", (receipt.subject,)
    ).fetchone()
    if waiting is None:
        body = receipt.encode()
        lane = lane_txn(txn, RECEIPT, api)
        txn.execute(
            "INSERT INTO outbox (lane, timestamp, subject, body) VALUES (?, ?, ?, ?)",
            (lane, timestamp, receipt.subject, body),
        )
        grow_txn(txn, lane, 1, len(body))
    else:
        id, lane, old = waiting
        body = _merged(old, receipt).encode()
        txn.execute("UPDATE outbox SET timestamp = ?, body = ? WHERE id = ?", (timestamp, body, id))
        grow_txn(txn, lane, 0, len(body) - len(old))


def _merged(body: bytes, receipt: Receipt) -> Receipt:
    try:
        return from_map(Receipt, cbor.decode(body)).merge(receipt)
    except RemoteProtocolError:
        # Damaged on the disk: what it said is lost with it.
        return receipt


def replace_txn(txn: sqlite3.Connection, id: int, receipt: Receipt, *, api: str, timestamp: int) -> None:
    """Put a receipt in the place, and under the number, of a message of this level."""
    lane = lane_txn(txn, RECEIPT, ApiLevel.parse(api))
    txn.execute(
        "UPDATE outbox SET lane = ?, timestamp = ?, secure_id = NULL, subject = ?, body = ? WHERE id = ?",
        (lane, timestamp, receipt.subject, receipt.encode(), id),
    )
