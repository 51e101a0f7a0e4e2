"""The server as one service: database, threads and ports, opened and closed in order."""

import secrets
import uuid
from pathlib import Path
from sqlite3 import Connection
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.database import DatabaseError
from ..runtime.doors import returns_deferred
from ..runtime.writer import WriterThread
from .composition import Server, build_server, open_server_database
from .errors import ServerError, StartFailed
from .listeners import Listeners
from .parcel import ParcelLimits
from .policy import Policy
from .settings import ServerSettings
from .site import Site, SiteLimits

DATABASE_FILE = "server.sqlite"


class ServerService(Service):
    """
    The whole server.

    When it cannot start, the process ends with the reason and a non-zero exit code: a server that does not listen is
    none.
    """

    name = "fieldpost-server"
    log = Logger()

    def __init__(
        self, *, reactor: Any, settings: ServerSettings, policy: Policy, api_token: str | None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._policy = policy
        self._api_token = api_token
        self._listeners = Listeners(
            reactor=reactor, endpoints=settings.server.listen, state_dir=settings.server.state_dir
        )
        self._server: Server | None = None
        self._connection: Connection | None = None
        self._threads: list[WriterThread] = []
        self._failed: BaseException | None = None

    def startService(self) -> None:
        """Raises SystemExit, after a log line, when it cannot."""
        super().startService()
        try:
            site = self._open()
        except (ServerError, DatabaseError) as error:
            self._give_up(error)
        self._listen(site).addErrback(self._note)
        if self._failed is not None:
            self._give_up(self._failed)

    @returns_deferred
    async def stopService(self) -> None:
        """Stop listening, commit what was taken, close the database."""
        super().stopService()
        await self._listeners.close()
        if self._server is not None:
            await self._server.commits.stop()
        for thread in self._threads:
            await thread.stop()
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Site:
        folder = _made(self._settings.server.state_dir)
        self._connection = open_server_database(str(folder / DATABASE_FILE))
        writer = WriterThread(reactor=self._reactor, name="database")
        decoder = WriterThread(reactor=self._reactor, name="decoder")
        self._threads = [writer, decoder]
        intake, limits = self._settings.intake, self._settings.limits
        self._server = build_server(
            connection=self._connection,
            writer=writer,
            decoder=decoder,
            clock=self._reactor,
            policy=self._policy,
            api_token=self._api_token,
            new_id=lambda: str(uuid.uuid4()),
            new_token=lambda: secrets.token_hex(16).encode(),
            limits=ParcelLimits(octets=intake.max_octets, messages=intake.max_messages),
        )
        site_limits = SiteLimits(
            body_octets=intake.max_octets,
            all_bodies_octets=limits.all_bodies,
            connections=limits.connections,
            idle=limits.idle,
            request=limits.request,
        )
        return Site(front=self._server.front, clock=self._reactor, limits=site_limits)

    @returns_deferred
    async def _listen(self, site: Site) -> None:
        await self._listeners.open(site)
        if self._api_token is None:
            self.log.warn("the API is closed: no `api-token-file` (or `api-token`) is configured")

    def _note(self, failure: Failure) -> None:
        """Listening failed: at once, which startService reports, or later, which ends the process from here."""
        self._failed = failure.value
        if self._reactor.running:
            self.log.critical("the server cannot listen: {error}", error=self._failed)
            self._reactor.stop()

    def _give_up(self, error: BaseException) -> NoReturn:
        self.log.critical("the server cannot start: {error}", error=error)
        for thread in self._threads:
            thread.stop()
        raise SystemExit(f"fieldpost-server: {error}")


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(
            f"`state-dir` {folder} cannot be made: {reason}; make it, or name a folder that this user may write"
        ) from error
    return folder
