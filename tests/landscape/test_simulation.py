"""
Exactly once, in order, both ways, in Landscape's protocol: our broker and our server over a channel that loses and spoils.

Each step is chosen at random: a new message, a new operation, an exchange that goes well, whose request or answer is lost, whose
answer is cut or garbled; a broker that is killed in the middle or at rest. In the end the channel works, and everything must have
arrived once.
"""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldpost.broker.store.records import NewMessage
from fieldpost.wire import cbor
from tests.broker.landscape.scene import TRAVEL, Scene
from tests.broker.store.stores import add
from tests.server.test_landscape import landscape_server

TALK = ("message", "operation")
EXCHANGES = ("fine", "request lost", "answer lost", "cut", "garbled", "killed in the middle")
STEPS = (*TALK, *EXCHANGES, "killed at rest", "resynchronize")


class World:
    """A broker, a server, and what is between them."""

    def __init__(self) -> None:
        self.wired = landscape_server()
        self.fault = "fine"
        self.place = 0
        self.put = self.asked = 0
        self.scene = Scene(self.carry)
        self.scene.rig.delivery.register(("frobnicate",), self.scene.plugin.name, self.scene.plugin.deliver)
        for _ in range(4):
            self.scene.exchange()

    def carry(self, request: bytes) -> bytes | None:
        if self.fault == "request lost":
            return None
        answer = self.wired.send_octets(request)
        head, _, body = answer.partition(b"\r\n\r\n")
        place = self.place % len(body)
        if self.fault == "answer lost":
            return None
        if self.fault == "cut":
            self.scene.server.closes = True
            return answer[: len(head) + place]
        if self.fault == "garbled":
            # An octet that is no ASCII is seen wherever it stands, or harms nothing.
            body = bytes([*body[:place], body[place] ^ 0x80, *body[place + 1 :]])
        return head + b"\r\n\r\n" + body

    def step(self, kind: str, place: int) -> None:
        self.place = place
        if kind == "message":
            self.say()
        elif kind == "operation":
            self.ask("/operations", {"computer": 4242, "type": "frobnicate"})
        elif kind == "resynchronize":
            self.ask("/computers/4242", {"action": "resynchronize"})
        elif kind == "killed at rest":
            self.kill()
        elif kind == "killed in the middle":
            self.scene.rig.exchange.run()
            self.scene.clock.advance(TRAVEL / 2 if place % 2 else TRAVEL)
            self.kill()
        elif kind in EXCHANGES:
            self.exchange(kind)

    def say(self) -> None:
        body = cbor.encode({"type": "text-message", "message": str(self.put)})
        add(self.scene.store, NewMessage(type="text-message", body=body, timestamp=1))
        self.put += 1

    def ask(self, path: str, value: dict[str, object]) -> None:
        assert self.wired.api("POST", path, value).status == 201
        self.asked += 1

    def exchange(self, fault: str) -> None:
        self.fault = fault
        self.scene.exchange()
        self.fault, self.scene.server.closes = "fine", False

    def kill(self) -> None:
        self.scene.kill()
        self.scene.rig.delivery.register(("frobnicate",), self.scene.plugin.name, self.scene.plugin.deliver)

    def settle(self) -> None:
        """The channel works again."""
        for _ in range(8):
            self.exchange("fine")

    def check(self) -> None:
        stored = self.wired.stored()
        texts = [m["message"] for m in stored if m["type"] == "text-message"]
        assert texts == [str(number) for number in range(self.put)]
        operations = self.wired.api("GET", "/operations?limit=1000").json["operations"]
        assert len(operations) == self.asked
        assert {operation["status"] for operation in operations} <= {"succeeded"}
        results = [m["operation-id"] for m in stored if m["type"] == "operation-result"]
        assert len(results) == len(set(results))
        assert len(self.wired.api("GET", "/computers").json["computers"]) == 1
        assert self.scene.store.dead_letters(9) == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 500)), max_size=25))
@example([("message", 0), ("answer lost", 0), ("message", 0), ("killed at rest", 0), ("fine", 0)])
@example([("operation", 0), ("killed in the middle", 0), ("killed in the middle", 1), ("answer lost", 0)])
@example([("message", 0), ("cut", 30), ("garbled", 40), ("resynchronize", 0), ("garbled", 200), ("fine", 0)])
def test_everything_once(steps: list[tuple[str, int]]) -> None:
    """Whatever is lost, spoilt or killed: messages once and in order, operations once, one computer."""
    world = World()
    for kind, place in steps:
        world.step(kind, place)
    world.settle()

    world.check()
