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
    """The command line after `fieldpost-broker`; the configuration is read, and refused, here."""

    synopsis = "[options]"
    optParameters: ClassVar = [
        [
            "config",
            "c",
            str(DEFAULT_FILE),
            "Configuration file; the folder NAME.d beside NAME.toml holds drop-ins.",
        ]
    ]

    def postOptions(self) -> None:
        """Raises UsageError with everything that is wrong in the configuration."""
        try:
            self.configuration = load_config(Path(self["config"]))
            self.manifests = load_manifests(self.configuration.plugins.manifests)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from None


def makeService(options: Options) -> IService:
    """The broker that the configuration describes. Nothing is opened before it is started."""
    from twisted.internet import reactor

    return build_broker(options.configuration, options.manifests, reactor)
