"""Something waits on the server: an exchange fetches it."""

from typing import Any

import pytest

from fieldpost.broker.schedule import Urgency
from fieldpost.broker.session.waking import MESSAGES, Waking
from fieldpost.wire.session.subscription import Notification


class Heard:
    """Subscriptions and a timetable, as far as they are needed."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.asked: list[Urgency] = []

    def subscribe(self, topic: str, handler: Any) -> None:
        self.handlers[topic] = handler

    def ask(self, urgency: Urgency) -> None:
        self.asked.append(urgency)


@pytest.mark.parametrize(
    ("value", "gap", "asks"),
    [
        ({b"pending": 2, b"seq": 40, b"urgent": True}, False, True),
        ({b"pending": 0, b"seq": 40}, False, False),
        ({"pending": 1}, False, True),
        ({b"pending": 0}, True, True),
        (None, False, True),
        ({b"pending": "many"}, False, True),
        ([], False, True),
    ],
)
@pytest.mark.conformance("N16")
def test_each_notification(value: Any, gap: bool, asks: bool) -> None:
    """Nothing pending asks for nothing; a gap, or what cannot be read, is looked into."""
    heard: Any = Heard()
    Waking(subscriptions=heard, timetable=heard)

    heard.handlers[MESSAGES](Notification(topic=MESSAGES, seq=1, value=value, gap=gap))

    assert heard.asked == ([Urgency.CALLED] if asks else [])
