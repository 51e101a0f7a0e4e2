"""
Attachments: files that operations name, such as those that a script wants beside it (landscape 1.1).

An operator puts one in and names its id in an operation's `attachments`; the computer fetches it by that id. It gets
only what an operation that it has and has not answered names: an identity opens no other computer's files.
"""

from hashlib import sha256
from sqlite3 import Connection
from typing import Any

from attrs import frozen

from ..wire import cbor
from .computers import Computer

FIELD = "attachments"
"""The field of an operation that names them: a map from file names to ids."""


@frozen(kw_only=True)
class Attachment:
    """What is known of a file beside its octets."""

    id: int
    name: str | None
    size: int
    digest: bytes
    created: float


_SELECT = "SELECT id, name, size, digest, created FROM attachment"


def _attachment(row: tuple[Any, ...]) -> Attachment:
    return Attachment(id=row[0], name=row[1], size=row[2], digest=row[3], created=row[4])


def add_attachment_txn(txn: Connection, *, name: str | None, octets: bytes, now: float) -> int:
    """Keep a file; its id."""
    columns = "(name, size, digest, created, octets)"
    row = (name, len(octets), sha256(octets).digest(), now, octets)
    found = txn.execute(f"INSERT INTO attachment {columns} VALUES (?, ?, ?, ?, ?)", row).lastrowid
    assert found is not None
    return found


def find_attachment_txn(txn: Connection, attachment_id: int) -> Attachment | None:
    """The file of this id, without its octets."""
    row = txn.execute(f"{_SELECT} WHERE id = ?", (attachment_id,)).fetchone()
    return None if row is None else _attachment(row)


def list_attachments_txn(txn: Connection, *, after: int, limit: int) -> list[Attachment]:
    """Files in order of their id, those beyond `after`."""
    query = f"{_SELECT} WHERE id > ? ORDER BY id LIMIT ?"
    return [_attachment(row) for row in txn.execute(query, (after, limit))]


def drop_attachment_txn(txn: Connection, attachment_id: int) -> bool:
    """Forget a file; False when there is none."""
    return txn.execute("DELETE FROM attachment WHERE id = ?", (attachment_id,)).rowcount == 1


def missing_txn(txn: Connection, ids: list[int]) -> list[int]:
    """Which of these ids are no attachments."""
    query = "SELECT 1 FROM attachment WHERE id = ?"
    return [
        number for number in ids if not 0 < number < 2**63 or txn.execute(query, (number,)).fetchone() is None
    ]


def fetch_txn(txn: Connection, computer: Computer, attachment_id: int) -> bytes | None:
    """The octets of a file that this computer may have now."""
    if not _is_named_txn(txn, computer.id, attachment_id):
        return None
    row = txn.execute("SELECT octets FROM attachment WHERE id = ?", (attachment_id,)).fetchone()
    return None if row is None else row[0]


def _is_named_txn(txn: Connection, computer: int, attachment_id: int) -> bool:
    query = "SELECT fields FROM operation WHERE computer = ? AND status IN ('sent', 'delivered')"
    found = txn.execute(query, (computer,))
    return any(attachment_id in ids_in(cbor.decode(fields)) for (fields,) in found)


def ids_in(fields: dict[str, Any]) -> list[int]:
    """The attachments that an operation names."""
    named = fields.get(FIELD)
    return [number for number in named.values() if type(number) is int] if type(named) is dict else []
