"""
The decision: what the master makes of both hellos (spec, 5.4).

`settle` is its arithmetic and runs on both ends: the master decides by it, the other sees by it that it cannot agree
before it has heard anything. `find_fault` is what the other checks a decision with: nothing may be in force that it did
not offer.
"""

from typing import Any

from attrs import field, frozen

from ..errors import Malformed
from ..schema import BOOLEAN, field_of, integer_of
from .events import Atom, atom_of
from .hello import COUNTER, INCARNATION, SECONDS, VERSION_NUMBER, Hello, read_versions, write_pair
from .identity import Role
from .maps import (
    from_octet_map,
    octets_of,
    pair_of,
    read_word,
    read_words,
    to_octet_map,
    write_word,
    write_words,
)

SESSION_OCTETS = 16
MAX_TEXT = 1000
"""Characters of a refusal's text."""
MAX_ATOMS = 16
MAX_INTERVAL_SECONDS = 50
"""Proxies mostly drop what is silent for 60."""
DEFAULT_KEEPALIVE = (25, 20)
MAX_RETRY_SECONDS = 30 * 86400

# Codes of refusals. A peer may send others.
VERSION, IDENTITY, PROOF, DUPLICATE = "version", "identity", "proof", "duplicate"
CLONE, LIMITS, DRAINING, INTERNAL = "clone", "limits", "draining", "internal"


def _read_atoms(value: Any) -> str:
    """The text of atoms, for people."""
    if type(value) is not list:
        raise Malformed("must be a list of atoms")
    text = " ".join(map(_read_atom, value[:MAX_ATOMS]))[:MAX_TEXT]
    return "".join(c if c.isprintable() else "?" for c in text)


def _read_atom(atom: Any) -> str:
    if type(atom) is not dict or type(atom.get(b"msg")) is not bytes:
        raise Malformed("must be atoms, which are maps with `msg`")
    arguments = atom.get(b"args", [])
    if type(arguments) is not list or not all(type(a) is bytes for a in arguments):
        raise Malformed("has an atom whose `args` are not octets")
    return Atom(atom[b"msg"], tuple(arguments)).text


def _write_atoms(text: str) -> list[dict[bytes, Any]]:
    atom = atom_of(text[:MAX_TEXT])
    return [{b"args": list(atom.args), b"msg": atom.msg} if atom.args else {b"msg": atom.msg}]


@frozen(kw_only=True)
class Refusal:
    """Why there is no session."""

    code: str = field_of(read_word, write=write_word)
    text: str = field_of(_read_atoms, name="message", default="", write=_write_atoms)
    retry_after: int | None = field_of(integer_of(0, MAX_RETRY_SECONDS), default=None)
    """Seconds."""
    versions: tuple[int, int] | None = field_of(read_versions, default=None, write=write_pair)
    """Those of who refuses."""


@frozen(kw_only=True)
class Decision:
    """What is in force from here on."""

    version: int = field_of(VERSION_NUMBER)
    codec: str = field_of(read_word, write=write_word)
    capabilities: tuple[str, ...] = field_of(read_words, default=(), write=write_words)
    connection: tuple[bytes, int] | None = field_of(
        pair_of(INCARNATION, COUNTER), default=None, write=write_pair
    )
    """The master's incarnation and the number of this connection: the other's next `last`."""
    keepalive: tuple[int, int] = field_of(
        pair_of(SECONDS, SECONDS), default=DEFAULT_KEEPALIVE, write=write_pair
    )
    encodings: tuple[str, ...] | None = field_of(read_words, default=None, write=write_words)
    """Those that both can decode, in the server's order; None: not said."""
    session: bytes | None = field_of(octets_of(1, 64), default=None)
    """For logs."""
    upgrade: bool | None = field_of(BOOLEAN, default=None)
    """In the answer to a POST: whether the server takes sessions."""


@frozen(kw_only=True)
class Terms:
    """What two hellos have in common."""

    version: int
    codec: str
    capabilities: tuple[str, ...]
    keepalive: tuple[int, int]
    encodings: tuple[str, ...] = field(default=())


def decision_map(decision: Decision | Refusal) -> dict[bytes, Any]:
    """The map of a decision, refusing or not."""
    if isinstance(decision, Refusal):
        return {b"error": to_octet_map(decision)}
    return to_octet_map(decision)


def read_decision(value: Any) -> Decision | Refusal:
    """The decision of a peer's map. Raises Malformed."""
    if type(value) is dict and b"error" in value:
        return from_octet_map(Refusal, value[b"error"])
    return from_octet_map(Decision, value)


def settle(ours: Hello, theirs: Hello, *, role: Role) -> Terms | Refusal:
    """What both can do; `role` is ours. A refusal names what each side has."""
    client, server = (ours, theirs) if role is Role.CLIENT else (theirs, ours)
    version = min(client.versions[1], server.versions[1])
    if version < max(client.versions[0], server.versions[0]):
        return Refusal(
            code=VERSION,
            text=f"no version in common: the client speaks {_range(client)}, the server {_range(server)}; "
            "upgrade the older of the two",
            versions=ours.versions,
        )
    codec = next((name for name in client.codecs if name in server.codecs), None)
    if codec is None:
        return Refusal(
            code=VERSION,
            text=f"no codec in common: the client has {_list(client.codecs)}, the server {_list(server.codecs)}",
            versions=ours.versions,
        )
    return Terms(
        version=version,
        codec=codec,
        capabilities=tuple(sorted(set(client.capabilities) & set(server.capabilities))),
        keepalive=_settle_keepalive(client, server),
        encodings=tuple(name for name in server.encodings if name in client.encodings),
    )


def _settle_keepalive(client: Hello, server: Hello) -> tuple[int, int]:
    """
    The server's interval, for its operator knows what stands between, and the longer deadline.

    Neither is longer than proxies allow.
    """
    wishes = [hello.keepalive or DEFAULT_KEEPALIVE for hello in (client, server)]
    interval, deadline = wishes[1][0], max(wish[1] for wish in wishes)
    return min(interval, MAX_INTERVAL_SECONDS), min(deadline, MAX_INTERVAL_SECONDS)


def find_fault(decision: Decision, terms: Terms, ours: Hello) -> Refusal | None:
    """What of a decision was not offered; None: it may be."""
    oldest, newest = ours.versions
    if not oldest <= decision.version <= newest or decision.version > terms.version:
        text = f"the master decided version {decision.version}; offered were {oldest} to {newest}"
        return Refusal(code=VERSION, text=text, versions=ours.versions)
    if decision.codec not in ours.codecs:
        return Refusal(
            code=VERSION, text=f"the master decided the codec {decision.codec}, which was not offered"
        )
    foreign = set(decision.capabilities) - set(terms.capabilities)
    if foreign:
        return Refusal(
            code=VERSION, text=f"the master decided {_list(sorted(foreign))}, which was not offered"
        )
    unknown = set(decision.encodings or ()) - set(ours.encodings)
    if unknown:
        return Refusal(
            code=VERSION, text=f"the master decided the encodings {_list(sorted(unknown))}, not offered"
        )
    return None


def _range(hello: Hello) -> str:
    return f"{hello.versions[0]} to {hello.versions[1]}"


def _list(words: "list[str] | tuple[str, ...]") -> str:
    return ", ".join(words) or "none"
