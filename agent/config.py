"""
The agent's configuration: one TOML file and its drop-ins, for the broker, the plugin hosts and the supervisor.

docs/configuration.md says what each option does. What the server sets (intervals, accepted types) is kept in the store;
nothing here is ever rewritten.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from ..runtime.secret import read_secret
from ..runtime.settings import OCTETS, SECONDS, option
from ..runtime.settings import load as load_settings
from ..wire.http import MAX_EXCHANGE_OCTETS
from ..wire.local import MAX_MESSAGE_OCTETS
from ..wire.session.identity import SERVER, is_id

DEFAULT_FILE = Path("/etc/fieldpost/agent.toml")
AUTO, PLAIN, OFF = "auto", "plain", "off"
"""Whether a session is had with the server; `plain`: also without TLS, for tests."""
FIELDPOST, LANDSCAPE = "fieldpost", "landscape"
"""As `protocol`: our own, or that of Ubuntu's landscape-client."""
NO_PROXY = "none"
"""As `proxy`: none, whatever the environment says."""
MIB = 1024 * 1024


def _check_url(url: str) -> None:
    _check_address(url, ("https", "http"), "https://server.example/message-system")


def _check_proxy(url: str) -> None:
    if url != NO_PROXY:
        _check_address(url, ("http",), "http://proxy.example:3128")


def _check_address(url: str, schemes: tuple[str, ...], example: str) -> None:
    """A ValueError when this is no address that we could speak to."""
    wanted = f'must be an address such as "{example}"'
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{wanted}: {error}") from None
    if parts.scheme not in schemes or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(wanted)


def _check_server_id(text: str) -> None:
    if not is_id(text) or not text.startswith(SERVER):
        raise ValueError('must be a server\'s id such as "s:abc123"; the server shows its own')


def _check_line(text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of printable text, not empty")


@frozen(kw_only=True)
class Server:
    """Where the server is, and who we say we are."""

    url: str | None = option(default=None, check=_check_url)
    protocol: str = option(default=FIELDPOST, one_of=(FIELDPOST, LANDSCAPE))
    session: str = option(default=AUTO, one_of=(AUTO, PLAIN, OFF))
    server_id: str | None = option(default=None, check=_check_server_id)
    ping_url: str | None = option(default=None, check=_check_url)
    ping_interval: float = option(default=30.0, unit=SECONDS, at_least=1, at_most=604_800)
    access_group: str | None = option(default=None, check=_check_line)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    account_name: str | None = option(default=None, check=_check_line)
    registration_key: str | None = option(default=None, check=_check_line)
    registration_key_file: Path | None = None
    computer_title: str | None = option(default=None, check=_check_line)
    tags: tuple[str, ...] = option(default=(), check=_check_line)
    proxy: str | None = option(default=None, check=_check_proxy)
    no_proxy: tuple[str, ...] | None = option(default=None, check=_check_line)
    connect_timeout: float = option(default=30.0, unit=SECONDS, at_least=0.1, at_most=600)
    stall_timeout: float = option(default=120.0, unit=SECONDS, at_least=1, at_most=3600)
    timeout: float = option(default=3600.0, unit=SECONDS, at_least=1, at_most=86_400)
    max_answer_octets: int = option(default=MAX_EXCHANGE_OCTETS, unit=OCTETS, at_least=1024)

    def __attrs_post_init__(self) -> None:
        if self.registration_key is not None and self.registration_key_file is not None:
            raise ValueError("write either registration-key or registration-key-file, not both")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate-file and key-file go together; write both, or none")
        if self.protocol != LANDSCAPE and (self.ping_url or self.access_group):
            raise ValueError(
                'ping-url and access-group need protocol = "landscape"; add it, or leave them out'
            )


@frozen(kw_only=True)
class Broker:
    """Where the broker keeps its state and where plugins meet it."""

    state_dir: Path = Path("/var/lib/fieldpost")
    socket: Path = Path("/run/fieldpost/broker.sock")
    user: str | None = option(default=None, check=_check_line)

    @property
    def store(self) -> Path:
        """The file of the message store."""
        return self.state_dir / "store.sqlite"


@frozen(kw_only=True)
class Exchange:
    """When messages go to the server, and how many at a time."""

    interval: float = option(default=900.0, unit=SECONDS, at_least=1, at_most=604_800)
    urgent_interval: float = option(default=60.0, unit=SECONDS, at_least=1, at_most=604_800)
    drain_interval: float = option(default=0.0, unit=SECONDS, at_least=0, at_most=604_800)
    backoff_base: float = option(default=300.0, unit=SECONDS, at_least=0.01, at_most=86_400)
    backoff_cap: float = option(default=7200.0, unit=SECONDS, at_least=0.01, at_most=604_800)
    max_messages: int = option(default=1000, at_least=1, at_most=100_000)
    max_octets: int = option(default=8 * MIB, unit=OCTETS, at_least=1024, at_most=MAX_EXCHANGE_OCTETS)
    handler_grace: float = option(default=30.0, unit=SECONDS, at_least=0, at_most=3600)

    def __attrs_post_init__(self) -> None:
        if self.urgent_interval > self.interval:
            raise ValueError("urgent-interval must not be longer than interval; lower it, or raise the other")
        if self.backoff_base > self.backoff_cap:
            raise ValueError("backoff-base must not be more than backoff-cap; lower it, or raise the other")


@frozen(kw_only=True)
class Store:
    """How much may wait for the server before the oldest is dropped."""

    max_octets: int = option(default=1024 * MIB, unit=OCTETS, at_least=MAX_MESSAGE_OCTETS)
    max_age: float | None = option(default=None, unit=SECONDS, at_least=60)
    reserve_octets: int = option(default=8 * MIB, unit=OCTETS, at_least=0)


@frozen(kw_only=True)
class Log:
    """What is logged, and how a line looks."""

    level: str = option(default="info", one_of=("debug", "info", "warn", "error"))
    format: str = option(default="text", one_of=("text", "json"))


@frozen(kw_only=True)
class Plugins:
    """Where the manifests of the plugins are: beside the configuration unless it says otherwise."""

    manifests: Path = Path("plugins.d")


@frozen(kw_only=True)
class Supervisor:
    """How child processes are started again and stopped."""

    restart_base: float = option(default=1.0, unit=SECONDS, at_least=0.01, at_most=3600)
    restart_cap: float = option(default=60.0, unit=SECONDS, at_least=0.01, at_most=86_400)
    steady_after: float = option(default=30.0, unit=SECONDS, at_least=0, at_most=86_400)
    stop_grace: float = option(default=15.0, unit=SECONDS, at_least=0.1, at_most=3600)


@frozen(kw_only=True)
class AgentConfig:
    """All of it."""

    server: Server
    broker: Broker
    exchange: Exchange
    store: Store
    log: Log
    plugins: Plugins
    supervisor: Supervisor

    @property
    def computer_title(self) -> str:
        """The title under which the computer registers: the configured one, else the host's name."""
        return self.server.computer_title or socket.gethostname()


def registration_key(server: Server, environ: Mapping[str, str]) -> str | None:
    """
    The account's key, from the option, from its file, or from the service manager.

    Raises SettingsError when the file cannot be read or does not hold a key.
    """
    file = server.registration_key_file
    if file is None:
        return server.registration_key
    return read_secret(file, option="server.registration-key-file", environ=environ)


def load_config(file: Path) -> AgentConfig:
    """
    The configuration in a file and the drop-ins beside it: `agent.toml` has `agent.d/*.toml`.

    Raises SettingsError.
    """
    return load_settings(file, AgentConfig, dropins=file.with_suffix(".d"))
