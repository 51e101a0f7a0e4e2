"""A socket's place is ours alone, or the error says why not and what to do."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import pytest

from fieldpost.broker.local.socket_file import MAX_PATH_OCTETS, SocketFile, SocketUnusable


@pytest.fixture
def files() -> Iterator[list[SocketFile]]:
    claimed: list[SocketFile] = []
    yield claimed
    for file in claimed:
        file.free()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "broker.sock")


def claim(files: list[SocketFile], path: str, **more: int) -> None:
    file = SocketFile(path, **more)
    files.append(file)
    file.claim()


def bind(path: str) -> socket:
    bound = socket(AF_UNIX, SOCK_STREAM)
    bound.bind(path)
    return bound


def test_missing_folder_is_made(files: list[SocketFile], path: str) -> None:
    """A folder that is missing is made, for those whom its mode lets in and no others."""
    claim(files, path, folder_mode=0o710)

    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o710


def test_folder_that_is_there(files: list[SocketFile], path: str) -> None:
    """The mode of a folder that is there is left alone."""
    os.mkdir(os.path.dirname(path), 0o700)

    claim(files, path, folder_mode=0o755)

    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_path_too_long(files: list[SocketFile], tmp_path: Path) -> None:
    """A path that no socket can have is refused before anything is made."""
    path = str(tmp_path / ("ü" * MAX_PATH_OCTETS) / "broker.sock")

    with pytest.raises(SocketUnusable, match=f"a socket's may have {MAX_PATH_OCTETS}; set a shorter one"):
        claim(files, path)

    assert os.listdir(tmp_path) == []


def test_longest_path(files: list[SocketFile], tmp_path: Path) -> None:
    """The longest path that is allowed can be bound."""
    folder = str(tmp_path) + "/"
    path = folder + "x" * (MAX_PATH_OCTETS - len(folder))

    claim(files, path)

    bind(path).close()


def test_folder_that_cannot_be_made(files: list[SocketFile], tmp_path: Path) -> None:
    """When the folder cannot be made the error says so."""
    (tmp_path / "file").write_text("")

    with pytest.raises(SocketUnusable, match="see that the folder can be made and written"):
        claim(files, str(tmp_path / "file" / "run" / "broker.sock"))


def test_folder_is_a_file(files: list[SocketFile], tmp_path: Path) -> None:
    """So it does when something else stands in the folder's place."""
    (tmp_path / "file").write_text("")

    with pytest.raises(SocketUnusable, match="File exists"):
        claim(files, str(tmp_path / "file" / "broker.sock"))


def test_folder_open_to_everybody(files: list[SocketFile], tmp_path: Path) -> None:
    """A folder in which anybody could replace the socket is refused; with the sticky bit nobody can."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(SocketUnusable, match="chmod o-w"):
        claim(files, str(folder / "broker.sock"))
    folder.chmod(0o1777)
    claim(files, str(folder / "broker.sock"))


def test_relative_path(files: list[SocketFile], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A path without a folder is one in the folder of now."""
    before = os.getcwd()
    request.addfinalizer(lambda: os.chdir(before))
    os.chdir(tmp_path)

    claim(files, "broker.sock")

    assert os.listdir(tmp_path) == ["broker.sock.lock"]


def test_stale_socket(files: list[SocketFile], path: str) -> None:
    """The socket file that a dead broker left is removed."""
    os.mkdir(os.path.dirname(path))
    bind(path).close()

    claim(files, path)

    assert not os.path.exists(path)


def test_another_broker(files: list[SocketFile], path: str) -> None:
    """While a broker holds the path, another is told so, and by which process; afterwards it is free."""
    first = SocketFile(path)
    first.claim()

    with pytest.raises(SocketUnusable, match=f"another broker, process {os.getpid()}, is running there"):
        claim(files, path)

    first.free()
    claim(files, path)


def test_another_broker_unnamed(files: list[SocketFile], path: str) -> None:
    """A broker that has not said yet who it is holds the path all the same."""
    first = SocketFile(path)
    first.claim()
    os.truncate(f"{path}.lock", 0)

    with pytest.raises(SocketUnusable, match="process unknown"):
        claim(files, path)

    first.free()


def test_another_program(files: list[SocketFile], path: str) -> None:
    """A socket behind which somebody listens is not taken away from them, and the lock is given back."""
    os.mkdir(os.path.dirname(path))
    with bind(path) as listening:
        listening.listen()

        for _ in range(2):
            with pytest.raises(SocketUnusable, match="another program listens there"):
                claim(files, path)

        assert os.path.exists(path)


def test_program_that_accepts_nobody(files: list[SocketFile], path: str) -> None:
    """Nor is one whose program is too busy to answer."""
    os.mkdir(os.path.dirname(path))
    with bind(path) as listening, socket(AF_UNIX, SOCK_STREAM) as first:
        listening.listen(0)
        first.connect(path)

        with pytest.raises(SocketUnusable, match="another program listens there"):
            claim(files, path)


def test_something_else_at_the_path(files: list[SocketFile], path: str) -> None:
    """A file that is no socket is left alone."""
    os.mkdir(os.path.dirname(path))
    Path(path).write_text("mine")

    with pytest.raises(SocketUnusable, match="something else has that name; move it away"):
        claim(files, path)

    assert Path(path).read_text() == "mine"


def test_lock_is_no_link(files: list[SocketFile], path: str, tmp_path: Path) -> None:
    """A link in the place of the lock file is not followed."""
    os.mkdir(os.path.dirname(path))
    os.symlink(tmp_path / "precious", f"{path}.lock")

    with pytest.raises(SocketUnusable):
        claim(files, path)

    assert not (tmp_path / "precious").exists()


def test_freeing_twice(path: str) -> None:
    """What is free may be freed again."""
    file = SocketFile(path)
    file.claim()

    file.free()
    file.free()
