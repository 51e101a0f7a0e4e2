"""Why no answer came, in words: cause and next step for each way in which a connection can fail."""

from OpenSSL import SSL
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from .address import Address
from .proxy import Proxy, ProxyRefused
from .trust import Untrusted
from .wording import printable


def innermost(error: BaseException) -> BaseException:
    """The first cause of an error of Twisted's HTTP client, which wraps them in lists."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    return error


def is_unanswered(error: BaseException) -> bool:
    """Whether a connection ended before any octet of an answer."""
    return isinstance(error, ResponseNeverReceived | RequestTransmissionFailed)


def explain(error: BaseException, address: Address, proxy: Proxy | None, *, shook: bool) -> str | None:
    """
    One sentence for a person, or None when this is not how networks and servers fail.

    `shook` says whether the TLS handshake, if there was to be one, came to its end.
    """
    cause = innermost(error)
    if isinstance(cause, ProxyRefused | Untrusted):
        return str(cause)
    if isinstance(cause, ConnectError | DNSLookupError):
        return _connect(cause, address, proxy)
    if isinstance(cause, SSL.Error):
        return _tls(cause, address)
    if isinstance(cause, ConnectionClosed) and not shook:
        return f"{_place(address)} closed the connection when asked for TLS; {_CHECK_TLS}"
    if isinstance(cause, ConnectionClosed):
        return _closed(error, address)
    if isinstance(error, ResponseFailed):
        return f"what came from {_place(address)} is not HTTP; {_CHECK_PORT[address.is_secure]}"
    return None


def _place(address: Address) -> str:
    return f"the server {address.authority}"


_CHECK_PORT = {
    True: "check host and port of `url` in [server]",
    False: "check host and port of `url` in [server]; if the port is one for TLS, write https://",
}
_CHECK_NAME = {
    False: "check the host in `url` in [server], and this machine's name servers",
    True: "check the proxy setting, and this machine's name servers",
}
_CHECK_WAY = (
    "check that it runs, its port, and firewalls between; where a proxy is needed, set `proxy` in [server]"
)
_CHECK_PROXY = "check that it runs, its port in the proxy setting, and firewalls between"


def _connect(cause: BaseException, address: Address, proxy: Proxy | None) -> str:
    place = str(proxy) if proxy else _place(address)
    step = _CHECK_PROXY if proxy else _CHECK_WAY
    if isinstance(cause, DNSLookupError):
        return f"the name of {place} is not known; {_CHECK_NAME[proxy is not None]}"
    if isinstance(cause, ConnectionRefusedError):
        return f"{place} refused the connection: nothing listens there; {step}"
    if isinstance(cause, TimeoutError | TCPTimedOutError):
        return f"{place} did not take the connection in time; {step}"
    if isinstance(cause, NoRouteError):
        return f"there is no route to {place}; check this machine's network"
    return f"no connection to {place}: {printable(str(cause))}; {step}"


def _tls(cause: SSL.Error, address: Address) -> str:
    words = (
        printable(", ".join(str(entry[-1]) for entry in cause.args[0]))
        if _has_queue(cause)
        else "no reason given"
    )
    if any(mark in words for mark in ("wrong version number", "packet length too long", "http request")):
        return f"{_place(address)} does not speak TLS at this port; {_CHECK_TLS}"
    if "alert" in words and any(mark in words for mark in _OF_CERTIFICATES):
        return (
            f"{_place(address)} does not take the certificate of this machine, or wants one ({words}); set "
            "`certificate-file` and `key-file` in [server] to one that is valid now and of an authority that the server names"
        )
    return (
        f"TLS with {_place(address)} failed ({words}); it must speak TLS 1.2 or newer, and take clients "
        "without certificate"
    )


_OF_CERTIFICATES = ("certificate", "unknown ca")
"""In the names of TLS's alerts (RFC 8446, 6.2) about what the end that hears them has shown, or has not."""
_CHECK_TLS = (
    "check the port of `url` in [server], or write http:// if it is meant to be open to readers on the way"
)


def _has_queue(cause: SSL.Error) -> bool:
    return bool(cause.args) and isinstance(cause.args[0], list)


def _closed(error: BaseException, address: Address) -> str:
    if isinstance(error, RequestTransmissionFailed):
        return (
            f"{_place(address)} closed the connection before it had taken the whole request; this is tried again. "
            "If it stays so, the server or something before it takes only smaller bodies: lower `max-octets` in [exchange]"
        )
    if isinstance(error, ResponseNeverReceived):
        return f"{_place(address)} closed the connection without an answer; this is tried again. If it stays so, {_LOG}"
    return f"the answer of {_place(address)} was cut; this is tried again. If it stays so, {_LOG}"


_LOG = "see the server's log, and check that nothing on the way cuts connections"
