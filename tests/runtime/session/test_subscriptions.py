"""Subscriptions from the publisher's `publish` to the subscriber's handler, through real sessions."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from fieldpost.runtime.session.answers import Asked, Handler
from fieldpost.runtime.session.errors import CommandError, CommandFailed
from fieldpost.runtime.session.subscriptions import RETRY, Subscriptions
from fieldpost.runtime.session.topics import LEASE, MAX_LISTENERS, MAX_TOPICS, Topics
from fieldpost.wire.errors import Malformed
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.subscription import Notification, write_granted, write_notification
from tests.runtime.session.pair import Pair, error_of, result_of

COMPUTER = 7


class World:
    """A publisher that outlives its sessions, a subscriber that does too, and the session that there is."""

    def __init__(self, **topics: Any) -> None:
        self.clock = Clock()
        self.topics = Topics(clock=self.clock, **topics)
        self.subscriptions = Subscriptions(clock=self.clock)
        self.heard: list[Notification] = []
        self.asked: list[Asked] = []
        self.pair: Pair

    def connect(self, **options: Any) -> Pair:
        """A session, and the subscriptions on it."""
        handlers: dict[str, Handler] = {"subscribe": self._subscribe, "wait": self._wait, **options}
        self.pair = Pair(server=handlers, clock=self.clock)
        self.subscriptions.attach(self.pair.client)
        self.pair.settle()
        return self.pair

    def lose(self) -> None:
        """The session is lost."""
        self.subscriptions.detach()
        self.pair.lose()

    def publish(self, value: Any, seq: int | None = None, topic: str = "messages") -> None:
        """Something is new, and all of it arrives."""
        self.topics.publish(COMPUTER, topic, value, seq)
        self.pair.settle()

    def values(self) -> list[Any]:
        """What the handler saw."""
        return [notification.value for notification in self.heard]

    def _subscribe(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return self.topics.subscribe(asked, COMPUTER)

    def _wait(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return self.topics.wait(asked, COMPUTER)


@pytest.mark.conformance("N2", "N4", "N15")
def test_what_is_published_is_heard_until_the_end() -> None:
    """Each value arrives with a growing number while the subscription stands, and none after it was cancelled."""
    world = World()
    subscription = world.subscriptions.subscribe("messages", world.heard.append)
    world.connect()
    for value in ("a", "b", "c"):
        world.publish(value)
    assert world.values() == ["a", "b", "c"]
    assert [notification.seq for notification in world.heard] == [1, 2, 3]

    subscription.cancel()
    world.pair.settle()
    world.publish("d")

    assert world.values() == ["a", "b", "c"]
    assert world.topics.listeners(COMPUTER) == 0
    assert world.pair.client.unanswered == 0
    assert world.pair.server.at_work == 0
    assert len(world.clock.getDelayedCalls()) == 2  # the two sessions'


@pytest.mark.conformance("N3", "N5", "N14", "N24")
def test_calls_and_notifications_interleave() -> None:
    """A handler asks for details while it listens, and neither waits for the other."""
    world = World()
    details: list[Any] = []

    def handle(notification: Notification) -> None:
        world.pair.client.call("details", {"of": notification.seq}).addCallback(details.append)

    world.subscriptions.subscribe("messages", handle)
    world.connect(details=lambda asked: [asked.args[b"of"] * 10])

    world.publish("a")
    world.publish("b")
    answer = world.pair.client.call("details", {"of": 5})
    world.pair.settle()

    assert details == [(10,), (20,)]
    assert result_of(answer) == (50,)


@pytest.mark.conformance("N14")
def test_a_large_answer_does_not_hold_notifications_up() -> None:
    """While megabytes wait for a slow reader, what is new gets through."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    world.connect(much=lambda _: [b"x" * 100_000] * 10)
    slow = world.pair.client.call("much", on_value=lambda _: Deferred())
    world.pair.settle()

    world.publish("through")

    assert not slow.called
    assert world.values() == ["through"]


@pytest.mark.conformance("N18")
def test_a_notification_that_crosses_a_cancel() -> None:
    """It is passed over, and the session goes on."""
    world = World()
    subscription = world.subscriptions.subscribe("messages", world.heard.append)
    pair = world.connect(echo=lambda _: [1])
    world.topics.publish(COMPUTER, "messages", "in flight")
    pair.clock.advance(0)

    subscription.cancel()
    pair.settle()

    assert world.heard == []
    answer = pair.client.call("echo")
    pair.settle()
    assert result_of(answer) == (1,)


# Handlers


@pytest.mark.conformance("N20")
def test_a_handler_that_raises() -> None:
    """It is logged, and hears of the next thing."""
    world = World()

    def handle(notification: Notification) -> None:
        world.heard.append(notification)
        raise ZeroDivisionError

    async def later(notification: Notification) -> None:
        handle(notification)

    for handler in (handle, later):
        world.subscriptions.subscribe("messages", handler)
    world.connect()

    with capturedLogs() as logs:
        world.publish("a")
        world.publish("b")

    assert world.values() == ["a", "a", "b", "b"]
    assert len([event for event in logs if "log_failure" in event]) == 4


@pytest.mark.conformance("N19", "N20")
def test_a_handler_at_work_delays_only_its_own_topic() -> None:
    """It is not called again before it is through, and then with the newest; another topic's handler is."""
    world = World()
    working: list[Deferred[None]] = []

    def slow(notification: Notification) -> "Deferred[None]":
        world.heard.append(notification)
        working.append(Deferred())
        return working[-1]

    other: list[Notification] = []
    world.subscriptions.subscribe("messages", slow)
    world.subscriptions.subscribe("operations", other.append)
    world.connect()

    for value in ("a", "b", "c"):
        world.publish(value)
        world.publish(value, topic="operations")
    assert world.values() == ["a"]
    assert [notification.value for notification in other] == ["a", "b", "c"]

    working[0].callback(None)
    assert world.values() == ["a", "c"]


class Orderly:
    """A handler that looks at the whole when it is told of a gap, for as long as the test says; of either colour."""

    def __init__(self, *, is_coroutine: bool) -> None:
        self.heard: list[Any] = []
        self.looking: Deferred[None] = Deferred()
        self._is_coroutine = is_coroutine

    def __call__(self, notification: Notification) -> Any:
        self.heard.append((notification.value, notification.gap))
        if not notification.gap:
            return None
        return self._look() if self._is_coroutine else self.looking

    async def _look(self) -> None:
        await self.looking


@pytest.mark.conformance("Z27")
@pytest.mark.parametrize("is_coroutine", [False, True])
def test_notifications_are_held_while_things_are_put_in_order(is_coroutine: bool) -> None:
    """What a topic hears while its handler looks at the whole, over whichever session, waits; then it sees the newest."""
    world, handler = World(), Orderly(is_coroutine=is_coroutine)
    world.subscriptions.subscribe("messages", handler)
    world.subscriptions.subscribe("operations", world.heard.append)
    world.connect()
    world.publish("old", 40)
    world.lose()
    world.topics = Topics(clock=world.clock)
    world.connect()
    told = [("old", False), (None, True)]
    assert handler.heard == told

    world.publish("m1")
    world.publish("o1", topic="operations")
    world.lose()
    world.connect()
    world.publish("m2")
    assert handler.heard == told
    assert world.values() == ["o1"]

    handler.looking.callback(None)
    world.publish("m3")

    assert handler.heard == [*told, ("m2", False), ("m3", False)]


@pytest.mark.conformance("Z27")
def test_a_gap_that_is_found_while_things_are_put_in_order() -> None:
    """It is not lost between what is held: the handler looks once more, and is told so with the newest."""
    world, handler = World(), Orderly(is_coroutine=False)
    world.subscriptions.subscribe("messages", handler)
    world.connect()
    for number in (40, 30):
        world.publish(number, number)
        world.lose()
        world.topics = Topics(clock=world.clock)
        world.connect()
    world.publish("new")

    first, handler.looking = handler.looking, Deferred()
    first.callback(None)

    assert handler.heard == [(40, False), (None, True), ("new", True)]


def test_nothing_is_handled_after_a_cancel_from_within() -> None:
    """A handler may end its own subscription."""
    world = World()

    def once(notification: Notification) -> None:
        world.heard.append(notification)
        subscription.cancel()

    subscription = world.subscriptions.subscribe("messages", once)
    world.connect()

    world.publish("a")
    world.publish("b")

    assert world.values() == ["a"]


# Slow subscribers


@pytest.mark.conformance("N17")
def test_a_subscriber_that_does_not_read_costs_one_notification() -> None:
    """However much is published for a line that takes nothing, what waits is bounded; then it hears the newest."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = world.connect()
    pair.server_end.line.pauseProducing()

    for number in range(10_000):
        world.topics.publish(COMPUTER, "messages", number)
    assert pair.server_end.session.unsent < 200

    pair.server_end.line.resumeProducing()
    pair.settle()
    assert world.values()[-1] == 9_999
    assert len(world.heard) <= 2


@pytest.mark.conformance("N17")
def test_what_is_published_in_one_turn_collapses() -> None:
    """A burst is one notification, or two."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = world.connect()

    for number in range(1_000):
        world.topics.publish(COMPUTER, "messages", number)
    pair.settle()

    assert world.values()[-1] == 999
    assert len(world.heard) <= 2


# One session after the other


@pytest.mark.conformance("N19")
@pytest.mark.parametrize("missed", [0, 1, 5])
def test_a_new_session_goes_on_from_where_the_last_was(missed: int) -> None:
    """After a reconnect the handler hears what it missed, as the newest, and nothing that it knows."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    world.connect()
    world.publish(0)
    world.lose()
    for number in range(1, missed + 1):
        world.topics.publish(COMPUTER, "messages", number)

    world.connect()

    assert world.asked[-1].args[b"since"] == 1
    assert world.values() == ([0, missed] if missed else [0])
    world.publish("on")
    assert world.values()[-1] == "on"


@pytest.mark.conformance("N16")
def test_a_publisher_that_lost_its_memory() -> None:
    """It says that there is a gap, and the handler is told so."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    world.connect()
    world.publish("old", 40)
    world.lose()
    world.topics = Topics(clock=world.clock)

    world.connect()
    world.publish("new", 2)

    assert [(one.seq, one.value, one.gap) for one in world.heard] == [
        (40, "old", False),
        (0, None, True),
        (2, "new", False),
    ]


@pytest.mark.conformance("N22")
def test_handlers_hear_nothing_of_goodbyes() -> None:
    """A server that goes down and comes back is no error of anybody's."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    world.connect()
    with capturedLogs() as logs:
        world.pair.server.close("shutdown", retry_after=5)
        world.pair.settle()
        world.pair.wait(11)
        world.subscriptions.detach()

    assert result_of(world.pair.client.lost).retry_after == 5
    assert logs == []
    world.connect()
    world.publish("back")
    assert world.values() == ["back"]


def test_subscribing_without_a_session() -> None:
    """A subscription made while there is none is asked for when there is."""
    world = World()
    world.connect()
    world.lose()
    world.subscriptions.subscribe("messages", world.heard.append)

    world.connect()
    world.publish("a")

    assert world.values() == ["a"]


# Leases


@pytest.mark.conformance("N7")
def test_the_lease_is_renewed_in_time() -> None:
    """A listener re-enters before its time is over, without a gap in which something could be missed."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = world.connect()

    pair.wait(LEASE * 2 / 3 - 2)
    assert len(world.asked) == 1
    pair.wait(4)
    assert len(world.asked) == 2
    assert world.topics.listeners(COMPUTER) == 1
    pair.wait(LEASE * 3)

    assert len(world.asked) >= 5
    assert world.topics.listeners(COMPUTER) == 1
    world.publish("still")
    assert world.values() == ["still"]


@pytest.mark.conformance("N2", "N7")
def test_a_listener_that_does_not_renew_is_let_go() -> None:
    """The answer ends in the normal way when the lease is over."""
    world = World(lease=30.0)
    pair = world.connect()
    values: list[Any] = []
    stream = pair.client.stream("subscribe", {"topics": [b"messages"]}, values.append)
    pair.settle()

    pair.wait(31)

    assert result_of(stream.ended) is None
    assert values == [{b"lease": 30}]
    assert world.topics.listeners(COMPUTER) == 0


def test_an_answer_that_ends_early_is_asked_for_again() -> None:
    """At once when it stood for a while; later when it ended as it began, so that nobody runs in circles."""
    clock = Clock()
    held: list[tuple[Asked, Deferred[Any]]] = []

    def subscribe(asked: Asked) -> "Deferred[Any]":
        held.append((asked, Deferred()))
        asked.send(write_granted(600))
        return held[-1][1]

    pair = Pair(server={"subscribe": subscribe}, clock=clock)
    subscriptions = Subscriptions(clock=clock)
    subscriptions.subscribe("messages", lambda _: None)
    subscriptions.attach(pair.client)
    pair.settle()

    pair.wait(10)
    held[0][1].callback(())
    pair.settle()
    assert len(held) == 2
    held[1][1].callback(())
    pair.settle()
    assert len(held) == 2
    pair.wait(RETRY + 1)
    assert len(held) == 3


@pytest.mark.parametrize("code", ["busy", "internal"])
def test_a_refused_subscription_is_asked_for_again_later(code: str) -> None:
    """It is logged each time, and the next time may go well."""
    clock = Clock()
    refusals = [CommandError(code, "not now")]
    heard: list[Notification] = []
    topics = Topics(clock=clock)

    def subscribe(asked: Asked) -> Any:
        if refusals:
            raise refusals.pop()
        return topics.subscribe(asked, COMPUTER)

    pair = Pair(server={"subscribe": subscribe}, clock=clock)
    subscriptions = Subscriptions(clock=clock)
    subscriptions.subscribe("messages", heard.append)
    with capturedLogs() as logs:
        subscriptions.attach(pair.client)
        pair.settle()
    topics.publish(COMPUTER, "messages", "x")
    pair.wait(RETRY + 1)

    assert [notification.value for notification in heard] == ["x"]
    assert len(logs) == 1


def test_a_peer_without_subscriptions() -> None:
    """It is asked once, not again and again, until there is another session."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = Pair(clock=world.clock)
    world.subscriptions.attach(pair.client)
    with capturedLogs() as logs:
        pair.wait(3 * RETRY)

    assert len(logs) == 1
    assert pair.client.unanswered == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        {b"topic": b"messages"},
        write_notification(Notification(topic="other", seq=1, value=None)),
    ],
)
def test_a_publisher_that_talks_nonsense(value: Any) -> None:
    """It is let go, logged, and asked again later."""
    clock = Clock()
    asked_for: list[Asked] = []
    heard: list[Notification] = []

    def subscribe(asked: Asked) -> "Deferred[Any]":
        asked_for.append(asked)
        asked.send(write_granted(600))
        asked.send(value)
        return Deferred()

    pair = Pair(server={"subscribe": subscribe}, clock=clock)
    subscriptions = Subscriptions(clock=clock)
    subscriptions.subscribe("messages", heard.append)
    with capturedLogs() as logs:
        subscriptions.attach(pair.client)
        pair.settle()
    assert asked_for[0].is_over
    assert heard == []
    assert len(logs) == 1
    pair.wait(RETRY + 1)
    assert len(asked_for) == 2


# Bounds of the publisher


def test_what_a_publisher_refuses() -> None:
    """What is no subscription."""
    world = World()
    pair = world.connect()
    codes = []

    for args in ({"topics": [b"\xff"]}, {"topics": b"messages"}, {}):
        answer = pair.client.call("subscribe", args)
        pair.settle()
        error = error_of(answer)
        assert isinstance(error, CommandFailed)
        codes.append(error.code)

    assert codes == ["malformed"] * 3
    assert world.topics.listeners(COMPUTER) == 0


def test_listeners_and_topics_are_bounded() -> None:
    """One peer cannot fill the publisher with listeners, nor with names."""
    clock = Clock()
    topics = Topics(clock=clock)
    pair = Pair(
        server={"subscribe": lambda asked: topics.subscribe(asked, COMPUTER)},
        clock=clock,
        limits=Limits(active=10_000),
    )
    streams = [
        pair.client.stream("subscribe", {"topics": [b"%d" % (n % 40)]}, lambda _: None)
        for n in range(MAX_LISTENERS)
    ]
    pair.settle()
    refused = pair.client.call("subscribe", {"topics": [b"1"]})
    pair.settle()
    error = error_of(refused)
    assert isinstance(error, CommandFailed)
    assert error.code == "busy"

    for stream in streams:
        stream.ended.addErrback(lambda _: None)
        stream.cancel()
    pair.settle()
    names = [b"name-%d" % n for n in range(MAX_TOPICS - 40 + 1)]
    refused = pair.client.call("subscribe", {"topics": names[:32]})
    pair.settle()

    error = error_of(refused)
    assert isinstance(error, CommandFailed)
    assert error.code == "busy"


def test_a_scope_hears_nothing_of_another() -> None:
    """What is published for one computer is no other's to hear."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = world.connect()

    world.topics.publish("another", "messages", "secret")
    pair.settle()

    assert world.heard == []


def test_forgetting_a_scope() -> None:
    """Nothing is kept of it, unless somebody listens still."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    world.connect()
    world.topics.forget("nobody")
    world.topics.forget(COMPUTER)
    world.publish("x", 5)
    assert world.values() == ["x"]
    world.lose()

    world.topics.forget(COMPUTER)

    assert world.topics.publish(COMPUTER, "messages", "y", 1)


# Without sessions


@pytest.mark.conformance("N23")
def test_the_same_handlers_run_without_a_session() -> None:
    """Where nothing stays open the subscriber asks and waits; its handlers cannot tell."""
    world = World()
    world.subscriptions.subscribe("messages", world.heard.append)
    pair = Pair(server={"wait": world._wait}, clock=world.clock)  # stands for one post after the other

    def poll() -> "Deferred[Any]":
        answer = pair.client.call("wait", world.subscriptions.wait_args(50))
        answer.addCallback(world.subscriptions.heard)
        pair.settle()
        return answer

    waiting = poll()
    assert not waiting.called
    world.topics.publish(COMPUTER, "messages", "a")
    pair.settle()
    assert waiting.called
    world.topics.publish(COMPUTER, "messages", "b")
    world.topics.publish(COMPUTER, "messages", "c")
    assert poll().called

    assert world.values() == ["a", "c"]
    silent = poll()
    pair.wait(51)
    assert silent.called
    assert world.values() == ["a", "c"]


def test_waiting_for_nothing() -> None:
    """Without subscriptions there is nothing to wait for."""
    subscriptions = Subscriptions(clock=Clock())
    assert subscriptions.wait_args() is None
    with pytest.raises(Malformed):
        subscriptions.heard([{}])


def test_a_wait_taken_back() -> None:
    """Nobody listens any more."""
    world = World()
    pair = world.connect()
    answer = pair.client.call("wait", {"topics": {b"messages": None}, "seconds": 50})
    answer.addErrback(lambda _: None)
    pair.settle()
    assert world.topics.listeners(COMPUTER) == 1

    answer.cancel()
    pair.settle()

    assert world.topics.listeners(COMPUTER) == 0
    assert len(world.clock.getDelayedCalls()) == 2
