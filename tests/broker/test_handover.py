"""From the inbox to plugins."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.broker.handover import HandoverLimits
from fieldpost.broker.schedule import Intervals
from fieldpost.runtime.amp import Disconnected
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire import cbor
from fieldpost.wire.local import DONE, FAILED, NOT_HANDLED, Outcome
from fieldpost.wire.message import FAILED as OPERATION_FAILED
from fieldpost.wire.message import SUCCEEDED, Message
from tests.broker.fakes import FailingWriter, RecordingPlugin, Rig, result_of, started
from tests.broker.store.stores import answer, begin, bodies

GONE = Disconnected("the process is gone")
NEVER = Intervals(normal=604_800.0, urgent=604_800.0)


def quiet(**parts: Any) -> Rig:
    """A rig that makes no exchange of its own."""
    rig, _ = started(**{"intervals": NEVER, **parts})
    return rig


def reboot(id: int | None = None, value: Any = None) -> Message:
    """A message for a plugin; an operation when it has an id."""
    message: Message = {"type": "reboot", "value": value}
    return message if id is None else {**message, "operation-id": id}


def arrive(rig: Rig, *messages: Message) -> None:
    """The server sends these."""
    begin(rig.store)
    rig.store.commit_answer(answer(None, *messages))
    result_of(Deferred.fromCoroutine(rig.delivery.take()))
    rig.clock.advance(0)


def take(rig: Rig, plugin: RecordingPlugin, *types: str) -> Any:
    """The plugin takes these types."""
    forget = rig.delivery.register(types or ("reboot",), plugin.name, plugin.deliver)
    rig.clock.advance(0)
    return forget


def results(rig: Rig) -> list[tuple[int, int, Any]]:
    """Operation, status and text of the results that are queued."""
    return [
        (body["operation-id"], body["status"], body.get("result-text"))
        for body in bodies(begin(rig.store))
        if body["type"] == "operation-result"
    ]


def test_delivers_in_order_one_at_a_time() -> None:
    """A plugin gets its messages in order of number, each when it is done with the one before."""
    rig = quiet()
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)

    arrive(rig, reboot(value=1), reboot(value=2))
    assert plugin.values == [1]
    plugin.held[0].callback(Outcome(status=DONE))

    assert plugin.values == [1, 2]


def test_a_slow_plugin_holds_up_nobody_else() -> None:
    """Others get theirs meanwhile, and so does the broker itself."""
    rig = quiet()
    slow, quick = RecordingPlugin("slow", answers=None), RecordingPlugin("quick")
    take(rig, slow, "reboot")
    take(rig, quick, "halt")

    arrive(rig, reboot(), {"type": "halt"}, {"type": "set-intervals", "exchange": 300})

    assert len(slow.delivered) == len(quick.delivered) == 1
    assert rig.timetable.intervals.normal == 300


def test_operation_succeeds() -> None:
    """What the plugin says travels back with the operation's id, soon."""
    rig = quiet(intervals=Intervals())
    take(rig, RecordingPlugin(answers=lambda _: Outcome(status=DONE, result_text="fine", result_code=1)))
    rig.run()

    arrive(rig, reboot(id=7))

    (body,) = bodies(begin(rig.store))
    assert body == {
        "type": "operation-result",
        "operation-id": 7,
        "status": SUCCEEDED,
        "result-text": "fine",
        "result-code": 1,
    }
    assert rig.until_next == 60.0


def test_operation_fails() -> None:
    """A handler's failure is the operation's."""
    rig = quiet()
    take(rig, RecordingPlugin(answers=lambda _: Outcome(status=FAILED, result_text="no power")))

    arrive(rig, reboot(id=7))

    assert results(rig) == [(7, OPERATION_FAILED, "no power")]


def test_message_that_fails_is_logged() -> None:
    """A message that is no operation has no result; that its handler failed is in the log."""
    rig = quiet()
    take(rig, RecordingPlugin(answers=lambda _: Outcome(status=FAILED)))

    with capturedLogs() as logs:
        arrive(rig, reboot())

    assert any(entry.get("text") == "it does not say how" for entry in logs)
    assert results(rig) == []
    assert rig.store.status().incoming == 0


def test_waits_for_a_plugin_that_starts_late() -> None:
    """A plugin that comes within the grace gets what came before it, in order."""
    rig = quiet()
    arrive(rig, reboot(value=1), {"type": "other"}, reboot(value=2))
    rig.clock.advance(29)
    plugin = RecordingPlugin()

    take(rig, plugin)

    assert plugin.values == [1, 2]


def test_nobody_handles_an_operation() -> None:
    """After the grace the server is told that nobody here knows the type."""
    rig = quiet()
    arrive(rig, reboot(id=7))
    rig.clock.advance(10)
    arrive(rig, reboot(id=8))

    rig.clock.advance(20)
    assert results(rig) == [(7, OPERATION_FAILED, "no plugin handles reboot")]
    rig.clock.advance(10)

    assert [id for id, _, _ in results(rig)] == [7, 8]


def test_nobody_handles_a_message() -> None:
    """One that is no operation is dropped with a line in the log."""
    rig = quiet()
    arrive(rig, reboot())

    with capturedLogs() as logs:
        rig.clock.advance(30)

    assert [entry["text"] for entry in logs if "text" in entry] == ["no plugin handles reboot"]
    assert rig.store.status().incoming == 0
    assert rig.delivery.waiting == 0


def test_plugin_does_not_handle_it_after_all() -> None:
    """A plugin may say of a single message that it is not for it; then nobody handles it."""
    rig = quiet()
    take(rig, RecordingPlugin(answers=lambda _: Outcome(status=NOT_HANDLED)))

    arrive(rig, reboot(id=7))

    assert results(rig) == [(7, OPERATION_FAILED, "no plugin handles reboot")]


def test_several_plugins_take_a_type() -> None:
    """Each gets the message; the operation has failed when one says so, and has one result."""
    rig = quiet()
    good = RecordingPlugin("good")
    bad = RecordingPlugin("bad", answers=lambda _: Outcome(status=FAILED, result_text="mine did not"))
    other = RecordingPlugin("other", answers=lambda _: Outcome(status=NOT_HANDLED))
    for plugin in (good, bad, other):
        take(rig, plugin)

    arrive(rig, reboot(id=7))

    assert len(good.delivered) == len(bad.delivered) == len(other.delivered) == 1
    assert results(rig) == [(7, OPERATION_FAILED, "mine did not")]


def test_plugin_goes_away_over_an_operation() -> None:
    """Whether it was done nobody knows, and that is what the server is told; it is not done twice."""
    rig = quiet()
    plugin = RecordingPlugin(answers=lambda _: GONE)
    take(rig, plugin)

    arrive(rig, reboot(id=7))
    rig.clock.advance(100)

    ((id, status, text),) = results(rig)
    assert (id, status) == (7, OPERATION_FAILED)
    assert "unknown" in text and "went away" in text
    assert len(plugin.delivered) == 1


def test_plugin_goes_away_over_a_message() -> None:
    """A message that is no operation is given again to the plugin that came back."""
    rig = quiet()
    plugin = RecordingPlugin(answers=lambda _: GONE)
    take(rig, plugin)

    arrive(rig, reboot(value=1))
    plugin.answers = lambda _: Outcome(status=DONE)
    rig.clock.advance(1)
    rig.clock.advance(0)

    assert plugin.values == [1, 1]
    assert rig.store.status().incoming == 0


def test_message_that_kills_its_plugin() -> None:
    """After three times it goes to the dead letters, and the ones behind it go on."""
    rig = quiet()
    plugin = RecordingPlugin(
        answers=lambda message: GONE if message["value"] == "deadly" else Outcome(status=DONE)
    )
    take(rig, plugin)

    arrive(rig, reboot(value="deadly"), reboot(value="good"))
    rig.clock.pump([1.0, 0.0] * 5)

    assert plugin.values == ["deadly", "good", "deadly", "deadly"]
    (dead,) = rig.store.dead_letters(9)
    assert "went away 3 times" in dead.reason
    assert cbor.decode(dead.body)["value"] == "deadly"


def test_plugin_goes_away_before_it_sees_the_message() -> None:
    """What it has not seen waits for it as if it had just come, operations too."""
    rig = quiet()
    plugin = RecordingPlugin(answers=None)
    forget = take(rig, plugin)
    arrive(rig, reboot(id=7), reboot(id=8))

    forget()
    plugin.held[0].errback(GONE)
    again = RecordingPlugin()
    rig.clock.advance(20)
    take(rig, again)

    assert [message["operation-id"] for _, message in again.delivered] == [8]
    assert [(id, status) for id, status, _ in results(rig)] == [(7, OPERATION_FAILED), (8, SUCCEEDED)]


def test_order_is_kept_when_a_plugin_comes_back() -> None:
    """What goes back to waiting keeps its place before what came later and waited all along."""
    rig = quiet()
    plugin = RecordingPlugin(answers=None)
    forget = take(rig, plugin)
    arrive(rig, reboot(value=0), reboot(value=1), {"type": "halt", "value": 2})

    forget()
    plugin.held[0].callback(Outcome(status=DONE))
    again = RecordingPlugin()
    take(rig, again, "reboot", "halt")

    assert again.values == [1, 2]


def test_plugin_that_never_answers() -> None:
    """After hours its operation has failed for all that anybody knows, and the next one is given."""
    rig = quiet(handover=HandoverLimits(patience=3_600.0))
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7), reboot(id=8))

    rig.clock.advance(3_600)

    ((id, status, text),) = results(rig)
    assert (id, status) == (7, OPERATION_FAILED)
    assert "unknown" in text and "3600 seconds" in text
    assert len(plugin.delivered) == 2


def test_late_answer_is_no_second_result() -> None:
    """An answer that comes after all finds nobody waiting."""
    rig = quiet(handover=HandoverLimits(patience=60.0))
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7))
    rig.clock.advance(60)

    plugin.held[0].callback(Outcome(status=DONE))

    assert len(results(rig)) == 1


def test_result_for_another_identity() -> None:
    """An operation that came under another identity gets no answer under this one; a receipt says so."""
    rig = quiet()
    rig.store.set_identity(secure_id=b"one", insecure_id=1)
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7))
    rig.store.set_identity(secure_id=b"two", insecure_id=2)

    with capturedLogs() as logs:
        plugin.held[0].callback(Outcome(status=DONE))

    assert any("another identity" in entry["log_format"] for entry in logs)
    assert [body["type"] for body in bodies(begin(rig.store))] == ["receipt"]


def test_full_disk_before_a_delivery() -> None:
    """A message is not given before the store has noted it: it waits for the disk."""
    writer = FailingWriter()
    rig = quiet(writer=writer)
    plugin = RecordingPlugin()
    arrive(rig, reboot(id=7))
    writer.failures = [DatabaseFull("the disk is full")]

    with capturedLogs() as logs:
        take(rig, plugin)
    assert plugin.delivered == []
    assert any("the disk is full" in entry.get("error", "") for entry in logs)
    rig.clock.advance(30)

    assert len(plugin.delivered) == 1
    assert len(results(rig)) == 1


def test_full_disk_after_a_delivery() -> None:
    """A result that cannot be noted waits for the disk, and so does the plugin's next message."""
    writer = FailingWriter()
    rig = quiet(writer=writer)
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7), reboot(id=8))
    writer.failures = [DatabaseFull("the disk is full")] * 2

    plugin.held[0].callback(Outcome(status=DONE, result_text="first"))
    rig.clock.advance(30)
    assert len(plugin.delivered) == 1
    rig.clock.advance(30)

    assert len(plugin.delivered) == 2
    assert results(rig) == [(7, SUCCEEDED, "first")]


def test_memory_does_not_grow_with_what_waits() -> None:
    """What waits for plugins beyond a number stays on the disk alone, and follows when there is room."""
    rig = quiet(handover=HandoverLimits(messages=3))
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)

    arrive(rig, *(reboot(value=value) for value in range(10)))
    assert rig.delivery.waiting == 3
    for place in range(10):
        plugin.held[place].callback(Outcome(status=DONE))
        rig.clock.advance(0)

    assert plugin.values == list(range(10))
    assert rig.delivery.waiting == 0


def test_a_mistake_of_ours_hurts_one_message() -> None:
    """A delivery that breaks in an unforeseen way is logged, and the plugin's next messages are given."""
    rig = quiet()
    plugin = RecordingPlugin(
        answers=lambda message: KeyError("oops") if message["value"] == 1 else Outcome(status=DONE)
    )
    take(rig, plugin)

    with capturedLogs() as logs:
        arrive(rig, reboot(value=1), reboot(value=2))
        rig.clock.advance(0)

    assert [entry["log_failure"].type for entry in logs if "log_failure" in entry] == [KeyError]
    assert plugin.values == [1, 2]


def test_stop_waits_for_what_is_under_way() -> None:
    """An answer that comes within seconds is still noted."""
    rig = quiet()
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7), reboot(id=8))

    stopped = rig.stop()
    assert not stopped.called
    plugin.held[0].callback(Outcome(status=DONE))

    result_of(stopped)
    assert [id for id, _, _ in results(rig)] == [7]
    assert len(plugin.delivered) == 1
    assert rig.clock.getDelayedCalls() == []


def test_stop_does_not_wait_for_ever() -> None:
    """What takes longer is unknown at the next start, and not noted twice."""
    rig = quiet()
    plugin = RecordingPlugin(answers=None)
    take(rig, plugin)
    arrive(rig, reboot(id=7))

    stopped = rig.stop()
    rig.clock.advance(5)
    result_of(stopped)
    plugin.held[0].callback(Outcome(status=DONE))

    assert results(rig) == []
    assert rig.clock.getDelayedCalls() == []


def test_stop_while_a_message_waits_for_its_plugin() -> None:
    """Nothing of it is lost: it is given after the next start."""
    rig = quiet()
    arrive(rig, reboot(id=7))
    result_of(rig.stop())
    again = quiet(store=rig.store, clock=rig.clock)
    plugin = RecordingPlugin()

    take(again, plugin)

    assert len(plugin.delivered) == 1


def test_register_during_a_stop() -> None:
    """A plugin that comes when we go gets nothing any more."""
    rig = quiet()
    arrive(rig, reboot(id=7))
    result_of(rig.stop())
    plugin = RecordingPlugin()

    take(rig, plugin)

    assert plugin.delivered == []
    assert rig.clock.getDelayedCalls() == []


def test_after_a_crash_the_outcome_of_an_operation_is_unknown() -> None:
    """A broker that was killed with an operation under way says so at its next start, once."""
    rig = quiet()
    take(rig, RecordingPlugin(answers=None))
    arrive(rig, reboot(id=7))

    with capturedLogs() as logs:
        again = quiet(store=rig.store, clock=rig.clock)
    plugin = RecordingPlugin()
    take(again, plugin)

    assert any(entry.get("id") == 7 for entry in logs)
    ((id, status, text),) = results(again)
    assert (id, status) == (7, OPERATION_FAILED)
    assert "unknown" in text
    assert plugin.delivered == []


def test_after_a_crash_a_message_is_given_again() -> None:
    """One that is no operation is given once more rather than never."""
    rig = quiet()
    take(rig, RecordingPlugin(answers=None))
    arrive(rig, reboot(value=1))

    again = quiet(store=rig.store, clock=rig.clock)
    plugin = RecordingPlugin()
    take(again, plugin)

    assert plugin.values == [1]
