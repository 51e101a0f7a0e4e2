"""
The first page of a store's file: the schema is in it, and without it nothing else can be read.

It is the same in every store of a version, but for a few numbers. So when it is damaged, a copy of the file gets it from a
new, empty store.
"""

import os
import shutil
from contextlib import suppress

PAGE_OCTETS = 4096
_MAGIC = b"SQLite format 3\0"
_LENGTH = slice(28, 32)
_FREE_PAGES = slice(32, 40)


def pad(path: str) -> None:
    """
    Make a file that was cut as long as its header says: SQLite reads nothing at all of a shorter one.

    The hole that this appends takes no space.
    """
    with open(path, "r+b") as file:
        header = file.read(100)
        length = int.from_bytes(header[_LENGTH], "big") * PAGE_OCTETS
        if header.startswith(_MAGIC) and file.seek(0, os.SEEK_END) < length:
            file.truncate(length)


def copy_with_first_page(path: str, copy: str, model: str) -> bool:
    """
    Copy a store with the first page of another, `model`; whether there was anything to copy.

    Raises OSError when the disk has no room for it.
    """
    pages = os.path.getsize(path) // PAGE_OCTETS
    if pages < 2:
        return False
    shutil.copyfile(path, copy)
    with suppress(FileNotFoundError):
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    with open(model, "rb") as file:
        first = bytearray(file.read(PAGE_OCTETS))
    first[_LENGTH] = pages.to_bytes(4, "big")
    first[_FREE_PAGES] = bytes(8)
    with open(copy, "r+b") as file:
        file.write(first)
    return True
