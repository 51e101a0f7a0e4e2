"""Damaged files are put aside, and a stop at any moment leaves one whole store."""

from pathlib import Path

import pytest

from fieldpost.broker.store.quarantine import (
    QUARANTINED_KEPT,
    clear_workbench,
    finish_swap,
    quarantined,
    swap,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"store{suffix}").write_text(f"damaged{suffix}")
    return str(tmp_path / "store")


def content(path: str) -> dict[str, str]:
    folder = Path(path).parent
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


SWAPPED = {
    "store": "salvaged",
    "store.corrupt-1": "damaged",
    "store.corrupt-1-shm": "damaged-shm",
    "store.corrupt-1-wal": "damaged-wal",
}


def test_swap(path: str) -> None:
    """The new file takes the old one's place, which is kept with its log."""
    workbench, _ = clear_workbench(path)
    Path(workbench).write_text("salvaged")

    swap(path, workbench)

    assert content(path) == SWAPPED
    assert quarantined(path) == (f"{path}.corrupt-1",)


@pytest.mark.parametrize("renamed", [(), ("-wal",), ("-wal", "-shm"), ("-wal", "-shm", "")])
def test_stopped_between(path: str, renamed: tuple[str, ...]) -> None:
    """A swap that was cut is finished at the next start, wherever it was cut."""
    Path(f"{path}.salvaged").write_text("salvaged")
    for suffix in renamed:
        Path(path + suffix).rename(f"{path}.corrupt-1{suffix}")

    finish_swap(path)

    assert content(path) == SWAPPED


def test_stopped_before(path: str) -> None:
    """A new file that was not whole yet is made anew."""
    before = content(path)
    workbench, spare = clear_workbench(path)
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(workbench + suffix).write_text("half")
        Path(spare + suffix).write_text("half")

    finish_swap(path)
    clear_workbench(path)

    assert content(path) == before


def test_bounded(path: str) -> None:
    """A disk that damages file after file is not filled with them: the latest are kept."""
    for number in range(12):
        Path(path + "-wal").write_text("log")
        Path(f"{path}.salvaging").write_text(f"file {number}")
        swap(path, f"{path}.salvaging")

    kept = [f"{path}.corrupt-{number}" for number in range(13 - QUARANTINED_KEPT, 13)]
    assert quarantined(path) == tuple(kept)
    assert len(content(path)) == 1 + 2 * QUARANTINED_KEPT


def test_others(path: str) -> None:
    """Files that merely look alike are not ours."""
    Path(f"{path}.corrupt-old").write_text("somebody's copy")

    assert quarantined(path) == ()
