"""
What a Reactor tells its owner (spec/wire.md 5.3 to 5.10).

A request is over with exactly one of: Responded with `end`, Failed, Aborted; or by our own `cancel`, after which nothing
more is told of it. A request of the peer is over when we ended the answer, or with Cancelled or Aborted. Maps have
octets for keys.
"""

from typing import Any

from attrs import field, frozen

Value = Any
"""What CBOR carries; see wire.cbor."""
Map = dict[bytes, Value]


@frozen
class Atom:
    """A piece of text for people: an ASCII format whose only directives are %s and %%, and what fills it in."""

    msg: bytes
    args: tuple[bytes, ...] = ()
    labels: tuple[bytes, ...] = ()

    @property
    def text(self) -> str:
        """For people. Never fails: what does not fit is shown as it came."""
        pieces = self.msg.split(b"%%")
        filled, args = [], iter(self.args)
        for piece in pieces:
            head, *rest = piece.split(b"%s")
            filled.append(head + b"".join(next(args, b"%s") + part for part in rest))
        return b"%".join(filled).decode("utf-8", "backslashreplace")


MAX_WORD = 1000


def word_of(octets: bytes) -> str:
    """A peer's word, bounded and printable."""
    text = octets[:MAX_WORD].decode("ascii", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


def atom_of(text: str) -> Atom:
    """Text as an atom that shows it as it is, whatever is in it."""
    if text.isascii():
        return Atom(text.replace("%", "%%").encode("ascii"))
    return Atom(b"%s", (text.encode("utf-8", "backslashreplace"),))


@frozen
class CommandError:
    """Why a request failed."""

    code: bytes
    """A short word, `unknown-command`, `busy`, `cancelled`; `error` where the peer gives none."""
    message: tuple[Atom, ...] = ()
    details: Map = field(factory=dict)
    """What else the error's map holds."""
    kind: bytes = b"command"
    """`command`, `server`, `protocol`, `cancelled`: the type of an error frame; of a status map always `command`."""

    @property
    def text(self) -> str:
        """For people."""
        return " ".join(atom.text for atom in self.message) or self.code.decode("utf-8", "backslashreplace")


@frozen
class Settings:
    """The peer's settings, or hello, are complete (type 8)."""

    values: Map


@frozen
class DecisionReceived:
    """The master's decision is complete (type 10)."""

    values: Map


@frozen
class Requested:
    """The peer asks for something, and all of it is here. It is active from now on: answer it."""

    request: int
    name: bytes
    args: Map
    data: bytes | None
    """None when no data were announced."""


@frozen
class Responded:
    """Values of an answer to us, in order, without the status map before them."""

    request: int
    values: tuple[Value, ...]
    octets: int
    """To be given back through `consume` when the values have been used; 0 without credit. Also after `end`."""
    end: bool
    """The answer is complete; the id is free."""
    size: int = field(default=0, eq=False)
    """Octets that have come of the answer since the event before, unpacked."""


@frozen
class Failed:
    """A request of ours is over without (the rest of) its answer."""

    request: int
    error: CommandError
    began: bool
    """Whether an `ok` had come before, so that values may have been told."""


@frozen
class Output:
    """Text for people, about a request of ours."""

    request: int
    atoms: tuple[Atom, ...]


@frozen
class Progress:
    """How far a request of ours is. A position of -1 ends the topic."""

    request: int
    topic: bytes
    position: int
    total: int
    label: bytes | None
    item: bytes | None


@frozen
class Cancelled:
    """
    The peer takes back a request that was told by Requested.

    The reactor has already answered it: it is no longer active, and answering it raises NotActive.
    """

    request: int
    reason: bytes | None


@frozen
class Pinged:
    """The peer asks whether we live. Answer with `pong`."""

    cookie: bytes


@frozen
class Ponged:
    """The answer to a `ping`."""

    cookie: bytes


@frozen
class PeerClosed:
    """The peer says goodbye. It begins nothing any more, and answers requests of ours up to `last`."""

    reason: bytes
    last: int
    """Highest request of ours that was or will be handled; 0 for none."""
    retry_after: int | None
    """Seconds."""
    location: bytes | None


@frozen
class Extension:
    """A frame of type 15 that may be ignored."""

    request: int
    name: bytes
    data: bytes


@frozen
class Aborted:
    """A request, ours or the peer's, that cannot be finished because the connection is over."""

    request: int
    reason: str


@frozen
class Broken:
    """
    The connection is over: the peer broke a rule, or says that we did (`error-frame-from-peer`).

    Told at most once, behind the Aborted of all requests, and the last event ever. The farewell to the peer is queued;
    nothing else will be sent.
    """

    code: str
    text: str


Event = (
    Settings
    | DecisionReceived
    | Requested
    | Responded
    | Failed
    | Output
    | Progress
    | Cancelled
    | Pinged
    | Ponged
    | PeerClosed
    | Extension
    | Aborted
    | Broken
)
