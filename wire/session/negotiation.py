"""
Where an end stands, from the channel's first octet to its last.

All that moves the machine is here, as one table; it does not know which role plays. The master decides on what it was
offered, the other waits for the decision; before either, both wait for the hello, and the master for the proof that the
hello announced. A session ends through CLOSING, in which only what ends is still taken, or at once.
"""

from enum import Enum

from ..errors import LocalProtocolError


class State(Enum):
    """Where an end stands."""

    GREETING = "greeting"
    """Our hello is sent; the peer's is awaited."""
    PROVING = "proving"
    """Master: the peer announced a proof, which is awaited."""
    OFFERED = "offered"
    """Master: the application considers."""
    AWAITING = "awaiting"
    """The other end is the master; its decision is awaited."""
    OPEN = "open"
    """There is a session."""
    CLOSING = "closing"
    """One of the two said goodbye; what runs may end."""
    CLOSED = "closed"
    """Nothing is taken or sent any more."""


class Move(Enum):
    """What happens to it."""

    HEAR_LOWER = "their hello, and we are the master"
    HEAR_CLAIM = "their hello, we are the master, and a proof follows"
    HEAR_HIGHER = "their hello, and they are the master"
    HEAR_PROOF = "their proof"
    DECIDE = "we decide"
    HEAR_DECISION = "their decision"
    GOODBYE = "a close frame, ours or theirs"
    END = "refusal, breach, loss, or time is up"


TABLE: dict[tuple[State, Move], State] = {
    (State.GREETING, Move.HEAR_LOWER): State.OFFERED,
    (State.GREETING, Move.HEAR_CLAIM): State.PROVING,
    (State.GREETING, Move.HEAR_HIGHER): State.AWAITING,
    (State.PROVING, Move.HEAR_PROOF): State.OFFERED,
    (State.OFFERED, Move.DECIDE): State.OPEN,
    (State.AWAITING, Move.HEAR_PROOF): State.AWAITING,
    (State.AWAITING, Move.HEAR_DECISION): State.OPEN,
    (State.OPEN, Move.GOODBYE): State.CLOSING,
    (State.CLOSING, Move.GOODBYE): State.CLOSING,
    (State.GREETING, Move.END): State.CLOSED,
    (State.PROVING, Move.END): State.CLOSED,
    (State.OFFERED, Move.END): State.CLOSED,
    (State.AWAITING, Move.END): State.CLOSED,
    (State.OPEN, Move.END): State.CLOSED,
    (State.CLOSING, Move.END): State.CLOSED,
}

HANDSHAKE = frozenset({State.GREETING, State.PROVING, State.OFFERED, State.AWAITING})
"""The states before there is a session."""


class Negotiation:
    """The machine: one state, moved by the table."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.GREETING

    def can(self, move: Move) -> bool:
        """Whether the table has this move here."""
        return (self.state, move) in TABLE

    def make(self, move: Move) -> None:
        """Move. Raises LocalProtocolError, changing nothing, where the table has no such move."""
        if not self.can(move):
            raise LocalProtocolError(f"{move.value!r} cannot happen while {self.state.value}")
        self.state = TABLE[self.state, move]


def diagram() -> str:
    """The table as it stands in the documentation."""
    width = max(len(state.value) for state in State)
    rows = (f"{old.value:{width}} -> {new.value:{width}} {move.value}" for (old, move), new in TABLE.items())
    return "\n".join(rows)
