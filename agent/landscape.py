"""What the broker needs in order to stand in for Ubuntu's landscape-client."""

from pathlib import Path

from attrs import evolve

from .. import __version__
from ..broker.carriage.address import Address
from .config import Server

USER_AGENT = f"landscape-client/{__version__}-fieldpost"
"""Servers know what to do with the name in front; the version is ours, and says so."""
MAX_MESSAGES = 100
"""Of one exchange: as many as its client sends (landscape 1.3)."""
PING_PATH = "/ping"
_CONTAINER = Path("/run/systemd/container")
_MAX_NAME = 64


def ping_address(server: Server) -> Address | None:
    """Where to ping: as configured, or beside the exchange, with its scheme; None without a server."""
    if server.ping_url is not None:
        return Address.parse(server.ping_url)
    return None if server.url is None else evolve(Address.parse(server.url), target=PING_PATH)


def container_kind(file: Path = _CONTAINER) -> str:
    """The kind of container that this is, as systemd knows it; empty where it knows of none."""
    try:
        with file.open(encoding="ascii") as opened:
            name = opened.read(_MAX_NAME).strip()
    except (OSError, ValueError):
        return ""
    return name if name.isprintable() else ""
