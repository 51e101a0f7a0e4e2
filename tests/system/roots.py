"""
The roots that machines start from, one above the other: Debian, with our dependencies, with our packages, configured.

The first two stay between runs. The packages are installed by the README's own commands on a booted machine without a
network, as its owner would do it.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .layers import Layers, Mount, remove
from .machine import Machine
from .packages import Packages
from .readme import commands

SUITE = "bookworm"
INCLUDED = "systemd,systemd-sysv,dbus"
BASE_LIMIT = 900
FOLDER = "/root/packages"
"""Where the packages lie on a machine; the commands of the README run there."""

INSTALL_BLOCKS = ("install-server", "install-agent")
_FIELDS = ("Pre-Depends", "Depends", "Recommends")


class Roots:
    """Makes them, below the folder `place`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._runs = place / "runs"
        self._count = 0

    def clean(self) -> None:
        """Away with what earlier runs left."""
        remove(self._runs)
        self._runs.mkdir(parents=True)

    def place_for(self, name: str) -> Path:
        """An empty folder for a machine of this run."""
        folder = self._runs / name
        remove(folder)
        folder.mkdir(parents=True)
        return folder

    def base(self) -> Layers:
        """Debian 12 with systemd and nothing else."""
        folder = self._place / f"debian-{SUITE}"
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            remove(fresh)
            command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(fresh)]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=BASE_LIMIT, check=False)
            if ran.returncode:
                raise AssertionError(
                    f"debootstrap failed; it ends with\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
                )
            prepare_base(fresh)
            fresh.rename(folder)
        return Layers((folder,))

    def with_dependencies(self, packages: Packages) -> Layers:
        """Debian 12 with all that our packages bring along from Debian."""
        base = self.base()
        key = hashlib.sha256("\n".join(_relations(packages)).encode()).hexdigest()[:16]
        folder = self._place / f"dependencies-{key}"
        if not folder.exists():
            made = self.change(base, "dependencies", lambda machine: _install_dependencies(machine, packages))
            for old in self._place.glob("dependencies-*"):
                shutil.rmtree(old)
            made.folders[-1].rename(folder)
        return base.and_above(folder)

    def change(self, layers: Layers, name: str, do: Callable[[Machine], None]) -> Layers:
        """These layers, and one with what `do` changed on a machine that has them. It is off before and after."""
        place = self.place_for(name)
        with Mount(layers, place) as mount:
            machine = Machine(mount.point, name=name, log=place / "console.log")
            try:
                do(machine)
                if machine.is_on:
                    machine.shut_down()
            finally:
                machine.cut_power()
        return mount.result()


def prepare_base(root: Path) -> None:
    """The journal outlives a power cut, `apt` asks no questions, and dpkg does not sync each file of a throw-away disk."""
    (root / "var/log/journal").mkdir(exist_ok=True)
    (root / "etc/apt/apt.conf.d/90system-test").write_text('APT::Get::Assume-Yes "true";\n')
    (root / "etc/dpkg/dpkg.cfg.d/system-test").write_text("force-unsafe-io\n")


def bring(machine: Machine, packages: Packages, folder: str = FOLDER) -> None:
    """Copy the packages onto a machine's disk; others that lay there go."""
    target = machine.path(folder)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(packages.folder, target)


def install_by_readme(machine: Machine, readme: Path, blocks: tuple[str, ...] = INSTALL_BLOCKS) -> None:
    """Run what the README says, on a machine that runs."""
    for block in blocks:
        machine.shell(f"cd {FOLDER}\n{commands(readme, block)}", limit=600)


def _install_dependencies(machine: Machine, packages: Packages) -> None:
    """Exactly what `apt install` would bring along, recommended packages too."""
    bring(machine, packages)
    machine.prepare("apt-get update --quiet=2")
    plan = machine.prepare(f"apt-get install --simulate {FOLDER}/*.deb").stdout
    ours = set(packages.names())
    names = [name for name in re.findall(r"^Inst (\S+)", plan, re.MULTILINE) if name not in ours]
    if names:
        machine.prepare(f"apt-get install --quiet=2 --no-install-recommends {' '.join(names)}; apt-get clean")
    shutil.rmtree(machine.path(FOLDER))


def _relations(packages: Packages) -> list[str]:
    return [
        subprocess.run(
            ["dpkg-deb", "--field", str(file), *_FIELDS], capture_output=True, text=True, check=True
        ).stdout
        for file in packages.files()
    ]
