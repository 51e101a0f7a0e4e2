"""Our server as a process of its own, and its operator."""

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.broker.landscape.scene import ACCOUNT
from tests.ports import HOST, Reserved
from tests.server.test_service import PROGRAM

PATIENCE = 120.0


class Server:
    """Our server as a process, and its operator. Whoever makes one must close it."""

    def __init__(self, folder: Path, *types: str) -> None:
        """`types`: what it accepts beside the core's."""
        self._reserved = Reserved()
        self.port = self._reserved.number
        self._config = folder / "server.toml"
        self._config.write_text(
            f'[server]\nstate-dir = "state"\nlisten = ["tcp:port={self.port}:interface={HOST}"]\n'
            f'api-token = "secret"\n[intake]\naccepted-types = {json.dumps(types)}\n'
            f'[account.{ACCOUNT.account_name}]\nregistration-key = "{ACCOUNT.registration_password}"\n'
            "auto-accept = true\n"
        )
        self._log = self._config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = self._launch()
        while not self._answers():
            assert process.poll() is None, self._log.read_text()
            time.sleep(0.05)

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as opened:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self._config)],
                stdout=opened,
                stderr=opened,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return self._process

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Kill it if it runs; it is not started again."""
        self.kill()
        self._reserved.release()

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        octets = None if value is None else json.dumps(value).encode()
        return self._call(method, path, octets, "application/json")

    def put(self, octets: bytes) -> int:
        """An attachment; its id."""
        found: int = self._call("POST", "/attachments", octets, "application/octet-stream")["id"]
        return found

    def _call(self, method: str, path: str, octets: bytes | None, kind: str) -> Any:
        headers = {"Authorization": "Bearer secret", "Content-Type": kind}
        with closing(HTTPConnection(HOST, self.port, timeout=PATIENCE)) as connection:
            connection.request(method, f"/api/v1{path}", octets, headers)
            return json.loads(connection.getresponse().read())

    def operate(self, type: str, **fields: Any) -> None:
        self.ask("POST", "/operations", {"computer": 1, "type": type, "fields": fields})

    def outcomes(self) -> list[str]:
        """How each operation stands."""
        return [operation["status"] for operation in self.ask("GET", "/operations")["operations"]]

    def messages(self, type: str) -> list[dict[str, Any]]:
        """The bodies of all messages of a type, in order."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.ask("GET", f"/messages?type={type}&limit=1000&after={after}")
            if not page["messages"]:
                return found
            found += [message["body"] for message in page["messages"]]
            after = page["next"]

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/computers")
        except OSError:
            return False
        return True
