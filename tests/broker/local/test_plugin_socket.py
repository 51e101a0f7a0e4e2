"""The listening socket, from start to stop: in memory where that will do, with real sockets where it will not."""

import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fieldpost.broker.local.grants import Grant, Grants
from fieldpost.broker.local.intake import Intake
from fieldpost.broker.local.peer import Peer
from fieldpost.broker.local.plugin_link import PluginLink
from fieldpost.broker.local.plugin_socket import STOP_WITHIN, PluginSocket
from fieldpost.broker.local.socket_file import SocketUnusable
from fieldpost.plugins.connection import BrokerConnection
from fieldpost.runtime.amp import CallProtocol, Disconnected
from fieldpost.runtime.doors import returns_deferred
from fieldpost.runtime.writer import WriterThread
from fieldpost.wire.local import Hello, Nothing, Stored
from tests.broker.store.stores import open_store
from tests.local_socket import UID, Hearing, Line, LocalSocket

LOAD = {"type": "load", "value": 1}


def folder_of(test: SynchronousTestCase) -> str:
    """A folder with a short path, gone after the test: a socket's path may not be long."""
    folder = tempfile.TemporaryDirectory(prefix="fieldpost-")
    test.addCleanup(folder.cleanup)
    return folder.name


class MemoryTests(SynchronousTestCase):
    """The service, over a reactor in memory."""

    def setUp(self) -> None:
        self.path = os.path.join(folder_of(self), "run", "broker.sock")
        self.reactor = MemoryReactor()
        self.socket = LocalSocket()
        self.service = self.service_at(self.reactor)

    def service_at(self, reactor: Any, **more: Any) -> PluginSocket:
        service = PluginSocket(
            reactor=reactor,
            broker=self.socket.parts,
            path=self.path,
            credentials=lambda _: Peer(uid=UID, gid=UID, pid=1),
            **more,
        )
        self.addCleanup(service._file.free)
        return service

    def line(self) -> Line:
        _, factory, *_ = self.reactor.unixServers[0]
        link = factory.buildProtocol(None)
        assert isinstance(link, PluginLink)
        return Line(Hearing(), link)

    def greeted(self) -> Line:
        line = self.line()
        self.successResultOf(line.hello("load"))
        return line

    def test_listens(self) -> None:
        """The service listens at its path, with the mode that it was given."""
        service = self.service_at(self.reactor, mode=0o640)

        service.startService()

        (path, _, _, mode, _) = self.reactor.unixServers[0]
        assert (path, mode, service.running) == (self.path, 0o640, 1)

    def test_cannot_listen(self) -> None:
        """When it cannot listen it says why, and lets another have the path."""

        class Refusing(MemoryReactor):
            def listenUNIX(self, *_: Any, **__: Any) -> Any:
                raise CannotListenError("any", self_path, OSError("no"))

        self_path = self.path
        service = self.service_at(Refusing())

        with self.assertRaises(SocketUnusable) as caught:
            service.startService()

        assert "see that the broker's user may write its folder" in str(caught.exception)
        assert not service.running
        self.service.startService()

    def test_two_services(self) -> None:
        """A second broker at the same path is refused while the first runs, and not afterwards."""
        self.service.startService()
        second = self.service_at(self.reactor)

        with self.assertRaises(SocketUnusable):
            second.startService()
        self.successResultOf(self.service.stopService())

        second.startService()

    def test_stop_without_start(self) -> None:
        """A service that never started stops."""
        self.successResultOf(self.service.stopService())

    def test_too_many_connections(self) -> None:
        """One connection more than may be open is closed, and the log says so."""
        service = self.service_at(self.reactor, max_links=1)
        service.startService()
        self.line()
        _, factory, *_ = self.reactor.unixServers[0]

        with capturedLogs() as logged:
            assert factory.buildProtocol(None) is None

        assert formatEvent(logged[0]) == "plugin socket: 1 connections are open; one more is closed"

    def test_stop_answers_what_came(self) -> None:
        """What came before the stop is stored and answered; then the connections are closed."""
        self.service.startService()
        line = self.greeted()
        self.socket.writer.is_held = True
        answer = line.send(1, LOAD)

        stopped = self.service.stopService()
        assert line.link.holds == {"the broker is stopping"}
        self.assertNoResult(stopped)
        self.socket.writer.go()
        line.pump.flush()

        assert self.successResultOf(answer) == Stored(stored=1)
        self.successResultOf(stopped)
        assert not line.client.is_open

    def test_stop_does_not_wait_for_ever(self) -> None:
        """A plugin that does not take its last answer is cut off."""
        self.service.startService()
        line = self.greeted()
        cut: list[bool] = []
        line.link.transport.abortConnection = lambda: cut.append(True)  # type: ignore[union-attr]

        stopped = self.service.stopService()
        self.socket.clock.advance(STOP_WITHIN)
        assert cut == [True]
        self.assertNoResult(stopped)

        line.link.connectionLost()
        self.successResultOf(stopped)


@pytest.mark.process
class SocketTests(TestCase):
    """The same over a real UNIX socket, with the kernel's credentials and the store's own thread."""

    timeout = 240

    def setUp(self) -> None:
        folder = folder_of(self)
        self.path = os.path.join(folder, "broker.sock")
        self.socket = LocalSocket(store=open_store(os.path.join(folder, "store.db")))
        self.writer = WriterThread(reactor=_real(), name="store")
        self.service = self.service_for(os.getuid())
        self.service.startService()
        self.addCleanup(self._stop)

    @returns_deferred
    async def _stop(self) -> None:
        await self.service.stopService()
        await self.writer.stop()
        self.socket.store.close()

    def service_for(self, uid: int, *, inherited: int | None = None) -> PluginSocket:
        clock = _real()
        grant = Grant(name="load", uids=frozenset({uid}), sends=frozenset({"load"}))
        intake = Intake(store=self.socket.store, writer=self.writer, clock=clock, now=clock.seconds)
        parts = evolve(
            self.socket.parts,
            writer=self.writer,
            intake=intake,
            clock=clock,
            grants=Grants([grant], operators=()),
        )
        return PluginSocket(reactor=clock, broker=parts, path=self.path, inherited=inherited)

    def connection(self) -> BrokerConnection:
        clock = _real()

        async def deliver(_: Any) -> Any:
            raise NotImplementedError

        connection = BrokerConnection(
            endpoint=UNIXClientEndpoint(clock, self.path),
            clock=clock,
            random=Random(1),
            new_id=lambda: "one",
            plugins=["load"],
            events=[],
            on_deliver=deliver,
            on_event=lambda _: None,
        )
        connection.start()
        self.addCleanup(connection.stop)
        return connection

    def test_mode(self) -> None:
        """The socket has the mode of the service."""
        assert stat.S_IMODE(os.stat(self.path).st_mode) == 0o660

    @returns_deferred
    async def test_stored_through_a_real_socket(self) -> None:
        """Many messages, short and long, sent at once are all stored, in order."""
        connection = self.connection()
        messages = [{"type": "load", "value": "x" * (index % 500) * 10} for index in range(3_000)]

        await gatherResults([connection.send("load", message) for message in messages])

        assert self.socket.stored() == messages

    @returns_deferred
    async def test_broker_comes_back(self) -> None:
        """What is sent while the broker is away is stored when another has taken its place."""
        connection = self.connection()
        await connection.send("load", {**LOAD, "value": 1})
        await self.service.stopService()
        waiting = connection.send("load", {**LOAD, "value": 2})

        self.service = self.service_for(os.getuid())
        self.service.startService()
        await waiting

        assert [message["value"] for message in self.socket.stored()] == [1, 2]

    @returns_deferred
    async def test_socket_of_the_service_manager(self) -> None:
        """A socket that is passed in is listened on, and its file stays when the broker stops: it is not ours."""
        await self.service.stopService()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as passed:
            passed.bind(self.path)
            os.chmod(self.path, 0o620)
            passed.listen()
            self.service = self.service_for(os.getuid(), inherited=passed.fileno())
            self.service.startService()
            connection = self.connection()

            await connection.send("load", {**LOAD, "value": 3})
            assert stat.S_IMODE(os.stat(self.path).st_mode) == 0o620
            await connection.stop()
            await self.service.stopService()

            assert [message["value"] for message in self.socket.stored()] == [3]
            assert os.path.exists(self.path)

    def test_no_socket_of_the_service_manager(self) -> None:
        """A descriptor that is none is named as such."""
        other = self.service_for(os.getuid(), inherited=9999)

        with pytest.raises(SocketUnusable, match="see its socket unit"):
            other.startService()

    @returns_deferred
    async def test_foreign_user(self) -> None:
        """A process of a user who may not run the plugin is refused by the kernel's word."""
        await self.service.stopService()
        self.service = self.service_for(os.getuid() + 1)
        self.service.startService()
        client = await connectProtocol(UNIXClientEndpoint(_real(), self.path), CallProtocol(responders={}))

        answer: Deferred[Any] = client.call(
            "hello", Hello(oldest=1, newest=1, instance="i", plugins=("load",))
        )
        refusal: str = await answer.addCallbacks(lambda _: "admitted", lambda failure: str(failure.value))
        client.close()

        assert f"may not run as user {os.getuid()}" in refusal

    @returns_deferred
    async def test_flood_without_reading(self) -> None:
        """A peer that asks and asks, and takes no answer, is not read any more: memory does not grow."""
        client = await connectProtocol(UNIXClientEndpoint(_real(), self.path), CallProtocol(responders={}))
        await client.call("hello", Hello(oldest=1, newest=1, instance="i", plugins=("load",)))
        (link,) = self.service.links
        _keep_little(link)
        client.transport.pauseProducing()
        asked = 0
        while not link.holds:
            for _ in range(1_000):
                client.call("status", Nothing()).addErrback(lambda failure: failure.trap(Disconnected))
            asked += 1_000
            assert asked < 100_000
            await _turns(20)

        assert link.holds == {"its answers are not taken"}
        transport: Any = link.transport
        assert len(transport.dataBuffer) + transport._tempDataLen < 1_000_000
        client.cut()

    @returns_deferred
    async def test_answers_taken_late(self) -> None:
        """When that peer takes its answers after all it gets every one."""
        client = await connectProtocol(UNIXClientEndpoint(_real(), self.path), CallProtocol(responders={}))
        await client.call("hello", Hello(oldest=1, newest=1, instance="i", plugins=("load",)))
        (link,) = self.service.links
        _keep_little(link)
        client.transport.pauseProducing()
        answers = [client.call("status", Nothing()) for _ in range(20_000)]
        await _until(lambda: bool(link.holds))

        client.transport.resumeProducing()
        reports = await gatherResults(answers)

        assert len(reports) == 20_000
        assert not link.holds
        client.cut()


def _keep_little(link: PluginLink) -> None:
    """In the kernel; some machines let it keep megabytes for whoever does not read."""
    transport: Any = link.transport
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)


def _real() -> Any:
    """The reactor: Twisted has no one interface for it."""
    return reactor


def _turns(count: int) -> "Deferred[None]":
    """Fires after so many turns of the reactor."""
    passed: Deferred[None] = Deferred()

    def turn(left: int) -> None:
        if left:
            _real().callLater(0, turn, left - 1)
        else:
            passed.callback(None)

    turn(count)
    return passed


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await _turns(1)


def test_socket_in_a_missing_folder(tmp_path: Path) -> None:
    """The folder of the socket is made with the mode that the service was given."""
    service = PluginSocket(
        reactor=MemoryReactor(),
        broker=LocalSocket().parts,
        path=str(tmp_path / "run" / "broker.sock"),
        folder_mode=0o711,
    )

    service.startService()
    service.stopService()

    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o711
