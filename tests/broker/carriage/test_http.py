"""The exchange over HTTP, against a real web server, and against peers that are none."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from fieldpost.broker.carriage.address import AddressInvalid
from fieldpost.broker.carriage.transport import Answered, Refused, Reply, Unreachable
from fieldpost.broker.carriage.trust import Trust
from fieldpost.runtime.doors import returns_deferred
from fieldpost.wire.cbor import decode
from fieldpost.wire.compression import deflate, inflate
from fieldpost.wire.payload import ClientPayload

from ...certificates import Authority
from .peers import (
    ANSWER,
    ANSWER_OCTETS,
    HOST,
    LARGE,
    Saying,
    Web,
    a_request,
    a_transport,
    in_turn,
    listen,
    reactor,
    says,
    started,
    temporary,
    turn,
    until,
    well,
)

pytestmark = pytest.mark.process

GOOD = Answered(payload=ANSWER)
CBOR = {"kind": "application/cbor"}


class WebTests(TestCase):
    """A real server, which replies as each test says."""

    timeout = 240

    def setUp(self) -> None:
        self.web = Web()
        self.port = listen(self, self.web)
        self.url = f"http://{HOST}:{self.port}/message-system"
        self.transport = a_transport(self, self.url)

    async def reply(self, *replies: Any, **request: Any) -> Reply:
        """One exchange, in which the server replies so."""
        self.web.replies.extend(replies)
        return await self.transport.exchange(a_request(**request))


class ExchangeTests(WebTests):
    """A server that answers as it should."""

    @returns_deferred
    async def test_an_exchange_brings_the_servers_payload(self) -> None:
        """And the server gets ours, with who we are and what we can read."""
        reply = await self.reply(messages=({"type": "x"},))

        (seen,) = self.web.seen
        self.assertEqual(GOOD, reply)
        self.assertEqual(
            a_request(messages=({"type": "x"},)).payload, ClientPayload.from_map(decode(seen.body))
        )
        self.assertEqual("/message-system", seen.target)
        self.assertEqual(
            {
                "host": f"{HOST}:{self.port}",
                "content-type": "application/cbor",
                "content-length": str(len(seen.body)),
                "accept": "application/cbor",
                "accept-encoding": "gzip",
                "user-agent": "fieldpost/0.1",
                "x-message-api": "3.3",
                "x-computer-id": "id-1",
                "x-exchange-token": "token-1",
            },
            seen.headers,
        )

    @returns_deferred
    async def test_without_an_identity_none_is_shown(self) -> None:
        """As before registration, or after a failure has cost the token."""
        await self.reply(secure_id=None, token=None)

        self.assertNotIn("x-computer-id", self.web.seen[0].headers)
        self.assertNotIn("x-exchange-token", self.web.seen[0].headers)

    @returns_deferred
    async def test_a_token_that_no_header_can_carry_is_left_out(self) -> None:
        """A garbled one would look like a clone's."""
        with capturedLogs() as logs:
            reply = await self.reply(token=b"a\r\nb")

        self.assertEqual(GOOD, reply)
        self.assertNotIn("x-exchange-token", self.web.seen[0].headers)
        self.assertEqual(1, len([log for log in logs if "token fits in no header" in log["log_format"]]))

    @returns_deferred
    async def test_a_secure_id_that_no_header_can_carry_is_not_shown(self) -> None:
        """The reason names the way out."""
        reply = await self.reply(secure_id=b"\x00\xff")

        assert isinstance(reply, Unreachable)
        self.assertIn("fits in no header; remove this computer there, and register again", reply.reason)
        self.assertEqual([], self.web.seen)

    @returns_deferred
    async def test_the_connection_is_kept(self) -> None:
        """Over TLS the handshake is what costs."""
        authority = Authority()
        port = listen(self, self.web, authority.issue("localhost"))
        trust = Trust.in_file(str(authority.write(temporary(self) / "ca.pem")))
        transport = a_transport(self, f"https://localhost:{port}", trust=trust)

        for _ in "123":
            self.assertEqual(GOOD, await transport.exchange(a_request()))

        self.assertEqual(1, len(set(self.web.connections)))
        self.assertEqual("/message-system", self.web.seen[0].target)

    @returns_deferred
    async def test_a_connection_that_was_idle_too_long_is_closed(self) -> None:
        """By us, before the server's own limit makes it a trap."""
        clock = Clock()
        transport = a_transport(self, self.url, reactor=clock, dial=dial)
        await transport.exchange(a_request())

        clock.advance(30)
        await transport.exchange(a_request())

        self.assertEqual(2, len(set(self.web.connections)))

    @returns_deferred
    async def test_two_exchanges_go_one_after_the_other(self) -> None:
        """On one connection."""
        replies = [started(self.transport.exchange(a_request())) for _ in "12"]

        self.assertEqual([GOOD, GOOD], [await reply for reply in replies])
        self.assertEqual(1, len(set(self.web.connections)))

    def test_a_url_that_leads_nowhere_is_refused_at_once(self) -> None:
        """Not at the first exchange."""
        with pytest.raises(AddressInvalid):
            a_transport(self, "example.com")


class AnswerTests(WebTests):
    """A server that answers something else."""

    @returns_deferred
    async def test_a_refusal_is_told_with_its_reason(self) -> None:
        """And with when to come back."""
        reply = await self.reply(
            says(429, b'{"error": "busy", "next": "wait"}', "application/json", Retry_After="7")
        )

        self.assertEqual(Refused(status=429, reason="busy; wait", retry_after=7.0), reply)

    @returns_deferred
    async def test_a_date_to_come_back_is_read_by_the_servers_clock(self) -> None:
        """Ours may be wrong."""
        reply: Any = await self.reply(says(503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"))

        self.assertEqual(0.0, reply.retry_after)

    @returns_deferred
    async def test_a_login_page_is_no_answer(self) -> None:
        """It is named, and the next exchange is tried as ever."""
        reply: Any = await self.reply(says(200, b"<title>Hotel</title>", "text/html"))

        self.assertIsInstance(reply, Unreachable)
        self.assertIn("a page titled “Hotel” came (200, text/html) instead of an answer", reply.reason)
        self.assertEqual(GOOD, await self.reply())

    @returns_deferred
    async def test_other_kinds_of_success_are_refusals(self) -> None:
        """Only 200 is an answer."""
        reply = await self.reply(says(204))

        self.assertEqual(Refused(status=204, reason="No Content; see the server's log"), reply)

    @returns_deferred
    async def test_a_long_refusal_is_read_in_part(self) -> None:
        """The rest is not waited for; the next exchange has a connection of its own."""
        reply: Any = await self.reply(says(500, b"word " * 100_000, "text/plain"))

        self.assertTrue(reply.reason.startswith("word word"))
        self.assertLess(len(reply.reason), 600)
        self.assertEqual(GOOD, await self.reply())
        self.assertEqual(2, len(set(self.web.connections)))

    @returns_deferred
    async def test_an_answer_that_is_too_large_is_not_read_to_its_end(self) -> None:
        """With a length, or in chunks, or when it is unpacked."""

        def flood(request: Any) -> int:
            request.setHeader(b"Content-Type", b"application/cbor")
            for _ in range(300):
                request.write(bytes(1_000))
            return NOT_DONE_YET

        for reply in [
            await self.reply(says(200, bytes(100_001), **CBOR)),
            await self.reply(flood),
            await self.reply(says(200, deflate(bytes(100_001)), **CBOR, Content_Encoding="gzip")),
        ]:
            assert isinstance(reply, Unreachable)
            self.assertIn("the 100000 octets allowed", reply.reason)

    @returns_deferred
    async def test_an_answer_just_small_enough_is_read(self) -> None:
        """The limit is of what is allowed, not of what is forbidden."""
        transport = a_transport(self, self.url, max_answer_octets=len(ANSWER_OCTETS))

        self.assertEqual(GOOD, await transport.exchange(a_request()))


class CompressionTests(WebTests):
    """Bodies are packed when that is worth it and wanted."""

    def packed(self) -> list[bool]:
        """Which requests were; each says truly what it is."""
        found = []
        for seen in self.web.seen:
            is_packed = seen.headers.get("content-encoding") == "gzip"
            decode(inflate(seen.body, 1_000_000) if is_packed else seen.body)
            found.append(is_packed)
        return found

    @returns_deferred
    async def test_a_body_is_packed_once_the_server_has_asked_for_it(self) -> None:
        """A small one never; and no longer when the server says otherwise (RFC 7694)."""

        def asks(value: bytes) -> Any:
            def reply(request: Any) -> bytes:
                request.setHeader(b"Accept-Encoding", value)
                return well(request)

            return reply

        for reply, messages in [
            (asks(b"gzip"), LARGE),
            (well, LARGE),
            (well, ()),
            (asks(b"identity"), LARGE),
            (well, LARGE),
        ]:
            self.assertEqual(GOOD, await self.reply(reply, messages=messages))

        self.assertEqual([False, True, False, True, False], self.packed())

    @returns_deferred
    async def test_a_packed_body_that_is_refused_is_sent_as_it_is(self) -> None:
        """At once, with the token: the server has not looked inside. It is not tried again."""
        asks = says(200, ANSWER_OCTETS, **CBOR, Accept_Encoding="gzip")
        for replies in ([asks], [says(415, Accept_Encoding="gzip"), asks], [well]):
            self.assertEqual(GOOD, await self.reply(*replies, messages=LARGE))

        self.assertEqual([False, True, False, False], self.packed())
        self.assertEqual("token-1", self.web.seen[2].headers["x-exchange-token"])

    @returns_deferred
    async def test_a_plain_body_that_is_refused_is_not_sent_again(self) -> None:
        """It is not the packing that the server means."""
        reply: Any = await self.reply(says(415), messages=LARGE)

        self.assertEqual((Refused, 415), (type(reply), reply.status))
        self.assertEqual([False], self.packed())

    @returns_deferred
    async def test_packing_can_be_switched_off(self) -> None:
        """Whatever the server asks for."""
        transport = a_transport(self, self.url, compress=False)
        self.web.replies.append(says(200, ANSWER_OCTETS, **CBOR, Accept_Encoding="gzip"))

        for _ in "12":
            self.assertEqual(GOOD, await transport.exchange(a_request(messages=LARGE)))

        self.assertEqual([False, False], self.packed())


class RedirectTests(WebTests):
    """A server that sends us elsewhere."""

    @returns_deferred
    async def test_a_redirect_on_the_server_is_followed(self) -> None:
        """With the same body and identity; one that is for good is mentioned in the log."""
        with capturedLogs() as logs:
            reply = await self.reply(says(307, Location="/b"), says(308, Location=f"{self.url}/c"))

        self.assertEqual(GOOD, reply)
        self.assertEqual(
            ["/message-system", "/b", "/message-system/c"], [seen.target for seen in self.web.seen]
        )
        self.assertEqual(1, len({(seen.body, seen.headers["x-exchange-token"]) for seen in self.web.seen}))
        moved = [log for log in logs if "moved for good" in log["log_format"]]
        self.assertEqual([f"{self.url}/c"], [log["url"] for log in moved])

    @returns_deferred
    async def test_a_redirect_to_tls_on_the_same_host_is_followed(self) -> None:
        """On whatever port."""
        authority = Authority()
        port = listen(self, self.web, authority.issue(HOST))
        trust = Trust.in_file(str(authority.write(temporary(self) / "ca.pem")))
        self.transport = a_transport(self, self.url, trust=trust)

        reply = await self.reply(says(307, Location=f"https://{HOST}:{port}/x"))

        self.assertEqual(GOOD, reply)
        self.assertEqual("id-1", self.web.seen[1].headers["x-computer-id"])

    @returns_deferred
    async def test_identity_is_not_sent_elsewhere(self) -> None:
        """The reason says where we were sent, and how."""
        other = Web()
        port = listen(self, other)

        reply: Any = await self.reply(says(307, Location=f"http://{HOST}:{port}/login?x"))

        self.assertEqual((Refused, 307), (type(reply), reply.status))
        self.assertIn(f"points to http://{HOST}:{port}/login?x, another place", reply.reason)
        self.assertEqual([], other.seen)

    @returns_deferred
    async def test_redirects_that_lose_the_body_are_not_followed(self) -> None:
        """A GET is no exchange."""
        for status in (301, 302, 303):
            reply: Any = await self.reply(says(status, Location="/b"))
            self.assertEqual((Refused, status), (type(reply), reply.status))

        self.assertEqual(3, len(self.web.seen))

    @returns_deferred
    async def test_a_circle_ends(self) -> None:
        """After one turn."""
        reply: Any = await self.reply(says(307, Location="/b"), says(307, Location="/message-system"))

        self.assertIn("in a circle", reply.reason)
        self.assertEqual(2, len(self.web.seen))


def dial(host: str, port: int) -> IStreamClientEndpoint:
    """Real connections, whoever keeps the time."""
    return HostnameEndpoint(reactor, host, port)


class Silent(Web):
    """A server that takes a request and does not answer."""

    def __init__(self) -> None:
        self.asked: Deferred[None] = Deferred()
        super().__init__(self.take)

    def take(self, request: Any) -> int:
        """Tell the test."""
        self.asked.callback(None)
        return NOT_DONE_YET


@implementer(IStreamClientEndpoint)
class Nowhere:
    """An endpoint that fails, or never connects."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.tried: Deferred[IProtocol] = Deferred()

    def connect(self, protocolFactory: Any) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        if self._error is not None:
            self.tried.errback(self._error)
        return self.tried


class TimeTests(TestCase):
    """Nothing is waited for without end; the clock is in the test's hand, the rest is real."""

    timeout = 240

    def setUp(self) -> None:
        self.clock = Clock()
        self.web = Silent()
        self.url = f"http://{HOST}:{listen(self, self.web)}"
        self.transport = a_transport(self, self.url, reactor=self.clock, dial=dial)

    @returns_deferred
    async def test_an_answer_that_does_not_come_is_given_up(self) -> None:
        """After the time without progress; the next exchange has a connection of its own."""
        reply = started(self.transport.exchange(a_request()))
        await self.web.asked

        self.clock.advance(119)
        self.assertNoResult(reply)
        self.clock.advance(1)

        self.assertIn("was given up: nothing came or went for 120 s", self.reason(await reply))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(GOOD, await self.transport.exchange(a_request()))

    def at(self, peer: Protocol) -> str:
        """The URL of such a peer."""
        return f"http://{HOST}:{listen(self, in_turn(peer))}"

    def reason(self, reply: Reply) -> str:
        """Why there was no answer."""
        assert isinstance(reply, Unreachable), reply
        return reply.reason

    @returns_deferred
    async def test_a_body_that_stops_coming_is_given_up(self) -> None:
        """Of an answer, and of a refusal."""
        for status in (b"200", b"500"):
            peer = Saying(b"HTTP/1.1 " + status + b" OK\r\nContent-Length: 5\r\n\r\nx", stays=True)
            self.assertIn("nothing came or went for 120 s", await self.given_up(peer))

    async def given_up(self, peer: Protocol) -> str:
        """Why the answer of a peer is given up, once some of it has come."""
        transport = a_transport(self, self.at(peer), reactor=self.clock, dial=dial)
        reply = started(transport.exchange(a_request()))
        await until(lambda: heard_of(transport) > 0)
        self.clock.advance(120)
        return self.reason(await reply)

    @returns_deferred
    async def test_a_connection_that_does_not_come_is_given_up(self) -> None:
        """And its attempt is ended."""
        nowhere = Nowhere()
        transport = a_transport(self, self.url, reactor=self.clock, dial=lambda *_: nowhere)
        reply = started(transport.exchange(a_request()))

        self.clock.advance(30)

        self.assertIn("there was no connection within 30 s", self.reason(await reply))
        self.assertTrue(nowhere.tried.called)

    @returns_deferred
    async def test_a_body_that_the_server_takes_slowly_is_not_given_up(self) -> None:
        """Over TLS, whose octets the kernel counts as well; one that it does not take at all is."""
        authority, peer = Authority(), _Choosy()
        port = listen(self, in_turn(peer), authority.issue("localhost"))
        trust = Trust.in_file(str(authority.write(temporary(self) / "ca.pem")))
        transport = a_transport(self, f"https://localhost:{port}", reactor=self.clock, dial=dial, trust=trust)
        reply = started(transport.exchange(a_request(messages=({"type": "x", "octets": bytes(20_000_000)},))))

        for octets in (1, 8_000_000):
            peer.left = octets
            if peer.transport is not None:
                peer.transport.resumeProducing()
            await until(lambda: peer.left <= 0 and waiting_in(transport) > 0)
            self.clock.advance(120)
            self.assertNoResult(reply)
        while not reply.called:  # the kernel may still take some of what it has room for
            self.clock.advance(120)
            await turn()

        self.assertIn("nothing came or went for 120 s", self.reason(await reply))


class _Choosy(Protocol):
    """Reads as much as it is told to."""

    transport: Any
    left = 0

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.left -= len(data)
        if self.left <= 0:
            self.transport.pauseProducing()


def connections_of(transport: Any) -> int:
    """How many there are."""
    return len(transport.poster._lines._all)


def heard_of(transport: Any) -> int:
    """How many octets of an answer's head have come."""
    meter = transport.poster._lines.meter
    return meter._head._octets if meter else 0


def waiting_in(transport: Any) -> int:
    """How many octets the peer has not acknowledged."""
    return sum(line.unacknowledged() for line in transport.poster._lines._all)


class EndTests(TestCase):
    """However an exchange ends, nothing is left of it; the test would say so."""

    timeout = 240

    def setUp(self) -> None:
        self.web = Silent()
        self.url = f"http://{HOST}:{listen(self, self.web)}"
        self.transport = a_transport(self, self.url)

    @returns_deferred
    async def test_a_stop_ends_what_is_under_way(self) -> None:
        """And what waits behind it, and what comes later."""
        replies = [started(self.transport.exchange(a_request())) for _ in "12"]
        await self.web.asked

        await self.transport.stop()

        for reply in [*replies, started(self.transport.exchange(a_request()))]:
            result = await reply
            assert isinstance(result, Unreachable)
            self.assertIn("the agent stops", result.reason)

    @returns_deferred
    async def test_a_stop_closes_a_kept_connection(self) -> None:
        """There is no exchange under way."""
        self.web.replies.clear()
        await self.transport.exchange(a_request())
        self.assertEqual(1, connections_of(self.transport))

        await self.transport.stop()
        self.assertEqual(0, connections_of(self.transport))
        await self.transport.stop()

    @returns_deferred
    async def test_a_stop_ends_the_search_for_a_connection(self) -> None:
        """The server's machine may be off."""
        nowhere = Nowhere()
        transport = a_transport(self, self.url, dial=lambda *_: nowhere)
        reply = started(transport.exchange(a_request()))

        await transport.stop()

        self.assertIsInstance(await reply, Unreachable)

    @returns_deferred
    async def test_an_exchange_can_be_cancelled(self) -> None:
        """While it connects, and while it waits for the answer; the next one goes on."""
        nowhere = Nowhere()
        connecting = started(a_transport(self, self.url, dial=lambda *_: nowhere).exchange(a_request()))
        waiting = started(self.transport.exchange(a_request()))
        await self.web.asked

        for reply in (connecting, waiting):
            reply.cancel()
            with pytest.raises(CancelledError):
                await reply

        self.assertEqual(GOOD, await self.transport.exchange(a_request()))


class PeersTestCase(TestCase):
    """Peers that say what each test wants."""

    timeout = 240

    def peers(self, *peers: Protocol) -> str:
        """One for each connection; the URL of them all."""
        return f"http://{HOST}:{listen(self, in_turn(*peers))}"

    async def reason(self, octets: bytes) -> str:
        """Why these octets are no answer, on a fresh connection."""
        reply = await a_transport(self, self.peers(Saying(octets))).exchange(a_request())
        assert isinstance(reply, Unreachable), reply
        return reply.reason


class PeerTests(PeersTestCase):
    """Peers that are no web server, or a broken one."""

    @returns_deferred
    async def test_a_name_that_is_not_known(self) -> None:
        """The reason names it."""
        nowhere = Nowhere(DNSLookupError("no"))
        transport = a_transport(self, "https://a.example", dial=lambda *_: nowhere)

        reply: Any = await transport.exchange(a_request())

        self.assertIn("the name of the server a.example:443 is not known", reply.reason)

    @returns_deferred
    async def test_a_server_that_is_not_there(self) -> None:
        """The reason names host and port."""
        reply: Any = await a_transport(self, f"http://{HOST}:1").exchange(a_request())

        self.assertIn(f"the server {HOST}:1 refused the connection: nothing listens there", reply.reason)

    @returns_deferred
    async def test_what_nobody_thought_of_is_logged_too(self) -> None:
        """It is no fault of a network, yet the exchange goes on living."""
        nowhere = Nowhere(ZeroDivisionError("oh\nno"))
        transport = a_transport(self, "https://a.example", dial=lambda *_: nowhere)

        with capturedLogs() as logs:
            reply: Any = await transport.exchange(a_request())

        self.assertIn("failed (ZeroDivisionError: oh no); see the log", reply.reason)
        self.assertEqual(1, len([log for log in logs if "in an unknown way" in log["log_format"]]))

    @returns_deferred
    async def test_garbage_is_no_answer(self) -> None:
        """The reason says that it is not HTTP."""
        for octets in [
            b"garbage\r\n\r\n",
            b"SSH-2.0-x\r\n",
            b"HTTP/x 200 OK\r\n\r\n",
            b"HTTP/1.1 twohundred OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            bytes(range(256)) * 10,
        ]:
            self.assertIn("is not HTTP; check host and port of `url`", await self.reason(octets))

    @returns_deferred
    async def test_an_answer_without_end_of_head_is_bounded(self) -> None:
        """Long lines, many lines, and news that never become an answer."""
        for octets in [
            b"HTTP/1.1 200 OK\r\nA: " + b"a" * 1_000_000,
            b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 200_000,
            b"HTTP/1.1 100 Wait\r\n\r\n" * 50_000,
        ]:
            self.assertIn("head is larger than 32768 octets or 500 lines", await self.reason(octets))

    @returns_deferred
    async def test_an_answer_that_is_cut_is_none(self) -> None:
        """At every octet, with every framing; only the whole one counts."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\n"
        octets = len(ANSWER_OCTETS)
        for answer in [
            head + b"Content-Length: %d\r\n\r\n" % octets + ANSWER_OCTETS,
            head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (octets, ANSWER_OCTETS),
            head + b"\r\n" + ANSWER_OCTETS,
        ]:
            transport = a_transport(
                self, self.peers(*(Saying(answer[:end]) for end in range(len(answer) + 1)))
            )
            for _ in range(len(answer)):
                self.assertIsInstance(await transport.exchange(a_request()), Unreachable)
            self.assertEqual(GOOD, await transport.exchange(a_request()))

    @returns_deferred
    async def test_a_refusal_that_is_cut_is_still_a_refusal(self) -> None:
        """Its status came, and part of its words."""
        peer = Saying(b"HTTP/1.1 503 No\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nbusy")

        reply: Any = await a_transport(self, self.peers(peer)).exchange(a_request())

        self.assertEqual((503, True), (reply.status, reply.reason.startswith("busy; ")))

    @returns_deferred
    async def test_a_server_that_refuses_before_it_has_read_is_heard(self) -> None:
        """A body that it does not want is not sent to its end."""
        peer = _Hasty(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
        transport = a_transport(self, self.peers(peer))

        reply: Any = await transport.exchange(
            a_request(messages=({"type": "x", "octets": bytes(20_000_000)},))
        )

        self.assertEqual((Refused, 413), (type(reply), reply.status))
        await until(lambda: connections_of(transport) == 0)


class _Hasty(Protocol):
    """Answers the first octets, and reads no further."""

    transport: Any

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.transport.pauseProducing()
        self.transport.write(self._octets)


KEPT = b"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ANSWER_OCTETS),
    ANSWER_OCTETS,
)


class Keeping(Protocol):
    """Answers the first request of its connection; to the second it says something, and closes."""

    def __init__(self, second: bytes = b"", first: bytes = KEPT) -> None:
        self._says = [first, second]
        self.heads: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol: the requests here are small, and come in one piece."""
        transport: Any = self.transport
        self.heads.append(data)
        transport.write(self._says.pop(0))
        if not self._says:
            transport.loseConnection()


class RepeatTests(PeersTestCase):
    """A kept connection may be dead (docs/decisions/0003-repeated-post.md)."""

    @returns_deferred
    async def test_a_dead_connection_does_not_fail_an_exchange(self) -> None:
        """It is repeated once on a fresh one, with the same body and without the token."""
        first, second = Keeping(), Keeping()
        transport = a_transport(self, self.peers(first, second))

        for _ in "12":
            self.assertEqual(GOOD, await transport.exchange(a_request()))

        shown, repeated = first.heads[1], second.heads[0]
        self.assertIn(b"token-1", shown)
        self.assertNotIn(b"token-1", repeated)
        self.assertIn(b"id-1", repeated)
        self.assertEqual(shown.partition(b"\r\n\r\n")[2], repeated.partition(b"\r\n\r\n")[2])

    @returns_deferred
    async def test_a_fresh_connection_that_dies_fails_the_exchange(self) -> None:
        """It was not idle; the schedule knows when to try again."""
        other = Keeping()
        transport = a_transport(self, self.peers(Saying(b""), other))

        self.assertIsInstance(await transport.exchange(a_request()), Unreachable)
        self.assertEqual([], other.heads)

    @returns_deferred
    async def test_an_exchange_is_repeated_only_once(self) -> None:
        """When the fresh connection dies as well, the server is to blame."""
        other = Keeping()
        transport = a_transport(self, self.peers(Keeping(), Saying(b""), other))
        await transport.exchange(a_request())

        self.assertIsInstance(await transport.exchange(a_request()), Unreachable)
        self.assertEqual([], other.heads)

    @returns_deferred
    async def test_an_answer_that_has_begun_is_not_asked_for_again(self) -> None:
        """The server did something with the request."""
        other = Keeping()
        transport = a_transport(self, self.peers(Keeping(second=b"H"), other))
        await transport.exchange(a_request())

        self.assertIsInstance(await transport.exchange(a_request()), Unreachable)
        self.assertEqual([], other.heads)

    @returns_deferred
    async def test_a_kept_connection_that_the_server_closed_is_not_used(self) -> None:
        """With a goodbye that nobody asked for, as some servers say it."""
        goodbye = Keeping(first=KEPT + b"HTTP/1.1 408 Timeout\r\n\r\n")
        other = Keeping()
        transport = a_transport(self, self.peers(goodbye, other))

        for _ in "12":
            self.assertEqual(GOOD, await transport.exchange(a_request()))
        self.assertEqual(1, len(other.heads))
