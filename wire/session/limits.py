"""How much one end of a session takes from the other (spec/wire.md 5.8). Most of it is told to the peer in the hello."""

from typing import Protocol

from attrs import frozen

from .events import CommandError

KIB = 1024
MIB = 1024 * KIB

LARGEST_FRAME = 0xFFFFFF
"""What the header's length field can say."""
LARGEST_CREDIT = 2**31 - 1


class Pool(Protocol):
    """Octets of command data that are not whole yet, of all connections together."""

    def take(self, octets: int) -> CommandError | None:
        """Hold so many more. Where there is no room for them nothing is held, and this is what the peer is told."""

    def give(self, octets: int) -> None:
        """Hold so many less."""


@frozen(kw_only=True)
class Limits:
    """
    What one end is ready to receive, in octets where nothing else is said.

    The same class says what we may send: then it holds the peer's numbers, and `send_frame` and the `unsent_` ones,
    which are our own choice, count for nothing.
    """

    frame: int = 65_535
    """Payload of a frame that we take."""
    send_frame: int = 32_768
    """Payload at which we cut; the peer's `frame` if that is less."""
    request: int = MIB
    """The assembled map of a request."""
    hello: int = 16 * KIB
    """All of the peer's settings."""
    decision: int = 4 * KIB
    data: int = 32 * MIB
    """Command data held for all requests of a connection together."""
    stranger_data: int = 256 * KIB
    """The same of a peer that may not ask for everything: it has shown nothing of itself yet."""
    answer: int = 32 * MIB
    """One value of an answer, and all those together that are not whole."""
    active: int = 64
    """Requests of the peer that run at once."""
    partial: int = 16
    """Requests of the peer of which only a part has come."""
    partial_age: float = 60.0
    """Seconds without a frame, after which a partial request is cancelled."""
    partial_life: float = 600.0
    """Seconds after which it is cancelled though frames of it come."""
    credit: int = MIB
    """Window of the whole connection; that of one request is a quarter."""
    decoded: int = MIB
    """What one encoded frame may unpack to."""
    decoded_request: int = 64 * MIB
    """What all encoded frames of one request may unpack to."""
    streams: int = 8
    """Streams of the peer that are open at once."""
    depth: int = 16
    """Lists and maps inside each other."""
    members: int = 10_000
    """Values of all kinds in one value."""
    control_frames: int = 200
    """Pings, credits, cancels, settings, extensions, and frames that bring nothing, within `control_period`."""
    control_period: float = 10.0
    unsent_pause: int = 4 * MIB
    """Octets queued here, above which whoever produces them should pause."""
    unsent_close: int = 16 * MIB
    """Octets queued here, above which the connection is given up as slow."""

    @property
    def request_credit(self) -> int:
        """The window of one request."""
        return self.credit // 4

    @property
    def untold(self) -> int:
        """Requests that run, or whose refusal the peer has not read: who keeps to `active` never has as many."""
        return 16 * self.active
