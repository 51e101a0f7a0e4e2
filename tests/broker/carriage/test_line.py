"""Limits of requests, and the connections that they are made on."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from fieldpost.broker.carriage.line import (
    CHUNK_OCTETS,
    MAX_HEAD_LINES,
    MAX_HEAD_OCTETS,
    Body,
    Collected,
    Head,
    Line,
    Lines,
    Meter,
    Timeouts,
    WatchedEndpoint,
)
from fieldpost.runtime.doors import returns_deferred

from .peers import HOST, listen, reactor, serving

TIMEOUTS = Timeouts(connect=10, stall=100, total=1_000)


class Sending:
    """A line whose peer acknowledges as the test says."""

    def __init__(self) -> None:
        self.waiting = 0

    def unacknowledged(self) -> int:
        """As Line."""
        return self.waiting


class MeterTests(SynchronousTestCase):
    """Time and size of one request, by a clock in the test's hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.given_up = 0
        self.meter = Meter(clock=self.clock, timeouts=TIMEOUTS, max_octets=1_000, give_up=self.give_up)

    def give_up(self) -> None:
        """Count it."""
        self.given_up += 1

    def broken(self) -> str | None:
        """Why it was given up, and that this was said once and no timer is left."""
        self.assertEqual(1, self.given_up)
        self.assertEqual([], self.clock.getDelayedCalls())
        return self.meter.broken

    def test_a_connection_must_come_in_time(self) -> None:
        """Within the connect time, counted from the attempt."""
        self.clock.advance(50)
        self.meter.connecting()

        self.clock.advance(9.9)
        self.assertEqual(0, self.given_up)
        self.clock.advance(0.1)

        self.assertIn("there was no connection within 10 s", self.broken() or "")
        self.assertTrue(self.meter.fresh)

    def test_something_must_move(self) -> None:
        """Each octet in or out starts the time anew."""
        sending: Any = Sending()
        self.meter.connecting()
        self.meter.connected(sending)
        self.clock.advance(99)
        self.meter.received(b"1")
        self.clock.advance(99)
        self.meter.moved()
        self.clock.advance(99)
        self.assertEqual(0, self.given_up)
        self.clock.advance(1)

        self.assertIn("nothing came or went for 100 s", self.broken() or "")

    def test_what_the_peer_acknowledges_moves_too(self) -> None:
        """A slow link drains the kernel's buffer, though we see nothing of it."""
        sending: Any = Sending()
        self.meter.connected(sending)
        for sending.waiting in (900, 600, 300):
            self.clock.advance(100)
        self.assertEqual(0, self.given_up)
        self.clock.advance(100)

        self.assertIn("nothing came or went for 100 s", self.broken() or "")
        self.assertFalse(self.meter.fresh)

    def test_however_well_it_goes_it_ends(self) -> None:
        """A peer that drips is not waited for all day."""
        for _ in range(1_000):
            self.clock.advance(1)
            self.meter.moved()

        self.assertIn("more than 1000 s in all", self.broken() or "")

    def test_an_answer_has_a_largest_size(self) -> None:
        """The limit for its body, and some room for its head."""
        self.meter.received(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_HEAD_OCTETS + 1_000 - 19))
        self.assertEqual(0, self.given_up)
        self.meter.received(b"1")
        self.meter.received(b"1")

        self.assertIn("larger than the 1000 octets allowed", self.broken() or "")

    def test_a_head_has_a_largest_size(self) -> None:
        """Whatever the answer's body may have."""
        self.meter.received(b"HTTP/1.1 200 OK\r\n" + b"A:\r\n" * MAX_HEAD_LINES)

        self.assertIn("head is larger than 32768 octets or 500 lines", self.broken() or "")

    def test_after_the_end_nothing_is_given_up(self) -> None:
        """Late octets, and a late stop, are of no concern."""
        self.meter.close()

        self.meter.moved()
        self.meter.stop("late")
        self.clock.advance(10_000)

        self.assertEqual((0, None), (self.given_up, self.meter.broken))


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "bounded"),
    [
        (OK + b"A: b\r\n\r\n" + b"\n" * 100_000, True),
        (b"HTTP/1.1 200 OK\n\n" + b"\n" * 100_000, True),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 10 + OK + b"\r\n" + bytes(100_000), True),
        (b"HTTP/1.1 0100 Go on\r\n\r\n" * 300, False),
        (OK + b"A: b\r\n" * MAX_HEAD_LINES, False),
        (OK + b"A" * MAX_HEAD_OCTETS, False),
        (b"A" * (MAX_HEAD_OCTETS + 1), False),
        (b"garbage\r\n\r\n" + bytes(100_000), True),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_the_head_of_an_answer_is_bounded(answer: bytes, bounded: bool, piece: int) -> None:
    """However it is cut; what comes after it is not counted."""
    head = Head()

    for start in range(0, min(len(answer), 50_000) if piece == 1 else len(answer), piece):
        head.feed(answer[start : start + piece])

    assert head.is_bounded is bounded


class Consumer:
    """Takes what is written; pauses the producer when the test wants."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.pauses: Body | None = None

    def write(self, data: bytes) -> None:
        """See IConsumer."""
        self.pieces.append(data)
        if self.pauses is not None:
            self.pauses.pauseProducing()


class BodyTests(SynchronousTestCase):
    """Bodies are written as fast as the connection takes them."""

    def setUp(self) -> None:
        self.octets = bytes(range(256)) * 200
        self.body = Body(octets=self.octets)
        self.consumer: Any = Consumer()

    def test_a_body_is_written_in_pieces(self) -> None:
        """All of it, at once when nothing holds it up."""
        self.successResultOf(self.body.startProducing(self.consumer))

        self.assertEqual(self.octets, b"".join(self.consumer.pieces))
        self.assertEqual(CHUNK_OCTETS, max(map(len, self.consumer.pieces)))
        self.assertTrue(self.body.is_written)

    def test_a_full_connection_pauses_it(self) -> None:
        """Each piece that goes is told to the meter."""
        clock = Clock()
        self.body.meter = Meter(clock=clock, timeouts=TIMEOUTS, max_octets=0, give_up=self.fail)
        self.consumer.pauses = self.body
        written = self.body.startProducing(self.consumer)

        for pieces in (1, 2, 3):
            self.assertEqual(pieces, len(self.consumer.pieces))
            self.assertNoResult(written)
            clock.advance(90)
            self.body.resumeProducing()

        self.successResultOf(written)
        self.body.meter.close()

    def test_a_body_that_is_stopped_stays_unwritten(self) -> None:
        """Its request is over."""
        self.consumer.pauses = self.body
        written = self.body.startProducing(self.consumer)
        written.addErrback(lambda _: None)

        written.cancel()
        self.body.resumeProducing()

        self.assertEqual(1, len(self.consumer.pieces))
        self.assertFalse(self.body.is_written)


class CollectedTests(SynchronousTestCase):
    """Bodies of answers are gathered up to a limit."""

    def setUp(self) -> None:
        self.collected = Collected(limit=5)

    def end(self, error: Exception) -> None:
        """The HTTP client says that the body ended."""
        self.collected.connectionLost(Failure(error))

    def test_a_whole_body(self) -> None:
        """With a length, or up to the end of the connection."""
        for error in (ResponseDone(), PotentialDataLoss()):
            self.collected = Collected(limit=5)
            self.collected.dataReceived(b"123")
            self.collected.dataReceived(b"45")
            self.end(error)

            self.successResultOf(self.collected.done)
            self.assertEqual((b"12345", True), (self.collected.octets, self.collected.whole))

    def test_a_body_that_is_too_large_is_done_at_once(self) -> None:
        """What comes after the limit is not kept."""
        for data in (b"123", b"456", b"789"):
            self.collected.dataReceived(data)

        self.successResultOf(self.collected.done)
        self.end(ResponseDone())
        self.assertEqual((b"12345", False), (self.collected.octets, self.collected.whole))

    def test_a_body_that_is_cut_fails(self) -> None:
        """With what cut it."""
        self.collected.dataReceived(b"1")
        self.end(ConnectionLost())

        self.failureResultOf(self.collected.done, ConnectionLost)


class Inner(Protocol):
    """Notes what reaches the HTTP client's place."""

    def __init__(self) -> None:
        self.read = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.read += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self.lost.callback(None)


class LinesTests(SynchronousTestCase):
    """Connections without a request, and an end without connections."""

    def test_a_kept_connection_needs_no_meter(self) -> None:
        """What comes on it goes to the HTTP client, which knows that nothing should."""
        lines = Lines()
        line = Line(lines=lines, inner=Inner())

        lines.connecting()
        lines.made(line)
        lines.shook()
        line.dataReceived(b"x")
        line.connectionLost(Failure(ConnectionDone()))

        self.assertEqual(b"x", line.inner.read)  # type: ignore[attr-defined]
        self.successResultOf(lines.abort())

    def test_what_is_too_much_is_not_read(self) -> None:
        """The HTTP client would take its time with it."""
        lines = Lines()
        lines.meter = Meter(clock=Clock(), timeouts=TIMEOUTS, max_octets=0, give_up=lambda: None)
        line = Line(lines=lines, inner=Inner())
        line.makeConnection(StringTransport())

        line.dataReceived(b"HTTP/1.1 200 OK")
        line.dataReceived(bytes(MAX_HEAD_OCTETS))

        self.assertEqual(b"HTTP/1.1 200 OK", line.inner.read)  # type: ignore[attr-defined]

    def test_endpoints_of_one_route_share_connections(self) -> None:
        """That is how the HTTP client's pool finds one again."""
        lines = Lines()
        endpoint: Any = object()
        same = [WatchedEndpoint(route=("http", "a", 1), endpoint=endpoint, lines=lines) for _ in "ab"]
        other = WatchedEndpoint(route=("http", "a", 2), endpoint=endpoint, lines=lines)

        self.assertEqual(1, len(set(same)))
        self.assertNotEqual(same[0], other)


@pytest.mark.process
class KernelTests(TestCase):
    """What only a real kernel knows."""

    @returns_deferred
    async def test_octets_that_the_peer_does_not_take_are_counted(self) -> None:
        """A peer that does not read leaves them with us; one that is gone leaves nothing."""
        from twisted.internet.endpoints import TCP4ClientEndpoint

        made: Deferred[Protocol] = Deferred()
        port = listen(self, serving(lambda: _Deaf(made)))
        lines = Lines()
        self.addCleanup(lines.abort)
        endpoint = WatchedEndpoint(
            route=("http", HOST, port), endpoint=TCP4ClientEndpoint(reactor, HOST, port), lines=lines
        )
        inner: Any = await endpoint.connect(Factory.forProtocol(Inner))
        (line,) = lines._all
        self.assertTrue(line.transport.getTcpNoDelay())
        self.assertEqual(0, line.unacknowledged())

        await made
        inner.transport.write(bytes(20_000_000))
        written: Deferred[None] = Deferred()
        reactor.callLater(0, reactor.callLater, 0, written.callback, None)
        await written

        self.assertGreater(line.unacknowledged(), 0)
        line.transport.abortConnection()
        await inner.lost
        self.assertEqual(0, line.unacknowledged())


class _Deaf(Protocol):
    """Reads nothing."""

    def __init__(self, made: "Deferred[Protocol]") -> None:
        self._made = made

    def connectionMade(self) -> None:
        """See IProtocol."""
        transport: Any = self.transport
        transport.pauseProducing()
        self._made.callback(self)
