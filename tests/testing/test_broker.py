"""The fake broker answers as the real connection does, with the real broker behind it: every promise is tested on both."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from fieldpost.plugins import BufferFull, MessageRefused
from fieldpost.testing import FakeBroker, NotYet, result_of
from fieldpost.wire.local import (
    EXCHANGE_DONE,
    MALFORMED,
    MAX_MESSAGE_OCTETS,
    OBSOLETE_SESSION,
    Event,
    Notification,
    Outcome,
    Output,
    Refused,
)
from tests.testing.sides import MAX_WAITING, FakeSide, RealSide, Side


@pytest.fixture(params=[FakeSide, RealSide], ids=["fake", "real"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    make: Callable[[], Side] = request.param
    made = make()
    yield made
    made.close()


def test_a_message_is_stored_before_its_send_fires(side: Side) -> None:
    """As it was said, to the last octet."""
    message = {"type": "seen", "n": 1, "list": [1.5, None, b"\xff", "é"], "map": {"a": True}}

    sent = side.broker.send("load", message)
    side.settle()

    assert result_of(sent) is None
    assert [dict(stored) for stored, _ in side.stored()] == [message]


def test_messages_are_stored_in_order(side: Side) -> None:
    """Whatever they are."""
    for n in range(MAX_WAITING):
        side.broker.send("load", {"type": "seen" if n % 2 else "other", "n": n})
    side.settle()

    assert [message["n"] for message, _ in side.stored()] == list(range(MAX_WAITING))


def test_a_message_is_as_it_was_when_it_was_sent(side: Side) -> None:
    """What the plugin changes later changes nothing."""
    message = {"type": "seen", "list": [1]}
    side.away()
    side.broker.send("load", message)

    message["list"] = []
    side.back()

    assert side.stored()[0][0]["list"] == [1]


def test_a_message_of_a_declared_type_is_as_declared(side: Side) -> None:
    """Octets where text is declared are stored as text; something else is refused, with the field's name."""
    side.broker.send("load", {"type": "text-message", "message": b"hello"})
    wrong = side.broker.send("load", {"type": "text-message", "message": 5})
    side.settle()

    assert [message["message"] for message, _ in side.stored()] == ["hello"]
    with pytest.raises(MessageRefused, match="`message` must be text") as caught:
        result_of(wrong)
    assert caught.value.code == MALFORMED


def test_an_urgent_message_asks_for_an_exchange(side: Side) -> None:
    """Another does not."""
    side.broker.send("load", {"type": "seen"}, urgent=True)
    side.settle()

    assert side.stored()[0][1]


@pytest.mark.parametrize(
    "message", [{}, {"type": 7}, {"type": ""}, {"type": "seen", "x": object()}, {"type": "seen", 1: 2}]
)
def test_what_is_no_message_is_refused(side: Side, message: dict[str, object]) -> None:
    """At once, also when the broker is away."""
    side.away()

    with pytest.raises(MessageRefused) as caught:
        result_of(side.broker.send("load", message))

    assert caught.value.code == "malformed"


def test_a_message_that_is_too_large_is_refused(side: Side) -> None:
    """With the code that says so."""
    with pytest.raises(MessageRefused) as caught:
        result_of(side.broker.send("load", {"type": "seen", "x": b"x" * MAX_MESSAGE_OCTETS}))

    assert caught.value.code == "too-large"


def test_a_session_stays_the_same_until_it_is_dropped(side: Side) -> None:
    """Per scope."""
    found = []
    for scope in ("cpu", "cpu", "disk", None):
        opened = side.broker.open_session("load", scope)
        side.settle()
        found.append(result_of(opened))
    side.drop_sessions()
    again = side.broker.open_session("load", "cpu")
    side.settle()

    assert found[0] == found[1]
    assert len({*found, result_of(again)}) == 4


def test_a_message_under_a_dropped_session_is_refused(side: Side) -> None:
    """With the code that says so; the next session's is taken."""
    opened = side.broker.open_session("load", "cpu")
    side.settle()
    before = result_of(opened)
    side.drop_sessions()
    late = side.broker.send("load", {"type": "seen", "n": 1}, session_id=before)
    side.settle()
    with pytest.raises(MessageRefused) as caught:
        result_of(late)
    assert caught.value.code == OBSOLETE_SESSION

    opened = side.broker.open_session("load", "cpu")
    side.settle()
    good = side.broker.send("load", {"type": "seen", "n": 2}, session_id=result_of(opened))
    side.settle()

    assert result_of(good) is None
    assert [message["n"] for message, _ in side.stored() if message["type"] == "seen"] == [2]


def test_everything_waits_for_a_broker_that_is_away(side: Side) -> None:
    """And is done when it is back, in order."""
    side.away()
    opened = side.broker.open_session("load", "cpu")
    first = side.broker.send("load", {"type": "seen", "n": 1})
    second = side.broker.send("load", {"type": "seen", "n": 2})
    asked = side.broker.request_exchange()
    side.settle()
    waiting: list[Deferred[Any]] = [opened, first, second, asked]
    for one in waiting:
        with pytest.raises(NotYet):
            result_of(one)

    side.back()

    assert result_of(opened)
    assert [result_of(first), result_of(second), result_of(asked)] == [None] * 3
    assert [message["n"] for message, _ in side.stored()] == [1, 2]
    assert side.exchanges() == 1


def test_no_more_than_so_many_messages_wait(side: Side) -> None:
    """The next is refused at once, and those that wait are stored."""
    side.away()
    for n in range(MAX_WAITING):
        side.broker.send("load", {"type": "seen", "n": n})

    with pytest.raises(BufferFull):
        result_of(side.broker.send("load", {"type": "seen"}))

    side.back()
    assert len(side.stored()) == MAX_WAITING


def test_what_is_handled_is_delivered(side: Side) -> None:
    """And the outcome goes back; also after the broker was away."""
    handled = side.broker.handle("load", ("reboot", "halt"))
    side.settle()
    assert result_of(handled) is None
    side.away()
    side.back()

    outcome = side.deliver({"type": "reboot", "operation-id": 3})
    side.settle()

    assert result_of(outcome) == Outcome(status="done", result_text="well")
    assert side.heard.deliveries == [{"type": "reboot", "operation-id": 3}]


def test_events_are_heard(side: Side) -> None:
    """With their details."""
    side.fire(EXCHANGE_DONE, success=True)
    side.settle()

    assert side.heard.events == [Event(name=EXCHANGE_DONE, details={"success": True})]


def test_notifications_are_heard(side: Side) -> None:
    """Those of the topic that was asked for, until it is given up."""
    heard: list[Any] = []

    def hear(said: Notification) -> "Deferred[None]":
        heard.append((said.topic, said.value))
        return succeed(None)

    result_of_settled(side, side.broker.subscribe("load", "weather", hear))
    side.notify("weather", "rain")
    side.notify("tides", "low")
    side.settle()
    result_of_settled(side, side.broker.unsubscribe("load", "weather"))
    side.notify("weather", "snow")
    side.settle()

    assert heard == [("weather", "rain")]


def test_a_report_while_the_broker_is_away_is_dropped(side: Side) -> None:
    """And nobody waits for it."""
    side.away()

    assert result_of(side.broker.report(Output(plugin="load", operation=1, text="hello"))) is None


def test_a_file_that_is_not_there(side: Side) -> None:
    """The plugin is told so."""
    fetched = side.broker.attachment("load", 1, 2)
    side.settle()

    with pytest.raises(Refused, match="attachment 2"):
        result_of(fetched)


def result_of_settled(side: Side, deferred: "Deferred[Any]") -> Any:
    side.settle()
    return result_of(deferred)


# What only the fake can do


def test_a_refusal_can_be_asked_for() -> None:
    """To see what a plugin makes of it."""
    broker = FakeBroker()
    broker.refuse("seen", "not-granted", "no")
    with pytest.raises(MessageRefused, match="no"):
        result_of(broker.send("load", {"type": "seen"}))
    broker.accept("seen")

    assert result_of(broker.send("load", {"type": "seen"})) is None
    assert broker.messages == [{"type": "seen"}]


def test_a_broker_that_nobody_listens_to_says_so() -> None:
    """Rather than say nothing."""
    with pytest.raises(AssertionError, match="nobody listens"):
        FakeBroker().fire(EXCHANGE_DONE)
    with pytest.raises(AssertionError, match="nobody listens"):
        FakeBroker().deliver("load", {"type": "reboot"})
