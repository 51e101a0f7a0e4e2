"""The server as a process: it starts and stops cleanly, and says why when it cannot start."""

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest

from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from tests.server.launched import TAIL_CHARACTERS, Launched
from tests.server.wired import client_payload, exchange_request, register_message

pytestmark = pytest.mark.process

PROGRAM = """
import sys
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from fieldpost.server.tap import Options, makeService

globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
options = Options()
options.parseOptions(["--config", sys.argv[1]])
service = makeService(options)
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""
"""What twistd does with a service."""
ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds after which a process hangs."""


def write_config(folder: Path, listen: str, more: str = "") -> Path:
    config = folder / "server.toml"
    config.write_text(
        f'[server]\nstate-dir = "state"\nlisten = {listen}\napi-token = "secret"\n'
        f'[account.open]\nregistration-key = "key"\nauto-accept = true\n{more}'
    )
    return config


def launch(config: Path) -> Launched:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return Launched([sys.executable, "-c", PROGRAM, str(config)], config.parent, env=environment)


@contextmanager
def running(config: Path) -> Iterator[list[dict[str, Any]]]:
    """A server, and the ports that it announces; it must stop cleanly when asked to."""
    process = launch(config)
    try:
        yield _ports(config.parent / "state" / "ports.json", process)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, ""), output
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _ports(file: Path, process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if file.exists():
            ports: list[dict[str, Any]] = json.loads(file.read_text())["ports"]
            return ports
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("the server announced no ports")


def ask(connection: HTTPConnection, *request: Any) -> tuple[HTTPResponse, bytes]:
    connection.request(*request)
    response = connection.getresponse()
    return response, response.read()


def refusal_of(config: Path) -> str:
    process = launch(config)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, (output, errors)
    assert "Traceback" not in output + errors
    return errors


def make_certificate(folder: Path) -> None:
    """A key and a certificate for localhost, by the tool that everybody has."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-days", "2"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_output_that_nobody_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A process may say as much as it likes; all of it is there afterwards, and its end is in the report of a test that fails."""
    program = (
        "import sys; sys.stdout.write('o' * 300_000 + 'end'); sys.stderr.write('e' * 300_000); sys.exit(3)"
    )

    process = Launched([sys.executable, "-c", program], tmp_path)

    assert process.wait(PATIENCE) == 3
    assert process.communicate() == ("o" * 300_000 + "end", "e" * 300_000)
    shown = capsys.readouterr().out
    assert "ended with 3" in shown
    assert "ooend\nee" in shown
    assert len(shown) < 2 * TAIL_CHARACTERS + 100


def test_life_of_a_server(tmp_path: Path) -> None:
    """Over TCP and TLS it takes exchanges and answers operators; what it took survives a restart."""
    make_certificate(tmp_path)
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"
    config = write_config(tmp_path, f'["tcp:port=0:interface=127.0.0.1", "{tls}"]')

    with running(config) as (plain, secure):
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        over_tls = HTTPSConnection("localhost", secure["port"], context=context, timeout=PATIENCE)
        _, body = ask(over_tls, *exchange_request(client_payload(messages=[register_message()])))
        secure_id = ServerPayload.from_map(cbor.decode(body)).messages[0]["id"]
        large = {"type": "a", "text": "x" * 500_000}
        payload = client_payload(sequence=1, messages=[large])
        response, body = ask(over_tls, *exchange_request(payload, secure_id))
        assert (response.status, response.headers["Server"]) == (200, "fieldpost")
        over_tls.close()

    assert not (tmp_path / "state" / "ports.json").exists()
    with running(config) as (plain, _):
        over_tcp = HTTPConnection("127.0.0.1", plain["port"], timeout=PATIENCE)
        token = {"Authorization": "Bearer secret"}
        _, body = ask(over_tcp, "GET", "/api/v1/messages", None, token)
        assert [message["body"] for message in json.loads(body)["messages"]] == [large]
        refused, body = ask(over_tcp, "POST", "/message-system", b"\0" * 30_000_001)
        assert refused.status == 413
        over_tcp.close()


def test_crowd_from_one_address(tmp_path: Path) -> None:
    """An address has its places, over TLS too, and its sockets of this machine do not count; whoever leaves makes room."""
    make_certificate(tmp_path)
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"
    listen = f'["tcp:port=0:interface=127.0.0.1", "{tls}", "unix:{tmp_path}/s.sock"]'
    config = write_config(tmp_path, listen, "[limits]\nconnections-per-address = 3\n")
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    with running(config) as (plain, secure, _):
        over_tls = HTTPSConnection("localhost", secure["port"], context=context, timeout=PATIENCE)
        held = [HTTPConnection("127.0.0.1", plain["port"], timeout=PATIENCE) for _ in range(2)]
        for connection in (over_tls, *held):
            assert ask(connection, "GET", "/healthz")[0].status == 200
        for _ in range(20):
            assert is_cut(plain["port"])
        with socket.socket(socket.AF_UNIX) as local:
            local.connect(f"{tmp_path}/s.sock")
            local.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert local.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(
            ("127.0.0.1", plain["port"]), timeout=PATIENCE, source_address=("127.0.0.2", 0)
        ) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert other.recv(12) == b"HTTP/1.1 200"
        over_tls.close()
        again = HTTPConnection("127.0.0.1", plain["port"], timeout=PATIENCE)
        assert until_answered(again).status == 200
        for connection in (*held, again):
            connection.close()


def is_cut(port: int) -> bool:
    """Whether the server ends a connection at once, without a word."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def until_answered(connection: HTTPConnection) -> HTTPResponse:
    """The server hears of the end of another connection a moment after its client."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            return ask(connection, "GET", "/healthz")[0]
        except (ConnectionError, RemoteDisconnected):
            connection.close()
            time.sleep(0.05)
    raise AssertionError("there was no room")


HEADS = (
    ("431", b"GET /healthz HTTP/1.1\r\nX: %s\r\n\r\n" % (b"y" * 60_000)),
    ("431", b"GET /healthz HTTP/1.1\r\n%s\r\n" % (b"X-Y: 12345\r\n" * 5_000)),
    ("431", b"POST /message-system%s HTTP/1.1\r\n\r\n" % (b"y" * 60_000)),
    ("400", b"GET /session/default HTTP/1.1\r\nX: %s\r\n\r\n" % (b"y" * 60_000)),
    ("400", b"GET /session/default HTTP/1.1\r\n%s\r\n" % (b"X-Y: 12345\r\n" * 5_000)),
)


def test_heads_too_long(tmp_path: Path) -> None:
    """Whoever sends one is answered, plain and under TLS, also when it sends more behind it before it reads."""
    make_certificate(tmp_path)
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"
    config = write_config(tmp_path, f'["tcp:port=0:interface=127.0.0.1", "{tls}"]')
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    with running(config) as (plain, secure), ExitStack() as stack:
        asked = [(plain, status, head + more) for status, head in HEADS for more in (b"", b"z" * 1_000_000)]
        asked += [(secure, status, head) for status, head in HEADS]
        sent = []
        for port, status, octets in asked:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port["port"]), PATIENCE))
            if port is secure:
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
            connection.sendall(octets)
            sent.append((connection, status))

        for connection, status in sent:
            answer = connection.makefile("rb").read()
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"\r\nConnection: close\r\n" in answer


def test_port_in_use(tmp_path: Path) -> None:
    """A port in use ends the start with a line that names it, even when another port was free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        listen = f'["tcp:port=0:interface=127.0.0.1", "tcp:port={port}:interface=127.0.0.1"]'
        errors = refusal_of(write_config(tmp_path, listen))

    assert f"fieldpost-server: cannot listen on port {port} of 127.0.0.1: address already in use" in errors


def test_database_of_a_newer_version(tmp_path: Path) -> None:
    """A database that only a newer program understands is left alone."""
    config = write_config(tmp_path, '["tcp:port=0:interface=127.0.0.1"]')
    with running(config):
        pass
    file = tmp_path / "state" / "server.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 77")
        connection.execute("UPDATE schema_version SET oldest_compatible = 70")
        before = list(connection.iterdump())
    connection.close()

    errors = refusal_of(config)

    assert "is of version 77" in errors
    assert "Install the newer program again" in errors
    connection = sqlite3.connect(file)
    assert list(connection.iterdump()) == before
    connection.close()


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """So is a file that is something else."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "server.sqlite").write_text("x" * 10_000)

    errors = refusal_of(write_config(tmp_path, '["tcp:port=0:interface=127.0.0.1"]'))

    assert "fieldpost-server: " in errors
    assert "server.sqlite" in errors


def test_wrong_configuration(tmp_path: Path) -> None:
    """All mistakes of a configuration are told at once, each with its line."""
    errors = refusal_of(write_config(tmp_path, "[]", "[limits]\nidel = 5\n"))

    assert "the configuration cannot be used" in errors
    assert "`listen` must name at least one endpoint" in errors
    assert "server.toml:9: limits.idel: there is no such option; did you mean `idle`?" in errors


def test_endpoint_that_is_none(tmp_path: Path) -> None:
    """Words that are no endpoint end the start."""
    assert "'tcpp:80' is no usable endpoint" in refusal_of(write_config(tmp_path, '["tcpp:80"]'))


def test_state_folder_that_cannot_be(tmp_path: Path) -> None:
    """A state folder that cannot be made ends the start."""
    (tmp_path / "state").write_text("a file")

    errors = refusal_of(write_config(tmp_path, '["tcp:port=0:interface=127.0.0.1"]'))

    assert "`state-dir`" in errors
    assert "cannot be made: file exists" in errors
