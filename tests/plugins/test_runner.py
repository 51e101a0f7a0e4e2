"""A plugin runs, hears, handles and stops; what it raises stays with it."""

from collections.abc import Awaitable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs

from fieldpost.plugins import DONE, Context, Message, OperationFailed, Outcome, Plugin, handles
from fieldpost.plugins.runner import MAX_RESULT_CHARACTERS
from fieldpost.testing import FakeBroker, NotYet, PluginRun, result_of
from fieldpost.wire.local import (
    ACCEPTANCE_CHANGED,
    EXCHANGE_DONE,
    FAILED,
    NOT_HANDLED,
    REGISTRATION_DONE,
    SERVER_UUID_CHANGED,
    Refused,
)


class Recorder(Plugin):
    """Remembers what was called, and does what `behave` says."""

    name = "recorder"
    sends = ("seen",)
    scope = "cpu"
    interval: float | None = 100.0

    def __init__(self, context: Context, behave: Any = None) -> None:
        super().__init__(context)
        self.seen: list[Any] = []
        self.behave = behave or (lambda what: None)

    def note(self, *what: Any) -> Awaitable[None] | None:
        self.seen.append(what[0] if len(what) == 1 else what)
        found: Awaitable[None] | None = self.behave(what[0])
        return found

    def on_start(self) -> Awaitable[None] | None:
        return self.note("start")

    def run(self) -> Awaitable[None] | None:
        return self.note("run")

    def reset(self) -> Awaitable[None] | None:
        return self.note("reset")

    def on_stop(self) -> Awaitable[None] | None:
        return self.note("stop")

    def on_exchange_done(self) -> Awaitable[None] | None:
        return self.note("exchange-done")

    def on_resynchronize(self, scopes: tuple[str, ...] | None) -> Awaitable[None] | None:
        return self.note("resynchronize", scopes)

    def on_acceptance_changed(self, type: str, accepted: bool) -> Awaitable[None] | None:
        return self.note("acceptance", type, accepted)

    def on_server_uuid_changed(self, old: str | None, new: str) -> Awaitable[None] | None:
        return self.note("server", old, new)

    @handles("say")
    def say(self, message: Message) -> Any:
        return self.behave(message)


def texts(logs: Any) -> list[str]:
    return [str(event["log_format"]).format(**event) for event in logs]


# Runs


def test_the_first_run_comes_within_a_tenth_of_the_interval() -> None:
    """And at another time for each seed, so that plugins do not run all at once."""
    firsts = set()
    for seed in range(5):
        run = PluginRun(Recorder, seed=seed)
        while "run" not in run.plugin.seen:
            run.clock.advance(0.01)
        firsts.add(run.clock.seconds())

    assert max(firsts) <= 10.1
    assert len(firsts) == 5


def test_a_run_is_due_one_interval_after_the_last() -> None:
    """Ten per thousand seconds."""
    run = PluginRun(Recorder)

    run.advance(1000)

    assert run.plugin.seen == ["start"] + ["run"] * 10


def test_a_plugin_may_run_at_once() -> None:
    """Its next run is then a full interval away."""

    class Eager(Recorder):
        run_at_start = True

    run = PluginRun(Eager)

    assert run.plugin.seen == ["start", "run"]
    run.advance(100)
    assert run.plugin.seen == ["start", "run"]
    run.advance(10)
    assert run.plugin.seen == ["start", "run", "run"]


def test_a_plugin_without_interval_runs_once_if_it_says_so() -> None:
    """Facts that never change need one look."""

    class Once(Recorder):
        interval = None
        run_at_start = True

    run = PluginRun(Once)
    run.advance(10_000)

    assert run.plugin.seen == ["start", "run"]


def test_a_plugin_without_runs_is_left_alone() -> None:
    """A manager only handles messages."""

    class Quiet(Plugin):
        name = "quiet"

    run = PluginRun(Quiet)
    run.advance(1000)
    run.stop()

    assert run.messages == []


def test_a_run_is_never_started_while_one_goes_on() -> None:
    """The interval counts from the end of a run."""
    waiting: Deferred[None] = Deferred()
    run = PluginRun(Recorder, behave=lambda what: waiting if what == "run" else None)
    run.advance(500)
    assert run.plugin.seen == ["start", "run"]

    waiting.callback(None)
    run.advance(99)
    assert run.plugin.seen == ["start", "run"]
    run.advance(1)
    assert run.plugin.seen == ["start", "run", "run"]


def test_an_interval_that_ends_during_a_run_adds_none() -> None:
    """As when a run afresh takes long: the next is due an interval after it."""
    waiting: Deferred[None] = Deferred()
    run = PluginRun(Recorder)
    run.advance(50)
    result_of(run.plugin.send({"type": "seen"}))
    run.plugin.behave = lambda what: waiting if what == "run" else None
    run.broker.resynchronize()
    run.advance(150)
    assert run.plugin.seen.count("run") == 2

    waiting.callback(None)
    run.advance(99)
    assert run.plugin.seen.count("run") == 2
    run.advance(1)
    assert run.plugin.seen.count("run") == 3


def test_a_run_that_raises_is_logged_with_the_plugins_name_and_the_plugin_goes_on() -> None:
    """The same failure is told once, and when it is over."""
    fails = True

    def behave(what: str) -> None:
        if what == "run" and fails:
            raise RuntimeError("no figures")

    with capturedLogs() as logs:
        run = PluginRun(Recorder, behave=behave)
        run.advance(310)
        fails = False
        run.advance(200)

    assert texts(logs) == ["recorder: a run failed; the plugin goes on", "recorder: it runs well again"]
    assert logs[0]["log_failure"].check(RuntimeError)
    assert logs[0]["log_namespace"] == "fieldpost.plugin.recorder"
    assert run.plugin.seen.count("run") == 6


def test_a_run_that_fails_in_another_way_is_told_again() -> None:
    """It is another trouble."""
    count = iter(range(100))

    def behave(what: str) -> None:
        if what == "run":
            raise RuntimeError(f"failure {next(count)}")

    with capturedLogs() as logs:
        PluginRun(Recorder, behave=behave).advance(310)

    assert len(logs) == 4


def test_an_asynchronous_run_may_fail_too() -> None:
    """Where it raises makes no difference."""
    with capturedLogs() as logs:
        run = PluginRun(Recorder, behave=lambda what: fail(RuntimeError()) if what == "run" else None)
        run.advance(110)

    assert texts(logs) == ["recorder: a run failed; the plugin goes on"]
    assert run.plugin.seen.count("run") == 2


def test_a_start_that_raises_does_not_keep_the_plugin_from_running() -> None:
    """It is logged; the runs come."""

    def behave(what: str) -> None:
        if what == "start":
            raise RuntimeError

    with capturedLogs() as logs:
        run = PluginRun(Recorder, behave=behave)
        run.advance(100)

    assert texts(logs) == ["recorder: on_start failed"]
    assert "run" in run.plugin.seen


# What a plugin asks for


def test_a_plugin_sends_under_its_name_and_scope() -> None:
    """The broker knows it by both."""
    run = PluginRun(Recorder)

    sent = run.plugin.send({"type": "seen", "n": 1}, urgent=True)

    assert result_of(sent) is None
    (kept,) = run.broker.stored
    assert (kept.plugin, kept.message, kept.urgent) == ("recorder", {"type": "seen", "n": 1}, True)
    assert kept.session_id == result_of(run.broker.open_session("recorder", "cpu"))


def test_giving_up_waiting_for_a_send_does_not_take_it_back() -> None:
    """Once given to the SDK, a message is stored unless the process ends."""
    run = PluginRun(Recorder)
    run.broker.away()
    sent = run.plugin.send({"type": "seen"})
    sent.addErrback(lambda _: None)

    sent.cancel()
    run.broker.back()

    assert run.messages == [{"type": "seen"}]


def test_a_delayed_call_is_made_once_and_its_failure_logged() -> None:
    """As any call into the plugin."""
    run = PluginRun(Recorder)
    calls: list[tuple[int, str]] = []

    def call(number: int, *, word: str) -> None:
        calls.append((number, word))
        raise RuntimeError

    with capturedLogs() as logs:
        run.plugin.later(5, call, 1, word="one")
        run.plugin.later(6, call, 2, word="two").cancel()
        run.advance(20)

    assert calls == [(1, "one")]
    assert texts(logs) == ["recorder: a delayed call failed"]


def test_a_plugin_may_ask_for_an_exchange() -> None:
    """When what it sent should not wait."""
    run = PluginRun(Recorder)

    result_of(run.plugin.context.request_exchange())

    assert run.broker.exchanges_asked == 1


# Events


def test_events_reach_the_methods_with_their_details() -> None:
    """By the names that the broker gives them."""
    run = PluginRun(Recorder)

    run.broker.fire(EXCHANGE_DONE)
    run.broker.fire(ACCEPTANCE_CHANGED, type="seen", accepted=True)
    run.broker.fire(SERVER_UUID_CHANGED, new="b", more="ignored")
    run.broker.fire(REGISTRATION_DONE)
    run.broker.fire("what-is-to-come")

    assert run.plugin.seen[1:] == ["exchange-done", ("acceptance", "seen", True), ("server", None, "b")]


def test_a_hook_that_raises_is_logged_with_its_name() -> None:
    """And with the plugin's."""
    with capturedLogs() as logs:
        run = PluginRun(
            Recorder, behave=lambda what: fail(RuntimeError()) if what == "exchange-done" else None
        )
        run.broker.fire(EXCHANGE_DONE)

    assert texts(logs) == ["recorder: on_exchange_done failed"]


@pytest.mark.parametrize("scopes", [(), ("cpu",), ("disk", "cpu")])
def test_a_resynchronize_of_its_scope_or_of_all_resets_and_runs(scopes: tuple[str, ...]) -> None:
    """The plugin reports afresh at once, under a new session."""
    run = PluginRun(Recorder)
    result_of(run.plugin.send({"type": "seen"}))

    run.broker.resynchronize(*scopes)

    assert run.plugin.seen == ["start", ("resynchronize", scopes or None), "reset", "run"]
    result_of(run.plugin.send({"type": "seen"}))
    assert [kept.session_id for kept in run.broker.stored] == ["session-1", "session-2"]


def test_a_resynchronize_of_another_scope_is_none_of_its_business() -> None:
    """It hears of it, no more."""
    run = PluginRun(Recorder)
    result_of(run.plugin.send({"type": "seen"}))

    run.broker.resynchronize("disk")

    assert run.plugin.seen == ["start", ("resynchronize", ("disk",))]


def test_a_reset_waits_for_the_run_that_goes_on() -> None:
    """So `await self.send(...)` and then remembering it is safe."""
    waiting: Deferred[None] = Deferred()
    run = PluginRun(Recorder, behave=lambda what: waiting if what == "run" else None)
    run.advance(10)
    result_of(run.plugin.send({"type": "seen"}))

    run.broker.resynchronize()
    assert run.plugin.seen == ["start", "run", ("resynchronize", None)]
    waiting.callback(None)

    assert run.plugin.seen == ["start", "run", ("resynchronize", None), "reset", "run"]


def test_a_resynchronize_that_was_missed_is_made_good_at_the_next_connection() -> None:
    """A plugin may have been away when it was said."""
    run = PluginRun(Recorder)
    result_of(run.plugin.send({"type": "seen"}))
    run.broker.drop_sessions()

    run.runner.welcome()

    assert run.plugin.seen == ["start", "reset", "run"]


# Deliveries


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, Outcome(status=DONE)),
        ("said", Outcome(status=DONE, result_text="said")),
        (Outcome(status=FAILED, result_code=7), Outcome(status=FAILED, result_code=7)),
    ],
)
def test_what_a_handler_returns_is_the_outcome(answer: Any, outcome: Outcome) -> None:
    """Nothing, a text, or the outcome itself."""
    run = PluginRun(Recorder, behave=lambda _: answer)

    assert run.deliver({"type": "say"}) == outcome


def test_a_handler_may_take_its_time() -> None:
    """The outcome comes when it is done."""
    waiting: Deferred[str] = Deferred()
    run = PluginRun(Recorder, behave=lambda what: waiting if isinstance(what, dict) else None)
    outcome = run.begin_delivery({"type": "say"})
    with pytest.raises(NotYet):
        result_of(outcome)

    waiting.callback("said")

    assert result_of(outcome) == Outcome(status=DONE, result_text="said")


def test_a_handler_that_says_that_it_failed_is_quoted() -> None:
    """With its code; nothing is logged, for nothing is broken."""

    def behave(what: Any) -> None:
        if isinstance(what, dict):
            raise OperationFailed("no such disk", result_code=101)

    with capturedLogs() as logs:
        outcome = PluginRun(Recorder, behave=behave).deliver({"type": "say"})

    assert outcome == Outcome(status=FAILED, result_code=101, result_text="no such disk")
    assert not logs


def test_a_handler_that_breaks_fails_the_operation_and_is_logged() -> None:
    """Whoever asked learns what, the log has where."""
    with capturedLogs() as logs:
        run = PluginRun(Recorder, behave=lambda what: fail(KeyError("x")) if isinstance(what, dict) else None)
        outcome = run.deliver({"type": "say"})

    assert outcome == Outcome(status=FAILED, result_text="recorder failed: KeyError: 'x'")
    assert texts(logs) == ["recorder: say failed"]


def test_a_handler_that_answers_nonsense_is_told_apart_from_one_that_failed() -> None:
    """The work was done, only nobody can say how it went."""
    outcome = PluginRun(Recorder, behave=lambda _: 7 if isinstance(_, dict) else None).deliver(
        {"type": "say"}
    )

    assert outcome.status == FAILED
    assert "its handler answered int" in str(outcome.result_text)


def test_a_type_that_nobody_handles_is_not_handled() -> None:
    """The broker then answers the operation."""
    assert PluginRun(Recorder).deliver({"type": "unheard-of"}) == Outcome(status=NOT_HANDLED)


@pytest.mark.parametrize("excess", [0, 1])
def test_a_result_longer_than_travels_is_cut_with_a_note(excess: int) -> None:
    """The note says how long it was."""
    text = "é" * (MAX_RESULT_CHARACTERS + excess)

    found = str(PluginRun(Recorder, behave=lambda _: text).deliver({"type": "say"}).result_text)

    assert len(found) == MAX_RESULT_CHARACTERS
    assert found.endswith("[cut: it had 100001 characters]") == bool(excess)


def test_the_broker_learns_which_types_a_plugin_handles() -> None:
    """As soon as it is there."""
    assert PluginRun(Recorder).broker.handled == {"recorder": ("say",)}


def test_a_broker_that_delivers_nothing_is_complained_of() -> None:
    """The plugin would wait for ever otherwise, and nobody know why."""

    class Refusing(FakeBroker):
        def handle(self, plugin: str, types: Any) -> "Deferred[None]":
            return fail(Refused("not granted"))

    with capturedLogs() as logs:
        PluginRun(Recorder, broker=Refusing())

    assert texts(logs) == ["recorder: the broker gives it no messages of say: not granted"]


# The end


def test_stopping_ends_runs_and_delayed_calls_and_gives_a_last_word() -> None:
    """Nothing is called after that."""
    run = PluginRun(Recorder)
    run.plugin.later(1, run.plugin.note, "late")

    run.stop()
    run.advance(1000)

    assert run.plugin.seen == ["start", "stop"]
    assert run.clock.getDelayedCalls() == []


def test_stopping_cancels_what_the_plugin_waits_for() -> None:
    """Runs, hooks and deliveries; a delivery is answered honestly."""
    never: list[Deferred[Any]] = []

    def behave(what: Any) -> Any:
        if what in ("start", "stop"):
            return None
        never.append(Deferred())
        return never[-1]

    run = PluginRun(Recorder, behave=behave)
    run.advance(10)
    run.broker.fire(EXCHANGE_DONE)
    outcome = run.begin_delivery({"type": "say"})

    stopped = run.runner.stop(5)

    assert len(never) == 3
    assert result_of(outcome) == Outcome(status=FAILED, result_text="recorder was stopped before it was done")
    assert result_of(stopped) is None
    assert run.plugin.seen[-1] == "stop"


def test_stopping_waits_until_the_last_word_is_stored() -> None:
    """A monitor's last points are not lost for being late."""
    run = PluginRun(Recorder)
    run.broker.away()
    run.plugin.behave = lambda what: run.plugin.send({"type": "seen"}) and None

    stopped = run.runner.stop(5)
    run.advance(2)
    with pytest.raises(NotYet):
        result_of(stopped)
    run.broker.back()

    assert run.messages == [{"type": "seen"}]
    assert stopped.called


def test_stopping_does_not_wait_for_ever() -> None:
    """A plugin that hangs is left behind, and named."""
    stubborn: Deferred[None] = Deferred(lambda _: None)
    stubborn.addErrback(lambda _: Deferred())
    run = PluginRun(Recorder, behave=lambda what: stubborn if what == "run" else None)
    run.advance(10)

    with capturedLogs() as logs:
        stopped = run.runner.stop(5)
        run.advance(4)
        assert not stopped.called
        run.advance(1)

    assert result_of(stopped) is None
    assert texts(logs)[0] == "recorder: what it was doing did not end in time"


def test_a_reset_asked_for_while_stopping_starts_no_run() -> None:
    """The end is the end."""
    run = PluginRun(Recorder)
    result_of(run.plugin.send({"type": "seen"}))
    run.stop()

    run.broker.resynchronize()
    run.advance(200)

    assert "run" not in run.plugin.seen
