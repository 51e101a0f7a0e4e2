"""
The files of a demo: certificates, configuration of server and agent, manifests. Everything is in one folder.

The demo's configuration is what a first trial would write by hand, with short intervals, and `execute-script` enabled
for the user who runs it.
"""

import json
import secrets
from ipaddress import IPv4Address
from pathlib import Path

from attrs import frozen

from ...wire.errors import FieldpostError
from .certificates import make_certificates

HOST = "127.0.0.1"
ACCOUNT = "demo"
MAX_SOCKET_PATH_OCTETS = 107


class FolderUnusable(FieldpostError):
    """The demo cannot keep its state there; the text says why and what to do."""


@frozen(kw_only=True)
class DemoPlugin:
    """A bundled plugin as the demo runs it; `settings` are lines of TOML."""

    name: str
    module: str
    sends: tuple[str, ...] = ()
    handles: tuple[str, ...] = ()
    host: str = "monitors"
    settings: str = ""


_OFTEN = 'interval = "1 s"\nstep = "2 s"'
PLUGINS = (
    DemoPlugin(
        name="computer-info",
        module="fieldpost.plugins.computer_info:ComputerInfo",
        sends=("computer-info",),
    ),
    DemoPlugin(
        name="cpu-usage",
        module="fieldpost.plugins.cpu_usage:CpuUsage",
        sends=("cpu-usage",),
        settings=_OFTEN,
    ),
    DemoPlugin(
        name="memory-info",
        module="fieldpost.plugins.memory_info:MemoryInfo",
        sends=("memory-info",),
        settings=_OFTEN,
    ),
    DemoPlugin(
        name="mount-info",
        module="fieldpost.plugins.mount_info:MountInfo",
        sends=("mount-info", "free-space"),
        settings='interval = "5 s"',
    ),
    DemoPlugin(
        name="network-activity",
        module="fieldpost.plugins.network_activity:NetworkActivity",
        sends=("network-activity",),
        settings=_OFTEN,
    ),
    DemoPlugin(
        name="execute-script",
        module="fieldpost.plugins.execute_script:ExecuteScript",
        handles=("execute-script",),
        host="scripts",
        settings='time-limit = "20 s"',
    ),
)
EXPECTED_TYPES = tuple(kind for plugin in PLUGINS for kind in plugin.sends)
"""What must arrive for the demo to have worked."""
HOSTS = tuple(dict.fromkeys(plugin.host for plugin in PLUGINS))

_SERVER = """\
[server]
state-dir = "server"
listen = ["ssl:port={port}:interface={host}:privateKey={folder}/server.key:certKey={folder}/server.pem"]
api-token-file = "api-token"

[account.{account}]
registration-key-file = "registration-key"
auto-accept = true
"""
_AGENT = """\
[server]
url = "https://{host}:{port}/message-system"
ca-file = "ca.pem"
account-name = "{account}"
registration-key-file = "registration-key"
proxy = "none"

[broker]
state-dir = "broker"
socket = "broker.sock"

[exchange]
interval = "2 s"
urgent-interval = "1 s"
backoff-base = "1 s"
backoff-cap = "5 s"

[plugins]
manifests = "plugins.d"
"""


class DemoFolder:
    """Knows where each file is, and writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server_config = path / "server.toml"
        self.agent_config = path / "agent.toml"
        self.ca_file = path / "ca.pem"
        self.socket = path / "broker.sock"
        self.log = path / "demo.log"
        self._token_file = path / "api-token"
        self._ports_file = path / "server" / "ports.json"

    def prepare(self) -> None:
        """
        Make the folder, and all in it that does not depend on the server's port.

        Raises FolderUnusable.
        """
        self._check_path()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FolderUnusable(f"{self.path} is not empty; name a folder that is new or empty")
            self._write_all()
        except OSError as error:
            raise FolderUnusable(
                f"{error.filename or self.path} cannot be written: {error.strerror}; name another folder with --state"
            ) from error

    def write_agent_config(self, port: int) -> None:
        """The server listens on this port, and is to do so again should it be started anew."""
        self._write_server_config(port)
        self.agent_config.write_text(_AGENT.format(host=HOST, port=port, account=ACCOUNT))

    def server_port(self) -> int | None:
        """Where the server listens, once it does."""
        try:
            ports = json.loads(self._ports_file.read_text())["ports"]
        except FileNotFoundError:
            return None
        return int(ports[0]["port"])

    def api_token(self) -> str:
        """What the server's API wants to be shown."""
        return self._token_file.read_text().strip()

    def _check_path(self) -> None:
        length = len(str(self.socket).encode())
        if length > MAX_SOCKET_PATH_OCTETS:
            raise FolderUnusable(
                f"{self.path} is too long a path for a socket in it ({length} octets, {MAX_SOCKET_PATH_OCTETS} are allowed);"
                " name a shorter one with --state"
            )
        if set(str(self.path)) & set(':\\"') or not str(self.path).isprintable():
            raise FolderUnusable(f"{self.path}: the demo's folder must have no `:`, `\\` or `\"` in its path")

    def _write_all(self) -> None:
        certificates = make_certificates(("localhost", IPv4Address(HOST)))
        self.ca_file.write_bytes(certificates.authority)
        (self.path / "server.pem").write_bytes(certificates.certificate)
        self._write_secret("server.key", certificates.key)
        self._write_secret("api-token", secrets.token_urlsafe(24).encode())
        self._write_secret("registration-key", secrets.token_urlsafe(12).encode())
        self._write_server_config(0)
        manifests = self.path / "plugins.d"
        manifests.mkdir()
        for plugin in PLUGINS:
            (manifests / f"{plugin.name}.toml").write_text(_manifest(plugin))

    def _write_server_config(self, port: int) -> None:
        """Port 0 is any that is free."""
        self.server_config.write_text(_SERVER.format(host=HOST, port=port, folder=self.path, account=ACCOUNT))

    def _write_secret(self, name: str, octets: bytes) -> None:
        file = self.path / name
        file.touch(mode=0o600)
        file.write_bytes(octets)


def _manifest(plugin: DemoPlugin) -> str:
    return "\n".join(
        (
            f'module = "{plugin.module}"',
            f'host = "{plugin.host}"',
            f"sends = {json.dumps(plugin.sends)}",
            f"handles = {json.dumps(plugin.handles)}",
            "",
            "[settings]",
            plugin.settings,
            "",
        )
    )
