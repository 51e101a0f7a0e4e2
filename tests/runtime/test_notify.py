"""The service manager hears how we are, where there is one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldpost.runtime.notify import ALIVE, READY, Notifier, status


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The end of systemd: a datagram socket, as there."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(5)
    yield listening
    listening.close()


def _environ(manager: socket.socket) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname()}


def test_words_arrive_as_one_datagram(manager: socket.socket) -> None:
    """systemd takes what belongs together together."""
    Notifier.of_environment(_environ(manager), pid=1).say(READY, status("3 pending"))

    assert manager.recv(4096) == b"READY=1\nSTATUS=3 pending"


def test_an_abstract_socket_is_spoken_to() -> None:
    """A name with `@` is one in the abstract namespace; containers have it so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")
        listening.settimeout(5)
        name = "@" + listening.getsockname()[1:].decode()

        Notifier.of_environment({"NOTIFY_SOCKET": name}, pid=1).say(ALIVE)

        assert listening.recv(4096) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_happens() -> None:
    """The same program runs from a shell."""
    notifier = Notifier.of_environment({"WATCHDOG_USEC": "1000000"}, pid=1)

    notifier.say(READY)

    assert notifier.watchdog_interval is None


def test_a_service_manager_that_went_away_does_not_stop_us(tmp_path: Path) -> None:
    """The socket may be gone: that is its matter."""
    Notifier(str(tmp_path / "gone")).say(READY)


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_when_it_is_meant_for_us(
    environ: dict[str, str], interval: float | None
) -> None:
    """A child inherits the environment, and the watchdog is not its own."""
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": "/run/notify", **environ}, pid=7)

    assert notifier.watchdog_interval == interval


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    """systemd tells a reload from the one before by its time."""
    Notifier.of_environment(_environ(manager), pid=1).reloading(lambda: 12.5)

    assert manager.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=12500000"


def test_a_status_is_one_line_of_bounded_length() -> None:
    """What a server said must not become further words to systemd."""
    said = status("refused\nREADY=1" + "x" * 1_000)

    assert "\n" not in said
    assert len(said) == len("STATUS=") + 200
