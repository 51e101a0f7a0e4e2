"""Why no answer came, in words."""

import pytest
from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.causes import explain, is_unanswered
from fieldpost.broker.carriage.proxy import Proxy, ProxyRefused
from fieldpost.broker.carriage.trust import Untrusted

SERVER = Address.parse("https://a.example/")
PROXY = Proxy(host="p.example", port=3128)


def wrapped(kind: type[ResponseFailed] | type[RequestTransmissionFailed], cause: Exception) -> Exception:
    """As Twisted's HTTP client reports it."""
    return kind([Failure(cause)])


NEVER, CUT, UNSENT = ResponseNeverReceived, ResponseFailed, RequestTransmissionFailed


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            error.DNSLookupError("x"),
            "the name of the server a.example:443 is not known; check the host in `url`",
        ),
        (
            error.ConnectionRefusedError(),
            "the server a.example:443 refused the connection: nothing listens there",
        ),
        (
            error.TCPTimedOutError(),
            "the server a.example:443 did not take the connection in time; check that it",
        ),
        (
            error.TimeoutError(),
            "the server a.example:443 did not take the connection in time; check that it runs",
        ),
        (error.NoRouteError(), "there is no route to the server a.example:443; check this machine's network"),
        (error.ConnectBindError("\x1b"), "no connection to the server a.example:443: Couldn't bind"),
        (wrapped(NEVER, Untrusted("who are you")), "who are you"),
        (ProxyRefused("not you"), "not you"),
        (
            wrapped(NEVER, SSL.Error([("SSL routines", "", "wrong version number")])),
            "the server a.example:443 does not speak TLS at this port; check the port",
        ),
        (
            wrapped(NEVER, SSL.Error([("SSL routines", "", "alert handshake failure")])),
            "TLS with the server a.example:443 failed (alert handshake failure); it must speak TLS 1.2",
        ),
        *(
            (
                wrapped(NEVER, SSL.Error([("SSL routines", "", words)])),
                f"the server a.example:443 does not take the certificate of this machine, or wants one ({words}); set",
            )
            for words in ("tlsv1 alert unknown ca", "sslv3 alert certificate expired")
        ),
        (wrapped(NEVER, SSL.Error()), "TLS with the server a.example:443 failed (no reason given)"),
        (
            wrapped(NEVER, SSL.SysCallError(-1, "x")),
            "TLS with the server a.example:443 failed (no reason given)",
        ),
        (
            wrapped(NEVER, error.ConnectionLost()),
            "the server a.example:443 closed the connection without an answer",
        ),
        (
            wrapped(CUT, error.ConnectionDone()),
            "the answer of the server a.example:443 was cut; this is tried",
        ),
        (
            wrapped(UNSENT, error.ConnectionLost()),
            "the server a.example:443 closed the connection before it had taken the whole request",
        ),
        (
            wrapped(CUT, ValueError("x")),
            "what came from the server a.example:443 is not HTTP; check host and port of `url`",
        ),
    ],
)
def test_each_failure_has_cause_and_next_step(failure: Exception, said: str) -> None:
    """For a person who can do something about it."""
    reason = explain(failure, SERVER, None, shook=True)

    assert reason is not None
    assert reason.startswith(said)
    assert reason.isprintable()


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            error.DNSLookupError("x"),
            "the name of the proxy p.example:3128 is not known; check the proxy setting",
        ),
        (
            error.ConnectionRefusedError(),
            "the proxy p.example:3128 refused the connection: nothing listens there",
        ),
    ],
)
def test_with_a_proxy_it_is_the_proxy_that_was_not_reached(failure: Exception, said: str) -> None:
    """The server was not even tried."""
    assert (explain(failure, SERVER, PROXY, shook=False) or "").startswith(said)


def test_a_connection_that_ends_before_tls_is_told_from_one_that_ends_later() -> None:
    """The port may be one without TLS."""
    failure = wrapped(NEVER, error.ConnectionLost())

    assert "closed the connection when asked for TLS" in (explain(failure, SERVER, None, shook=False) or "")


def test_garbage_on_an_open_port_may_be_tls() -> None:
    """The scheme may be forgotten."""
    reason = explain(wrapped(CUT, ValueError()), Address.parse("http://a.example/"), None, shook=True)

    assert "if the port is one for TLS, write https://" in (reason or "")


def test_what_is_no_failure_of_a_network_has_no_words() -> None:
    """It is for the log."""
    assert explain(ZeroDivisionError(), SERVER, None, shook=True) is None


@pytest.mark.parametrize(
    ("failure", "unanswered"),
    [
        (wrapped(NEVER, error.ConnectionLost()), True),
        (wrapped(UNSENT, error.ConnectionLost()), True),
        (wrapped(CUT, error.ConnectionLost()), False),
        (error.ConnectionRefusedError(), False),
    ],
)
def test_an_answer_that_began_is_an_answer(failure: Exception, unanswered: bool) -> None:
    """Only where not one octet came may the request be repeated."""
    assert is_unanswered(failure) is unanswered
