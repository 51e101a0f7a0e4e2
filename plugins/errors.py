"""What can go wrong between a plugin and the broker, or in a plugin itself."""

from ..wire.errors import FieldpostError


class PluginError(FieldpostError):
    """Root of the errors of `plugins`."""


class MessageRefused(PluginError):
    """
    The broker will not take this message, now or later; the text says why and what to do.

    `code` is one of the words of `wire.local`, such as `not-granted` or `too-large`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class BufferFull(PluginError):
    """The broker is away or slow and as much as may wait is waiting; the message was not kept: send it later."""


class Stopped(PluginError):
    """This plugin process is stopping; the message was not stored."""


class PluginInvalid(PluginError):
    """A plugin's class does not fit the rules of the SDK: its author's mistake, named with the plugin."""


class OperationFailed(PluginError):
    """
    Raised by a handler to say that the operation failed: the text goes to whoever asked for it.

    `result_code` is a number that the operation's type gives a meaning to.
    """

    def __init__(self, text: str, *, result_code: int | None = None) -> None:
        super().__init__(text)
        self.result_code = result_code
