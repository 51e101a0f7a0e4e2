"""An agent for real: the supervisor with broker and plugins, and what keeps it from starting. No server is there."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldpost.agent.broker_client import BrokerAway, BrokerClient

from .demo.test_demo import processes_of

pytestmark = pytest.mark.process

PATIENCE = 120.0
"""Seconds after which something hangs."""
MANIFEST = 'module = "fieldpost.plugins.cpu_usage:CpuUsage"\nsends = ["cpu-usage"]\n'


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "agent.toml"
        write(path)
        (path.parent / "plugins.d").mkdir()
        (path.parent / "plugins.d" / "cpu-usage.toml").write_text(MANIFEST)
        yield path


def write(file: Path, socket: str = "broker.sock") -> None:
    file.write_text(
        '[server]\nurl = "http://127.0.0.1:1/message-system"\n'
        f'[broker]\nstate-dir = "state"\nsocket = "{socket}"\n[plugins]\nmanifests = "plugins.d"\n'
        '[supervisor]\nrestart-base = "0.1 s"\n'
    )


def start(file: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "fieldpost.agent.cli", "run", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_broker(file: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "fieldpost.agent.run", "broker", "--config", str(file)],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


def status_of(file: Path, within: float = PATIENCE) -> dict[str, object]:
    """The broker's status, once it is there."""
    deadline = time.monotonic() + within
    while True:
        try:
            with BrokerClient(file.parent / "broker.sock") as client:
                return client.status()
        except BrokerAway:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def stop(process: "subprocess.Popen[str]") -> str:
    """What it said, once it has ended."""
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    return errors


def test_a_run(file: Path) -> None:
    """It runs, is killed in part and heals, and ends completely when asked to."""
    process = start(file)
    first = status_of(file)
    os.kill(int(str(first["pid"])), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while (second := status_of(file))["pid"] == first["pid"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    errors = stop(process)

    assert second["pid"] != first["pid"]
    assert process.returncode == 0
    assert "broker ended by itself: signal SIGKILL; it is started again in" in errors
    assert "broker: " in errors
    assert "broker stopped" in errors
    assert "Traceback" not in errors
    assert processes_of(file.parent) == []


def test_supervisor_is_killed(file: Path) -> None:
    """When the supervisor itself is killed, broker and plugins end."""
    process = start(file)
    status_of(file)

    process.kill()
    process.communicate()

    deadline = time.monotonic() + PATIENCE
    while processes_of(file.parent):
        assert time.monotonic() < deadline, processes_of(file.parent)
        time.sleep(0.05)


def test_configuration_is_wrong(file: Path) -> None:
    """With a wrong configuration nothing is started; the exit code is 2."""
    file.write_text("[server]\nurl = 1\n")

    process = start(file)
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 2
    assert f"{file}:2: server.url" in errors


def test_second_broker(file: Path) -> None:
    """A second broker is told that there is one, and leaves it alone."""
    process = start(file)
    status_of(file)

    second = start_broker(file)

    assert second.returncode == 1
    assert "another broker, process" in second.stderr
    assert "Traceback" not in second.stderr
    assert status_of(file)["pid"] != 0
    stop(process)


@pytest.mark.parametrize(
    ("socket", "expected"),
    [("x" * 120, "and a socket's may have 107"), ("agent.toml", "something else has that name")],
)
def test_impossible_socket(file: Path, socket: str, expected: str) -> None:
    """A socket that cannot be is named with the reason."""
    write(file, socket)

    ended = start_broker(file)

    assert ended.returncode == 1
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr


def test_newer_store(file: Path) -> None:
    """A store of a newer version is left as it is; both versions are named."""
    process = start(file)
    status_of(file)
    stop(process)
    store = file.parent / "state" / "store.sqlite"
    raise_version(store)
    before = content_of(store)

    ended = start_broker(file)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "99" in ended.stderr
    assert content_of(store) == before


def raise_version(store: Path) -> None:
    """As a version of the future would leave it."""
    connection = sqlite3.connect(store)
    connection.executescript("UPDATE schema_version SET oldest_compatible = 99; PRAGMA user_version = 99;")
    connection.commit()
    connection.close()


def content_of(store: Path) -> list[str]:
    connection = sqlite3.connect(store)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
