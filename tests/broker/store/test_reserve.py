"""Disk space that is held back."""

from pathlib import Path

import pytest

from fieldpost.broker.store.reserve import Reserve
from fieldpost.runtime.database import DatabaseFull


def test_held(tmp_path: Path) -> None:
    """The space is really taken, and nobody else can read the file."""
    reserve = Reserve(str(tmp_path / "reserve"), 100_000)
    before = reserve.is_whole

    reserve.restore()

    found = (tmp_path / "reserve").stat()
    assert (before, reserve.is_whole) == (False, True)
    assert found.st_blocks * 512 >= 100_000
    assert found.st_mode & 0o777 == 0o600


def test_released_and_restored(tmp_path: Path) -> None:
    """It can be given up once, and taken again."""
    reserve = Reserve(str(tmp_path / "reserve"), 100_000)
    reserve.restore()

    released = [reserve.release(), reserve.release()]

    assert (released, reserve.is_whole) == ([True, False], False)
    assert not (tmp_path / "reserve").exists()
    reserve.restore()
    assert reserve.is_whole


def test_no_room(tmp_path: Path) -> None:
    """Where there is no room, the cause and the next step are said, and nothing is taken."""
    reserve = Reserve(str(tmp_path / "reserve"), 2**62)

    with pytest.raises(DatabaseFull, match=r"reserve: .*; nothing new is stored until \d+ octets are free"):
        reserve.restore()

    assert (reserve.is_whole, list(tmp_path.iterdir())) == (False, [])


def test_none(tmp_path: Path) -> None:
    """A reserve of nothing is always whole, and has nothing to give."""
    reserve = Reserve(str(tmp_path / "reserve"), 0)

    reserve.restore()

    assert (reserve.is_whole, reserve.release(), list(tmp_path.iterdir())) == (True, False, [])
