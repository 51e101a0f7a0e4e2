"""The machine behind a session."""

from itertools import product
from pathlib import Path

import pytest

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.negotiation import HANDSHAKE, TABLE, Move, Negotiation, State, diagram

DOCS = Path(__file__).parent.parent.parent.parent / "docs"


@pytest.mark.parametrize(("state", "move"), list(product(State, Move)))
def test_each_pair_moves_as_the_table_says_or_not_at_all(state: State, move: Move) -> None:
    """A pair that is not in the table is an error and changes nothing."""
    machine = Negotiation()
    machine.state = state

    if (state, move) in TABLE:
        assert machine.can(move)
        machine.make(move)
        assert machine.state is TABLE[state, move]
    else:
        with pytest.raises(LocalProtocolError, match=f"cannot happen while {state.value}"):
            machine.make(move)
        assert machine.state is state


def test_a_broker_and_its_server_come_to_a_session_and_leave_it() -> None:
    """The broker waits; the server is the master, takes the proof, considers, decides; a goodbye ends it."""
    broker, server = Negotiation(), Negotiation()

    server.make(Move.HEAR_CLAIM)
    broker.make(Move.HEAR_HIGHER)
    server.make(Move.HEAR_PROOF)
    assert (broker.state, server.state) == (State.AWAITING, State.OFFERED)
    server.make(Move.DECIDE)
    broker.make(Move.HEAR_DECISION)
    assert broker.state is server.state is State.OPEN
    server.make(Move.GOODBYE)
    broker.make(Move.GOODBYE)
    server.make(Move.GOODBYE)
    server.make(Move.END)

    assert (broker.state, server.state) == (State.CLOSING, State.CLOSED)


def test_the_documented_table_is_the_one_that_runs() -> None:
    """Line by line."""
    assert diagram() in (DOCS / "decisions" / "0005-session-identity.md").read_text()


def test_every_state_ends() -> None:
    """And from every state of the handshake a session or an end is reached; CLOSED stays."""
    assert all((state, Move.END) in TABLE for state in State if state is not State.CLOSED)
    assert not [state for state, _ in TABLE if state is State.CLOSED]
    assert {State.OPEN, State.CLOSING, State.CLOSED}.isdisjoint(HANDSHAKE)
