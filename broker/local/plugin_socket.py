"""Where plugin processes connect: the listening UNIX socket, from start to stop."""

import os
import stat
from collections.abc import Callable
from socket import AF_UNIX
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from ...runtime.doors import returns_deferred
from .peer import Peer, peer_of
from .plugin_link import USUAL_LIMITS, Broker, LinkLimits, Links, PluginLink
from .socket_file import SocketFile, SocketUnusable

MAX_LINKS = 200
"""Connections at a time; file descriptors are few."""
STOP_WITHIN = 3.0
"""Seconds in which plugins may take their last answers."""


class PluginSocket(Service):
    """
    Listens at `path`, whose file gets `mode`; a folder that is missing is made with `folder_mode`.

    `links` knows the connections that are open. A socket that the service manager listens on already comes as a descriptor, `inherited`; then the path and what is
    there are the service manager's. Who connects is known by the kernel's word (`credentials`), not by the mode.
    """

    log = Logger()

    def __init__(
        self,
        *,
        reactor: Any,  # IReactorUNIX and IReactorSocket, of which Twisted has no one interface
        broker: Broker,
        path: str,
        mode: int = 0o660,
        folder_mode: int = 0o750,
        limits: LinkLimits = USUAL_LIMITS,
        max_links: int = MAX_LINKS,
        credentials: Callable[[Any], Peer] = peer_of,
        inherited: int | None = None,
        links: Links | None = None,
    ) -> None:
        self._reactor = reactor
        self._inherited = inherited
        self._broker = broker
        self._file = SocketFile(path, folder_mode=folder_mode)
        self._mode = mode
        self._factory = _LinkFactory(
            broker=broker,
            limits=limits,
            max_links=max_links,
            credentials=credentials,
            links=Links() if links is None else links,
        )
        self._port: IListeningPort | None = None

    @property
    def links(self) -> Links:
        """The connections that are open."""
        return self._factory.links

    def startService(self) -> None:
        """
        Listen.

        Raises SocketUnusable.
        """
        self._port = self._listen() if self._inherited is None else self._adopt(self._inherited)
        super().startService()

    def _listen(self) -> IListeningPort:
        self._file.claim()
        try:
            port: IListeningPort = self._reactor.listenUNIX(self._file.path, self._factory, mode=self._mode)
        except (CannotListenError, OSError) as error:
            self._file.free()
            raise SocketUnusable(
                f"socket {self._file.path}: {error}; see that the broker's user may write its folder"
            ) from error
        return port

    def _adopt(self, descriptor: int) -> IListeningPort:
        """Twisted opens the file of any port to everybody; this one has the mode that its unit gave it, and keeps it."""
        try:
            os.set_blocking(descriptor, False)
            mode = stat.S_IMODE(os.stat(self._file.path).st_mode)
            port: IListeningPort = self._reactor.adoptStreamPort(descriptor, AF_UNIX, self._factory)
            os.chmod(self._file.path, mode)
        except OSError as error:
            raise SocketUnusable(
                f"the socket that the service manager passed cannot be used: {error}; see its socket unit"
            ) from error
        return port

    async def _hang_up(self, port: Any) -> None:  # Any: an IListeningPort that has the methods of a reader
        """Twisted removes the file of a port that it stops listening on; one that is not ours has to stay."""
        if self._inherited is None:
            await maybeDeferred(port.stopListening)
        else:
            port.stopReading()
            port.socket.close()

    @returns_deferred
    async def stopService(self) -> None:
        """Take nothing more, answer what came, close."""
        await maybeDeferred(super().stopService)
        port, self._port = self._port, None
        if port is None:
            return
        await self._hang_up(port)
        for link in self.links:
            link.retire()
        await self._broker.intake.when_idle()
        for link in self.links:
            link.close()
        await self._all_closed()
        self._file.free()

    def _all_closed(self) -> "Deferred[None]":
        closed = self.links.when_none()
        timer = self._broker.clock.callLater(STOP_WITHIN, self._abort_all)

        def stop_timer(result: None) -> None:
            if timer.active():
                timer.cancel()

        return closed.addCallback(stop_timer)

    def _abort_all(self) -> None:
        for link in self.links:
            link.cut()


class _LinkFactory(Factory):
    noisy = False
    log = Logger()

    def __init__(
        self,
        *,
        broker: Broker,
        limits: LinkLimits,
        max_links: int,
        credentials: Callable[[Any], Peer],
        links: Links,
    ) -> None:
        self.links = links
        self._broker = broker
        self._limits = limits
        self._max_links = max_links
        self._credentials = credentials

    def buildProtocol(self, addr: "IAddress | None") -> PluginLink | None:
        """See Factory. None closes the connection."""
        if len(self.links) >= self._max_links:
            self.log.warn(
                "plugin socket: {count} connections are open; one more is closed", count=len(self.links)
            )
            return None
        return PluginLink(
            broker=self._broker, links=self.links, credentials=self._credentials, limits=self._limits
        )
