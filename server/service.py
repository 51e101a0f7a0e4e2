"""The server as one service: database, threads and ports, opened and closed in order."""

import os
import random
import secrets
import uuid
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.database import DatabaseError
from ..runtime.doors import following, returns_deferred
from ..runtime.writer import WriterThread
from .clock import DayClock
from .composition import Server, build_server, open_server_database
from .errors import StartFailed
from .listeners import Listeners
from .parcel import ParcelLimits
from .policy import Policy
from .session.certificate import inside_tls
from .session.door import Doors
from .session.endpoint import Endpoint, Terms
from .settings import ServerSettings, catalogue_of, with_credentials
from .site import Site, SiteLimits

DATABASE_FILE = "server.sqlite"


class ServerService(Service):
    """
    The whole server.

    When it cannot start, the process ends with the reason and a non-zero exit code: a server that does not listen is
    none. `listeners` are its ports.
    """

    name = "fieldpost-server"
    log = Logger()

    def __init__(
        self,
        *,
        reactor: Any,
        settings: ServerSettings,
        policy: Policy,
        api_token: str | None,
        listeners: Listeners,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._policy = policy
        self._api_token = api_token
        self._listeners = listeners
        self._server: Server | None = None
        self._endpoint: Endpoint | None = None
        self._connection: Connection | None = None
        self._threads: list[WriterThread] = []
        self._failed: BaseException | None = None
        self._is_open = False
        self._listening: Deferred[None] = succeed(None)

    def startService(self) -> None:
        """Raises StartFailed."""
        try:
            site = self._open()
        except DatabaseError as error:
            raise StartFailed(str(error)) from error
        self._listening = self._listen(site).addErrback(self._note)
        if self._failed is not None:
            for thread in self._threads:
                thread.stop()
            raise self._failed
        self._is_open = True
        super().startService()

    async def when_ready(self) -> None:
        """Returns once the server listens."""
        await following(self._listening)

    async def vitals(self) -> str:
        """How the server is, in one line; this goes through the database's thread, so it comes as long as that works."""
        if not self.running or not self._threads:
            return "stopping"
        await self._threads[0].run(lambda: None)
        return "takes exchanges"

    @returns_deferred
    async def stopService(self) -> None:
        """Stop listening, say goodbye to who has a session, commit what was taken, close the database."""
        super().stopService()
        await self._listeners.close()
        if self._endpoint is not None:
            await self._endpoint.drain()
        if self._server is not None:
            self._server.registry.stop()
            self._server.outputs.stop()
            await self._server.commits.stop()
        for thread in self._threads:
            await thread.stop()
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Site | Doors:
        folder = _made(self._settings.server.state_dir)
        self._connection = open_server_database(str(folder / DATABASE_FILE))
        writer = WriterThread(reactor=self._reactor, name="database")
        decoder = WriterThread(reactor=self._reactor, name="decoder")
        self._threads = [writer, decoder]
        intake, limits = self._settings.intake, self._settings.limits
        day = DayClock(self._reactor)
        self._server = build_server(
            connection=self._connection,
            writer=writer,
            decoder=decoder,
            clock=day,
            policy=self._policy,
            api_token=self._api_token,
            new_id=lambda: str(uuid.uuid4()),
            new_token=lambda: secrets.token_hex(16).encode(),
            catalogue=catalogue_of(self._settings),
            limits=ParcelLimits(octets=intake.max_octets, messages=intake.max_messages),
            new_octets=secrets.token_bytes,
            takes_sessions=self._settings.session.enabled,
            payload_octets=limits.all_bodies,
        )
        self._endpoint = self._session_endpoint(self._server)
        site_limits = SiteLimits(
            body_octets=intake.max_octets,
            all_bodies_octets=limits.all_bodies,
            connections=limits.connections,
            connections_per_address=limits.connections_per_address,
            idle=limits.idle,
            request=limits.request,
        )
        site = Site(front=self._server.front, clock=day, limits=site_limits)
        if self._endpoint is None:
            return site
        return Doors(site=site, host=self._endpoint, clock=self._reactor)

    def _session_endpoint(self, server: Server) -> Endpoint | None:
        chosen = with_credentials(self._settings.session, os.environ)
        if not chosen.enabled:
            return None
        tls = None
        if chosen.certificate_file is not None and chosen.key_file is not None:
            tls = inside_tls(chosen.certificate_file, chosen.key_file, chosen.client_ca_file)
        terms = Terms(
            plain=chosen.plain,
            max_sessions=chosen.max_sessions,
            ping=chosen.ping,
            drain=chosen.drain,
            moved=chosen.moved,
            max_octets=self._settings.intake.max_octets,
        )
        return Endpoint(desk=server.desk, clock=self._reactor, terms=terms, tls=tls, random=random.random)

    @returns_deferred
    async def _listen(self, site: Site | Doors) -> None:
        await self._listeners.open(site)
        if self._api_token is None:
            self.log.warn("the API is closed: no `api-token-file` (or `api-token`) is configured")

    def _note(self, failure: Failure) -> None:
        """Listening failed: at once, which startService reports, or later, which ends the run from here."""
        self._failed = failure.value
        if self._is_open:
            self.log.critical("the server cannot listen: {cause}", cause=str(failure.value))
            self._reactor.stop()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(
            f"`state-dir` {folder} cannot be made: {reason}; make it, or name a folder that this user may write"
        ) from error
    return folder
