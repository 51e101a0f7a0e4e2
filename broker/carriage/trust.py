"""
Whom a TLS connection believes.

Two checks stand between the first octet of a server and the first of ours. OpenSSL follows the server's certificate
to an authority that we trust: those of one file, or the system's. Then service-identity compares the names in the
certificate with the name in our configuration. Both end before the handshake does, so that nothing of ours is sent to
a stranger, and both say what was wrong in words: OpenSSL's own error is `certificate verify failed`, whatever the cause.

Who we are is shown the other way round by a certificate of our own, if there is one: to the hosts that the settings name
and to no other, wherever a redirect leads.

Twisted's ready-made options are not used, because where they check the name differs between its versions, and to add
an explanation one would have to replace, on some of them, the very callback that does it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from ..errors import BrokerError
from .address import is_ip

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs")
"""Where Debian keeps the system's authorities, each under its hash."""
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d\Z")


class TrustBroken(BrokerError):
    """The certificates to believe in cannot be read."""


class Untrusted(SSL.Error):
    """
    The server did not prove that it is the one we look for; the text names cause and next step.

    It is an error of OpenSSL's kind, so that Twisted ends the connection with it as the reason.
    """

    def __init__(self, text: str) -> None:
        super().__init__(
            [("fieldpost", "verify", text)]
        )  # in the form of OpenSSL's queue: Twisted looks into it
        self.text = text

    def __str__(self) -> str:
        return self.text


class Trust:
    """
    Makes the TLS side of connections; one for all of them, since it holds the authorities.

    `load` puts them into a context; it may raise TrustBroken.
    """

    def __init__(self, *, load: Callable[[SSL.Context], None], source: str) -> None:
        self._load = load
        self._source = source
        self._context = self._new_context()
        self._showing = self._context
        self._known: frozenset[str] = frozenset()

    def _new_context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        self._load(context)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_verify(SSL.VERIFY_PEER, self._judge)
        return context

    @classmethod
    def in_file(cls, path: str) -> "Trust":
        """
        Trust in the authorities of one PEM file, and in no others.

        Raises TrustBroken.
        """
        return cls(load=partial(_load_file, path=path), source=f"the CA file {path}")

    @classmethod
    def in_system(cls, *, environ: Mapping[str, str], folder: Path = SYSTEM_CERTIFICATES) -> "Trust":
        """
        Trust in the authorities of the machine; SSL_CERT_FILE and SSL_CERT_DIR have their usual meaning.

        A folder of hashed names is asked for the one authority that is needed. Loading the whole bundle, as OpenSSL
        does by default, would cost more than 1 MiB of memory for good.
        """

        def load(context: SSL.Context) -> None:
            if not environ.get("SSL_CERT_FILE") and not environ.get("SSL_CERT_DIR") and _is_hashed(folder):
                context.load_verify_locations(None, str(folder))
            else:
                context.set_default_verify_paths()

        return cls(load=load, source="the system's CA certificates")

    def show(self, *, certificate: str, key: str, to: Iterable[str]) -> None:
        """
        From now on, show this certificate of our own to these hosts if they ask for one; both are paths of PEM files.

        Raises TrustBroken.
        """
        context = self._new_context()
        try:
            for path in (certificate, key):
                Path(path).read_bytes()
            context.use_certificate_chain_file(certificate)
            context.use_privatekey_file(key)
            context.check_privatekey()
        except OSError as error:
            raise TrustBroken(
                f"the file {error.filename} cannot be read: {error.strerror}; set `certificate-file` and `key-file` in "
                "[server] to PEM files that the broker's user may read"
            ) from error
        except SSL.Error as error:
            raise TrustBroken(
                f"{certificate} and {key} are no certificate and its key in PEM form; set `certificate-file` and "
                "`key-file` in [server] to such a pair"
            ) from error
        self._showing, self._known = context, frozenset(to)

    def creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """What Twisted asks for the TLS side of connections to this host; `host` in ASCII."""
        context = self._showing if host in self._known else self._context
        creator: IOpenSSLClientConnectionCreator = _Creator(context=context, host=host)
        return creator

    def _judge(self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int) -> bool:
        """OpenSSL's question for each certificate of the chain; an exception becomes the handshake's own error."""
        if not ok:
            raise Untrusted(_explain(code, depth, self._source))
        return True


_NEXT_FILE = "set `ca-file` in [server] to the PEM file of the authority that signed the server's certificate"


def _load_file(context: SSL.Context, path: str) -> None:
    try:
        text = Path(path).read_bytes()
        if b"-----BEGIN CERTIFICATE-----" not in text:
            raise TrustBroken(f"the CA file {path} holds no certificate in PEM form; {_NEXT_FILE}")
        context.load_verify_locations(path)
    except OSError as error:
        raise TrustBroken(f"the CA file {path} cannot be read: {error.strerror}; {_NEXT_FILE}") from error
    except SSL.Error as error:
        raise TrustBroken(f"the CA file {path} holds a broken certificate; {_NEXT_FILE}") from error


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes connections to one host."""

    def __init__(self, *, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = _NamedConnection(self._context, None)
        connection.fieldpost_host = self._host
        if not is_ip(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


class _NamedConnection(SSL.Connection):
    """A connection whose handshake is done only when the certificate is for the host that was meant."""

    fieldpost_host: str

    def do_handshake(self) -> None:
        """Twisted calls this until it succeeds, and before that lets no octet of the application through."""
        super().do_handshake()
        _check_names(self, self.fieldpost_host)


def _check_names(connection: SSL.Connection, host: str) -> None:
    """Raises Untrusted."""
    try:
        (verify_ip_address if is_ip(host) else verify_hostname)(connection, host)
    except VerificationError as error:
        raise Untrusted(
            f"the server's certificate is not for the name {host}; set `url` in [server] to a name that it is for, "
            "or give the server a certificate for this one"
        ) from error
    except Exception as error:  # whatever a parser says of a stranger's certificate, it is no proof
        raise Untrusted(
            f"the names in the server's certificate cannot be read ({type(error).__name__}); give the server a "
            f"certificate with {host} as its subjectAltName"
        ) from error


def _is_hashed(folder: Path) -> bool:
    """Whether OpenSSL can find certificates by name in a folder."""
    try:
        return any(_HASHED_NAME.match(entry.name) for entry in folder.iterdir())
    except OSError:
        return False


_RENEW = "renew it on the server, or set this machine's clock if that is wrong"
_CLOCK = "set this machine's clock if that is wrong, or wait until the certificate's first day"
_REPLACE = "give the server another certificate"
_ISSUER = "set `ca-file` in [server] to the PEM file of the authority that signed it, or let the server send its whole chain"
_CAUSES = {
    7: ("is signed with another key than that of the authority of this name in {source}", _ISSUER),
    9: ("is not valid yet", _CLOCK),
    10: ("has expired", _RENEW),
    18: ("is signed by itself, not by an authority in {source}", _ISSUER),
    19: ("is signed by an authority that is not in {source}", _ISSUER),
    20: ("is signed by an authority that is not in {source}", _ISSUER),
    21: ("is signed by an authority that is not in {source}", _ISSUER),
    23: ("was revoked", _REPLACE),
    24: ("is no authority's, yet signs another", _REPLACE),
    26: ("is not made for servers", _REPLACE),
    66: ("has too weak a key", _REPLACE),
    67: ("has too weak a key", _REPLACE),
    68: ("has too weak a signature", _REPLACE),
}
"""Cause and next step of the codes of OpenSSL (X509_STORE_CTX_get_error) that people meet."""


def _explain(code: int, depth: int, source: str) -> str:
    cause, step = _CAUSES.get(code, ("does not pass (OpenSSL's code {code})", _REPLACE))
    whose = "the server's certificate" if depth == 0 else "a certificate in the server's chain"
    return f"{whose} {cause.format(source=source, code=code)}; {step}"
