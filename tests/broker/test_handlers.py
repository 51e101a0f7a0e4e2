"""Who takes which type."""

from twisted.internet.defer import Deferred

from fieldpost.broker.handlers import Handlers
from fieldpost.broker.store.records import Incoming
from fieldpost.wire.local import Outcome
from fieldpost.wire.message import Message


async def react(_: Incoming) -> None:
    """Do nothing."""


async def react_too(_: Incoming) -> None:
    """Do nothing, either."""


def deliver(plugin: str, number: int, message: Message) -> "Deferred[Outcome]":
    raise NotImplementedError


def test_recipients_in_order() -> None:
    """Any number of plugins may take a type; they get it in the order in which they came."""
    handlers = Handlers()
    handlers.register(("reboot",), "b", deliver)
    handlers.register(("reboot", "halt"), "a", deliver)

    assert [recipient.plugin for recipient in handlers.recipients("reboot")] == ["b", "a"]
    assert [recipient.plugin for recipient in handlers.recipients("halt")] == ["a"]
    assert handlers.recipients("other") == ()


def test_reactions_in_order() -> None:
    """The broker may have several reactions to a type."""
    handlers = Handlers()
    handlers.react("set-id", react)
    handlers.react("set-id", react_too)

    assert handlers.reactions("set-id") == (react, react_too)
    assert handlers.reactions("other") == ()


def test_forget() -> None:
    """A plugin that is gone gets nothing; being gone twice is no harm."""
    handlers = Handlers()
    handlers.register(("reboot",), "a", deliver)
    forget = handlers.register(("reboot", "halt"), "b", deliver)

    forget()
    forget()

    assert [recipient.plugin for recipient in handlers.recipients("reboot")] == ["a"]
    assert handlers.recipients("halt") == ()


def test_types_are_told_sorted_and_stay() -> None:
    """A plugin that is restarted does not make the server believe that its work is unwanted."""
    handlers = Handlers()
    handlers.react("set-id", react)
    forget = handlers.register(("reboot", "halt"), "a", deliver)

    forget()

    assert handlers.types == ("halt", "reboot", "set-id")
