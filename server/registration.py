"""
Registration: how an unknown agent becomes a computer (landscape 1.5, 1.7).

An agent without identity sends `register`; the answer says what came of it: the identity (`set-id`), a refusal
(`registration`), or nothing yet, while the operator has not decided. Until it has its identity the agent repeats
`register` in each exchange, always with the same registration id, and so finds the same row: neither a lost answer nor
waiting makes a second computer.

The numbers of its messages go on after the exchange that brought the identity. They never go back: where the row has
come further already, because this registration is an old one delivered late, or comes from a copy of the machine, the
answer names the number that it has come to. The agent then numbers what it holds anew, and nothing is taken twice or
passed over as known.

Landscape's client makes no registration id. What it says of itself stands in: account, title, hostname, and whose clone it
was found to be, if any. Such a registration finds the computer that said the same and has not used its identity yet.
Once it has, the same facts make another computer, for they come from another machine, or from one that lost everything
and numbers its messages from the start. The price: machines with the same title and hostname that register
before any of them exchanged are one computer until its tokens tell them apart.
"""

from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from sqlite3 import Connection

from attrs import evolve, frozen

from ..wire import cbor
from ..wire.errors import Malformed
from ..wire.message import Message
from ..wire.schema import TEXT, Read, field_of, from_map, optional
from .computers import (
    Computer,
    Status,
    add_computer_txn,
    count_pending_txn,
    find_by_secure_id_txn,
    find_lookalike_txn,
    find_registered_txn,
    save_computer_txn,
)
from .policy import Account, Policy

MAX_TEXT = 255
MAX_TAGS = 2_000


def _text(most: int) -> Read:
    def read(value: object) -> str:
        text: str = TEXT(value)
        if len(text) > most:
            raise Malformed(f"must be at most {most} characters, not {len(text)}")
        return text

    return read


def _identity(value: object) -> bytes:
    """A secure id, in octets as it was set or in text."""
    octets = value.encode() if isinstance(value, str) else value
    if not isinstance(octets, bytes) or not 0 < len(octets) <= MAX_TEXT:
        raise Malformed(f"must be 1 to {MAX_TEXT} octets")
    return octets


@frozen(kw_only=True)
class Register:
    """The fields of a `register` message; note their mixed dashes and underscores."""

    account_name: str = field_of(_text(MAX_TEXT), name="account_name")
    registration_password: str | None = field_of(
        optional(_text(MAX_TEXT)), name="registration_password", default=None
    )
    computer_title: str = field_of(_text(MAX_TEXT), name="computer_title")
    hostname: str = field_of(_text(MAX_TEXT))
    tags: str | None = field_of(optional(_text(MAX_TAGS)), default=None)
    registration_id: str | None = field_of(optional(_text(MAX_TEXT)), default=None)
    clone_secure_id: bytes | None = field_of(optional(_identity), name="clone_secure_id", default=None)

    @classmethod
    def from_message(cls, message: Message) -> "Register":
        """Raises Malformed, naming the field."""
        try:
            return from_map(cls, message)
        except Malformed as error:
            raise Malformed(f"in a `register` message, {error}") from None

    @property
    def facts(self) -> bytes:
        """A digest of what stands in for a missing registration id."""
        return sha256(cbor.encode([self.computer_title, self.hostname, self.clone_secure_id])).digest()


class Denial(Enum):
    """Why a registration is refused: the `info` of a `registration` message."""

    UNKNOWN_ACCOUNT = "unknown-account"
    TOO_MANY_PENDING = "max-pending-computers"


def register_txn(
    txn: Connection, register: Register, policy: Policy, *, new_id: Callable[[], str], now: float
) -> Computer | Denial:
    """The computer that a registration stands for, made when it is new; or why there is none."""
    account = policy.accounts.get(register.account_name)
    if account is None or not account.admits(register.registration_password):
        return Denial.UNKNOWN_ACCOUNT
    known = _find_known_txn(txn, register, account)
    if known is not None:
        return _again_txn(txn, known, register, account)
    if not account.auto_accept and count_pending_txn(txn, account.name) >= account.max_pending:
        return Denial.TOO_MANY_PENDING
    return _add_txn(txn, register, account, new_id=new_id, now=now)


def _find_known_txn(txn: Connection, register: Register, account: Account) -> Computer | None:
    if register.registration_id is None:
        return find_lookalike_txn(txn, account.name, register.facts)
    return find_registered_txn(txn, account.name, register.registration_id)


def _again_txn(txn: Connection, known: Computer, register: Register, account: Account) -> Computer | Denial:
    if known.status is Status.REJECTED:
        return Denial.UNKNOWN_ACCOUNT
    computer = evolve(
        known,
        title=register.computer_title,
        hostname=register.hostname,
        tags=register.tags,
        status=Status.APPROVED if account.auto_accept else known.status,
    )
    save_computer_txn(txn, computer)
    return computer


def _add_txn(
    txn: Connection, register: Register, account: Account, *, new_id: Callable[[], str], now: float
) -> Computer:
    twin = register.clone_secure_id and find_by_secure_id_txn(txn, register.clone_secure_id)
    computer = Computer(
        id=0,
        secure_id=new_id().encode(),
        account=account.name,
        registration_id=new_id() if register.registration_id is None else register.registration_id,
        facts=register.facts if register.registration_id is None else None,
        title=register.computer_title,
        hostname=register.hostname,
        tags=register.tags,
        status=Status.APPROVED if account.auto_accept else Status.PENDING,
        clone_of=twin.id if twin else None,
        created=now,
    )
    return add_computer_txn(txn, computer)
