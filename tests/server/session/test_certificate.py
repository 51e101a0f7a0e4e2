"""The TLS inside a session shows the server's certificate, knows the client's, and says what is wrong with the files."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from fieldpost.server.errors import StartFailed
from fieldpost.server.session.certificate import Untaken, _judge, exporter_of, inside_tls, key_name_of
from fieldpost.wire.session.proof import key_name
from tests.certificates import Authority, Issued

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("server.example")
CLIENT = AUTHORITY.issue("agent")


def write(folder: Path, issued: Issued = SERVER) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(issued.certificate)
    key.write_bytes(issued.key)
    return certificate, key


def shake_hands(tls: Any, folder: Path, client: Issued | None = None) -> tuple[Any, Any]:
    """Both ends of a TLS channel, in memory."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if client is not None:
        pem = client.write(folder / "client.pem")
        context.use_certificate_file(str(pem))
        context.use_privatekey_file(str(pem))
    ends = [SSL.Connection(context, None), tls.serverConnectionForTLS(None)]
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    for _ in range(4):
        for end, other in (ends, ends[::-1]):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(100_000))
    return ends[0], ends[1]


def test_exporter(tmp_path: Path) -> None:
    """Both ends know the same of their channel, and another of another channel."""
    tls = inside_tls(*write(tmp_path))

    one, other = (shake_hands(tls, tmp_path) for _ in range(2))

    assert exporter_of(one[0]) == exporter_of(one[1])
    assert exporter_of(one[0]) != exporter_of(other[0])
    assert len(exporter_of(one[0])) == 32


def test_client_without_certificate(tmp_path: Path) -> None:
    """Nobody has to show a certificate."""
    ca = AUTHORITY.write(tmp_path / "ca.pem")

    for tls in (inside_tls(*write(tmp_path)), inside_tls(*write(tmp_path), ca)):
        assert key_name_of(shake_hands(tls, tmp_path)[1]) is None


def test_client_with_certificate(tmp_path: Path) -> None:
    """The key that a client showed has its name."""
    tls = inside_tls(*write(tmp_path), AUTHORITY.write(tmp_path / "ca.pem"))

    _, server = shake_hands(tls, tmp_path, CLIENT)

    public = x509.load_pem_x509_certificate(CLIENT.certificate).public_key()
    octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_name_of(server) == key_name(octets)


def test_client_of_another_authority(tmp_path: Path) -> None:
    """A certificate that another authority made is none."""
    tls = inside_tls(*write(tmp_path), AUTHORITY.write(tmp_path / "ca.pem"))

    with pytest.raises(Untaken, match=r"its certificate \('CN=agent'\) is not signed by an authority of"):
        shake_hands(tls, tmp_path, Authority("Somebody else").issue("agent"))


def test_subject_that_cannot_be_read() -> None:
    """What a stranger writes into a certificate never hides what is wrong with it."""

    class Odd:
        def to_cryptography(self) -> Any:
            raise ValueError("what a certificate")

    odd: Any = Odd()
    for depth, whose in enumerate(("its certificate", "an authority of its certificate")):
        with pytest.raises(Untaken) as caught:
            _judge(odd, odd, 77, depth, 0)
        assert str(caught.value) == f"{whose} (without a readable subject) does not pass (OpenSSL's code 77)"


@pytest.mark.parametrize(
    ("name", "octets", "part"),
    [
        ("certificate.pem", b"x", "certificate-file"),
        ("certificate.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate-file"),
        ("key.pem", b"x", "key-file"),
        ("key.pem", CLIENT.key, "is not the key of"),
        ("ca.pem", b"x", "client-ca-file"),
        ("certificate.pem", None, "cannot be read: no such file"),
    ],
    ids=range(6),
)  # fmt: skip
def test_mistakes(tmp_path: Path, name: str, octets: bytes | None, part: str) -> None:
    """What is wrong with a file is said with its option and its name."""
    files = (*write(tmp_path), AUTHORITY.write(tmp_path / "ca.pem"))
    (tmp_path / name).unlink()
    if octets is not None:
        (tmp_path / name).write_bytes(octets)

    with pytest.raises(StartFailed) as caught:
        inside_tls(*files)

    assert part in str(caught.value)
    assert "session." in str(caught.value)
