"""The client of the server's API, against a server in a thread."""

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fieldpost.agent.demo.api_client import ApiAway, ApiClient, ApiRefused
from fieldpost.agent.demo.certificates import make_certificates

pytestmark = pytest.mark.process


class ScriptedServer(ThreadingHTTPServer):
    """Answers every request with the same status and octets, and keeps what was asked."""

    daemon_threads = True

    def __init__(self, chain: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.status = 200
        self.octets = b"{}"
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.keys: list[str | None] = []


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, self.headers["Authorization"], body))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.octets)))
        self.end_headers()
        self.wfile.write(self.server.octets)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        certificates = make_certificates((IPv4Address("127.0.0.1"),))
        (Path(path) / "chain.pem").write_bytes(certificates.key + certificates.certificate)
        (Path(path) / "ca.pem").write_bytes(certificates.authority)
        yield Path(path)


@pytest.fixture
def server(folder: Path) -> Iterator[ScriptedServer]:
    found = ScriptedServer(folder / "chain.pem")
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def client(server: ScriptedServer, folder: Path) -> Iterator[ApiClient]:
    found = ApiClient(
        host="127.0.0.1", port=server.server_port, token="s3cret", ca_file=folder / "ca.pem", timeout=120
    )
    yield found
    found.close()


def test_messages(server: ScriptedServer, client: ApiClient) -> None:
    """Messages come with the cursor behind them; the token goes along."""
    server.octets = json.dumps({"messages": [{"id": 7}], "next": 7}).encode()

    assert client.messages(3) == ([{"id": 7}], 7)
    assert server.asked == [("GET", "/api/v1/messages?after=3&limit=1000", "Bearer s3cret", b"")]


def test_operation(server: ScriptedServer, client: ApiClient) -> None:
    """An operation is asked for as JSON, under its key, over the connection that is there."""
    server.octets = b'{"id": 1}'

    assert client.add_operation(computer=2, type="t", fields={"x": 1}, key="k") == {"id": 1}
    assert client.operation(1) == {"id": 1}
    assert json.loads(server.asked[0][-1]) == {
        "computer": 2,
        "type": "t",
        "fields": {"x": 1},
    }
    assert server.keys == ["k", None]


def test_refused(server: ScriptedServer, client: ApiClient) -> None:
    """An error has the server's words."""
    server.status, server.octets = 403, b'{"error": "wrong token"}'

    with pytest.raises(ApiRefused, match="403 wrong token") as raised:
        client.computers()
    assert raised.value.status == 403


@pytest.mark.parametrize("octets", [b"", b"<html>", b"[]", b"\xff"])
def test_garbage(server: ScriptedServer, client: ApiClient, octets: bytes) -> None:
    """What is no answer of ours is an error for people."""
    server.octets = octets

    with pytest.raises((ApiAway, ApiRefused)):
        client.computers()


def test_comes_back(server: ScriptedServer, client: ApiClient) -> None:
    """After an error the same client goes on."""
    server.octets = b"<html>"
    with pytest.raises(ApiAway):
        client.computers()

    server.octets = b'{"computers": []}'
    assert client.computers() == []


def test_nobody_there(folder: Path) -> None:
    """A server that is away is named with its address."""
    client = ApiClient(host="127.0.0.1", port=1, token="", ca_file=folder / "ca.pem", timeout=1)

    with pytest.raises(ApiAway, match="https://127.0.0.1:1 does not answer"):
        client.computers()


def test_stranger(server: ScriptedServer, folder: Path) -> None:
    """A server that another authority vouches for is not spoken to."""
    (folder / "other.pem").write_bytes(make_certificates(("a",)).authority)
    client = ApiClient(
        host="127.0.0.1", port=server.server_port, token="s3cret", ca_file=folder / "other.pem"
    )

    with pytest.raises(ApiAway, match="certificate verify failed"):
        client.computers()
    assert server.asked == []
