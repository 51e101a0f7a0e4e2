"""Waking for the server's messages: it notifies how many wait for this agent, and an exchange fetches them."""

from typing import Any

from ...runtime.session.subscriptions import Subscriptions
from ...wire.session.subscription import Notification
from ..schedule import Urgency
from ..timetable import Timetable

MESSAGES = "messages"
"""The topic of a computer's own messages; its number is that of the last one queued, ever."""


class Waking:
    """Asks for an exchange whenever something waits on the server."""

    def __init__(self, *, subscriptions: Subscriptions, timetable: Timetable) -> None:
        self._timetable = timetable
        subscriptions.subscribe(MESSAGES, self._heard)

    def _heard(self, notification: Notification) -> None:
        """What it says may be out of date; then the exchange finds nothing, which costs little."""
        if notification.gap or _pending(notification.value):
            self._timetable.ask(Urgency.CALLED)


def _pending(value: Any) -> bool:
    """Whether something waits; what cannot be read is looked into."""
    count = value.get(b"pending", value.get("pending")) if isinstance(value, dict) else None
    return type(count) is not int or count > 0
