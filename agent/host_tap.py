"""The twistd entry of a plugin process: `twistd -n fieldpost-plugin --config /etc/fieldpost/agent.toml monitors`."""

from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from ..runtime.settings import SettingsError
from .config import DEFAULT_FILE, load_config
from .lean import leave_tls_out
from .manifest import Manifest, hosts_of, load_manifests


class Options(usage.Options):
    """The command line after `fieldpost-plugin`; the configuration is read, and refused, here."""

    synopsis = "[options] HOST"
    optParameters: ClassVar = [
        [
            "config",
            "c",
            str(DEFAULT_FILE),
            "Configuration file; the folder NAME.d beside NAME.toml holds drop-ins.",
        ]
    ]

    def parseArgs(self, host: str) -> None:  # type: ignore[override]
        """HOST is what the manifests call the process; a plugin without `host` has one of its own name."""
        self.host = host

    def postOptions(self) -> None:
        """Raises UsageError with everything that is wrong in the configuration, or for a host that there is not."""
        try:
            self.configuration = load_config(Path(self["config"]))
            manifests = load_manifests(self.configuration.plugins.manifests)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from None
        self.manifests = self._members(manifests)

    def _members(self, manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
        hosts = hosts_of(manifests)
        if self.host not in hosts:
            known = ", ".join(sorted(hosts)) or "none"
            folder = self.configuration.plugins.manifests
            raise usage.UsageError(
                f"no plugin that is enabled in {folder} runs in a process `{self.host}`; there are: {known}"
            )
        return hosts[self.host]


def makeService(options: Options) -> IService:
    """The process's plugins, and their one connection to the broker. No TLS can be spoken in the process afterwards."""
    leave_tls_out()
    from twisted.internet import reactor

    from .host import make_host

    service: IService = make_host(
        options.manifests, socket=options.configuration.broker.socket, reactor=reactor
    )
    return service
