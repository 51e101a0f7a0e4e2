"""
The TLS that begins inside a session: the server's certificate, and what both ends can take from the channel.

A client may show a certificate too, when the settings name an authority for those. None has to.
"""

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from ...wire.session.proof import EXPORTER_LABEL, EXPORTER_OCTETS, key_name
from ..errors import StartFailed


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
        _ask_for_certificates(context, client_ca)
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


def _ask_for_certificates(context: SSL.Context, client_ca: Path) -> None:
    _read("client-ca-file", client_ca)
    try:
        context.load_verify_locations(str(client_ca))
        context.load_client_ca(str(client_ca).encode())
    except SSL.Error:
        raise StartFailed(f"`session.client-ca-file` {client_ca} holds no certificate in PEM") from None
    context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, good: bool(good))


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
