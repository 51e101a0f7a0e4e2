"""From a configured address to a channel, or a reason; each answer of 5.2 as the table has it."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.carriage.address import AddressInvalid
from fieldpost.broker.carriage.proxy import Proxies, Proxy
from fieldpost.broker.carriage.trust import Trust
from fieldpost.broker.session.opener import Channel, Opener, session_address
from fieldpost.wire.session.opening import (
    HEAD_SECONDS,
    REFUSAL_TYPE,
    Denied,
    Later,
    NotHere,
    NoUpgrade,
    Unusable,
)
from fieldpost.wire.session.proof import EXPORTER_LABEL, EXPORTER_OCTETS
from tests.broker.session.channels import SWITCH, SWITCH_TLS, Collecting, Net, Place, Tls, said
from tests.certificates import Authority

AUTHORITY = Authority()
TLS = Tls(AUTHORITY.issue("server.example"))
OTHER = Tls(AUTHORITY.issue("other.example"))
FOREIGN = Tls(Authority("Nobody's").issue("server.example"))


class OpenerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.trust = Trust.in_file(str(AUTHORITY.write(Path(folder.name, "ca.pem"))))
        self.folder = Path(folder.name)
        self.net = Net()
        self.clock = Clock()
        self.inner = Collecting()
        self.channels: list[Channel] = []

    def opener(self, url: str = "https://server.example/message-system", **more: Any) -> Opener:
        settings: dict[str, Any] = {
            "reactor": self.clock,
            "now": lambda: 0.0,
            "trust": self.trust,
            "proxies": Proxies(),
            "user_agent": "fieldpost/1.0",
            "dial": self.net.dial,
        }
        return Opener(url=url, **(settings | more))

    def build(self, channel: Channel) -> Collecting:
        self.channels.append(channel)
        return self.inner

    def open(self, opener: Opener) -> "Deferred[Any]":
        opened = Deferred.fromCoroutine(opener.open(self.build))
        self.net.flush()
        return opened

    def outcome(self, opener: Opener) -> Any:
        return self.successResultOf(self.open(opener))

    def server(
        self, answer: bytes, *, host: str = "server.example", port: int = 443, tls: Any = TLS
    ) -> Place:
        place: Place = self.net.put(host, port, Place(answer), tls=tls)
        return place


class OutsideTests(OpenerTestCase):
    """TLS outside."""

    @pytest.mark.conformance("F1", "F2")
    def test_upgraded(self) -> None:
        """The request names the server, host, product and nothing of who we are; then the channel is ours."""
        place = self.server(SWITCH)

        channel = self.outcome(self.opener())

        assert channel == Channel(url="https://server.example:443/session/default", exporter=None)
        assert place.head.decode().split("\r\n") == [
            "GET /session/default HTTP/1.1",
            "Host: server.example",
            "User-Agent: fieldpost/1.0",
            "Upgrade: fieldpost/1",
            "Connection: Upgrade",
            "",
            "",
        ]
        assert TLS.offered == [b"http/1.1"]
        assert self.clock.getDelayedCalls() == []

    @pytest.mark.conformance("F25")
    def test_what_comes_at_once(self) -> None:
        """The server's hello may ride behind the 101; what follows reaches the channel, both ways."""
        place = self.server(SWITCH + b"hello")
        self.outcome(self.opener())

        assert place.then.transport is not None
        place.then.transport.write(b" world")
        assert self.inner.transport is not None
        self.inner.transport.write(b"ours")
        self.net.flush()

        assert self.inner.octets == b"hello world"
        assert place.then.octets == b"ours"

    def test_lost(self) -> None:
        """Whoever has the channel hears of its end."""
        place = self.server(SWITCH)
        self.outcome(self.opener())

        assert place.transport is not None
        place.transport.loseConnection()
        self.net.flush()

        assert self.inner.lost is not None

    @pytest.mark.conformance("F19")
    def test_a_stranger(self) -> None:
        """A server whose certificate we do not believe, or that is for another name, gets no request."""
        for tls, words in ((FOREIGN, "not in the CA file"), (OTHER, "not for the name server.example")):
            place = self.server(SWITCH, tls=tls)

            found = self.outcome(self.opener())

            assert isinstance(found, Unusable)
            assert words in found.text
            assert place.head == b""

    def test_no_tls_there(self) -> None:
        """What does not speak TLS is told apart."""
        self.net.put("server.example", 443, Place(b"x"))
        place = self.net.put("server.example", 443, Place(b"x"))
        place.answer = b""

        opened = self.open(self.opener())
        first = self.net.pumps[0]
        first.server.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.net.flush()

        found = self.successResultOf(opened)
        assert isinstance(found, Unusable)
        assert "does not speak TLS" in found.text


class InsideTests(OpenerTestCase):
    """TLS inside."""

    URL = "http://server.example:8080/message-system"

    def place(self, answer: bytes = SWITCH_TLS, tls: Any = TLS) -> Place:
        place: Place = self.net.put("server.example", 8080, Place(answer, inside=tls))
        return place

    @pytest.mark.conformance("F1", "F2", "F14")
    def test_upgraded(self) -> None:
        """TLS is offered, starts behind the 101, and both ends get the same exporter from it."""
        place = self.place()

        channel = self.outcome(self.opener(self.URL))

        assert b"\r\nUpgrade: TLS/1.2, fieldpost/1\r\n" in place.head
        assert b"\r\nHost: server.example:8080\r\n" in place.head
        assert channel.exporter == place.exporter(EXPORTER_LABEL, EXPORTER_OCTETS)
        assert self.inner.transport is not None
        self.inner.transport.write(b"ours")
        assert place.then.transport is not None
        place.then.transport.write(b"theirs")
        self.net.flush()
        assert (place.then.octets, self.inner.octets) == (b"ours", b"theirs")

    @pytest.mark.conformance("F19")
    def test_a_stranger(self) -> None:
        """Its certificate is checked before anything of ours is said."""
        for tls in (FOREIGN, OTHER):
            place = self.place(tls=tls)

            found = self.outcome(self.opener(self.URL))

            assert isinstance(found, Unusable)
            assert "certificate" in found.text
            assert self.channels == []
            assert place.lost

    @pytest.mark.conformance("F2")
    def test_no_downgrade(self) -> None:
        """An answer that leaves TLS out is none."""
        self.net.put("server.example", 8080, Place(SWITCH))

        found = self.outcome(self.opener(self.URL))

        assert isinstance(found, Unusable)
        assert "TLS/1.2" in found.text or "tls/1.2" in found.text

    @pytest.mark.conformance("F12")
    def test_octets_before_tls(self) -> None:
        """What comes behind the 101 before TLS was put there by somebody on the way."""
        self.net.put("server.example", 8080, Place(SWITCH_TLS + b"x"))

        found = self.outcome(self.opener(self.URL))

        assert isinstance(found, Unusable)
        assert "before TLS" in found.text

    @pytest.mark.conformance("F11")
    def test_a_handshake_that_never_ends(self) -> None:
        """It is given up in time, and the connection closed."""
        place = self.net.put("server.example", 8080, Place(SWITCH_TLS))
        opened = self.open(self.opener(self.URL))

        self.clock.advance(HEAD_SECONDS)
        self.net.flush()

        found = self.successResultOf(opened)
        assert isinstance(found, Unusable)
        assert "about TLS" in found.text
        assert place.lost

    def test_lost_in_the_handshake(self) -> None:
        """Told with its cause."""
        place = self.net.put("server.example", 8080, Place(SWITCH_TLS))
        opened = self.open(self.opener(self.URL))

        place.transport.loseConnection()
        self.net.flush()

        assert isinstance(self.successResultOf(opened), Unusable)

    def test_plain_for_tests(self) -> None:
        """Without TLS only where a test says so."""
        place = self.net.put("server.example", 8080, Place(SWITCH))

        channel = self.outcome(self.opener(self.URL, is_plain=True))

        assert channel.exporter is None
        assert b"\r\nUpgrade: fieldpost/1\r\n" in place.head


class AnswerTests(OpenerTestCase):
    """Answers that are no 101."""

    @pytest.mark.conformance("F4", "F5")
    def test_each(self) -> None:
        """Each has its meaning; the connection is closed by us, for a proxy would keep it."""
        for status, headers, kind in (
            ("404 Not Found", (f"Content-Type: {REFUSAL_TYPE}",), NotHere),
            ("404 Not Found", ("Content-Type: text/html",), NoUpgrade),
            ("426 Upgrade Required", (), NoUpgrade),
            ("400 Bad Request", (), NoUpgrade),
            ("405 Method Not Allowed", (), NoUpgrade),
            ("501 Not Implemented", (), NoUpgrade),
            ("200 OK", (), NoUpgrade),
            ("401 Unauthorized", (), Denied),
            ("403 Forbidden", (), Denied),
            ("429 Too Many Requests", ("Retry-After: 7",), Later),
            ("503 Service Unavailable", ("Retry-After: 7",), Later),
            ("500 Internal Server Error", (), Unusable),
            ("418 I'm a teapot", (), Unusable),
        ):
            place = self.server(said(status, *headers))

            found = self.outcome(self.opener())

            assert isinstance(found, kind), (status, found)
            assert status in found.text
            assert place.lost
        assert self.channels == []

    def test_retry_after(self) -> None:
        """The server's wish is passed on."""
        self.server(said("503 Service Unavailable", "Retry-After: 7"))

        assert self.outcome(self.opener()).after == 7.0

    @pytest.mark.conformance("F9")
    def test_a_head_without_end(self) -> None:
        """Is bounded."""
        self.server(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"a" * 10_000)

        found = self.outcome(self.opener())

        assert isinstance(found, Unusable)
        assert "longer than 8192 octets" in found.text

    def test_something_else(self) -> None:
        """What is no HTTP is named so."""
        self.server(b"220 mail.example ESMTP\r\n\r\n")

        found = self.outcome(self.opener())

        assert isinstance(found, Unusable)
        assert "not HTTP" in found.text

    @pytest.mark.conformance("F11")
    def test_silence(self) -> None:
        """A server that says nothing is given up after its time, with one error."""
        place = self.server(b"")
        opened = self.open(self.opener())
        self.clock.advance(HEAD_SECONDS - 1)
        self.assertNoResult(opened)

        self.clock.advance(1)
        self.net.flush()

        found = self.successResultOf(opened)
        assert isinstance(found, Unusable)
        assert "no answer to the request for a session within 20 s" in found.text
        assert place.lost

    @pytest.mark.conformance("F13")
    def test_refused(self) -> None:
        """Nobody listens: told so."""
        found = self.outcome(self.opener())

        assert isinstance(found, Unusable)
        assert "refused the connection" in found.text

    def test_our_mistake(self) -> None:
        """Whatever breaks is told, and ends nothing else."""
        self.net.put("server.example", 443, fail(ValueError("oops")))

        found = self.outcome(self.opener())

        assert isinstance(found, Unusable)
        assert "ValueError: oops" in found.text

    def test_cut(self) -> None:
        """A server that hangs up instead of answering."""
        place = self.server(b"")
        opened = self.open(self.opener())
        assert place.transport is not None
        place.transport.loseConnection()
        self.net.flush()

        assert isinstance(self.successResultOf(opened), Unusable)

    @pytest.mark.conformance("F27")
    def test_cancelled(self) -> None:
        """At a stop: whatever is under way is dropped, in each phase."""
        place = self.server(b"")
        opened = self.open(self.opener())
        opened.cancel()
        self.net.flush()
        self.failureResultOf(opened, CancelledError)
        assert place.lost

        connecting: Deferred[Any] = Deferred()
        self.net.put("server.example", 443, connecting)
        opened = self.open(self.opener())
        opened.cancel()

        self.failureResultOf(opened, CancelledError)


class RedirectTests(OpenerTestCase):
    @pytest.mark.conformance("F6")
    def test_followed(self) -> None:
        """To another host where TLS vouches for who says so; the first connection is closed."""
        first = self.server(said("303 See Other", "Location: https://other.example/session/abc"))
        second = self.server(SWITCH, host="other.example", tls=OTHER)

        channel = self.outcome(self.opener())

        assert channel.url == "https://other.example/session/abc"
        assert first.lost
        assert b"GET /session/abc HTTP/1.1\r\nHost: other.example\r\n" in second.head

    @pytest.mark.conformance("F7")
    def test_refused(self) -> None:
        """A circle, a downgrade, too many, no address: none is followed."""
        loops = "https://server.example/session/default"
        for target, words in (
            (loops, "circle"),
            ("http://server.example/session/default", "https to http"),
            ("gopher://x", "no address"),
            ("https://user@other.example/", "user or a password"),
        ):
            self.server(said("303 See Other", f"Location: {target}"))

            found = self.outcome(self.opener())

            assert isinstance(found, Unusable), found
            assert words in found.text, found.text

    @pytest.mark.conformance("F7")
    def test_too_many(self) -> None:
        """Five are followed, no sixth."""
        for number in range(6):
            self.server(said("302 Found", f"Location: /session/{number}"))

        found = self.outcome(self.opener())

        assert isinstance(found, Unusable)
        assert "more than 5 redirects" in found.text
        assert self.net.places["server.example", 443] == []

    def test_in_the_open(self) -> None:
        """Without TLS around it anybody may have written it: only the same host is believed, or TLS there."""
        url = "http://server.example/message-system"
        self.net.put("server.example", 80, Place(said("303 See Other", "Location: http://other.example/s")))
        found = self.outcome(self.opener(url))
        assert isinstance(found, Unusable)
        assert "without TLS to vouch for it" in found.text

        self.net.put(
            "server.example", 80, Place(said("303 See Other", "Location: https://server.example/session/x"))
        )
        self.server(SWITCH)
        assert self.outcome(self.opener(url)).url == "https://server.example/session/x"

    def test_where_a_session_said(self) -> None:
        """The server's goodbye may name another place; it is asked this once, and never without TLS."""
        self.server(SWITCH, host="other.example", tls=OTHER)
        opener = self.opener()

        opened = Deferred.fromCoroutine(opener.open(self.build, location="https://other.example/session/abc"))
        self.net.flush()
        channel = self.successResultOf(opened)
        assert isinstance(channel, Channel)
        assert channel.url == "https://other.example/session/abc"
        refused = Deferred.fromCoroutine(opener.open(self.build, location="http://other.example/session/abc"))
        found = self.successResultOf(refused)

        assert isinstance(found, Unusable)
        assert "https to http" in found.text

    def test_for_good(self) -> None:
        """A permanent one is remembered for this run, until it leads nowhere."""
        opener = self.opener()
        self.server(said("308 Permanent Redirect", "Location: https://other.example/session/abc"))
        self.server(SWITCH, host="other.example", tls=OTHER)
        self.outcome(opener)

        self.server(SWITCH, host="other.example", tls=OTHER)
        self.outcome(opener)
        assert self.net.dialled[-1] == ("other.example", 443)
        assert isinstance(self.outcome(opener), Unusable)
        self.server(SWITCH)
        self.outcome(opener)

        assert self.net.dialled[-1] == ("server.example", 443)


class OwnCertificateTests(OpenerTestCase):
    """A certificate of this machine's own, where servers ask for one."""

    PROXY = Proxy(host="proxy.example", port=3128)

    def setUp(self) -> None:
        super().setUp()
        own = AUTHORITY.issue("agent-1").write(self.folder / "own.pem")
        self.trust.show(certificate=str(own), key=str(own), to=["server.example"])
        self.seen: list[str] = []

    def asking(self, *names: str) -> Tls:
        """TLS of a server that asks; it remembers who was shown."""
        tls = Tls(AUTHORITY.issue(*names))

        def judge(connection: SSL.Connection, certificate: X509, code: int, depth: int, good: int) -> bool:
            self.seen.append(certificate.to_cryptography().subject.rfc4514_string())
            return True

        tls.context.set_verify(SSL.VERIFY_PEER, judge)
        return tls

    def test_shown_outside_and_inside(self) -> None:
        """To the server of the settings, also at the far end of a proxy's tunnel."""
        tls = self.asking("server.example")
        self.server(SWITCH, tls=tls)
        self.net.put("server.example", 80, Place(SWITCH_TLS, inside=tls))
        proxy = Relay(Place(SWITCH), tls)
        self.net.put("proxy.example", 3128, proxy)

        for opener in (
            self.opener(),
            self.opener("http://server.example/"),
            self.opener(proxies=Proxies(https=self.PROXY)),
        ):
            self.seen.clear()
            assert isinstance(self.outcome(opener), Channel)
            assert "CN=agent-1" in self.seen

    def test_not_shown_elsewhere(self) -> None:
        """Another host to which a redirect leads is told nothing of it; back at the server it is shown again."""
        tls = self.asking("server.example", "other.example")
        for location in ("https://other.example/session/a", "https://server.example:444/session/b"):
            self.server(said("303 See Other", f"Location: {location}"), tls=tls)
            host, _, port = location.split("/")[2].partition(":")
            self.server(SWITCH, host=host, port=int(port or 443), tls=tls)
            self.seen.clear()

            assert isinstance(self.outcome(self.opener()), Channel)

            assert self.seen.count("CN=agent-1") == (1 if host == "other.example" else 2)


class ProxyTests(OpenerTestCase):
    PROXY = Proxy(host="proxy.example", port=3128)

    def test_through_a_tunnel(self) -> None:
        """Both kinds of address go through CONNECT."""
        for url, tls, answer in (
            ("https://server.example/", TLS, SWITCH),
            ("http://server.example/", None, SWITCH_TLS),
        ):
            place = Place(answer, inside=None if tls else TLS)
            proxy = Relay(place, tls)
            self.net.put("proxy.example", 3128, proxy)

            channel = self.outcome(self.opener(url, proxies=Proxies(http=self.PROXY, https=self.PROXY)))

            assert isinstance(channel, Channel), channel
            port = 443 if tls else 80
            assert proxy.asked.startswith(f"CONNECT server.example:{port} HTTP/1.1".encode())

    def test_refused(self) -> None:
        """A proxy that tunnels to no plain port may still make plain requests: exchanges go by POST."""
        for url, kind in (("https://server.example/", Unusable), ("http://server.example/", NoUpgrade)):
            self.net.put("proxy.example", 3128, Place(said("403 Forbidden")))

            found = self.outcome(self.opener(url, proxies=Proxies(http=self.PROXY, https=self.PROXY)))

            assert isinstance(found, kind)
            assert "the proxy proxy.example:3128" in found.text


class Relay(Place):
    """A proxy that lets everything through to one place."""

    def __init__(self, place: Place, tls: Any) -> None:
        super().__init__(b"HTTP/1.1 200 OK\r\n\r\n", inside=tls)
        self.then = place  # type: ignore[assignment]

    @property
    def asked(self) -> bytes:
        return self.head


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example", "/session/default"),
        ("https://a.example/message-system", "/session/default"),
        ("https://a.example/site/message-system?x=1", "/site/session/default"),
    ],
)
def test_sessions_begin_beside_the_exchange(url: str, target: str) -> None:
    """Where a proxy serves several servers under one name, their paths tell them apart."""
    assert session_address(url).target == target


def test_wrong_url() -> None:
    """Told when it is made."""
    with pytest.raises(AddressInvalid):
        session_address("ftp://a.example/")
