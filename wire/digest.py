"""The digest by which both sides see that they know the same set of message types."""

from collections.abc import Iterable
from hashlib import md5

DIGEST_OCTETS = 16


def types_digest(types: Iterable[str]) -> bytes:
    """MD5 of the types, each once, sorted, joined with `;` (landscape 1.3): a fingerprint, no protection."""
    return md5(";".join(sorted(set(types))).encode(), usedforsecurity=False).digest()
