"""The twistd entry of the broker: `twistd -n fieldpost-broker --config /etc/fieldpost/agent.toml`."""

from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from ..runtime.settings import SettingsError
from .broker_service import build_broker
from .config import DEFAULT_FILE, load_config
from .manifest import load_manifests


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
    The broker that the configuration describes. Nothing is opened before it is started.

    Raises SystemExit with everything that is wrong in the configuration: Twisted 22.4 would end well after any other
    error here that it does not show as a traceback.
    """
    from twisted.internet import reactor

    try:
        config = load_config(Path(options["config"]))
        manifests = load_manifests(config.plugins.manifests)
    except SettingsError as error:
        raise SystemExit(f"fieldpost-broker: the configuration cannot be used\n{error}") from None
    return build_broker(config, manifests, reactor)
