"""
A day of a broker in Landscape's protocol on our server: two programs, HTTP between them, and a simulated clock in the broker.

The server is a process of its own, is killed and started again, and is away for an hour; the broker is killed, too. What a plugin
was told is stored arrives once and in order; what the operator asks for has one result; there is one computer.
"""

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
from tests.broker.landscape.scene import Station
from tests.broker.store.stores import add, clock_at, open_store
from tests.landscape.server_process import Server

pytestmark = pytest.mark.process
reactor: Any = _reactor
HOUR = 3_600.0


def dial(host: str, port: int) -> IStreamClientEndpoint:
    """Real connections, whoever keeps the time."""
    return HostnameEndpoint(reactor, host, port)


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

    timeout = 900

    @returns_deferred
    async def test_a_day(self) -> None:
        """Nothing is lost, doubled or out of order; operations run within seconds of being asked for."""
        server = Server(temporary(self), "text-message")
        self.addCleanup(server.close)
        server.start()
        day = Day(self, server)

        await day.pass_time(HOUR)
        server.operate("frobnicate")
        await day.pass_time(120)
        assert server.outcomes() == ["succeeded"]

        await day.kill_broker()
        await day.pass_time(HOUR)
        server.ask("POST", "/computers/1", {"action": "set-intervals", "ping": 60, "exchange": 1_800})
        await day.pass_time(3 * HOUR)

        server.kill()
        await day.pass_time(HOUR)
        server.start()
        await day.pass_time(6 * HOUR)
        for _ in range(3):
            server.operate("frobnicate")
        await day.kill_broker()
        server.ask("POST", "/computers/1", {"action": "resynchronize"})
        await day.pass_time(6 * HOUR)
        server.kill()
        server.start()
        await day.pass_time(6 * HOUR)
        await day.exchange()
        await day.stop()

        texts = [body["message"] for body in server.messages("text-message")]
        assert texts == [str(number) for number in range(day.said)]
        assert server.outcomes() == ["succeeded"] * 5
        assert len(day.station.plugin.delivered) == 4
        (computer,) = server.ask("GET", "/computers")["computers"]
        assert (computer["title"], computer["tags"]) == ("box-one", "alpha,beta")
        state = day.station.store.state()
        assert (state.exchange_interval, state.ping_interval) == (1_800, 60)
        assert day.station.store.dead_letters(9) == []
        assert 1_300 < day.pings < 1_700
        assert 50 < day.exchanges < 160
        assert day.failures > 2
