"""What the README's install section leaves behind."""

from .conftest import README, Start
from .layers import Layers
from .packages import Builds
from .roots import bring, install_by_readme
from .station import BROKER, MONITORS, MONITORS_SEND, SERVER, Station

QUESTION = "fieldpost-agent fieldpost-agent"
URL = "https://127.0.0.1:9/message-system"


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


def test_an_install_may_be_preseeded(start: Start, dependencies: Layers, builds: Builds) -> None:
    """What debconf was told before the install is the agent's configuration, and no question is asked."""
    machine = start(dependencies)
    bring(machine, builds.this)
    machine.boot()
    answers = f"{QUESTION}/server-url string {URL}\n{QUESTION}/account-name string main\n"
    machine.run("debconf-set-selections", stdin=answers)

    install_by_readme(machine, README, ("install-agent",))

    assert_configured(Station(machine))


def test_configuration_may_be_there_before_the_install(
    start: Start, dependencies: Layers, builds: Builds
) -> None:
    """A file of agent.d that was dropped in before the install is used, and stays as it is."""
    machine = start(dependencies)
    bring(machine, builds.this)
    file = machine.path("/etc/fieldpost/agent.d/10-site.toml")
    file.parent.mkdir(parents=True)
    file.write_text(text := f'[server]\nurl = "{URL}"\naccount-name = "main"\n')
    machine.boot()

    install_by_readme(machine, README, ("install-agent",))

    assert_configured(Station(machine))
    assert file.read_text() == text


def assert_configured(station: Station) -> None:
    """The agent runs, and tries to reach the server of the configuration."""
    station.await_active(BROKER, MONITORS)
    assert "https://127.0.0.1:9/" in station.machine.run("fieldpost", "status").stdout
