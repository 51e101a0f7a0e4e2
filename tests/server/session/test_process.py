"""A real server on real sockets takes sessions with TLS outside, inside and on a UNIX socket, beside HTTP."""

import json
import socket
import ssl
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from fieldpost.wire.session.agreement import Closed, Opened, Refused
from fieldpost.wire.session.events import PeerClosed
from fieldpost.wire.session.opening import NoUpgrade, Upgraded
from tests.certificates import Authority
from tests.server.session.blocking import BlockingAgent
from tests.server.test_service import PATIENCE, ask, make_certificate, running, write_config
from tests.server.wired import client_payload, register_message

pytestmark = pytest.mark.process

PLAIN = "tcp:port=0:interface=127.0.0.1"
HEADERS = {"Authorization": "Bearer secret"}


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def get(port: int, path: str) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        return json.loads(ask(connection, "GET", path, None, HEADERS)[1])
    finally:
        connection.close()


def register(connection: socket.socket, name: str = "r-1", **ways: Any) -> dict[str, Any]:
    """Register over a session; what identifies the computer from now on."""
    agent = BlockingAgent(connection, **ways)
    agent.wait_for(Opened)
    welcome = agent.exchange(client_payload(messages=[register_message(name)])).messages[0]
    agent.close()
    return {"id": f"a:{welcome['insecure-id']}", "secret": welcome["id"]}


def config_with_certificate(folder: Path, more: str = "") -> Path:
    make_certificate(folder)
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/cert.pem"
    session = '[session]\ncertificate-file = "cert.pem"\nkey-file = "key.pem"\n'
    listen = f'["{PLAIN}", "{tls}", "unix:{folder}/s.sock"]'
    return write_config(folder, listen, session + more)


def test_every_cover(tmp_path: Path) -> None:
    """With TLS outside, TLS inside and on a UNIX socket an agent registers, comes back, and exchanges; HTTP works beside."""
    config = config_with_certificate(tmp_path)
    trusted = tmp_path / "cert.pem"

    with running(config) as (plain, secure, local):
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(local["path"])
        again = socket.socket(socket.AF_UNIX)
        again.connect(local["path"])
        covers: list[tuple[Any, Any, dict[str, Any]]] = [
            (dial(secure["port"]), dial(secure["port"]), {"outside": trusted}),
            (dial(plain["port"]), dial(plain["port"]), {"inside": trusted}),
            (unix, again, {}),
        ]
        for number, (first, second, ways) in enumerate(covers, 1):
            identity = register(first, f"r-{number}", **ways)
            agent = BlockingAgent(second, **ways, **identity)
            assert agent.wait_for(Opened).agreement.connection[1] == 1
            large = {"type": "a", "text": "x" * 300_000}
            assert agent.exchange(client_payload(sequence=1, messages=[large])).next_expected_sequence == 2
            session = get(plain["port"], f"/api/v1/computers/{number}")["session"]
            assert session["number"] == 1
            agent.close()
        messages = get(plain["port"], "/api/v1/messages")["messages"]
        assert [message["computer"] for message in messages] == [1, 2, 3]


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_http_alone_is_agreed_on(tmp_path: Path, enabled: str) -> None:
    """A client that would rather speak HTTP/2 gets HTTP/1.1, whether there are sessions or not."""
    make_certificate(tmp_path)
    listen = f'["ssl:port=0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"]'
    config = write_config(tmp_path, listen, f"[session]\nenabled = {enabled}\n")
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])

    with (
        running(config) as (secure,),
        context.wrap_socket(dial(secure["port"]), server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_nothing_plain(tmp_path: Path) -> None:
    """On a listener without TLS a session that wants none gets none."""
    config = config_with_certificate(tmp_path)

    with running(config) as (plain, _, _):
        agent = BlockingAgent(dial(plain["port"]))
        agent.close()

    assert isinstance(agent.outcome, NoUpgrade)


def test_wrong_secret_inside(tmp_path: Path) -> None:
    """Whoever does not know the computer's secret gets no session."""
    config = config_with_certificate(tmp_path)
    trusted = tmp_path / "cert.pem"

    with running(config) as (plain, _, _):
        identity = register(dial(plain["port"]), inside=trusted)
        agent = BlockingAgent(dial(plain["port"]), inside=trusted, id=identity["id"], secret=b"guess")
        refused = agent.wait_for(Refused)
        agent.close()

    assert refused.code == "proof"


@pytest.mark.conformance("F19")
def test_client_certificate(tmp_path: Path) -> None:
    """The key that an agent first shows beside its proof is its computer's; without it, or with another, there is no session."""
    authority = Authority()
    authority.write(tmp_path / "ca.pem")
    first = authority.issue("one").write(tmp_path / "one.pem")
    other = authority.issue("other").write(tmp_path / "other.pem")
    config = config_with_certificate(tmp_path, 'client-ca-file = "ca.pem"\n')
    trusted = tmp_path / "cert.pem"

    with running(config) as (plain, _, _):
        identity = register(dial(plain["port"]), inside=trusted)
        codes = []
        for life, client in enumerate((first, first, other, None)):
            agent = BlockingAgent(
                dial(plain["port"]),
                inside=trusted,
                client=client,
                incarnation=b"life-%03d" % life,
                **identity,
            )
            event = agent.wait_for((Opened, Refused))  # type: ignore[arg-type] # isinstance takes a tuple
            codes.append(getattr(event, "code", "open"))
            agent.close()

    assert codes == ["open", "open", "identity", "identity"]


def test_stop(tmp_path: Path) -> None:
    """A server that stops says goodbye to its agents with a time to come back, and does not wait for the slow."""
    config = config_with_certificate(tmp_path)
    trusted = tmp_path / "cert.pem"

    with running(config) as (plain, _, _):
        identity = register(dial(plain["port"]), inside=trusted)
        agent = BlockingAgent(dial(plain["port"]), inside=trusted, **identity)
        agent.wait_for(Opened)

    goodbye = agent.wait_for(PeerClosed)
    assert (goodbye.reason, 5 <= goodbye.retry_after <= 10) == (b"shutdown", True)
    agent.wait_for(Closed)
    agent.close()


def test_turned_off(tmp_path: Path) -> None:
    """Where sessions are turned off agents exchange by POST."""
    config = write_config(tmp_path, f'["{PLAIN}"]', "[session]\nenabled = false\nplain = true\n")

    with running(config) as (plain,):
        agent = BlockingAgent(dial(plain["port"]))
        agent.close()

    assert isinstance(agent.outcome, NoUpgrade)


def test_plain_switch(tmp_path: Path) -> None:
    """Settings may allow sessions without TLS, for a proxy that ends it."""
    config = write_config(tmp_path, f'["{PLAIN}"]', "[session]\nplain = true\n")

    with running(config) as (plain,):
        agent = BlockingAgent(dial(plain["port"]))
        assert isinstance(agent.outcome, Upgraded)
        agent.wait_for(Opened)
        agent.close()
