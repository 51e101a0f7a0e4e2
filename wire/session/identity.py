"""
Who is at the other end of a session, and what shows it.

An id is a role's prefix and a name: `a:` an agent, `s:` a server; the name is the hash of a public key or the public
part of a registered secret. Whoever has the greater id decides (spec, 5.4), so an id counts only with its prefix
proved: an agent that could call itself `s:...` could make itself master. Three things prove an id:

- a key: the certificate that the peer showed in TLS has a key of which the name is the hash;
- the carrier: it has checked the other side in its own way, as a client checks the certificate of the server's host;
- a secret: an HMAC under a registered secret over both hellos, which `proof_of` makes. Both nonces are in it, so an old
  one is worth nothing; so is the side that makes it, so that none can be sent back to its maker; so is the exporter of
  TLS when it runs inside, so that none can be carried over to another channel.
"""

import hmac
import re
from base64 import b32encode
from enum import Enum
from hashlib import sha256

from attrs import frozen

from ..cbor import encode_known

AGENT = "a:"
SERVER = "s:"
PROOF_METHOD = b"hmac-sha256"
"""What `proof` in a hello says when the proof follows in a second frame."""
PROOF_OCTETS = 32
NONCE_OCTETS = 32
INCARNATION_OCTETS = 8
EXPORTER_LABEL = b"EXPORTER-fieldpost-session"
EXPORTER_OCTETS = 32
"""Of the exporter of TLS (RFC 8446, 7.5) where TLS runs inside; without a context."""
_DOMAIN = b"fieldpost session proof 1"
_ID = re.compile(r"[as]:[A-Za-z0-9._-]{1,128}\Z")


class Role(Enum):
    """The two ends: a client opens the connection, a server accepts it. A client's requests and streams are odd."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> "Role":
        """The opposite end."""
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


@frozen(kw_only=True)
class Evidence:
    """What the carrier knows of the other side before a word was said."""

    key: str | None = None
    """`key_name` of the certificate that the peer showed and whose key it holds."""
    roles: frozenset[str] = frozenset({AGENT})
    """The prefixes for which this key or this carrier may stand."""
    vouched: bool = False
    """The carrier has checked the peer itself: what it says of its name is believed."""
    exporter: bytes | None = None
    """The channel's TLS exporter, when TLS runs inside the upgrade. Both ends pass it or none does."""

    def proves(self, id: str) -> bool:
        """Whether nothing more is needed to believe this id, its prefix included."""
        return id[:2] in self.roles and (self.vouched or self.key == id[2:])


CHECKED_SERVER = Evidence(roles=frozenset({SERVER}), vouched=True)
"""What a client has that checked the server's certificate before it said hello."""
NOTHING_KNOWN = Evidence()


def is_id(text: str) -> bool:
    """Whether this is of the form of an id."""
    return _ID.match(text) is not None


def key_name(public_key: bytes) -> str:
    """The name of a key: base32 of SHA-256 over its SubjectPublicKeyInfo in DER."""
    return b32encode(sha256(public_key).digest()).decode("ascii").rstrip("=").lower()


def key_id(prefix: str, public_key: bytes) -> str:
    """The id of whoever holds this key, in this role."""
    return prefix + key_name(public_key)


def is_master(ours: str | None, theirs: str | None, *, role: Role) -> bool:
    """Whether this end decides: the greater id; a missing one is the lowest; a tie goes to whoever accepts."""
    mine, other = (text.encode() if text else b"" for text in (ours, theirs))
    return mine > other if mine != other else role is Role.SERVER


@frozen(kw_only=True)
class Party:
    """One end, as the proof sees it."""

    role: Role
    id: str | None
    incarnation: bytes | None
    nonce: bytes | None


def proof_of(secret: bytes, *, prover: Party, verifier: Party, exporter: bytes | None = None) -> bytes:
    """What `prover` shows `verifier` instead of the secret."""
    said = [_DOMAIN, *_words_of(prover), *_words_of(verifier), exporter]
    return hmac.digest(secret, encode_known(said), "sha256")


def proves(
    proof: bytes, secret: bytes, *, prover: Party, verifier: Party, exporter: bytes | None = None
) -> bool:
    """Whether a proof was made under this secret for these two; takes the same time whatever differs."""
    expected = proof_of(secret, prover=prover, verifier=verifier, exporter=exporter)
    return hmac.compare_digest(proof, expected)


def _words_of(party: Party) -> list[bytes | None]:
    id = None if party.id is None else party.id.encode()
    return [party.role.value.encode(), id, party.incarnation, party.nonce]
