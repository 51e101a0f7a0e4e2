"""The broker as a plugin process sees it: there, slow, full, gone, back, and never storing anything twice."""

import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.plugins.connection import BrokerConnection, ConnectionLimits, NotConnected
from fieldpost.plugins.errors import BufferFull, MessageRefused, Stopped
from fieldpost.plugins.outbox import OutboxLimits
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire.local import (
    DONE,
    EXCHANGE_DONE,
    FAILED,
    MAX_MESSAGE_OCTETS,
    Deliver,
    Event,
    Outcome,
    Refused,
    Unavailable,
    Welcome,
)
from tests.local_socket import BrokerInMemory, LocalSocket

FULL = DatabaseFull("the disk is full")


def load(value: Any) -> dict[str, Any]:
    return {"type": "load", "value": value}


class ConnectionTestCase(SynchronousTestCase):
    """A connection to a broker in memory, started."""

    plugins: tuple[str, ...] = ("load", "disk")

    def setUp(self) -> None:
        self.socket = LocalSocket()
        self.endpoint = BrokerInMemory(self.socket)
        self.clock = self.socket.clock
        self.events: list[Event] = []
        self.delivered: list[Deliver] = []
        self.welcomes: list[Welcome] = []
        self.outcome: Callable[[], Deferred[Outcome]] = lambda: succeed(Outcome(status=DONE))
        self.instances = iter(["one", "two", "three"])
        self.connection = self.new_connection()
        self.start(self.connection)

    def new_connection(
        self, *, endpoint: Any = None, on_welcome: Any = None, **limits: Any
    ) -> BrokerConnection:
        instance = next(self.instances)
        broker: Any = endpoint or self.endpoint
        return BrokerConnection(
            endpoint=broker,
            clock=self.clock,
            random=Random(0),
            new_id=lambda: instance,
            plugins=self.plugins,
            events=[EXCHANGE_DONE],
            on_deliver=self.on_deliver,
            on_event=self.events.append,
            on_welcome=on_welcome or self.welcomes.append,
            limits=ConnectionLimits(
                **{"outbox": OutboxLimits(messages=20, batch_messages=3, batches_in_flight=2), **limits}
            ),
        )

    def start(self, connection: BrokerConnection) -> None:
        connection.start()
        self.addCleanup(connection.stop)
        self.settle()

    def on_deliver(self, deliver: Deliver) -> "Deferred[Outcome]":
        self.delivered.append(deliver)
        return self.outcome()

    def settle(self) -> None:
        self.endpoint.settle()

    def send(self, value: Any, **more: Any) -> "Deferred[None]":
        return self.connection.send("load", load(value), **more)

    def stored(self) -> list[Any]:
        return [message["value"] for message in self.socket.stored()]


class SendTests(ConnectionTestCase):
    """What is sent is stored, or the sender hears why not."""

    def test_stored(self) -> None:
        """A message that was sent is stored, and its sender hears of it then and not before."""
        self.socket.writer.is_held = True
        sent = self.send(1)
        self.settle()
        self.assertNoResult(sent)

        self.socket.writer.go()
        self.settle()

        assert self.successResultOf(sent) is None
        assert self.stored() == [1]

    def test_one_turn_travels_together(self) -> None:
        """What is sent in one turn of the reactor goes in one batch."""
        for value in range(3):
            self.send(value)
        self.settle()

        assert self.socket.store.last_batch("7:one") == 1

    def test_sent_in_answer(self) -> None:
        """What is sent when an answer comes goes out without another turn."""
        first = self.send(1)
        first.addCallback(lambda _: [self.send(value) for value in (2, 3)])
        self.clock.advance(0)

        self.endpoint.lines[0].pump.flush()

        assert self.clock.getDelayedCalls() == []
        assert self.stored() == [1, 2, 3]
        assert self.socket.store.last_batch("7:one") == 2

    def test_urgent(self) -> None:
        """An urgent message asks for an exchange."""
        self.send(1, urgent=True)
        self.settle()

        assert self.socket.exchanges == [False]

    def test_more_than_fits_in_flight(self) -> None:
        """Many messages go batch by batch, in order."""
        sent = [self.send(value) for value in range(20)]
        self.settle()

        assert all(each.called for each in sent)
        assert self.stored() == list(range(20))

    def test_broker_refuses_messages(self) -> None:
        """A message that the broker refuses fails with the broker's reason; its neighbours are stored."""
        sent = [self.send(1), self.connection.send("load", {"type": "disk"}), self.send(2)]
        self.settle()

        self.successResultOf(sent[0])
        error = self.failureResultOf(sent[1], MessageRefused).value
        assert (error.code, "may not send `disk`" in str(error)) == ("not-granted", True)
        self.successResultOf(sent[2])

    def test_broker_refuses_the_batch(self) -> None:
        """A plugin that the process did not name is refused, and the others go on."""
        foreign = self.connection.send("net", load(1))
        own = self.send(2)
        self.settle()

        error = self.failureResultOf(foreign, MessageRefused).value
        assert (error.code, "did not name plugin `net`" in str(error)) == ("REFUSED", True)
        self.successResultOf(own)

    def test_not_a_message(self) -> None:
        """What is no message, or does not travel, or is too long fails at once, by its own fault."""
        for wrong, code in (
            ({"no": "type"}, "malformed"),
            ([], "malformed"),
            (load(object()), "malformed"),
            (load([object()]), "malformed"),
            (load("x" * MAX_MESSAGE_OCTETS), "too-large"),
        ):
            error = self.failureResultOf(self.connection.send("load", wrong), MessageRefused).value  # type: ignore[arg-type]
            assert error.code == code

    def test_buffer_full(self) -> None:
        """When as much waits as may, a message fails at once; when there is room again the next one passes."""
        self.endpoint.leave()
        waiting = [self.send(value) for value in range(20)]

        error = self.failureResultOf(self.send(20), BufferFull).value
        assert "wait for the broker" in str(error)

        self.endpoint.come_back()
        assert all(each.called for each in waiting)
        self.send(21)
        self.settle()
        assert self.stored() == [*range(20), 21]

    def test_flushed(self) -> None:
        """It can be waited for that everything is stored."""
        assert self.connection.flushed().called
        self.send(1)
        flushed = self.connection.flushed()
        self.assertNoResult(flushed)

        self.settle()

        assert flushed.called


class AwayTests(ConnectionTestCase):
    """The broker goes and comes; nothing is lost, nothing doubled."""

    def test_sent_while_away(self) -> None:
        """What is sent while the broker is away is stored when it is back, and gathers meanwhile."""
        self.endpoint.leave()
        assert not self.connection.is_connected
        sent = [self.send(value) for value in range(4)]

        self.endpoint.come_back()

        assert self.connection.is_connected
        assert [self.successResultOf(each) for each in sent] == [None] * 4
        assert self.stored() == [0, 1, 2, 3]

    def test_killed_before_the_commit(self) -> None:
        """A batch that the broker took and did not store is said again."""
        self.socket.writer.is_held = True
        sent = self.send(1)
        self.settle()
        self.endpoint.leave()
        self.socket.writer._calls.clear()

        self.endpoint.come_back(LocalSocketAgain(self.socket))

        self.successResultOf(sent)
        assert self.stored() == [1]

    def test_killed_between_commit_and_answer(self) -> None:
        """A batch that was stored without an answer is said again and stored once."""
        self.socket.writer.is_held = True
        sent = [self.send(value) for value in range(6)]
        self.settle()
        self.endpoint.leave()
        self.socket.writer.go()

        self.endpoint.come_back(LocalSocketAgain(self.socket))

        assert all(each.called for each in sent)
        assert self.stored() == list(range(6))

    def test_refusals_survive(self) -> None:
        """Which message was refused is still known when the answer got lost."""
        self.socket.writer.is_held = True
        sent = [self.send(1), self.connection.send("load", {"type": "disk"})]
        self.settle()
        self.endpoint.leave()
        self.socket.writer.go()

        self.endpoint.come_back(LocalSocketAgain(self.socket))

        self.successResultOf(sent[0])
        self.failureResultOf(sent[1], MessageRefused)

    def test_same_hello_again(self) -> None:
        """Each connection begins with a welcome, and what is handled is said again."""
        self.successResultOf_(self.connection.handle("load", ["reload"]))
        self.successResultOf_(self.connection.handle("load", ["rest"]))
        self.endpoint.leave()
        assert self.socket.handled == {}

        self.endpoint.come_back()

        assert set(self.socket.handled) == {"reload", "rest"}
        assert len(self.welcomes) == 2

    def successResultOf_(self, deferred: "Deferred[Any]") -> Any:
        self.settle()
        return self.successResultOf(deferred)

    def test_handled_is_said_once(self) -> None:
        """What is handled already is not said again over the same connection."""
        self.successResultOf_(self.connection.handle("load", ["reload"]))
        self.socket.handled.clear()

        self.successResultOf(self.connection.handle("load", ["reload"]))

        assert self.socket.handled == {}

    def test_grant_withdrawn(self) -> None:
        """A broker that came back with another manifest and delivers no more is an error in the log."""
        self.successResultOf_(self.connection.handle("load", ["reload"]))
        self.connection._handled["load"]["forbidden"] = None
        self.endpoint.leave()

        with capturedLogs() as logged:
            self.endpoint.come_back()

        texts = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.error]
        assert [text for text in texts if "load: the broker will not deliver to it any more" in str(text)]

    def test_lost_while_handles_are_said(self) -> None:
        """A connection that is lost again at once is no reason to complain about what is handled."""
        self.successResultOf_(self.connection.handle("load", ["reload"]))
        self.endpoint.leave()
        self.endpoint.is_away = False
        with capturedLogs() as logged:
            self.clock.advance(60)
            while not self.connection.is_connected:
                self.endpoint.lines[-1].pump.pump()
            self.endpoint.lines[-1].client.connectionLost()

        assert not [event for event in logged if event["log_level"] is LogLevel.error]

    def test_pauses_grow(self) -> None:
        """Attempts to reconnect become rarer, up to a limit."""
        self.endpoint.leave()
        before = self.endpoint.attempts
        self.endpoint.wait(60)
        first_minute = self.endpoint.attempts - before
        self.endpoint.wait(600)
        before = self.endpoint.attempts
        self.endpoint.wait(600)
        late = self.endpoint.attempts - before

        assert 5 < first_minute < 40
        assert 600 / 30 <= late < 120

    def test_said_once(self) -> None:
        """The log says once that the broker is away, and once that it is back."""
        with capturedLogs() as logged:
            self.endpoint.leave()
            self.endpoint.wait(100)
            self.endpoint.come_back()

        own = [event for event in logged if event["log_namespace"].endswith("BrokerConnection")]
        assert [formatEvent(event)[:40] for event in own] == [
            "no connection to the broker: the connect",
            "no connection to the broker: Connection ",
            "connected to the broker",
        ]

    def test_hello_refused(self) -> None:
        """A process that is refused says why, keeps what it is sent, and asks again."""
        self.plugins = ("net",)
        with capturedLogs() as logged:
            connection = self.new_connection()
            self.start(connection)
        sent = connection.send("net", load(1))
        self.endpoint.wait(5)

        self.assertNoResult(sent)
        assert any("knows no plugin `net`" in str(formatEvent(event)) for event in logged)
        assert self.endpoint.attempts > 3
        self.assertNoResult(sent)
        connection.stop()
        self.failureResultOf(sent, Stopped)

    def test_hello_unanswered(self) -> None:
        """A broker that does not answer is left after a while and tried again."""
        self.socket.writer.is_held = True
        with capturedLogs() as logged:
            connection = self.new_connection(hello_within=10)
            self.start(connection)
            assert not connection.is_connected
            self.endpoint.wait(10)

        assert any("did not answer within 10 seconds" in str(formatEvent(event)) for event in logged)
        self.socket.writer.go()
        self.endpoint.wait(5)
        assert connection.is_connected

    def test_endpoint_that_raises(self) -> None:
        """Whatever an endpoint fails with is a reason to try again."""

        class Failing:
            tries = 0

            def connect(self, _: object) -> "Deferred[Any]":
                Failing.tries += 1
                return fail(OSError())

        connection = self.new_connection(endpoint=Failing())
        with capturedLogs() as logged:
            self.start(connection)
            self.endpoint.wait(60)

        assert Failing.tries > 2
        assert len(logged) == 1
        assert "no connection to the broker: OSError" in str(formatEvent(logged[0]))

    def test_welcome_that_raises(self) -> None:
        """An owner that fails over a welcome is logged; the connection serves."""

        def on_welcome(_: Welcome) -> None:
            raise ZeroDivisionError

        connection = self.new_connection(on_welcome=on_welcome)
        self.start(connection)

        assert connection.is_connected
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_nobody_hears_welcomes(self) -> None:
        """Nobody has to listen to welcomes."""
        connection = self.new_connection()
        connection._on_welcome = None
        self.start(connection)

        assert connection.is_connected


class LocalSocketAgain(LocalSocket):
    """A broker that has been started anew on the store of another."""

    def __init__(self, former: LocalSocket) -> None:
        super().__init__(store=former.store)
        self.clock = former.clock


class FullDiskTests(ConnectionTestCase):
    """The broker cannot store for a while."""

    def test_recovery(self) -> None:
        """Messages that could not be stored wait, and are stored in order when there is room again."""
        self.socket.writer.failures = [FULL] * 3
        sent = [self.send(value) for value in range(9)]
        self.settle()
        assert not any(each.called for each in sent)

        self.endpoint.wait(120)

        assert all(each.called for each in sent)
        assert self.stored() == list(range(9))

    def test_pauses_grow(self) -> None:
        """A broker that stays full is asked more and more rarely."""
        self.socket.writer.failures = [FULL] * 1_000
        self.send(1).addErrback(lambda failure: failure.trap(Stopped))
        self.endpoint.wait(60)
        early = 1_000 - len(self.socket.writer.failures)
        self.endpoint.wait(600)
        before = len(self.socket.writer.failures)
        self.endpoint.wait(60)

        assert early > before - len(self.socket.writer.failures) > 0

    def test_lost_while_full(self) -> None:
        """A new connection is a new chance: what waits is said at once."""
        self.socket.writer.failures = [FULL]
        sent = self.send(1)
        self.settle()

        self.endpoint.leave()
        self.endpoint.come_back()

        self.successResultOf(sent)
        assert self.stored() == [1]

    def test_stopped_while_full(self) -> None:
        """A process that stops while it waits for room leaves no timer behind."""
        self.socket.writer.failures = [FULL]
        sent = self.send(1)
        self.settle()

        stopped = self.connection.stop()
        self.settle()

        self.successResultOf(stopped)
        self.failureResultOf(sent, Stopped)
        assert self.clock.getDelayedCalls() == []


class CallTests(ConnectionTestCase):
    """Other things that a plugin asks."""

    def test_open_session(self) -> None:
        """A session is opened, and messages pass under it."""
        opened = self.connection.open_session("load", "cpu")
        self.settle()

        sent = self.send(1, session_id=self.successResultOf(opened))
        self.settle()

        self.successResultOf(sent)

    def test_calls_wait_for_the_broker(self) -> None:
        """Calls that are made while the broker is away are answered when it is back."""
        self.endpoint.leave()
        waiting: list[Deferred[Any]] = [
            self.connection.open_session("load"),
            self.connection.handle("load", ["reload"]),
            self.connection.request_exchange(at_once=True),
            self.connection.status(),
        ]
        for each in waiting:
            self.assertNoResult(each)

        self.endpoint.come_back()

        answers = [self.successResultOf(each) for each in waiting]
        assert answers[1:] == [None, None, {"well": True}]
        assert self.socket.exchanges == [True]

    def test_lost_in_the_middle(self) -> None:
        """A call whose answer was lost is made again."""
        self.socket.writer.is_held = True
        opened = self.connection.open_session("load")
        self.settle()
        self.endpoint.leave()
        self.socket.writer.go()

        self.endpoint.come_back()

        assert self.successResultOf(opened) == self.socket.store.open_session("load", None)

    def test_connection_that_is_closing(self) -> None:
        """A connection that is cut off but not yet lost is not used any more."""
        (line,) = self.endpoint.lines
        line.client.cut()
        status = self.connection.status()
        sent = self.send(1)
        self.clock.advance(0)

        self.settle()
        self.endpoint.come_back()

        self.successResultOf(status)
        self.successResultOf(sent)

    def test_patience_with_a_full_disk(self) -> None:
        """A session that could not be opened because the disk is full is asked for again."""
        self.socket.writer.failures = [FULL] * 2
        opened = self.connection.open_session("load")
        self.settle()
        self.assertNoResult(opened)

        self.endpoint.wait(5)

        self.successResultOf(opened)

    def test_refused(self) -> None:
        """What the broker refuses is not asked again, and not remembered."""
        opened = self.connection.open_session("net")
        handled = self.connection.handle("load", ["set-id"])
        self.settle()

        self.failureResultOf(opened, Refused)
        self.failureResultOf(handled, Refused)
        assert self.connection._handled == {"load": {}}

    def test_unavailable_exchange(self) -> None:
        """Whoever asks for the status hears that the broker cannot say it now."""

        async def failing() -> dict[str, Any]:
            raise Unavailable("busy")

        self.socket.status = failing
        status = self.connection.status()
        self.settle()

        self.failureResultOf(status, Unavailable)

    def test_waiting_calls_are_bounded(self) -> None:
        """No more calls wait for a broker that is away than may."""
        connection = self.new_connection(waiting_calls=2)
        waiting = [connection.status() for _ in range(2)]

        self.failureResultOf(connection.status(), BufferFull)
        waiting[0].cancel()
        waiting[0].addErrback(lambda _: None)
        third = connection.status()

        self.start(connection)
        self.successResultOf(third)


class HearTests(ConnectionTestCase):
    """What the broker says reaches its owner."""

    def deliver(self) -> "Deferred[Outcome]":
        self.connection.handle("load", ["reload"])
        self.settle()
        plugin, deliver = self.socket.handled["reload"]
        outcome = deliver(plugin, 3, {"type": "reload"})
        self.settle()
        return outcome

    def test_delivered(self) -> None:
        """A message reaches its plugin, and the outcome the broker."""
        assert self.successResultOf(self.deliver()) == Outcome(status=DONE)
        assert self.delivered == [Deliver(plugin="load", number=3, message={"type": "reload"})]

    def test_failing_owner(self) -> None:
        """An owner that fails has failed: the broker hears so, the log has how."""
        self.outcome = lambda: fail(ZeroDivisionError("inner words"))

        outcome = self.successResultOf(self.deliver())

        assert outcome == Outcome(status=FAILED, result_text="the plugin failed; its log says how")
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def fire(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.socket.bus.fire(EXCHANGE_DONE, sent=1)))
        self.settle()

    def test_event(self) -> None:
        """An event reaches the owner."""
        self.fire()

        assert self.events == [Event(name=EXCHANGE_DONE, details={"sent": 1})]

    def test_owner_that_fails_over_an_event(self) -> None:
        """An owner that fails over an event is logged, and hears the next one."""

        def on_event(_: Event) -> None:
            raise ZeroDivisionError

        self.connection._on_event = on_event
        self.fire()
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

        self.connection._on_event = self.events.append
        self.fire()
        assert len(self.events) == 1


class StopTests(ConnectionTestCase):
    """A stopped connection leaves nothing behind."""

    def test_stop(self) -> None:
        """Stopping closes the connection and cancels every timer."""
        stopped = self.connection.stop()
        self.settle()

        self.successResultOf(stopped)
        assert len(self.socket.links) == 0
        assert self.clock.getDelayedCalls() == []

    def test_stop_tells_who_waits(self) -> None:
        """Whoever waits for an answer hears that it will not come; what is sent later fails at once."""
        self.socket.writer.is_held = True
        waiting: list[Deferred[Any]] = [self.send(1), self.connection.flushed()]
        self.settle()
        waiting.append(self.send(2))
        self.connection.stop()

        self.failureResultOf(waiting[0], Stopped)
        self.failureResultOf(waiting[2], Stopped)
        self.successResultOf(waiting[1])
        self.failureResultOf(self.send(3), Stopped)
        self.failureResultOf(self.connection.status(), Stopped)
        self.socket.writer.go()
        self.settle()

    def test_answers_after_the_stop(self) -> None:
        """Answers that come after the stop, good or bad, change nothing."""
        for failures in ([], [FULL]):
            connection = self.new_connection()
            self.start(connection)
            self.socket.writer.is_held = True
            sent = connection.send("load", load(1))
            self.settle()

            connection.stop()
            self.socket.writer.failures = list(failures)
            self.socket.writer.go()
            self.settle()

            self.failureResultOf(sent, Stopped)

    def test_stop_while_away(self) -> None:
        """A connection that waits for its next attempt stops at once, and whoever waits for it is told."""
        self.endpoint.leave()
        status = self.connection.status()

        self.successResultOf(self.connection.stop())

        self.failureResultOf(status, Stopped)
        assert self.clock.getDelayedCalls() == []

    def test_stop_while_connecting(self) -> None:
        """A connection that is being made stops,"""

        class Slow:
            def connect(self, _: object) -> "Deferred[Any]":
                return Deferred(lambda made: made.errback(OSError("cancelled")))

        connection = self.new_connection(endpoint=Slow())
        self.start(connection)
        with capturedLogs() as logged:
            self.successResultOf(connection.stop())

        assert logged == []

    def test_stop_while_greeting(self) -> None:
        """and so does one whose hello is not answered."""
        self.socket.writer.is_held = True
        connection = self.new_connection()
        self.start(connection)

        stopped = connection.stop()
        self.settle()

        self.successResultOf(stopped)
        self.socket.writer.go()
        self.settle()

    def test_stop_before_start(self) -> None:
        """One that was never started stops."""
        self.successResultOf(self.new_connection().stop())

    def test_broker_that_takes_nothing(self) -> None:
        """A broker that does not take the last words is not waited for longer than seconds."""
        (line,) = self.endpoint.lines
        stopped = self.connection.stop()
        cut: list[bool] = []
        line.client.transport.abortConnection = lambda: cut.append(True)  # type: ignore[union-attr]

        self.clock.advance(3)

        assert cut == [True]
        self.assertNoResult(stopped)
        self.settle()
        self.successResultOf(stopped)


class PauseTests(SynchronousTestCase):
    """How long it waits between attempts."""

    def test_bounds(self) -> None:
        """No pause is longer than the longest, after however many failures, and the first are short."""
        connection = BrokerConnection(
            endpoint=object(),  # type: ignore[arg-type]
            clock=Clock(),
            random=Random(3),
            new_id=str,
            plugins=[],
            events=[],
            on_deliver=lambda _: succeed(Outcome(status=DONE)),
            on_event=lambda _: None,
        )

        assert max(connection._draw_pause(0) for _ in range(100)) <= 0.1
        for failures in (5, 31, 32, 10_000):
            pauses = [connection._draw_pause(failures) for _ in range(200)]
            assert max(pauses) <= min(30, 0.1 * 2**5 if failures == 5 else 30)
            assert len(set(pauses)) > 100


def test_not_connected_is_an_error_of_plugins() -> None:
    """Authors can catch all that goes wrong on the way to the broker by one name."""
    from fieldpost.plugins.errors import PluginError

    assert issubclass(NotConnected, PluginError)


@pytest.mark.process
def test_what_it_loads_is_light() -> None:
    """A plugin process loads neither a database nor TLS, HTTP or a command line for its connection."""
    code = (
        "import sys; sys.modules['OpenSSL'] = None\n"
        "import fieldpost.plugins.connection\n"
        "heavy = {'sqlite3', 'twisted.web', 'click', 'rich', 'twisted.protocols.amp', 'cryptography'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
