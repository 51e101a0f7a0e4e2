"""
A broker on a Landscape server, in memory: all of its exchange down to the octets of HTTP, and a server that says what it is told.

The clock is the test's. Connections are real to Twisted's HTTP client; octets go from one end to the other at once.
"""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from fieldpost.agent.landscape import USER_AGENT
from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.http import LANDSCAPE, HttpTransport
from fieldpost.broker.carriage.landscape import LandscapeTransport
from fieldpost.broker.carriage.line import Timeouts
from fieldpost.broker.carriage.post import Dial, Poster
from fieldpost.broker.carriage.proxy import Proxies
from fieldpost.broker.carriage.trust import Trust
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.ping import Ping
from fieldpost.broker.registration import Account
from fieldpost.broker.status import Result
from fieldpost.broker.store.store import Store
from fieldpost.wire.cbor import DEFAULT_LIMITS
from fieldpost.wire.encoding import BPICKLE
from tests.broker.fakes import NoSpread, RecordingPlugin, Rig
from tests.broker.store.stores import clock_at, open_store
from tests.fakes import InlineWriter

CAPTURES = Path(__file__).parents[2] / "wire" / "landscape"
TRAVEL = 0.01
"""Seconds between a request and its answer."""
HOST = "http://127.0.0.1:18080"
ACCOUNT = Account(
    account_name="onward",
    computer_title="box-one",
    hostname="vm",
    registration_password="sekret",
    tags="alpha,beta",
)


def request(name: str) -> bytes:
    """What Landscape's client sent."""
    return (CAPTURES / f"{name}.req").read_bytes()


def answer(name: str) -> bytes:
    """The body of what it was answered."""
    return (CAPTURES / f"{name}.rsp").read_bytes()


def with_token(body: bytes, token: int) -> bytes:
    """The same answer with another token; the captures count theirs."""
    return re.sub(rb"(next-exchange-tokens36:[0-]{24})[0-9]{12}", rb"\g<1>%012d" % token, body)


def expecting(body: bytes, number: int) -> bytes:
    """The same answer, which expects another number."""
    return re.sub(rb"(next-expected-sequencei)-?\d+;", rb"\g<1>%d;" % number, body)


def substituted(octets: bytes) -> bytes:
    """A request without what may differ: version and times."""
    octets = re.sub(rb"(User-Agent: landscape-client/)\S+", rb"\g<1>VERSION", octets)
    return re.sub(rb"(u9:timestampi)\d{10};", rb"\g<1>0123456789;", octets)


def http(body: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """An answer as a server writes it."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


class _Connection(StringTransport):
    """The client's end; a request that is whole is answered after its way there and back."""

    def __init__(self, server: "MemoryServer") -> None:
        super().__init__()
        self._server = server
        self.protocol: Any = None
        self._ended = False

    def write(self, data: bytes) -> None:
        super().write(data)
        octets: bytes = self.value()
        head, end, body = octets.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and length and len(body) == int(length[1]):
            self.clear()
            self._server.clock.callLater(TRAVEL, self._answer, octets)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def _answer(self, octets: bytes) -> None:
        said = self._server.take(octets)
        if said is None:
            self._end()
        elif not self._ended:
            self.protocol.dataReceived(said)
            if self._server.closes:
                self._end()

    def loseConnection(self) -> None:
        self._server.clock.callLater(0, self._end)

    abortConnection = loseConnection

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


Reply = Callable[[bytes], bytes | None]


class MemoryServer:
    """Answers by `reply`: octets of HTTP for a request's octets, or None to hang up."""

    def __init__(self, clock: Clock, reply: Reply) -> None:
        self.clock = clock
        self.reply = reply
        self.closes = False
        """Hangs up after each answer."""
        self.requests: list[bytes] = []

    def take(self, octets: bytes) -> bytes | None:
        self.requests.append(octets)
        return self.reply(octets)

    def dial(self, host: str, port: int) -> IStreamClientEndpoint:
        found: IStreamClientEndpoint = _Endpoint(self)
        return found


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    def connect(self, protocolFactory: Any) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        connection = _Connection(self._server)
        connection.protocol = protocolFactory.buildProtocol(None)
        connection.protocol.makeConnection(connection)
        return succeed(connection.protocol)


def payload(octets: bytes) -> dict[str, Any]:
    """Of a request."""
    found: dict[str, Any] = BPICKLE.decode(octets.partition(b"\r\n\r\n")[2], DEFAULT_LIMITS)
    return found


def well(octets: bytes) -> bytes:
    """The answer of a server that takes everything, and has nothing to say."""
    asked = payload(octets)
    said = {
        "server-api": b"3.3",
        "server-uuid": b"11111111-2222-3333-4444-555555555555",
        "messages": [],
        "next-expected-sequence": asked["sequence"] + len(asked["messages"]),
    }
    return http(BPICKLE.encode(said))


class Script:
    """Bodies in turn, each in a good answer; exceptions to that are whole answers, or None."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    def __call__(self, octets: bytes) -> bytes | None:
        return http(self.bodies.pop(0))


class Station:
    """One broker of Landscape's protocol, as its composition root joins it; `boot` starts it anew on its store."""

    def __init__(self, *, clock: Clock, store: Store, host: str, dial: Dial, random: Random) -> None:
        self.clock = clock
        self.store = store
        self._host = host
        self._dial = dial
        self._random = random
        self.plugin = RecordingPlugin()
        self.boot()

    def boot(self) -> None:
        self.store.speak_landscape(True)
        writer = InlineWriter()
        self.posters = [self._poster("/message-system"), self._poster("/ping")]
        http = HttpTransport(poster=self.posters[0], worker=writer, now=self.clock.seconds, manner=LANDSCAPE)
        self.rig = Rig.build(
            LandscapeTransport(http=http),
            clock=self.clock,
            store=self.store,
            writer=writer,
            account=ACCOUNT,
            random=self._random,
            limits=ExchangeLimits(messages=100),
        ).start()
        self.ping = Ping(
            poster=self.posters[1],
            store=self.store,
            writer=writer,
            bus=self.rig.bus,
            ask=self.rig.timetable.ask,
            clock=self.clock,
            now=self.clock.seconds,
            random=Random(1),
            interval=30.0,
        )

    def _poster(self, path: str) -> Poster:
        return Poster(
            address=Address.parse(self._host + path),
            reactor=self.clock,
            worker=InlineWriter(),
            trust=Trust.in_system(environ={}),
            proxies=Proxies(),
            max_answer_octets=100_000,
            user_agent=USER_AGENT,
            timeouts=Timeouts(),
            dial=self._dial,
        )


class Scene(Station):
    """A broker and its server, in memory; `kill` leaves nothing of the broker but its store."""

    def __init__(self, reply: Reply, *, store: Store | None = None, clock: Clock | None = None) -> None:
        clock = clock or clock_at()
        self.server = MemoryServer(clock, reply)
        store = store or open_store(clock=clock, accept=None)
        super().__init__(clock=clock, store=store, host=HOST, dial=self.server.dial, random=NoSpread())

    def kill(self) -> None:
        """At this moment; and start again."""
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.boot()

    def exchange(self) -> Result:
        """One exchange, from its beginning to its end; the one under way, if there is one."""
        ended = self.rig.exchange.run()
        found: list[Result] = []
        ended.addCallback(found.append)
        self.turn(lambda: bool(found))
        return found[0]

    def turn(self, until: Callable[[], bool]) -> None:
        """Let requests and answers travel, and no more time."""
        for _ in range(20):
            if until():
                return
            self.clock.advance(TRAVEL)
        raise AssertionError("it does not come to an end")

    @property
    def last(self) -> bytes:
        """The last request."""
        return self.server.requests[-1]
