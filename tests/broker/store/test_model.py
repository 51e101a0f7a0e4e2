"""
The store against a simple server, in every order of events that Hypothesis can think of.

Promises under test: what was answered as stored reaches the server once, or is accounted for in a receipt or a dead
letter; messages of one lane arrive in order; numbers have no gap and never change their content; every message of the
server is delivered once, and every operation answered once.
"""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fieldpost.broker.store.records import NewMessage, OperationResult, Outgoing
from fieldpost.broker.store.store import Store
from fieldpost.wire import cbor
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.message import SUCCEEDED, Message
from fieldpost.wire.sequence import admit
from tests.broker.store.stores import answer, batch, new, open_store

TYPES = ("load", "disk", "users")
OWN = ("receipt", "resynchronize", "operation-result")


@define
class ModelServer:
    """The server's half of landscape 1.8, as short as it can be said."""

    received: list[Message] = field(factory=list)
    """The message of number n is at n; what the server forgets it cuts off."""
    api: ApiLevel = OLDEST_SERVER_API
    queue: list[Message] = field(factory=list)
    operations: int = 0

    @property
    def expected(self) -> int:
        return len(self.received)

    def take(self, outgoing: Outgoing, limit: int) -> None:
        """Take a payload in, but no more messages than the limit; nothing of one that starts too far on."""
        admission = admit(expected=self.expected, sequence=outgoing.sequence, count=len(outgoing.messages))
        if admission.gap:
            return
        for queued in outgoing.messages[: admission.skip]:
            assert self.received[queued.number]["body"] == cbor.decode(queued.body), "a number means another"
        for queued in outgoing.messages[admission.skip :][:limit]:
            assert queued.number == self.expected, "numbers have a gap"
            self.received.append({"body": cbor.decode(queued.body), "api": outgoing.api})

    def bodies(self) -> list[Message]:
        return [item["body"] for item in self.received]


class StoreMachine(RuleBasedStateMachine):
    """One store, one server, and a network that loses what it likes."""

    max_octets = 10**9
    cuts_back = True

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.server = ModelServer()
        self.next_value = 0
        self.stored: list[int] = []
        self.set_aside: list[int] = []
        self.results_set_aside = 0
        self.receipts_set_aside: list[Message] = []
        self.batches: dict[int, int] = {}
        self.in_flight: Outgoing | None = None
        self.acknowledged = self.kept = 0
        self.delivered: list[int] = []
        self.asked = 0
        self.store: Store
        self.open()
        self.store.accept_types([*TYPES, *OWN])
        self.store.set_identity(secure_id=b"secure", insecure_id=1)

    def open(self) -> None:
        self.store = open_store(str(self.folder / "store"), max_octets=self.max_octets, accept=None)
        self.in_flight = None

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            try:
                self.settle()
            finally:
                self.store.close()
                shutil.rmtree(self.folder)

    # What plugins do

    def messages(self, types: list[str]) -> list[NewMessage]:
        values = range(self.next_value, self.next_value + len(types))
        self.next_value += len(types)
        return [new(type, value) for type, value in zip(types, values, strict=True)]

    @rule(types=st.lists(st.sampled_from(TYPES), max_size=12))
    def add(self, types: list[str]) -> None:
        first = self.next_value
        number = len(self.batches) + 1
        (stored,) = self.store.add([batch(number, *self.messages(types))])
        assert stored.stored == len(types)
        self.batches[number] = len(types)
        self.stored += range(first, self.next_value)

    @precondition(lambda self: self.batches)
    @rule(types=st.lists(st.sampled_from(TYPES), max_size=3), data=st.data())
    def add_again(self, types: list[str], data: st.DataObject) -> None:
        """A batch whose answer the plugin did not see: whatever it holds, it is not stored twice."""
        latest = max(self.batches)
        number = data.draw(st.integers(max(1, latest - 5), latest))
        (stored,) = self.store.add([batch(number, *self.messages(types))])
        assert stored.stored == self.batches[number]

    # What the exchange does

    def exchange(self, max_messages: int) -> Outgoing:
        outgoing = self.in_flight = self.store.begin_exchange(max_messages=max_messages, max_octets=1_000_000)
        numbers = [message.number for message in outgoing.messages]
        assert numbers == list(range(outgoing.sequence, outgoing.sequence + len(numbers)))
        assert len(numbers) <= max_messages
        assert outgoing.total >= len(numbers)
        return outgoing

    def commit(self, outgoing: Outgoing, expected: int | None) -> None:
        start = outgoing.next_expected_sequence
        messages = self.server.queue[start : start + 2]
        settlement = self.store.commit_answer(answer(expected, *messages, server_api=self.server.api))
        assert settlement.received == len(messages)
        assert not settlement.verdict.resynchronizes
        if self.server.expected > self.acknowledged:
            self.kept = self.acknowledged
        self.acknowledged = self.server.expected
        self.in_flight = None

    @rule(max_messages=st.integers(1, 8), taken=st.sampled_from((0, 1, 3, 99, 99, 99)), named=st.booleans())
    def exchange_and_answer(self, max_messages: int, taken: int, named: bool) -> None:
        """The server takes some or all; when all, it may leave out the number."""
        outgoing = self.exchange(max_messages)
        if outgoing.api > self.server.api:
            self.store.lower_api()
            return
        self.server.take(outgoing, taken)
        everything = self.server.expected == outgoing.sequence + len(outgoing.messages)
        self.commit(outgoing, None if everything and not named else self.server.expected)

    @rule(max_messages=st.integers(1, 8), arrives=st.booleans())
    def exchange_without_answer(self, max_messages: int, arrives: bool) -> None:
        """The request or the answer is lost."""
        outgoing = self.exchange(max_messages)
        if arrives and outgoing.api <= self.server.api:
            self.server.take(outgoing, 99)

    @precondition(lambda self: self.cuts_back)
    @rule(data=st.data())
    def server_forgets(self, data: st.DataObject) -> None:
        """The server falls back to an older copy of itself, not further than the last acknowledgement but one."""
        if self.server.expected == self.acknowledged:
            del self.server.received[data.draw(st.integers(self.kept, self.acknowledged)) :]

    @precondition(lambda self: self.in_flight and self.in_flight.messages)
    @rule(data=st.data())
    def poison(self, data: st.DataObject) -> None:
        """The server says that it cannot take one of the messages."""
        assert self.in_flight
        queued = data.draw(st.sampled_from(self.in_flight.messages))
        if queued.number >= self.server.expected:
            self.store.set_aside(queued.number, "poison")
            body = cbor.decode(queued.body)
            self.set_aside += [body["value"]] if "value" in body else []
            self.results_set_aside += "operation-id" in body
            self.receipts_set_aside += [body] if body["type"] == "receipt" else []
        self.in_flight = None

    # What the server does

    @rule(types=st.sets(st.sampled_from(TYPES)))
    def accept(self, types: set[str]) -> None:
        self.store.accept_types([*types, *OWN])

    @rule(api=st.sampled_from((OLDEST_SERVER_API, NEWEST_SERVER_API)))
    def change_level(self, api: ApiLevel) -> None:
        self.server.api = api

    @rule(operation=st.booleans())
    def ask(self, operation: bool) -> None:
        number = len(self.server.queue)
        self.server.queue.append({"type": "run", **({"operation-id": 1_000 + number} if operation else {})})
        self.server.operations += operation

    # What the broker does with the server's messages

    @rule(crash=st.booleans())
    def deliver(self, crash: bool) -> None:
        for incoming in self.store.next_incoming(1):
            self.store.start_delivery(incoming.number)
            if crash:
                self.restart()
                again = incoming.operation_id is None
                assert (incoming.number in [i.number for i in self.store.next_incoming(99)]) == again
            else:
                result = OperationResult(status=SUCCEEDED) if incoming.operation_id else None
                self.store.finish_delivery(incoming.number, result)
                self.delivered.append(incoming.number)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()
        self.store.recover_deliveries()

    # What must always hold

    @invariant()
    def server_is_in_order(self) -> None:
        """Messages of one type and level arrive in the order in which they were sent, once each."""
        if not hasattr(self, "server"):
            return
        lanes: dict[Any, list[int]] = {}
        for item in self.server.received:
            if "value" in item["body"]:
                lanes.setdefault((item["body"]["type"], item["api"]), []).append(item["body"]["value"])
        for values in lanes.values():
            assert values == sorted(set(values))

    def settle(self) -> None:
        """All obstacles go; then all that was stored must be somewhere, once."""
        self.server.api = NEWEST_SERVER_API
        self.store.accept_types([*TYPES, *OWN])
        for _ in range(1_000):
            self.exchange_and_answer(7, 99, True)
            self.deliver(False)
            if not self.unfinished():
                break
        assert not self.unfinished(), "the store never gets done"
        self.check_account()

    def unfinished(self) -> bool:
        status = self.store.status()
        return bool(status.pending or status.incoming) or status.server_sequence < len(self.server.queue)

    def check_account(self) -> None:
        bodies = self.server.bodies()
        values = [body["value"] for body in bodies if "value" in body]
        lost = Counter[str]()
        for body in bodies + self.receipts_set_aside:
            if body.get("reason") == "size":
                lost[body["message-type"]] += body["count"]
        assert len(values) == len(set(values))
        assert set(values) <= set(self.stored)
        assert not set(values) & set(self.set_aside)
        assert len(values) + len(self.set_aside) + sum(lost[type] for type in TYPES) == len(self.stored)
        results = [body["operation-id"] for body in bodies if body["type"] == "operation-result"]
        given_up = lost["operation-result"] + self.results_set_aside
        assert len(results) == len(set(results)) == self.server.operations - given_up
        assert self.delivered == sorted(set(self.delivered))


class SmallStoreMachine(StoreMachine):
    """The same with a store that is too small, so that the oldest messages go with a receipt."""

    max_octets = 8 * len(new().body)


_SETTINGS = settings(
    stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
TestStore = StoreMachine.TestCase
TestStore.settings = _SETTINGS
TestSmallStore = SmallStoreMachine.TestCase
TestSmallStore.settings = _SETTINGS
