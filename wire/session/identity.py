"""
Who is at the other end of a session.

An id is a role's prefix and a name: `a:` an agent, `s:` a server; the name is the hash of a public key or the public
part of a registered secret. Whoever has the greater id decides (spec, 5.4), so an id counts only with its prefix
proved: an agent that could call itself `s:...` could make itself master. What the carrier knows may prove it, see
Evidence; else it takes a secret, see `proof`.
"""

import re
from enum import Enum

from attrs import frozen

AGENT = "a:"
SERVER = "s:"
NONCE_OCTETS = 32
INCARNATION_OCTETS = 8
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


def is_master(ours: str | None, theirs: str | None, *, role: Role) -> bool:
    """Whether this end decides: the greater id; a missing one is the lowest; a tie goes to whoever accepts."""
    mine, other = (text.encode() if text else b"" for text in (ours, theirs))
    return mine > other if mine != other else role is Role.SERVER
