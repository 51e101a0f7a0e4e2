"""computer-info tells what kind of machine this is."""

import os
import socket
from typing import Any

from fieldpost.plugins.computer_info import ComputerInfo, distribution, total_swap
from fieldpost.testing import PluginRun


def run_of(found: dict[str, Any]) -> PluginRun[ComputerInfo]:
    return PluginRun(ComputerInfo, read_computer=lambda: dict(found))


def test_it_is_told_at_the_start() -> None:
    """At once."""
    run = run_of({"hostname": "nevis", "total-memory": 2048})

    assert run.messages == [{"type": "computer-info", "hostname": "nevis", "total-memory": 2048}]


def test_it_is_told_again_when_it_changed() -> None:
    """And not when it did not."""
    found = {"hostname": "nevis"}
    run = run_of(found)
    run.advance(5000)
    found["hostname"] = "lomond"
    run.advance(1000)

    assert [message["hostname"] for message in run.messages] == ["nevis", "lomond"]


def test_it_is_told_again_when_the_server_lost_track() -> None:
    """Also when nothing changed."""
    run = run_of({"hostname": "nevis"})

    run.broker.resynchronize("computer")

    assert len(run.messages) == 2


def test_it_is_told_when_the_broker_is_there_at_last() -> None:
    """A plugin may come up before the broker."""
    run = run_of({"hostname": "nevis"})
    other = PluginRun(ComputerInfo, read_computer=lambda: {"hostname": "nevis"}, start=False)
    other.broker.away()
    other.runner.start()
    other.advance(3000)

    other.broker.back()

    assert other.messages == run.messages


def test_this_machine_can_be_read() -> None:
    """The real one, as it is."""
    (message,) = PluginRun(ComputerInfo).messages

    assert message["hostname"] == socket.gethostname()
    assert message["kernel"] == os.uname().release
    assert message["total-memory"] > 0
    assert message["total-swap"] >= 0
    assert all(value is not None for value in message.values())


def test_what_a_container_hides_is_left_out() -> None:
    """No swap to read of, no name of a distribution."""

    def hidden() -> Any:
        raise FileNotFoundError("/etc/os-release")

    assert total_swap(hidden) == 0
    assert distribution(hidden) is None
    assert distribution(lambda: {"ID": "x"}) is None
