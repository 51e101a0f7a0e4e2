"""What an answer of the server changes, all in one transaction (landscape 1.8 and 1.13)."""

import sqlite3

from ...wire.api import NEWEST_SERVER_API
from .inbox import receive_txn
from .lanes import read_lanes_txn, spoken
from .outbox import drop_kept_txn, judge_txn, numbered_txn, release_txn, settle_txn
from .outgoing import pending
from .own_messages import resynchronize_txn
from .records import Answer, Settlement, State
from .state import Position, read_position_txn, read_state_txn, storable, update_state_txn


def commit_answer_txn(
    txn: sqlite3.Connection, answer: Answer, sent: int, now: int, *, is_refusing: bool = False
) -> Settlement:
    """
    Acknowledgement, resynchronization, token, server, level, digest, and the server's messages.

    `sent` is how many messages the payload held that is answered: an answer without a number accepts these. A store
    that is refusing what is new needs the room of what was acknowledged before: a server that says the same number
    once more still has it.
    """
    old, position = read_state_txn(txn), read_position_txn(txn)
    expected = _expected(answer, position, sent)
    verdict = judge_txn(txn, position, expected)
    settled = settle_txn(txn, position, expected, verdict)
    if is_refusing and answer.next_expected_sequence == position.sequence:
        drop_kept_txn(txn, position.sequence)
    _remember_txn(txn, old, answer)
    state = read_state_txn(txn)
    released = _release_txn(txn, state, settled)
    if verdict.resynchronizes:
        resynchronize_txn(txn, state, now)
    return Settlement(
        verdict=verdict,
        moved=expected != position.sequence or released,
        pending=pending(state, read_position_txn(txn), read_lanes_txn(txn)),
        received=receive_txn(txn, state, answer.messages),
        server_uuid_changed=_change(old.server_uuid, answer.server_uuid),
    )


def _expected(answer: Answer, position: Position, sent: int) -> int:
    if answer.next_expected_sequence is None:
        return position.sequence + sent
    if 0 <= answer.next_expected_sequence <= position.next_number:
        return answer.next_expected_sequence
    return storable(answer.next_expected_sequence, "next-expected-sequence")


def _remember_txn(txn: sqlite3.Connection, old: State, answer: Answer) -> None:
    """
    The level only ever rises here: falling is for a server that says it does not know ours.

    An answer without a token leaves the one that is there: it acknowledges a payload that followed another.
    """
    if answer.token is not None:
        update_state_txn(txn, token=answer.token)
    update_state_txn(
        txn,
        server_uuid=answer.server_uuid,
        api=str(max(old.api, min(answer.server_api, NEWEST_SERVER_API))),
        client_types_hash=answer.client_types_hash,
    )


def _release_txn(txn: sqlite3.Connection, state: State, position: Position) -> bool:
    """
    When the next message is of a level that the server does not speak, let others go before it.

    It has its number since a time when the server did. Only now, with an answer in hand, is it certain that the
    server does not have it: its number may mean another message from here on.
    """
    first = numbered_txn(txn, position.sequence, 1)
    if not first or first[0].lane in spoken(read_lanes_txn(txn), state):
        return False
    release_txn(txn, position)
    return True


def _change(old: str | None, new: str) -> tuple[str | None, str] | None:
    return None if old == new else (old, new)
