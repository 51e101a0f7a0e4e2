"""Who connects is known by the kernel's word."""

import os
import struct
from collections.abc import Iterator
from socket import AF_INET, SOCK_STREAM, socket, socketpair
from typing import Any

import pytest

from fieldpost.broker.local.peer import Peer, PeerUnknown, peer_of


class Transport:
    """What Twisted gives of a connection."""

    def __init__(self, handle: socket) -> None:
        self._handle = handle

    def getHandle(self) -> socket:
        return self._handle


@pytest.fixture
def ends() -> Iterator[tuple[socket, socket]]:
    ours, theirs = socketpair()
    with ours, theirs:
        yield ours, theirs


def test_own_process(ends: tuple[socket, socket]) -> None:
    """The peer's user, group and process are those of who opened the socket."""
    assert peer_of(Transport(ends[0])) == Peer(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())


def test_which_is_which() -> None:
    """Process, user and group are not taken for each other."""

    class Handle:
        def getsockopt(self, *_: int) -> bytes:
            return struct.pack("iII", 1, 2, 3)

    handle: Any = Handle()

    assert peer_of(Transport(handle)) == Peer(pid=1, uid=2, gid=3)


def test_closed_socket() -> None:
    """A connection that is gone has no peer."""
    ours, theirs = socketpair()
    ours.close()
    theirs.close()

    with pytest.raises(PeerUnknown, match="no peer credentials"):
        peer_of(Transport(ours))


def test_transport_without_socket() -> None:
    """A transport that is no socket is refused, with what to use instead."""
    transport: Any = object()

    with pytest.raises(PeerUnknown, match="UNIX socket, on Linux"):
        peer_of(transport)


def test_tcp_socket() -> None:
    """A TCP connection tells nobody's user: what the kernel answers for it admits no one."""
    with socket(AF_INET, SOCK_STREAM) as tcp:
        try:
            peer = peer_of(Transport(tcp))
        except PeerUnknown:
            return

    assert peer.pid == 0
    assert peer.uid == 2**32 - 1
