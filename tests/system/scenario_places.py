"""Machines that are not like others."""

from .conftest import Start
from .count import await_exactly_once
from .layers import Layers
from .station import BROKER, COUNTING, MONITORS, MONITORS_SEND, SERVER, Station


def test_usr_may_be_read_only(start: Start, configured: Layers) -> None:
    """With /usr read-only, without SELinux and without a network, all services run and messages arrive."""
    machine = start(configured)
    machine.boot(f"--bind-ro={machine.path('/usr')}:/usr")
    station = Station(machine)

    assert machine.run("touch", "/usr/written", check=False).returncode != 0
    assert machine.say("ls", "/sys/class/net") == "lo"
    station.await_active(BROKER, MONITORS, COUNTING, SERVER)
    station.await_arrival(MONITORS_SEND)
    station.await_count(50)
    assert await_exactly_once(station) > 50


def test_it_runs_without_any_network(start: Start, configured: Layers) -> None:
    """With even the loopback down the agent stores what plugins send; when it is back, all of it arrives."""
    machine = start(configured)
    machine.boot()
    station = Station(machine)
    station.await_active(BROKER, COUNTING, SERVER)
    loopback = "import fcntl,socket,struct,sys; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', int(sys.argv[1])))"

    machine.run("python3", "-c", loopback, "0")
    station.await_count(200)
    machine.run("python3", "-c", loopback, "1")

    assert await_exactly_once(station) > 200
