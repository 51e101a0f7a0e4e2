"""
Root folders in layers, as an overlay file system joins them: what a machine changes lands in a layer of its own.

A layer is made once and then only read, so a hundred machines can start from the same installed Debian at no cost.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from attrs import frozen


@frozen
class Layers:
    """Folders, the lowest first."""

    folders: tuple[Path, ...]

    def and_above(self, folder: Path) -> "Layers":
        """These with one more on top."""
        return Layers((*self.folders, folder))


class Mount:
    """Layers joined at `point`; what is written goes to the folder `top` alone."""

    def __init__(self, layers: Layers, place: Path) -> None:
        self.layers = layers
        self.place = place
        self.point = place / "root"
        self.top = place / "top"

    def __enter__(self) -> Self:
        work = self.place / "work"
        for folder in (self.point, self.top, work):
            folder.mkdir(parents=True)
        self.top.chmod(0o755)
        lower = ":".join(str(folder) for folder in reversed(self.layers.folders))
        options = f"lowerdir={lower},upperdir={self.top},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.point)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        unmount(self.point)

    def result(self) -> Layers:
        """What was joined, with what was written on top. For after the unmount."""
        return self.layers.and_above(self.top)


def unmount(point: Path) -> None:
    """Whatever is mounted there goes, even if somebody still looks at it."""
    if os.path.ismount(point):
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def remove(folder: Path) -> None:
    """A folder of an earlier run and all in it, but nothing that is mounted below it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        point = Path(line.split()[1])
        if point.is_relative_to(folder):
            unmount(point)
    if folder.exists():
        shutil.rmtree(folder)
