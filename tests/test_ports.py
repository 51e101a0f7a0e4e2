"""A reserved port is a test's own."""

import errno
import socket

import pytest

from .ports import HOST, Reserved

pytestmark = pytest.mark.process


def test_nobody_listens_there() -> None:
    with Reserved() as port, socket.socket() as caller:
        assert caller.connect_ex((HOST, port.number)) == errno.ECONNREFUSED


def test_a_server_may_come_and_go() -> None:
    """And come back while connections of its earlier life still end."""
    with Reserved() as port:
        for _ in range(3):
            with (
                socket.create_server((HOST, port.number)) as server,
                socket.create_connection((HOST, port.number)),
            ):
                server.accept()[0].close()


def test_nobody_else_has_it() -> None:
    """Who asks for any port gets another, and who asks for this one without SO_REUSEADDR is refused."""
    with Reserved() as port, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, port.number))
