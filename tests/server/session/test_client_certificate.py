"""Agents show certificates of their own to a real server, in TLS outside, on a port where others show none."""

import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.session.agreement import Opened, Refused
from fieldpost.wire.session.proof import key_name
from tests.certificates import DAY, Authority, Issued
from tests.proxies import Haproxy, Passage, needs_proxies
from tests.server.session.blocking import BlockingAgent
from tests.server.session.test_process import HEADERS, dial, register
from tests.server.test_service import (
    PATIENCE,
    _ports,
    ask,
    launch,
    make_certificate,
    refusal_of,
    running,
    write_config,
)
from tests.server.wired import client_payload, exchange_request

pytestmark = pytest.mark.process

FLEET = Authority("The fleet")
ONE, OTHER = FLEET.issue("one"), FLEET.issue("other")
FOREIGN = Authority("Somebody else").issue("stranger")
EXPIRED = FLEET.issue("old", begins=-2 * DAY, ends=-DAY)


def config_of(folder: Path, more: str = "", other: str = "") -> Path:
    """A server that asks for certificates of the fleet on its one endpoint, or the last."""
    make_certificate(folder)
    FLEET.write(folder / "fleet.pem")
    tls = f"ssl:port=0:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/cert.pem"
    return write_config(folder, f'[{other}"{tls}"]', f'[session]\nclient-ca-file = "fleet.pem"\n{more}')


@contextmanager
def heard(config: Path) -> Iterator[tuple[int, list[str]]]:
    """A server's port, and what it has logged once it has ended."""
    process, lines = launch(config), list[str]()
    try:
        yield _ports(config.parent / "state" / "ports.json", process)[0]["port"], lines
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, ""), output
        lines += output.splitlines()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def outcome(port: int, folder: Path, client: Issued | None, identity: dict[str, Any], life: int = 0) -> str:
    """How an agent fares that asks for a session: `open`, or the code with which it is refused."""
    shown = None if client is None else client.write(folder / "shown.pem")
    agent = BlockingAgent(
        dial(port), outside=folder / "cert.pem", client=shown, incarnation=b"life-%03d" % life, **identity
    )
    event = agent.wait_for((Opened, Refused))  # type: ignore[arg-type] # isinstance takes a tuple
    agent.close()
    code: str = getattr(event, "code", "open")
    return code


def https(port: int, folder: Path, client: Issued | None = None) -> HTTPSConnection:
    """Somebody who speaks HTTP."""
    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    if client is not None:
        context.load_cert_chain(client.write(folder / "https.pem"))
    return HTTPSConnection("localhost", port, context=context, timeout=PATIENCE)


def get(port: int, folder: Path, path: str) -> Any:
    """From the API, without a certificate."""
    connection = https(port, folder)
    try:
        return json.loads(ask(connection, "GET", path, None, HEADERS)[1])
    finally:
        connection.close()


def name_of(issued: Issued) -> str:
    """Of its key."""
    public = x509.load_pem_x509_certificate(issued.certificate).public_key()
    return key_name(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.conformance("F19")
def test_the_first_key_is_bound(tmp_path: Path) -> None:
    """The key that an agent first shows beside its proof is its computer's; without it, or with another, there is no session."""
    with running(config_of(tmp_path)) as (secure,):
        identity = register(dial(secure["port"]), outside=tmp_path / "cert.pem")
        shown = (None, ONE, ONE, OTHER, None, ONE)
        codes = [
            outcome(secure["port"], tmp_path, client, identity, life) for life, client in enumerate(shown)
        ]

    assert codes == ["open", "open", "open", "identity", "identity", "open"]


def test_a_bound_key_is_proof_enough(tmp_path: Path) -> None:
    """An id that is its name needs no secret; nobody else's certificate stands for it."""
    with running(config_of(tmp_path)) as (secure,):
        identity = register(dial(secure["port"]), outside=tmp_path / "cert.pem")
        outcome(secure["port"], tmp_path, ONE, identity)
        by_key = {"id": f"a:{name_of(ONE)}"}
        codes = [
            outcome(secure["port"], tmp_path, client, by_key, life)
            for life, client in enumerate((ONE, OTHER, None), 1)
        ]

    assert codes == ["open", "proof", "proof"]


def test_a_key_of_another_computer(tmp_path: Path) -> None:
    """One key is one computer's: another that shows it is refused with the cause, until the first is none any more."""
    with heard(config_of(tmp_path)) as (port, lines):
        one, other = (register(dial(port), name, outside=tmp_path / "cert.pem") for name in ("r-1", "r-2"))
        codes = [outcome(port, tmp_path, ONE, identity) for identity in (one, other, one)]
        connection = https(port, tmp_path)
        reject = (json.dumps({"action": "reject"}), {**HEADERS, "Content-Type": "application/json"})
        assert ask(connection, "POST", "/api/v1/computers/1", *reject)[0].status == 200
        connection.close()
        codes += [outcome(port, tmp_path, ONE, identity, 1) for identity in (other, one)]

    assert codes == ["open", "identity", "open", "open", "identity"]
    assert [
        line for line in lines if "the key that a:2 shows belongs to computer 1: give this machine" in line
    ]
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("client", "alert", "cause"),
    [
        (FOREIGN, "unknown ca", "('CN=stranger') is not signed by an authority of `session.client-ca-file`"),
        (EXPIRED, "certificate expired", "('CN=old') has expired"),
    ],
    ids=["foreign", "expired"],
)  # fmt: skip
def test_a_bad_certificate(
    tmp_path: Path, client: Issued, alert: str, cause: str, version: ssl.TLSVersion
) -> None:
    """Its owner is told by an alert of TLS, the operator by one line; who shows none is served as ever."""
    with heard(config_of(tmp_path)) as (port, lines):
        connection = https(port, tmp_path, client)
        connection._context.maximum_version = version  # type: ignore[attr-defined] # typeshed leaves it out
        with pytest.raises(ssl.SSLError) as caught:
            ask(connection, "GET", "/api/v1/computers", None, HEADERS)
        connection.close()
        assert get(port, tmp_path, "/api/v1/computers")["computers"] == []

    assert alert in str(caught.value).lower().replace("_", " ")
    (line,) = [line for line in lines if "certificate" in line]
    assert f"is turned away: its certificate {cause}" in line
    assert not [line for line in lines if "Traceback" in line]


def test_posts_and_operators_need_none(tmp_path: Path) -> None:
    """Exchanges by POST and the API go on without a certificate, and with one, also of a computer that is bound."""
    with running(config_of(tmp_path)) as (secure,):
        port = secure["port"]
        identity = register(dial(port), outside=tmp_path / "cert.pem")
        outcome(port, tmp_path, ONE, identity)
        for sequence, client in enumerate((None, ONE), 1):
            connection = https(port, tmp_path, client)
            payload = client_payload(sequence=sequence, messages=[{"type": "a"}])
            _, body = ask(connection, *exchange_request(payload, identity["secret"]))
            connection.close()
            assert ServerPayload.from_map(cbor.decode(body)).next_expected_sequence == sequence + 1
        assert len(get(port, tmp_path, "/api/v1/messages")["messages"]) == 2


def test_a_client_that_would_resume(tmp_path: Path) -> None:
    """Old TLS sessions are not taken up again; whoever asks for that shakes hands in full, and is served."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_file(str(ONE.write(tmp_path / "one.pem")))
    context.use_privatekey_file(str(tmp_path / "one.pem"))

    with running(config_of(tmp_path)) as (secure,):
        before = None
        for _ in range(2):
            plain = dial(secure["port"])
            plain.setblocking(True)
            connection = SSL.Connection(context, plain)
            if before is not None:
                connection.set_session(before)
            connection.set_connect_state()
            connection.do_handshake()
            before = connection.get_session()
            connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            connection.close()


@needs_proxies
def test_what_passes_octets_on_hides_nothing(tmp_path: Path) -> None:
    """A proxy that leaves TLS alone lets the certificate through."""
    with running(config_of(tmp_path)) as (secure,):
        passage = Passage(upstream=secure["port"], is_blind=True)
        with Haproxy(tmp_path, passage) as proxy:
            identity = register(dial(proxy.port), outside=tmp_path / "cert.pem")
            codes = [
                outcome(proxy.port, tmp_path, client, identity, life)
                for life, client in enumerate((ONE, OTHER, ONE))
            ]

    assert codes == ["open", "identity", "open"]


@needs_proxies
def test_what_ends_tls_hides_it(tmp_path: Path) -> None:
    """Behind a proxy that ends TLS the secret is the proof; a computer that is bound gets no session there."""
    behind = 'tcp:port=0:interface=127.0.0.1", '
    config = config_of(tmp_path, "plain = true\n", f'"{behind}')
    inner = Authority("The proxy's")
    (tmp_path / "proxied").mkdir()
    inner.write(tmp_path / "proxied" / "cert.pem")

    with running(config) as (plain, secure):
        passage = Passage(upstream=plain["port"], certificate=inner.issue("localhost"))
        with Haproxy(tmp_path, passage) as proxy:
            identity = register(dial(proxy.port), outside=tmp_path / "proxied" / "cert.pem")
            codes = [
                outcome(port, folder, ONE, identity, life)
                for life, (port, folder) in enumerate(
                    [(proxy.port, tmp_path / "proxied"), (secure["port"], tmp_path)] * 2
                )
            ]

    assert codes == ["open", "open", "identity", "open"]


@pytest.mark.parametrize("octets", [None, b"x"])
def test_an_authority_that_cannot_be_read(tmp_path: Path, octets: bytes | None) -> None:
    """The server does not start without it: it would take computers' keys for missing."""
    config = config_of(tmp_path)
    (tmp_path / "fleet.pem").unlink()
    if octets is not None:
        (tmp_path / "fleet.pem").write_bytes(octets)

    assert f"fieldpost-server: `session.client-ca-file` {tmp_path}/fleet.pem" in refusal_of(config)
