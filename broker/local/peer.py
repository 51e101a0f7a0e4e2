"""Who is at the other end of a UNIX socket, as the kernel says."""

import struct
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Any

from attrs import frozen

from ..errors import BrokerError

_CREDENTIALS = struct.Struct("iII")


class PeerUnknown(BrokerError):
    """The kernel does not say whose process a connection belongs to; such a connection is not served."""


@frozen(kw_only=True)
class Peer:
    """The process that opened the connection, as it was then: it may have ended or changed its user since."""

    uid: int
    gid: int
    pid: int


def peer_of(transport: Any) -> Peer:  # Any: Twisted's interfaces do not promise `getHandle`
    """
    The credentials of a connection's peer.

    Raises PeerUnknown.
    """
    try:
        octets = transport.getHandle().getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    except (AttributeError, OSError) as error:
        raise PeerUnknown(
            f"no peer credentials ({error}); plugins connect to a UNIX socket, on Linux"
        ) from error
    pid, uid, gid = _CREDENTIALS.unpack(octets)
    return Peer(uid=uid, gid=gid, pid=pid)
