"""The new words over the local socket, from the SDK's end to the broker's: output, topics, ping."""

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.output import Progress
from fieldpost.broker.topics import MAX_TOPICS
from fieldpost.plugins.connection import BrokerConnection
from fieldpost.runtime.amp import CallProtocol
from fieldpost.runtime.database import DatabaseUnavailable
from fieldpost.wire.local import (
    DONE,
    MAX_ATTACHMENT_OCTETS,
    Deliver,
    Notification,
    Outcome,
    Output,
    Refused,
    Subscribe,
    Unsubscribe,
)
from tests.local_socket import BrokerInMemory, Hearing, LocalSocket


class SocketTestCase(SynchronousTestCase):
    """A connection to a broker in memory."""

    def setUp(self) -> None:
        self.socket = LocalSocket()
        self.endpoint = BrokerInMemory(self.socket)
        self.outcome: Deferred[Outcome] = Deferred()
        broker: Any = self.endpoint
        self.connection = BrokerConnection(
            endpoint=broker,
            clock=self.socket.clock,
            random=Random(0),
            new_id=lambda: "one",
            plugins=("load", "disk"),
            events=(),
            on_deliver=self.on_deliver,
            on_event=lambda _: None,
        )
        self.connection.start()
        self.addCleanup(self.connection.stop)
        self.endpoint.settle()
        self.heard: list[Notification] = []
        self.done: list[Deferred[None]] = []

    def on_deliver(self, deliver: Deliver) -> "Deferred[Outcome]":
        return self.outcome

    def hear(self, notification: Notification) -> "Deferred[None]":
        self.heard.append(notification)
        self.done.append(Deferred())
        return self.done[-1]

    def hear_at_once(self, notification: Notification) -> "Deferred[None]":
        self.heard.append(notification)
        return succeed(None)

    def subscribe(self, heard: Any, topic: str = "weather") -> "Deferred[None]":
        subscribed = self.connection.subscribe("load", topic, heard)
        self.endpoint.settle()
        return subscribed

    def notify(self, seq: int, value: Any = None, *, gap: bool = False) -> None:
        self.socket.upstream.notify("weather", seq, value, gap=gap)
        self.endpoint.settle()

    @property
    def seqs(self) -> list[int]:
        return [heard.seq for heard in self.heard]


class TopicTests(SocketTestCase):
    @pytest.mark.conformance("N2", "N19")
    def test_heard(self) -> None:
        """What the server notifies reaches the plugin, with its value."""
        self.successResultOf(self.subscribe(self.hear_at_once))

        self.notify(1, {"sky": ["blue", 1.5, None]})
        self.notify(2)

        assert self.heard[0] == Notification(
            plugin="load", topic="weather", seq=1, value={"sky": ["blue", 1.5, None]}
        )
        assert self.seqs == [1, 2]

    @pytest.mark.conformance("N17", "N19")
    def test_slow(self) -> None:
        """Nothing of the topic comes while the plugin is at it; then the newest."""
        self.subscribe(self.hear)
        for seq in (1, 2, 3):
            self.notify(seq)
        assert self.seqs == [1]

        self.done[0].callback(None)
        self.endpoint.settle()

        assert self.seqs == [1, 3]

    @pytest.mark.conformance("Z27")
    def test_gap(self) -> None:
        """While the plugin makes up for what it may have missed nothing of the topic comes; then the newest."""
        self.subscribe(self.hear)
        self.notify(4, gap=True)
        for seq in (5, 6):
            self.notify(seq)
        assert [(heard.seq, heard.gap) for heard in self.heard] == [(4, True)]

        self.done[0].callback(None)
        self.endpoint.settle()

        assert [(heard.seq, heard.gap) for heard in self.heard[1:]] == [(6, False)]

    @pytest.mark.conformance("N16", "N19")
    def test_lost_while_it_made_up_for_a_gap(self) -> None:
        """A server that counts anew is heard over the next connection, and as a gap again: nothing was made up for."""
        other = self.socket.greeted("load", instance="other")
        other.call("subscribe", Subscribe(plugin="load", topic="weather"))
        self.subscribe(self.hear)
        self.notify(40)
        self.done[0].callback(None)
        self.endpoint.settle()
        self.notify(0, gap=True)
        self.endpoint.leave()

        self.endpoint.come_back()

        assert [(heard.seq, heard.gap) for heard in self.heard] == [(40, False), (0, True), (0, True)]

    @pytest.mark.conformance("N19")
    def test_reconnected(self) -> None:
        """Over a new connection the plugin goes on where it was: nothing twice, and what came meanwhile."""
        self.subscribe(self.hear_at_once)
        other = self.socket.greeted("load", instance="other")
        other.call("subscribe", Subscribe(plugin="load", topic="weather"))
        self.notify(1)
        self.endpoint.leave()
        self.notify(2)

        self.endpoint.come_back()

        assert self.seqs == [1, 2]

    @pytest.mark.conformance("N19")
    def test_lost_while_it_was_heard(self) -> None:
        """What was not done when the connection went comes again."""
        other = self.socket.greeted("load", instance="other")
        other.call("subscribe", Subscribe(plugin="load", topic="weather"))
        self.subscribe(self.hear)
        self.notify(1)
        self.endpoint.leave()

        self.endpoint.come_back()

        assert self.seqs == [1, 1]

    def test_unsubscribed(self) -> None:
        """And the broker forgets the topic that nobody hears."""
        self.subscribe(self.hear_at_once)

        self.successResultOf(self.unsubscribed())

        assert self.socket.upstream.heard == {}
        self.endpoint.leave()
        self.endpoint.come_back()
        assert self.socket.upstream.heard == {}

    def unsubscribed(self) -> "Deferred[None]":
        asked = self.connection.unsubscribe("load", "weather")
        self.endpoint.settle()
        return asked

    def test_gone(self) -> None:
        """A process that is gone hears nothing: nobody does, so the broker does not either."""
        self.subscribe(self.hear_at_once)

        self.endpoint.leave()

        assert self.socket.upstream.heard == {}

    def test_not_granted(self) -> None:
        """A topic that the manifest does not grant is refused, and not asked for again."""
        refused = self.failureResultOf(self.subscribe(self.hear_at_once, "secrets"), Refused)
        assert "`load` may not hear `secrets`; name it under `subscribes`" in str(refused.value)

        with capturedLogs() as logs:
            self.endpoint.leave()
            self.endpoint.come_back()

        assert not [log for log in logs if "hears nothing" in log["log_format"]]

    def test_not_granted_any_more(self) -> None:
        """A broker that came back with other grants is told of in the log."""
        self.subscribe(self.hear_at_once)
        self.connection._topics["load", "secrets"] = self.connection._topics["load", "weather"]

        with capturedLogs() as logs:
            self.endpoint.leave()
            self.endpoint.come_back()

        assert [log["topic"] for log in logs if "hears nothing" in log["log_format"]] == ["secrets"]

    def test_wrong_topics(self) -> None:
        """A topic has a name of a certain length; a process may hear so many."""
        line = self.socket.greeted("load")

        for topic in ("", "x" * 65):
            self.failureResultOf(line.call("subscribe", Subscribe(plugin="load", topic=topic)), Refused)
        self.failureResultOf(line.call("unsubscribe", Unsubscribe(plugin="disk", topic="x")), Refused)

    def test_too_many_topics(self) -> None:
        """Is refused, with what to do."""
        for number in range(MAX_TOPICS):
            self.socket.relay.subscribe(str(number), None, lambda _: succeed(None))

        refused = self.failureResultOf(self.subscribe(self.hear_at_once), Refused)

        assert "let one be given up" in str(refused.value)

    def test_asked_again(self) -> None:
        """The newer question replaces the older."""
        line = self.socket.greeted("load")
        for _ in range(2):
            self.successResultOf(line.call("subscribe", Subscribe(plugin="load", topic="weather")))
        self.socket.upstream.notify("weather", 1)
        line.pump.flush()
        self.successResultOf(line.call("unsubscribe", Unsubscribe(plugin="load", topic="weather")))

        assert self.socket.upstream.heard == {}

    def test_a_client_that_does_not_know_the_word(self) -> None:
        """It is logged, and the topic goes on."""
        line = self.socket.line(client=Hearing())
        line.hello("load")
        line.call("subscribe", Subscribe(plugin="load", topic="weather"))

        with capturedLogs() as logs:
            for seq in (1, 2):
                self.socket.upstream.notify("weather", seq)
                line.pump.flush()

        assert len([log for log in logs if "was not taken" in log["log_format"]]) == 2


class OutputTests(SocketTestCase):
    def watch(self) -> list[Any]:
        seen: list[Any] = []

        class Watcher:
            def output(self, text: str) -> None:
                seen.append(text)

            def progress(self, progress: Progress) -> None:
                seen.append((progress.topic, progress.position, progress.total))

        self.socket.outputs.watch(3, Watcher()).addBoth(lambda _: seen.append("end"))
        return seen

    def deliver(self) -> "Deferred[Outcome]":
        (link,) = self.socket.links
        answer = link.deliver("load", 1, {"type": "reload", "operation-id": 3})
        self.endpoint.settle()
        return answer

    def report(self, **fields: Any) -> "Deferred[None]":
        told = self.connection.report(Output(**{"plugin": "load", "operation": 3, **fields}))
        self.endpoint.settle()
        return told

    def test_shown(self) -> None:
        """What a running operation writes is seen by who watches, to its end."""
        seen = self.watch()
        outcome = self.deliver()

        self.successResultOf(self.report(text="hello"))
        self.successResultOf(self.report(topic="steps", position=1, total=2))
        self.outcome.callback(Outcome(status=DONE))
        self.endpoint.settle()

        assert self.successResultOf(outcome).status == DONE
        assert seen == ["hello", ("steps", 1, 2), "end"]

    def test_not_under_way(self) -> None:
        """A plugin cannot write for an operation that it does not have."""
        self.failureResultOf(self.report(text="hello"), Refused)
        self.deliver()
        self.failureResultOf(self.report(operation=4, text="hello"), Refused)
        self.failureResultOf(self.report(plugin="disk", text="hello"), Refused)
        self.outcome.callback(Outcome(status=DONE))
        self.endpoint.settle()
        self.failureResultOf(self.report(text="hello"), Refused)

    def test_gone(self) -> None:
        """The operation of a process that went away is not under way any more."""
        seen = self.watch()
        outcome = self.deliver()

        self.endpoint.leave()

        self.failureResultOf(outcome)
        assert seen == ["end"]
        self.successResultOf(self.report(text="dropped"))


class AttachmentTests(SocketTestCase):
    def deliver(self) -> None:
        (link,) = self.socket.links
        link.deliver(
            "load", 1, {"type": "reload", "operation-id": 3, "attachments": {"a": 5, "b": 6, "c": "7"}}
        )
        self.endpoint.settle()

    def fetch(self, id: int, **asked: Any) -> "Deferred[bytes]":
        found = self.connection.attachment(**{"plugin": "load", "operation": 3, "id": id, **asked})
        self.endpoint.settle()
        return found

    def test_named(self) -> None:
        """A file that a running operation names comes whole, however large it may be."""
        self.deliver()
        for octets in (b"", b"\0file\xff", b"x" * MAX_ATTACHMENT_OCTETS):
            self.socket.attachments.found[5] = octets
            assert self.successResultOf(self.fetch(5)) == octets

    def test_not_to_be_had(self) -> None:
        """The plugin hears why."""
        self.deliver()

        assert "is not there" in str(self.failureResultOf(self.fetch(6), Refused).value)

    def test_later(self) -> None:
        """While the broker's store fails it is asked for again."""
        self.deliver()
        self.socket.attachments.found[5] = b"x"
        self.socket.attachments.failures = [DatabaseUnavailable("not now")]
        fetched = self.fetch(5)
        self.assertNoResult(fetched)

        self.endpoint.wait(30)

        assert self.successResultOf(fetched) == b"x"

    def test_not_named(self) -> None:
        """Nobody gets what no operation of its own names: no other file, and none before or after."""
        self.socket.attachments.found = dict.fromkeys(range(9), b"x")
        self.failureResultOf(self.fetch(5), Refused)
        self.deliver()

        for wrong in ({"id": 4}, {"id": 7}, {"operation": 4}, {"plugin": "disk"}):
            asked: dict[str, Any] = {"id": 5, **wrong}
            self.failureResultOf(self.fetch(**asked), Refused)
        self.outcome.callback(Outcome(status=DONE))
        self.endpoint.settle()
        self.failureResultOf(self.fetch(5), Refused)


class PingTests(SocketTestCase):
    def ping(self, plugin: str) -> "Deferred[bool]":
        link = self.socket.links.of_plugin(plugin)
        assert link is not None
        answer = link.ping(plugin)
        self.endpoint.settle()
        return answer

    def test_there(self) -> None:
        """A plugin's process answers."""
        assert self.successResultOf(self.ping("load")) is True
        assert self.socket.links.of_plugin("other") is None

    def test_another_sdk(self) -> None:
        """One that does not know the question is there all the same."""
        self.connection.stop()
        self.endpoint.settle()
        line = self.socket.line(client=CallProtocol(responders={}))
        line.hello("load")
        (link,) = self.socket.links
        answer = link.ping("load")
        line.pump.flush()

        assert self.successResultOf(answer) is True

    def test_hung(self) -> None:
        """One that does not answer is not."""
        (link,) = self.socket.links
        answer = link.ping("load")
        self.socket.clock.advance(5)

        assert self.successResultOf(answer) is False
        self.endpoint.settle()

    def test_gone(self) -> None:
        """One that goes away, or is gone."""
        (link,) = self.socket.links
        answer = link.ping("load")
        self.endpoint.leave()

        assert self.successResultOf(answer) is False
        assert self.successResultOf(link.ping("load")) is False
        assert self.socket.links.of_plugin("load") is None
