"""The throw-away authority of the demo."""

import ssl
import tempfile
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest

from fieldpost.agent.demo.certificates import Certificates, make_certificates

NAMES = ("localhost", IPv4Address("127.0.0.1"))


def talk(certificates: Certificates, name: str) -> None:
    """A TLS handshake in memory; raises what the client says of the server."""
    with tempfile.NamedTemporaryFile() as chain:
        chain.write(certificates.key + certificates.certificate)
        chain.flush()
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(chain.name)
    client_side = ssl.create_default_context(cadata=certificates.authority.decode())
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(one, two, server_hostname=name)
    server = server_side.wrap_bio(two, one, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    client.do_handshake()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_handshake(name: str) -> None:
    """A client that trusts the authority alone accepts the server under each of its names."""
    talk(make_certificates(NAMES), name)


def test_other_name() -> None:
    """Under another name the server is refused."""
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        talk(make_certificates(NAMES), "elsewhere")


def test_other_authority() -> None:
    """Another throw-away authority does not vouch for this server."""
    one, two = make_certificates(NAMES), make_certificates(NAMES)
    mixed = Certificates(authority=one.authority, certificate=two.certificate, key=two.key)

    with pytest.raises(ssl.SSLCertVerificationError):
        talk(mixed, "localhost")


def test_short_life() -> None:
    """A certificate that lay about for weeks is worth nothing."""
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        talk(make_certificates(NAMES, now=datetime(2024, 1, 1, tzinfo=UTC)), "localhost")


def test_key_is_not_shown() -> None:
    """The key does not slip into logs through the value's text."""
    assert "PRIVATE KEY" not in repr(make_certificates(NAMES))
