"""Real processes and a real connection between them, killed and cut while a backlog drains over a session."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fieldpost.agent.config import load_config
from fieldpost.broker.store.records import StoreLimits
from fieldpost.broker.store.store import Store
from fieldpost.wire import cbor
from tests.broker.store.stores import add, new
from tests.carriers.relay import Relay
from tests.ports import HOST, Reserved
from tests.server.test_service import _ports, launch

pytestmark = pytest.mark.process

MESSAGES = 2_000
OPERATIONS = 5
PATIENCE = 180.0
"""Seconds after which what was waited for is not going to happen."""
A_WHILE = 8_000
"""Octets of a session: several exchanges, and few beside those of the backlog."""
SERVER = """\
[server]
state-dir = "server"
listen = ["tcp:port={port}:interface=127.0.0.1"]
api-token = "secret"
[intake]
accepted-types = ["load"]
[account.open]
registration-key = "key"
auto-accept = true
[session]
plain = true
"""
AGENT = """\
[server]
url = "http://127.0.0.1:{port}/message-system"
proxy = "none"
account-name = "open"
registration-key = "key"
session = "plain"
[broker]
state-dir = "state"
socket = "broker.sock"
[exchange]
urgent-interval = "1 s"
backoff-base = "1 s"
max-messages = 20
handler-grace = "1 s"
"""


class Scene:
    """A server and a broker, each a process, and the relay between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reserved = Reserved()
        self.server_port = self._reserved.number
        self.server = self.start_server()
        self.relay = Relay(self.server_port, slowness=0.3)
        (folder / "plugins.d").mkdir()
        (folder / "agent.toml").write_text(AGENT.format(port=self.relay.port))
        self.log = (folder / "broker.log").open("wb")
        self.broker: subprocess.Popen[bytes] | None = None

    def start_server(self) -> "subprocess.Popen[str]":
        config = self.folder / "server.toml"
        config.write_text(SERVER.format(port=self.server_port))
        announced = self.folder / "server" / "ports.json"
        announced.unlink(missing_ok=True)
        process = launch(config)
        _ports(announced, process)
        return process

    def start_broker(self) -> None:
        self.broker = subprocess.Popen(
            [sys.executable, "-P", "-m", "fieldpost.agent.run", "broker", "--config", str(self.agent)],
            stdout=self.log,
            stderr=self.log,
        )

    def kill_server(self) -> None:
        self.server.kill()
        self.server.communicate()
        self.server = self.start_server()

    def kill_broker(self) -> None:
        assert self.broker is not None
        self.broker.send_signal(signal.SIGKILL)
        self.broker.wait()
        self.start_broker()

    def stop(self) -> None:
        for process in (self.server, self.broker):
            if process is not None and process.poll() is None:
                process.kill()
        self.server.communicate()
        if self.broker is not None:
            self.broker.wait()
        self.relay.stop()
        self.log.close()
        self._reserved.release()

    @property
    def agent(self) -> Path:
        return self.folder / "agent.toml"

    def fill(self) -> None:
        """Let the broker find a backlog when it starts."""
        file = load_config(self.agent).broker.store
        file.parent.mkdir(mode=0o700)
        store = Store.open(str(file), limits=StoreLimits(), new_id=lambda: str(uuid4()), now=time.time)
        add(store, *(new("load", value, timestamp=int(time.time())) for value in range(MESSAGES)))
        store.close()

    # What came of it

    def rows(self, query: str) -> list[Any]:
        """Of the server's database, beside the server."""
        uri = f"file:{self.folder}/server/server.sqlite?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as database:
            return database.execute(query).fetchall()

    def count(self) -> int:
        found: int = self.rows("SELECT count(*) FROM message WHERE type = 'load'")[0][0]
        return found

    def wait_for(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                log = (self.folder / "broker.log").read_text()[-3_000:]
                raise AssertionError(f"it has {self.count()}, {self.relay.sessions} sessions; {log}")
            time.sleep(0.02)

    def drain_over_session(self) -> None:
        """Until some of the backlog has gone through a session just now, and no more of it goes."""
        octets, count = self.relay.session_octets, self.count()
        while self.count() == count:
            self.relay.allow(A_WHILE)
            octets += A_WHILE
            self.wait_for(partial(self.relay.has_passed, octets))

    def operate(self) -> None:
        body = '{"computer": 1, "type": "nonsense"}'
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        with closing(HTTPConnection(HOST, self.server_port, timeout=PATIENCE)) as connection:
            connection.request("POST", "/api/v1/operations", body, headers)
            assert connection.getresponse().status == 201


@pytest.fixture
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = Scene(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def test_killed_and_cut_while_draining(scene: Scene) -> None:
    """The connection reset, the broker and the server killed: all arrives once and in order, each operation ends once."""
    scene.fill()
    scene.start_broker()
    scene.drain_over_session()
    for _ in range(OPERATIONS):
        scene.operate()
    for happens in (scene.relay.cut, scene.kill_broker, scene.kill_server):
        happens()
        scene.drain_over_session()
    assert scene.count() < MESSAGES, "it was through too early for this to show anything"
    scene.relay.allow()
    scene.wait_for(lambda: scene.count() >= MESSAGES)
    scene.wait_for(lambda: scene.rows("SELECT 1 FROM operation WHERE status = 'failed'")[OPERATIONS - 1 :])

    bodies = scene.rows("SELECT body FROM message ORDER BY id")
    stored = [cbor.decode(body) for (body,) in bodies]
    results = [m["operation-id"] for m in stored if m["type"] == "operation-result"]
    assert [m["value"] for m in stored if m["type"] == "load"] == list(range(MESSAGES))
    assert sorted(results) == list(range(1, OPERATIONS + 1))
    assert len(scene.rows("SELECT id FROM computer")) == 1
    assert scene.relay.sessions >= 4
    assert "Traceback" not in (scene.folder / "broker.log").read_text()
