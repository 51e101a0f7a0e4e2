"""A machine with server and agent, configured to be quick; and what a tester asks of both."""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .book import Entry, entries
from .machine import Machine
from .polling import Overdue, until

SERVER = "fieldpost-server.service"
BROKER = "fieldpost-broker.service"
MONITORS = "fieldpost-plugin@monitors.service"
COUNTING = "fieldpost-plugin@counting.service"
SCRIPTS = "fieldpost-plugin@execute-script.service"
SERVICES = (SERVER, BROKER, MONITORS, COUNTING, SCRIPTS)
TARGET = "fieldpost-agent.target"

BOOK = "/var/lib/counting/book"
STORE = "/var/lib/fieldpost"
DATABASE = "/var/lib/fieldpost-server"
MONITORS_SEND = (
    "computer-info",
    "cpu-usage",
    "memory-info",
    "mount-info",
    "free-space",
    "network-activity",
)
ARRIVAL_LIMIT = 180.0
"""Seconds after which what was sent is taken for lost; restarts and back-off take a few, on a busy computer some more."""

JOURNAL_LENGTH = 5000

_GUEST = Path(__file__).parent / "guest"
_PYTHON_FOLDER = "/usr/local/lib/python3.11/dist-packages"
_SERVER_SETTINGS = """\
[server]
listen = [
    "ssl:port=8443:interface=127.0.0.1:privateKey=/run/credentials/fieldpost-server.service/tls-key:certKey=/etc/fieldpost/server.pem",
    "tcp:port=8080:interface=127.0.0.1",
]
api-token-file = "api-token"

[intake]
accepted-types = ["counting", "computer-info", "cpu-usage", "free-space", "memory-info", "mount-info", "network-activity"]

[account.main]
registration-key-file = "registration-key"
auto-accept = true
"""
_AGENT_SETTINGS = """\
[server]
url = "https://127.0.0.1:8443/message-system"
ca-file = "/etc/fieldpost/ca.pem"
account-name = "main"
registration-key-file = "registration-key"
proxy = "none"

[exchange]
interval = "2 s"
urgent-interval = "1 s"
backoff-base = "1 s"
backoff-cap = "2 s"
max-messages = 1
"""
_COUNTING_MANIFEST = f"""\
module = "counting:Counting"
user = "fieldpost-monitor"
sends = ["counting"]

[settings]
book = "{BOOK}"
"""
_QUICK_RESTART = "[Service]\nRestartSec=100ms\n"
_OFTEN = {'# interval = "30 s"': 'interval = "1 s"', '# step = "5 min"': 'step = "2 s"'}


class Station:
    """Server and agent of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # configuration, before the first boot

    def configure(self) -> None:
        """Write all configuration, on a machine that runs; nothing is started."""
        self._make_secrets()
        self._write("/etc/fieldpost/server.d/50-test.toml", _SERVER_SETTINGS)
        self._write("/etc/fieldpost/agent.d/50-test.toml", _AGENT_SETTINGS)
        self._write("/etc/fieldpost/plugins.d/counting.toml", _COUNTING_MANIFEST)
        self._write(f"{_PYTHON_FOLDER}/counting.py", (_GUEST / "counting.py").read_text())
        self._write(f"/etc/systemd/system/{COUNTING}.d/state.conf", "[Service]\nStateDirectory=counting\n")
        for unit in SERVICES:
            self._write(f"/etc/systemd/system/{unit}.d/quick.conf", _QUICK_RESTART)
        self._hasten_monitors()
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "enable", SERVER, TARGET, COUNTING)

    def allow_scripts(self) -> None:
        """Switch `execute-script` on, as its manifest and unit say, and wait until the server may ask for one."""
        manifest = self.machine.path("/etc/fieldpost/plugins.d/execute-script.toml")
        manifest.write_text(manifest.read_text().replace("enabled = false", "enabled = true"))
        self.machine.run("systemctl", "enable", SCRIPTS)
        self.machine.run("systemctl", "restart", BROKER, SCRIPTS)
        with self._journal_told(*SERVICES):
            until(self._handles_scripts, limit=ARRIVAL_LIMIT, what="the server knows that scripts can be run")

    def _make_secrets(self) -> None:
        self.machine.run("python3", "-", stdin=(_GUEST / "certificates.py").read_text())
        key = secrets.token_urlsafe(12)
        for name in ("fieldpost-agent.registration-key", "fieldpost-server.registration-key"):
            self._write(f"/etc/credstore/{name}", key, mode=0o600)
        self._write("/etc/credstore/fieldpost-server.api-token", secrets.token_urlsafe(24), mode=0o600)

    def _hasten_monitors(self) -> None:
        for manifest in self.machine.path("/etc/fieldpost/plugins.d").glob("*.toml"):
            text = manifest.read_text()
            for slow, quick in _OFTEN.items():
                text = text.replace(slow, quick)
            manifest.write_text(text)

    def _write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        file = self.machine.path(inside)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    # services

    def add_to_configuration(self, part: str, text: str) -> None:
        """Lay a drop-in over the configuration of `agent` or `server`; it counts from the next start on."""
        self._write(f"/etc/fieldpost/{part}.d/60-added.toml", text)

    def add_to_unit(self, unit: str, text: str) -> None:
        """Lay a drop-in over a unit that runs, and start it again."""
        self._write(f"/etc/systemd/system/{unit}.d/added.conf", text)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "restart", unit)

    def state_of(self, unit: str) -> str:
        """`active`, `inactive`, `failed`, ..."""
        return self.machine.say("systemctl", "is-active", unit)

    def pid_of(self, unit: str) -> int:
        """The number inside of a service's main process; zero when it has none."""
        return int(self.machine.say("systemctl", "show", "--property=MainPID", "--value", unit) or 0)

    def kill(self, unit: str, signal: str = "KILL") -> None:
        """`kill -9`, or another signal, for all processes of a service, at this instant."""
        self.machine.run("systemctl", "kill", "--kill-whom=all", f"--signal={signal}", unit)

    def journal(self, *units: str) -> str:
        """What services said, and what systemd said of them, since the machine was made: all that was said until now."""
        self.machine.say("journalctl", "--sync")
        named = [f"--unit={unit}" for unit in units]
        return self.machine.say("journalctl", "--no-pager", "--output=cat", *named)

    def await_active(self, *units: str) -> None:
        """Return when all of them run."""
        for unit in units:
            self._await_active(unit)

    # the server's API

    def ask(self, method: str, path: str, body: Any = None) -> Any:  # Any: JSON
        """What the server answers."""
        words = [method, f"/api/v1/{path}"] + ([json.dumps(body)] if body is not None else [])
        return json.loads(self._run_guest("ask.py", *words))

    def messages(self, kind: str) -> list[Any]:  # Any: JSON
        """All messages of a type in the server's database, in the order in which they arrived; none while it does not answer."""
        ran = self._try_guest("ask.py", "PAGES", f"/api/v1/messages?type={kind}")
        return list(json.loads(ran)) if ran is not None else []

    def has_arrived(self, kind: str) -> bool:
        """Whether the server has a message of this type. False while it does not answer."""
        ran = self._try_guest("ask.py", "GET", f"/api/v1/messages?type={kind}&limit=1")
        return ran is not None and bool(json.loads(ran)["messages"])

    def await_arrival(self, kinds: Sequence[str] = MONITORS_SEND) -> None:
        """Return when the server has a message of each type."""
        for kind in kinds:
            self._await_arrival(kind)

    def computer(self) -> int:
        """The number of the one computer that is registered and approved."""
        (found,) = self.ask("GET", "computers?status=approved")["computers"]
        return int(found["id"])

    def start_script(self, code: str, **fields: Any) -> int:  # Any: whatever the message has
        """Ask for a script to be run; the operation's number."""
        fields = {"interpreter": "/bin/sh", "username": "root", "code": code, **fields}
        body = {"computer": self.computer(), "type": "execute-script", "fields": fields}
        return int(self.ask("POST", "operations", body)["id"])

    def operation(self, number: int) -> dict[str, Any]:  # Any: JSON
        """How an operation stands; empty while the server does not answer."""
        ran = self._try_guest("ask.py", "GET", f"/api/v1/operations/{number}")
        return dict(json.loads(ran)) if ran is not None else {}

    def await_result(self, number: int, limit: float = ARRIVAL_LIMIT) -> dict[str, Any]:
        """The operation once it has a result."""
        with self._journal_told(*SERVICES):
            return until(lambda: self._finished(number), limit=limit, what=f"operation {number} has a result")

    def _await_active(self, unit: str) -> None:
        with self._journal_told(unit):
            until(lambda: self.state_of(unit) == "active", limit=ARRIVAL_LIMIT, what=f"{unit} is active")

    def _await_arrival(self, kind: str) -> None:
        with self._journal_told(*SERVICES):
            until(lambda: self.has_arrived(kind), limit=ARRIVAL_LIMIT, what=f"a message {kind} arrives")

    @contextmanager
    def _journal_told(self, *units: str) -> Iterator[None]:
        """What is not in time inside is told with the journal as it is then."""
        try:
            yield
        except Overdue as error:
            raise Overdue(f"{error}\n{self.journal(*units)[-JOURNAL_LENGTH:]}") from None

    def _finished(self, number: int) -> dict[str, Any]:
        operation = self.operation(number)
        return operation if operation.get("status") in ("succeeded", "failed") else {}

    def _handles_scripts(self) -> bool:
        ran = self._try_guest("ask.py", "GET", "/api/v1/computers?status=approved")
        computers = json.loads(ran)["computers"] if ran is not None else []
        return any("execute-script" in (computer["handles"] or ()) for computer in computers)

    def _run_guest(self, name: str, *words: str) -> str:
        return self.machine.run("python3", "-", *words, stdin=(_GUEST / name).read_text()).stdout

    def _try_guest(self, name: str, *words: str) -> str | None:
        ran = self.machine.run("python3", "-", *words, stdin=(_GUEST / name).read_text(), check=False)
        return ran.stdout if ran.returncode == 0 else None

    def expected(self) -> int:
        """The number of the next message that the server wants; -1 while it does not answer."""
        ran = self._try_guest("ask.py", "GET", "/api/v1/computers?status=approved")
        computers = json.loads(ran)["computers"] if ran is not None else []
        return int(computers[0]["next-expected-sequence"]) if computers else -1

    def await_exchange(self) -> None:
        """Return when the server took further messages, so that exchanges are under way again."""
        with self._journal_told(SERVER, BROKER):
            before = until(lambda: max(self.expected(), 0), limit=ARRIVAL_LIMIT, what="the server answers")
            until(lambda: self.expected() > before, limit=ARRIVAL_LIMIT, what="an exchange takes place")

    # the session

    def status(self) -> dict[str, Any]:  # Any: JSON
        """What the broker says of itself; empty while it does not answer."""
        ran = self.machine.run("fieldpost", "status", "--json", check=False)
        return dict(json.loads(ran.stdout)) if ran.returncode == 0 else {}

    def session_number(self) -> int:
        """Which session of this computer it is that both ends have; zero while either has none."""
        if self.status().get("session", {}).get("carrier") != "session":
            return 0
        ran = self._try_guest("ask.py", "GET", "/api/v1/computers?status=approved")
        computers = json.loads(ran)["computers"] if ran is not None else []
        return int((computers[0]["session"] or {"number": 0})["number"]) if computers else 0

    def await_session(self, after: int = 0) -> int:
        """The number of the session, once agent and server have one that is later than `after`."""
        with self._journal_told(SERVER, BROKER):
            return (
                until(
                    lambda: max(0, self.session_number() - after),
                    limit=ARRIVAL_LIMIT,
                    what="there is a session",
                )
                + after
            )

    # the count

    def book(self) -> list[Entry]:
        """What the counting plugin wrote down so far."""
        file = self.machine.path(BOOK)
        return entries(file.read_text()) if file.exists() else []

    def await_count(self, more: int) -> None:
        """Return when the plugin was told of that many more stored messages than now."""
        wanted = len(self.book()) + more
        with self._journal_told(BROKER, COUNTING):
            until(
                lambda: len(self.book()) >= wanted,
                limit=ARRIVAL_LIMIT,
                what=f"{more} more messages are stored",
            )
