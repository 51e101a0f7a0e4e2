"""
What shows that an end is who it says: its key, or a secret that both sides have (spec, 5.4).

- A key: the certificate that the peer showed in TLS has a key of which its id's name is the hash.
- A secret: an HMAC under a registered secret over both hellos, which `proof_of` makes. Both nonces are in it, so an old
  one is worth nothing; so is the side that makes it, so that none can be sent back to its maker; so is the exporter of
  TLS when it runs inside, so that none can be carried over to another channel.
"""

import hmac
from base64 import b32encode
from hashlib import sha256

from attrs import frozen

from ..cbor import encode_known
from .identity import Role

PROOF_METHOD = b"hmac-sha256"
"""What `proof` in a hello says when the proof follows in a second frame."""
PROOF_OCTETS = 32
EXPORTER_LABEL = b"EXPORTER-fieldpost-session"
EXPORTER_OCTETS = 32
"""Of the exporter of TLS (RFC 8446, 7.5) where TLS runs inside; without a context."""
_DOMAIN = b"fieldpost session proof 1"


def key_name(public_key: bytes) -> str:
    """The name of a key: base32 of SHA-256 over its SubjectPublicKeyInfo in DER."""
    return b32encode(sha256(public_key).digest()).decode("ascii").rstrip("=").lower()


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
