"""What `fieldpost status` shows: the broker's own status, and what its process knows beside it."""

import os
from typing import Any

from .. import __version__
from ..broker.local.intake import Intake
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
    ) -> None:
        self._config = config
        self._status = status
        self._store = store
        self._writer = writer
        self._intake = intake

    async def report(self) -> dict[str, Any]:
        """Values that travel."""
        found = await self._status.report()
        server = {"url": self._config.server.url, **found.get("server", {})}
        trouble = self._intake.trouble
        return {
            **found,
            "version": __version__,
            "pid": os.getpid(),
            "computer-title": self._config.computer_title,
            "server": server,
            "types": await self._writer.run(self._store.tally.report),
            "troubles": [f"messages of plugins are not stored: {trouble}"] if trouble else [],
        }
