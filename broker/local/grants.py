"""What each plugin may do, and which users' processes may speak for it."""

from collections.abc import Iterable

from attrs import frozen

from ...wire.local import Refused
from ...wire.message import BROKER_TYPES, RECEIPT, REGISTER, RESYNCHRONIZE
from ..errors import BrokerError
from .peer import Peer

EVERY_TYPE = "*"
"""In a grant: all types but those that are the broker's own."""
OWN_TYPES = frozenset({REGISTER, RESYNCHRONIZE, RECEIPT})
"""Sent by the broker alone: with them a plugin could take the machine's identity, or deny a loss."""
OWN_INCOMING_TYPES = frozenset(BROKER_TYPES)
"""Taken by the broker alone: one of them carries the secret identity."""


class GrantInvalid(BrokerError):
    """A grant that may not be given: a mistake in a plugin's manifest."""


@frozen(kw_only=True)
class Grant:
    """
    A plugin's rights.

    Raises GrantInvalid, when made, for types that are the broker's own.
    """

    name: str
    uids: frozenset[int]
    """Users whose processes may say that they are this plugin."""
    sends: frozenset[str] = frozenset()
    handles: frozenset[str] = frozenset()
    subscribes: frozenset[str] = frozenset()
    """Topics of the server's notifications."""

    def __attrs_post_init__(self) -> None:
        for word, types, own in (
            ("sends", self.sends, OWN_TYPES),
            ("handles", self.handles, OWN_INCOMING_TYPES),
        ):
            if types & own:
                raise GrantInvalid(
                    f"plugin `{self.name}`: `{word}` names {_listed(types & own)}, which only the broker itself "
                    f"may; take it out of the plugin's manifest"
                )

    def may_send(self, kind: str) -> bool:
        """Whether it may send messages of this type."""
        return kind in self.sends or (EVERY_TYPE in self.sends and kind not in OWN_TYPES)

    def may_handle(self, kind: str) -> bool:
        """Whether the server's messages of this type may be given to it."""
        return kind in self.handles or (EVERY_TYPE in self.handles and kind not in OWN_INCOMING_TYPES)

    def may_subscribe(self, topic: str) -> bool:
        """Whether the server's notifications of this topic may be given to it."""
        return topic in self.subscribes or EVERY_TYPE in self.subscribes


class Grants:
    """All grants, by plugin. `operators` are users who may look at the broker without being a plugin."""

    def __init__(self, grants: Iterable[Grant], *, operators: Iterable[int]) -> None:
        self._grants = {grant.name: grant for grant in grants}
        self._operators = frozenset(operators)

    def admit(self, names: Iterable[str], peer: Peer) -> dict[str, Grant]:
        """
        The grants that a process asks for by the names of its plugins; none for an operator's command.

        Raises Refused, saying what is missing.
        """
        admitted = {name: self._admit_one(name, peer) for name in names}
        if not admitted and peer.uid not in self._operators:
            raise Refused(
                f"user {peer.uid} names no plugin and is no operator of this broker; connect as root or as the "
                "broker's own user"
            )
        return admitted

    def _admit_one(self, name: str, peer: Peer) -> Grant:
        grant = self._grants.get(name)
        if grant is None:
            raise Refused(
                f"this broker knows no plugin `{name[:64]}`; put its manifest into the broker's plugin folder, then "
                "start the broker again"
            )
        if peer.uid not in grant.uids:
            raise Refused(
                f"plugin `{name}` may not run as user {peer.uid}, only as {_listed(map(str, grant.uids))}; set `user` "
                "in its manifest, or start it as that user"
            )
        return grant


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))
