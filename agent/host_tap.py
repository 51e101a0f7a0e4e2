"""The twistd entry of a plugin process: `twistd -n fieldpost-plugin --config /etc/fieldpost/agent.toml monitors`."""

from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from ..runtime.doors import keep_steady_time
from ..runtime.settings import SettingsError
from ..runtime.toml_source import Problem
from .config import DEFAULT_FILE, AgentConfig, Log, load_config
from .lean import leave_tls_out
from .manifest import Manifest, hosts_of, load_manifests


class Options(usage.Options):
    """The command line after `fieldpost-plugin`."""

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


def makeService(options: Options) -> IService:
    """
    The process's plugins, and their one connection to the broker. No TLS can be spoken in the process afterwards.

    Raises SystemExit with everything that is wrong in the configuration.
    """
    leave_tls_out()
    from twisted.internet import reactor

    from .host import make_host

    keep_steady_time(reactor)
    try:
        config = load_config(Path(options["config"]))
        members = _members(config, options.host)
    except SettingsError as error:
        raise SystemExit(f"fieldpost-plugin: the configuration cannot be used\n{error}") from None
    service: IService = make_host(members, socket=config.broker.socket, reactor=reactor)
    return service


def _members(config: AgentConfig, host: str) -> tuple[Manifest, ...]:
    """Raises SettingsError."""
    folder = config.plugins.manifests
    hosts = hosts_of(load_manifests(folder))
    if host not in hosts:
        known = ", ".join(sorted(hosts)) or "none"
        text = (
            f"no plugin that is enabled runs in a process `{host}`; name one of those that there are: {known}"
        )
        raise SettingsError([Problem(file=folder, text=text)])
    return hosts[host]


def log_of(options: usage.Options) -> Log:
    """How the configuration wants the process's log. Raises SettingsError, but for a configuration that was just used."""
    return load_config(Path(options["config"])).log
