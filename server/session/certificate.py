"""
TLS of sessions: the server's certificate for the TLS that begins inside, and what both ends can take from a channel.

A client may show a certificate too, in TLS outside or inside, when the settings name an authority for those. None has to,
but one that is shown must be good: with another the handshake ends.
"""

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from ...wire.session.proof import EXPORTER_LABEL, EXPORTER_OCTETS, key_name
from ..errors import StartFailed

_FOREIGN = "is not signed by an authority of `session.client-ca-file`"
_MOST_SUBJECT = 100


class Untaken(SSL.Error):
    """
    A client showed a certificate that is not taken; the text says why.

    It is an error of OpenSSL's kind, so that Twisted ends the connection with it as the reason, behind OpenSSL's own alert.
    """

    def __init__(self, text: str) -> None:
        super().__init__(
            [("fieldpost", "verify", text)]
        )  # in the form of OpenSSL's queue: Twisted looks into it
        self.text = text

    def __str__(self) -> str:
        return self.text


@implementer(IOpenSSLServerConnectionCreator)
class InsideTls:
    """What begins TLS as a server. `context` has the certificate."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A connection of ours for a protocol of Twisted's. Any: it is asked for nothing."""
        return SSL.Connection(self.context, None)


def inside_tls(certificate: Path, key: Path, client_ca: Path | None = None) -> InsideTls:
    """
    The TLS inside a session, from files in PEM.

    Raises StartFailed, naming the file.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _load_certificate(context, certificate)
    _load_key(context, key, certificate)
    if client_ca is not None:
        ask_for_certificates(context, client_ca)
    return InsideTls(context)


def _load_certificate(context: SSL.Context, path: Path) -> None:
    _read("certificate-file", path)
    try:
        context.use_certificate_chain_file(str(path))
    except SSL.Error:
        raise StartFailed(
            f"`session.certificate-file` {path} holds no certificate in PEM that can be read"
        ) from None


def _load_key(context: SSL.Context, path: Path, certificate: Path) -> None:
    octets = _read("key-file", path)
    try:
        load_pem_private_key(octets, password=None)
        context.use_privatekey_file(str(path))
        context.check_privatekey()
    except SSL.Error:
        cause = f"is not the key of {certificate}; name the two that belong together"
    except (TypeError, ValueError, UnsupportedAlgorithm):
        cause = "holds no key in PEM without a passphrase"
    else:
        return
    raise StartFailed(f"`session.key-file` {path} {cause}")


def ask_for_certificates(context: SSL.Context, client_ca: Path) -> None:
    """
    From now on, ask clients for a certificate of the authorities in a file in PEM; who shows none goes on without.

    Raises StartFailed, naming the file.
    """
    _read("client-ca-file", client_ca)
    try:
        context.load_verify_locations(str(client_ca))
        context.load_client_ca(str(client_ca).encode())
    except SSL.Error:
        raise StartFailed(f"`session.client-ca-file` {client_ca} holds no certificate in PEM") from None
    context.set_verify(SSL.VERIFY_PEER, _judge)


_CAUSES = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: _FOREIGN,
    20: _FOREIGN,
    21: _FOREIGN,
    24: "is signed by what is no authority",
    26: "is not made for clients",
}
"""What is wrong, by OpenSSL's codes (X509_STORE_CTX_get_error) that people meet."""


def _judge(connection: SSL.Connection, certificate: X509, code: int, depth: int, good: int) -> bool:
    """OpenSSL's question for each certificate of the chain; an exception becomes the handshake's own error."""
    if not good:
        raise Untaken(_explain(certificate, code, depth))
    return True


def _explain(certificate: X509, code: int, depth: int) -> str:
    whose = "its certificate" if depth == 0 else "an authority of its certificate"
    cause = _CAUSES.get(code, f"does not pass (OpenSSL's code {code})")
    return f"{whose} ({_subject_of(certificate)}) {cause}"


def _subject_of(certificate: X509) -> str:
    """As far as it can be told: it is a stranger's word."""
    try:
        return ascii(certificate.to_cryptography().subject.rfc4514_string()[:_MOST_SUBJECT])
    except Exception:  # noqa: BLE001 - whatever a parser says of it, the handshake ends as it would
        return "without a readable subject"


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(f"`session.{option}` {path} cannot be read: {reason}") from error


def exporter_of(tls: Any) -> bytes:
    """What only the two ends of this TLS channel know. Any: pyOpenSSL's connection, its handshake done."""
    found: bytes = tls.export_keying_material(EXPORTER_LABEL, EXPORTER_OCTETS, None)
    return found


def key_name_of(tls: Any) -> str | None:
    """The name of the key that the other end showed and holds; None when it showed none. Any: as above."""
    shown = tls.get_peer_certificate()
    if shown is None:
        return None
    public = shown.to_cryptography().public_key()
    return key_name(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
