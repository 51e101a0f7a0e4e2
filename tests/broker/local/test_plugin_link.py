"""What a plugin process may ask of the broker, and what it is told."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.test.iosim import FakeTransport
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.local.intake import IntakeLimits
from fieldpost.broker.local.peer import PeerUnknown
from fieldpost.broker.local.plugin_link import LinkLimits, PluginLink
from fieldpost.runtime.amp import Disconnected, write_box
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire import cbor
from fieldpost.wire.local import (
    DONE,
    EXCHANGE_DONE,
    FAILED,
    IMPENDING_EXCHANGE,
    NOT_HANDLED,
    Event,
    ExchangeSoon,
    Handle,
    Hello,
    Nothing,
    NoVersion,
    OpenSession,
    Outcome,
    Refused,
    Report,
    Session,
    Stored,
    Unavailable,
    Welcome,
)
from tests.local_socket import OPERATOR, Hearing, Line, LocalSocket

LOAD = {"type": "load", "value": 1}
RELOAD = {"type": "reload", "operation-id": 3}


class LinkTestCase(SynchronousTestCase):
    """A socket and lines to it."""

    def setUp(self) -> None:
        self.socket = LocalSocket(
            link_limits=LinkLimits(unanswered=3, plugins=3, types=2, sessions=2, hello_within=30),
            intake_limits=IntakeLimits(waiting_octets=1_000),
        )

    def refused(self, answer: "Deferred[Any]") -> str:
        return str(self.failureResultOf(answer, Refused).value)


class HelloTests(LinkTestCase):
    """Nothing happens before a hello that may pass."""

    def test_welcome(self) -> None:
        """The answer to a hello says what the broker knows of the server and of this process."""
        welcome = self.successResultOf(self.socket.line().hello("load", "disk"))

        assert welcome == Welcome(
            version=1,
            accepted_types=self.socket.store.state().accepted_types,
            registered=False,
            server_uuid=None,
            last_batch=0,
        )

    def test_welcome_of_a_registered_agent(self) -> None:
        """A plugin hears whether the computer is registered."""
        self.socket.store.set_identity(secure_id=b"secret", insecure_id=1)

        assert self.successResultOf(self.socket.line().hello("load")).registered

    def test_last_batch(self) -> None:
        """A process that comes back hears which of its batches is stored; another one does not hear of those."""
        self.successResultOf(self.socket.greeted("load").send(5, LOAD))

        assert self.successResultOf(self.socket.line().hello("load")).last_batch == 5
        assert self.successResultOf(self.socket.line().hello("load", instance="two")).last_batch == 0

    def test_instances_belong_to_users(self) -> None:
        """A user who guesses another's instance has nothing of it."""
        self.successResultOf(self.socket.greeted("disk").send(5, {"type": "disk"}, plugin="disk"))

        welcome = self.successResultOf(self.socket.line(uid=8).hello("disk"))

        assert welcome.last_batch == 0
        assert len(self.socket.links) == 2

    def test_calls_before_hello(self) -> None:
        """Every other call before hello is refused, with what to do."""
        line = self.socket.line()

        for name, value in (
            ("status", Nothing()),
            ("exchange", ExchangeSoon()),
            ("open-session", OpenSession(plugin="load")),
            ("handle", Handle(plugin="load", types=())),
        ):
            assert self.refused(line.call(name, value)) == "say hello first, and wait for the answer"
        assert "say hello first" in self.refused(line.send(1, LOAD))

    def test_second_hello(self) -> None:
        """A second hello on a connection is refused, also while the first is being answered."""
        line = self.socket.line()
        self.socket.writer.is_held = True
        first = line.hello("load")
        assert "said hello already" in self.refused(line.hello("load"))
        self.socket.writer.go()
        line.pump.flush()
        self.successResultOf(first)

        assert "said hello already" in self.refused(line.hello("load"))

    def test_foreign_plugin(self) -> None:
        """A process may not name a plugin that its user may not run; it may try again."""
        line = self.socket.line(uid=8)

        assert "`load` may not run as user 8" in self.refused(line.hello("load", "disk"))
        self.successResultOf(line.hello("disk"))

    def test_operator(self) -> None:
        """An operator's command names no plugin, and may look at the broker and ask for an exchange."""
        line = self.socket.line(uid=OPERATOR)
        self.successResultOf(line.hello())

        assert self.successResultOf(line.call("status", Nothing())) == Report(status={"well": True})
        self.successResultOf(line.call("exchange", ExchangeSoon(at_once=True)))
        assert "did not name plugin `load`" in self.refused(line.send(1, LOAD))
        assert self.socket.exchanges == [True]

    def test_no_common_version(self) -> None:
        """A process that is too new or too old is told so."""
        for oldest, newest in ((2, 3), (-1, 0), (1, 0)):
            answer = self.socket.line().call(
                "hello", Hello(oldest=oldest, newest=newest, instance="one", plugins=("load",))
            )

            self.failureResultOf(answer, NoVersion)

    def test_limits_of_a_hello(self) -> None:
        """A hello of any size is refused within bounds."""
        line = self.socket.line()

        assert "`instance` must have" in self.refused(line.hello("load", instance=""))
        assert "`instance` must have" in self.refused(line.hello("load", instance="x" * 65))
        assert "4 plugins in one process" in self.refused(line.hello(*["load"] * 4))

    def test_long_call_before_hello(self) -> None:
        """Who has said no hello cannot have us keep megabytes for it; afterwards it can."""
        line = self.socket.line()
        answer = line.send(1, b"x" * 200_000)
        self.failureResultOf(answer, Disconnected)

        answer = self.socket.greeted("load").send(1, {"type": "load", "value": "x" * 200_000})

        assert self.successResultOf(answer) == Stored(stored=1)

    def test_no_hello_in_time(self) -> None:
        """Who says no hello in time is closed; who said one is not."""
        silent, greeted = self.socket.line(), self.socket.greeted("load")

        self.socket.clock.advance(30)

        assert not silent.link.is_open
        assert greeted.link.is_open

    def test_unknown_peer(self) -> None:
        """A connection whose peer the kernel does not know is closed."""

        def unknown(_: object) -> Any:
            raise PeerUnknown("no peer credentials")

        link = PluginLink(broker=self.socket.parts, links=self.socket.links, credentials=unknown)
        with capturedLogs() as logged:
            line = Line(Hearing(), link)
            line.pump.flush()

        assert not line.link.is_open
        assert len(self.socket.links) == 0
        assert (
            formatEvent(logged[0]) == "plugin socket, a peer unknown: connection closed: no peer credentials"
        )

    def test_store_that_cannot_say(self) -> None:
        """When the store cannot be asked, the hello may come again."""
        line = self.socket.line()
        self.socket.writer.failures = [DatabaseFull("the disk is full")]

        failure = self.failureResultOf(line.hello("load"), Unavailable)

        assert "the disk is full" in str(failure.value)
        self.successResultOf(line.hello("load"))

    def test_gone_while_greeted(self) -> None:
        """A process that is gone before its hello is answered leaves nothing behind."""
        line = self.socket.line()
        self.socket.writer.is_held = True
        line.client.call(
            "hello",
            Hello(oldest=1, newest=1, instance="one", plugins=("load",), events=(EXCHANGE_DONE,)),
        ).addErrback(lambda failure: failure.trap(Disconnected))
        line.pump.flush()

        line.lose()
        self.socket.writer.go()

        assert len(self.socket.links) == 0
        self.successResultOf(Deferred.fromCoroutine(self.socket.bus.fire(EXCHANGE_DONE)))
        assert line.link.unanswered == 0

    def test_log(self) -> None:
        """The log says which process and user came with which plugins, and that they went."""
        with capturedLogs() as logged:
            self.socket.greeted("load", "disk").lose()

        who = "plugin socket, process 4711 of user 7 (load, disk)"
        assert [formatEvent(event) for event in logged] == [f"{who}: connected", f"{who}: disconnected"]


class SendTests(LinkTestCase):
    """Batches go into the store, or back."""

    def test_stored(self) -> None:
        """A batch is answered when it is stored, and nothing is asked of the schedule."""
        answer = self.socket.greeted("load").send(1, LOAD, LOAD)

        assert self.successResultOf(answer) == Stored(stored=2)
        assert self.socket.stored() == [LOAD, LOAD]
        assert self.socket.exchanges == []

    def test_urgent(self) -> None:
        """An urgent batch asks for an urgent exchange once it is stored; one of which nothing is stored does not."""
        line = self.socket.greeted("load")

        self.successResultOf(line.send(1, b"\xff", urgent=True))
        assert self.socket.exchanges == []
        self.successResultOf(line.send(2, LOAD, urgent=True))
        assert self.socket.exchanges == [False]

    def test_not_stored(self) -> None:
        """A batch that the store cannot take asks for an urgent exchange, which may make room."""
        line = self.socket.greeted("load")
        self.socket.writer.failures = [DatabaseFull("the disk is full")]

        self.failureResultOf(line.send(1, LOAD), Unavailable)

        assert self.socket.exchanges == [False]

    def test_foreign_plugin(self) -> None:
        """A process sends only for the plugins that it named."""
        line = self.socket.greeted("disk")

        assert "did not name plugin `load`" in self.refused(line.send(1, LOAD))

    def test_full_disk_and_recovery(self) -> None:
        """With a full disk batches come back; when there is room they are stored, in order."""
        line = self.socket.greeted("load")
        self.socket.writer.failures = [DatabaseFull("the disk is full")]

        self.failureResultOf(line.send(1, LOAD), Unavailable)
        self.failureResultOf(line.send(2, LOAD), Unavailable)

        assert self.successResultOf(line.send(1, LOAD)) == Stored(stored=1)
        assert self.successResultOf(line.send(2, LOAD)) == Stored(stored=1)

    def test_slow_store_stops_reading(self) -> None:
        """While too much waits for the disk the plugin is not read; it is again when there is room."""
        line = self.socket.greeted("load")
        self.socket.writer.is_held = True

        answers = [line.send(number, {**LOAD, "long": "x" * 600}) for number in (1, 2)]
        assert line.link.holds == {"the store is slow"}

        self.socket.writer.go()
        line.pump.flush()
        assert [self.successResultOf(answer).stored for answer in answers] == [1, 1]
        assert line.link.holds == frozenset()

    def test_killed_in_the_middle_of_a_batch(self) -> None:
        """Of a batch that came in part nothing is stored, and nobody is hurt."""
        line = self.socket.greeted("load")
        box = write_box([(b"_ask", b"9"), (b"_command", b"send"), (b"body", cbor.encode({"plugin": "load"}))])

        line.link.dataReceived(box[:-10])
        line.lose()

        assert len(self.socket.links) == 0
        assert self.socket.stored() == []

    def test_process_that_goes_without_waiting(self) -> None:
        """What came whole is stored although nobody waits for the answer any more."""
        line = self.socket.greeted("load")
        self.socket.writer.is_held = True
        line.send(1, LOAD).addErrback(lambda failure: failure.trap(Disconnected))

        line.lose()
        self.socket.writer.go()

        assert self.socket.stored() == [LOAD]

    def test_broker_that_dies_between_commit_and_answer(self) -> None:
        """A batch whose answer was lost is stored once when it comes again."""
        line = self.socket.greeted("load")
        self.socket.writer.is_held = True
        line.send(1, LOAD).addErrback(lambda failure: failure.trap(Disconnected))
        line.link.connectionLost()
        self.socket.writer.go()

        again = LocalSocket(store=self.socket.store)
        after = again.line()
        assert self.successResultOf(after.hello("load")).last_batch == 1
        assert self.successResultOf(after.send(1, LOAD)) == Stored(stored=1)

        assert again.stored() == [LOAD]

    def test_comes_back_before_its_loss_is_seen(self) -> None:
        """The new connection of a process replaces the old one, and nothing of the old one overtakes it."""
        old = self.socket.greeted("load")
        self.socket.writer.is_held = True
        lost = [old.send(number, {**LOAD, "value": number}) for number in (1, 2)]
        for answer in lost:
            answer.addErrback(lambda failure: failure.trap(Disconnected, Unavailable))

        new = self.socket.line()
        welcome = new.hello("load")
        old.pump.flush()
        assert not old.link.is_open
        self.socket.writer.go()
        new.pump.flush()

        assert self.successResultOf(welcome).last_batch == 1
        self.successResultOf(new.send(2, {**LOAD, "value": "new"}))
        assert [message["value"] for message in self.socket.stored()] == [1, "new"]

    def test_wrong_types_in_every_field(self) -> None:
        """Each field of each call that is of the wrong type is named in a refusal; the connection stays."""
        line = self.socket.greeted("load")
        good: dict[str, dict[str, Any]] = {
            "hello": {"oldest": 1, "newest": 1, "instance": "i", "plugins": ["load"], "events": []},
            "open-session": {"plugin": "load", "scope": "s"},
            "send": {"plugin": "load", "batch": 1, "session-id": "s", "urgent": False, "messages": [b""]},
            "handle": {"plugin": "load", "types": ["reload"]},
            "exchange": {"at-once": False},
        }
        wrongs: tuple[Any, ...] = (1.5, {"a": 1}, [[]], [1])
        for command, fields in good.items():
            for field in fields:
                for wrong in wrongs:
                    text = self._refusal(line, command, {**fields, field: wrong})
                    assert f"`{field}`" in text, (command, field, wrong, text)
        assert line.link.is_open

    def _refusal(self, line: Line, command: str, fields: dict[str, Any]) -> str:
        return self.refused(self._call_encoded(line, command, fields))

    def _call_encoded(self, line: Line, command: str, fields: dict[str, Any]) -> "Deferred[Any]":
        answer = line.client.call_encoded(command, cbor.encode(fields))
        line.pump.flush()
        return answer


class SessionTests(LinkTestCase):
    """Sessions are opened by plugins for themselves."""

    def test_same_until_dropped(self) -> None:
        """A scope has one session until a resynchronize drops it; it is stored at once."""
        line = self.socket.greeted("load")

        first = self.successResultOf(line.call("open-session", OpenSession(plugin="load", scope="cpu")))
        again = self.successResultOf(line.call("open-session", OpenSession(plugin="load", scope="cpu")))
        assert isinstance(first, Session)
        assert again == first
        self.successResultOf(line.send(1, LOAD, session_id=first.session_id))

        self.socket.store.resynchronize(operation_id=None, scopes=None)
        other = self.successResultOf(line.call("open-session", OpenSession(plugin="load", scope="cpu")))
        assert other != first

    def test_bounds(self) -> None:
        """A scope has a length, and a process a number of scopes."""
        line = self.socket.greeted("load")

        for scope in ("", "x" * 65):
            answer = line.call("open-session", OpenSession(plugin="load", scope=scope))
            assert "`scope` must have" in self.refused(answer)
        for scope_or_none in ("a", None, "a"):
            self.successResultOf(line.call("open-session", OpenSession(plugin="load", scope=scope_or_none)))
        answer = line.call("open-session", OpenSession(plugin="load", scope="b"))
        assert "for 2 scopes" in self.refused(answer)
        self.successResultOf(line.call("open-session", OpenSession(plugin="load", scope="a")))

    def test_foreign_plugin(self) -> None:
        """Nobody opens sessions for a plugin of another process."""
        answer = self.socket.greeted("disk").call("open-session", OpenSession(plugin="load"))

        assert "did not name" in self.refused(answer)


class DeliveryTests(LinkTestCase):
    """Messages of the server go to the plugins that may have them."""

    def handling(self) -> Line:
        line = self.socket.greeted("load")
        self.successResultOf(line.call("handle", Handle(plugin="load", types=("reload", "rest"))))
        return line

    def deliver(self, line: Line, message: dict[str, Any] = RELOAD) -> "Deferred[Outcome]":
        plugin, deliver = self.socket.handled["reload"]
        outcome = deliver(plugin, 12, message)
        line.pump.flush()
        return outcome

    def test_delivered(self) -> None:
        """A message arrives at the plugin, and its outcome comes back."""
        line = self.handling()
        client = line.client
        assert isinstance(client, Hearing)
        client.outcome = Outcome(status=DONE, result_code=1, result_text="ok")

        assert self.successResultOf(self.deliver(line)) == client.outcome

        (delivered,) = client.delivered
        assert (delivered.plugin, delivered.number, delivered.message) == ("load", 12, RELOAD)

    def test_registered_once(self) -> None:
        """Types that are said again, on this connection, are not registered again."""
        line = self.handling()
        self.socket.handled.clear()

        self.successResultOf(line.call("handle", Handle(plugin="load", types=("rest", "rest"))))

        assert self.socket.handled == {}

    def test_not_granted(self) -> None:
        """A type that is not granted, and one of the broker's own, is refused, and with it the whole call."""
        line = self.socket.greeted("load")

        for kind in ("disk", "set-id"):
            answer = line.call("handle", Handle(plugin="load", types=("reload", kind)))
            assert f"may not handle `{kind}`" in self.refused(answer)
        assert "3 types in one call" in self.refused(
            line.call("handle", Handle(plugin="load", types=("reload",) * 3))
        )
        assert self.socket.handled == {}

    def test_failure_of_the_plugin(self) -> None:
        """A plugin that answers with an error has an outcome: the message failed."""
        line = self.handling()
        client = line.client
        assert isinstance(client, Hearing)
        client.outcome = Refused("not now")

        outcome = self.successResultOf(self.deliver(line))

        assert outcome == Outcome(status=FAILED, result_text="the plugin did not take the message: not now")

    def test_outcome_that_says_nothing(self) -> None:
        """An outcome whose status is none of ours counts as failed."""
        line = self.handling()
        client = line.client
        assert isinstance(client, Hearing)
        for status, taken in ((NOT_HANDLED, NOT_HANDLED), ("fine", FAILED)):
            client.outcome = Outcome(status=status)

            assert self.successResultOf(self.deliver(line)).status == taken

    def test_message_that_does_not_travel(self) -> None:
        """A message too long for the socket fails; it does not go round for ever."""
        line = self.handling()

        outcome = self.successResultOf(self.deliver(line, {"type": "reload", "long": b"x" * 9_000_000}))

        assert outcome.status == FAILED
        assert "could not be given" in str(outcome.result_text)

    def test_gone_in_the_middle(self) -> None:
        """When the process goes during a delivery nobody knows its outcome; nothing more is given to it."""
        line = self.handling()
        client = line.client
        assert isinstance(client, Hearing)
        client.outcome = Deferred()
        _, deliver = self.socket.handled["reload"]
        outcome = self.deliver(line)

        line.lose()

        self.failureResultOf(outcome, Disconnected)
        assert self.socket.handled == {}
        self.failureResultOf(deliver("load", 13, RELOAD), Disconnected)

    def test_answers_never(self) -> None:
        """A process that answers nothing is disconnected before what it owes grows without bound."""
        line = self.handling()
        client = line.client
        assert isinstance(client, Hearing)
        client.outcome = Deferred()
        outcomes = [self.deliver(line) for _ in range(3)]

        with capturedLogs() as logged:
            outcomes.append(self.deliver(line))
            line.pump.flush()

        for outcome in outcomes:
            self.failureResultOf(outcome, Disconnected)
        assert "leaves 3 deliveries and events unanswered" in formatEvent(logged[0])


class EventTests(LinkTestCase):
    """Events go to who asked for them."""

    def fire(self, name: str, **details: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.socket.bus.fire(name, **details)))

    def test_heard(self) -> None:
        """A process hears the events that it named, once each, and no others."""
        line = self.socket.greeted("load", events=(EXCHANGE_DONE, EXCHANGE_DONE, "of-tomorrow"))
        client = line.client
        assert isinstance(client, Hearing)

        self.fire(EXCHANGE_DONE, sent=3)
        self.fire(IMPENDING_EXCHANGE)
        line.pump.flush()

        assert client.events == [Event(name=EXCHANGE_DONE, details={"sent": 3})]

    def test_messages_are_no_event_for_plugins(self) -> None:
        """Nobody reads the server's messages by asking for the broker's inner event."""
        line = self.socket.greeted("load", events=("message",))
        client = line.client
        assert isinstance(client, Hearing)

        self.fire("message", number=1, message={"type": "set-id"})
        line.pump.flush()

        assert client.events == []

    def test_not_after_the_end(self) -> None:
        """A process that is gone hears nothing."""
        line = self.socket.greeted("load", events=(EXCHANGE_DONE,))
        line.lose()

        self.fire(EXCHANGE_DONE)
        line.link.notify(Event(name=EXCHANGE_DONE, details={}))

        assert line.link.unanswered == 0

    def test_unanswered_at_the_end(self) -> None:
        """An event that was under way when the process went is no news."""
        line = self.socket.greeted("load", events=(EXCHANGE_DONE,))
        self.fire(EXCHANGE_DONE)

        with capturedLogs() as logged:
            line.lose()

        assert [event["log_level"] for event in logged] == [LogLevel.info]

    def test_not_taken(self) -> None:
        """An event that a process answers with an error is logged, and that is all."""
        line = self.socket.greeted("load", events=(EXCHANGE_DONE,))
        line.client._responders.clear()

        with capturedLogs() as logged:
            self.fire(EXCHANGE_DONE)
            line.pump.flush()

        assert "event exchange-done was not taken" in formatEvent(logged[0])
        assert line.link.is_open


class LinksTests(LinkTestCase):
    """The set of connections knows when it is empty."""

    def test_when_none(self) -> None:
        """It is said at once when none is open, else when the last has closed."""
        assert self.socket.links.when_none().called
        first, second = self.socket.greeted("load"), self.socket.greeted("load", instance="two")
        none = self.socket.links.when_none()

        first.lose()
        self.assertNoResult(none)
        second.lose()

        assert none.called

    def test_transport_is_not_kept(self) -> None:
        """A connection that never said hello is forgotten like any other."""
        line = self.socket.line()
        assert isinstance(line.link.transport, FakeTransport)

        line.lose()

        assert list(self.socket.links) == []
