"""
Where a damaged store's files go, and how a new store takes their place.

The new file is made beside the old one. When it is whole it is named `PATH.salvaged`; from then on only renames are left,
and they can be repeated. So a stop at any moment leaves either the damaged store or a whole one on its way to its place.
"""

import os
from contextlib import suppress
from glob import escape, glob

from ...runtime.database import sync_folder

_COMPANIONS = ("-wal", "-shm", "-journal")
QUARANTINED_KEPT = 3


def clear_workbench(path: str) -> tuple[str, str]:
    """Where the new file is to be made, and a spare name beside it, both cleared of what was left there."""
    names = (f"{path}.salvaging", f"{path}.spare")
    for name in names:
        _remove(name)
    return names


def _remove(name: str) -> None:
    for suffix in (*_COMPANIONS, ""):
        with suppress(FileNotFoundError):
            os.unlink(name + suffix)


def swap(path: str, workbench: str) -> None:
    """The new file is whole, closed and without companions: it takes the place of the damaged one."""
    os.replace(workbench, f"{path}.salvaged")
    sync_folder(path)
    finish_swap(path)


def finish_swap(path: str) -> None:
    """
    Do what is left of a swap; nothing, when there is none.

    The companions go before their file: a log left behind would be played into the new file.
    """
    if not os.path.exists(f"{path}.salvaged"):
        return
    aside = _free_name(path)
    for suffix in (*_COMPANIONS, ""):
        with suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    os.replace(f"{path}.salvaged", path)
    sync_folder(path)
    _prune(path)


def quarantined(path: str) -> tuple[str, ...]:
    """The damaged files that were put aside, oldest first."""
    names = (name for name in glob(f"{escape(path)}.corrupt-*") if _serial(name))
    return tuple(sorted(names, key=_serial))


def _serial(name: str) -> int:
    """The number at the end of a name; 0 for that of a companion."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _free_name(path: str) -> str:
    found = quarantined(path)
    return f"{path}.corrupt-{_serial(found[-1]) + 1 if found else 1}"


def _prune(path: str) -> None:
    """A disk that damages file after file shall not be filled with them."""
    for name in quarantined(path)[:-QUARANTINED_KEPT]:
        _remove(name)
