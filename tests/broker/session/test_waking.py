"""Something waits on the server: an exchange fetches it."""

from typing import Any

import pytest

from fieldpost.broker.bus import EXCHANGE_DUE
from fieldpost.broker.schedule import Good, Urgency
from fieldpost.broker.session.waking import MESSAGES, Waking
from fieldpost.wire.session.subscription import Notification
from tests.broker.test_timetable import Told


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


def due(told: Told) -> int:
    """How many exchanges have begun."""
    return [name for name, _ in told.told].count(EXCHANGE_DUE)


@pytest.mark.conformance("Z27")
@pytest.mark.parametrize("notified", [0, 1, 5])
def test_what_is_notified_during_the_exchange_that_a_gap_asked_for(notified: int) -> None:
    """It is remembered to the exchange's end, and one exchange more fetches it, however often it was said."""
    told, heard = Told(), Heard()
    subscriptions: Any = heard
    Waking(subscriptions=subscriptions, timetable=told.timetable)
    hear = heard.handlers[MESSAGES]
    told.timetable.start()
    hear(Notification(topic=MESSAGES, seq=0, value=None, gap=True))
    told.clock.advance(1)

    for number in range(notified):
        hear(Notification(topic=MESSAGES, seq=number + 1, value={"pending": number + 1}))
    told.clock.advance(1)
    assert due(told) == 1  # it is still under way
    told.timetable.finish(Good())
    told.clock.advance(1)

    assert due(told) == (2 if notified else 1)
