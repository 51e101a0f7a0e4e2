"""A certificate authority to throw away, and certificates of it: good, expired, early, for other names."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@frozen(kw_only=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def pem(self) -> bytes:
        """Both in one, as servers want them."""
        return self.key + self.certificate

    def write(self, path: Path) -> Path:
        """Put both into a file."""
        path.write_bytes(self.pem)
        path.chmod(0o600)
        return path


class Authority:
    """Signs certificates for whoever asks."""

    def __init__(self, name: str = "Throw-away CA") -> None:
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(
            subject=self._name, key=self._key, names=(), lifetime=(-DAY, 30 * DAY), is_authority=True
        )

    def write(self, path: Path) -> Path:
        """Put the authority's own certificate into a CA file."""
        path.write_bytes(self.certificate)
        return path

    def issue(self, *names: str, begins: timedelta = -DAY, ends: timedelta = 30 * DAY) -> Issued:
        """A server's certificate for DNS names and IP addresses; its lifetime is relative to now."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            subject=_name(names[0]), key=key, names=names, lifetime=(begins, ends), is_authority=False
        )
        return Issued(
            certificate=certificate,
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _sign(
        self,
        *,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: tuple[str, ...],
        lifetime: tuple[timedelta, timedelta],
        is_authority: bool,
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + lifetime[0])
            .not_valid_after(now + lifetime[1])
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
