"""
Proxies: which one an address needs, and the tunnel through it.

Plain HTTP goes to the proxy as a request for the whole URL; the HTTP client does that. For HTTPS the proxy is asked
to connect us through (CONNECT, RFC 9110, 9.3.6), and TLS with the server begins inside. Either way the connection to
the proxy itself is plain TCP, and credentials, if any, go in the Basic scheme.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import cast
from urllib.parse import unquote, urlsplit

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ...runtime.doors import returns_deferred
from ..errors import BrokerError
from .address import Address, AddressInvalid
from .wording import printable_octets

LOCAL = ("localhost", "127.0.0.0/8", "::1")
"""What a proxy of the environment is never asked for: it would not find this machine."""
NO_PROXY_AT_ALL = ("", "none")
"""Values of the setting `proxy` that switch off what the environment says."""


class ProxyInvalid(BrokerError):
    """A proxy setting, of the configuration or the environment, that cannot be used."""


class ProxyRefused(BrokerError):
    """The proxy answered, and does not let us through."""


@frozen(kw_only=True)
class Proxy:
    """A proxy; `authorization` is the value of the header that shows who asks."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, *, source: str) -> "Proxy":
        """
        The proxy of `http://user:password@host:port`; `source` is the setting's name.

        Raises ProxyInvalid.
        """
        text = url.strip() if "://" in url else f"http://{url.strip()}"
        scheme = text.partition("://")[0].lower()
        if scheme != "http":
            raise ProxyInvalid(f"{source}: a proxy of the kind {scheme}:// is not supported; {_NEXT}")
        try:
            address = Address.parse("http://" + text.partition("://")[2].rpartition("@")[2])
            parts = urlsplit(text)
        except (AddressInvalid, ValueError) as error:
            raise ProxyInvalid(f"{source} names no proxy that can be reached; {_NEXT}") from error
        return cls(host=address.host, port=address.port, authorization=_basic(parts.username, parts.password))

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"


_NEXT = "write it as in http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128"


def _basic(user: str | None, password: str | None) -> bytes | None:
    """The value of Proxy-Authorization."""
    if user is None:
        return None
    return b"Basic " + b64encode(f"{unquote(user)}:{unquote(password or '')}".encode())


@frozen(kw_only=True)
class Proxies:
    """The proxy for each scheme, and the hosts that are reached without."""

    http: Proxy | None = None
    https: Proxy | None = None
    direct: tuple[str, ...] = ()

    @classmethod
    def chosen(
        cls, *, proxy: str | None, no_proxy: Iterable[str] | None, environ: Mapping[str, str]
    ) -> "Proxies":
        """
        What the configuration says, and for what it leaves open (None) the environment.

        HTTP_PROXY in capitals is not read: in a CGI program's environment a stranger can set it.

        Raises ProxyInvalid.
        """
        exempt = tuple(_listed(environ, "no_proxy") if no_proxy is None else no_proxy)
        if proxy is not None:
            found = (
                None if proxy.strip() in NO_PROXY_AT_ALL else Proxy.parse(proxy, source="`proxy` in [server]")
            )
            return cls(http=found, https=found, direct=exempt)
        return cls(
            http=_from(environ, "http_proxy"),
            https=_from(environ, "https_proxy", "HTTPS_PROXY"),
            direct=exempt + LOCAL,
        )

    def for_address(self, address: Address) -> Proxy | None:
        """The proxy to go through, or None for the direct way."""
        proxy = self.https if address.is_secure else self.http
        if proxy is None or any(_covers(entry.strip().lower(), address) for entry in self.direct):
            return None
        return proxy


def _from(environ: Mapping[str, str], *names: str) -> Proxy | None:
    """The proxy of the first of these variables that is set."""
    for name in names:
        if value := environ.get(name, "").strip():
            return Proxy.parse(value, source=f"the environment's {name}")
    return None


def _listed(environ: Mapping[str, str], name: str) -> list[str]:
    return re.split(r"[\s,]+", environ.get(name) or environ.get(name.upper()) or "")


def _covers(entry: str, address: Address) -> bool:
    """Whether an entry of no_proxy means this address: `*`, a name and what is below it, an address, a network, with a port."""
    if entry in ("", "*"):
        return entry == "*"
    host, port = _parted(entry)
    if port is not None and port != address.port:
        return False
    if address.is_literal:
        return _contains(host, address.host)
    name, wanted = address.host.rstrip("."), host.strip(".").removeprefix("*.")
    return name == wanted or name.endswith("." + wanted)


def _parted(entry: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `::1`, `[::1]` or `[::1]:port`."""
    if match := re.fullmatch(r"\[([^]]*)\](?::(\d{1,5}))?|([^:]+):(\d{1,5})", entry):
        port = match[2] or match[4]
        return match[1] or match[3], int(port) if port else None
    return entry, None


def _contains(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def explain_refusal(
    proxy: Proxy, *, status: int, phrase: str, schemes: Iterable[str], target: str
) -> ProxyRefused:
    """What the proxy's refusal to reach the target means, and what to do."""
    said = f"{proxy} answered {status} {phrase}".rstrip()
    asks = status in (401, 407)  # 401 is wrong here, but some proxies say it
    if asks and not any(scheme.lower().startswith("basic") for scheme in schemes):
        step = "it asks for a kind of login that is not supported here; let it accept Basic, or this machine without login"
    elif asks and proxy.authorization is None:
        step = "it wants a login: write the proxy as http://user:password@host:port"
    elif asks:
        step = "it does not take our login: check user and password of the proxy"
    elif status >= 500:
        step = f"it does not reach {target}: check that the server runs and that the proxy may reach it"
    else:
        step = f"it does not let us reach {target}: let it permit that host and port, or name another proxy"
    return ProxyRefused(f"{said}; {step}")


MAX_HEAD_OCTETS = 16_384
"""Longest answer to CONNECT."""
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_SCHEMES = re.compile(rb"^(?:proxy|www)-authenticate:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"\r?\n\r?\n")


@implementer(IStreamClientEndpoint)
class Tunnel:
    """
    An endpoint that leads through a proxy to an address.

    It connects a factory's protocol once the proxy has agreed, and fails with ProxyRefused, or with whatever the
    endpoint of the proxy fails with.
    """

    def __init__(self, *, endpoint: IStreamClientEndpoint, proxy: Proxy, address: Address) -> None:
        self._endpoint = endpoint
        self._proxy = proxy
        self._address = address

    @returns_deferred
    async def connect(self, protocolFactory: IProtocolFactory) -> IProtocol:
        """See IStreamClientEndpoint."""
        factory = _OpeningFactory(proxy=self._proxy, address=self._address, inner=protocolFactory)
        opening = cast(_Opening, await self._endpoint.connect(factory))
        return await opening.opened


class _OpeningFactory(Factory):
    """Makes the protocol for each connection that the endpoint tries."""

    noisy = False

    def __init__(self, *, proxy: Proxy, address: Address, inner: IProtocolFactory) -> None:
        self._proxy = proxy
        self._target = address.authority
        self._inner = inner

    def buildProtocol(self, addr: "IAddress | None") -> "_Opening":
        """See IProtocolFactory."""
        return _Opening(
            proxy=self._proxy,
            target=self._target,
            build=lambda: self._inner.buildProtocol(cast(IAddress, addr)),
        )


class _Opening(Protocol):
    """Asks for the tunnel; once it is open, hands everything to the protocol inside."""

    transport: ITCPTransport

    def __init__(self, *, proxy: Proxy, target: str, build: "Callable[[], IProtocol | None]") -> None:
        self._proxy = proxy
        self._target = target
        self._build = build
        self._head = b""
        self._inner: IProtocol | None = None
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._end(CancelledError()))

    def connectionMade(self) -> None:
        """See Protocol."""
        lines = [f"CONNECT {self._target} HTTP/1.1".encode(), f"Host: {self._target}".encode()]
        if self._proxy.authorization is not None:
            lines.append(b"Proxy-Authorization: " + self._proxy.authorization)
        self.transport.write(b"\r\n".join([*lines, b"", b""]))

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif not self.opened.called:
            self._head += data
            if end := _END.search(self._head):
                self._answered(self._head[: end.start()] + b"\r\n", self._head[end.end() :])
            elif len(self._head) > MAX_HEAD_OCTETS:
                self._fail(f"answered CONNECT with more than {MAX_HEAD_OCTETS} octets")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self._fail("closed the connection before it had answered CONNECT")

    def _answered(self, head: bytes, rest: bytes) -> None:
        found = _STATUS.match(head)
        if found is None:
            self._fail(f"answered CONNECT with something that is not HTTP: {printable_octets(head, 80)}")
        elif found[1][:1] == b"2":
            self._open(rest)
        else:
            self._end(
                explain_refusal(
                    self._proxy,
                    status=int(found[1]),
                    phrase=printable_octets(found[2] or b"", 80),
                    schemes=[printable_octets(scheme, 80) for scheme in _SCHEMES.findall(head)],
                    target=self._target,
                )
            )

    def _open(self, rest: bytes) -> None:
        inner = self._inner = cast(IProtocol, self._build())
        inner.makeConnection(self.transport)
        if rest:
            inner.dataReceived(rest)
        self.opened.callback(inner)

    def _fail(self, what: str) -> None:
        self._end(ProxyRefused(f"{self._proxy} {what}; check that a proxy for HTTP listens at that port"))

    def _end(self, error: Exception) -> None:
        self.opened.errback(error)
        self.transport.abortConnection()
