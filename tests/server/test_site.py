"""The server's HTTP keeps its bounds, whatever a client sends, and however slowly."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.server.ration import BURST, EACH_SECOND
from fieldpost.server.site import Channel, SiteLimits
from fieldpost.wire import cbor
from tests.server.wired import (
    HeldWriter,
    Reply,
    WiredServer,
    client_payload,
    exchange_request,
    read_reply,
    request_octets,
)

LIMITS = SiteLimits(
    body_octets=1_000, all_bodies_octets=2_500, connections=3, idle=20, request=100, linger=10
)
HEAD = b"POST /message-system HTTP/1.1\r\nContent-Type: application/cbor\r\n"


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer(site_limits=LIMITS)


class Connection:
    """A client's end of one connection."""

    def __init__(self, wired: WiredServer, host: str = "192.0.2.7") -> None:
        self.wired = wired
        self.channel, self.transport = wired.connect(host)

    def send(self, octets: bytes) -> None:
        self.channel.dataReceived(octets)

    @property
    def reply(self) -> Reply:
        return read_reply(self.transport.value())

    @property
    def is_cut(self) -> bool:
        return self.transport.disconnected or self.transport.disconnecting

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


def test_body_at_the_limit(wired: WiredServer) -> None:
    """The limit is the last length that is read."""
    assert wired.exchange(b"\xff" * 1_000).status == 400
    assert wired.exchange(b"\xff" * 1_001).status == 413


def test_announced_length(wired: WiredServer) -> None:
    """A body that says it is too long is refused before an octet of it came."""
    connection = Connection(wired)

    connection.send(HEAD + b"Content-Length: 1001\r\n\r\n")

    assert connection.reply.status == 413
    assert "1000 octets" in connection.reply.json["error"]
    assert connection.reply.headers["connection"] == "close"


def test_refusal_is_not_destroyed(wired: WiredServer) -> None:
    """The connection stays while the client still sends, or the answer would be lost, and closes when it is done."""
    connection = Connection(wired)
    connection.send(HEAD + b"Content-Length: 1001\r\n\r\n")

    connection.send(b"x" * 1_000)
    assert not connection.is_cut
    connection.send(b"x")

    assert connection.is_cut
    assert connection.transport.value().count(b"HTTP/1.1") == 1


def test_refused_client_that_does_not_end(wired: WiredServer) -> None:
    """A client that goes on sending, or stops, after it was refused is cut off."""
    endless, silent = Connection(wired), Connection(wired)
    for connection in (endless, silent):
        connection.send(HEAD + b"Content-Length: 9999999\r\n\r\n")

    endless.send(b"x" * 4_001)
    wired.clock.advance(LIMITS.linger)

    assert endless.transport.disconnected
    assert silent.transport.disconnected


def test_chunked_body(wired: WiredServer) -> None:
    """A body in chunks is read like any other."""
    body = cbor.encode(client_payload())
    chunks = b"".join(b"1\r\n%c\r\n" % octet for octet in body)
    connection = Connection(wired)

    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    assert connection.reply.status == 200


def test_chunked_body_that_grows_too_long(wired: WiredServer) -> None:
    """A body that does not say its length is refused when it passes the limit, and not kept."""
    connection = Connection(wired)
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")

    for _ in range(11):
        connection.send(b"64\r\n" + b"x" * 100 + b"\r\n")

    assert connection.reply.status == 413
    assert wired.site.body_octets == 0
    assert not connection.is_cut
    connection.send(b"0\r\n\r\n")
    assert connection.is_cut
    assert connection.transport.value().count(b"HTTP/1.1") == 1


def test_bad_chunk_after_a_refusal(wired: WiredServer) -> None:
    """A client that was refused hears nothing more, whatever else is wrong."""
    connection = Connection(wired)
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1_001)

    connection.send(b"no chunk\r\n")

    assert connection.is_cut
    assert connection.transport.value().count(b"HTTP/1.1") == 1


def test_expectation(wired: WiredServer) -> None:
    """A client that asks before it sends is told to go on, or refused at once."""
    fine, too_long = Connection(wired), Connection(wired)

    fine.send(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    too_long.send(HEAD + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")

    assert fine.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert too_long.transport.value().startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in too_long.transport.value()


def test_all_bodies_together(wired: WiredServer) -> None:
    """More bodies than memory is meant for are sent away for a while; room comes back."""
    waiting = [Connection(wired) for _ in range(2)]
    for connection in waiting:
        connection.send(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 999)

    third = Connection(wired)
    third.send(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 503)
    assert (third.reply.status, third.reply.headers["retry-after"]) == (503, "30")
    third.lose()
    waiting[0].lose()

    assert wired.site.body_octets == 999
    assert wired.exchange(b"\xff" * 1_000).status == 400


def test_announcing_takes_no_room(wired: WiredServer) -> None:
    """Clients that announce long bodies and send nothing keep nobody out."""
    for _ in range(2):
        Connection(wired).send(HEAD + b"Content-Length: 1000\r\n\r\n")

    assert wired.site.body_octets == 0


def test_all_chunked_bodies_together(wired: WiredServer) -> None:
    """So are bodies that never said how long they would be."""
    waiting = [Connection(wired) for _ in range(3)]

    for connection in waiting:
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n384\r\n" + b"x" * 900 + b"\r\n")

    assert [connection.transport.value() for connection in waiting[:2]] == [b"", b""]
    assert waiting[2].reply.status == 503


def test_silent_client(wired: WiredServer) -> None:
    """A connection on which nothing happens is closed."""
    connection = Connection(wired)

    wired.clock.advance(LIMITS.idle)

    assert connection.is_cut


def test_silent_crowd() -> None:
    """However many connections somebody opens and leaves, the log has as many lines of them as somebody reads."""
    wired = WiredServer(site_limits=SiteLimits(connections=4_000, connections_per_address=0, idle=20))
    silent = [Connection(wired) for _ in range(2 * BURST)]

    with capturedLogs() as events:
        wired.clock.advance(20)
        wired.clock.advance(20)

    assert all(connection.is_cut for connection in silent)
    assert 0 < len(events) <= BURST + 2 * EACH_SECOND * 20


@pytest.mark.parametrize(
    "start", [HEAD + b"Content-Length: 900\r\n\r\n", HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_slow_client(wired: WiredServer, start: bytes) -> None:
    """A client that sends an octet now and then is told that it takes too long, then cut off."""
    connection = Connection(wired)
    connection.send(start)

    for _ in range(12):
        wired.clock.advance(9)
        connection.send(b"X: y\r\n" if start == HEAD else b"1")

    assert connection.reply.status == 408
    wired.clock.advance(LIMITS.linger)
    assert connection.is_cut


def test_slow_first_line(wired: WiredServer) -> None:
    """A client that never gets to the end of its first line is cut off."""
    connection = Connection(wired)

    for _ in range(12):
        wired.clock.advance(9)
        connection.send(b"x")

    assert connection.is_cut


@pytest.mark.parametrize(
    "end",
    [
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 9999\r\n\r\n",
        b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_slow_client_that_goes_on_after_all(wired: WiredServer, end: bytes) -> None:
    """A request that was refused for its slowness has had its answer, whatever comes; its end closes the connection."""
    connection = Connection(wired)
    connection.send(HEAD)
    for _ in range(12):
        wired.clock.advance(9)
        connection.send(b"X: y\r\n")

    connection.send(end)

    assert connection.is_cut == (b" 0" in end)
    assert connection.transport.value().count(b"HTTP/1.1") == 1


def test_deadline_is_per_request(wired: WiredServer) -> None:
    """A connection in good use lives as long as it likes."""
    connection = Connection(wired)

    for _ in range(30):
        wired.clock.advance(15)
        connection.send(b"GET /healthz HTTP/1.1\r\n\r\n")

    assert connection.transport.value().count(b"HTTP/1.1 200 OK") == 30
    assert not connection.is_cut


def test_slow_work_is_not_the_clients_fault() -> None:
    """No deadline runs while the server works on a request."""
    writer = HeldWriter()
    wired = WiredServer(site_limits=LIMITS, writer=writer)
    connection = Connection(wired)
    connection.send(b"GET /healthz HTTP/1.1\r\n\r\n")

    wired.clock.advance(10 * LIMITS.request)
    writer.release()

    assert connection.reply.status == 200


def test_client_that_does_not_close(wired: WiredServer) -> None:
    """A connection that was to be closed after the answer is cut when the client keeps it."""
    connection = Connection(wired)
    connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert not connection.transport.disconnected

    wired.clock.advance(LIMITS.linger)

    assert connection.transport.disconnected


def test_connections_are_limited(wired: WiredServer) -> None:
    """Beyond the limit connections are cut at once; those that end make room."""
    open_ones = [Connection(wired) for _ in range(3)]
    with capturedLogs() as events:
        fourth = Connection(wired)
    fourth.lose()

    assert fourth.is_cut
    assert len([event for event in events if event.get("most") == 3]) == 1
    open_ones[0].lose()
    open_ones[0].lose()
    assert not Connection(wired).is_cut
    assert wired.site.connections == 3


def test_connections_of_one_address_are_limited() -> None:
    """Beyond its limit an address is cut at once; others go on; the log has a line a minute, with the address and how many it left out."""
    wired = WiredServer(site_limits=SiteLimits(connections_per_address=2, idle=600))
    open_ones = [Connection(wired) for _ in range(2)]

    with capturedLogs() as events:
        for _ in range(100):
            over = Connection(wired)
            assert over.transport.disconnected
            over.lose()
        wired.clock.advance(61)
        Connection(wired).lose()
    other = Connection(wired, "192.0.2.8")

    assert not other.is_cut
    assert [event.get("origin") or event.get("count") for event in events] == ["192.0.2.7", 99, "192.0.2.7"]
    assert not [one for one in open_ones if one.is_cut]
    open_ones[0].lose()
    assert not Connection(wired).is_cut
    assert (wired.site.connections, len(wired.site.crowd)) == (3, 2)


def test_those_who_were_cut_leave_no_trace() -> None:
    """What is remembered of addresses is bounded by the connections that are open."""
    wired = WiredServer(site_limits=SiteLimits(connections_per_address=1))

    gone = [Connection(wired, f"192.0.2.{number}") for number in (1, 1, 2, 3, 3)]
    for connection in gone:
        connection.lose()

    assert (wired.site.connections, len(wired.site.crowd)) == (0, 0)


def test_client_that_leaves() -> None:
    """An exchange whose client is gone is committed all the same, and answered to nobody."""
    writer = HeldWriter()
    wired = WiredServer(site_limits=LIMITS, writer=writer)
    channel, transport = wired.connect()
    channel.dataReceived(request_octets(*exchange_request(client_payload())))

    channel.connectionLost(Failure(ConnectionDone()))
    writer.release()

    assert transport.value() == b""
    assert (wired.site.body_octets, wired.site.connections) == (0, 0)


def test_client_that_leaves_in_the_middle(wired: WiredServer) -> None:
    """A body that is cut leaves nothing behind."""
    connection = Connection(wired)
    connection.send(HEAD + b"Content-Length: 900\r\n\r\nxxx")

    connection.lose()

    assert (wired.site.body_octets, wired.site.connections) == (0, 0)
    assert wired.clock.getDelayedCalls() == []


def test_pipeline(wired: WiredServer) -> None:
    """Requests sent without waiting are answered one after the other."""
    octets = request_octets(*exchange_request(client_payload()))

    answers = wired.send_octets(octets * 3 + b"GET /healthz HTTP/1.1\r\n\r\n")

    assert answers.count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize(
    "octets",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / ITTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: odd\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_no_http(wired: WiredServer, octets: bytes) -> None:
    """What is no HTTP gets an answer with a cause, and the connection closes."""
    connection = Connection(wired)

    connection.send(octets)

    assert connection.is_cut
    value = connection.transport.value()
    assert value == b"" or b'{"error"' in value


TOO_LONG = (
    b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 600 + b"\r\n",
    b"GET /healthz HTTP/1.1\r\n" + b"X-Y: %s\r\n" % (b"y" * 100) * 200 + b"\r\n",
    b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 60_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 60_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /message-system HTTP/1.1\r\nX: " + b"y" * 17_000,
)
"""Heads: too many fields, too many octets, in one line, in the first, without an end."""


@pytest.mark.parametrize("head", TOO_LONG)
@pytest.mark.parametrize("size", [100, 5_000, 100_000])
def test_head_too_long(wired: WiredServer, head: bytes, size: int) -> None:
    """Once it is longer than may be it is answered, with a cause; what still comes is dropped, and the log has a line."""
    connection = Connection(wired)

    with capturedLogs() as events:
        for at in range(0, len(head), size):
            connection.send(head[at : at + size])

    assert (connection.reply.status, connection.reply.headers["connection"]) == (431, "close")
    assert "longer than 16384 octets, or has more than 500 fields" in connection.reply.json["error"]
    assert connection.transport.value().count(b"HTTP/1.1") == 1
    assert connection.channel._buffer == b""
    assert [event["peer"] for event in events if event["log_level"].name == "warn"] == ["192.0.2.7"]


def test_longest_head(wired: WiredServer) -> None:
    """Up to there it is read."""
    head = b"GET /healthz HTTP/1.1\r\nX: %s\r\n" + b"X: y\r\n" * 499 + b"\r\n"
    length = 16_384 - len(head.replace(b"\r\n", b"").replace(b"%s", b""))

    fits, too_long = (wired.send_octets(head % (b"y" * size)) for size in (length, length + 1))

    assert read_reply(fits).status == 200
    assert read_reply(too_long).status == 431


def test_answer_to_a_long_head_is_not_destroyed(wired: WiredServer) -> None:
    """The connection stays while the client sends, and closes when nothing has come for two seconds."""
    connection = Connection(wired)
    connection.send(TOO_LONG[2])

    for _ in range(5):
        wired.clock.advance(1.9)
        connection.send(b"x" * 700)
        assert not connection.is_cut
    wired.clock.advance(2)

    assert connection.transport.disconnecting
    connection.send(b"GET /healthz HTTP/1.1\r\n\r\n")
    connection.lose()
    assert connection.transport.value().count(b"HTTP/1.1") == 1
    assert (wired.site.connections, wired.clock.getDelayedCalls()) == (0, [])


def test_long_head_without_end(wired: WiredServer) -> None:
    """Who goes on sending after the answer is cut off: after some octets, or some time."""
    slow, fast = Connection(wired), Connection(wired)
    for connection in (slow, fast):
        connection.send(TOO_LONG[2])

    fast.send(b"x" * 4_001)
    for _ in range(10):
        slow.send(b"x")
        wired.clock.advance(1)

    assert fast.transport.disconnecting
    assert slow.transport.disconnected


def test_long_head_behind_another_request(wired: WiredServer) -> None:
    """The answer before it is whole."""
    connection = Connection(wired)

    connection.send(b"GET /healthz HTTP/1.1\r\n\r\n" + TOO_LONG[2])

    first, second = connection.transport.value().split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3]) == (b"200", b"431")


def test_long_heads_are_rationed(wired: WiredServer) -> None:
    """However many come, the log can be read."""
    with capturedLogs() as events:
        for _ in range(BURST + 50):
            connection = Connection(wired)
            connection.send(TOO_LONG[2])
            connection.lose()

    assert len(events) == BURST


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_garbage(pieces: list[bytes]) -> None:
    """No octets make more than a refusal, however they are cut."""
    connection = Connection(WiredServer(site_limits=LIMITS))

    for piece in pieces:
        connection.send(piece)


def test_cut_at_every_octet(wired: WiredServer) -> None:
    """A request that ends early is not acted on, wherever it ends."""
    octets = request_octets(*exchange_request(client_payload()))

    for end in range(len(octets)):
        connection = Connection(wired)
        connection.send(octets[:end])
        assert connection.transport.value() == b""
        connection.lose()


def test_in_single_octets(wired: WiredServer) -> None:
    """A request that comes octet by octet is answered like any other."""
    connection = Connection(wired)

    for octet in request_octets(*exchange_request(client_payload())):
        connection.send(bytes([octet]))

    assert connection.reply.status == 200


def test_forms_are_not_parsed(wired: WiredServer) -> None:
    """A form upload is a body like any other: refused for its type, not parsed."""
    reply = wired.request(
        "POST", "/message-system", b"--x\r\n\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert reply.status == 415


@pytest.mark.parametrize("target", ["*", "http://[", "//", "/%zz", "/?%zz", "/\xe9", "/healthz?a=1"])
def test_odd_targets(wired: WiredServer, target: str) -> None:
    """Odd targets find nothing, or what they name, or are no HTTP."""
    assert wired.request("GET", target).status in (200, 400, 404)


def test_headers_of_an_answer(wired: WiredServer) -> None:
    """Answers are dated."""
    wired.clock.advance(1_000_000_000)

    assert wired.request("GET", "/healthz").headers["date"] == "sun, 09 sep 2001 01:46:40 gmt"


@pytest.mark.parametrize(
    ("address", "name"),
    [(IPv4Address("TCP", "192.0.2.9", 1), "192.0.2.9"), (UNIXAddress("/x"), "a local client")],
)
def test_name_of_a_client(wired: WiredServer, address: Any, name: str) -> None:
    """The log says who is meant, over TCP and over a local socket."""
    channel = wired.site.buildProtocol(address)
    assert isinstance(channel, Channel)
    channel.makeConnection(StringTransport(peerAddress=address))

    with capturedLogs() as events:
        channel.dataReceived(HEAD + b"Content-Length: 1001\r\n\r\n")

    assert [name] == [event["peer"] for event in events if "cause" in event]


def test_tls_offers_what_is_spoken(wired: WiredServer) -> None:
    """Whatever is installed, only HTTP/1.1 is negotiated."""
    assert wired.site.acceptableProtocols() == [b"http/1.1"]


def test_no_access_log(wired: WiredServer) -> None:
    """The base class's log and its timer stay off."""
    wired.site.doStart()
    wired.site.doStop()

    assert wired.clock.getDelayedCalls() == []
