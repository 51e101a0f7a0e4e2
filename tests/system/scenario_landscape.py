"""The packages' agent in the place of landscape-client."""

from .conftest import ROOT, Start
from .count import await_exactly_once
from .layers import Layers
from .readme import commands
from .scenario_session import complaints
from .station import COUNTING, SERVER, TARGET, Station

OPERATIONS = ROOT / "docs" / "operations.md"
CLIENT = """\
[client]
url = https://127.0.0.1:8443/message-system
ping_url = https://127.0.0.1:8443/ping
account_name = main
registration_key = {key}
computer_title = moved
ssl_public_key = /etc/fieldpost/ca.pem
exchange_interval = 3600
urgent_exchange_interval = 2
ping_interval = 2
"""


def test_a_machine_leaves_landscape_client(start: Start, installed: Layers) -> None:
    """By the manual's commands: the broker speaks Landscape's protocol in its sandbox, and a ping brings operations."""
    machine = start(installed)
    machine.boot()
    station = Station(machine)
    station.configure()
    machine.path("/etc/fieldpost/agent.d/50-test.toml").unlink()
    key = machine.path("/etc/credstore/fieldpost-agent.registration-key").read_text()
    file = machine.path("/etc/landscape/client.conf")
    file.parent.mkdir()
    file.write_text(CLIENT.format(key=key))

    machine.shell(commands(OPERATIONS, "from-landscape"))
    machine.run("systemctl", "--no-block", "restart", SERVER, TARGET)
    station.await_arrival(("counting", "computer-info"))
    station.allow_scripts()
    operation = station.await_result(station.start_script("echo here"))

    assert operation["result-text"] == "here\n", operation
    assert station.ask("GET", "computers?status=approved")["computers"][0]["title"] == "moved"
    machine.run("systemctl", "stop", COUNTING)
    machine.run("fieldpost", "exchange")
    assert await_exactly_once(station) > 0
    assert complaints(station) == []
