"""What carries a connection: TLS, a socket of this machine, or nothing that protects it."""

from enum import Enum
from typing import Any, cast

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport, ITransport


class Cover(Enum):
    """What protects the octets of a connection before anybody has asked for more."""

    TLS = "tls"
    LOCAL = "local"
    """A UNIX socket: they do not leave the machine."""
    NONE = "none"


@frozen(kw_only=True)
class Carrier:
    """A connection as the door sees it."""

    cover: Cover
    peer: str
    """Address of the other end, for the log and the operator."""


def carrier_of(transport: ITransport) -> Carrier:
    """What a transport is."""
    address = transport.getPeer()
    cover, peer = Cover.LOCAL, "a local client"
    if isinstance(address, (IPv4Address, IPv6Address)):
        cover, peer = Cover.NONE, f"{address.host} port {address.port}"
    return Carrier(cover=Cover.TLS if ISSLTransport.providedBy(transport) else cover, peer=peer)


def tls_of(transport: Any) -> Any:
    """
    pyOpenSSL's connection behind a transport whose TLS has been negotiated, or None. Any: both lack types.

    Under TLS, `getHandle` of a transport is that connection; otherwise it is the socket.
    """
    is_tls = ISSLTransport.providedBy(transport)
    return cast(Any, transport).getHandle() if is_tls else None
