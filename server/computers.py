"""The computers that the server knows: their rows, and how the operator's word changes their status."""

from enum import Enum
from sqlite3 import Connection
from typing import Any

from attrs import evolve, fields, frozen


class Status(Enum):
    """Where a computer stands with the operator."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


APPROVE = "approve"
REJECT = "reject"

STATUS_AFTER = {
    (Status.PENDING, APPROVE): Status.APPROVED,
    (Status.PENDING, REJECT): Status.REJECTED,
    (Status.APPROVED, APPROVE): Status.APPROVED,
    (Status.APPROVED, REJECT): Status.REJECTED,
    (Status.REJECTED, APPROVE): Status.APPROVED,
    (Status.REJECTED, REJECT): Status.REJECTED,
}
"""What the operator's word makes of a computer. Saying it twice changes nothing more."""


@frozen(kw_only=True)
class Computer:
    """One computer; the columns are explained in the schema."""

    id: int
    secure_id: bytes
    account: str
    registration_id: str
    facts: bytes | None = None
    title: str
    hostname: str
    tags: str | None = None
    status: Status
    clone_of: int | None = None
    created: float
    last_exchange: float | None = None
    expected: int = 0
    next_number: int | None = None
    doubted: int | None = None
    token: bytes | None = None
    previous_token: bytes | None = None
    """What is to be known of the tokens before it; see tokens.Tokens.note."""
    client_types: bytes | None = None
    client_types_hash: bytes | None = None


_NAMES = tuple(attribute.name for attribute in fields(Computer))
_SELECT = f"SELECT {', '.join(_NAMES)} FROM computer"
_INSERT = f"INSERT INTO computer ({', '.join(_NAMES[1:])}) VALUES ({', '.join('?' * (len(_NAMES) - 1))})"
_UPDATE = f"UPDATE computer SET {', '.join(f'{name} = ?' for name in _NAMES[1:])} WHERE id = ?"
_MOVED_BY_EXCHANGE = (
    "last_exchange",
    "expected",
    "next_number",
    "doubted",
    "token",
    "previous_token",
    "client_types",
    "client_types_hash",
)
_UPDATE_EXCHANGE = (
    f"UPDATE computer SET {', '.join(f'{name} = ?' for name in _MOVED_BY_EXCHANGE)} WHERE id = ?"
)


def _computer(row: tuple[Any, ...] | None) -> Computer | None:
    if row is None:
        return None
    values = dict(zip(_NAMES, row, strict=True))
    return Computer(**(values | {"status": Status(values["status"])}))


def _row(computer: Computer) -> list[Any]:
    """All columns but the id."""
    return [
        value.value if isinstance(value, Status) else value
        for value in (getattr(computer, name) for name in _NAMES[1:])
    ]


def find_computer_txn(txn: Connection, computer_id: int) -> Computer | None:
    """The computer of a public number."""
    return _computer(txn.execute(f"{_SELECT} WHERE id = ?", (computer_id,)).fetchone())


def find_by_secure_id_txn(txn: Connection, secure_id: bytes) -> Computer | None:
    """The computer that presents this id."""
    return _computer(txn.execute(f"{_SELECT} WHERE secure_id = ?", (secure_id,)).fetchone())


def find_registered_txn(txn: Connection, account: str, registration_id: str) -> Computer | None:
    """The computer that an earlier registration made."""
    where = "WHERE account = ? AND registration_id = ?"
    return _computer(txn.execute(f"{_SELECT} {where}", (account, registration_id)).fetchone())


def find_lookalike_txn(txn: Connection, account: str, facts: bytes) -> Computer | None:
    """
    The newest computer that registered with these facts and may be the one that registers now.

    One that has exchanged holds its identity already and is another, unless the operator rejected it: what he rejected must
    not come in again as new.
    """
    where = "WHERE account = ? AND facts = ? AND (last_exchange IS NULL OR status = 'rejected')"
    query = f"{_SELECT} {where} ORDER BY id DESC LIMIT 1"
    return _computer(txn.execute(query, (account, facts)).fetchone())


def add_computer_txn(txn: Connection, computer: Computer) -> Computer:
    """The same, with the id that its new row got."""
    found = txn.execute(_INSERT, _row(computer)).lastrowid
    assert found is not None
    return evolve(computer, id=found)


def save_computer_txn(txn: Connection, computer: Computer) -> None:
    """Write all columns of a row that exists."""
    txn.execute(_UPDATE, (*_row(computer), computer.id))


def save_exchange_txn(txn: Connection, computer: Computer) -> None:
    """Write what an exchange moves; no index has those columns."""
    txn.execute(_UPDATE_EXCHANGE, (*(getattr(computer, name) for name in _MOVED_BY_EXCHANGE), computer.id))


def count_pending_txn(txn: Connection, account: str) -> int:
    """How many computers of an account wait for approval."""
    query = "SELECT count(*) FROM computer WHERE account = ? AND status = 'pending'"
    found: int = txn.execute(query, (account,)).fetchone()[0]
    return found


def list_computers_txn(
    txn: Connection, *, after: int, limit: int, status: str | None = None, account: str | None = None
) -> list[Computer]:
    """Computers in order of their number, those beyond `after`."""
    where, values = "id > ?", [after, status, status, account, account, limit]
    where += " AND (? IS NULL OR status = ?) AND (? IS NULL OR account = ?)"
    rows = txn.execute(f"{_SELECT} WHERE {where} ORDER BY id LIMIT ?", values).fetchall()
    return [computer for computer in map(_computer, rows) if computer is not None]
