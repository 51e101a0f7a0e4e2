"""A TCP relay on loopback, in threads: it knows sessions from other connections, is slow to the others, and cuts them all."""

import socket
import struct
from threading import Event, Lock, Thread

HOST = "127.0.0.1"
CHUNK = 4_096
_AT_ONCE = struct.pack("ii", 1, 0)
"""As SO_LINGER: closing resets the connection, and what is under way is lost."""


class Relay:
    """Listens at `port` and leads to another port. `session_octets` counts what has gone through sessions."""

    def __init__(self, upstream: int, *, slowness: float = 0.0) -> None:
        """`slowness`: seconds for which each piece of a connection that is no session is held up."""
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

    def cut(self) -> None:
        """Reset all connections, in both directions, wherever they are."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            _reset(one)

    def stop(self) -> None:
        """For good."""
        self._is_over.set()
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
                if not is_session and self._slowness:
                    self._is_over.wait(self._slowness)
                target.sendall(octets)
                if is_session:
                    self.session_octets += len(octets)
        except OSError:
            pass
        self._close(source, target)

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
