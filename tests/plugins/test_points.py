"""Points reach the broker once, in order, and in bounded numbers."""

from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger, capturedLogs

from fieldpost.plugins import BufferFull, Message, MessageRefused, Points
from fieldpost.plugins.points import MAX_POINTS, MAX_POINTS_PER_MESSAGE
from fieldpost.testing import result_of


class Sink:
    """Points, and a broker whose answers the test gives."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.answers: list[Deferred[None]] = []
        self.points = Points(word=self.word, send=self.send, log=Logger())

    def word(self, points: Sequence[int]) -> Message:
        return {"type": "points", "points": list(points)}

    def send(self, message: Message, *, urgent: bool = False) -> "Deferred[None]":
        self.sent.append(message["points"])
        self.answers.append(Deferred())
        return self.answers[-1]

    def report(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.points.report())


def test_a_report_without_points_sends_nothing() -> None:
    """Silence is cheap."""
    sink = Sink()

    assert result_of(sink.report()) is None
    assert sink.sent == []


def test_points_are_sent_once() -> None:
    """A report while another goes on leaves them to it."""
    sink = Sink()
    sink.points.add([1, 2])
    first = sink.report()
    sink.points.add([3])

    assert result_of(sink.report()) is None
    sink.answers[0].callback(None)
    sink.answers[1].callback(None)

    assert result_of(first) is None
    assert sink.sent == [[1, 2], [3]]


def test_points_that_find_no_room_are_sent_later_in_order() -> None:
    """They stay until the broker has them."""
    sink = Sink()
    sink.points.add([1, 2])
    first = sink.report()
    sink.points.add([3])
    sink.answers[0].errback(BufferFull("full"))
    with pytest.raises(BufferFull):
        result_of(first)

    sink.report()

    assert sink.sent == [[1, 2], [1, 2, 3]]


def test_points_that_the_broker_refuses_are_given_up_and_counted() -> None:
    """They would be refused for ever, and all behind them wait."""
    sink = Sink()
    sink.points.add([1, 2])
    first = sink.report()
    with capturedLogs() as logs:
        sink.answers[0].errback(MessageRefused("not-granted", "no"))
    with pytest.raises(MessageRefused):
        result_of(first)
    sink.points.add([3])

    sink.report()

    assert sink.sent == [[1, 2], [3]]
    assert logs[0]["count"] == 2


def test_giving_up_waiting_does_not_send_twice() -> None:
    """The message is on its way already."""
    sink = Sink()
    sink.points.add([1, 2])
    first = sink.report()
    first.addErrback(lambda _: None)
    first.cancel()
    sink.points.add([3])

    sink.report()

    assert sink.sent == [[1, 2], [3]]


def test_many_points_are_several_messages() -> None:
    """So that none becomes too large."""
    sink = Sink()
    sink.points.add(range(MAX_POINTS_PER_MESSAGE + 1))
    done = sink.report()
    sink.answers[0].callback(None)
    sink.answers[1].callback(None)

    assert result_of(done) is None
    assert [len(points) for points in sink.sent] == [MAX_POINTS_PER_MESSAGE, 1]


def test_too_many_points_lose_their_oldest_and_it_is_said() -> None:
    """A broker that is away for weeks does not fill the memory."""
    sink = Sink()

    with capturedLogs() as logs:
        sink.points.add(range(MAX_POINTS))
        assert not logs
        sink.points.add([-1, -2])

    assert logs[0]["count"] == 2
    sink.report()
    assert sink.sent[0][0] == 2
