"""What goes into one payload: the messages that are sent again, then those that wait, as far as there is room."""

import sqlite3
from contextlib import closing
from itertools import chain

from attrs import evolve

from ...wire.api import ApiLevel
from .lanes import Lane, read_lanes_txn, sendable, spoken
from .outbox import Room, Row, Waiting, fill, number_txn, numbered_txn, read_numbered_txn
from .records import Outgoing, State
from .state import Position, read_position_txn, read_state_txn, take_token_txn


def begin_exchange_txn(txn: sqlite3.Connection, room: Room) -> Outgoing:
    """
    Take the token and the messages of the next payload; they have their numbers when this is committed.

    A payload is of one level: it ends before the first message of another, and is empty when that one's level is
    above the server's. Then its answer shows what the server has (`settlement`).
    """
    return evolve(_outgoing_txn(txn, room, read_position_txn(txn).sequence), token=take_token_txn(txn))


def follow_exchange_txn(txn: sqlite3.Connection, room: Room, first: int) -> Outgoing:
    """The same for a payload that goes while those up to the number `first` are under way; it shows no token."""
    return _outgoing_txn(txn, room, first)


def _outgoing_txn(txn: sqlite3.Connection, room: Room, first: int) -> Outgoing:
    state, position, lanes = read_state_txn(txn), read_position_txn(txn), read_lanes_txn(txn)
    rows = _pick_txn(txn, state, first, lanes, room)
    number_txn(txn, rows, position.next_number)
    return Outgoing(
        sequence=first,
        next_expected_sequence=state.server_sequence,
        api=_level(lanes, rows[0].lane) if rows else state.api,
        token=None,
        secure_id=state.secure_id,
        messages=read_numbered_txn(txn, first, len(rows)),
        total=pending(state, position, lanes),
        accepted_types=state.accepted_types,
        client_types_hash=state.client_types_hash,
        is_landscape=state.is_landscape,
    )


def _pick_txn(txn: sqlite3.Connection, state: State, first: int, lanes: list[Lane], room: Room) -> list[Row]:
    again = numbered_txn(txn, first, room.messages)
    with closing(Waiting(txn, sendable(lanes, state))) as waiting:
        return fill(chain(again, waiting), room, spoken(lanes, state))


def _level(lanes: list[Lane], id: int) -> ApiLevel:
    return next(lane.api for lane in lanes if lane.id == id)


def pending(state: State, position: Position, lanes: list[Lane]) -> int:
    """How many messages could go now: those without an acknowledgement and those that wait and are not held."""
    return position.unacknowledged + sum(lane.count for lane in sendable(lanes, state))
