"""A service that is made anew from its configuration while its process, and the sockets it was given, stay."""

import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from ..runtime.doors import returns_deferred
from ..runtime.notify import READY, Notifier
from ..wire.errors import FieldpostError


class ReloadingService(Service):
    """
    Runs the service that `make` makes; `make` reads the configuration, and raises FieldpostError when it is wrong.

    A wrong configuration changes nothing: what runs goes on.
    """

    log = Logger()

    def __init__(self, *, make: Callable[[], Any], notifier: Notifier) -> None:
        """Any: an IService that is a Vital."""
        self._make = make
        self._notifier = notifier
        self._inner = make()
        self._is_reloading = False

    def startService(self) -> None:
        """Raises what the service itself raises."""
        self._inner.startService()
        super().startService()

    @returns_deferred
    async def stopService(self) -> None:
        """End the service."""
        await maybeDeferred(super().stopService)
        await maybeDeferred(self._inner.stopService)

    async def when_ready(self) -> None:
        """See Vital."""
        await self._inner.when_ready()

    async def vitals(self) -> str:
        """See Vital."""
        line: str = await self._inner.vitals()
        return line

    @returns_deferred
    async def reload(self) -> None:
        """Read the configuration again, and run as it says. One asked for meanwhile is passed over."""
        if self._is_reloading or not self.running:
            return
        self._is_reloading = True
        try:
            await self._replace()
        finally:
            self._is_reloading = False

    async def _replace(self) -> None:
        self._notifier.reloading(time.monotonic)
        try:
            fresh = self._make()
        except FieldpostError as error:
            self.log.error("the configuration cannot be used, the old one stays: {cause}", cause=str(error))
        else:
            await self._change_to(fresh)
        await self._inner.when_ready()
        self._notifier.say(READY)

    async def _change_to(self, fresh: Any) -> None:
        old, self._inner = self._inner, fresh
        await maybeDeferred(old.stopService)
        try:
            fresh.startService()
        except FieldpostError as error:
            self.log.error("the new configuration does not run, the old one stays: {cause}", cause=str(error))
            self._inner = old
            old.startService()
        else:
            self.log.info("the configuration is read again")
