"""An operator's conversation with the broker, against scripted answers over a real socket."""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from fieldpost.agent.broker_client import BrokerAway, BrokerClient, BrokerRefused
from fieldpost.runtime.amp import Box, BoxReader, spread, write_box
from fieldpost.wire import cbor
from fieldpost.wire.local import MAX_BODY_OCTETS

WELCOME = {"version": 1, "accepted-types": [], "registered": True, "last-batch": 0}
Script = Callable[[Box], bytes]
"""From what was asked to the octets that go back; none closes the connection."""


def answer(box: Box, value: Any) -> bytes:
    return write_box(((b"_answer", box[b"_ask"]), *spread(cbor.encode(value))))


def error(box: Box, text: str) -> bytes:
    return write_box(
        ((b"_error", box[b"_ask"]), (b"_error_code", b"REFUSED"), (b"_error_description", text.encode()))
    )


class ScriptedBroker:
    """Listens, and answers each call as its script says."""

    def __init__(self, path: Path) -> None:
        self.script: Script = lambda box: b""
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with closing(connection), suppress(ConnectionError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        reader = BoxReader(max_octets=MAX_BODY_OCTETS)
        while octets := connection.recv(65_536):
            for box in reader.receive(octets):
                self.asked.append(box[b"_command"].decode())
                reply = self.script(box)
                if not reply:
                    return
                connection.sendall(reply)


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder) / "broker.sock"


@pytest.fixture
def broker(path: Path) -> Iterator[ScriptedBroker]:
    found = ScriptedBroker(path)
    yield found
    found.close()


def friendly(box: Box) -> bytes:
    values = {b"hello": WELCOME, b"status": {"status": {"version": "1"}}, b"exchange": {}}
    return answer(box, values[box[b"_command"]])


@pytest.mark.process
def test_status(path: Path, broker: ScriptedBroker) -> None:
    """The status is what the broker says; hello comes first."""
    broker.script = friendly

    with BrokerClient(path) as client:
        assert client.status() == {"version": "1"}
        client.exchange()

    assert broker.asked == ["hello", "status", "exchange"]


@pytest.mark.process
def test_large_status(path: Path, broker: ScriptedBroker) -> None:
    """A status of any length arrives whole; what the broker says to somebody else is passed over."""
    status = {"text": "x" * 300_000}

    def script(box: Box) -> bytes:
        if box[b"_command"] == b"hello":
            return friendly(box)
        return write_box(((b"_answer", b"ff"), (b"body", b"\xa0"))) + answer(box, {"status": status})

    broker.script = script

    with BrokerClient(path) as client:
        assert client.status() == status


@pytest.mark.parametrize("was_there", [False, True])
def test_nobody_there(path: Path, was_there: bool) -> None:
    """Without a broker, that is said, and what to do; nobody is sent to start what its supervisor is about to start again."""
    if was_there:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as left:
            left.bind(str(path))

    with pytest.raises(BrokerAway) as raised:
        BrokerClient(path)

    said = str(raised.value).partition(": ")[2]
    assert said.startswith(
        "it is not running. If it was, `fieldpost run` or systemd starts it again in a while"
    )
    assert said.endswith("else start it, or name its configuration with --config")


@pytest.mark.process
def test_refused(path: Path, broker: ScriptedBroker) -> None:
    """A refusal has the broker's own words."""
    broker.script = lambda box: error(box, "connect as root")

    with pytest.raises(BrokerRefused, match="connect as root"), BrokerClient(path):
        pass


@pytest.mark.process
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"", "it closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 70_000, "is no broker that this command understands"),
        (b"\x00\x07_answer\x00\x011\x00\x00", "`body` is missing"),
        (
            b"\x00\x07_answer\x00\x011\x00\x04body\x00\x01\xff\x00\x00",
            "is no broker that this command understands",
        ),
    ],
    ids=["nothing", "another protocol", "no body", "no CBOR"],
)
def test_garbage(path: Path, broker: ScriptedBroker, reply: bytes, expected: str) -> None:
    """Whatever listens there instead of a broker, the error is one for people."""
    broker.script = lambda box: reply

    with pytest.raises(BrokerAway, match=expected), BrokerClient(path):
        pass


@pytest.mark.process
def test_silence(path: Path, broker: ScriptedBroker) -> None:
    """A broker that never answers is not waited for for ever."""
    broker.script = lambda box: b"\x00"

    with pytest.raises(BrokerAway, match="it takes too long"), BrokerClient(path, timeout=0.1):
        pass
