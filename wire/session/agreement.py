"""
What an end brings into a session, what the two agree on, and what a Session tells beyond its Reactor's events.

A session ends with exactly one of Refused (there never was one), Closed and Broken, and nothing is told behind it. Right
before it comes an Aborted for each request that has no end yet, ours or the peer's, those that still waited for the
session included.
"""

from attrs import frozen

from .hello import CAPABILITIES, CODECS, Hello

PROTOCOL_VERSIONS = (1, 1)
"""Oldest and newest that this program speaks, in either role. A role may come to have a range of its own."""
KEEPALIVE = (25.0, 45.0)
"""Seconds of silence after which an end pings, and after which it gives up."""


@frozen(kw_only=True)
class Profile:
    """What this end is and offers."""

    incarnation: bytes
    """8 random octets per process start."""
    nonce: bytes
    """32 random octets per session."""
    id: str | None = None
    """None: not registered."""
    attempt: int | None = None
    """Of a client: grows with every attempt of this incarnation."""
    last: tuple[bytes, int] | None = None
    """Of a client: `Agreement.connection` of the last session that came to be."""
    versions: tuple[int, int] = PROTOCOL_VERSIONS
    """Oldest and newest, for our role."""
    capabilities: tuple[str, ...] = CAPABILITIES
    codecs: tuple[str, ...] = CODECS
    encodings: tuple[str, ...] | None = None
    """What we can decode, in the order in which we would use them; None: all that this program has."""
    keepalive: tuple[float, float] = KEEPALIVE
    announces_proof: bool = False
    """A proof by secret follows the hello."""
    wanted: str | None = None
    """The id that the peer must have; None: any."""


@frozen(kw_only=True)
class Agreement:
    """What is in force in a session."""

    version: int
    codec: str
    capabilities: tuple[str, ...]
    encodings: tuple[str, ...]
    keepalive: tuple[float, float]
    """Seconds of silence after which to ping, and after which to give up."""
    connection: tuple[bytes, int] | None
    """The master's incarnation and the number it gave: a client's next `last`."""
    session: bytes | None
    """For logs."""
    peer: Hello
    """What the peer said of itself: its id and its own range of versions among it."""
    is_master: bool
    """Whether we decided."""


@frozen(kw_only=True)
class HelloReceived:
    """The peer's hello is here and it will decide; or our proof is due, which goes out by `send_proof`."""

    hello: Hello


@frozen(kw_only=True)
class Offered:
    """It is for us to decide: answer with `decide` or `refuse`, now or within the handshake's time."""

    hello: Hello
    proof: bytes | None
    """What the peer shows for its id; None: its id was proved by its key or its carrier, or it has none."""


@frozen(kw_only=True)
class Opened:
    """There is a session. What waited for it is on its way."""

    agreement: Agreement


@frozen(kw_only=True)
class Refused:
    """There is no session, and this is why. The last word to the peer is queued."""

    code: str
    text: str
    retry_after: int | None = None
    """Seconds."""
    versions: tuple[int, int] | None = None
    """The peer's, when it is they that do not fit."""
    by_peer: bool = False


@frozen(kw_only=True)
class Closed:
    """The session is over: after a goodbye, or because the peer is gone."""

    reason: str
    """The goodbye's; or `lost`: the input ended, `dead`: nothing came any more, `slow`: too much lay unsent."""
    by_peer: bool = False
    retry_after: int | None = None
    """Seconds; of the peer's goodbye."""
    location: str | None = None
    """Where the peer sends us."""
    missing: str | None = None
    """What of a frame had not come when the input ended inside it; None: it did not."""


@frozen(kw_only=True)
class ProbeAnswered:
    """The peer lives."""


@frozen(kw_only=True)
class ProbeFailed:
    """No pong came in time."""


SessionEvent = HelloReceived | Offered | Opened | Refused | Closed | ProbeAnswered | ProbeFailed
