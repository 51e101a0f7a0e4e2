"""Notifications reach the plugins that want them: the newest, in order, each at its own pace."""

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.topics import MAX_TOPICS, Notice, Silence, TooManyTopics, TopicRelay
from tests.local_socket import Upstream


class Ear:
    """A listener that is done when the test says so."""

    def __init__(self, *, quick: bool = True) -> None:
        self.quick = quick
        self.heard: list[Notice] = []
        self.held: list[Deferred[None]] = []

    async def __call__(self, notice: Notice) -> None:
        self.heard.append(notice)
        if not self.quick:
            held: Deferred[None] = Deferred()
            self.held.append(held)
            await held

    @property
    def seqs(self) -> list[int]:
        return [notice.seq for notice in self.heard]


class TopicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.upstream = Upstream()
        self.relay = TopicRelay(upstream=self.upstream.subscribe)

    @pytest.mark.conformance("N6", "N19")
    def test_in_order(self) -> None:
        """Every plugin hears what comes, in order."""
        one, two = Ear(), Ear()
        for ear in (one, two):
            self.relay.subscribe("weather", None, ear)

        self.upstream.notify("weather", 1, {"sky": "blue"})
        self.upstream.notify("weather", 2)

        assert one.seqs == two.seqs == [1, 2]
        assert one.heard[0] == Notice(topic="weather", seq=1, value={"sky": "blue"})

    @pytest.mark.conformance("N17", "N20")
    def test_slow(self) -> None:
        """A slow plugin gets the newest when it is done; it holds up nobody else, and is never called twice at a time."""
        slow, quick = Ear(quick=False), Ear()
        self.relay.subscribe("weather", None, slow)
        self.relay.subscribe("weather", None, quick)

        for seq in (1, 2, 3):
            self.upstream.notify("weather", seq)
        assert slow.seqs == [1]
        slow.held[0].callback(None)

        assert slow.seqs == [1, 3]
        assert quick.seqs == [1, 2, 3]

    @pytest.mark.conformance("N16")
    def test_since(self) -> None:
        """Who comes back hears at once what is newer than what it had, and nothing that it had."""
        self.relay.subscribe("weather", None, Ear())
        self.upstream.notify("weather", 5)
        fresh, knows, behind = Ear(), Ear(), Ear()

        self.relay.subscribe("weather", None, fresh)
        self.relay.subscribe("weather", 5, knows)
        self.relay.subscribe("weather", 4, behind)

        assert (fresh.seqs, knows.seqs, behind.seqs) == ([5], [], [5])

    def test_a_server_that_counts_anew(self) -> None:
        """What comes with a lower number is news."""
        ear = Ear()
        self.relay.subscribe("weather", 9, ear)

        self.upstream.notify("weather", 3)

        assert ear.seqs == [3]

    def test_gap(self) -> None:
        """That something may be missed is told, also to who was busy when it was."""
        ear = Ear(quick=False)
        self.relay.subscribe("weather", None, ear)
        self.upstream.notify("weather", 1)
        self.upstream.notify("weather", 2, gap=True)
        self.upstream.notify("weather", 3)

        ear.held[0].callback(None)

        assert [(notice.seq, notice.gap) for notice in ear.heard] == [(1, False), (3, True)]

    def test_the_last_one_leaves(self) -> None:
        """A topic that nobody wants is not heard any more; one that is wanted again is."""
        forgets = [self.relay.subscribe("weather", None, Ear()) for _ in range(2)]
        forgets[0]()
        assert "weather" in self.upstream.heard
        forgets[1]()
        forgets[1]()
        assert not self.upstream.heard

        ear = Ear()
        self.relay.subscribe("weather", None, ear)
        self.upstream.notify("weather", 1)

        assert ear.seqs == [1]

    def test_too_many(self) -> None:
        """Topics are requests that stay open, so there are few; those that are heard may be heard by more."""
        forgets = [self.relay.subscribe(f"topic {number}", None, Ear()) for number in range(MAX_TOPICS)]
        with pytest.raises(TooManyTopics, match="24 topics already"):
            self.relay.subscribe("one more", None, Ear())
        self.relay.subscribe("topic 0", None, Ear())
        forgets[1]()

        self.relay.subscribe("one more", None, Ear())

    def test_gone_while_busy(self) -> None:
        """Who left is not called again."""
        ear = Ear(quick=False)
        forget = self.relay.subscribe("weather", None, ear)
        self.relay.subscribe("weather", None, Ear())
        self.upstream.notify("weather", 1)
        forget()
        self.upstream.notify("weather", 2)

        ear.held[0].callback(None)

        assert ear.seqs == [1]

    @pytest.mark.conformance("N20")
    def test_a_listener_that_fails(self) -> None:
        """It is logged, and hears the next one."""
        heard = []

        async def listener(notice: Notice) -> None:
            heard.append(notice.seq)
            raise ValueError("rain")

        self.relay.subscribe("weather", None, listener)
        self.upstream.notify("weather", 1)
        self.upstream.notify("weather", 2)

        assert heard == [1, 2]
        assert len(self.flushLoggedErrors(ValueError)) == 2

    def test_silence(self) -> None:
        """Without a server topics can be asked for, and nothing comes."""
        ear = Ear()
        TopicRelay(upstream=Silence()).subscribe("weather", None, ear)()

        assert ear.heard == []


def test_a_listener_may_answer_at_once() -> None:
    """Without a turn of the reactor between."""
    upstream = Upstream()
    heard: list[int] = []

    async def listener(notice: Notice) -> None:
        heard.append(notice.seq)
        if notice.seq < 3:
            upstream.notify("weather", notice.seq + 1)
        await succeed(None)

    TopicRelay(upstream=upstream.subscribe).subscribe("weather", None, listener)
    upstream.notify("weather", 1)

    assert heard == [1, 2, 3]
