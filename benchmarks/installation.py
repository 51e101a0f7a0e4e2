"""A whole Fieldpost in a folder of its own for a benchmark: the demo's files, its processes as users run them."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fieldpost.agent.broker_client import BrokerAway, BrokerClient
from fieldpost.agent.config import Log
from fieldpost.agent.demo.folder import DemoFolder
from fieldpost.agent.programs import own_program

DEADLINE = 120.0
"""Seconds that anything waited for may take."""


class Installation:
    """Server, broker and plugin hosts, started and stopped one by one; a context manager that leaves none behind."""

    def __init__(self, path: Path) -> None:
        self.folder = DemoFolder(path)
        self.folder.prepare()
        self.store = path / "broker" / "store.sqlite"
        self._database = path / "server" / "server.sqlite"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._start("server", ("server", "--config", str(self.folder.server_config)))
        wait_until(lambda: self.folder.server_port() is not None, "the server listens")
        self.folder.write_agent_config(self.folder.server_port() or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(tuple(self._processes)):
            self.stop(name)

    def start_broker(self) -> int:
        """Returns its process id."""
        return self._start("broker", ("broker", "--config", str(self.folder.agent_config)))

    def start_host(self, host: str) -> int:
        """Returns its process id."""
        return self._start(host, ("plugin", "--config", str(self.folder.agent_config), host))

    def pid(self, name: str) -> int:
        """Of a process that runs."""
        return self._processes[name].pid

    def stop(self, name: str) -> None:
        """End a process as the supervisor does, and wait for that."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)

    def status(self) -> dict[str, Any]:
        """What the broker says of itself; empty while it does not."""
        try:
            with BrokerClient(self.folder.socket) as client:
                return client.status()
        except BrokerAway:
            return {}

    def ask_server(self, query: str, *values: object) -> Any:
        """The first row of a query on the server's database."""
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)
        try:
            return connection.execute(query, values).fetchone()
        finally:
            connection.close()

    def _start(self, name: str, arguments: tuple[str, ...]) -> int:
        program = own_program(name, arguments, log=Log(), user=None, origin=self.folder.agent_config)
        with (self.folder.path / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                program.arguments, stderr=log, env={**os.environ, **program.environment}, cwd=self.folder.path
            )
        return self._processes[name].pid


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Look again and again until it holds; a RuntimeError when it does not come."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {DEADLINE:g} s in vain until {what}")
        time.sleep(0.05)


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return int(fields["VmRSS"].split()[0]) / 1024
