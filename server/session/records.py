"""What is kept of the sessions of a computer beyond a restart: its latest connection's number, its key, its twins."""

from sqlite3 import Connection

from attrs import frozen


@frozen(kw_only=True)
class Record:
    """One row; the columns are explained in the schema."""

    sequence: int = 0
    key_name: str | None = None
    twins_seen: float | None = None


NO_RECORD = Record()
_SELECT = "SELECT sequence, key_name, twins_seen FROM session_record WHERE computer = ?"
_SET = "INSERT INTO session_record (computer, {0}) VALUES (?, ?) ON CONFLICT (computer) DO UPDATE SET {0} = excluded.{0}"


def find_record_txn(txn: Connection, computer_id: int) -> Record:
    """The record of a computer, an empty one when there is none."""
    row = txn.execute(_SELECT, (computer_id,)).fetchone()
    return NO_RECORD if row is None else Record(sequence=row[0], key_name=row[1], twins_seen=row[2])


def next_sequence_txn(txn: Connection, computer_id: int) -> int:
    """The number of a new connection; none is given twice."""
    sequence = find_record_txn(txn, computer_id).sequence + 1
    txn.execute(_SET.format("sequence"), (computer_id, sequence))
    return sequence


def bind_key_txn(txn: Connection, computer_id: int, key_name: str) -> None:
    """From now on this key stands for the computer, and no other does."""
    txn.execute(_SET.format("key_name"), (computer_id, key_name))


def release_key_txn(txn: Connection, computer_id: int) -> str | None:
    """The next key that it shows is bound to it, and the one that was, which is given back, is free for another."""
    key_name = find_record_txn(txn, computer_id).key_name
    txn.execute("UPDATE session_record SET key_name = NULL WHERE computer = ?", (computer_id,))
    return key_name


def note_twins_txn(txn: Connection, computer_id: int, now: float) -> None:
    """Two machines use its identity in turn."""
    txn.execute(_SET.format("twins_seen"), (computer_id, now))


def all_twins_txn(txn: Connection) -> dict[int, float]:
    """When twins were last seen, by computer; few have them."""
    query = "SELECT computer, twins_seen FROM session_record WHERE twins_seen IS NOT NULL"
    return dict(txn.execute(query).fetchall())


def forget_twins_txn(txn: Connection, computer_id: int) -> None:
    """The operator has dealt with them."""
    txn.execute("UPDATE session_record SET twins_seen = NULL WHERE computer = ?", (computer_id,))


def find_by_key_txn(txn: Connection, key_name: str) -> int | None:
    """The computer to which a key is bound."""
    row = txn.execute("SELECT computer FROM session_record WHERE key_name = ?", (key_name,)).fetchone()
    return None if row is None else int(row[0])
