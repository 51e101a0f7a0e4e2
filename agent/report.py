"""What `fieldpost status` shows: the broker's own status, and what its process knows beside it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from attrs import asdict

from .. import __version__
from ..broker.local.intake import Intake
from ..broker.ping import Ping
from ..broker.status import Status
from ..runtime.writer import Writer
from .config import AgentConfig
from .tally import TalliedStore


class Report:
    """Puts it together, each time that somebody asks."""

    def __init__(
        self,
        *,
        config: AgentConfig,
        status: Status,
        store: TalliedStore,
        writer: Writer,
        intake: Intake,
        ping: Ping | None = None,
        session: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """`session` says how it stands with the session, where there may be one."""
        self._config = config
        self._status = status
        self._store = store
        self._writer = writer
        self._intake = intake
        self._ping = ping
        self._session = session

    async def report(self) -> dict[str, Any]:
        """Values that travel."""
        found = await self._status.report()
        server = {"url": self._config.server.url, **found.get("server", {})}
        return {
            **found,
            **({} if self._session is None else {"session": self._session()}),
            **({} if self._ping is None else {"ping": asdict(self._ping.status)}),
            "version": __version__,
            "pid": os.getpid(),
            "computer-title": self._config.computer_title,
            "server": server,
            "types": await self._writer.run(self._store.tally.report),
            "troubles": list(self._troubles()),
        }

    def _troubles(self) -> Iterator[str]:
        if self._intake.trouble:
            yield f"messages of plugins are not stored: {self._intake.trouble}"
        if self._ping is not None and self._ping.status.failing:
            yield f"the server cannot be pinged: {self._ping.status.failing}"
