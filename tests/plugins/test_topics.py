"""A plugin hears notifications: in order, never two of a topic at a time, whatever its handlers do."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs

from fieldpost.plugins import Notification, Plugin, Subscription
from fieldpost.testing import FakeBroker, PluginRun
from fieldpost.wire.local import Refused


class Listener(Plugin):
    """Remembers what it heard; `behave` may take its time."""

    name = "listener"
    heard: list[Any]
    behave: Any = None

    def on_start(self) -> None:
        self.heard = []
        self.subscription = self.context.subscribe("weather", self.hear)

    def hear(self, notification: Notification) -> Any:
        self.heard.append(notification.value)
        return self.behave(notification) if self.behave else None


@pytest.fixture
def run() -> PluginRun[Listener]:
    return PluginRun(Listener)


@pytest.mark.conformance("N6", "N2")
def test_a_plain_function_hears(run: PluginRun[Listener]) -> None:
    """No subclassing, no asynchrony needed."""
    run.broker.notify("weather", "rain")
    run.broker.notify("tides", "low")

    assert run.plugin.heard == ["rain"]
    assert isinstance(run.plugin.subscription, Subscription)


@pytest.mark.conformance("N19", "N20")
def test_a_slow_handler_delays_its_own_topic_alone(run: PluginRun[Listener]) -> None:
    """The broker is told when it is done; another topic goes on meanwhile."""
    done: list[Deferred[None]] = []

    def take_time(_: Notification) -> "Deferred[None]":
        done.append(Deferred())
        return done[-1]

    run.plugin.behave = take_time
    tides: list[Any] = []
    run.plugin.context.subscribe("tides", lambda heard: tides.append(heard.value))

    (first,) = run.broker.notify("weather", 1)
    (second,) = run.broker.notify("weather", 2)
    run.broker.notify("tides", "low")

    assert (run.plugin.heard, tides) == ([1], ["low"])
    assert not first.called
    done[0].callback(None)
    assert first.called
    assert run.plugin.heard == [1, 2]
    assert not second.called


@pytest.mark.conformance("Z27")
def test_what_is_notified_while_a_handler_looks_at_the_whole(run: PluginRun[Listener]) -> None:
    """A handler that makes up for a gap, which takes a while, hears of the next thing when it has done so."""
    looking: Deferred[None] = Deferred()

    async def look(notification: Notification) -> None:
        if notification.gap:
            await looking
            await run.plugin.send({"type": "whole"})
        else:
            await run.plugin.send({"type": "part"})

    run.plugin.behave = look
    run.broker.notify("weather", "anything", gap=True)
    run.broker.notify("weather", "rain")
    assert (run.plugin.heard, run.messages) == (["anything"], [])

    looking.callback(None)

    assert run.plugin.heard == ["anything", "rain"]
    assert [message["type"] for message in run.messages] == ["whole", "part"]


@pytest.mark.conformance("N20")
def test_a_handler_that_raises_is_logged_and_hears_on(run: PluginRun[Listener]) -> None:
    """With the plugin's name."""

    def fall(_: Notification) -> None:
        raise ValueError("rain")

    run.plugin.behave = fall

    with capturedLogs() as logs:
        run.broker.notify("weather", 1)
        run.broker.notify("weather", 2)

    assert run.plugin.heard == [1, 2]
    assert {log["plugin"] for log in logs} == {"listener"}


@pytest.mark.conformance("N24")
def test_a_handler_may_send_subscribe_and_cancel(run: PluginRun[Listener]) -> None:
    """From inside."""
    more: list[Any] = []

    async def act(notification: Notification) -> None:
        await run.plugin.send({"type": "seen"})
        run.plugin.context.subscribe("tides", lambda heard: more.append(heard.value))
        run.plugin.subscription.cancel()

    run.plugin.behave = act
    run.broker.notify("weather", 1)
    run.broker.notify("weather", 2)
    run.broker.notify("tides", "low")

    assert (run.plugin.heard, more) == ([1], ["low"])
    assert [message["type"] for message in run.messages] == ["seen"]
    assert ("listener", "weather") not in run.broker.topics


@pytest.mark.conformance("N18")
def test_a_cancelled_handler_is_not_called_for_what_waits(run: PluginRun[Listener]) -> None:
    """Cancelling twice is no error."""
    done: Deferred[None] = Deferred()
    run.plugin.behave = lambda _: done
    run.broker.notify("weather", 1)
    run.broker.notify("weather", 2)

    run.plugin.subscription.cancel()
    run.plugin.subscription.cancel()
    done.callback(None)

    assert run.plugin.heard == [1]


def test_a_second_handler_hears_the_newest_at_once(run: PluginRun[Listener]) -> None:
    """As if it had been there."""
    run.broker.notify("weather", "rain")
    second: list[Any] = []

    run.plugin.context.subscribe("weather", lambda heard: second.append(heard.value))
    run.broker.notify("weather", "snow")

    assert second == ["rain", "snow"]


def test_a_broker_that_refuses() -> None:
    """The log says which topic, and why."""

    class Refusing(FakeBroker):
        def subscribe(self, plugin: str, topic: str, heard: Any) -> "Deferred[None]":
            return fail(Refused("not granted; name it"))

    with capturedLogs() as logs:
        PluginRun(Listener, broker=Refusing())

    assert "hears nothing of" in logs[0]["log_format"]
    assert (logs[0]["topic"], logs[0]["reason"]) == ("weather", "not granted; name it")
