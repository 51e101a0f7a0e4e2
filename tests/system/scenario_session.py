"""The session between the agent and the server of the packages, in their sandboxes: it comes, serves, and comes back."""

import sys

import pytest

from .count import await_exactly_once
from .polling import until
from .station import BROKER, COUNTING, MONITORS, SERVER, Station

RARELY = '[exchange]\ninterval = "1 h"\nurgent-interval = "1 h"\n'
"""By the clock alone nothing would move while a test runs."""
AT_ONCE = 60.0
"""Seconds from asking for a script to its result: far from the hour, whatever else the computer does."""

TLS_INSIDE_AGENT = '[server]\nurl = "http://127.0.0.1:8080/message-system"\n'
TLS_INSIDE_SERVER = '[session]\ncertificate-file = "/etc/fieldpost/server.pem"\nkey-file = "tls-key"\n'


def test_agent_and_server_have_a_session(station: Station) -> None:
    """As installed, without a word about sessions in the configuration; `fieldpost status` says so."""
    station.await_session()

    said = station.machine.run("fieldpost", "status").stdout

    assert any("session" in line and "open for" in line for line in said.splitlines()), said
    assert await_exactly_once(station) > 0
    assert complaints(station) == []


def test_an_operation_arrives_at_once(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    """With an hour between exchanges, a script that the server sends is run, and its result is back, in a moment."""
    station.allow_scripts()
    station.machine.run("systemctl", "stop", COUNTING, MONITORS)
    station.add_to_configuration("agent", RARELY)
    station.machine.run("systemctl", "restart", BROKER)
    station.await_session()

    operation = station.await_result(station.start_script("echo here"), limit=AT_ONCE)

    took = operation["finished"] - operation["created"]
    with capsys.disabled():
        sys.stdout.write(f"\nan operation's result over the session: {took:.2f} s\n")
    assert (operation["status"], operation["result-text"]) == ("succeeded", "here\n")
    assert took < AT_ONCE


def test_the_server_asks_while_things_run(station: Station) -> None:
    """A plugin's process answers, and what a script writes is seen before it ends."""
    station.allow_scripts()
    station.await_session()
    station.await_count(1)

    asked = {"command": "ping-plugin", "plugin": "counting"}
    answer = station.ask("POST", f"computers/{station.computer()}/ask", asked)
    number = station.start_script("echo begun\nexec sleep 100")
    written = f"operations/{number}/output?after=0&wait=5"
    until(lambda: station.ask("GET", written)["output"], limit=AT_ONCE, what="the script's words are seen")

    assert answer["values"] == [{"plugin": "counting"}]
    assert station.ask("GET", written)["output"] == "begun\n"
    assert station.operation(number)["status"] == "delivered"


def test_agents_come_back_after_the_server_was_away(station: Station) -> None:
    """After a restart, and after a kill, there is another session soon; nothing is lost or doubled on the way."""
    first = station.await_session()
    station.await_count(50)

    station.machine.run("systemctl", "restart", SERVER)
    second = station.await_session(after=first)
    station.await_count(50)
    station.kill(SERVER)
    station.await_session(after=second)
    station.await_count(50)

    assert await_exactly_once(station) > 150


def test_tls_may_begin_inside(station: Station) -> None:
    """Where agents have an `http://` address, with the key that systemd hands to the server."""
    station.add_to_configuration("server", TLS_INSIDE_SERVER)
    station.add_to_configuration("agent", TLS_INSIDE_AGENT)
    station.machine.run("systemctl", "restart", SERVER, BROKER)

    station.await_session()
    station.await_count(50)

    assert await_exactly_once(station) > 50
    assert complaints(station) == []


def complaints(station: Station) -> list[str]:
    """What the services say when a sandbox forbids what they need, or when they are wrong."""
    words = ("Traceback", "Operation not permitted", "Permission denied", "Read-only file system")
    return [
        line for line in station.journal(SERVER, BROKER).splitlines() if any(word in line for word in words)
    ]
