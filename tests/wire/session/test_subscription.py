"""What a publisher says of a topic, and what a subscriber makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import Malformed
from fieldpost.wire.session.subscription import (
    MAX_TOPICS,
    MAX_WAIT,
    Feed,
    Granted,
    Listening,
    Notification,
    Topic,
    read_subscribe,
    read_value,
    read_wait,
    renewal,
    subscribe_args,
    wait_args,
    write_granted,
    write_notification,
)


def topic_at(seq: int, value: object = None) -> Topic:
    topic = Topic("messages")
    topic.publish(value, seq)
    return topic


def note(seq: int, value: object = None, *, gap: bool = False) -> Notification:
    return Notification(topic="messages", seq=seq, value=value, gap=gap)


# The publisher


def test_numbers_count_from_one() -> None:
    """Without a number of its own, each value gets the next."""
    topic = Topic("messages")

    topic.publish("a")
    topic.publish("b")

    assert topic.news(None) == note(2, "b")


def test_nothing_published_is_no_news() -> None:
    """Who subscribes to a topic that never had a value is told nothing."""
    assert Topic("messages").news(None) is None


@pytest.mark.conformance("N16")
def test_since_the_newest_is_no_news() -> None:
    """Who knows the newest is told nothing."""
    assert topic_at(7).news(7) is None


@pytest.mark.conformance("N16")
@pytest.mark.parametrize("since", [None, 0, 3, 6])
def test_since_before_the_newest(since: int | None) -> None:
    """Whoever knows less hears the newest, and misses nothing by it."""
    assert topic_at(7, "x").news(since) == note(7, "x")


@pytest.mark.conformance("N16")
def test_since_a_number_never_given_is_a_gap() -> None:
    """A subscriber who knows more than the publisher is told that there is no telling what it missed."""
    assert topic_at(3, "x").news(9) == note(3, "x", gap=True)
    assert Topic("messages").news(9) == note(0, gap=True)


def test_a_number_that_has_not_grown_is_no_news() -> None:
    """The value is kept for those who come later; who listens is not told a number twice."""
    topic = topic_at(7, "x")

    assert not topic.publish("y", 7)

    assert topic.news(None) == note(7, "y")
    assert topic.news(7) is None


@pytest.mark.conformance("N15")
@given(st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=30))
def test_numbers_grow(published: list[int | None]) -> None:
    """Whatever is published, the numbers that a subscriber is told grow."""
    topic = Topic("messages")
    feed = Feed([topic], {})
    told = []

    for seq in published:
        topic.publish(None, seq)
        told += [notification.seq for notification in feed.take()]

    assert told == sorted(set(told))


@pytest.mark.conformance("N17")
def test_a_slow_subscriber_hears_the_newest() -> None:
    """However much is published until a subscriber can be told, it is told one thing."""
    topic = Topic("messages")
    feed = Feed([topic], {"messages": None})

    for number in range(100_000):
        topic.publish(number)

    assert feed.take() == [note(100_000, 99_999)]
    assert feed.take() == []


# The subscriber


def test_listening_takes_one_at_a_time() -> None:
    """While the handler is at work, nothing more is given to it."""
    listening = Listening("messages")
    listening.hear(note(1))
    assert listening.take() == note(1)

    listening.hear(note(2))

    assert listening.take() is None
    listening.done()
    assert listening.take() == note(2)


@pytest.mark.conformance("N17")
def test_a_slow_handler_sees_the_newest() -> None:
    """What is heard while the handler is at work collapses to the newest."""
    listening = Listening("messages")
    listening.hear(note(1))
    listening.take()

    for seq in range(2, 1000):
        listening.hear(note(seq))
    listening.done()

    assert listening.take() == note(999)
    listening.done()
    assert listening.take() is None


@pytest.mark.conformance("N16")
def test_a_gap_is_not_lost_when_newer_things_come() -> None:
    """The handler hears that something was missed even when it is told of what came after."""
    listening = Listening("messages")
    listening.hear(note(3, gap=True))

    listening.hear(note(4, "x"))

    assert listening.take() == note(4, "x", gap=True)


def test_a_gap_sets_the_number_back() -> None:
    """A publisher that lost its numbers begins again, and the subscriber follows."""
    listening = Listening("messages")
    listening.hear(note(9))

    assert listening.hear(note(2, gap=True))

    assert listening.since == 2
    assert listening.hear(note(3))


def test_what_is_doubled_is_heard_once() -> None:
    """Two answers may be open while a subscription is renewed; the handler does not notice."""
    listening = Listening("messages")
    listening.hear(note(5))

    assert not listening.hear(note(5))
    assert not listening.hear(note(4))


@pytest.mark.conformance("N19")
@given(st.lists(st.integers(0, 20), max_size=30), st.data())
def test_handled_in_order_and_at_last_the_newest(heard: list[int], data: st.DataObject) -> None:
    """In whatever order things are heard and handled, the handler sees growing numbers, and in the end the newest."""
    listening = Listening("messages")
    handled = []

    for seq in heard:
        listening.hear(note(seq))
        if data.draw(st.booleans()):
            listening.done()
        taken = listening.take()
        handled += [taken.seq] if taken else []
    listening.done()
    taken = listening.take()
    handled += [taken.seq] if taken else []

    assert handled == sorted(set(handled))
    assert handled[-1:] == ([max(heard)] if heard else [])


def test_renewed_at_two_thirds() -> None:
    """The lease is asked for again in time, and never in a rush."""
    assert renewal(600.0) == 400.0
    assert renewal(0.0) >= 1.0
    assert renewal(1e12) < 86_400


# What travels


@pytest.mark.parametrize("since", [None, 0, 2**63 - 1])
def test_subscribe_round_trip(since: int | None) -> None:
    """What one end asks the other understands."""
    assert read_subscribe(subscribe_args("messages", since)) == {"messages": since}


def test_wait_round_trip() -> None:
    """And so with `wait`, whose time is bounded."""
    args = wait_args({"messages": 4, "operations": None}, 1000.0)

    assert read_wait(args) == ({"messages": 4, "operations": None}, MAX_WAIT)


@pytest.mark.parametrize("notification", [note(1, {b"pending": 2}), note(2, gap=True), note(0, "é")])
def test_notification_round_trip(notification: Notification) -> None:
    """A notification arrives as it was."""
    assert read_value(write_notification(notification)) == notification


def test_lease_round_trip() -> None:
    """So does a lease."""
    assert read_value(write_granted(600.0)) == Granted(lease=600.0)


NAMES = [[], [b""], [b"x" * 65], ["text"], [b"\xff"], [1], b"messages", None, [b"a"] * (MAX_TOPICS + 1)]


@pytest.mark.parametrize(
    "args",
    [
        *({b"topics": names} for names in NAMES),
        {},
        {b"topics": [b"a"], b"since": -1},
        {b"topics": [b"a"], b"since": 2**63},
        {b"topics": [b"a"], b"since": True},
        {b"topics": [b"a"], b"since": b"1"},
    ],
)
def test_subscribe_refused(args: dict[bytes, object]) -> None:
    """What is no subscription is said to be none."""
    with pytest.raises(Malformed):
        read_subscribe(args)


@pytest.mark.parametrize(
    "args",
    [
        {},
        {b"topics": {}},
        {b"topics": [b"a"]},
        {b"topics": {b"a": b"1"}},
        {b"topics": {"a": 1}},
        {b"topics": {b"a": 1}, b"seconds": -1},
        {b"topics": {b"a": 1}, b"seconds": 1.5},
        {b"topics": {b"%d" % n: 1 for n in range(MAX_TOPICS + 1)}},
    ],
)
def test_wait_refused(args: dict[bytes, object]) -> None:
    """And so with `wait`."""
    with pytest.raises(Malformed):
        read_wait(args)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {b"topic": b"a"},
        {b"topic": "a", b"seq": 1},
        {b"topic": b"a", b"seq": -1},
        {b"topic": b"a", b"seq": 1.0},
        {b"lease": b"x"},
        {b"lease": -1},
    ],
)
def test_value_refused(value: object) -> None:
    """And so with what a publisher sends."""
    with pytest.raises(Malformed):
        read_value(value)
