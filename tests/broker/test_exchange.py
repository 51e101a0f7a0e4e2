"""One exchange, its order, and what may go wrong with it."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from fieldpost.broker.carriage.transport import Refused, Reply, Request, Unreachable
from fieldpost.broker.exchange import ExchangeLimits
from fieldpost.broker.status import Exchanged, Failed
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API
from fieldpost.wire.local import DONE, Outcome
from fieldpost.wire.message import Message
from tests.broker.fakes import (
    ACCOUNT,
    FailingWriter,
    ModelServer,
    RecordingPlugin,
    Rig,
    ScriptedTransport,
    SteadyRandom,
    payload,
    result_of,
    says,
    started,
)
from tests.broker.store.stores import (
    NEWER_API,
    START,
    add,
    add_values,
    answer,
    begin,
    clock_at,
    new,
    open_store,
)

AWAY = Unreachable(reason="nothing listens there; start it")


def refused(status: int, **more: Any) -> Refused:
    return Refused(status=status, reason="it says so", **more)


def failing_first(*script: Any, **parts: Any) -> tuple[Rig, ScriptedTransport]:
    """A rig whose back-off is a minute, then two, and so on."""
    return started(*script, **{"random": SteadyRandom(), **parts})


# The order


def test_order_of_events() -> None:
    """Each event comes where landscape 1.13 has it."""
    poison = {"type": "set-id"}
    rig, _ = started(says(poison, expected=99), store=open_store())
    at_done: list[float | None] = []
    rig.bus.listen("exchange-done", lambda _: at_done.append(rig.until_next))

    with capturedLogs():
        rig.run()

    assert [name for name, _ in rig.events] == [
        "pre-exchange",
        "server-uuid-changed",
        "resynchronize-clients",
        "message",
        "exchange-done",
    ]
    assert at_done == [60.0]


def test_failure_is_told_before_done() -> None:
    """exchange-failed, then exchange-done once the next one is planned."""
    rig, _ = failing_first(AWAY)
    at_done: list[float | None] = []
    rig.bus.listen("exchange-done", lambda _: at_done.append(rig.until_next))

    rig.run()

    assert rig.events == [
        ("pre-exchange", {}),
        ("exchange-failed", {"cause": AWAY.reason}),
        ("exchange-done", {"ok": False, "cause": AWAY.reason}),
    ]
    assert at_done == [60.0]


def test_pre_exchange_is_the_last_call() -> None:
    """A message that is queued then goes along."""
    rig, transport = started()
    rig.bus.listen("pre-exchange", lambda _: rig.store.put({"type": "load", "value": "late"}))

    rig.run()

    assert transport.sent == [["late"]]


def test_result() -> None:
    """Whoever asked learns what came of it."""
    rig, _ = started(says({"type": "x"}))
    add_values(rig.store, range(3))

    assert rig.run() == Exchanged(at=START, sent=3, received=1, pending=0)


def test_server_uuid_changed() -> None:
    """Told when another server answers, not each time."""
    rig, _ = started(says(), says(), says(server_uuid="server-2"))

    for _ in range(3):
        rig.run()

    assert rig.heard("server-uuid-changed") == [
        {"old": None, "new": "server-1"},
        {"old": "server-1", "new": "server-2"},
    ]


def test_client_types_go_along_until_the_server_has_them() -> None:
    """A type that a plugin takes from now on is told in the next exchange."""
    rig, transport = started()
    plugin = RecordingPlugin()
    rig.run()
    assert "reboot" not in (transport.last.client_accepted_types or ())

    rig.delivery.register(("reboot",), plugin.name, plugin.deliver)
    rig.run()

    assert "reboot" in (transport.last.client_accepted_types or ())


# Tokens and levels


def test_token_is_shown_once() -> None:
    """It goes with the next exchange, and with no other, whatever comes of that one."""
    rig, transport = started(says(next_exchange_token=b"token"), AWAY, says())

    for _ in range(3):
        rig.run()

    assert [request.token for request in transport.requests][:3] == [None, b"token", None]


def test_level_rises_with_the_server() -> None:
    """What is queued after a server announced a newer level has that level."""
    rig, transport = started(says(server_api=NEWER_API), says(server_api=OLDEST_SERVER_API))

    for value in range(3):
        add_values(rig.store, range(value, value + 1))
        rig.run()

    assert [str(request.payload.server_api) for request in transport.requests] == ["3.2", "3.3", "3.3"]


def test_l1_level_falls_on_404() -> None:
    """A server that does not have our level gets the oldest one, at once (fault L1)."""
    rig, transport = started(says(server_api=NEWER_API), refused(404), says())
    rig.run()

    result = rig.run()

    assert isinstance(result, Exchanged)
    assert [str(request.payload.server_api) for request in transport.requests] == ["3.2", "3.3", "3.2"]
    assert rig.heard("exchange-failed") == []


def test_404_at_the_oldest_level() -> None:
    """Then there is no exchange at this address: a failure."""
    rig, transport = failing_first(refused(404))

    result = rig.run()

    assert isinstance(result, Failed) and "404" in result.cause
    assert len(transport.requests) == 1


# Failures


@pytest.mark.parametrize("status", [401, 402, 403, 405, 429, 500, 503, 599])
def test_l1_refusals_back_off(status: int) -> None:
    """Each refusal is a failure with its cause, and the next attempts come ever later (fault L1)."""
    rig, transport = failing_first(refused(status))
    add_values(rig.store, range(3))

    for window in (60.0, 120.0, 240.0):
        result = rig.run()
        assert isinstance(result, Failed) and str(status) in result.cause and "it says so" in result.cause
        assert rig.until_next == window

    assert transport.sent == [[0, 1, 2]] * 3
    assert rig.record.failures == 3


def test_l1_retry_after() -> None:
    """The time that the server names is kept, whoever asks meanwhile (fault L1)."""
    rig, _ = failing_first(refused(429, retry_after=1_000.0))
    rig.run()

    rig.timetable.request(at_once=True)

    assert rig.until_next == 1_000.0


def test_l1_unreachable() -> None:
    """A server that is away is a failure like any other (fault L1)."""
    rig, _ = failing_first(AWAY)

    assert rig.run() == Failed(at=START, cause=AWAY.reason)
    assert rig.until_next == 60.0


def test_l10_transport_that_raises() -> None:
    """A transport that breaks its promise breaks one exchange (fault L10)."""
    rig, _ = failing_first(ZeroDivisionError("oops"), says())

    with capturedLogs() as logs:
        result = rig.run()

    assert isinstance(result, Failed) and "ZeroDivisionError" in result.cause
    assert [entry["log_failure"].type for entry in logs if "log_failure" in entry] == [ZeroDivisionError]
    rig.clock.advance(60)
    assert rig.record.exchanges == 1


def test_l10_payload_that_cannot_be_built() -> None:
    """Any exception while building the payload leaves no exchange running (fault L10)."""
    writer = FailingWriter()
    rig, transport = failing_first(says(), writer=writer)
    rig.bus.listen("pre-exchange", lambda _: writer.failures.append(KeyError("oops")))

    with capturedLogs():
        result = rig.run()

    assert isinstance(result, Failed) and "KeyError" in result.cause
    assert not rig.exchange.is_running
    assert rig.until_next == 60.0
    assert transport.requests == []


def test_l10_answer_that_cannot_be_applied() -> None:
    """Nor while taking the answer in; the same messages go again (fault L10)."""
    writer = FailingWriter()

    def full(_: Request) -> Reply:
        writer.failures = [DatabaseFull("the disk is full; free space on it")]
        return says()

    rig, transport = failing_first(full, says(), writer=writer)
    add_values(rig.store, range(3))

    assert rig.run() == Failed(at=START, cause="the disk is full; free space on it")
    rig.clock.advance(60)

    assert transport.sent == [[0, 1, 2]] * 2
    assert rig.store.status().pending == 0


@pytest.mark.parametrize("number", [2**64, -(2**70), 2**62])
def test_l10_number_beyond_all(number: int) -> None:
    """An answer whose numbers nobody can count on is a failure with its cause, and changes nothing (fault L10)."""
    rig, transport = failing_first(says({"type": "x"}, expected=number), says())
    add_values(rig.store, range(3))

    result = rig.run()

    assert isinstance(result, Failed) and "server's answer" in result.cause
    assert rig.store.state().server_sequence == 0
    rig.clock.advance(60)
    assert transport.sent == [[0, 1, 2]] * 2


def test_inbox_that_cannot_be_read() -> None:
    """The answer is in; its messages are dealt with after the next exchange."""
    writer = FailingWriter()
    rig, _ = failing_first(says({"type": "set-intervals", "exchange": 300}), says(), writer=writer)
    rig.bus.listen("server-uuid-changed", lambda _: writer.failures.append(DatabaseFull("full")))

    assert isinstance(rig.run(), Failed)
    rig.clock.advance(60)

    assert rig.timetable.intervals.normal == 300
    assert rig.store.state().server_sequence == 1


# One at a time


def waiting() -> tuple[Rig, ScriptedTransport, "Deferred[Reply]"]:
    """A rig whose first exchange waits for its answer."""
    reply: Deferred[Reply] = Deferred()
    rig, transport = started(reply, says())
    return rig, transport, reply


def test_second_request_joins_the_first() -> None:
    """Two who ask get the one exchange, and the same result."""
    rig, transport, reply = waiting()

    first, second = rig.exchange.run(), rig.exchange.run()
    assert len(transport.requests) == 1
    reply.callback(says())

    assert result_of(first) is result_of(second)
    assert len(transport.requests) == 1


def test_due_during_one_that_was_asked_for() -> None:
    """What the timetable says while one runs starts no second one."""
    rig, transport, _ = waiting()
    rig.exchange.run()

    result_of(Deferred.fromCoroutine(rig.bus.fire("exchange-due")))

    assert len(transport.requests) == 1


def test_l12_urgency_during_an_exchange() -> None:
    """An urgent message that comes while one is in flight goes soon, not a normal interval later (fault L12)."""
    rig, transport, reply = waiting()
    rig.exchange.run()

    add_values(rig.store, range(1))
    rig.timetable.request(at_once=False)
    reply.callback(says())
    rig.clock.advance(60)

    assert transport.sent == [[], [0]]


def test_asking_from_exchange_done() -> None:
    """Whoever hears that one is done may ask for the next, which is another."""
    rig, transport = started()
    asked: list[Deferred[Any]] = []

    def ask(_: object) -> None:
        forget()
        asked.append(rig.exchange.run())

    forget = rig.bus.listen("exchange-done", ask)

    rig.run()

    assert isinstance(result_of(asked[0]), Exchanged)
    assert len(transport.requests) == 2


# Draining


def test_backlog_drains_at_once() -> None:
    """As long as the server takes messages, the next ones follow."""
    rig, transport = started(limits=ExchangeLimits(messages=100))
    add_values(rig.store, range(350))

    rig.run()
    rig.clock.pump([0] * 5)

    assert [len(sent) for sent in transport.sent] == [100, 100, 100, 50]
    assert rig.until_next == 900.0


def test_no_progress_no_hurry() -> None:
    """A server that takes nothing is asked again at its normal interval (landscape 1.9)."""
    rig, _ = started(says(expected=0))
    add_values(rig.store, range(3))

    rig.run()

    assert rig.until_next == 900.0


def test_server_that_asks_for_older_messages() -> None:
    """It gets them again, soon, under their numbers."""
    rig, transport = started(says(), says(expected=2), says())
    add_values(rig.store, range(4))
    rig.run()

    rig.run()
    assert rig.until_next == 60.0
    rig.clock.advance(60)

    assert transport.sent == [[0, 1, 2, 3], [], [2, 3]]
    assert transport.last.sequence == 2


@pytest.mark.parametrize("expected", [99, -5])
def test_numbers_that_do_not_fit(expected: int) -> None:
    """Nothing is lost: what is left is numbered anew, a resynchronize is queued, plugins hear it, and it is urgent."""
    rig, transport = started(says(expected=expected), says())
    add_values(rig.store, range(2))

    rig.run()
    assert rig.heard("resynchronize-clients") == [{"scopes": None}]
    assert rig.until_next == 60.0
    rig.run()

    assert transport.types[1] == ["load", "load", "resynchronize"]
    assert transport.last.sequence == expected


# What the server cannot take


def takes(*, most: int = 10**9, poison: Any = (), status: int = 413) -> Any:
    """A server that refuses payloads of more messages, and such with a message of a poisonous value in them."""

    def answer_to(request: Request) -> Reply:
        messages = request.payload.messages
        values = [message.get("value") for message in messages]
        if len(messages) > most or any(value in poison for value in values):
            return refused(status)
        return says()

    return answer_to


def delivered(transport: ScriptedTransport, refusing: Any) -> list[Any]:
    """The values that the server took."""
    return [
        message.get("value")
        for request in transport.requests
        if not isinstance(refusing(request), Refused)
        for message in request.payload.messages
    ]


def test_l15_payload_too_large_is_split() -> None:
    """A payload over the server's limit goes in parts, in order, at once (fault L15)."""
    server = takes(most=10)
    rig, transport = failing_first(server)
    add_values(rig.store, range(100))

    rig.run()
    rig.clock.pump([0] * 20)

    assert delivered(transport, server) == list(range(100))
    assert rig.heard("exchange-failed") == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_l15_poison_is_found_and_set_aside(status: int) -> None:
    """One message that the server cannot take blocks nothing behind it (fault L15)."""
    server = takes(poison=(37,), status=status)
    rig, transport = failing_first(server)
    add_values(rig.store, range(100))

    rig.run()
    rig.clock.pump([0] * 30)

    taken = delivered(transport, server)
    assert [value for value in taken if value is not None] == [v for v in range(100) if v != 37]
    (dead,) = rig.store.dead_letters(9)
    assert dead.type == "load" and str(status) in dead.reason
    assert rig.store.status().pending == 0
    assert any(
        message["type"] == "receipt" and message["reason"] == "poison"
        for request in transport.requests
        for message in request.payload.messages
    )
    (failed,) = rig.heard("exchange-failed")
    assert "set aside in the dead letters" in failed["cause"]


def test_limit_grows_back() -> None:
    """After a refusal the payloads grow again with each success."""
    rig, transport = started(refused(413), refused(413), says())
    add_values(rig.store, range(400))

    rig.run()
    rig.clock.pump([0] * 20)

    assert [len(sent) for sent in transport.sent][:6] == [100, 50, 25, 50, 100, 100]


def test_several_poisonous_messages() -> None:
    """All are found; the others all arrive, in order."""
    poison = (3, 4, 50, 99)
    server = takes(poison=poison)
    rig, transport = started(server)
    add_values(rig.store, range(100))

    rig.run()
    for _ in range(60):
        rig.clock.advance(60)

    taken = delivered(transport, server)
    assert [value for value in taken if value is not None] == [v for v in range(100) if v not in poison]
    assert len(rig.store.dead_letters(9)) == 4


def test_poison_far_apart_costs_no_time() -> None:
    """Each is found and set aside at once, as long as the server takes messages in between."""
    server = takes(poison=(10, 60))
    rig, transport = started(server, limits=ExchangeLimits(messages=10), random=SteadyRandom())
    add_values(rig.store, range(100))

    rig.run()
    rig.clock.pump([0] * 60)

    taken = delivered(transport, server)
    assert [value for value in taken if value is not None] == [v for v in range(100) if v not in (10, 60)]


def test_server_that_refuses_everything_empties_no_store() -> None:
    """When even an empty payload is refused, no message is to blame."""
    rig, _ = failing_first(refused(400))
    add_values(rig.store, range(50))

    for _ in range(20):
        rig.run()

    assert rig.store.dead_letters(9) == []
    assert rig.store.status().pending == 50
    assert rig.until_next is not None and rig.until_next > 60


def test_server_away_when_a_message_is_suspected() -> None:
    """Nothing is blamed while nobody can tell."""
    rig, _ = failing_first(refused(400), AWAY)
    add_values(rig.store, range(1))

    result = rig.run()

    assert result == Failed(at=START, cause=AWAY.reason)
    assert rig.store.dead_letters(9) == []


def test_server_that_takes_nothing_but_empty_payloads() -> None:
    """It costs a back-off per message, so that a night of it does not empty the store into the dead letters."""
    rig, _ = failing_first(
        lambda request: refused(400) if request.payload.messages else says(),
        store=open_store(accept=("load",)),
    )
    add_values(rig.store, range(100))

    rig.run()
    rig.clock.pump([60.0] * 60 * 12)

    assert 0 < len(rig.store.dead_letters(99)) < 20


def test_suspected_message_turns_out_to_be_taken() -> None:
    """A server that refused a message and then says that it has it is believed."""
    rig, _ = started(refused(400), says(expected=1), says())
    add_values(rig.store, range(1))

    rig.run()

    assert rig.store.dead_letters(9) == []
    assert rig.store.status().pending == 0


def test_numbers_change_while_a_message_is_suspected() -> None:
    """When the answer renumbers all, no other message is blamed in its place."""
    rig, _ = started(refused(400), says(expected=77), says(expected=77))
    add_values(rig.store, range(1))

    rig.run()

    assert rig.store.dead_letters(9) == []
    assert rig.store.status().pending == 2


@pytest.mark.parametrize("kind", ["receipt", "register"])
def test_our_own_messages_are_never_to_blame(kind: str) -> None:
    """A server that refuses these refuses us: it is a failure, and nothing is set aside."""
    rig, transport = failing_first(refused(400), store=open_store(accept=(kind,)))
    rig.store.put({"type": kind})

    result = rig.run()

    assert isinstance(result, Failed)
    assert len(transport.requests) == 1
    assert rig.store.dead_letters(9) == []


# Duplicates and crashes


def test_l16_same_numbers_after_a_lost_answer() -> None:
    """What the server may have is sent again under its numbers, so that it can pass over it (fault L16)."""
    rig, transport = failing_first(AWAY, says())
    add_values(rig.store, range(3))
    rig.run()
    add_values(rig.store, range(3, 5))

    rig.run()

    assert transport.sent == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert [request.payload.sequence for request in transport.requests] == [0, 0]


def test_l16_same_numbers_after_a_crash() -> None:
    """Killed between the server's commit and ours, the same messages go under the same numbers (fault L16)."""
    rig, transport, _ = waiting()
    add_values(rig.store, range(3))
    rig.exchange.run()

    again, retried = started(says(expected=3), store=rig.store, clock=rig.clock)
    add_values(again.store, range(3, 4))
    again.run()
    again.clock.advance(0)

    assert transport.sent == [[0, 1, 2]]
    assert retried.sent == [[0, 1, 2, 3], [3]]


def test_l16_smaller_limits_after_a_crash() -> None:
    """Nor does a smaller limit in between make the server's number look like one that was never sent."""
    rig, _, _ = waiting()
    add_values(rig.store, range(100))
    rig.exchange.run()

    again, retried = started(
        says(expected=100), says(), store=rig.store, clock=rig.clock, limits=ExchangeLimits(messages=10)
    )
    again.run()

    assert again.heard("resynchronize-clients") == []
    assert again.store.status().pending == 0
    assert [len(sent) for sent in retried.sent] == [10]


def test_l8_operation_is_never_forgotten() -> None:
    """From the moment that its answer is taken in, an operation has a result to come (fault L8)."""
    operation: Message = {"type": "reboot", "operation-id": 7}
    rig, _ = started(says(operation))
    plugin = RecordingPlugin(answers=None)
    rig.delivery.register(("reboot",), plugin.name, plugin.deliver)
    rig.run()

    again, transport = started(store=rig.store, clock=rig.clock)
    again.run()

    (message,) = transport.last.messages
    assert (message["type"], message["operation-id"], message["status"]) == ("operation-result", 7, 5)


@pytest.mark.parametrize("is_quick", [False, True])
def test_l7_redelivered_operation(is_quick: bool) -> None:
    """Sent again while it waits, or while its result is on the way, it is carried out once, and has one result (fault L7)."""
    operation: Message = {"type": "reboot", "operation-id": 7}
    rig, transport = started(says(operation), says(operation, expected=0), says(), says())
    plugin = RecordingPlugin(answers=(lambda _: Outcome(status=DONE)) if is_quick else None)
    rig.delivery.register(("reboot",), plugin.name, plugin.deliver)
    rig.run()
    rig.clock.advance(0)

    rig.run()
    for held in plugin.held:
        held.callback(Outcome(status=DONE))
    rig.clock.advance(0)
    rig.run()

    assert len(plugin.delivered) == 1
    assert [message["operation-id"] for message in transport.last.messages] == [7]
    assert rig.store.status().incoming == 0
    assert rig.store.state().server_sequence == 2
    assert rig.report()["exchange"]["failing"] is False


# Start and stop


def test_first_exchange_comes_by_itself() -> None:
    """A broker that is started calls the server within a minute."""
    rig, transport = started()

    rig.clock.pump([1.0] * 60)

    assert len(transport.requests) == 1
    assert [name for name, _ in rig.events][:2] == ["impending-exchange", "pre-exchange"]


def test_not_before_the_start() -> None:
    """Asked too early, it says so."""
    rig = Rig.build(ScriptedTransport())

    result = rig.run()

    assert isinstance(result, Failed) and "not running" in result.cause


def test_start_with_a_full_disk() -> None:
    """A store that fails at the start does not keep the broker from trying."""
    writer = FailingWriter()
    writer.failures = [DatabaseFull("the disk is full")]
    transport = ScriptedTransport()

    with capturedLogs() as logs:
        rig = Rig.build(transport, writer=writer).start()
    rig.clock.advance(60)
    rig.clock.advance(10)

    assert any("the disk is full" in entry.get("error", "") for entry in logs)
    assert len(transport.requests) == 1


def test_stop() -> None:
    """Nothing is planned any more, and no timer is left."""
    rig, transport = started()

    result_of(rig.stop())
    rig.clock.advance(10_000)

    assert transport.requests == []
    assert rig.clock.getDelayedCalls() == []
    assert isinstance(rig.run(), Failed)


def test_stop_takes_the_answer_that_is_on_its_way() -> None:
    """An answer that comes within seconds is taken in."""
    rig, _, reply = waiting()
    add_values(rig.store, range(3))
    rig.exchange.run()

    stopped = rig.stop()
    assert not stopped.called
    reply.callback(says())

    result_of(stopped)
    assert rig.store.status().pending == 0
    assert rig.clock.getDelayedCalls() == []


def test_stop_does_not_wait_for_ever() -> None:
    """What takes longer is cut; the messages go again after the next start."""
    rig, _, reply = waiting()
    add_values(rig.store, range(3))
    running = rig.exchange.run()

    stopped = rig.stop()
    rig.clock.advance(5)

    result_of(stopped)
    result = result_of(running)
    assert isinstance(result, Failed) and "stopped" in result.cause
    assert reply.called
    assert rig.store.status().pending == 3
    assert rig.clock.getDelayedCalls() == []


def test_stop_while_the_store_is_slow() -> None:
    """Time runs out while no answer is waited for: the store is waited for all the same, since it must be."""
    slow: Deferred[None] = Deferred()
    rig, transport = started()
    rig.bus.listen("pre-exchange", lambda _: slow)
    rig.exchange.run()

    stopped = rig.stop()
    rig.clock.advance(60)
    assert not stopped.called
    slow.callback(None)

    result_of(stopped)
    assert len(transport.requests) == 1


def test_stop_before_the_start_is_through() -> None:
    """A stop that comes while the store is still being read wins."""
    rig = Rig.build(ScriptedTransport())
    result_of(rig.stop())

    rig.start()

    assert not rig.timetable.is_running
    assert rig.clock.getDelayedCalls() == []


def test_cancelled_answer() -> None:
    """A transport that lets the cancellation through is no mistake."""
    rig, _ = failing_first(CancelledError())

    result = rig.run()

    assert isinstance(result, Failed) and "stopped" in result.cause


# With a server


def test_from_nothing_to_the_first_messages() -> None:
    """A new machine is registered and has its backlog through in a handful of exchanges, seconds apart."""
    server = ModelServer("load")
    clock = clock_at()
    store = open_store(clock=clock, accept=None)
    add_values(store, range(250))
    rig = Rig.build(server, clock=clock, store=store, account=ACCOUNT).start()

    clock.advance(60)
    clock.pump([0.0] * 10)

    assert server.stored("load") == list(range(250))
    assert len(server.requests) == 5
    assert rig.store.state().api == NEWEST_SERVER_API


def test_machine_that_waits_for_approval() -> None:
    """While an operator thinks, messages wait; then they arrive in order."""
    server = ModelServer("load", auto_accept=False)
    clock = clock_at()
    rig = Rig.build(server, clock=clock, store=open_store(clock=clock, accept=None), account=ACCOUNT).start()
    for value in range(10):
        add_values(rig.store, range(value, value + 1))
        clock.pump([60.0] * 20)
    assert server.computer.stored == []

    server.computer.approved = True
    clock.pump([60.0] * 20)

    assert server.stored("load") == list(range(10))
    assert len(server.computers) == 1


def test_clone() -> None:
    """Two machines with one identity: the second to call becomes a computer of its own, and nothing is mixed up."""
    server = ModelServer("load")
    clock = clock_at()
    rig = Rig.build(server, clock=clock, store=open_store(clock=clock, accept=None), account=ACCOUNT).start()
    clock.pump([60.0] * 5)
    add_values(rig.store, range(3))
    stolen = rig.store.state().secure_id
    assert stolen is not None
    twin = Rig.build(
        server,
        clock=clock,
        store=open_store(clock=clock, accept=("load",), new_id=iter(["twin-1", "twin-2"]).__next__),
        account=ACCOUNT,
    )
    twin.store.set_identity(secure_id=stolen, insecure_id=1)
    begin(twin.store)
    twin.store.commit_answer(answer(token=b"stale"))
    add_values(twin.store, range(100, 103))

    twin.start()
    clock.pump([60.0] * 20)

    first, second = server.computers
    assert [message["value"] for message in first.stored if message["type"] == "load"] == [0, 1, 2]
    assert [message["value"] for message in second.stored if message["type"] == "load"] == [100, 101, 102]


def test_poison_on_a_real_path() -> None:
    """The server's refusal of one message costs no other, through the encoded payloads too."""
    server = ModelServer("load")
    server.poison = lambda message: message.get("value") == 13
    clock = clock_at()
    rig = Rig.build(server, clock=clock, store=open_store(clock=clock, accept=None), account=ACCOUNT).start()
    add(rig.store, *(new("load", value) for value in range(40)))

    clock.pump([60.0] * 5)

    assert server.stored("load") == [value for value in range(40) if value != 13]
    assert payload().server_uuid == "server-1"
