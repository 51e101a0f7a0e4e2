"""What this computer must have before a Debian can be made and booted on it."""

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "pybuild": "dh-python",
    "git": "git",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "journalctl": "systemd",
}
"""Each program that is started here, and Debian's package that has it."""


def missing_rights() -> str | None:
    """Why this computer cannot do it at all, whatever is installed; None when it can."""
    if os.geteuid() != 0:
        return "it boots containers, so it must run as root"
    if "overlay" not in Path("/proc/filesystems").read_text() and not _has_overlay_module():
        return "the kernel has no overlay file system"
    return None


def missing_tools(root: Path) -> str | None:
    """Which programs or packages must be installed first; None when all are there."""
    packages = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if packages:
        return f"install what is missing: apt install {' '.join(packages)}"
    check = subprocess.run(
        ["dpkg-checkbuilddeps", "-Pnocheck"], cwd=root, capture_output=True, text=True, check=False
    )
    if check.returncode:
        return f"install what the packages need to be built (apt build-dep ./): {check.stderr.strip()}"
    return None


def _has_overlay_module() -> bool:
    return subprocess.run(["modprobe", "overlay"], capture_output=True, check=False).returncode == 0
