"""
A file that holds disk space back.

A full disk must not stop what makes room: exchanges, deletions, receipts. So some space is occupied beforehand, given
up when a write finds the disk full, and taken back before anything new is let in.
"""

import os
from contextlib import suppress

from ...runtime.database import DatabaseFull


class Reserve:
    """`octets` of disk space at `path`; none for 0 octets."""

    def __init__(self, path: str, octets: int) -> None:
        self._path = path
        self._octets = octets
        self._whole = octets == 0

    @property
    def is_whole(self) -> bool:
        """Whether the space is held, as far as this object knows."""
        return self._whole

    def restore(self) -> None:
        """
        Hold the space, if it is not held.

        Raises DatabaseFull when the disk has no room for it.
        """
        if not self._whole:
            try:
                self._allocate()
            except OSError as error:
                self.release()
                raise DatabaseFull(
                    f"{self._path}: {error.strerror}; nothing new is stored until {self._octets} octets are free there"
                ) from error
            self._whole = True

    def _allocate(self) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._octets)
        finally:
            os.close(file)

    def release(self) -> bool:
        """Give the space up; whether there was any."""
        if self._octets == 0:
            return False
        self._whole = False
        with suppress(OSError):
            os.unlink(self._path)
            return True
        return False
