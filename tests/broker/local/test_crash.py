"""Processes on both ends of the local socket, killed in the middle of their work."""

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from fieldpost.plugins.connection import BrokerConnection, ConnectionLimits
from fieldpost.plugins.outbox import OutboxLimits
from fieldpost.runtime.doors import returns_deferred
from fieldpost.wire import cbor
from tests.broker.local import broker_process
from tests.broker.store.stores import open_store

MESSAGES = 3_000
KILLS = 3


@pytest.mark.process
class CrashTests(TestCase):
    """`kill -9` at any moment loses nothing that was answered, and doubles nothing."""

    timeout = 240

    def setUp(self) -> None:
        # Twisted's own folder for tests may be too deep for a socket's path.
        folder = tempfile.TemporaryDirectory(prefix="fieldpost-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.broker: subprocess.Popen[bytes] | None = None
        self.addCleanup(self.kill)

    def start(self) -> None:
        self.broker = subprocess.Popen(
            [sys.executable, broker_process.__file__, self.folder], stdout=subprocess.PIPE
        )
        assert self.broker.stdout is not None
        assert self.broker.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self.broker is not None:
            self.broker.send_signal(signal.SIGKILL)
            self.broker.wait()
            assert self.broker.stdout is not None
            self.broker.stdout.close()
            self.broker = None

    def connection(self) -> BrokerConnection:
        clock: Any = reactor

        async def deliver(_: Any) -> Any:
            raise NotImplementedError

        connection = BrokerConnection(
            endpoint=UNIXClientEndpoint(clock, os.path.join(self.folder, "broker.sock")),
            clock=clock,
            random=Random(1),
            new_id=lambda: "one",
            plugins=["load"],
            events=[],
            on_deliver=deliver,
            on_event=lambda _: None,
            limits=ConnectionLimits(outbox=OutboxLimits(batch_messages=50), longest_pause=0.2),
        )
        connection.start()
        self.addCleanup(connection.stop)
        return connection

    def stored(self) -> list[int]:
        store = open_store(os.path.join(self.folder, "store.db"), accept=("load",))
        outgoing = store.begin_exchange(max_messages=MESSAGES * 2, max_octets=2**30)
        store.close()
        return [cbor.decode(message.body)["value"] for message in outgoing.messages]

    @returns_deferred
    async def test_broker_killed(self) -> None:
        """A broker that is killed again and again stores every message once, in order."""
        self.start()
        connection = self.connection()
        answered: list[int] = []
        kill_at = set(Random(2).sample(range(MESSAGES), KILLS))

        def note(value: int, _: None) -> None:
            answered.append(value)
            if value in kill_at:
                self.kill()
                self.start()

        for value in range(MESSAGES):
            sent = connection.send("load", {"type": "load", "value": value})
            sent.addCallback(partial(note, value))
            if value % 100 == 0:
                await _turn()
        await connection.flushed()

        self.kill()
        assert answered == list(range(MESSAGES))
        assert self.stored() == answered

    @returns_deferred
    async def test_plugin_killed(self) -> None:
        """A plugin that is killed while it sends leaves whole batches, and a broker that serves the next one."""
        self.start()
        code = (
            "import socket, sys, time\n"
            "from fieldpost.runtime.amp import write_box, spread\n"
            "from fieldpost.wire import cbor\n"
            "line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1])\n"
            "def call(name, **fields):\n"
            "    body = cbor.encode({key.replace('_', '-'): value for key, value in fields.items()})\n"
            "    return write_box([(b'_ask', b'1'), (b'_command', name), *spread(body)])\n"
            "line.sendall(call(b'hello', oldest=1, newest=1, instance='i', plugins=['load']))\n"
            "line.recv(1000)\n"
            "octets = [cbor.encode({'type': 'load', 'value': value}) for value in range(100)]\n"
            "line.sendall(call(b'send', plugin='load', batch=1, messages=octets))\n"
            "line.sendall(call(b'send', plugin='load', batch=2, messages=octets)[:-100])\n"
            "print('sent', flush=True); time.sleep(60)\n"
        )
        _run_plugin(code, os.path.join(self.folder, "broker.sock"))

        await self.connection().send("load", {"type": "load", "value": 100})

        self.kill()
        assert self.stored() == list(range(101))


def _turn() -> "Deferred[None]":
    clock: Any = reactor
    return deferLater(clock, 0, lambda: None)


def _run_plugin(code: str, path: str) -> None:
    """Run a plugin until it says `sent`, and kill it."""
    plugin = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert plugin.stdout is not None
    assert plugin.stdout.readline() == b"sent\n"
    plugin.kill()
    plugin.wait()
    plugin.stdout.close()
