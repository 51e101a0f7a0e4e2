"""Child processes: what they write, and that none outlives its supervisor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.agent.supervision.processes import LineBuffer


def lines_of(*pieces: bytes, limit: int = 10) -> list[str]:
    lines: list[str] = []
    buffer = LineBuffer(lines.append, limit)
    for piece in pieces:
        buffer.take(piece)
    buffer.finish()
    return lines


def test_lines() -> None:
    """Lines come whole, however the octets are cut; the last one needs no end."""
    assert lines_of(b"on", b"e\ntw", b"o\n\nlast") == ["one", "two", "", "last"]


def test_endless_line() -> None:
    """A line without end is passed on in pieces, so that memory stays bounded."""
    assert lines_of(b"x" * 25) == ["x" * 10, "x" * 10, "x" * 5]
    assert lines_of(b"x" * 25 + b"\ny\n") == ["x" * 10, "x" * 10, "x" * 5, "y"]


def test_unprintable() -> None:
    """A child cannot send commands to the operator's terminal."""
    assert lines_of(b"\x1b[2J\xff\tb\r\n") == ["\ufffd[2J\ufffd\tb\ufffd"]


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_any_output(pieces: list[bytes]) -> None:
    """Whatever is written, no piece is longer than the limit and nothing is lost but the ends of lines."""
    lines = lines_of(*pieces)

    assert all(len(line) <= 10 for line in lines)
    whole = b"".join(pieces)
    assert sum(map(len, lines)) <= len(whole.replace(b"\n", b""))


def wait_for(condition: "bool | object", what: str, within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether it runs; what only waits to be reaped does not."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A supervisor as a real process, in the scene that the test names."""
    script = os.path.join(os.path.dirname(__file__), "orphan_scene.py")
    process = subprocess.Popen(
        [sys.executable, script, request.param], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def ids_from(scene: "subprocess.Popen[str]") -> tuple[int, int]:
    assert scene.stdout is not None
    _, _, child, inner, group = scene.stdout.readline().split()
    assert child == group, "a child heads its own process group"
    return int(child), int(inner)


@pytest.mark.process
@pytest.mark.parametrize("scene", ["stay"], indirect=True)
def test_supervisor_is_killed(scene: "subprocess.Popen[str]") -> None:
    """When the supervisor is killed outright, its child ends too."""
    child, inner = ids_from(scene)

    try:
        scene.kill()
        scene.wait()

        wait_for(lambda: not is_alive(child), "the child outlives its supervisor")
    finally:
        os.kill(inner, signal.SIGKILL)  # it is the child's to end; this one was not asked


@pytest.mark.process
@pytest.mark.parametrize("scene", ["stay"], indirect=True)
def test_supervisor_is_stopped(scene: "subprocess.Popen[str]") -> None:
    """When the supervisor is asked to end, its children and what they started end first; it says nothing on stderr."""
    child, inner = ids_from(scene)

    scene.send_signal(signal.SIGINT)
    _, errors = scene.communicate(timeout=120)

    assert not is_alive(child)
    wait_for(lambda: not is_alive(inner), "what the child started is still there")
    assert errors == ""


@pytest.mark.process
@pytest.mark.parametrize("scene", ["leave"], indirect=True)
def test_child_leaves_something_behind(scene: "subprocess.Popen[str]") -> None:
    """What a child leaves running in its group when it dies ends with it."""
    _, inner = ids_from(scene)

    wait_for(lambda: not is_alive(inner), "what the child started outlives it")


@pytest.mark.process
@pytest.mark.parametrize("scene", ["burst"], indirect=True)
def test_last_words(scene: "subprocess.Popen[str]") -> None:
    """What a child writes just before it ends arrives whole."""
    ids_from(scene)
    assert scene.stdout is not None

    pieces = [scene.stdout.readline().removeprefix("child ").rstrip("\n") for _ in range(3)]

    assert "".join(pieces) == "x" * 20_000
