"""
The base of every plugin.

A plugin observes the machine (a monitor) or acts on it (a manager). It says in its class what it is: its `name`, the
types of messages that it `sends`, how often it runs; `@handles` marks the methods that take messages from the server.
Everything that it needs comes with its context, so a test can hold all of it (`fieldpost.testing`).

Any method that is called from outside may be plain or `async`. None may block: what could take longer than 10 ms goes
through `in_thread`. What a method raises is logged with the plugin's name, and the plugin goes on.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from ..wire.message import Message
from .context import Context

F = TypeVar("F", bound=Callable[..., Any])

HANDLED = "handled_types"
"""Attribute of a method that `handles` marked."""


def handles(*types: str) -> Callable[[F], F]:
    """
    Mark a method that takes the server's messages of these types.

    It is called with the message. What it returns answers the operation, where there is one: None or text for done,
    or an Outcome. What it raises makes the operation fail; OperationFailed says how.
    """

    def mark(method: F) -> F:
        setattr(method, HANDLED, types)
        return method

    return mark


@frozen(kw_only=True)
class NoSettings:
    """The settings of a plugin that has none."""


class Plugin:
    """See the module. The methods below are all that is ever called; each does nothing unless overridden."""

    name: ClassVar[str]
    """Small letters, digits and dashes; the manifest's file has the same name."""
    sends: ClassVar[tuple[str, ...]] = ()
    """Types of messages that it sends; the manifest must grant them."""
    scope: ClassVar[str | None] = None
    """What a resynchronize may name to mean this plugin and its like; None: only one that means everybody."""
    interval: float | None = None
    """Seconds between runs; None: `run` is called at most at the start and after a resynchronize."""
    run_at_start: bool = False
    """Whether to run as soon as the process is up; otherwise the first run comes within a tenth of the interval."""
    Settings: ClassVar[type] = NoSettings
    """Class of its settings, with options of `fieldpost.runtime.settings`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings
        self.log = context.log
        self.now = context.now
        self.random = context.random
        self.later = context.later
        self.in_thread = context.in_thread

    def send(self, message: Message, *, urgent: bool = False) -> "Deferred[None]":
        """
        Give the broker a message; it is not yours to change from here on.

        Fires once the broker's disk has it: then it is never lost, never doubled, never silently dropped. Until then
        it waits in memory, also while the broker is away. Fails with MessageRefused when the broker will never take
        it, with BufferFull when too much is waiting already.
        """
        return self.context.send(message, urgent=urgent)

    def on_start(self) -> Awaitable[None] | None:
        """The process is up; the broker may not be there yet."""

    def run(self) -> Awaitable[None] | None:
        """Called each `interval`, never again before it is done."""

    def reset(self) -> Awaitable[None] | None:
        """Forget what the server was told: it lost track. A run follows at once and reports afresh."""

    def on_stop(self) -> Awaitable[None] | None:
        """The process stops: the last few seconds to send what is unsent."""

    def on_impending_exchange(self) -> Awaitable[None] | None:
        """In about ten seconds messages go to the server: send what was gathered."""

    def on_pre_exchange(self) -> Awaitable[None] | None:
        """The payload is about to be built."""

    def on_exchange_done(self) -> Awaitable[None] | None:
        """An exchange ended, well or not."""

    def on_exchange_failed(self) -> Awaitable[None] | None:
        """No usable answer came from the server."""

    def on_resynchronize(self, scopes: tuple[str, ...] | None) -> Awaitable[None] | None:
        """The server lost track of these scopes, None for all; `reset` follows where it concerns this plugin."""

    def on_acceptance_changed(self, type: str, accepted: bool) -> Awaitable[None] | None:
        """The server now takes messages of this type, or no longer; the broker holds them back meanwhile."""

    def on_server_uuid_changed(self, old: str | None, new: str) -> Awaitable[None] | None:
        """An answer came from another server."""

    def on_registration_done(self) -> Awaitable[None] | None:
        """The server gave this machine an identity."""

    def on_registration_failed(self) -> Awaitable[None] | None:
        """The server refused to register this machine."""
