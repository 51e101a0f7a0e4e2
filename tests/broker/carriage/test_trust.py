"""Whom a TLS connection believes, with real certificates and real handshakes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL.crypto import FILETYPE_PEM, load_certificate
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from fieldpost.broker.carriage.transport import Answered, Unreachable
from fieldpost.broker.carriage.trust import Trust, TrustBroken, Untrusted, _check_names, _explain
from fieldpost.runtime.doors import returns_deferred

from ...certificates import DAY, Authority, Issued
from .peers import HOST, Web, a_request, a_transport, in_turn, listen, temporary

AUTHORITY = Authority()


def test_a_ca_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(TrustBroken, match="absent.pem cannot be read: No such file.*set `ca-file`"):
        Trust.in_file(str(tmp_path / "absent.pem"))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "holds no certificate in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----", "holds no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a broken certificate"),
    ],
)
def test_a_ca_file_without_certificates_is_named(tmp_path: Path, text: bytes, cause: str) -> None:
    """A key in its place, or a torn copy."""
    path = tmp_path / "ca.pem"
    path.write_bytes(text)

    with pytest.raises(TrustBroken, match=f"ca.pem {cause}"):
        Trust.in_file(str(path))


def test_unknown_causes_keep_openssls_number() -> None:
    """So that someone can look it up."""
    assert "OpenSSL's code 77" in _explain(77, 0, "")


def test_a_certificate_deeper_in_the_chain_is_told_from_the_servers() -> None:
    """The one to renew may not be the server's own."""
    assert _explain(10, 1, "").startswith("a certificate in the server's chain has expired; renew it")


def test_a_certificate_of_our_own_is_checked_when_it_is_read(tmp_path: Path) -> None:
    """Missing, broken, or with another's key: named, with what to do."""
    first, second = AUTHORITY.issue("agent-1"), AUTHORITY.issue("agent-2")
    for name, octets in (
        ("one.pem", first.certificate),
        ("one.key", first.key),
        ("two.key", second.key),
        ("broken.pem", b"x"),
    ):
        (tmp_path / name).write_bytes(octets)
    trust = Trust.in_system(environ={})

    trust.show(certificate=str(tmp_path / "one.pem"), key=str(tmp_path / "one.key"), to=["a.example"])
    for certificate, key, words in (
        ("absent.pem", "one.key", "absent.pem cannot be read: No such file.*`certificate-file`"),
        ("one.pem", "absent.key", "absent.key cannot be read"),
        ("broken.pem", "one.key", "are no certificate and its key"),
        ("one.pem", "two.key", "are no certificate and its key"),
    ):
        with pytest.raises(TrustBroken, match=words):
            trust.show(certificate=str(tmp_path / certificate), key=str(tmp_path / key), to=["a.example"])


class Unreadable:
    """A connection whose certificate breaks its parser."""

    def get_peer_certificate(self) -> Any:
        """As the real one."""
        raise ValueError("what a certificate")


def test_names_that_cannot_be_read_are_no_proof() -> None:
    """A parser's error about a stranger's certificate never lets it in."""
    connection: Any = Unreadable()

    with pytest.raises(
        Untrusted, match="cannot be read .ValueError.; give the server a certificate with a.example"
    ):
        _check_names(connection, "a.example")


class Greeting(Protocol):
    """Says something to the first octets that come, and closes."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        assert self.transport is not None
        self.transport.write(self._octets)
        self.transport.loseConnection()


@pytest.mark.process
class HandshakeTests(TestCase):
    """The transport meets servers with good and bad certificates."""

    def setUp(self) -> None:
        self.web = Web()
        self.ca_file = AUTHORITY.write(temporary(self) / "ca.pem")
        self.trust = Trust.in_file(str(self.ca_file))

    def serve(self, certificate: Issued, name: str = "localhost") -> str:
        """A server with that certificate; its URL."""
        return f"https://{name}:{listen(self, self.web, certificate)}"

    async def reason(self, url: str, trust: Trust | None = None) -> str:
        """Why there is no answer; the server has then got nothing of ours."""
        reply = await a_transport(self, url, trust=trust or self.trust).exchange(a_request())
        assert isinstance(reply, Unreachable), reply
        self.assertEqual([], self.web.seen)
        return reply.reason

    async def answered(self, url: str, trust: Trust) -> bool:
        """Whether it is all right."""
        return isinstance(await a_transport(self, url, trust=trust).exchange(a_request()), Answered)

    @returns_deferred
    async def test_a_certificate_of_the_authority_for_the_name_is_good(self) -> None:
        """By DNS name and by IP address."""
        certificate = AUTHORITY.issue("localhost", HOST)

        self.assertTrue(await self.answered(self.serve(certificate), self.trust))
        self.assertTrue(await self.answered(self.serve(certificate, HOST), self.trust))

    @returns_deferred
    async def test_a_certificate_for_other_names_is_refused(self) -> None:
        """Signed by the right authority, but for someone else."""
        for name in ("localhost", HOST):
            reason = await self.reason(self.serve(AUTHORITY.issue("other.example", "127.0.0.2"), name))

            self.assertIn(f"not for the name {name}; set `url` in [server]", reason)

    @returns_deferred
    async def test_an_expired_certificate_is_refused(self) -> None:
        """The reason also thinks of the clock."""
        reason = await self.reason(self.serve(AUTHORITY.issue("localhost", begins=-2 * DAY, ends=-DAY)))

        self.assertIn("the server's certificate has expired; renew it on the server, or set this", reason)

    @returns_deferred
    async def test_a_certificate_of_tomorrow_is_refused(self) -> None:
        """Most often the machine's clock is wrong."""
        reason = await self.reason(self.serve(AUTHORITY.issue("localhost", begins=timedelta(hours=1))))

        self.assertIn("the server's certificate is not valid yet; set this machine's clock", reason)

    @returns_deferred
    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        """The reason says which CA file does not know it."""
        reason = await self.reason(self.serve(Authority("Another CA").issue("localhost")))

        self.assertIn(f"not in the CA file {self.ca_file}; set `ca-file` in [server]", reason)

    @returns_deferred
    async def test_an_authority_that_was_made_anew_is_another_one(self) -> None:
        """It has the same name, but another key: the CA file here is the old one."""
        reason = await self.reason(self.serve(Authority().issue("localhost")))

        self.assertIn(
            f"another key than that of the authority of this name in the CA file {self.ca_file}", reason
        )

    @returns_deferred
    async def test_a_refusal_of_one_server_does_not_spoil_the_next(self) -> None:
        """All connections share what they trust in."""
        bad = self.serve(Authority().issue("localhost"))
        good = self.serve(AUTHORITY.issue("localhost"))

        await self.reason(bad)
        self.assertTrue(await self.answered(good, self.trust))

    @returns_deferred
    async def test_the_system_knows_no_throw_away_authority(self) -> None:
        """Without a CA file the system's authorities count."""
        for environ in ({}, {"SSL_CERT_DIR": "/"}):
            trust = Trust.in_system(environ=environ)
            reason = await self.reason(self.serve(AUTHORITY.issue("localhost")), trust)

            self.assertIn("not in the system's CA certificates; set `ca-file`", reason)

    @returns_deferred
    async def test_the_systems_authorities_are_found_by_their_hash(self) -> None:
        """In the folder where Debian keeps them."""
        folder = temporary(self)
        hashed = f"{_hash_of(AUTHORITY.certificate):08x}.0"
        AUTHORITY.write(folder / hashed)

        trust = Trust.in_system(environ={}, folder=folder)

        self.assertTrue(await self.answered(self.serve(AUTHORITY.issue("localhost")), trust))

    @returns_deferred
    async def test_without_such_a_folder_openssl_looks_for_itself(self) -> None:
        """An absent folder is no error."""
        trust = Trust.in_system(environ={}, folder=temporary(self) / "absent")

        self.assertIn(
            "the system's CA certificates", await self.reason(self.serve(AUTHORITY.issue("localhost")), trust)
        )

    @returns_deferred
    async def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate(self) -> None:
        """The port may be the wrong one."""
        for peer, cause in [
            (Greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "does not speak TLS at this port"),
            (Greeting(b""), "closed the connection when asked for TLS"),
        ]:
            reason = await self.reason(f"https://localhost:{listen(self, in_turn(peer))}")

            self.assertIn(f"{cause}; check the port of `url`", reason)


def _hash_of(pem: bytes) -> int:
    """The name under which OpenSSL looks for a certificate."""
    return int(load_certificate(FILETYPE_PEM, pem).subject_name_hash())
