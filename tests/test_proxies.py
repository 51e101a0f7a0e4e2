"""The proxies of the tests do what operators' proxies do: what tests of the session rely on."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from .ports import HOST
from .proxies import Haproxy, Nginx, Passage, needs_proxies

pytestmark = [pytest.mark.process, needs_proxies]

REQUEST = (
    b"GET /session/default HTTP/1.1\r\nHost: here\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
)
PATIENCE = 120.0
"""Seconds after which a proxy hangs."""
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"


class Upgrading:
    """Answers one request with 101 when it asks for an upgrade, else with 426, and then sends back what it gets."""

    def __init__(self) -> None:
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self.head = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        with connection:
            while not self.head.endswith(b"\r\n\r\n"):
                octets = connection.recv(4096)
                if not octets:
                    return
                self.head += octets
            if b"upgrade: fieldpost/1" not in self.head.lower():
                connection.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
                return
            connection.sendall(ANSWER)
            # HAProxy ends what was silent for too long by a reset.
            with suppress(ConnectionResetError):
                while octets := connection.recv(4096):
                    connection.sendall(octets)

    def stop(self) -> None:
        """Wait for the end."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """Stops all that a test has started."""
    with ExitStack() as stack:
        yield stack


def opened(ends: ExitStack, port: int) -> socket.socket:
    """A connection to a proxy, the upgrade asked for."""
    connection = ends.enter_context(socket.create_connection((HOST, port), timeout=PATIENCE))
    connection.sendall(REQUEST)
    return connection


def read_head(connection: socket.socket) -> bytes:
    """The head of an answer, and no octet more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = connection.recv(1)
        assert octet, head
        head += octet
    return head


@pytest.mark.parametrize("proxy", [Nginx, Haproxy])
def test_an_upgraded_connection_goes_through(
    proxy: type[Nginx | Haproxy], ends: ExitStack, tmp_path: Path
) -> None:
    """Octets go both ways behind the 101."""
    upgrading = Upgrading()
    ends.callback(upgrading.stop)
    running = ends.enter_context(proxy(tmp_path, Passage(upstream=upgrading.port)))
    connection = opened(ends, running.port)

    assert read_head(connection).startswith(b"HTTP/1.1 101 ")

    connection.sendall(b"\x00\xffthere")
    assert connection.recv(100) == b"\x00\xffthere"


@pytest.mark.parametrize("proxy", [Nginx, Haproxy])
def test_a_silent_connection_is_closed_soon(
    proxy: type[Nginx | Haproxy], ends: ExitStack, tmp_path: Path
) -> None:
    """Behind the time that the test has set."""
    upgrading = Upgrading()
    ends.callback(upgrading.stop)
    running = ends.enter_context(proxy(tmp_path, Passage(upstream=upgrading.port, idle=0.5)))
    begun = time.monotonic()
    connection = opened(ends, running.port)
    read_head(connection)

    assert connection.recv(100) == b""
    assert time.monotonic() - begun > 0.4


def test_nginx_as_it_comes_strips_the_upgrade(ends: ExitStack, tmp_path: Path) -> None:
    """It speaks HTTP/1.0 to what is behind it."""
    upgrading = Upgrading()
    ends.callback(upgrading.stop)
    running = ends.enter_context(Nginx(tmp_path, Passage(upstream=upgrading.port, passes_upgrade=False)))

    assert read_head(opened(ends, running.port)).startswith(b"HTTP/1.1 426 ")
    assert b"HTTP/1.0" in upgrading.head
    assert b"upgrade:" not in upgrading.head.lower()


def test_a_proxy_with_a_wrong_configuration_says_so(tmp_path: Path) -> None:
    """Rather than that a test waits for it."""
    with pytest.raises(AssertionError, match="nginx did not start"):
        Nginx(tmp_path, Passage(upstream=70_000))
