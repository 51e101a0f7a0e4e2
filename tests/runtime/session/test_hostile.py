"""What a peer cannot do with its answers to those who ask it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from fieldpost.runtime.session.answers import Asked
from fieldpost.runtime.session.errors import CommandError, CommandFailed
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.runtime.session.topics import MAX_TOPICS, Topics
from fieldpost.wire.session.subscription import write_granted
from tests.runtime.session.pair import Pair, error_of


def refuse(asked: Asked) -> Any:
    raise CommandError("code\nof two lines", "one\ntwo\x1b[2J" + "x" * 3_000)


def test_a_refusal_in_the_log() -> None:
    """Whatever a peer says of its reasons, it is one short line there; programs have it as it came."""
    pair = Pair(server={"do": refuse})

    with capturedLogs() as logs:
        pair.client.tell("do")
        pair.settle()
    error = error_of(_answered(pair))

    (line,) = [event["why"] for event in logs if "why" in event]
    assert line.isprintable() and "one two" in line and len(line) < 1_300
    assert isinstance(error, CommandFailed) and len(error.text) > 3_000


def _answered(pair: Pair) -> Any:
    answer = pair.client.call("do")
    pair.settle()
    return answer


def test_a_subscription_is_granted_once() -> None:
    """A publisher that grants it again and again neither fills memory nor puts the renewal off for ever."""
    granted: list[Asked] = []

    def subscribe(asked: Asked) -> Any:
        granted.append(asked)
        asked.send(write_granted(30.0))
        return Deferred()

    pair = Pair(server={"subscribe": subscribe})
    subscriptions = Subscriptions(clock=pair.clock)
    subscriptions.subscribe("messages", lambda notification: None)
    subscriptions.attach(pair.client)
    for _ in range(19):
        pair.wait(1)
        granted[0].send(write_granted(30.0))
        pair.settle()
    assert len(granted) == 1

    pair.wait(2)

    assert len(granted) == 2


def test_many_topics_that_are_published() -> None:
    """However much a publisher has to tell, it can be heard of: only names that listeners invent are bounded."""
    topics = Topics(clock=Clock())
    pair = Pair(server={"subscribe": lambda asked: topics.subscribe(asked, 7)})
    for number in range(MAX_TOPICS + 10):
        topics.publish(7, f"topic-{number}", number)
    heard: list[Any] = []

    pair.client.stream("subscribe", {"topics": [b"messages", b"topic-70"]}, heard.append)
    pair.settle()

    assert [value.get(b"value") for value in heard] == [None, 70]
