"""The agent as it is run, on our server as it is run: all processes, all sockets, in Landscape's protocol."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fieldpost.agent.broker_client import BrokerAway, BrokerClient
from fieldpost.agent.cli import main
from fieldpost.plugins.execute_script import own_name
from tests.broker.landscape.scene import ACCOUNT
from tests.landscape.server_process import Server

pytestmark = pytest.mark.process

CLIENT_CONF = """\
[client]
url = http://127.0.0.1:{port}/message-system
account_name = {account}
registration_key = {key}
computer_title = Press 7
tags = office,linux
ping_interval = 1
urgent_exchange_interval = 1
exchange_interval = 3
log_level = info
data_path = /var/lib/landscape/client
"""
REST = """\
[broker]
state-dir = "../state"
socket = "../broker.sock"
[supervisor]
restart-base = "0.1 s"
"""
PLUGINS = {
    "computer-info": 'module = "fieldpost.plugins.computer_info:ComputerInfo"\nsends = ["computer-info"]\n',
    "execute-script": 'module = "fieldpost.plugins.execute_script:ExecuteScript"\nhandles = ["execute-script"]\n',
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def configure(folder: Path, server: Server) -> Path:
    """By the import of a client.conf, and drop-ins for where things are."""
    theirs, ours = folder / "client.conf", folder / "agent.toml"
    theirs.write_text(
        CLIENT_CONF.format(port=server.port, account=ACCOUNT.account_name, key=ACCOUNT.registration_password)
    )
    imported = CliRunner().invoke(main, ["config", "import-landscape", str(theirs), "--output", str(ours)])
    assert imported.exit_code == 0, imported.output
    (folder / "agent.d").mkdir()
    (folder / "agent.d" / "places.toml").write_text(REST)
    (folder / "plugins.d").mkdir()
    for name, manifest in PLUGINS.items():
        (folder / "plugins.d" / f"{name}.toml").write_text(manifest)
    return ours


@contextmanager
def running(file: Path) -> Iterator[None]:
    """The agent; it must end cleanly when asked to."""
    log = file.with_suffix(".log")
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fieldpost.agent.cli", "run", "--config", str(file)],
            stdout=opened,
            stderr=opened,
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    except AssertionError as error:
        error.add_note(log.read_text())
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What comes of it, once something does."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def status_of(file: Path) -> dict[str, Any] | None:
    try:
        with BrokerClient(file.parent / "broker.sock") as client:
            return client.status()
    except BrokerAway:
        return None


def status_after_a_ping(file: Path) -> dict[str, Any] | None:
    """The operation may have come with an exchange."""
    status = status_of(file)
    return status if status is not None and status["ping"]["pings"] > 0 else None


def test_from_import_to_an_operations_result(folder: Path) -> None:
    """It registers, tells what machine it is, runs a script within seconds of the order, and goes on after a kill; then it fetches an attachment."""
    server = Server(folder, "computer-info")
    server.start()
    try:
        file = configure(folder, server)
        with running(file):
            (computer,) = wait_for(lambda: server.ask("GET", "/computers")["computers"])
            told = wait_for(lambda: server.messages("computer-info"))[0]
            script(server, "echo ready")
            wait_for(lambda: server.outcomes() == ["succeeded"])

            broker = wait_for(lambda: status_of(file))
            os.kill(broker["pid"], signal.SIGKILL)
            wait_for(lambda: (status_of(file) or broker)["pid"] != broker["pid"])
            attachment = server.put(b"#!/bin/sh\necho from the tool\n")
            script(server, "./tool", attachments={"tool": attachment})
            wait_for(lambda: server.outcomes() == ["succeeded"] * 2)
            written = server.ask("GET", "/operations")["operations"][-1]["result-text"]
            broker = wait_for(lambda: status_after_a_ping(file))
    finally:
        server.close()

    assert (computer["title"], computer["tags"]) == ("Press 7", "office,linux")
    assert told["hostname"]
    assert written == "from the tool\n"
    assert broker["ping"]["interval"] == 1
    assert (broker["registration"]["is-registered"], broker["troubles"]) == (True, [])


def script(server: Server, line: str, **fields: Any) -> None:
    server.operate("execute-script", interpreter="/bin/sh", code=line, username=own_name(), **fields)
