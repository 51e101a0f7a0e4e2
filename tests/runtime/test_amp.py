"""Calls in AMP boxes: both ends of ours, ours against Twisted's, ours against strangers."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IFileDescriptorReceiver, IWriteDescriptor
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect, connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from fieldpost.runtime.amp import (
    MAX_BODY_PARTS,
    MAX_BOX_KEYS,
    BoxReader,
    CallProtocol,
    Disconnected,
    gather,
    spread,
    write_box,
)
from fieldpost.wire import cbor
from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from fieldpost.wire.local import (
    MAX_BODY_OCTETS,
    Event,
    ExchangeSoon,
    Nothing,
    NoVersion,
    Refused,
    Report,
    Send,
    Stored,
    Unavailable,
)


def texts(logged: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in logged]


class Transport(StringTransport):
    """A StringTransport whose reader can stop reading and be cut off."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Responders:
    """Answers calls as a test says, and remembers them."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.answer: Any = Nothing()
        """What is answered; an error is raised; None answers when a test fires one of `waiting`."""
        self.waiting: list[Deferred[Any]] = []

    async def respond(self, value: Any) -> Any:
        self.heard.append(value)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            self.waiting.append(Deferred())
            return await self.waiting[-1]
        return self.answer

    def protocol(self, *names: str, **limits: int) -> CallProtocol:
        return CallProtocol(responders=dict.fromkeys(names, self.respond), **limits)


def pair(server: Responders, *names: str) -> tuple[CallProtocol, CallProtocol, IOPump]:
    client, served, pump = connectedServerAndClient(
        lambda: server.protocol(*names), lambda: CallProtocol(responders={})
    )
    return client, served, pump


def call_box(command: bytes = b"exchange", ask: bytes = b"1", body: bytes | None = b"\xa0") -> bytes:
    pairs = [(b"_ask", ask), (b"_command", command)]
    return write_box(pairs if body is None else [*pairs, (b"body", body)])


def connected(protocol: CallProtocol) -> Transport:
    transport = Transport()
    protocol.makeConnection(transport)
    return transport


def boxes_in(transport: StringTransport) -> list[dict[bytes, bytes]]:
    return [dict(box) for box in amp.parseString(transport.value())]


class CallTests(SynchronousTestCase):
    """What a call says arrives, and what it is answered comes back."""

    def setUp(self) -> None:
        self.server = Responders()

    def test_there_and_back(self) -> None:
        """A call arrives as the value that was said, and its answer as the value that was given."""
        client, _, pump = pair(self.server, "send")
        self.server.answer = Stored(stored=2)

        answer = client.call("send", Send(plugin="p", batch=1, messages=(b"a", b"b")))
        pump.flush()

        assert self.server.heard == [Send(plugin="p", batch=1, messages=(b"a", b"b"))]
        assert self.successResultOf(answer) == Stored(stored=2)

    def test_long_body(self) -> None:
        """A body of several AMP values arrives whole, in both directions."""
        client, _, pump = pair(self.server, "status")
        self.server.answer = Report(status={"long": b"x" * 1_000_000})

        answer = client.call("status", Nothing())
        pump.flush()

        assert self.successResultOf(answer) == self.server.answer

    def test_answers_in_any_order(self) -> None:
        """Each answer goes to its own call, whichever is given first."""
        client, _, pump = pair(self.server, "exchange")
        self.server.answer = None
        first, second = (client.call("exchange", ExchangeSoon()) for _ in range(2))
        pump.flush()

        self.server.waiting[1].callback(Nothing())
        pump.flush()

        self.assertNoResult(first)
        assert self.successResultOf(second) == Nothing()
        assert client.unanswered == 1

    def test_errors_keep_their_kind(self) -> None:
        """Refused, Unavailable and NoVersion arrive as what they are, with their text."""
        client, _, pump = pair(self.server, "exchange")
        for kind in (Refused, Unavailable, NoVersion):
            self.server.answer = kind("because of ü")

            answer = client.call("exchange", ExchangeSoon())
            pump.flush()

            assert str(self.failureResultOf(answer, kind).value) == "because of ü"

    def test_wrong_fields_are_refused(self) -> None:
        """A call whose fields are wrong is refused by the name of the field, and the next one passes."""
        client, _, pump = pair(self.server, "exchange")

        wrong = client.call("exchange", Event(name="x", details={"at-once": 1}))
        right = client.call("exchange", ExchangeSoon())
        pump.flush()
        assert self.successResultOf(wrong) == self.successResultOf(right) == Nothing()

        mistyped = client.call("exchange", _Loose(at_once="yes"))
        pump.flush()

        assert "`at-once` must be true or false" in str(self.failureResultOf(mistyped, Refused).value)

    def test_failure_of_a_responder(self) -> None:
        """What fails on the other side is logged there and may be asked again; the connection stays."""
        client, _, pump = pair(self.server, "exchange")
        self.server.answer = ZeroDivisionError("inside")

        answer = client.call("exchange", ExchangeSoon())
        pump.flush()

        assert "inside" not in str(self.failureResultOf(answer, Unavailable).value)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        self.server.answer = Nothing()
        again = client.call("exchange", ExchangeSoon())
        pump.flush()
        assert self.successResultOf(again) == Nothing()

    def test_answer_that_does_not_travel(self) -> None:
        """An answer too long to send is a failure on the side that made it."""
        client, _, pump = pair(self.server, "status")
        self.server.answer = Report(status={"long": b"x" * (MAX_BODY_OCTETS + 1)})

        answer = client.call("status", Nothing())
        pump.flush()

        self.failureResultOf(answer, Unavailable)
        assert len(self.flushLoggedErrors(LocalProtocolError)) == 1

    def test_value_that_does_not_travel(self) -> None:
        """A call that cannot be said fails where it was made; nothing is sent."""
        client, _, pump = pair(self.server, "event")

        unknown = client.call("event", Event(name="x", details={"odd": object()}))
        long = client.call("event", Event(name="x", details={"long": b"x" * MAX_BODY_OCTETS}))
        pump.flush()

        self.failureResultOf(unknown, LocalProtocolError)
        self.failureResultOf(long, LocalProtocolError)
        assert (client.unanswered, self.server.heard) == (0, [])

    def test_unknown_call(self) -> None:
        """A call that the other side does not have is refused."""
        client, _, pump = pair(self.server, "exchange")

        answer = client.call("status", Nothing())
        pump.flush()

        assert "no call b'status'" in str(self.failureResultOf(answer, Refused).value)

    def test_loss_fails_calls(self) -> None:
        """When the connection is lost, each call without an answer says that it is not known whether it was done."""
        client, _, _ = pair(self.server, "exchange")
        answer = client.call("exchange", ExchangeSoon())

        client.connectionLost(Failure(ConnectionLost()))

        self.failureResultOf(answer, Disconnected)
        self.failureResultOf(client.call("exchange", ExchangeSoon()), Disconnected)

    def test_loss_without_a_connection(self) -> None:
        """A call without a connection says so."""
        protocol = CallProtocol(responders={})

        self.failureResultOf(protocol.call("status", Nothing()), Disconnected)

    def test_answer_after_loss(self) -> None:
        """An answer for a peer that is gone is dropped."""
        protocol = self.server.protocol("exchange")
        transport = connected(protocol)
        self.server.answer = None
        protocol.dataReceived(call_box())

        protocol.connectionLost()
        self.server.waiting[0].callback(Nothing())

        assert transport.value() == b""

    def test_close_lets_the_last_answer_out(self) -> None:
        """A connection that is closed after an answer was given still carries it."""
        client, served, pump = pair(self.server, "exchange")
        answer = client.call("exchange", ExchangeSoon())
        pump.pump()

        served.close()
        pump.flush()

        assert self.successResultOf(answer) == Nothing()


class _Loose:
    """A value whose fields are not checked, as a stranger would send it."""

    __attrs_attrs__ = ExchangeSoon.__attrs_attrs__

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class StrangerTests(SynchronousTestCase):
    """Whatever a peer sends, it ends in an answer or in a closed connection with a reason; never in a traceback."""

    def closed_for(self, octets: bytes, **limits: int) -> str:
        protocol = Responders().protocol("exchange", **limits)
        transport = connected(protocol)
        with capturedLogs() as logged:
            protocol.dataReceived(octets)
        assert transport.aborted
        assert [event["log_level"] for event in logged] == [LogLevel.warn]
        return texts(logged)[0]

    def test_garbage(self) -> None:
        """Something that is no AMP closes the connection."""
        assert "an AMP key of 18245 octets" in self.closed_for(b"GET / HTTP/1.1\r\n\r\n")

    def test_empty_box(self) -> None:
        """So does a box that says nothing."""
        assert "neither call, answer nor error" in self.closed_for(b"\0\0")

    def test_call_that_wants_no_answer(self) -> None:
        """Every call is answered, so each must carry the name of its answer."""
        assert "without `_ask`" in self.closed_for(
            write_box([(b"_command", b"exchange"), (b"body", b"\xa0")])
        )

    def test_answers_to_nothing(self) -> None:
        """An answer or an error to a call that was never made ends the connection."""
        for key in (b"_answer", b"_error"):
            assert "was not made" in self.closed_for(write_box([(key, b"7"), (b"body", b"\xa0")]))

    def test_too_many_keys(self) -> None:
        """A box without end is cut at its number of keys,"""
        pairs = [(b"k%d" % index, b"") for index in range(MAX_BOX_KEYS + 1)]
        assert f"more than {MAX_BOX_KEYS} keys" in self.closed_for(write_box(pairs))

    def test_too_many_octets(self) -> None:
        """and at its length."""
        pairs = [(b"k%d" % index, b"x" * 65_535) for index in range(5)]
        assert "more than 66536 octets" in self.closed_for(write_box(pairs), max_octets=1_000)

    def test_nothing_is_heard_after_the_end(self) -> None:
        """Boxes that follow a fault are not looked at."""
        server = Responders()
        protocol = server.protocol("exchange")
        connected(protocol)

        protocol.dataReceived(call_box() + b"\0\0" + call_box())
        protocol.dataReceived(call_box())

        assert len(server.heard) == 1

    def test_closing_twice(self) -> None:
        """A connection that is closed is not closed again."""
        protocol = Responders().protocol("exchange")
        connected(protocol)
        protocol.abort("first")

        with capturedLogs() as logged:
            protocol.abort("second")

        assert logged == []

    def test_body_missing(self) -> None:
        """A call without a body is refused; so is one whose body is no map or no CBOR."""
        for body, words in (
            (None, b"`body` is missing"),
            (b"\x01", b"must be a map"),
            (b"\xff", b"0xff"),
            (b"", b"cut"),
        ):
            protocol = Responders().protocol("exchange")
            transport = connected(protocol)

            protocol.dataReceived(call_box(body=body))

            (box,) = boxes_in(transport)
            assert (box[b"_error"], box[b"_error_code"]) == (b"1", b"REFUSED")
            assert words in box[b"_error_description"]

    def test_answer_of_the_wrong_shape(self) -> None:
        """An answer that is none fails its call and ends the connection."""
        protocol = Responders().protocol()
        transport = connected(protocol)
        answer = protocol.call("status", Nothing())

        protocol.dataReceived(write_box([(b"_answer", b"1"), (b"body", cbor.encode({"status": 7}))]))

        assert "`status`" in str(self.failureResultOf(answer, Malformed).value)
        assert transport.aborted

    def test_error_with_an_unknown_code(self) -> None:
        """An error of a code that we do not know keeps its code and text; a bare one is still an error."""
        for pairs, code, text in (
            (
                [(b"_error_code", b"NEW\xff"), (b"_error_description", b"words\xff")],
                "NEW\ufffd",
                "words\ufffd",
            ),
            ([], "", ""),
        ):
            protocol = Responders().protocol()
            connected(protocol)
            answer = protocol.call("status", Nothing())

            protocol.dataReceived(write_box([(b"_error", b"1"), *pairs]))

            error = self.failureResultOf(answer, RemoteProtocolError).value
            assert (error.code, str(error)) == (code, text)

    def test_no_file_descriptors(self) -> None:
        """A peer cannot leave file descriptors with us: Twisted closes those that a protocol does not ask for."""
        assert not IFileDescriptorReceiver.providedBy(Responders().protocol())


class FlowTests(SynchronousTestCase):
    """A peer that asks without listening is not read."""

    def setUp(self) -> None:
        self.server = Responders()
        self.protocol = self.server.protocol("exchange", max_running=3)
        self.transport = connected(self.protocol)

    def test_answers_not_taken(self) -> None:
        """Nothing is read while the transport says that what was written is not taken."""
        self.protocol.pauseProducing()
        assert self.transport.producerState == "paused"

        self.protocol.resumeProducing()
        assert self.transport.producerState == "producing"

    def test_too_many_running(self) -> None:
        """With as many calls running as may, nothing more is read until one is done."""
        self.server.answer = None
        self.protocol.dataReceived(call_box() * 2)
        assert self.transport.producerState == "producing"

        self.protocol.dataReceived(call_box())
        assert (self.transport.producerState, self.protocol.holds) == (
            "paused",
            frozenset({"too many calls are running"}),
        )

        self.server.waiting[1].callback(Nothing())
        assert self.transport.producerState == "producing"

    def test_every_reason_must_go(self) -> None:
        """Reading goes on when the last of several reasons is released; releasing an unknown one does nothing."""
        self.protocol.hold("one")
        self.protocol.hold("two")

        self.protocol.release("one")
        self.protocol.release("three")
        assert self.transport.producerState == "paused"

        self.protocol.release("two")
        assert self.transport.producerState == "producing"

    def test_release_after_the_end(self) -> None:
        """A connection that ended while it was held is not read again."""
        self.protocol.hold("one")
        self.protocol.connectionLost()

        self.protocol.release("one")

        assert self.transport.producerState == "paused"

    def test_stop_producing(self) -> None:
        """That Twisted says so before `connectionLost` changes nothing."""
        self.protocol.stopProducing()

        assert self.protocol.is_open

    def test_limit_before_and_after(self) -> None:
        """A peer that is known may send more than a stranger."""
        server = Responders()
        protocol = server.protocol("event", max_octets=100)
        connected(protocol)
        body = cbor.encode({"name": "x", "details": {"long": b"x" * 300_000}})

        protocol.allow(1_000_000)
        protocol.dataReceived(write_box([(b"_ask", b"1"), (b"_command", b"event"), *spread(body)]))

        assert len(server.heard) == 1


@implementer(IWriteDescriptor)
class HastyTransport(Transport):
    """A transport that, as a socket does, writes when it is told that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def doWrite(self) -> None:
        self.told += 1

    def fileno(self) -> int:
        return -1

    def logPrefix(self) -> str:
        return "hasty"

    def connectionLost(self, reason: Failure) -> None:
        """A part of the interface that nobody calls here."""


class HasteTests(SynchronousTestCase):
    """What is written leaves in the same turn."""

    def setUp(self) -> None:
        self.server = Responders()
        self.protocol = self.server.protocol("exchange")
        self.transport = HastyTransport()
        self.protocol.makeConnection(self.transport)

    def test_call_leaves_at_once(self) -> None:
        """A call does not wait for the reactor's next turn."""
        self.protocol.call("status", Nothing())

        assert self.transport.told == 1

    def test_answers_leave_together(self) -> None:
        """All that is said in answer to one delivery of octets leaves once, behind it."""
        self.protocol.dataReceived(call_box() * 3)
        assert self.transport.told == 1

        self.protocol.dataReceived(call_box()[:-4])
        assert self.transport.told == 1

    def test_late_answer_leaves_at_once(self) -> None:
        """An answer that was not ready then leaves when it is."""
        self.server.answer = None
        self.protocol.dataReceived(call_box())
        assert self.transport.told == 0

        self.server.waiting[0].callback(Nothing())

        assert self.transport.told == 1

    def test_nothing_leaves_after_a_fault(self) -> None:
        """A peer that is cut off is not written to."""
        self.protocol.dataReceived(call_box() + b"\0\0")

        assert self.transport.told == 0


class _Echo(amp.Command):
    commandName = b"exchange"
    arguments: ClassVar[list[Any]] = [(b"body", amp.String())]
    response: ClassVar[list[Any]] = [(b"body", amp.String())]
    errors: ClassVar[dict[Any, bytes]] = {Refused: b"REFUSED"}


class TwistedTests(SynchronousTestCase):
    """Twisted's own AMP speaks with ours: the octets are AMP's."""

    def test_twisted_calls_us(self) -> None:
        """Twisted's client gets answers and error codes from us."""
        server = Responders()
        client, _, pump = connectedServerAndClient(lambda: server.protocol("exchange"), amp.AMP)

        good = client.callRemote(_Echo, body=cbor.encode({"at-once": True}))
        pump.flush()
        server.answer = Refused("no")
        bad: list[Failure] = []
        client.callRemote(_Echo, body=cbor.encode({})).addErrback(bad.append)
        pump.flush()

        assert self.successResultOf(good) == {"body": cbor.encode({})}
        assert server.heard[0] == ExchangeSoon(at_once=True)
        assert [(type(failure.value), str(failure.value)) for failure in bad] == [(Refused, "no")]

    def test_we_call_twisted(self) -> None:
        """We get answers from Twisted's server, and its word for an unknown command is a refusal."""

        class Server(amp.AMP):
            @_Echo.responder
            def echo(self, body: bytes) -> dict[str, bytes]:
                return {"body": body}

        client, _, pump = connectedServerAndClient(Server, lambda: CallProtocol(responders={}))

        known = client.call("exchange", ExchangeSoon())
        unknown = client.call("status", Nothing())
        pump.flush()

        assert self.successResultOf(known) == Nothing()
        self.failureResultOf(unknown, Refused)

    def test_no_start_tls(self) -> None:
        """Nobody can make us speak TLS: the call is refused like any unknown one."""
        protocol = Responders().protocol("exchange")
        transport = connected(protocol)

        protocol.dataReceived(call_box(command=b"StartTLS", body=None))

        assert boxes_in(transport)[0][b"_error_code"] == b"UNHANDLED"


PAIRS = st.lists(st.tuples(st.binary(min_size=1, max_size=255), st.binary(max_size=600)), max_size=5)


def read_all(octets: bytes, step: int) -> list[dict[bytes, bytes]]:
    reader = BoxReader(max_octets=1_000_000)
    found: list[dict[bytes, bytes]] = []
    for start in range(0, len(octets), step):
        found += reader.receive(octets[start : start + step])
    return found


@given(boxes=st.lists(PAIRS, max_size=4), step=st.integers(1, 700))
def test_boxes_in_any_pieces(boxes: list[list[tuple[bytes, bytes]]], step: int) -> None:
    """Boxes are the same in whatever pieces their octets come, and the same as Twisted reads."""
    octets = b"".join(write_box(pairs) for pairs in boxes)

    found = read_all(octets, step)

    assert found == [dict(pairs) for pairs in boxes]
    assert found == [dict(box) for box in amp.parseString(octets)]


@given(octets=st.binary(max_size=2_000))
def test_any_octets(octets: bytes) -> None:
    """Any octets at all end in boxes, in waiting for more, or in a protocol error."""
    protocol = Responders().protocol("exchange")
    transport = connected(protocol)

    protocol.dataReceived(octets)

    assert transport.aborted or protocol.is_open


@given(cut=st.integers(0, 60), garbage=st.binary(max_size=20))
def test_box_with_a_hole(cut: int, garbage: bytes) -> None:
    """A good call that is cut anywhere and goes on with garbage hurts nobody."""
    protocol = Responders().protocol("exchange")
    transport = connected(protocol)

    protocol.dataReceived(call_box()[:cut] + garbage + call_box())

    assert transport.aborted or protocol.is_open


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 131_070, 131_071, MAX_BODY_OCTETS])
def test_body_lengths(length: int) -> None:
    """A body of any length that may travel is put together as it was, at the edges of AMP's values too."""
    body = bytes(length)

    assert gather(dict(spread(body))) == body


def test_body_parts() -> None:
    """The longest body needs no more keys than a box may have."""
    assert len(list(spread(bytes(MAX_BODY_OCTETS)))) == MAX_BODY_PARTS < MAX_BOX_KEYS
    with pytest.raises(LocalProtocolError, match="takes 8388608"):
        spread(bytes(MAX_BODY_OCTETS + 1))


def test_body_with_a_gap() -> None:
    """A part that does not follow is not taken."""
    assert gather({b"body": b"a", b"body.2": b"c"}) == b"a"


def test_reader_keeps_what_came_before_a_fault() -> None:
    """The boxes before a fault are read."""
    reader = BoxReader(max_octets=1_000)
    boxes: Iterator[dict[bytes, bytes]] = reader.receive(write_box([(b"a", b"b")]) + b"\xff\xff")

    assert next(boxes) == {b"a": b"b"}
    with pytest.raises(Malformed):
        next(boxes)


def test_reader_is_bounded() -> None:
    """What an unfinished box holds counts, in however many deliveries it comes."""
    reader = BoxReader(max_octets=100_000)
    piece = write_box([(b"k", bytes(60_000))])[:-2]

    assert list(reader.receive(piece)) == []
    with pytest.raises(TooLarge):
        for _ in range(3):
            list(reader.receive(piece))


def test_pump_with_fake_transports() -> None:
    """A protocol that is cut off says goodbye to nobody."""
    client, server = CallProtocol(responders={}), CallProtocol(responders={})
    pump = connect(
        server, FakeTransport(server, isServer=True), client, FakeTransport(client, isServer=False)
    )

    server.cut()
    pump.flush()

    assert not (server.is_open or client.is_open)
