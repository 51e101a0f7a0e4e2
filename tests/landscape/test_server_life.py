"""Any life of Landscape's client on our server: whatever is lost and whoever dies, each message counts once, each operation is answered."""

from hypothesis import given
from hypothesis import strategies as st

from tests.landscape.client_model import LandscapeClient, read_answer
from tests.landscape.test_server_model import load, numbers, operate, server, status

STEPS = (
    "message",
    "messages",
    "operate",
    "operate nobody's",
    "resynchronize",
    "exchange",
    "exchange",
    "lose the answer",
    "die in the answer",
    "die in its second message",
    "the request comes twice",
    "finish",
    "finish one",
    "kill",
    "ping",
)


class Life:
    """One client, one server, and what must come of it."""

    def __init__(self) -> None:
        self.wired = server()
        self.client = LandscapeClient(plugins=("frobnicate",))
        self.sent = 0
        self.asked: list[int] = []
        self.seen: list[int] = []
        self.exchange(4)

    def carry(self) -> bytes:
        """The answer; no id of an operation is in it that was in an answer before."""
        octets = self.wired.send_octets(self.client.exchange())
        ids = [m["operation-id"] for m in read_answer(octets)[1]["messages"] if "operation-id" in m]
        assert not set(ids) & set(self.seen)
        self.seen += ids
        return octets

    def exchange(self, times: int = 1) -> None:
        for _ in range(times):
            self.client.take(self.carry())

    def step(self, name: str) -> None:
        if name.startswith("message"):
            count = 130 if name == "messages" else 1
            load(self.client, *range(self.sent, self.sent + count))
            self.sent += count
        elif name.startswith("operate"):
            self.asked.append(operate(self.wired, "frobnicate" if name == "operate" else "unheard-of"))
        elif name == "resynchronize":
            reply = self.wired.api("POST", "/computers/1", {"action": "resynchronize"})
            self.asked.append(reply.json["id"])
        elif name == "exchange":
            self.exchange()
        elif name == "lose the answer":
            self.carry()
        elif name.startswith("die"):
            self.client.take(self.carry(), die_in=1 if "second" in name else 0)
        elif name == "the request comes twice":
            request = self.client.exchange()
            answer = self.wired.send_octets(request)
            self.wired.send_octets(request)
            self.client.take(answer)
        elif name.startswith("finish"):
            heard = [m["operation-id"] for m in self.client.received if "operation-id" in m]
            waiting = sorted(self.client.disk.operations.keys() & set(heard))
            for operation in waiting[: 1 if name == "finish one" else None]:
                self.client.finish(operation)
        elif name == "kill":
            self.client.kill()
        else:
            self.client.take_ping(self.wired.send_octets(self.client.ping()))

    def settle(self) -> None:
        for _ in range(6):
            self.exchange(2)
            self.step("finish")
        while self.client.pending:
            self.exchange()


@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_a_life(steps: list[str]) -> None:
    """Nothing lost, nothing doubled, nothing out of order, nobody jammed, no operation left open."""
    life = Life()

    for step in steps:
        life.step(step)
    life.settle()

    assert numbers(life.wired) == list(range(life.sent))
    assert {status(life.wired, number) for number in life.asked} <= {"succeeded", "failed"}
    assert life.client.disk.secure_id is not None
