"""Where the server is, and which other place may have what is meant for it."""

import re
from urllib.parse import urljoin, urlsplit

from attrs import evolve, frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address

from ...wire.http import EXCHANGE_PATH
from ..errors import BrokerError
from .wording import printable

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9.])?\Z")
_TARGET = re.compile(r"/[\x21-\x7e]*\Z")


class AddressInvalid(BrokerError):
    """A URL that leads nowhere we can go."""


@frozen(kw_only=True)
class Address:
    """A URL of HTTP, taken apart: `host` in ASCII, lower case and without brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises AddressInvalid."""
        try:
            parts = urlsplit(url)
            host, port = _ascii_host(parts.hostname or ""), parts.port
        except ValueError as error:
            raise AddressInvalid(f"{_shown(url)} is no URL ({printable(str(error))}); {_NEXT}") from error
        if parts.scheme not in _PORTS:
            raise AddressInvalid(f"{_shown(url)} does not start with https:// or http://; {_NEXT}")
        if parts.username is not None or parts.password is not None:
            raise AddressInvalid(f"{_shown(url)} holds a user or a password, which have no use here; {_NEXT}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _TARGET.match(target):
            raise AddressInvalid(f"the path of {_shown(url)} must be percent-encoded; {_NEXT}")
        return cls(
            scheme=parts.scheme,
            host=host,
            port=_PORTS[parts.scheme] if port is None else port,
            target=target,
        )

    @classmethod
    def of_server(cls, url: str) -> "Address":
        """The address of exchanges: as configured, or with the usual path when the URL has none."""
        address = cls.parse(url.strip())
        return evolve(address, target=EXCHANGE_PATH) if address.target == "/" else address

    @property
    def is_secure(self) -> bool:
        """Whether TLS goes there."""
        return self.scheme == "https"

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return is_ip(self.host)

    @property
    def authority(self) -> str:
        """Host and port, as in the request of a tunnel."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_line(self) -> str:
        """What a request says under `Host`: the port only where it is not the usual one."""
        usual = self.port == _PORTS[self.scheme]
        return self.authority.rpartition(":")[0] if usual else self.authority

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def join(self, location: str) -> "Address":
        """
        Where a `Location` of this place's answer leads.

        Raises AddressInvalid.
        """
        try:
            return Address.parse(urljoin(str(self), location))
        except ValueError as error:
            raise AddressInvalid(f"{_shown(location)} is no URL ({printable(str(error))})") from error

    def may_become(self, other: "Address") -> bool:
        """Whether the same party answers there, so that it may have the identity too."""
        if self.host != other.host:
            return False
        if self.scheme == other.scheme:
            return self.port == other.port
        return other.is_secure


_NEXT = "write it as in https://fieldpost.example.com/message-system"


def is_ip(host: str) -> bool:
    """Whether this is an IP address of either version, not a name."""
    return isIPAddress(host) or isIPv6Address(host)


def _ascii_host(host: str) -> str:
    """Raises ValueError for what is no host name."""
    if isIPv6Address(host) and "%" not in host:
        return host
    name = host if host.isascii() else host.encode("idna").decode("ascii")
    if not _HOST.match(name):
        raise ValueError("a host name is missing or is none")
    return name


def _shown(url: str) -> str:
    """The URL without what may be secret in it."""
    scheme, slashes, rest = url.partition("//")
    authority, slash, path = rest.partition("/")
    return repr(printable(scheme + slashes + authority.rpartition("@")[2] + slash + path.partition("?")[0]))
