"""
Exactly once, in order, both ways: a model agent and the real server over a channel that loses, repeats and delays.

Each step is chosen at random: a new message, a new operation, an exchange whose request or answer is lost, delivered
twice, or delivered once more later on; a restart of the server from the same file. In the end the channel works, and
everything must have arrived once.
"""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fieldpost.server.outgoing import Window
from fieldpost.wire.payload import ServerPayload
from tests.server.model_agent import ModelAgent
from tests.server.wired import WiredServer

STEPS = (
    "message",
    "operation",
    "fine",
    "request lost",
    "answer lost",
    "twice",
    "late",
    "deliver late",
    "restart",
)


class World:
    """An agent, a server, and what is between them."""

    def __init__(self, folder: str) -> None:
        self.path = str(Path(folder) / "server.sqlite")
        self.ids = count(1)
        self.wired = self.start()
        self.agent = ModelAgent("r-1")
        self.put = 0
        self.asked: list[int] = []
        self.late: list[tuple[Any, ...]] = []

    def start(self) -> WiredServer:
        wired = WiredServer(self.path, ids=self.ids, window=Window(messages=2))
        # A process that is killed loses nothing that it gave to the system; syncing would only take time.
        wired.connection.execute("PRAGMA synchronous = OFF")
        return wired

    def step(self, kind: str) -> None:
        if kind == "message":
            self.agent.put({"type": "cpu-usage", "n": self.put})
            self.put += 1
        elif kind == "operation":
            self.ask()
        elif kind == "restart":
            # As after a kill: what is committed is there, nothing else is.
            self.wired.connection.close()
            self.wired = self.start()
        elif kind == "deliver late":
            self.deliver_late()
        else:
            self.agent.exchange(lambda *request: self.carry(kind, *request))

    def ask(self) -> None:
        reply = self.wired.api("POST", "/operations", {"computer": 1, "type": "run"})
        if reply.status == 201:
            self.asked.append(reply.json["id"])

    def carry(
        self, kind: str, payload: dict[str, Any], secure_id: bytes | None, token: bytes | None
    ) -> ServerPayload | None:
        request = (payload, secure_id, token)
        if kind == "request lost":
            return None
        if kind == "late":
            self.late.append(request)
            return None
        answer = self.send(request)
        if kind == "twice":
            self.send(request)
        return None if kind == "answer lost" else answer

    def send(self, request: tuple[Any, ...]) -> ServerPayload:
        payload, secure_id, token = request
        reply = self.wired.exchange(payload, secure_id=secure_id, token=token)
        assert reply.status == 200, reply
        return reply.payload

    def deliver_late(self) -> None:
        for request in self.late:
            self.send(request)
        self.late = []

    def settle(self) -> None:
        """The channel works again, until nothing is left to do."""
        for _ in range(200):
            self.agent.exchange(lambda *request: self.carry("fine", *request))
            if not self.agent.pending and self.agent.done == self.asked and self.agent.secure_id:
                break
        self.agent.exchange(lambda *request: self.carry("fine", *request))

    def check(self) -> None:
        stored = self.wired.stored()
        assert [m["n"] for m in stored if m["type"] == "cpu-usage"] == list(range(self.put))
        assert self.agent.done == self.asked
        results = [m["operation-id"] for m in stored if m["type"] == "operation-result"]
        assert results == self.asked
        shown = self.wired.api("GET", "/operations?limit=1000").json["operations"]
        assert [operation["status"] for operation in shown] == ["succeeded"] * len(self.asked)
        computers = self.wired.api("GET", "/computers").json["computers"]
        assert [computer["id"] for computer in computers] == [1]
        numbers = self.wired.connection.execute("SELECT number FROM message ORDER BY id").fetchall()
        assert numbers == sorted(set(numbers))


REGISTERED = ["fine"] * 3
LATE_WITHOUT_TOKEN = ["request lost", "late"]
"""The first loses the token, so that the second has none to be told by."""


@given(st.lists(st.sampled_from(STEPS), max_size=40))
@example([*REGISTERED, *LATE_WITHOUT_TOKEN, "fine", "deliver late", "fine"])
@example([*REGISTERED, "operation", *LATE_WITHOUT_TOKEN, "fine", "fine", "operation", "deliver late", "fine"])
@example(
    [
        *REGISTERED,
        "message",
        *LATE_WITHOUT_TOKEN,
        "message",
        "fine",
        "message",
        "fine",
        "deliver late",
        "message",
    ]
)
@example(["fine", "late", "fine", "message", "fine", "fine", "deliver late", "message", "fine"])
@example([*REGISTERED, "operation", "message", "answer lost", "restart", "twice", "answer lost"])
@example([*REGISTERED, "late", "fine", "deliver late"])
@example([*REGISTERED, "late", "operation", "fine", "deliver late"])
def test_everything_once(steps: list[str]) -> None:
    """Whatever is lost, repeated or late: messages once and in order, operations once, one computer."""
    with TemporaryDirectory() as folder:
        world = World(folder)
        for kind in steps:
            world.step(kind)
        world.settle()

        world.check()
        world.wired.connection.close()
