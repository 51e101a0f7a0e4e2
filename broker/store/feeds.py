"""Feeds: which batches of which plugin process are taken, so that a batch sent again is stored once."""

import sqlite3

from attrs import define

from ...wire import cbor
from ...wire.local import Refusal, Stored

ANSWERS_KEPT = 64
"""Answers kept per feed: well above the batches that a plugin may have unanswered."""
FEEDS_KEPT = 256
_LAST_MESSAGE = "ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)"


@define
class Feed:
    """One run of a plugin process."""

    id: int
    last_batch: int


def feed_txn(txn: sqlite3.Connection, instance: str) -> Feed:
    """The feed of a plugin process, made when it is new; then the one longest silent may have to go."""
    row = txn.execute("SELECT id, last_batch FROM feed WHERE instance = ?", (instance,)).fetchone()
    if row:
        return Feed(*row)
    _prune_txn(txn)
    made = txn.execute(
        f"INSERT INTO feed (instance, last_batch, last_message) VALUES (?, 0, {_LAST_MESSAGE})", (instance,)
    )
    assert made.lastrowid is not None
    return Feed(made.lastrowid, 0)


def last_batch_txn(txn: sqlite3.Connection, instance: str) -> int:
    """0 when nothing of it is stored."""
    row = txn.execute("SELECT last_batch FROM feed WHERE instance = ?", (instance,)).fetchone()
    return row[0] if row else 0


def answered_txn(txn: sqlite3.Connection, feed: Feed, batch: int) -> Stored | None:
    """What a batch was answered before; None when it is new. Of one long past nothing is known but that it came."""
    if batch > feed.last_batch:
        return None
    row = txn.execute(
        "SELECT stored, refused FROM feed_answer WHERE id = ? AND batch = ?", (_slot(feed, batch), batch)
    ).fetchone()
    return Stored(stored=row[0], refused=_read_refused(row[1])) if row else Stored(stored=0)


def note_answer_txn(txn: sqlite3.Connection, feed: Feed, batch: int, answer: Stored) -> None:
    """The batch is taken; this is its answer from now on."""
    txn.execute(
        "INSERT OR REPLACE INTO feed_answer (id, batch, stored, refused) VALUES (?, ?, ?, ?)",
        (_slot(feed, batch), batch, answer.stored, _write_refused(answer.refused)),
    )
    txn.execute(
        f"UPDATE feed SET last_batch = ?, last_message = {_LAST_MESSAGE} WHERE id = ?", (batch, feed.id)
    )
    feed.last_batch = batch


def _slot(feed: Feed, batch: int) -> int:
    return feed.id * ANSWERS_KEPT + batch % ANSWERS_KEPT


def _prune_txn(txn: sqlite3.Connection) -> None:
    (count,) = txn.execute("SELECT count(*) FROM feed").fetchone()
    if count < FEEDS_KEPT:
        return
    (oldest,) = txn.execute("SELECT id FROM feed ORDER BY last_message, id LIMIT 1").fetchone()
    first = oldest * ANSWERS_KEPT
    txn.execute("DELETE FROM feed_answer WHERE id >= ? AND id < ?", (first, first + ANSWERS_KEPT))
    txn.execute("DELETE FROM feed WHERE id = ?", (oldest,))


def _write_refused(refused: tuple[Refusal, ...]) -> bytes | None:
    """Refusals of one kind share their words, since a whole batch may be refused."""
    if not refused:
        return None
    groups: dict[tuple[str, str], list[int]] = {}
    for refusal in refused:
        groups.setdefault((refusal.code, refusal.text), []).append(refusal.index)
    return cbor.encode([[code, text, indexes] for (code, text), indexes in groups.items()])


def _read_refused(written: bytes | None) -> tuple[Refusal, ...]:
    if written is None:
        return ()
    refusals = [
        Refusal(index=index, code=code, text=text)
        for code, text, indexes in cbor.decode(written)
        for index in indexes
    ]
    return tuple(sorted(refusals, key=lambda refusal: refusal.index))
