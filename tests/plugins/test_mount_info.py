"""mount-info tells what is mounted and how much room is left, and never hangs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from fieldpost.plugins.mount_info import MIB, MountInfo, Room, interesting, measure_room
from fieldpost.testing import START, PluginRun
from tests.plugins.readings import Mount

T = int(START)
ROOT = Mount("/dev/sda1", "/")
DATA = Mount("/dev/sdb1", "/data", "xfs")
NFS = Mount("server:/export", "/mnt/nfs", "nfs4")


class Machine:
    """A mount table and the room of each mount point, in MiB: total and free."""

    def __init__(self, *mounts: Mount, **rooms: Any) -> None:
        self.mounts = list(mounts)
        self.rooms: dict[str, Any] = {"/": (1000, 400), "/data": (5000, 50), "/mnt/nfs": (9000, 90)}
        self.measured: list[str] = []
        self.run = PluginRun(
            MountInfo, list_partitions=lambda: self.mounts, measure_room=self.measure, start=False, **rooms
        )

    def measure(self, where: str) -> Room | None:
        self.measured.append(where)
        found = self.rooms[where]
        if isinstance(found, Exception):
            raise found
        return found and Room(found[0] * MIB, found[1] * MIB)

    def start(self) -> PluginRun[MountInfo]:
        self.run.runner.start()
        self.run.advance(1)
        return self.run


def free(run: PluginRun[MountInfo]) -> list[list[Any]]:
    return [point for message in run.messages_of("free-space") for point in message["free-space"]]


def mounted(run: PluginRun[MountInfo]) -> list[str]:
    return [m["mount-point"] for message in run.messages_of("mount-info") for _, m in message["mount-info"]]


def test_everything_is_told_at_the_start() -> None:
    """What is mounted, and what is free, at once."""
    run = Machine(ROOT, DATA).start()

    assert run.messages == [
        {
            "type": "mount-info",
            "mount-info": [
                [T, {"device": "/dev/sda1", "mount-point": "/", "filesystem": "ext4", "total-space": 1000}],
                [
                    T,
                    {"device": "/dev/sdb1", "mount-point": "/data", "filesystem": "xfs", "total-space": 5000},
                ],
            ],
        },
        {"type": "free-space", "free-space": [[T, "/", 400], [T, "/data", 50]]},
    ]


def test_free_space_is_gathered_until_an_exchange_is_near() -> None:
    """A point every five minutes."""
    machine = Machine(ROOT)
    run = machine.start()
    machine.rooms["/"] = (1000, 300)
    run.advance(950)
    assert len(run.messages) == 2

    run.impending_exchange()

    assert [point[1:] for point in free(run)] == [["/", 400]] + [["/", 300]] * len(free(run)[1:])
    assert len(free(run)) == 4
    assert len(run.messages_of("mount-info")) == 1


def test_the_last_figures_come_at_the_end() -> None:
    """What was measured is not lost with the process."""
    run = Machine(ROOT).start()
    run.advance(400)

    run.stop()

    assert len(free(run)) == 2


def test_what_is_mounted_anew_or_grown_is_told_when_it_is_found() -> None:
    """And nothing else."""
    machine = Machine(ROOT)
    run = machine.start()
    machine.mounts.append(DATA)
    run.advance(400)
    machine.rooms["/"] = (2000, 900)
    run.advance(400)
    machine.mounts.remove(DATA)
    run.advance(400)
    machine.mounts.append(DATA)
    run.advance(400)

    assert mounted(run) == ["/", "/data", "/", "/data"]


def test_everything_is_told_again_when_the_server_lost_track() -> None:
    """Of disks, or of all."""
    run = Machine(ROOT, DATA).start()

    run.broker.resynchronize("disk")

    assert mounted(run) == ["/", "/data"] * 2


def test_mounts_that_the_broker_did_not_take_are_told_with_the_next_run() -> None:
    """And why is logged."""
    machine = Machine(ROOT)
    machine.run.broker.refuse("mount-info", "too-large", "no")
    with capturedLogs() as logs:
        run = machine.start()
    assert mounted(run) == []
    run.broker.accept("mount-info")

    run.advance(400)

    assert mounted(run) == ["/"]
    assert logs[0]["reason"] == "no"


def test_measuring_goes_on_while_the_broker_is_away() -> None:
    """Points gather."""
    machine = Machine(ROOT)
    machine.run.broker.away()
    run = machine.start()
    run.advance(1000)

    run.broker.back()
    run.stop()

    assert len(free(run)) == 4


def test_a_mount_that_does_not_answer_is_left_alone_until_it_does() -> None:
    """One thread hangs, not one more each five minutes; the others are measured."""
    machine = Machine(ROOT, NFS, DATA)
    machine.run.threads.hold("/mnt/nfs")
    with capturedLogs() as logs:
        run = machine.start()
        run.advance(1200)
    run.impending_exchange()
    assert run.threads.waiting == 1
    assert [where for _, where, _ in free(run)] == ["/", "/data"] * 4
    assert [str(e["log_format"]).format(**e) for e in logs] == [
        "mount-info: /mnt/nfs does not answer; it is left alone until it does"
    ]

    run.threads.release()
    run.advance(400)

    assert mounted(run) == ["/", "/data", "/mnt/nfs"]


def test_a_mount_that_cannot_be_read_is_complained_of_once() -> None:
    """The others are measured; when it can be read again it is told."""
    machine = Machine(ROOT, DATA)
    machine.rooms["/data"] = PermissionError(13, "Permission denied")
    with capturedLogs() as logs:
        run = machine.start()
        run.advance(1000)
    assert mounted(run) == ["/"]
    assert [e["where"] for e in logs] == ["/data"]
    machine.rooms["/data"] = (5000, 10)

    run.advance(400)

    assert mounted(run) == ["/", "/data"]


def test_a_table_that_cannot_be_read_is_a_run_that_failed() -> None:
    """Logged, and tried again."""

    def no_table() -> Iterable[Mount]:
        raise FileNotFoundError("/proc/self/mounts")

    with capturedLogs() as logs:
        run = PluginRun(MountInfo, list_partitions=no_table, measure_room=lambda _: None)
        run.advance(1000)

    assert run.messages == []
    assert len(logs) == 1


def test_each_device_is_told_once_at_its_shortest_path_with_room() -> None:
    """A container sees single files of the same device mounted all over."""
    machine = Machine(
        Mount("overlay", "/", "overlay"),
        Mount("/dev/sda1", "/etc/hosts"),
        Mount("/dev/sda1", "/var/lib/data"),
        Mount("/dev/sda1", "/var/lib/more-data"),
    )
    machine.rooms |= {"/etc/hosts": None, "/var/lib/data": (10, 5), "/var/lib/more-data": (10, 5)}

    run = machine.start()

    assert mounted(run) == ["/", "/var/lib/data"]


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        (Mount("/dev/sda1", "/home"), True),
        (Mount("server:/export", "/mnt", "nfs"), True),
        (Mount("tank/home", "/home", "zfs"), True),
        (Mount("proc", "/proc", "proc"), False),
        (Mount("tmpfs", "/run", "tmpfs"), False),
        (Mount("overlay", "/var/lib/docker/overlay2/x/merged", "overlay"), False),
        (Mount("/dev/loop3", "/snap/core/1", "squashfs"), False),
        (Mount("/dev/loop3", "/mnt", "ext4"), False),
        (Mount("/dev/sr0", "/cdrom", "iso9660"), False),
    ],
)
def test_what_holds_data_is_told(mount: Mount, told: bool) -> None:
    """Not what the kernel makes up, nor images that are always full."""
    assert interesting([mount]) == [mount] * told


def test_the_root_is_told_whatever_it_is_and_only_the_topmost() -> None:
    """An early boot's root lies under the real one."""
    early = Mount("rootfs", "/", "rootfs")

    assert interesting([early, ROOT]) == [ROOT]


def test_a_path_that_is_no_text_travels_all_the_same() -> None:
    """A mount point is any octets."""
    odd = "/mnt/\udcff"
    machine = Machine(Mount("/dev/sdc1", odd))
    machine.rooms[odd] = (10, 1)

    assert mounted(machine.start()) == ["/mnt/\N{REPLACEMENT CHARACTER}"]


def test_room_is_a_folders(tmp_path: Path) -> None:
    """Not a single file's that is mounted, and not where there is none at all."""
    file = tmp_path / "file"
    file.touch()

    room = measure_room(str(tmp_path))

    assert room is not None
    assert 0 <= room.free <= room.total
    assert measure_room(str(file)) is None
    assert measure_room("/proc") is None


def test_this_machine_can_be_read() -> None:
    """The real one, as it is: at least its root."""
    run = PluginRun(MountInfo)
    run.advance(1)

    assert "/" in mounted(run)
    assert "/" in {where for _, where, _ in free(run)}
