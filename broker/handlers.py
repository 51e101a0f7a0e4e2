"""
Who takes the server's messages, by type.

There are two kinds. A *reaction* is the broker's own: what it does is part of the exchange that brought the message, and
may be done twice without harm. A *recipient* is a plugin: it works in its own process and its own time, and is asked
once. A type that has reactions never reaches a plugin.
"""

from collections.abc import Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from ..wire.local import Outcome
from ..wire.message import Message
from ..wire.payload import WRECK
from .bus import Forget
from .store.records import Incoming

Reaction = Callable[[Incoming], Awaitable[None]]
"""
Takes a message. Raises Malformed for one that cannot be taken, now or ever; any error of the database for one that can
be taken later.
"""

DeliverCall = Callable[[str, int, Message], "Deferred[Outcome]"]
"""
Gives a plugin, by name, a message, by number.

The Deferred fires with what the plugin made of it, and fails with Disconnected when the plugin's process went away.
"""


@frozen(eq=False)
class Recipient:
    """One registration of a plugin."""

    plugin: str
    deliver: DeliverCall


class Handlers:
    """Reactions and recipients per type, in the order in which they came."""

    def __init__(self) -> None:
        self._reactions: dict[str, list[Reaction]] = {}
        self._recipients: dict[str, dict[Recipient, None]] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """
        The types that this agent takes, sorted, for the server to know.

        One that a plugin took once stays: a plugin that is started anew shall not make the server withdraw its work.
        """
        return tuple(sorted({*self._reactions, *self._recipients} - {WRECK}))

    def react(self, type: str, reaction: Reaction) -> None:
        """Let the broker itself take a type, after the reactions that it has to it already."""
        self._reactions.setdefault(type, []).append(reaction)

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Forget:
        """Let a plugin take these types until the answer is called."""
        recipient = Recipient(plugin, deliver)
        places = [self._recipients.setdefault(type, {}) for type in types]
        for recipients in places:
            recipients[recipient] = None

        def forget() -> None:
            for recipients in places:
                recipients.pop(recipient, None)

        return forget

    def reactions(self, type: str) -> tuple[Reaction, ...]:
        """The broker's own, in order."""
        return tuple(self._reactions.get(type, ()))

    def recipients(self, type: str) -> tuple[Recipient, ...]:
        """Those of plugins that are there, in order."""
        return tuple(self._recipients.get(type, ()))
