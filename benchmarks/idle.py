"""
What sessions that do nothing cost a server: many registered agents, each with a session and its subscription, in one process.

    python benchmarks/idle.py [--sessions N]

The server is the one that users run, over TLS; its resident memory is read when all computers are registered, and again when all have
their sessions and have been silent for a while.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from http.client import HTTPSConnection
from pathlib import Path
from random import Random
from ssl import create_default_context
from typing import Any

from installation import Installation, resident_mib
from intake import HEADERS, payload

SETTLE = 5.0
"""Seconds."""
AT_ONCE = 20
"""Sessions that are being opened."""


def measure_idle(*, sessions: int) -> dict[str, float]:
    """MiB that the server grows by, and how fast sessions opened."""
    with tempfile.TemporaryDirectory() as path, Installation(Path(path) / "fieldpost") as installation:
        folder = installation.folder
        identities = _register(installation, sessions)
        (folder.path / "identities").write_text(json.dumps(identities))
        before = resident_mib(installation.pid("server"))
        command = [
            sys.executable,
            __file__,
            "--agents",
            str(folder.path),
            "--port",
            str(folder.server_port()),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as agents:
            assert agents.stdout is not None
            seconds = float(agents.stdout.readline())
            time.sleep(SETTLE)
            after = resident_mib(installation.pid("server"))
            agents.terminate()
    return {
        "idle_sessions": float(sessions),
        "idle_sessions_growth_mib": after - before,
        "sessions_opened_per_second": sessions / seconds,
    }


def _register(installation: Installation, count: int) -> list[tuple[str, int]]:
    from fieldpost.wire import cbor

    folder = installation.folder
    key = (folder.path / "registration-key").read_text()
    port = folder.server_port()
    assert port is not None
    connection = HTTPSConnection(
        "127.0.0.1", port, context=create_default_context(cafile=str(folder.ca_file))
    )
    found = []
    for number in range(count):
        fields = {"account_name": "demo", "registration_password": key, "computer_title": f"agent {number}"}
        register = {"type": "register", "registration-id": f"agent-{number}", "hostname": "idle", **fields}
        connection.request("POST", "/message-system", payload(0, [register]), HEADERS)
        answer = cbor.decode(connection.getresponse().read())
        (known,) = (message for message in answer["messages"] if message["type"] == "set-id")
        found.append((known["id"].decode(), known["insecure-id"]))
    connection.close()
    return found


def run_agents(folder: Path, port: int) -> None:
    """Until it is ended: open a session for each; then print how many seconds that took."""
    from twisted.internet import reactor as real_reactor
    from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

    from fieldpost.broker.carriage.proxy import Proxies
    from fieldpost.broker.carriage.trust import Trust
    from fieldpost.broker.session.course import Course
    from fieldpost.broker.session.keeper import Identity, Keeper
    from fieldpost.broker.session.opener import Opener
    from fieldpost.runtime.session.subscriptions import Subscriptions

    reactor: Any = real_reactor
    trust = Trust.in_file(str(folder / "ca.pem"))
    proxies = Proxies.chosen(proxy="none", no_proxy=[], environ={})
    random = Random()
    keepers = []

    def open_one(secure_id: str, insecure_id: int) -> "Deferred[None]":
        opened: Deferred[None] = Deferred()

        async def identity() -> Identity:
            return Identity(secure_id=secure_id.encode(), insecure_id=insecure_id)

        subscriptions = Subscriptions(clock=reactor)
        subscriptions.subscribe("messages", lambda notification: None)
        keeper = Keeper(
            opener=Opener(
                url=f"https://127.0.0.1:{port}/message-system",
                reactor=reactor,
                now=time.time,
                trust=trust,
                proxies=proxies,
                user_agent="benchmark",
            ),
            course=Course(random=random),
            clock=reactor,
            random=random,
            identity=identity,
            handlers={},
            subscriptions=subscriptions,
            incarnation=os.urandom(8),
            new_octets=os.urandom,
            on_live=lambda is_live: None if opened.called else opened.callback(None),
        )
        keepers.append(keeper)
        keeper.start()
        keeper.hurry()
        return opened

    def begin() -> None:
        started = time.monotonic()
        turns = DeferredSemaphore(AT_ONCE)
        identities = json.loads((folder / "identities").read_text())
        opening = gatherResults([turns.run(open_one, *identity) for identity in identities])
        opening.addCallback(lambda _: print(time.monotonic() - started, flush=True))

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--agents", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agents:
        run_agents(options.agents, options.port)
    else:
        print(json.dumps(measure_idle(sessions=options.sessions), indent=1))
