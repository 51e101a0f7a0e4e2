"""The broker as a service: its parts started and stopped, in order."""

from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, globalLogPublisher

from .. import __version__
from ..runtime.doors import following, returns_deferred
from .composition import Parts, assemble
from .config import AgentConfig
from .manifest import Manifest
from .status_words import status_line

SHED_EVERY = 600.0
"""Seconds between looks for messages that are too old."""


def build_broker(config: AgentConfig, manifests: Iterable[Manifest], reactor: Any) -> "BrokerService":
    """The broker as a service; its parts are made when it starts. Any: Twisted has no one interface for a reactor."""
    return BrokerService(config=config, manifests=tuple(manifests), reactor=reactor)


class BrokerService(Service):
    """From start to stop."""

    log = Logger()

    def __init__(self, *, config: AgentConfig, manifests: tuple[Manifest, ...], reactor: Any) -> None:
        """Any: Twisted has no one interface for a reactor."""
        self._config = config
        self._manifests = manifests
        self._reactor = reactor
        self._parts: Parts | None = None
        self._shedding: IDelayedCall | None = None
        self._starting: Deferred[None] = succeed(None)

    def startService(self) -> None:
        """
        Open the store, listen for plugins, plan the first exchange.

        Raises FieldpostError, with nothing left open.
        """
        parts = assemble(self._config, self._manifests, self._reactor)
        try:
            parts.plugins.startService()
        except Exception:
            parts.writer.stop()
            parts.packer.stop()
            parts.store.close()
            raise
        self._parts = parts
        super().startService()
        self._starting = Deferred.fromCoroutine(parts.exchange.start())
        self._starting.addErrback(lambda failure: self.log.failure("exchanges cannot start", failure))
        globalLogPublisher.addObserver(parts.recent)
        if parts.live is not None:
            parts.live.keeper.start()
        if parts.ping is not None:
            parts.ping.start()
        self._shed()
        self.log.info(
            "broker {version} started: plugins at {socket}, server {url}",
            version=__version__,
            socket=str(self._config.broker.socket),
            url=self._config.server.url or "none",
        )

    async def when_ready(self) -> None:
        """See Vital: what the last run left is taken up, and plugins can connect."""
        await following(self._starting)

    async def vitals(self) -> str:
        """See Vital: this goes through the thread of the store, so it comes as long as that works."""
        return "stopping" if self._parts is None else status_line(await self._parts.report.report())

    @returns_deferred
    async def stopService(self) -> None:
        """End what is under way, outermost last: plugins may still say what became of their messages."""
        super().stopService()
        parts, self._parts = self._parts, None
        if parts is None:
            return
        if self._shedding is not None and self._shedding.active():
            self._shedding.cancel()
        if parts.ping is not None:
            await parts.ping.stop()
        await parts.attachments.stop()
        await parts.exchange.stop()
        await parts.plugins.stopService()
        if parts.live is not None:
            await parts.live.keeper.stop()
            await parts.live.poll.stop()
        await parts.transport.stop()
        await parts.packer.stop()
        parts.writer.run(parts.store.close).addErrback(
            lambda failure: self.log.failure("the store was not closed", failure)
        )
        await parts.writer.stop()
        self.log.info("broker stopped")
        globalLogPublisher.removeObserver(parts.recent)

    def _shed(self) -> None:
        """Drop what is too old, now and again and again, where the configuration has an age."""
        if self._parts is None or self._config.store.max_age is None:
            return
        done = self._parts.writer.run(self._parts.store.shed_old)
        done.addErrback(lambda failure: self.log.failure("old messages were not dropped", failure))
        self._shedding = self._reactor.callLater(SHED_EVERY, self._shed)
