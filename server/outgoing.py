"""
Messages to a computer: a queue whose numbers the computer has the last word on.

A computer says in each exchange which number it expects next, and takes the answer's messages as that number and those
behind it. A message gets its number when it is first sent and keeps it, so that a repeat is known as one. The computer's
number acknowledges all below. Numbered rows are always the queue's first and have no gap between them:

    rows:     7 8 9 - - -        numbers given and not acknowledged, then those never sent
    wanted:   8                  7 has arrived; 8 and 9 go again, then the next ones as 10, 11, ...

Two answers are out of the ordinary. *Ahead*: it wants more than was ever sent, because this database is older than its
own; what was sent counts as arrived, numbering goes on from there, and so no operation is done twice. *Fallen back*: it
wants what it has acknowledged, because its own store is older than it was. What it has not acknowledged is numbered
anew from there. But a request that a network delivered late looks the same, and renumbering on its word would lose
messages: so unless a fresh token vouches for the request, it must be said twice before it is believed.

A message goes again when its answer was lost, or when the computer died before it had noted the number. Of an operation that has its
result by then nothing goes again: something harmless takes its number. And Landscape's client, which notes the id of an operation
on its own before the number, is jammed for good by an id that it has noted already (landscape 3.1, L7). To it an operation
goes again under another id; a result under any of them is the operation's. The price: if it died in the moment between, it does
the operation a second time; that is rare, and what comes of it is seen.
"""

from sqlite3 import Connection

from attrs import evolve, field, frozen

from ..wire import cbor
from ..wire.message import SET_INTERVALS, Message
from .computers import Computer


@frozen(kw_only=True)
class Window:
    """How much goes out in one answer; one message always does."""

    messages: int = 100
    octets: int = 1024 * 1024


def queue_message_txn(
    txn: Connection, computer_id: int, message: Message, *, operation: int | None = None
) -> None:
    """Put a message at the end of a computer's queue."""
    txn.execute(
        "INSERT INTO outgoing (computer, operation, type, body) VALUES (?, ?, ?, ?)",
        (computer_id, operation, message["type"], cbor.encode(message)),
    )


def is_queued_txn(txn: Connection, computer_id: int, message: Message) -> bool:
    """Whether the very same message is in the queue already."""
    query = "SELECT EXISTS (SELECT 1 FROM outgoing WHERE computer = ? AND type = ? AND body = ?)"
    return bool(txn.execute(query, (computer_id, message["type"], cbor.encode(message))).fetchone()[0])


def is_awaited_txn(txn: Connection, computer_id: int) -> bool:
    """Whether anything is in the queue of an approved computer."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM outgoing JOIN computer ON computer.id = outgoing.computer"
        " WHERE computer.id = ? AND computer.status = 'approved')"
    )
    return bool(txn.execute(query, (computer_id,)).fetchone()[0])


def acknowledge_txn(txn: Connection, computer: Computer, wanted: int, *, vouched: bool) -> Computer:
    """
    Drop what arrived, and settle from which number the queue goes on.

    `vouched` says that the request is surely the computer's latest. A computer that is left in doubt (`doubted`)
    gets no messages this time.
    """
    if computer.next_number is None or wanted > computer.next_number:
        _drop_txn(txn, computer.id, wanted)
        return evolve(computer, next_number=wanted, doubted=None)
    if wanted >= _oldest_number_txn(txn, computer.id, computer.next_number):
        _drop_txn(txn, computer.id, wanted)
        return evolve(computer, doubted=None)
    if not vouched and computer.doubted != wanted:
        return evolve(computer, doubted=wanted)
    txn.execute("UPDATE outgoing SET number = NULL WHERE computer = ?", (computer.id,))
    return evolve(computer, next_number=wanted, doubted=None)


def _oldest_number_txn(txn: Connection, computer_id: int, next_number: int) -> int:
    query = "SELECT min(number) FROM outgoing WHERE computer = ? AND number IS NOT NULL"
    (found,) = txn.execute(query, (computer_id,)).fetchone()
    return next_number if found is None else found


def _drop_txn(txn: Connection, computer_id: int, wanted: int) -> None:
    where = "computer = ? AND number < ?"
    txn.execute(
        "UPDATE operation SET status = 'delivered' WHERE status = 'sent'"
        f" AND id IN (SELECT operation FROM outgoing WHERE {where})",
        (computer_id, wanted),
    )
    txn.execute(f"DELETE FROM outgoing WHERE {where}", (computer_id, wanted))


@frozen(kw_only=True)
class Repetition:
    """How messages go out again."""

    renames: bool = False
    """Whether an operation goes under another id."""
    filler: Message = field(factory=lambda: {"type": SET_INTERVALS})
    """What takes the number of an operation that has its result."""


_PLAIN = Repetition()


def take_outgoing_txn(
    txn: Connection, computer: Computer, window: Window, now: float, repetition: Repetition = _PLAIN
) -> tuple[Computer, list[Message]]:
    """What goes out now, in order; what has no number yet gets one."""
    if computer.next_number is None or computer.doubted is not None:
        return computer, []
    next_number = computer.next_number
    messages: list[Message] = []
    octets = 0
    query = "SELECT id, number, operation, body FROM outgoing WHERE computer = ? ORDER BY id LIMIT ?"
    for row, number, operation, body in txn.execute(query, (computer.id, window.messages)).fetchall():
        octets += len(body)
        if messages and octets > window.octets:
            break
        message = cbor.decode(body)
        messages.append(message if operation is None else _asked_txn(txn, operation, message, repetition))
        if number is None:
            _number_txn(txn, row, next_number, operation, now)
            next_number += 1
    return evolve(computer, next_number=next_number), messages


def _asked_txn(txn: Connection, operation: int, message: Message, repetition: Repetition) -> Message:
    """What stands for an operation now; whether it went out before is its own to say, since numbers may have been taken back."""
    (status,) = txn.execute("SELECT status FROM operation WHERE id = ?", (operation,)).fetchone()
    if status == "queued":
        return message
    if status in ("succeeded", "failed"):
        return repetition.filler
    return {**message, "operation-id": _alias_txn(txn, operation)} if repetition.renames else message


def _alias_txn(txn: Connection, operation: int) -> int:
    """A number that no operation has or will have."""
    txn.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'operation'")
    found: int = txn.execute("SELECT seq FROM sqlite_sequence WHERE name = 'operation'").fetchone()[0]
    txn.execute("INSERT INTO operation_alias (id, operation) VALUES (?, ?)", (found, operation))
    return found


def _number_txn(txn: Connection, row: int, number: int, operation: int | None, now: float) -> None:
    txn.execute("UPDATE outgoing SET number = ? WHERE id = ?", (number, row))
    if operation is not None:
        txn.execute(
            "UPDATE operation SET status = 'sent', sent = ? WHERE id = ? AND status = 'queued'",
            (now, operation),
        )
