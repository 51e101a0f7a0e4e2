"""Which proxy, and the way through it."""

import os
import shutil
from base64 import b64encode
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.proxy import (
    MAX_HEAD_OCTETS,
    Proxies,
    Proxy,
    ProxyInvalid,
    ProxyRefused,
    Tunnel,
)
from fieldpost.broker.carriage.transport import Answered, Refused, Unreachable
from fieldpost.broker.carriage.trust import Trust
from fieldpost.runtime.doors import returns_deferred

from ...certificates import Authority
from ...ports import Reserved
from .peers import (
    HOST,
    Saying,
    Web,
    a_request,
    a_transport,
    in_turn,
    listen,
    reactor,
    serving,
    started,
    temporary,
    until,
)

PROXY = Proxy(host="p.example", port=3128)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p.example:3128", PROXY),
        (" p.example:3128 ", PROXY),
        ("HTTP://P.example:3128/", PROXY),
        ("http://p.example", Proxy(host="p.example", port=80)),
        ("http://[::1]:1", Proxy(host="::1", port=1)),
        (
            "http://me:p%40ss:w%C3%B6rd@p.example:3128",
            Proxy(host="p.example", port=3128, authorization=b"Basic " + b64encode("me:p@ss:wörd".encode())),
        ),
        ("http://me@p.example:3128", Proxy(host="p.example", port=3128, authorization=b"Basic bWU6")),
    ],
)
def test_a_proxys_url_is_taken_apart(url: str, proxy: Proxy) -> None:
    """Scheme and port may be missing; user and password are percent-encoded."""
    assert Proxy.parse(url, source="here") == proxy


@pytest.mark.parametrize("url", ["socks5://p.example:1080", "https://p.example:443"])
def test_other_kinds_of_proxy_are_refused(url: str) -> None:
    """Rather than spoken to in the wrong way."""
    with pytest.raises(
        ProxyInvalid, match="^here: a proxy of the kind .*:// is not supported; write it as in"
    ):
        Proxy.parse(url, source="here")


@pytest.mark.parametrize(
    "url", ["", "http://", "http://me:secret@", "http://a b", "http://a:99999", "http://[::1"]
)
def test_a_proxy_that_is_none_is_refused(url: str) -> None:
    """The error names the setting, and no password."""
    with pytest.raises(
        ProxyInvalid, match="^here names no proxy that can be reached; write it as in"
    ) as caught:
        Proxy.parse(url, source="here")

    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    """Not in logs, nor in errors."""
    proxy = Proxy.parse("http://me:secret@p.example:3128", source="here")

    assert str(proxy) == "the proxy p.example:3128"
    assert "c2VjcmV0" not in repr(proxy)


@pytest.mark.parametrize(
    ("address", "settings", "host"),
    [
        ("https://a.example", {}, None),
        ("https://a.example", {"https_proxy": "http://s:1", "http_proxy": "http://h:1"}, "s"),
        ("http://a.example", {"https_proxy": "http://s:1", "http_proxy": "http://h:1"}, "h"),
        ("https://a.example", {"https_proxy": " ", "HTTPS_PROXY": "http://s:1"}, "s"),
        ("http://a.example", {"HTTP_PROXY": "http://h:1"}, None),
        ("https://a.example", {"https_proxy": "http://s:1", "no_proxy": "b.example, a.example"}, None),
        ("https://a.example", {"https_proxy": "http://s:1", "NO_PROXY": "a.example"}, None),
        ("https://localhost", {"https_proxy": "http://s:1"}, None),
        ("http://127.3.4.5", {"http_proxy": "http://s:1"}, None),
        ("http://[::1]", {"http_proxy": "http://s:1"}, None),
        ("https://a.example", {"proxy": "http://c:1", "https_proxy": "http://s:1"}, "c"),
        ("http://localhost", {"proxy": "http://c:1"}, "c"),
        ("https://a.example", {"proxy": "none", "https_proxy": "http://s:1"}, None),
        ("https://a.example", {"proxy": "", "https_proxy": "http://s:1"}, None),
        ("https://a.example", {"proxy": "http://c:1", "no_proxy": ["a.example"]}, None),
        ("https://a.example", {"https_proxy": "http://s:1", "no_proxy": []}, "s"),
    ],
)
def test_the_configuration_goes_before_the_environment(
    address: str, settings: dict[str, Any], host: str | None
) -> None:
    """Each of the two settings for itself; this machine itself is never asked of the environment's proxy."""
    environ = {name: value for name, value in settings.items() if isinstance(value, str) and name != "proxy"}
    no_proxy = settings["no_proxy"] if isinstance(settings.get("no_proxy"), list) else None

    chosen = Proxies.chosen(proxy=settings.get("proxy"), no_proxy=no_proxy, environ=environ)

    found = chosen.for_address(Address.parse(address))
    assert (found and found.host) == host


def test_a_bad_variable_is_named() -> None:
    """So that it is looked for in the right place."""
    with pytest.raises(ProxyInvalid, match="the environment's https_proxy: a proxy of the kind socks5://"):
        Proxies.chosen(proxy=None, no_proxy=None, environ={"https_proxy": "socks5://p:1"})
    with pytest.raises(ProxyInvalid, match="`proxy` in .server."):
        Proxies.chosen(proxy="socks5://p:1", no_proxy=None, environ={})


@pytest.mark.parametrize(
    ("entry", "address", "direct"),
    [
        ("*", "https://a.example", True),
        ("", "https://a.example", False),
        ("a.example", "https://a.example", True),
        ("A.Example", "https://a.example.", True),
        ("example", "https://a.example", True),
        (".example", "https://a.example", True),
        ("*.example", "https://a.example", True),
        ("ample", "https://a.example", False),
        ("a.example:443", "https://a.example", True),
        ("a.example:444", "https://a.example", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.1.0.0/16", "https://10.1.2.3", True),
        ("10.2.0.0/16", "https://10.1.2.3", False),
        ("10.1.2.3:443", "https://10.1.2.3", True),
        ("1.2.3", "https://10.1.2.3", False),
        ("2001:db8::/32", "https://[2001:db8::1]", True),
        ("[2001:db8::1]", "https://[2001:db8::1]", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]", True),
        ("[2001:db8::1]:444", "https://[2001:db8::1]", False),
        ("10.0.0.0/8", "https://2001.example", False),
    ],
)
def test_no_proxy_means_names_networks_and_ports(entry: str, address: str, direct: bool) -> None:
    """As in other programs: a name covers what is below it."""
    proxies = Proxies(https=PROXY, direct=(f" {entry} ",))

    assert (proxies.for_address(Address.parse(address)) is None) is direct


@implementer(IStreamClientEndpoint)
class Wire:
    """An endpoint whose other end is in the test's hand."""

    def __init__(self) -> None:
        self.transport = StringTransportWithDisconnection()

    def connect(self, protocolFactory: Any) -> "Deferred[IProtocol]":
        """See IStreamClientEndpoint."""
        self.outer = protocolFactory.buildProtocol(None)
        self.transport.protocol = self.outer
        self.outer.makeConnection(self.transport)
        made: Deferred[IProtocol] = Deferred()
        made.callback(self.outer)
        return made


class Inside(Protocol):
    """What speaks through the tunnel."""

    def __init__(self) -> None:
        self.read = b""
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        self.read += data

    def connectionLost(self, reason: Any = None) -> None:
        """See IProtocol."""
        self.ended = True


class TunnelTests(SynchronousTestCase):
    """The proxy is asked, and its answer read, octet by octet."""

    def open(self, proxy: Proxy = PROXY, url: str = "https://a.example/") -> "Deferred[IProtocol]":
        """Ask the proxy."""
        self.wire = Wire()
        tunnel = Tunnel(endpoint=self.wire, proxy=proxy, address=Address.parse(url))
        return tunnel.connect(Factory.forProtocol(Inside))

    def refused(self, answer: bytes, proxy: Proxy = PROXY) -> str:
        """What an answer means, if it is given in two pieces; the connection is then closed."""
        for cut in {0, len(answer) // 2}:
            opened = self.open(proxy)
            self.wire.outer.dataReceived(answer[:cut])
            self.wire.outer.dataReceived(answer[cut:])
            self.wire.outer.dataReceived(b"late")
            text = str(self.failureResultOf(opened, ProxyRefused).value)
            self.assertFalse(self.wire.transport.connected)
        return text

    def test_the_proxy_is_asked_for_host_and_port(self) -> None:
        """With credentials, if there are any."""
        self.open()
        self.assertEqual(
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", self.wire.transport.value()
        )
        self.open(Proxy.parse("http://me:pw@p.example:3128", source="here"), "https://[::1]:7/")
        self.assertEqual(
            b"CONNECT [::1]:7 HTTP/1.1\r\nHost: [::1]:7\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n",
            self.wire.transport.value(),
        )

    def test_a_consent_opens_the_tunnel(self) -> None:
        """However its octets are cut; what comes after it is for the protocol inside."""
        for answer in (
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n",
            b"HTTP/1.1 204\n\n",
        ):
            for cut in range(1, len(answer) + 1):
                opened = self.open()
                self.wire.outer.dataReceived(answer[:cut])
                self.wire.outer.dataReceived(answer[cut:] + b"insi")
                inside: Any = self.successResultOf(opened)
                self.wire.outer.dataReceived(b"de")
                self.assertEqual(b"inside", inside.read)
                self.wire.transport.loseConnection()
                self.assertTrue(inside.ended)

    def test_a_refusal_says_what_to_do(self) -> None:
        """By the status that the proxy gives."""
        for answer, said in [
            (
                b"HTTP/1.1 403 Filtered\r\n\r\n",
                "answered 403 Filtered; it does not let us reach a.example:443: let",
            ),
            (
                b"HTTP/1.0 502 Bad\x1b\r\n\r\n",
                "answered 502 Bad; it does not reach a.example:443: check that the",
            ),
            (
                b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic x\r\n\r\n",
                "it wants a login: write the proxy as",
            ),
            (
                b"HTTP/1.1 407 Auth\r\nproxy-authenticate: NTLM\r\n\r\n",
                "a kind of login that is not supported",
            ),
        ]:
            text = self.refused(answer)
            self.assertTrue(text.startswith("the proxy p.example:3128 answered "))
            self.assertIn(said, text)

    def test_a_wrong_login_is_told_from_none(self) -> None:
        """It is the password that is to be looked at."""
        proxy = Proxy.parse("http://me:pw@p.example:3128", source="here")

        self.assertIn(
            "does not take our login: check user and password",
            self.refused(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: basic\r\n\r\n", proxy),
        )

    def test_garbage_is_no_consent(self) -> None:
        """Other protocols, and other things, answer too."""
        for answer in (
            b"\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
        ):
            self.assertIn("answered CONNECT with something that is not HTTP", self.refused(answer))
        self.assertIn("with more than 16384 octets", self.refused(b"x" * (MAX_HEAD_OCTETS + 1)))

    def test_an_answer_that_is_cut_is_no_consent(self) -> None:
        """At every octet."""
        answer = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
        for end in range(len(answer)):
            opened = self.open()
            self.wire.outer.dataReceived(answer[:end])
            self.wire.outer.connectionLost(Failure(ConnectionDone()))
            self.assertIn(
                "closed the connection before", str(self.failureResultOf(opened, ProxyRefused).value)
            )

    def test_waiting_for_the_proxy_can_be_cancelled(self) -> None:
        """The connection is closed then."""
        opened = self.open()

        opened.cancel()

        self.failureResultOf(opened, CancelledError)
        self.assertFalse(self.wire.transport.connected)


TINYPROXY = shutil.which("tinyproxy")
NEEDS = "needs the program tinyproxy; on Debian: apt install tinyproxy-bin"


class TinyproxyProcess(ProcessProtocol):
    """Tinyproxy from start to end."""

    def __init__(self) -> None:
        self.output = b""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        """See IProcessProtocol."""
        self.output += data
        if b"Accepting connections" in self.output and not self.ready.called:
            self.ready.callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        if not self.ready.called:
            self.ready.errback(AssertionError(f"tinyproxy did not start: {self.output!r}"))
        self.ended.callback(None)


def reserved_port(case: TestCase) -> int:
    """A port that nobody listens at but whom the test lets."""
    port = Reserved()
    case.addCleanup(port.release)
    return port.number


@pytest.mark.process
@pytest.mark.skipif(TINYPROXY is None, reason=NEEDS)
class TinyproxyTests(TestCase):
    """Exchanges through a real proxy."""

    timeout = 240

    def setUp(self) -> None:
        self.web = Web()

    async def proxy(self, *lines: str, login: str = "") -> Proxies:
        """Start the proxy with these lines in its configuration; what leads through it."""
        port = reserved_port(self)
        path = temporary(self) / "tinyproxy.conf"
        path.write_text(
            "\n".join([f"Port {port}", f"Listen {HOST}", "Timeout 30", "LogLevel Info", *lines, ""])
        )
        process = TinyproxyProcess()
        transport = reactor.spawnProcess(
            process, TINYPROXY, ["tinyproxy", "-d", "-c", str(path)], env={"PATH": os.defpath}
        )

        def end() -> "Deferred[None]":
            if not process.ended.called:
                transport.signalProcess("KILL")
            return process.ended

        self.addCleanup(end)
        await process.ready
        return Proxies.chosen(proxy=f"http://{login}{HOST}:{port}", no_proxy=[], environ={})

    def secure(self) -> tuple[str, Trust]:
        """A server with TLS: its URL, and trust in it."""
        authority = Authority()
        url = f"https://localhost:{listen(self, self.web, authority.issue('localhost'))}/message-system"
        return url, Trust.in_file(str(authority.write(temporary(self) / "ca.pem")))

    @returns_deferred
    async def test_tls_goes_through_a_tunnel(self) -> None:
        """The second exchange goes through the same one."""
        url, trust = self.secure()
        transport = a_transport(self, url, trust=trust, proxies=await self.proxy())

        for _ in "12":
            self.assertIsInstance(await transport.exchange(a_request()), Answered)

        self.assertEqual(1, len(set(self.web.connections)))
        self.assertNotIn("via", self.web.seen[0].headers)

    @returns_deferred
    async def test_plain_http_is_relayed(self) -> None:
        """The proxy makes the request, and says so in it."""
        url = f"http://localhost:{listen(self, self.web)}/message-system"
        transport = a_transport(self, url, proxies=await self.proxy())

        self.assertIsInstance(await transport.exchange(a_request()), Answered)
        self.assertIn("tinyproxy", self.web.seen[0].headers["via"])

    @returns_deferred
    async def test_a_login_is_shown_to_the_proxy_alone(self) -> None:
        """In the tunnel's request, or with the request itself."""
        proxies = await self.proxy("BasicAuth me secret", login="me:secret@")
        secure, trust = self.secure()
        for url in (secure, f"http://localhost:{listen(self, self.web)}"):
            reply = await a_transport(self, url, trust=trust, proxies=proxies).exchange(a_request())
            self.assertIsInstance(reply, Answered)

        for seen in self.web.seen:
            self.assertNotIn("proxy-authorization", seen.headers)

    @returns_deferred
    async def test_a_wrong_login_is_named(self) -> None:
        """In the tunnel's request it is certain; a relayed request may also be refused by the server."""
        proxies = await self.proxy("BasicAuth me secret", login="me:wrong@")
        url, trust = self.secure()

        tunnelled: Any = await a_transport(self, url, trust=trust, proxies=proxies).exchange(a_request())
        relayed: Any = await a_transport(
            self, f"http://localhost:{listen(self, self.web)}", proxies=proxies
        ).exchange(a_request())

        self.assertRegex(
            tunnelled.reason, "answered 401 .*; it does not take our login: check user and password"
        )
        self.assertIsInstance(relayed, Refused)
        self.assertIn("the login of the proxy", relayed.reason)
        self.assertEqual([], self.web.seen)

    @returns_deferred
    async def test_a_missing_login_is_named(self) -> None:
        """Both ways."""
        proxies = await self.proxy("BasicAuth me secret")
        url, trust = self.secure()

        for asked in (url, f"http://localhost:{listen(self, self.web)}"):
            reply: Any = await a_transport(self, asked, trust=trust, proxies=proxies).exchange(a_request())
            self.assertIsInstance(reply, Unreachable)
            self.assertIn("it wants a login: write the proxy as http://user:password@host:port", reply.reason)

        self.assertEqual([], self.web.seen)

    @returns_deferred
    async def test_a_proxy_that_forbids_the_port_is_named(self) -> None:
        """It is the proxy's administrator who can help."""
        url, trust = self.secure()
        proxies = await self.proxy("ConnectPort 1")

        reply: Any = await a_transport(self, url, trust=trust, proxies=proxies).exchange(a_request())

        self.assertRegex(reply.reason, "the proxy .* answered 403 .*; it does not let us reach localhost:")

    @returns_deferred
    async def test_a_server_that_the_proxy_does_not_reach_is_named(self) -> None:
        """Through the tunnel; a relayed request is refused by the proxy's own answer."""
        proxies = await self.proxy()
        port = reserved_port(self)

        tunnelled: Any = await a_transport(self, f"https://localhost:{port}", proxies=proxies).exchange(
            a_request()
        )
        relayed: Any = await a_transport(self, f"http://localhost:{port}", proxies=proxies).exchange(
            a_request()
        )

        self.assertRegex(
            tunnelled.reason, f"the proxy .* answered 5.. .*; it does not reach localhost:{port}"
        )
        self.assertIsInstance(relayed, Refused)
        self.assertIn("a page titled “500 Unable to connect”", relayed.reason)


@pytest.mark.process
class WithoutProxyTests(TestCase):
    """A proxy that is not there, or is something else."""

    timeout = 240

    @returns_deferred
    async def test_a_proxy_that_is_not_there_is_named(self) -> None:
        """Not the server."""
        port = reserved_port(self)
        proxies = Proxies.chosen(proxy=f"http://{HOST}:{port}", no_proxy=[], environ={})

        for url in ("https://localhost:1", "http://localhost:1"):
            reply: Any = await a_transport(self, url, proxies=proxies).exchange(a_request())
            self.assertIn(f"the proxy {HOST}:{port} refused the connection", reply.reason)

    @returns_deferred
    async def test_a_server_in_the_proxys_place_is_named(self) -> None:
        """It does not know what CONNECT is."""
        port = listen(self, serving(lambda: Saying(b"220 mail.example ESMTP\r\n\r\n")))
        proxies = Proxies.chosen(proxy=f"{HOST}:{port}", no_proxy=[], environ={})

        reply: Any = await a_transport(self, "https://localhost:1", proxies=proxies).exchange(a_request())

        self.assertIn(
            "answered CONNECT with something that is not HTTP: 220 mail.example ESMTP", reply.reason
        )

    @returns_deferred
    async def test_a_proxy_that_does_not_answer_is_given_up(self) -> None:
        """Its consent is part of making the connection."""
        clock, peer = Clock(), Saying(b"", stays=True)
        proxies = Proxies.chosen(proxy=f"{HOST}:{listen(self, in_turn(peer))}", no_proxy=[], environ={})
        transport = a_transport(
            self,
            "https://localhost:1",
            proxies=proxies,
            reactor=clock,
            dial=partial(HostnameEndpoint, reactor),
        )
        reply = started(transport.exchange(a_request()))
        await until(lambda: peer.asked)

        clock.advance(30)

        result: Any = await reply
        self.assertRegex(
            result.reason, f"localhost:1 through the proxy {HOST}:.*: there was no connection within 30 s"
        )

    @returns_deferred
    async def test_a_stop_does_not_wait_for_the_proxy(self) -> None:
        """It may have forgotten us."""
        peer = Saying(b"", stays=True)
        proxies = Proxies.chosen(proxy=f"{HOST}:{listen(self, in_turn(peer))}", no_proxy=[], environ={})
        transport = a_transport(self, "https://localhost:1", proxies=proxies)
        reply = started(transport.exchange(a_request()))
        await until(lambda: peer.asked)

        await transport.stop()

        result: Any = await reply
        self.assertIn("the agent stops", result.reason)
