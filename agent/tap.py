"""The twistd entry of the broker: `twistd -n fieldpost-broker --config /etc/fieldpost/agent.toml`."""

import os
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

from ..runtime.doors import keep_steady_time
from ..runtime.notify import Notifier
from ..runtime.settings import SettingsError
from .broker_service import BrokerService, build_broker
from .config import DEFAULT_FILE, Log, load_config
from .manifest import load_manifests
from .reloading import ReloadingService


class Options(usage.Options):
    """The command line after `fieldpost-broker`."""

    synopsis = "[options]"
    optParameters: ClassVar = [
        [
            "config",
            "c",
            str(DEFAULT_FILE),
            "Configuration file; the folder NAME.d beside NAME.toml holds drop-ins.",
        ]
    ]


def makeService(options: usage.Options) -> IService:
    """
    The broker that the configuration describes, made anew from it on a reload. Nothing is opened before it is started.

    Raises SystemExit with everything that is wrong in the configuration: Twisted 22.4 would end well after any other
    error here that it does not show as a traceback.
    """
    from twisted.internet import reactor

    keep_steady_time(reactor)
    file = Path(options["config"])
    notifier = Notifier.of_environment(os.environ, os.getpid())
    try:
        service: IService = ReloadingService(make=lambda: _broker(file, reactor), notifier=notifier)
    except SettingsError as error:
        raise SystemExit(f"fieldpost-broker: the configuration cannot be used\n{error}") from None
    return service


def _broker(file: Path, reactor: Any) -> BrokerService:
    """Raises SettingsError. Any: Twisted has no one interface for a reactor."""
    config = load_config(file)
    return build_broker(config, load_manifests(config.plugins.manifests), reactor)


def log_of(options: usage.Options) -> Log:
    """How the configuration wants the process's log. Raises SettingsError, but for a configuration that was just used."""
    return load_config(Path(options["config"])).log
