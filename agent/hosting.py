"""One service on one reactor, from start to stop."""

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from ..runtime.doors import returns_deferred
from ..wire.errors import FieldpostError

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OUR_SIGNALS = (*_ENDING_SIGNALS, signal.SIGHUP)


class Hosting:
    """Runs a service until the process is asked to stop; the reactor is passed in, and run here."""

    log = Logger()

    def __init__(self, service: Any, reactor: Any) -> None:
        """Any: an IService, and a reactor, of which Twisted has no one interface."""
        self._service = IService(service)
        self._reactor = reactor
        self.exit_code = 0
        """Of the process: 0 so far; never smaller again."""
        self._is_stopping = False

    def run(self) -> int:
        """The exit code: 0, or 1 when the service could not start. It starts before the reactor does, as under twistd."""
        if not self._start():
            return 1
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.callWhenRunning(self._take_signals)
        self._reactor.run()
        return self.exit_code

    def stop(self, exit_code: int = 0) -> None:
        """End the run; the highest exit code that was given is that of the process."""
        self.exit_code = max(self.exit_code, exit_code)
        if not self._is_stopping:
            self._is_stopping = True
            self._reactor.stop()

    def _start(self) -> bool:
        try:
            self._service.privilegedStartService()
            self._service.startService()
        except (FieldpostError, CannotListenError) as error:
            self.log.critical("cannot start: {cause}", cause=str(error))
        except Exception:  # noqa: BLE001 - whatever it is, the process ends with its traceback in the log
            self.log.failure("cannot start; this is a mistake in the program")
        else:
            return True
        return False

    def _take_signals(self) -> None:
        """Twisted's own way turns a second Ctrl-C into a traceback. A hang-up stops what cannot be reloaded."""
        for number in _ENDING_SIGNALS:
            self._take(number, self.stop)
        self._take(signal.SIGHUP, getattr(self._service, "reload", self.stop))
        self._reactor.addSystemEventTrigger("after", "shutdown", self._hear_no_more)

    def _take(self, number: signal.Signals, call: Callable[[], object]) -> None:
        """Unless nohup, or whoever else started us, says that it is to be ignored."""
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: self._reactor.callFromThread(call))

    def _hear_no_more(self) -> None:
        """What is left to do is short, and to be done in peace: no handler of ours stays when the reactor is gone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _OUR_SIGNALS)

    @returns_deferred
    async def _stop(self) -> None:
        if not self._service.running:
            return
        try:
            await maybeDeferred(self._service.stopService)
        except Exception:  # noqa: BLE001 - as above
            self.log.failure("stopping failed")
            self.exit_code = 1
