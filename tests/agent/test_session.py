"""Broker, server and plugins, really connected: by session, by POST, and from one to the other."""

import http.client
import json
import sqlite3
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from fieldpost.agent.broker_service import BrokerService, build_broker
from fieldpost.agent.config import load_config
from fieldpost.agent.host import PluginHost, make_host
from fieldpost.agent.manifest import Manifest
from fieldpost.agent.threads import Threads
from fieldpost.plugins import Message, Notification, Plugin, handles
from fieldpost.runtime.doors import returns_deferred
from fieldpost.wire.session.proof import key_name
from tests.certificates import DAY, Authority
from tests.ports import Reserved
from tests.server.test_service import _ports, launch

reactor: Any = twisted_reactor  # of which Twisted has no one interface
pytestmark = pytest.mark.process
AUTHORITY = Authority()
PATIENCE = 120.0
"""Seconds after which what was waited for is not going to happen."""

HEARD: list[Any] = []
"""What the plugin below heard."""
HELD: list[Deferred[None]] = []
"""While there is one, the plugin's operation goes on until it fires."""


class Echo(Plugin):
    """Answers operations, hears a topic, shows what it writes."""

    name = "echo"

    def on_start(self) -> None:
        self.context.subscribe("weather", self.hear)

    def hear(self, notification: Notification) -> None:
        HEARD.append(("weather", notification.value))

    @handles("echo")
    async def echo(self, message: Message) -> str:
        HEARD.append(("echo", message["word"]))
        operation = message["operation-id"]
        self.context.report_output(operation, f"working on {message['word']}\n")
        self.context.report_progress(operation, "steps", 1, 2)
        for held in HELD:
            await held
        return str(message["word"])


class SessionTestCase(TestCase):
    """One server as a process; broker and plugin host in this one."""

    timeout = 600
    scheme = "https"
    session = ""
    """Lines of the server's [session]."""
    server_lines = ""
    """Lines of the agent's [server]."""

    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)
        issued = AUTHORITY.issue("127.0.0.1")
        (self.folder / "cert.pem").write_bytes(issued.certificate)
        (self.folder / "key.pem").write_bytes(issued.key)
        AUTHORITY.write(self.folder / "ca.pem")
        HEARD.clear()
        HELD.clear()
        reserved = Reserved()
        self.addCleanup(reserved.release)
        self.port = reserved.number
        self.process = self.launch()
        self.broker = self.start_broker()
        self.host = self.start_host()

    def launch(self) -> "subprocess.Popen[str]":
        kind = "tcp" if self.scheme == "http" else "ssl"
        tls = (
            ""
            if self.scheme == "http"
            else f":privateKey={self.folder}/key.pem:certKey={self.folder}/cert.pem"
        )
        config = self.folder / "server.toml"
        config.write_text(
            f'[server]\nstate-dir = "server"\nlisten = ["{kind}:port={self.port}:interface=127.0.0.1{tls}"]\n'
            'api-token = "secret"\n[account.open]\nregistration-key = "key"\nauto-accept = true\n'
            f"[session]\n{self.session}"
        )
        announced = self.folder / "server" / "ports.json"
        announced.unlink(missing_ok=True)
        process = launch(config)
        self.addCleanup(self.kill, process)
        _ports(announced, process)
        return process

    def kill(self, process: "subprocess.Popen[str] | None" = None) -> None:
        process = process or self.process
        if process.poll() is None:
            process.kill()
        process.communicate()

    def start_broker(self) -> BrokerService:
        file = self.folder / "agent.toml"
        file.write_text(
            f'[server]\nurl = "{self.scheme}://127.0.0.1:{self.port}/message-system"\nca-file = "ca.pem"\nproxy = "none"\n'
            f'account-name = "open"\nregistration-key = "key"\n{self.server_lines}\n'
            '[broker]\nstate-dir = "state"\nsocket = "broker.sock"\n[exchange]\nurgent-interval = 1\nbackoff-base = 1'
        )
        manifest = Manifest(
            name="echo",
            file=self.folder / "echo.toml",
            module=f"{__name__}:Echo",
            host="echo",
            handles=("echo",),
            subscribes=("weather",),
        )
        manifest.file.write_text(
            f'module = "{__name__}:Echo"\nhandles = ["echo"]\nsubscribes = ["weather"]\n'
        )
        self.manifest = manifest
        self.config = load_config(file)
        service = build_broker(self.config, [manifest], reactor)
        service.startService()
        self.addCleanup(lambda: maybeDeferred(service.stopService))
        return service

    def start_host(self) -> PluginHost:
        host = make_host([self.manifest], socket=self.config.broker.socket, reactor=reactor)
        host.startService()
        self.addCleanup(lambda: maybeDeferred(host.stopService))
        return host

    # What a test asks

    def ask(self, method: str, path: str, body: Any = None) -> "Deferred[Any]":
        """The server's API."""
        return Threads(reactor=reactor).run(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        connection: http.client.HTTPConnection
        if self.scheme == "http":
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        else:
            context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=PATIENCE, context=context
            )
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        connection.request(method, f"/api/v1{path}", body and json.dumps(body), headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        assert answer.status < 300, found
        return found

    async def status(self) -> dict[str, Any]:
        parts = self.broker._parts
        assert parts is not None
        return await parts.report.report()

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a status; it is what it is at the end of our patience."""
        end = time.monotonic() + PATIENCE
        status = await self.status()
        while not condition(status):
            assert time.monotonic() < end, (status.get("session"), status)
            await deferLater(reactor, 0.05, lambda: None)
            status = await self.status()
        return status

    async def has_session(self) -> int:
        """Wait until there is one in the computer's own name; its number."""
        status = await self.until(
            lambda status: (
                status["registration"]["is-registered"] and status["session"]["carrier"] == "session"
            )
        )
        await self.until(lambda status: status["exchange"]["next-in"] is not None)
        number: int = status["registration"]["insecure-id"]
        return number

    async def order(self, computer: int, word: str) -> int:
        """An operation's number."""
        asked = {"computer": computer, "type": "echo", "fields": {"word": word}}
        number: int = (await self.ask("POST", "/operations", asked))["id"]
        return number

    async def operate(self, computer: int) -> dict[str, Any]:
        """An operation, and how it ended. By the clock alone the plugin would have it a quarter of an hour later."""
        found = await self.result(await self.order(computer, "hello"))
        assert [heard for heard in HEARD if heard[0] == "echo"] == [("echo", "hello")]
        return found

    async def result(self, operation: int) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        found: dict[str, Any] = {}
        while found.get("status") not in ("succeeded", "failed"):
            assert time.monotonic() < end, found
            await deferLater(reactor, 0.02, lambda: None)
            found = await self.ask("GET", f"/operations/{operation}")
        return found


class OverTlsTests(SessionTestCase):
    @returns_deferred
    async def test_an_operation(self) -> None:
        """It reaches the plugin at once, and its result the operator."""
        computer = await self.has_session()

        found = await self.operate(computer)

        assert (found["status"], found["result-text"]) == ("succeeded", "hello"), found

    @returns_deferred
    async def test_notified(self) -> None:
        """A plugin hears what the server publishes."""
        await self.has_session()

        await self.ask("POST", "/topics/weather", {"value": {"sky": "blue"}})
        await self.until(lambda _: bool(HEARD))

        assert HEARD == [("weather", {"sky": "blue"})]

    @returns_deferred
    async def test_asked(self) -> None:
        """The server's own questions are answered: a plugin lives; the log's last lines."""
        computer = await self.has_session()

        pinged = await self.ask(
            "POST", f"/computers/{computer}/ask", {"command": "ping-plugin", "plugin": "echo"}
        )
        logged = await self.ask("POST", f"/computers/{computer}/ask", {"command": "tail", "log": 5})
        await self.ask("POST", f"/computers/{computer}/ask", {"command": "exchange-now"})

        assert pinged["values"]
        assert "session open" in logged["output"] or "exchange done" in logged["output"], logged

    @returns_deferred
    async def test_watched(self) -> None:
        """An operator sees what an operation writes while it runs."""
        computer = await self.has_session()
        held: Deferred[None] = Deferred()
        HELD.append(held)
        number = await self.order(computer, "long")

        seen = await self.ask("GET", f"/operations/{number}/output?after=0&wait=50")

        assert seen["output"] == "working on long\n", seen
        assert seen["status"] not in ("succeeded", "failed")
        held.callback(None)
        assert (await self.result(number))["status"] == "succeeded"

    @returns_deferred
    async def test_killed_and_back(self) -> None:
        """A server that dies under it is found again, and what was sent meanwhile is there once."""
        computer = await self.has_session()

        self.kill()
        await self.until(lambda status: status["session"]["carrier"] == "POST")
        self.process = self.launch()
        assert await self.has_session() == computer

        found = await self.operate(computer)
        assert found["status"] == "succeeded"

    @returns_deferred
    async def test_terminated(self) -> None:
        """A server that stops says goodbye, and the broker says why there is no session."""
        await self.has_session()

        self.process.terminate()
        status = await self.until(lambda status: status["session"]["carrier"] == "POST")

        assert status["session"]["state"] == "waiting"
        assert status["session"]["cause"]


class InsideTlsTests(SessionTestCase):
    scheme = "http"
    session = 'certificate-file = "cert.pem"\nkey-file = "key.pem"'

    @returns_deferred
    async def test_an_operation(self) -> None:
        """With TLS inside, all is the same."""
        computer = await self.has_session()

        found = await self.operate(computer)

        assert found["status"] == "succeeded"


class PlainTests(SessionTestCase):
    scheme = "http"
    session = "plain = true"
    server_lines = 'session = "plain"'

    @returns_deferred
    async def test_an_operation(self) -> None:
        """Without TLS, where both sides were told so for a test."""
        computer = await self.has_session()

        found = await self.operate(computer)

        assert found["status"] == "succeeded"


class WithoutTests(SessionTestCase):
    scheme = "http"
    session = "enabled = false"

    @returns_deferred
    async def test_an_operation(self) -> None:
        """Where the server has no sessions, exchanges go by POST; operations and notifications come all the same."""
        status = await self.until(
            lambda status: status["registration"]["is-registered"] and status["session"]["state"] == "by POST"
        )
        computer = status["registration"]["insecure-id"]

        found = await self.operate(computer)
        await self.ask("POST", "/topics/weather", {"value": "rain"})
        await self.until(lambda _: ("weather", "rain") in HEARD)

        assert found["status"] == "succeeded"


class MutualTests(SessionTestCase):
    session = 'client-ca-file = "ca.pem"'
    server_lines = 'certificate-file = "mine.pem"\nkey-file = "mine.key"'

    def setUp(self) -> None:
        self.issued = AUTHORITY.issue("agent-1")
        super().setUp()

    def start_broker(self) -> BrokerService:
        (self.folder / "mine.pem").write_bytes(self.issued.certificate)
        (self.folder / "mine.key").write_bytes(self.issued.key)
        return super().start_broker()

    @returns_deferred
    async def test_an_operation(self) -> None:
        """A machine may show a certificate of its own; its key is its computer's from then on."""
        computer = await self.has_session()

        found = await self.operate(computer)

        assert found["status"] == "succeeded"
        public = x509.load_pem_x509_certificate(self.issued.certificate).public_key()
        bound = key_name(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        with closing(sqlite3.connect(self.folder / "server" / "server.sqlite")) as database:
            assert database.execute("SELECT key_name FROM session_record").fetchall() == [(bound,)]


class MutualInsideTests(MutualTests):
    """The same with TLS inside."""

    scheme = "http"
    session = 'certificate-file = "cert.pem"\nkey-file = "key.pem"\nclient-ca-file = "ca.pem"'


class UntakenTests(SessionTestCase):
    """The machine's own certificate has expired."""

    session = 'client-ca-file = "ca.pem"'
    server_lines = 'certificate-file = "mine.pem"\nkey-file = "mine.pem"'

    def start_broker(self) -> BrokerService:
        AUTHORITY.issue("agent-1", begins=-2 * DAY, ends=-DAY).write(self.folder / "mine.pem")
        return super().start_broker()

    @returns_deferred
    async def test_the_status_says_so(self) -> None:
        """Neither a session nor an exchange comes about, and both say why."""
        status = await self.until(
            lambda status: bool(status["session"]["cause"] and status["exchange"]["last-failure"])
        )

        for reason in (status["session"]["cause"], status["exchange"]["last-failure"]["cause"]):
            assert "does not take the certificate of this machine" in reason, reason
            assert "certificate expired" in reason, reason
