"""What the README's install section leaves behind."""

from .conftest import Start
from .layers import Layers
from .station import BROKER, MONITORS, MONITORS_SEND, SERVER, Station


def test_an_agent_without_a_server_waits_and_says_so(start: Start, installed: Layers) -> None:
    """After the install and a reboot, the agent runs, and `systemctl status` tells that no server is configured."""
    machine = start(installed)
    machine.boot()
    station = Station(machine)

    station.await_active(BROKER, MONITORS, SERVER)
    status = machine.say("systemctl", "status", "--no-pager", "--lines=0", BROKER)

    assert "no server is configured" in status, status
    assert machine.say("systemctl", "is-system-running") == "running", machine.say("systemctl", "--failed")


def test_the_monitors_messages_arrive(station: Station) -> None:
    """What each bundled monitor sends is in the server's database within a minute of the boot."""
    station.await_arrival(MONITORS_SEND)
