"""What is mounted, and how much room is left there."""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import psutil
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..runtime.settings import SECONDS, option
from ..wire.message import Message
from .context import Context
from .patience import wait_at_most
from .plugin import Plugin
from .points import Points
from .text import travelling

MIB = 1024 * 1024
DATA_FILESYSTEMS = frozenset({"9p", "ceph", "cifs", "lustre", "nfs", "nfs4", "smb3", "virtiofs", "zfs"})
"""Those that hold data on no device of this machine, or on one that has no name in /dev."""
IMAGE_FILESYSTEMS = frozenset({"squashfs", "iso9660", "erofs", "cramfs", "udf"})
"""Always full, and of no interest for that."""


class Partition(Protocol):
    """One line of the mount table: what `psutil.disk_partitions` gives."""

    @property
    def device(self) -> str: ...

    @property
    def mountpoint(self) -> str: ...

    @property
    def fstype(self) -> str: ...


@frozen
class Room:
    """Octets of a file system: all, and what users may still take."""

    total: int
    free: int


ListPartitions = Callable[[], Sequence[Partition]]
MeasureRoom = Callable[[str], Room | None]

list_partitions: ListPartitions = partial(psutil.disk_partitions, all=True)


def measure_room(mount_point: str) -> Room | None:
    """
    The room at a mount point, None where there is none to have: a single file that is mounted, or a size of zero.

    It may block for as long as a dead server does not answer. Raises OSError.
    """
    if not stat.S_ISDIR(os.stat(mount_point).st_mode):
        return None
    found = os.statvfs(mount_point)
    total = found.f_blocks * found.f_frsize
    return Room(total, found.f_bavail * found.f_frsize) if total else None


@frozen(kw_only=True)
class MountInfoSettings:
    """How often to measure, and for how long to wait for each file system."""

    interval: float = option(default=300.0, unit=SECONDS, at_least=1, at_most=86_400)
    patience: float = option(default=5.0, unit=SECONDS, at_least=0.1, at_most=3600)


class MountInfo(Plugin):
    """
    Sends `mount-info` with `mount-info`: a list of [time, {device, mount-point, filesystem, total-space}], what is new;
    and `free-space` with `free-space`: a list of [time, mount point, free space in MiB]. Total space is in MiB too.

    Measuring blocks where a file server is dead, so it is done in a thread. A mount point that has not answered within
    the time is left alone until it does.
    """

    name = "mount-info"
    sends = ("mount-info", "free-space")
    scope = "disk"
    interval = 300.0
    run_at_start = True
    Settings = MountInfoSettings

    def __init__(
        self,
        context: Context,
        list_partitions: ListPartitions = list_partitions,
        measure_room: MeasureRoom = measure_room,
    ) -> None:
        super().__init__(context)
        self.interval = self.settings.interval
        self._list_partitions = list_partitions
        self._measure_room = measure_room
        self._unanswered: set[str] = set()
        self._unreadable: set[str] = set()
        self._told: dict[str, dict[str, object]] = {}
        self._points = Points(word=_worded, send=self.send, log=self.log)
        self._ran_once = False

    async def run(self) -> None:
        """Measure; tell what is mounted anew, and the first time what is free."""
        rooms = await self._measured(interesting(await self.in_thread(self._list_partitions)))
        now = int(self.now())
        self._points.add([now, travelling(m.mountpoint), room.free // MIB] for m, room in rooms)
        self._tell_mounts(now, {mount.mountpoint: _described(mount, room) for mount, room in rooms})
        if not self._ran_once:
            self._ran_once = True
            self.later(0, self._points.report)

    def reset(self) -> None:
        """See Plugin."""
        self._told = {}

    async def on_impending_exchange(self) -> None:
        """Report what was measured."""
        await self._points.report()

    async def on_stop(self) -> None:
        """Report what was measured."""
        await self._points.report()

    def _tell_mounts(self, now: int, seen: dict[str, dict[str, object]]) -> None:
        """Measuring goes on while the broker is away, so this does not wait. One that is gone is news when it is back."""
        told, self._told = self._told, seen
        news = [mount for where, mount in seen.items() if told.get(where) != mount]
        if news:
            message = {"type": "mount-info", "mount-info": [[now, mount] for mount in news]}
            self.send(message).addErrback(self._not_told)

    def _not_told(self, failure: Failure) -> None:
        self._told = {}
        self.log.warn(
            "{plugin}: the broker did not take what is mounted: {reason}; the next run tries again",
            plugin=self.name,
            reason=failure.getErrorMessage(),
        )

    async def _measured(self, mounts: Iterable[Partition]) -> list[tuple[Partition, Room]]:
        """Each device once: where it is mounted at several places, at the first that has room."""
        rooms: dict[str, tuple[Partition, Room]] = {}
        for mount in mounts:
            key = mount.device if mount.device.startswith("/dev/") else mount.mountpoint
            room = None if key in rooms else await self._room(mount.mountpoint)
            if room is not None:
                rooms[key] = mount, room
        return list(rooms.values())

    # Measuring

    async def _room(self, where: str) -> Room | None:
        if where in self._unanswered:
            return None
        measured: Deferred[Room | None] = self.in_thread(self._measure_room, where)
        self._unanswered.add(where)
        measured.addBoth(self._answered, where)
        if await wait_at_most(measured, self.settings.patience, self.context.clock):
            return await measured
        self.log.warn(
            "{plugin}: {where} does not answer; it is left alone until it does", plugin=self.name, where=where
        )
        return None

    def _answered(self, result: "Room | Failure | None", where: str) -> "Room | None":
        self._unanswered.discard(where)
        if not isinstance(result, Failure):
            self._unreadable.discard(where)
            return result
        if where not in self._unreadable:
            self._unreadable.add(where)
            self.log.warn(
                "{plugin}: the room at {where} cannot be measured: {reason}",
                plugin=self.name,
                where=where,
                reason=result.getErrorMessage(),
            )
        return None


def interesting(partitions: Iterable[Partition]) -> list[Partition]:
    """
    Those that hold data, on a device or a server, short paths first; and the root, whatever it is, since a container
    often sees no device at all. Of what is mounted over something else, the topmost.
    """
    visible = {mount.mountpoint: mount for mount in partitions}
    found = [mount for mount in visible.values() if mount.mountpoint == "/" or _holds_data(mount)]
    return sorted(found, key=lambda mount: len(mount.mountpoint))


def _holds_data(mount: Partition) -> bool:
    if mount.fstype in IMAGE_FILESYSTEMS or mount.device.startswith("/dev/loop"):
        return False
    return mount.device.startswith("/dev/") or mount.fstype in DATA_FILESYSTEMS


def _described(mount: Partition, room: Room) -> dict[str, object]:
    return {
        "device": travelling(mount.device),
        "mount-point": travelling(mount.mountpoint),
        "filesystem": mount.fstype,
        "total-space": room.total // MIB,
    }


def _worded(points: Sequence[list[object]]) -> Message:
    return {"type": "free-space", "free-space": list(points)}
