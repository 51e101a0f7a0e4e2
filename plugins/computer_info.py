"""What kind of machine this is."""

import os
import platform
import socket
from collections.abc import Callable
from typing import Any

import psutil
from attrs import frozen

from ..runtime.settings import SECONDS, option
from ..wire.message import Message
from .context import Context
from .memory_info import MIB, read_swap
from .plugin import Plugin
from .text import travelling


@frozen(kw_only=True)
class ComputerInfoSettings:
    """How often to look."""

    interval: float = option(default=900.0, unit=SECONDS, at_least=1, at_most=604_800)


def read_computer() -> dict[str, Any]:
    """The machine's figures, as they are sent; what cannot be read is left out."""
    system = os.uname()
    found = {
        "hostname": travelling(socket.gethostname()),
        "architecture": system.machine,
        "kernel": system.release,
        "processors": os.cpu_count(),
        "total-memory": psutil.virtual_memory().total // MIB,
        "total-swap": total_swap() // MIB,
        "distribution": distribution(),
    }
    return {key: value for key, value in found.items() if value is not None}


def total_swap(read: Callable[[], Any] = read_swap) -> int:
    """Octets; none where there is nowhere to read of it. Any: psutil's, of which `Free` names another field."""
    try:
        return int(read().total)
    except OSError:
        return 0


def distribution(read: Callable[[], dict[str, str]] = platform.freedesktop_os_release) -> str | None:
    """The distribution's own name for itself, where it says one."""
    try:
        return read().get("PRETTY_NAME")
    except OSError:
        return None


class ComputerInfo(Plugin):
    """
    Sends `computer-info` at the start and when something changed.

    It has `hostname`, `architecture`, `kernel`, `processors`, `total-memory` and `total-swap` in MiB, `distribution`.
    """

    name = "computer-info"
    sends = ("computer-info",)
    scope = "computer"
    interval = 900.0
    run_at_start = True
    Settings = ComputerInfoSettings

    def __init__(self, context: Context, read_computer: Callable[[], dict[str, Any]] = read_computer) -> None:
        super().__init__(context)
        self.interval = self.settings.interval
        self._read_computer = read_computer
        self._told: Message | None = None

    async def run(self) -> None:
        """Look, and tell what is new."""
        found = {"type": "computer-info", **self._read_computer()}
        if found != self._told:
            await self.send(dict(found))
            self._told = found

    def reset(self) -> None:
        """See Plugin."""
        self._told = None
