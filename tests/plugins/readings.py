"""What psutil would read, as plain values that a test sets."""

from typing import Any

from attrs import define


@define
class Times:
    """Processor times."""

    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    guest: float = 0.0
    guest_nice: float = 0.0

    def _asdict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}


@define
class Memory:
    """Memory or swap."""

    available: int = 0
    free: int = 0


@define
class Counters:
    """One interface."""

    bytes_recv: int = 0
    bytes_sent: int = 0


@define
class Mount:
    """One line of the mount table."""

    device: str
    mountpoint: str
    fstype: str = "ext4"
