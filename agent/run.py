"""
Starts one of our processes, without twistd: `python -m fieldpost.agent.run ROLE OPTION...`

The supervisor runs its children this way. The service is the same that twistd runs; what differs is that nothing is
searched for, nothing is written to the working folder, and little is loaded.

Exit codes: 0 after a stop that was asked for, 1 when it could not start, 2 for wrong options or configuration.
"""

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from ..runtime.notify import Notifier
from ..wire.errors import FieldpostError
from .config import Log
from .lean import give_back, leave_second_openssl_out, leave_tls_out

ROLES = {
    "broker": "fieldpost.agent.tap",
    "plugin": "fieldpost.agent.host_tap",
    "server": "fieldpost.server.tap",
}
"""Each role's module, which has `Options` and `makeService` as twistd wants them."""

STARTED_WITHIN = 5.0
"""Seconds after which starting is mostly over."""
USAGE = f"usage: python -m fieldpost.agent.run [--log-level LEVEL] [--log-format text|json] {'|'.join(ROLES)} OPTION..."


def main(arguments: list[str]) -> NoReturn:
    """Run until asked to stop."""
    log, arguments = _log_options(arguments)
    role = arguments[0] if arguments else ""
    if role not in ROLES:
        _fail(USAGE, 2)
    if role == "plugin":
        leave_tls_out()
    else:
        leave_second_openssl_out()

    module = import_module(ROLES[role])
    options = _options(module, arguments[1:])
    try:
        service = module.makeService(options)
    except FieldpostError as error:
        _fail(str(error), 1)
    except SystemExit as error:
        _fail(str(error), 2)  # the configuration, see the modules
    sys.exit(_run(service, **{**_configured_log(module, options), **log}))


def _log_options(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The leading options that are ours, and the rest."""
    found: dict[str, str] = {}
    while len(arguments) > 1 and arguments[0] in ("--log-level", "--log-format"):
        found[arguments[0].removeprefix("--log-")] = arguments[1]
        arguments = arguments[2:]
    return found, arguments


def _configured_log(module: Any, options: Any) -> dict[str, str]:  # Any: one of ROLES, and its Options
    """How the role's configuration wants its log, where it has a word on that."""
    log = module.log_of(options) if hasattr(module, "log_of") else Log()
    return {"level": log.level, "format": log.format}


def _options(module: Any, arguments: list[str]) -> Any:  # Any: whatever class the module's Options is
    from twisted.python.usage import UsageError

    options = module.Options()
    try:
        options.parseOptions(arguments)
    except UsageError as error:
        _fail(str(error), 2)
    return options


def _run(service: Any, *, level: str, format: str) -> int:  # Any: an IService
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from .hosting import Hosting
    from .logs import log_observer
    from .vitals import Vitals

    observer = log_observer(sys.stderr, level=level, format=format)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    vitals = Vitals(service=service, notifier=Notifier.of_environment(os.environ, os.getpid()), clock=reactor)
    reactor.callWhenRunning(vitals.start)
    reactor.callLater(STARTED_WITHIN, give_back)
    reactor.addSystemEventTrigger("before", "shutdown", vitals.stop)
    return Hosting(service, reactor).run()


def _fail(text: str, code: int) -> NoReturn:
    sys.stderr.write(text + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
