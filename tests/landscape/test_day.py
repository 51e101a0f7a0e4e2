"""
A day of a broker in Landscape's protocol on our server: two programs, HTTP between them, and a simulated clock in the broker.

The server is a process of its own, is killed and started again, and is away for an hour; the broker is killed, too. What a plugin
was told is stored arrives once and in order; what the operator asks for has one result; there is one computer.
"""

import json
import os
import socket
import subprocess
import sys
from http.client import HTTPConnection
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.trial.unittest import TestCase

from fieldpost.broker.store.records import NewMessage
from fieldpost.runtime.doors import returns_deferred
from fieldpost.wire import cbor
from tests.broker.carriage.peers import temporary
from tests.broker.landscape.scene import ACCOUNT, Station
from tests.broker.store.stores import add, clock_at, open_store
from tests.server.test_service import PROGRAM

pytestmark = pytest.mark.process
reactor: Any = _reactor
HOUR = 3_600.0


def dial(host: str, port: int) -> IStreamClientEndpoint:
    """Real connections, whoever keeps the time."""
    return HostnameEndpoint(reactor, host, port)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """Our server as a process, and its operator."""

    def __init__(self, case: TestCase) -> None:
        self.port = free_port()
        self._config = temporary(case) / "server.toml"
        self._config.write_text(
            f'[server]\nstate-dir = "state"\nlisten = ["tcp:port={self.port}:interface=127.0.0.1"]\n'
            'api-token = "secret"\n[intake]\naccepted-types = ["text-message"]\n'
            f'[account.{ACCOUNT.account_name}]\nregistration-key = "{ACCOUNT.registration_password}"\n'
            "auto-accept = true\n"
        )
        self._log = self._config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self.kill)

    async def start(self) -> None:
        process = self._launch()
        while not self._answers():
            assert process.poll() is None, self._log.read_text()
            await later(0.05)

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as opened:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self._config)],
                stdout=opened,
                stderr=opened,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self._process

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        connection.request(
            method, f"/api/v1{path}", None if value is None else json.dumps(value).encode(), headers
        )
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def operate(self) -> None:
        self.ask("POST", "/operations", {"computer": 1, "type": "frobnicate"})

    def texts(self) -> list[str]:
        found: list[str] = []
        after = 0
        while True:
            page = self.ask("GET", f"/messages?type=text-message&limit=1000&after={after}")
            if not page["messages"]:
                return found
            found += [message["body"]["message"] for message in page["messages"]]
            after = page["next"]

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/computers")
        except OSError:
            return False
        return True


def later(seconds: float) -> "Deferred[None]":
    """Of real time."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


class Day:
    """The broker, a plugin that says something every ten minutes, and the clock."""

    def __init__(self, case: TestCase, server: Server) -> None:
        self.clock = clock_at()
        self.station = Station(
            clock=self.clock,
            store=open_store(clock=self.clock, accept=None),
            host=f"http://127.0.0.1:{server.port}",
            dial=dial,
            random=Random(7),
        )
        self.said = self.pings = self.exchanges = self.failures = self.delivered = 0
        self._greet()
        case.addCleanup(lambda: Deferred.fromCoroutine(self.stop()))

    def _greet(self) -> None:
        self.station.rig.delivery.register(
            ("frobnicate",), self.station.plugin.name, self.station.plugin.deliver
        )
        self.station.ping.start()

    def say(self) -> None:
        body = cbor.encode({"type": "text-message", "message": str(self.said)})
        add(
            self.station.store,
            NewMessage(type="text-message", body=body, timestamp=int(self.clock.seconds())),
        )
        self.said += 1

    async def pass_time(self, seconds: float) -> None:
        """Whatever is due happens, one after the other, and the network has its time."""
        end = self.clock.seconds() + seconds
        speaks = self.clock.seconds() + 600
        while True:
            await self.quiet()
            moments = [call.getTime() for call in self.clock.getDelayedCalls()]
            moment = min([*moments, speaks, end])
            self.clock.advance(max(0.0, moment - self.clock.seconds()))
            if moment >= speaks:
                self.say()
                speaks += 600
            if moment >= end:
                await self.quiet()
                return

    async def quiet(self) -> None:
        """Nothing is under way."""
        while self.is_busy:
            await later(0)

    @property
    def is_busy(self) -> bool:
        return self.station.rig.exchange.is_running or self.station.ping._running is not None

    async def exchange(self) -> None:
        """Now."""
        self.station.rig.exchange.run()
        await self.quiet()

    async def kill_broker(self) -> None:
        """In the middle of an exchange, of which the server knows and the broker does not."""
        self.say()
        self.station.rig.exchange.run()
        for _ in range(3):
            await later(0)
        await self.stop()
        self.station.boot()
        self._greet()

    async def stop(self) -> None:
        rig = self.station.rig
        self.pings += self.station.ping.status.pings
        self.exchanges += rig.record.exchanges
        self.failures += rig.record.failures
        rig.timetable.stop()
        await self.station.ping.stop()
        for poster in self.station.posters:
            await poster.stop()
        await self.quiet()
        for call in self.clock.getDelayedCalls():
            call.cancel()


class DayTests(TestCase):
    """From the first contact on."""

    timeout = 240

    @returns_deferred
    async def test_a_day(self) -> None:
        """Nothing is lost, doubled or out of order; operations run within seconds of being asked for."""
        server = Server(self)
        await server.start()
        day = Day(self, server)

        await day.pass_time(HOUR)
        server.operate()
        await day.pass_time(120)
        assert [o["status"] for o in server.ask("GET", "/operations")["operations"]] == ["succeeded"]

        await day.kill_broker()
        await day.pass_time(HOUR)
        server.ask("POST", "/computers/1", {"action": "set-intervals", "ping": 60, "exchange": 1_800})
        await day.pass_time(3 * HOUR)

        server.kill()
        await day.pass_time(HOUR)
        await server.start()
        await day.pass_time(6 * HOUR)
        for _ in range(3):
            server.operate()
        await day.kill_broker()
        server.ask("POST", "/computers/1", {"action": "resynchronize"})
        await day.pass_time(6 * HOUR)
        server.kill()
        await server.start()
        await day.pass_time(6 * HOUR)
        await day.exchange()
        await day.stop()

        assert server.texts() == [str(number) for number in range(day.said)]
        operations = server.ask("GET", "/operations")["operations"]
        assert [operation["status"] for operation in operations] == ["succeeded"] * 5
        assert len(day.station.plugin.delivered) == 4
        (computer,) = server.ask("GET", "/computers")["computers"]
        assert (computer["title"], computer["tags"]) == ("box-one", "alpha,beta")
        state = day.station.store.state()
        assert (state.exchange_interval, state.ping_interval) == (1_800, 60)
        assert day.station.store.dead_letters(9) == []
        assert 1_300 < day.pings < 1_700
        assert 50 < day.exchanges < 160
        assert day.failures > 2
