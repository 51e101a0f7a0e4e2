"""The exchange as a service of Twisted's."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..runtime.doors import returns_deferred
from .exchange import Exchange


class ExchangeService(Service):
    """Starts and stops the exchange. Its store must be open from before the start until the stop has fired."""

    log = Logger()

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._started: Deferred[None] = Deferred()

    def startService(self) -> None:
        """See Service."""
        super().startService()
        self._started = Deferred.fromCoroutine(self._exchange.start())
        self._started.addErrback(lambda failure: self.log.failure("the exchange does not start", failure))

    @returns_deferred
    async def stopService(self) -> None:
        """Fires when nothing is under way any more."""
        super().stopService()
        await self._started
        await self._exchange.stop()
