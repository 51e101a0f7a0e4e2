"""
How many connections each address has open, so that none can take all of the places.

Counted is by origin: what one party can be taken to have. That is an IPv4 address, also where it comes in the form of IPv6; of
an IPv6 address it is the network of 64 bits, since whoever has one address of it has all the others. What comes over a socket
of this machine has no origin, and is not counted. Only origins that have a connection are remembered.
"""

from ipaddress import AddressValueError, IPv6Address, IPv6Network

from twisted.internet import address

_NETWORK_BITS = 64


class Crowd:
    """Counts connections; `most` are let in from one origin, any number when it is 0."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._present: dict[str, int] = {}

    def __len__(self) -> int:
        """Origins that are remembered."""
        return len(self._present)

    def enter(self, origin: str | None) -> bool:
        """Count one more; whether it may stay. Whoever enters has to leave, in any case."""
        if origin is None or not self.most:
            return True
        count = self._present.get(origin, 0) + 1
        self._present[origin] = count
        return count <= self.most

    def leave(self, origin: str | None) -> None:
        """Count one off that has entered."""
        if origin is None or not self.most:
            return
        count = self._present[origin] - 1
        if count:
            self._present[origin] = count
        else:
            del self._present[origin]


def origin_of(peer: object) -> str | None:
    """Of the address of a connection's other end, as Twisted has it; None for one of this machine's own sockets."""
    if isinstance(peer, address.IPv4Address):
        return str(peer.host)
    if not isinstance(peer, address.IPv6Address):
        return None
    try:
        found = IPv6Address(peer.host.partition("%")[0])
    except AddressValueError:
        return str(peer.host)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, _NETWORK_BITS), strict=False))
