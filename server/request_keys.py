"""
Requests that may be repeated: what carries the same `Idempotency-Key` is carried out once.

A client that loses an answer cannot know whether its request was carried out. Under a key of its own it sends the very same
again, and is answered with what the first one made. The key is noted in the transaction that carries the request out: there
are both or neither, whatever dies when. And transactions come one after the other, so of two that arrive together the second
finds the first. What was refused is not noted: it made nothing, and may be sent again under its key.

After draft-ietf-httpapi-idempotency-key-header; quotes around a key are part of it, and may be missing.
"""

from collections.abc import Callable
from hashlib import sha256
from sqlite3 import Connection
from typing import TypeVar

from attrs import field, frozen

from ..wire.errors import Malformed
from .call import Call
from .errors import Refused

T = TypeVar("T")
HEADER = "Idempotency-Key"
MAX_KEY_OCTETS = 255
KEPT_SECONDS = 24 * 3600.0
MOST_KEYS = 200_000
"""So many are kept; each takes a few hundred octets."""
_MOST_PRUNED = 100
"""Of each kind, with each one that is noted: more than come, and few enough to hold nobody up."""


@frozen(kw_only=True)
class RequestKey:
    """A key, and the request that it stands for."""

    key: str
    request: tuple[bytes, ...] = field(repr=False)


def read_key(call: Call) -> RequestKey | None:
    """
    The key of a request; None when it has none.

    Raises Malformed.
    """
    values = call.headers.getRawHeaders(HEADER.encode("ascii"))
    if values is None:
        return None
    key = values[0].strip()
    if (
        len(values) > 1
        or not 0 < len(key) <= MAX_KEY_OCTETS
        or not all(0x20 <= octet < 0x7F for octet in key)
    ):
        raise Malformed(f"{HEADER} must be given once, as 1 to {MAX_KEY_OCTETS} printable ASCII characters")
    said = (call.method, call.path, call.query, call.header("Content-Type") or "")
    return RequestKey(
        key=key.decode("ascii"), request=(*(text.encode("latin-1") for text in said), call.body)
    )


def once_txn(
    txn: Connection,
    key: RequestKey | None,
    *,
    now: float,
    work: Callable[[Connection], int],
    find: Callable[[Connection, int], T],
) -> tuple[T, bool]:
    """
    Do the work, which gives the id of what it made or changed, unless it was done under this key.

    What is found by that id, as it is now, and whether this was a repeat. Raises Refused for another request under a key
    that is in use, and when there are too many keys.
    """
    if key is None:
        return find(txn, work(txn)), False
    _prune_txn(txn, key.key, now)
    digest = _digest_of(key)
    row = txn.execute("SELECT digest, made FROM request_key WHERE key = ?", (key.key,)).fetchone()
    if row is not None and row[0] != digest:
        raise _reused()
    if row is not None:
        return find(txn, row[1]), True
    if _is_full_txn(txn):
        raise _too_many()
    made = work(txn)
    columns = "(key, digest, created, made)"
    txn.execute(f"INSERT INTO request_key {columns} VALUES (?, ?, ?, ?)", (key.key, digest, now, made))
    return find(txn, made), False


def _prune_txn(txn: Connection, key: str, now: float) -> None:
    """Forget what is a day old, or a day ahead because the clock was: of this key, and of the rest some."""
    for condition, bound in (("<=", now - KEPT_SECONDS), (">", now + KEPT_SECONDS)):
        txn.execute(f"DELETE FROM request_key WHERE key = ? AND created {condition} ?", (key, bound))
        old = f"SELECT id FROM request_key WHERE created {condition} ? ORDER BY created LIMIT {_MOST_PRUNED}"
        txn.execute(f"DELETE FROM request_key WHERE id IN ({old})", (bound,))


def _is_full_txn(txn: Connection) -> bool:
    """
    Whether no key more may be kept.

    There are no more of them than ids from the first to the last, which takes as long however many they are. Counted they
    are only where there are ids enough: keys go in the order in which they came, save where the clock was set back.
    """
    ends = "(SELECT max(id) FROM request_key) - (SELECT min(id) FROM request_key) + 1"
    if (txn.execute(f"SELECT {ends}").fetchone()[0] or 0) < MOST_KEYS:
        return False
    return bool(txn.execute("SELECT count(*) FROM request_key").fetchone()[0] >= MOST_KEYS)


def _digest_of(key: RequestKey) -> bytes:
    found = sha256()
    for part in key.request:
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.digest()


def _reused() -> Refused:
    cause = f"this {HEADER} was used with another request within a day"
    return Refused(422, cause, "draw a new key for each request, and repeat a request as it was")


def _too_many() -> Refused:
    cause = f"{MOST_KEYS} keys of the last {KEPT_SECONDS / 3600:g} hours are kept already"
    next_step = f"send it without {HEADER}, if it need not be repeated, or try again later"
    return Refused(503, cause, next_step, headers=(("Retry-After", "3600"),))
