"""One address does not take all of the places."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from fieldpost.server.crowd import Crowd, origin_of


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("odd", "odd"),
    ],
)
def test_origin(host: str, origin: str) -> None:
    """An IPv4 address is one in either form; of IPv6 a network is, whichever of its addresses comes."""
    kind = IPv6Address if ":" in host or host == "odd" else IPv4Address

    assert origin_of(kind("TCP", host, 5000)) == origin


def test_own_sockets_have_no_origin() -> None:
    """Of what comes over them none is counted."""
    crowd = Crowd(1)

    assert origin_of(UNIXAddress("/run/x")) is None
    assert [crowd.enter(None) for _ in range(3)] == [True] * 3
    crowd.leave(None)
    assert len(crowd) == 0


def test_each_has_its_own_places() -> None:
    """What is over is told; who leaves makes room; others are not concerned; who is gone is forgotten."""
    crowd = Crowd(2)

    assert [crowd.enter("a"), crowd.enter("a"), crowd.enter("a"), crowd.enter("b")] == [
        True,
        True,
        False,
        True,
    ]
    crowd.leave("a")
    assert not crowd.enter("a")
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.enter("a")
    for origin in ("a", "a", "b"):
        crowd.leave(origin)
    assert len(crowd) == 0


def test_no_limit() -> None:
    """With 0 nothing is even remembered."""
    crowd = Crowd(0)

    assert all(crowd.enter("a") for _ in range(10))
    assert len(crowd) == 0
    crowd.leave("a")
