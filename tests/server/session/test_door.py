"""One port for everybody: the door finds out who asks for a session, and leaves the rest to HTTP."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from fieldpost.server.ration import BURST
from fieldpost.server.session.carrier import Carrier, Cover
from fieldpost.server.session.certificate import Untaken
from fieldpost.server.session.door import Asked, Door, Doors, Gate, Theirs, TooLong, TurnedAway, Welcome
from fieldpost.server.site import SiteLimits
from fieldpost.wire.errors import TooLarge
from fieldpost.wire.session.opening import HeadReader
from tests.server.wired import WiredServer, client_payload, exchange_request, read_reply, request_octets

HEAD = b"GET /session/default HTTP/1.1\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
LIMITS = SiteLimits(connections=2, idle=60, request=100)


class Tape(Protocol):
    """A session that remembers what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Host:
    """Lets in, or turns away, as told."""

    def __init__(self, *, tls: Any = None, lets_in: bool = True) -> None:
        self.heads: list[bytes] = []
        self.carriers: list[Carrier] = []
        self.tape = Tape()
        self.began = False
        self.tls = tls
        self.lets_in = lets_in

    def receive(self, head: bytes, left: bytes, carrier: Carrier) -> TurnedAway | Welcome:
        self.heads.append(head + left)
        self.carriers.append(carrier)
        return Welcome(b"<101>", self.begin, self.tls) if self.lets_in else TurnedAway(b"<404>")

    def begin(self, transport: Any) -> Tape:
        self.began = True
        return self.tape

    def refuse_early(self, status: int, cause: str) -> bytes:
        return f"<{status} {cause}>".encode()


class TlsTransport(StringTransport):
    """Notes when TLS begins."""

    def startTLS(self, context: Any) -> None:
        self.write(b"<TLS>")


class Connected:
    """A client's end of a connection to a whole server."""

    def __init__(self, host: Host | None = None, wired: WiredServer | None = None, peer: Any = None) -> None:
        self.wired = wired or WiredServer(site_limits=LIMITS)
        self.host = host or Host()
        self.clock = self.wired.clock
        doors = Doors(site=self.wired.site, host=self.host, clock=self.clock)
        address = peer or IPv4Address("TCP", "192.0.2.7", 5000)
        self.door: Door = doors.buildProtocol(address)
        self.transport = TlsTransport(peerAddress=address)
        self.door.makeConnection(self.transport)

    def send(self, octets: bytes) -> None:
        self.door.dataReceived(octets)

    @property
    def written(self) -> bytes:
        value: bytes = self.transport.value()
        return value

    def lose(self) -> None:
        self.door.connectionLost(Failure(ConnectionDone()))


@given(st.integers(min_value=0, max_value=len(HEAD)), st.integers(min_value=0, max_value=len(HEAD)))
def test_any_split(one: int, two: int) -> None:
    """However the octets are cut, the same head comes out, and what lies behind it."""
    octets = HEAD + b"rest"
    first, second = sorted((one, two))
    gate = Gate()

    found = [gate.receive(part) for part in (octets[:first], octets[first:second])]
    found = [item for item in found if item is not None]
    tail = octets[second:]
    if not found:
        last = gate.receive(tail)
        assert last == Asked(HEAD, b"rest")
    else:
        assert isinstance(found[0], Asked)
        assert found[0].head == HEAD


@pytest.mark.parametrize(
    "octets",
    [
        b"P",
        b"GET /sessions",
        b"GET /s ",
        b"GET /session ",
        b"GET /session?",
        b"g",
        b"\r",
        b"\x16",
        b"H",
    ],
)
def test_not_ours(octets: bytes) -> None:
    """What is not ours is known by its first octets, and given on whole."""
    gate = Gate()
    found = None
    for at in range(len(octets)):
        assert found is None
        found = gate.receive(octets[at : at + 1])

    assert found == Theirs(octets)


@pytest.mark.conformance("F9")
def test_head_at_the_limit() -> None:
    """The limit counts the header block, not what comes behind it in the same piece."""
    room = 8192 - len(HEAD)
    fits = HEAD[:-2] + b"X: " + b"y" * (room - 5) + b"\r\n\r\n"
    assert len(fits) == 8192

    assert Gate().receive(fits + b"z" * 50_000) == Asked(fits, b"z" * 50_000)
    assert isinstance(Gate().receive(fits.replace(b"y", b"yy", 1)), TooLong)
    assert isinstance(Gate().receive(HEAD[:-2] + b"X" * 9_000), TooLong)


@pytest.mark.conformance("F9")
def test_lines_at_the_limit() -> None:
    """A block of 64 lines and the empty one is read, one of 65 is not; a client's reader counts the same."""
    fits, too_long = (HEAD[:-2] + b"X: y\r\n" * count + b"\r\n" for count in (61, 62))
    assert fits.count(b"\n") == 65

    assert isinstance(Gate().receive(fits), Asked)
    assert HeadReader().feed(fits)
    assert isinstance(Gate().receive(too_long), TooLong)
    assert isinstance(Gate().receive(too_long[:-2]), TooLong)
    with pytest.raises(TooLarge):
        HeadReader().feed(too_long)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_http_behind_the_door(size: int) -> None:
    """An exchange by POST works as if there were no door, in whatever pieces it comes."""
    octets = request_octets(*exchange_request(client_payload()))
    connected = Connected()

    for at in range(0, len(octets), size):
        connected.send(octets[at : at + size])

    assert read_reply(connected.written).status == 200
    assert not connected.host.heads


def test_two_requests_on_one_connection() -> None:
    """A connection that belongs to HTTP keeps to it."""
    connected = Connected()

    connected.send(request_octets("GET", "/healthz"))
    connected.send(request_octets("GET", "/healthz"))

    assert connected.written.count(b"200 OK") == 2


def test_session_on_a_used_connection() -> None:
    """A proxy may ask for a session on a connection over which it sent other requests before."""
    connected = Connected()
    connected.send(request_octets("GET", "/healthz"))
    connected.transport.clear()

    connected.send(HEAD[:5])
    connected.send(HEAD[5:])
    connected.send(b"hello")

    assert connected.written == b"<101>"
    assert connected.host.tape.heard == b"hello"
    connected.clock.advance(1_000)
    assert not connected.transport.disconnecting


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=12))
def test_requests_behind_each_other(sizes: list[int]) -> None:
    """However requests that come together are cut, each is answered, and none is taken for a session's."""
    octets = request_octets("GET", "/healthz") + request_octets(*exchange_request(client_payload()))
    octets += request_octets("GET", "/healthz")
    connected = Connected()

    for size in [*sizes, len(octets)]:
        if octets:
            connected.send(octets[:size])
            octets = octets[size:]

    assert connected.written.count(b"HTTP/1.1 200 OK") == 3
    assert not connected.host.heads


@pytest.mark.parametrize("first", [b"", request_octets("GET", "/healthz")])
def test_body_that_looks_like_a_request(first: bytes) -> None:
    """What stands in a body is never taken for a request, wherever its pieces begin."""
    connected = Connected()
    connected.send(first)
    head = b"POST /message-system HTTP/1.1\r\nContent-Type: application/cbor\r\nContent-Length: %d\r\n\r\n"

    connected.send(head[:20])
    connected.send(head[20:] % len(HEAD))
    connected.send(HEAD)

    assert not connected.host.heads
    assert b"HTTP/1.1 400" in connected.written


def test_pipelined_session() -> None:
    """A request for a session that did not wait for the answer before it is an ordinary request, and refused as such."""
    connected = Connected()

    connected.send(request_octets("GET", "/healthz") + HEAD)

    assert connected.written.count(b"HTTP/1.1") == 2
    assert not connected.host.heads


def test_session() -> None:
    """A session begins behind the answer; its protocol has the connection until the end."""
    connected = Connected()

    connected.send(HEAD[:40])
    assert connected.written == b""
    connected.send(HEAD[40:] + b"early, ")
    connected.send(b"later")
    connected.lose()

    assert connected.host.heads == [HEAD + b"early, "]
    assert connected.written == b"<101>"
    assert connected.host.tape.heard == b"early, later"
    assert connected.host.tape.lost


def test_session_outlives_the_times_of_http() -> None:
    """A session may be silent for longer than HTTP may."""
    connected = Connected()
    connected.send(HEAD)

    connected.clock.advance(1_000)

    assert not connected.transport.disconnecting
    assert not connected.transport.disconnected
    assert connected.clock.getDelayedCalls() == []


def test_session_counts_as_a_connection() -> None:
    """The limit of connections is one for all that use the port."""
    wired = WiredServer(site_limits=LIMITS)
    first, second = Connected(wired=wired), Connected(wired=wired)
    first.send(HEAD)
    assert Connected(wired=wired).transport.disconnected

    first.lose()
    second.lose()

    assert wired.site.connections == 1


def test_certificate_that_is_not_taken() -> None:
    """Whoever shows one is named in the log, as often as there is room for strangers, and gone."""
    wired = WiredServer()

    with capturedLogs() as events:
        for _ in range(1_000):
            Connected(wired=wired).door.connectionLost(Failure(Untaken("its certificate has expired")))

    lines = [event for event in events if event.get("cause") == "its certificate has expired"]
    assert (len(lines), lines[0]["peer"]) == (BURST, "192.0.2.7 port 5000")
    assert (wired.site.connections, wired.clock.getDelayedCalls()) == (0, [])


def test_tls_begins_behind_the_answer() -> None:
    """The answer is plain, what follows is not; the session begins when the handshake is done."""
    connected = Connected(Host(tls=object()))

    connected.send(HEAD)
    assert connected.written == b"<101><TLS>"
    assert not connected.host.began
    connected.door.handshakeCompleted()
    connected.send(b"hello")

    assert connected.host.tape.heard == b"hello"
    assert connected.clock.getDelayedCalls() == []


def test_tls_that_does_not_begin() -> None:
    """A handshake that is not done after 20 seconds is cut off."""
    connected = Connected(Host(tls=object()))
    connected.send(HEAD)

    connected.clock.advance(20)

    assert connected.transport.disconnected
    assert not connected.host.began


@pytest.mark.parametrize("tls", [None, object()])
def test_session_that_cannot_begin(tls: Any) -> None:
    """What goes wrong with what a client showed ends its connection, and is in the log."""

    class Clumsy(Host):
        def begin(self, transport: Any) -> Tape:
            raise ValueError("a key of no known kind")

    connected = Connected(Clumsy(tls=tls))

    with capturedLogs() as events:
        connected.send(HEAD)
        connected.door.handshakeCompleted()

    assert connected.transport.disconnected
    assert ["log_failure" in event for event in events] == [True]


def test_tls_outside() -> None:
    """The handshake of a listener's own TLS means nothing to the door."""
    connected = Connected()

    connected.door.handshakeCompleted()
    connected.send(HEAD)

    assert connected.host.began


def test_octets_behind_the_head_are_judged() -> None:
    """What came too early is the host's to refuse."""
    connected = Connected(Host(lets_in=False))

    connected.send(HEAD + b"x")

    assert connected.host.heads == [HEAD + b"x"]
    assert connected.written == b"<404>"


def test_turned_away() -> None:
    """Who is turned away is answered, and cut off when it does not close."""
    connected = Connected(Host(lets_in=False))

    connected.send(HEAD)
    connected.send(b"more")

    assert connected.written == b"<404>"
    assert connected.transport.disconnecting
    assert not connected.transport.disconnected
    connected.clock.advance(30)
    assert connected.transport.disconnected


def test_turned_away_and_gone() -> None:
    """A client that closes leaves nothing behind."""
    connected = Connected(Host(lets_in=False))
    connected.send(HEAD)

    connected.lose()

    assert connected.clock.getDelayedCalls() == []
    assert connected.wired.site.connections == 0


@pytest.mark.conformance("F9")
def test_head_too_long() -> None:
    """A head without an end is refused; what still comes is dropped, for the answer would be lost, and the log has a line."""
    connected = Connected()

    with capturedLogs() as events:
        connected.send(HEAD[:-2] + b"X" * 9_000)
        connected.send(b"X" * 60_000 + b"\r\n\r\n" + HEAD)

    assert connected.written.startswith(b"<400 the header block is longer")
    assert connected.written.count(b"<") == 1
    assert [event["peer"] for event in events] == ["192.0.2.7 port 5000"]
    assert not connected.host.heads
    connected.clock.advance(2)
    assert connected.transport.disconnecting
    connected.clock.advance(30)
    assert connected.transport.disconnected


def test_head_too_long_on_a_used_connection() -> None:
    """Nothing that comes behind its answer is looked at, as little as on a new one."""
    connected = Connected()
    connected.send(request_octets("GET", "/healthz"))
    connected.transport.clear()

    connected.send(HEAD[:-2] + b"X" * 9_000)
    connected.send(HEAD)
    connected.send(request_octets("GET", "/healthz"))

    assert connected.written.startswith(b"<400 ")
    assert connected.written.count(b"<") == 1
    assert b"200 OK" not in connected.written
    assert not connected.host.heads


@pytest.mark.parametrize("size", [100, 5_000, 100_000])
def test_head_too_long_for_http(size: int) -> None:
    """What the door passes on is answered as it is without a door, also on a connection that was used before."""
    connected = Connected()
    connected.send(request_octets("GET", "/healthz"))
    connected.transport.clear()
    head = b"GET /sessions HTTP/1.1\r\nX: " + b"y" * 60_000 + b"\r\n\r\n"

    for at in range(0, len(head), size):
        connected.send(head[at : at + size])

    reply = read_reply(connected.written)
    assert (reply.status, reply.headers["connection"]) == (431, "close")
    connected.clock.advance(2)
    assert connected.transport.disconnecting


@pytest.mark.conformance("F10")
def test_head_too_slow() -> None:
    """A head that does not become whole is refused after 20 seconds, however it dribbles."""
    connected = Connected()
    connected.send(HEAD[:20])

    connected.clock.advance(19)
    connected.send(HEAD[20:21])
    assert connected.written == b""
    connected.clock.advance(1)

    assert connected.written.startswith(b"<408 negotiation timeout")
    assert connected.transport.disconnecting


def test_undecided_is_http() -> None:
    """What has not yet shown what it is has the time that HTTP gives."""
    connected = Connected()
    connected.send(b"GET /")

    connected.clock.advance(30)
    assert not connected.transport.disconnecting
    connected.send(b"healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert read_reply(connected.written).status == 200


def test_silent_connection_is_closed() -> None:
    """A connection without an octet is closed after HTTP's idle time."""
    connected = Connected()

    connected.clock.advance(60)

    assert connected.transport.disconnecting
    connected.clock.advance(60)
    assert connected.transport.disconnected


def test_dribble_is_closed() -> None:
    """An undecided connection cannot live on single octets."""
    connected = Connected()
    for octet in b"GET /se":
        connected.send(bytes([octet]))
        connected.clock.advance(20)

    assert connected.transport.disconnected or connected.transport.disconnecting


def test_carriers() -> None:
    """The host learns what protects the connection, and who is there."""
    remote, local = Connected(), Connected(peer=UNIXAddress("/run/x.sock"))
    for connected in (remote, local):
        connected.send(HEAD)

    assert remote.host.carriers == [Carrier(cover=Cover.NONE, peer="192.0.2.7 port 5000")]
    assert local.host.carriers == [Carrier(cover=Cover.LOCAL, peer="a local client")]
