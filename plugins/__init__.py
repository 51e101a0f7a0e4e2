"""What plugin authors import: the SDK; beside it the bundled monitors and managers. See docs/writing-a-plugin.md."""

from ..runtime.settings import OCTETS, SECONDS, option
from ..wire.local import DONE, FAILED, Outcome
from ..wire.message import Message
from .accumulator import Means, Point, Sums
from .context import Context
from .errors import BufferFull, MessageRefused, OperationFailed, PluginError, PluginInvalid, Stopped
from .monitor import Monitor, MonitorSettings
from .patience import wait_at_most
from .plugin import NoSettings, Plugin, handles
from .points import Points
from .topics import Notification, Subscription

__all__ = [
    "DONE",
    "FAILED",
    "OCTETS",
    "SECONDS",
    "BufferFull",
    "Context",
    "Means",
    "Message",
    "MessageRefused",
    "Monitor",
    "MonitorSettings",
    "NoSettings",
    "Notification",
    "OperationFailed",
    "Outcome",
    "Plugin",
    "PluginError",
    "PluginInvalid",
    "Point",
    "Points",
    "Stopped",
    "Subscription",
    "Sums",
    "handles",
    "option",
    "wait_at_most",
]
