"""Plugins never see session ids, and lose nothing when the server drops them."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs

from fieldpost.plugins.errors import BufferFull, MessageRefused
from fieldpost.plugins.outbox import OutboxLimits
from fieldpost.plugins.session import MAX_ATTEMPTS, Session
from fieldpost.testing import FakeBroker, result_of
from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import Malformed
from fieldpost.wire.local import OBSOLETE_SESSION, Refused
from fieldpost.wire.message import Message


class Sender:
    """A session, and what came of it in order."""

    reports_afresh = True

    def __init__(
        self,
        broker: FakeBroker | None = None,
        scope: str | None = None,
        limits: OutboxLimits = OutboxLimits(),  # noqa: B008 - a frozen value
    ) -> None:
        self.broker = broker or FakeBroker()
        self.seen: list[object] = []
        self.session = Session(
            broker=self.broker, plugin="load", scope=scope, on_lost=self.on_lost, limits=limits
        )

    def on_lost(self) -> None:
        self.seen.append("lost")
        if self.reports_afresh:
            self.send("afresh")

    def send(self, type: str) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.session.send({"type": type}))

    def stored(self) -> list[tuple[str, str | None]]:
        return [(kept.message["type"], kept.session_id) for kept in self.broker.stored]


def test_messages_carry_the_session_of_the_scope() -> None:
    """It is opened once, with the first message."""
    sender = Sender(scope="cpu")

    result_of(sender.send("one"))
    result_of(sender.send("two"))

    assert sender.stored() == [("one", "session-1"), ("two", "session-1")]
    assert result_of(sender.broker.open_session("load", "cpu")) == "session-1"


def test_messages_wait_for_their_session_in_order() -> None:
    """A broker that is away holds nothing up but the answer."""
    sender = Sender()
    sender.broker.away()
    sends = [sender.send(type) for type in ("one", "two", "three")]

    sender.broker.back()

    assert [result_of(send) for send in sends] == [None] * 3
    assert sender.stored() == [("one", "session-1"), ("two", "session-1"), ("three", "session-1")]


def test_a_dropped_session_is_replaced_and_the_message_stored() -> None:
    """The plugin's send succeeds, and then it is told to report afresh."""
    sender = Sender()
    result_of(sender.send("one"))
    sender.broker.drop_sessions()

    result_of(sender.send("two"))

    assert sender.stored() == [("one", "session-1"), ("two", "session-2"), ("afresh", "session-2")]
    assert sender.seen == ["lost"]


def test_what_was_under_way_comes_before_what_is_reported_afresh() -> None:
    """Whatever order event and refusals come in: the server sees old news first."""
    sender = Sender()
    result_of(sender.send("one"))
    sender.broker.away()
    sends = [sender.send("two"), sender.send("three")]
    sender.session.renew()
    sender.broker.drop_sessions()

    sender.broker.back()

    assert [result_of(send) for send in sends] == [None, None]
    assert sender.stored()[1:] == [("two", "session-2"), ("three", "session-2"), ("afresh", "session-2")]


def test_an_event_alone_is_enough() -> None:
    """A plugin with nothing to send reports afresh all the same."""
    sender = Sender()
    result_of(sender.send("one"))
    sender.broker.drop_sessions()

    sender.session.renew()

    assert sender.seen == ["lost"]


def test_a_session_that_is_still_in_force_is_kept() -> None:
    """To ask costs nothing: no report afresh."""
    sender = Sender()
    result_of(sender.send("one"))

    sender.session.renew()

    assert sender.seen == []
    assert sender.stored() == [("one", "session-1")]


def test_a_plugin_that_never_sent_anything_has_nothing_to_renew() -> None:
    """The server knows nothing of it that it could forget."""
    sender = Sender()

    sender.session.renew()

    assert sender.seen == []


def test_a_second_drop_while_the_session_is_asked_for_is_noticed() -> None:
    """The answer to the first question may be older than the second event."""

    class Slow(FakeBroker):
        def __init__(self) -> None:
            super().__init__()
            self.asked: list[Deferred[str]] = []

        def open_session(self, plugin: str, scope: str | None = None) -> "Deferred[str]":
            self.asked.append(Deferred())
            return self.asked[-1]

        def send(
            self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
        ) -> "Deferred[None]":
            return succeed(None)

    broker = Slow()
    sender = Sender(broker)
    sender.reports_afresh = False
    sender.send("one")
    broker.asked[0].callback("session-1")
    sender.session.renew()
    sender.session.renew()

    assert len(broker.asked) == 2
    broker.asked[1].callback("session-1")
    assert sender.seen == []
    broker.asked[2].callback("session-2")

    assert sender.seen == ["lost"]


def test_other_refusals_reach_the_plugin() -> None:
    """They are not the session's to resolve."""
    sender = Sender()
    sender.broker.refuse("one", "not-granted", "no")

    with pytest.raises(MessageRefused, match="no"):
        result_of(sender.send("one"))


def test_a_broker_that_drops_every_session_ends_in_an_error() -> None:
    """Not in an endless exchange of the same message."""

    class Forgetful(FakeBroker):
        said = 0

        def send(
            self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
        ) -> "Deferred[None]":
            self.said += 1
            self.drop_sessions()
            return fail(MessageRefused(OBSOLETE_SESSION, "dropped"))

    broker = Forgetful()
    sender = Sender(broker)
    sender.reports_afresh = False

    with pytest.raises(MessageRefused, match="dropped"):
        result_of(sender.send("one"))

    assert broker.said >= MAX_ATTEMPTS


class Unwilling(FakeBroker):
    """Opens no session, for this reason, after the first `good` ones."""

    def __init__(self, error: Exception, good: int = 0) -> None:
        super().__init__()
        self.error = error
        self.good = good

    def open_session(self, plugin: str, scope: str | None = None) -> "Deferred[str]":
        self.good -= 1
        return super().open_session(plugin, scope) if self.good >= 0 else fail(self.error)


def test_a_session_that_is_refused_is_a_message_refused() -> None:
    """The plugin learns the broker's own words."""
    sender = Sender(Unwilling(Refused("no grant")))

    with pytest.raises(MessageRefused, match="no grant") as caught:
        result_of(sender.send("one"))

    assert caught.value.code == "REFUSED"


def test_a_renewal_that_fails_is_logged_and_tried_again_with_the_next_message() -> None:
    """Nobody waited for it, so the log has it."""
    sender = Sender(Unwilling(Malformed("garbled"), good=1))
    result_of(sender.send("one"))
    sender.broker.drop_sessions()

    with capturedLogs() as logs:
        sender.session.renew()

    assert "could not be renewed" in logs[0]["log_format"]
    with pytest.raises(MessageRefused, match="garbled"):
        result_of(sender.send("two"))
    assert isinstance(sender.broker, Unwilling)
    sender.broker.good = 1
    result_of(sender.send("three"))
    assert sender.stored()[1:] == [("three", "session-2"), ("afresh", "session-2")]


def test_a_renewal_that_breaks_is_logged_with_its_traceback() -> None:
    """It is our mistake then."""
    sender = Sender(Unwilling(RuntimeError("broken"), good=1))
    result_of(sender.send("one"))

    with capturedLogs() as logs:
        sender.session.renew()

    assert logs[0]["log_failure"].check(RuntimeError)


def test_giving_up_waiting_leaves_the_others_alone() -> None:
    """One cancelled send neither blocks nor breaks the next."""
    sender = Sender()
    sender.broker.away()
    first, second = sender.send("one"), sender.send("two")
    first.addErrback(lambda failure: sender.seen.append(type(failure.value).__name__))

    first.cancel()
    sender.broker.back()

    assert result_of(second) is None
    assert sender.seen == ["CancelledError"]
    assert sender.stored() == [("two", "session-1")]


class Answering(FakeBroker):
    """A broker that answers when and as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Deferred[str]] = []
        self.given: list[tuple[str, str | None, Deferred[None]]] = []

    def open_session(self, plugin: str, scope: str | None = None) -> "Deferred[str]":
        self.asked.append(Deferred())
        return self.asked[-1]

    def send(
        self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
    ) -> "Deferred[None]":
        self.given.append((message["type"], session_id, Deferred()))
        return self.given[-1][2]

    def turn_away(self, place: int) -> None:
        self.given[place][2].errback(MessageRefused(OBSOLETE_SESSION, "gone"))

    @property
    def words(self) -> list[tuple[str, str | None]]:
        return [(type, session_id) for type, session_id, _ in self.given]


@pytest.mark.parametrize("first", ["the new id", "the refusals", "one of them"])
@pytest.mark.parametrize("hears", [True, False])
def test_what_is_sent_at_a_drop_stays_in_order(first: str, hears: bool) -> None:
    """What was under way is said again before what was sent later, whatever comes first of event, new id and refusals."""
    broker = Answering()
    sender = Sender(broker)
    for word in ("one", "two", "three"):
        sender.send(word)
    broker.asked[0].callback("session-1")
    sender.send("four")
    if hears:
        sender.session.renew()
    else:
        broker.turn_away(0)
    sender.send("five")
    left = [place for place in range(4) if hears or place]

    early = {"the new id": 0, "one of them": 1, "the refusals": 4}[first]
    for place in left[:early]:
        broker.turn_away(place)
    broker.asked[1].callback("session-2")
    sender.send("six")
    for place in left[early:]:
        broker.turn_away(place)

    words = ["one", "two", "three", "four"]
    assert broker.words[:4] == [(word, "session-1") for word in words]
    later = broker.words[4:]
    afresh = later.index(("afresh", "session-2"))
    assert afresh == (5 if first == "the refusals" else 6)
    del later[afresh]
    assert later == [(word, "session-2") for word in [*words, "five", "six"]]
    assert sender.seen == ["lost"]


def test_a_send_that_fails_otherwise_lets_the_others_go() -> None:
    """What waits behind it is not forgotten."""
    broker = Answering()
    sender = Sender(broker)
    sender.reports_afresh = False
    failing = sender.send("one")
    broker.asked[0].callback("session-1")
    sender.session.renew()
    later = sender.send("two")
    broker.asked[1].callback("session-2")
    assert broker.words == [("one", "session-1")]

    broker.given[0][2].errback(MessageRefused("too-large", "no"))

    with pytest.raises(MessageRefused):
        result_of(failing)
    assert broker.words[1:] == [("two", "session-2")]
    broker.given[1][2].callback(None)
    result_of(later)
    assert sender.seen == ["lost"]


@pytest.mark.parametrize(
    "limits", [OutboxLimits(messages=3), OutboxLimits(octets=3 * len(encode({"type": "word"})))]
)
def test_what_waits_for_the_first_session_is_bounded(limits: OutboxLimits) -> None:
    """A plugin that was started before its broker does not fill the memory; there is room again when the broker is there."""
    broker = Answering()
    sender = Sender(broker, limits=limits)
    kept = [sender.send("word") for _ in range(3)]

    for _ in range(2):
        with pytest.raises(BufferFull, match="3 messages of [0-9]+ octets wait"):
            result_of(sender.send("more"))
    kept[0].addErrback(lambda failure: None).cancel()
    broker.asked[0].callback("session-1")

    assert broker.words == [("word", "session-1")] * 2
    for _ in range(5):
        sender.send("more")
    assert len(broker.words) == 7


def test_there_is_room_again_after_a_refusal() -> None:
    """What was told that there is no session does not wait any more."""
    broker = Answering()
    sender = Sender(broker, limits=OutboxLimits(messages=1))
    for asked in range(3):
        sent = sender.send("word")
        broker.asked[asked].errback(Refused("no grant"))

        with pytest.raises(MessageRefused):
            result_of(sent)


def test_what_cannot_be_written_waits_like_any_other() -> None:
    """The broker's connection says what is wrong with it."""
    broker = Answering()
    sender = Sender(broker)

    strange = Deferred.fromCoroutine(sender.session.send({"type": "word", "value": object()}))
    broker.asked[0].callback("session-1")
    broker.given[-1][2].errback(MessageRefused("malformed", "no"))

    with pytest.raises(MessageRefused):
        result_of(strange)
