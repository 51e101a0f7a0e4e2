"""A TCP relay on loopback, in threads: it knows sessions from other connections, holds them, is slow to the others, and cuts them all."""

import socket
import struct
from math import inf
from threading import Condition, Event, Lock, Thread

from tests.ports import HOST

CHUNK = 4_096
_AT_ONCE = struct.pack("ii", 1, 0)
"""As SO_LINGER: closing resets the connection, and what is under way is lost."""


class Relay:
    """
    Listens at `port` and leads to another port. `session_octets` counts what has gone through sessions.

    Of sessions it lets through as much as it was told to, and holds what is more: so nothing is over before a test looks.
    """

    def __init__(self, upstream: int, *, slowness: float = 0.0) -> None:
        """`slowness`: seconds for which each piece of a connection that is no session is held up."""
        self._allowed: float = 0
        self._may_go = Condition()
        self.upstream = upstream
        self._slowness = slowness
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self.session_octets = 0
        self.sessions = 0
        self._sockets: set[socket.socket] = set()
        self._lock = Lock()
        self._is_over = Event()
        Thread(target=self._accept, daemon=True).start()

    def allow(self, more: float = inf) -> None:
        """So many octets of sessions may go through beyond those that have; by default all."""
        with self._may_go:
            self._allowed = self.session_octets + more
            self._may_go.notify_all()

    def has_passed(self, octets: int) -> bool:
        """Whether as many as that have gone through sessions."""
        return self.session_octets >= octets

    def cut(self) -> None:
        """Reset all connections, in both directions, wherever they are."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            _reset(one)

    def stop(self) -> None:
        """For good."""
        self._is_over.set()
        self.allow()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self.upstream))
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._sockets |= {client, server}
        try:
            first = client.recv(CHUNK)
            is_session = first.startswith(b"GET /session/")
            self.sessions += is_session
            server.sendall(first)
        except OSError:
            self._close(client, server)
            return
        Thread(target=self._pump, args=(server, client, is_session), daemon=True).start()
        self._pump(client, server, is_session)

    def _pump(self, source: socket.socket, target: socket.socket, is_session: bool) -> None:
        try:
            while octets := source.recv(CHUNK):
                if is_session:
                    self._pass(len(octets))
                elif self._slowness:
                    self._is_over.wait(self._slowness)
                target.sendall(octets)
        except OSError:
            pass
        self._close(source, target)

    def _pass(self, octets: int) -> None:
        """Returns when these may go."""
        with self._may_go:
            self._may_go.wait_for(lambda: self.session_octets < self._allowed)
            self.session_octets += octets

    def _close(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._sockets -= set(sockets)
        for one in sockets:
            _reset(one)


def _reset(one: socket.socket) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
