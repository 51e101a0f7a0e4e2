"""Out of the inbox."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.broker.delivery import PAGE
from fieldpost.broker.store.records import Conclusion, Incoming
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire import cbor
from fieldpost.wire.errors import Malformed
from fieldpost.wire.message import FAILED, SUCCEEDED, Message
from tests.broker.fakes import FailingWriter, HeldWriter, RecordingPlugin, Rig, result_of, started
from tests.broker.store.stores import answer, begin, bodies, open_store, receipts


def arrive(rig: Rig, *messages: Message) -> None:
    """The server sends these."""
    begin(rig.store)
    rig.store.commit_answer(answer(None, *messages))
    take(rig)


def take(rig: Rig) -> None:
    result_of(Deferred.fromCoroutine(rig.delivery.take()))
    rig.clock.advance(0)


class Reacting:
    """A reaction that notes what it took, and fails as it is told."""

    def __init__(self, rig: Rig, type: str = "own") -> None:
        self.taken: list[Any] = []
        self.failures: list[Exception] = []
        rig.handlers.react(type, self.react)

    async def react(self, incoming: Incoming) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(incoming.message.get("value"))


def own(value: Any = None, **fields: Any) -> Message:
    return {"type": "own", "value": value, **fields}


def test_reactions_in_order_of_registration_and_number() -> None:
    """The broker's own messages are dealt with one after the other, each by all reactions in order."""
    rig, _ = started()
    order: list[Any] = []

    async def first(incoming: Incoming) -> None:
        order.append(("first", incoming.message["value"]))

    async def second(incoming: Incoming) -> None:
        order.append(("second", incoming.message["value"]))

    rig.handlers.react("own", first)
    rig.handlers.react("own", second)

    arrive(rig, own(1), own(2))

    assert order == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]
    assert rig.store.status().incoming == 0


def test_each_message_is_told_before_its_handlers() -> None:
    """Inside the broker, whoever wants to see all messages does."""
    rig, _ = started()
    reacting = Reacting(rig)
    seen: list[Any] = []
    rig.bus.listen("message", lambda details: seen.append((details["number"], tuple(reacting.taken))))

    arrive(rig, own(1), {"type": "other"})

    assert seen == [(0, ()), (1, (1,))]


def test_more_than_a_page() -> None:
    """However much an answer brings, all of it is dealt with."""
    rig, _ = started()
    reacting, plugin = Reacting(rig), RecordingPlugin()
    rig.delivery.register(("reboot",), plugin.name, plugin.deliver)

    arrive(
        rig, *(own(value) if value % 2 else {"type": "reboot", "value": value} for value in range(3 * PAGE))
    )

    assert reacting.taken == list(range(1, 3 * PAGE, 2))
    assert plugin.values == list(range(0, 3 * PAGE, 2))
    assert rig.store.status().incoming == 0


def test_malformed_message_is_set_aside() -> None:
    """One that cannot be taken goes to the dead letters with its cause, is reported, and the next one is taken."""
    rig, _ = started()
    reacting = Reacting(rig)
    reacting.failures = [Malformed("`id` is missing")]

    with capturedLogs() as logs:
        arrive(rig, own(1), own(2))

    assert reacting.taken == [2]
    (dead,) = rig.store.dead_letters(9)
    assert (dead.type, dead.number, dead.reason) == ("own", 0, "from the server: `id` is missing")
    assert cbor.decode(dead.body) == own(1)
    assert [entry["reason"] for entry in logs if "reason" in entry] == ["`id` is missing"]
    assert rig.report()["incoming"]["last-unusable"] == "own: `id` is missing"


def test_malformed_messages_leave_one_receipt() -> None:
    """The server is told, once for all of a type, so that a server gone mad does not fill our store."""
    rig, _ = started()
    Reacting(rig).failures = [Malformed("no")] * 3

    arrive(rig, own(), own(), own())

    (receipt,) = receipts(begin(rig.store))
    assert (receipt["reason"], receipt["message-type"], receipt["count"]) == ("unusable", "own", 3)
    assert (receipt["first"], receipt["last"]) == (0, 2)


def test_malformed_operation_has_failed() -> None:
    """One that is an operation is reported by its result instead."""
    rig, _ = started()
    Reacting(rig).failures = [Malformed("`id` is missing")]

    arrive(rig, own(**{"operation-id": 7}))

    (body,) = bodies(begin(rig.store))
    assert (body["type"], body["operation-id"], body["status"]) == ("operation-result", 7, FAILED)
    assert body["result-text"] == "`id` is missing"


def test_operation_for_the_broker_succeeds() -> None:
    """What the broker itself does for an operation is answered as well."""
    rig, _ = started()
    Reacting(rig)

    arrive(rig, own(**{"operation-id": 7}))

    (body,) = bodies(begin(rig.store))
    assert (body["operation-id"], body["status"]) == (7, SUCCEEDED)


def test_a_mistake_of_ours_does_not_jam_the_stream() -> None:
    """A reaction that breaks is logged as our mistake, and its message set aside like poison (fault L6)."""
    rig, _ = started()
    reacting = Reacting(rig)
    reacting.failures = [ZeroDivisionError("oops")]

    with capturedLogs() as logs:
        arrive(rig, own(1), own(2))

    assert reacting.taken == [2]
    assert [entry["log_failure"].type for entry in logs if "log_failure" in entry] == [ZeroDivisionError]
    assert "ZeroDivisionError" in rig.store.dead_letters(1)[0].reason


def test_full_disk_keeps_the_message() -> None:
    """A message that cannot be dealt with now comes first again after the next exchange; those behind it wait."""
    rig, _ = started()
    reacting = Reacting(rig)
    reacting.failures = [DatabaseFull("the disk is full")]

    with capturedLogs() as logs:
        arrive(rig, own(1), own(2))
    assert reacting.taken == []
    assert any("the disk is full" in entry.get("error", "") for entry in logs)
    take(rig)

    assert reacting.taken == [1, 2]
    assert rig.store.dead_letters(1) == []


def test_full_disk_holds_back_what_is_behind_for_plugins_too() -> None:
    """Order is kept: a plugin does not get what came after a message that waits for the disk."""
    rig, _ = started()
    plugin = RecordingPlugin()
    rig.delivery.register(("reboot",), plugin.name, plugin.deliver)
    Reacting(rig).failures = [DatabaseFull("the disk is full")]

    arrive(rig, {"type": "reboot", "value": 1}, own(), {"type": "reboot", "value": 2})
    assert plugin.values == [1]
    take(rig)

    assert plugin.values == [1, 2]


def test_inbox_that_cannot_be_read_on_is_logged() -> None:
    """When there is room for more and the store fails just then, the next exchange tries again."""
    writer = FailingWriter()
    rig, _ = started(writer=writer)
    writer.failures = [DatabaseFull("the disk is full")]

    with capturedLogs() as logs:
        rig.delivery._continue()

    assert [entry["log_failure"].type for entry in logs if "log_failure" in entry] == [DatabaseFull]


def test_two_who_read_at_a_time() -> None:
    """A message is dealt with once, though room for plugins' messages is found while an exchange reads the inbox."""
    writer = HeldWriter()
    rig, _ = started(writer=writer)
    reacting = Reacting(rig)
    begin(rig.store)
    rig.store.commit_answer(answer(None, own(1), own(2)))
    writer.is_held = True

    first = Deferred.fromCoroutine(rig.delivery.take())
    second = Deferred.fromCoroutine(rig.delivery.take())
    writer.release()

    result_of(first)
    result_of(second)
    assert reacting.taken == [1, 2]


def test_start_goes_on_with_the_inbox() -> None:
    """What was stored and not dealt with before a stop is dealt with at the start, before the first exchange."""
    store = open_store()
    begin(store)
    store.commit_answer(answer(None, {"type": "set-intervals", "exchange": 300}))

    rig, transport = started(store=store)

    assert rig.timetable.intervals.normal == 300
    assert store.status().incoming == 0
    assert transport.requests == []


def test_refusing_what_is_not_there() -> None:
    """The store passes over a number that it does not have."""
    assert open_store().refuse_incoming(7, "no") is Conclusion.UNKNOWN
