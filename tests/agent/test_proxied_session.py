"""
Broker, server and plugins with nginx or HAProxy between them: sessions pass, outlive what proxies allow, and give way to POST.

The proxies close what is silent for IDLE seconds; the server pings more often. Each pair of classes is one proxy and the same promises.
"""

import json
import time
from typing import Any, ClassVar

import pytest
from twisted.internet import reactor as twisted_reactor
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from fieldpost.broker.carriage.proxy import Proxies
from fieldpost.broker.carriage.trust import Trust
from fieldpost.broker.session.opener import Channel, Opener
from fieldpost.runtime.doors import returns_deferred
from tests.agent import test_session as sessions
from tests.agent.test_session import AUTHORITY
from tests.proxies import Haproxy, Nginx, Passage, needs_proxies

reactor: Any = twisted_reactor  # of which Twisted has no one interface
pytestmark = [pytest.mark.process, needs_proxies]
IDLE = 6.0
PING = "ping = 1\n"
"""So often that a computer which stands still for seconds does not let the silence become too long."""


class ProxiedTestCase(sessions.SessionTestCase):
    """The agent knows the proxy's address alone; the server listens behind it."""

    proxy: ClassVar[type[Nginx | Haproxy]] = Nginx
    passes_upgrade = True
    tls_at_proxy = True
    idle = IDLE
    session = PING

    def launch(self) -> Any:
        """The server, and in front of it the proxy."""
        process = self.launch_behind()
        passage = Passage(
            upstream=self.port,
            certificate=AUTHORITY.issue("127.0.0.1") if self.tls_at_proxy else None,
            idle=self.idle,
            passes_upgrade=self.passes_upgrade,
        )
        self.between = self.proxy(self.folder, passage)
        self.addCleanup(self.between.close)
        self.behind, self.port = self.port, self.between.port
        return process

    def launch_behind(self) -> Any:
        """The server alone, which speaks plain HTTP."""
        self.scheme, agent = "http", self.scheme
        process = super().launch()
        self.scheme = agent
        return process

    async def outlives(self) -> None:
        """The session that is open now is still there after more than what the proxy allows."""
        computer = await self.has_session()
        before = await self.ask("GET", f"/computers/{computer}")
        await deferLater(reactor, 1.25 * IDLE, lambda: None)
        after = await self.ask("GET", f"/computers/{computer}")

        assert before["session"]["number"] == after["session"]["number"]
        status = await self.status()
        assert status["session"]["open-for"] > IDLE
        found = await self.operate(computer)
        assert (found["status"], found["result-text"]) == ("succeeded", "hello"), found


class NginxTlsTests(ProxiedTestCase):
    """TLS ends at the proxy, as most people have it."""

    session = PING + "plain = true\n"

    @returns_deferred
    async def test_a_session_outlives_the_proxys_patience(self) -> None:
        """Pings keep it, and an operation goes through at once afterwards."""
        await self.outlives()

    @returns_deferred
    async def test_a_proxy_that_falls_away(self) -> None:
        """The session ends, and a new one comes when it is back; the exchange loses and doubles nothing."""
        computer = await self.has_session()
        self.between.stop()
        await self.until(lambda status: status["session"]["carrier"] != "session")
        self.between.start()

        await self.has_session()

        found = await self.operate(computer)
        assert found["status"] == "succeeded"
        page = await self.ask("GET", "/messages?type=operation-result")
        assert len(page["messages"]) == 1


class HaproxyTlsTests(NginxTlsTests):
    """The same through the other."""

    proxy = Haproxy


class NginxPlainTests(ProxiedTestCase):
    """TLS inside: the proxy sees the request for the session, and then octets that it cannot read."""

    scheme = "http"
    tls_at_proxy = False
    session = PING + 'certificate-file = "cert.pem"\nkey-file = "key.pem"\n'

    @returns_deferred
    async def test_a_session_outlives_the_proxys_patience(self) -> None:
        """As with TLS outside."""
        await self.outlives()


class HaproxyPlainTests(NginxPlainTests):
    """The same through the other."""

    proxy = Haproxy


class NginxAsItComesTests(ProxiedTestCase):
    """Nginx without the lines that our documentation gives: it strips `Upgrade`."""

    passes_upgrade = False
    idle = 60.0
    session = PING + "plain = true\n"

    @returns_deferred
    async def test_exchanges_go_by_post(self) -> None:
        """The machine registers, an operation is done, and the status says why there is no session."""
        status = await self.until(lambda status: bool(status["registration"]["is-registered"]))
        computer = status["registration"]["insecure-id"]

        found = await self.operate(computer)

        assert found["status"] == "succeeded", found
        session = (await self.status())["session"]
        assert (session["carrier"], session["state"]) == ("POST", "by POST"), session
        assert "426" in session["cause"], session


class NginxRedirectTests(ProxiedTestCase):
    """The server has moved; what says so comes through the proxy."""

    passes_upgrade = True
    session = PING + "plain = true\n"

    def launch(self) -> Any:
        """Twice: the address of the proxy has to be known first."""
        process = super().launch()
        there = f"https://127.0.0.1:{self.port}/session/default"
        self.session = f'{PING}plain = true\n[session.moved]\n"s:old" = {json.dumps(there)}\n'
        self.kill(process)
        self.port, public = self.behind, self.port
        process = self.launch_behind()
        self.port = public
        return process

    @returns_deferred
    async def test_a_redirect_is_followed(self) -> None:
        """To the public address that the server names, on a new connection."""
        opener = Opener(
            url=f"https://127.0.0.1:{self.port}/message-system",
            server="s:old",
            reactor=reactor,
            now=time.time,
            trust=Trust.in_file(str(self.folder / "ca.pem")),
            proxies=Proxies.chosen(proxy="none", no_proxy=[], environ={}),
            user_agent="test",
        )
        opened: list[Protocol] = []

        def build(channel: Channel) -> Protocol:
            opened.append(Protocol())
            return opened[0]

        channel = await opener.open(build)

        assert isinstance(channel, Channel), channel
        assert channel.url == f"https://127.0.0.1:{self.port}/session/default"
        opened[0].transport.abortConnection()  # type: ignore[union-attr] # it is connected


class HaproxyRedirectTests(NginxRedirectTests):
    """The same through the other."""

    proxy = Haproxy
