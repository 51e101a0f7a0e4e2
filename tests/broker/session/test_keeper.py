"""At most one session, in the right name, obeying the server, and always on the way to the next."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.session.course import BASE, HOURLY, REPLACED_PAUSE, SLOW, Course, State
from fieldpost.broker.session.keeper import STOP_WITHIN, Identity, Keeper
from fieldpost.runtime.database import DatabaseFull
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.wire.session.opening import Denied, Later, NotHere, NoUpgrade, Unusable
from tests.broker.fakes import SteadyRandom
from tests.broker.session.server_side import SERVER_LIFE, ServerInMemory

NOBODY = Identity(secure_id=None, insecure_id=None)
SEVEN = Identity(secure_id=b"secret-7", insecure_id=7)


class KeeperTestCase(SynchronousTestCase):
    identity: Any = SEVEN

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.server = ServerInMemory(self.clock)
        self.server.secret = b"secret-7"
        self.live: list[bool] = []
        self.subscriptions = Subscriptions(clock=self.clock)
        self.wanted: str | None = None
        self.keeper = self.new_keeper()

    def new_keeper(self, **more: Any) -> Keeper:
        random = SteadyRandom(1)
        settings: dict[str, Any] = {
            "opener": self.server,
            "course": Course(random=random),
            "clock": self.clock,
            "random": random,
            "identity": self.find_identity,
            "handlers": {"exchange-now": lambda _: ()},
            "subscriptions": self.subscriptions,
            "incarnation": b"client-1",
            "new_octets": lambda count: bytes([len(self.server.locations)]) * count,
            "on_live": self.live.append,
        }
        return Keeper(**(settings | more))

    async def find_identity(self) -> Identity:
        if isinstance(self.identity, Exception):
            raise self.identity
        found: Identity = self.identity
        return found

    def start(self) -> None:
        self.keeper.start()
        self.server.wait(BASE)

    def hear_subscriptions(self) -> list[Any]:
        """What the server is asked to notify of."""
        asked: list[Any] = []

        def take(one: Any) -> "Deferred[Any]":
            asked.append(one.args)
            return Deferred()

        self.server.handlers["subscribe"] = take
        return asked

    def check_identity(self) -> None:
        Deferred.fromCoroutine(self.keeper.check_identity())
        self.server.settle()

    @property
    def next_in(self) -> float:
        found = self.keeper.report()["next-try-in"]
        assert isinstance(found, float)
        return found


class OpeningTests(KeeperTestCase):
    @pytest.mark.conformance("F15")
    def test_open(self) -> None:
        """Soon after the start there is a session, in the machine's own name, which it proves."""
        self.start()

        (offer,) = self.server.offers
        assert (offer.hello.id, offer.hello.attempt, offer.hello.last) == ("a:7", 1, None)
        assert offer.hello.incarnation == b"client-1"
        assert self.server.proved == [True]
        assert self.live == [True]
        peer = self.keeper.peer_as(b"secret-7")
        assert peer is not None
        assert self.keeper.report() == {
            "carrier": "session",
            "state": "open",
            "cause": None,
            "failures": 0,
            "attempts": 1,
            "next-try-in": None,
            "open-for": 0.0,
        }

    def test_in_another_name(self) -> None:
        """What is to travel in another name does not travel over it."""
        self.start()

        assert self.keeper.peer_as(None) is None
        assert self.keeper.peer_as(b"other") is None

    def test_bound_to_its_channel(self) -> None:
        """With TLS inside, the proof counts for that channel alone."""
        self.server.exporter = b"e" * 32
        self.start()

        assert self.server.proved == [True]

    def test_calls_both_ways(self) -> None:
        """The server asks and is answered; so do we."""
        self.server.handlers["echo"] = lambda asked: (asked.args[b"word"],)
        self.start()
        peer = self.keeper.peer_as(b"secret-7")
        assert peer is not None

        ours = peer.call("echo", {"word": b"well"})
        theirs = self.server.peer.call("exchange-now")
        self.server.settle()

        assert self.successResultOf(ours) == (b"well",)
        assert self.successResultOf(theirs) == ()

    def test_subscriptions(self) -> None:
        """They ride on whatever session there is."""
        asked = self.hear_subscriptions()
        self.subscriptions.subscribe("messages", lambda _: None)

        self.start()
        self.server.settle()
        assert asked == [{b"topics": [b"messages"]}]
        self.server.links[-1].lose()
        self.server.wait(2 * BASE)

        assert len(asked) == 2

    def test_not_registered(self) -> None:
        """Without identity it is opened without a name; there is nothing to subscribe to yet."""
        self.identity = NOBODY
        asked = self.hear_subscriptions()
        self.subscriptions.subscribe("messages", lambda _: None)

        self.start()

        assert self.server.offers[0].hello.id is None
        assert self.keeper.peer_as(None) is not None
        assert asked == []

    @pytest.mark.conformance("F15", "F33")
    def test_again(self) -> None:
        """Each attempt has a number of its own; the last decision is remembered."""
        self.start()
        self.server.links[-1].lose()
        assert self.keeper.peer_as(b"secret-7") is None
        assert self.live == [True, False]

        self.server.wait(2 * BASE)

        hello = self.server.offers[-1].hello
        assert (hello.attempt, hello.last, hello.incarnation) == (2, (SERVER_LIFE, 1), b"client-1")
        assert self.server.offers[0].hello.nonce != hello.nonce
        assert self.live == [True, False, True]


class FailureTests(KeeperTestCase):
    def test_each_answer(self) -> None:
        """Has its own pause and its cause in the status; exchanges go by POST meanwhile."""
        for answer, state, pause in (
            (NoUpgrade(text="it said 426"), State.FALLBACK, 1.2 * HOURLY),
            (NotHere(text="it said 404"), State.BARRED, SLOW),
            (Denied(text="it said 401"), State.BARRED, SLOW),
            (Later(text="it said 503", after=100.0), State.WAITING, 125.0),
            (Later(text="it said 429", after=None), State.WAITING, BASE),
            (Unusable(text="it said 500"), State.WAITING, BASE),
        ):
            self.server.answers.append(answer)
            self.keeper = self.new_keeper()

            self.start()

            report = self.keeper.report()
            assert self.keeper.state is state
            assert report["carrier"] == "POST"
            assert answer.text in report["cause"]
            assert report["next-try-in"] == pytest.approx(pause), answer
            assert self.keeper.peer_as(b"secret-7") is None
            self.successResultOf(self.keeper.stop())

    def test_climbing_back(self) -> None:
        """After the hour it is tried again; exchanges move to the session by themselves."""
        self.server.answers.append(NoUpgrade(text="it said 426"))
        self.start()
        assert self.live == []

        self.server.wait(1.2 * HOURLY, step=60)

        assert self.live == [True]

    @pytest.mark.conformance("F26", "F20")
    def test_refused(self) -> None:
        """What the server says in its decision is obeyed: slowly where it bars us, as it wishes otherwise."""
        for code, retry_after, state, pause in (
            ("proof", None, State.BARRED, SLOW),
            ("clone", None, State.BARRED, SLOW),
            ("version", None, State.BARRED, SLOW),
            ("duplicate", 40, State.WAITING, 50.0),
            ("draining", 100, State.WAITING, 125.0),
            ("internal", None, State.WAITING, BASE),
        ):
            self.server.decide = lambda peer, _, code=code, after=retry_after: peer.refuse(  # type: ignore[misc]
                code, "see the log", after
            )
            self.keeper = self.new_keeper()

            self.start()

            assert self.keeper.state is state, code
            assert "see the log" in self.keeper.report()["cause"]
            assert self.next_in == pytest.approx(pause), code
            self.successResultOf(self.keeper.stop())

    def test_not_under_this_id(self) -> None:
        """What is to be done about it the server alone knows: nothing is promised beside its words."""
        self.server.decide = lambda peer, _: peer.refuse("identity", "the key is another; release it")

        self.start()

        assert self.keeper.report()["cause"].endswith("the key is another; release it")

    @pytest.mark.conformance("F11")
    def test_a_server_that_never_decides(self) -> None:
        """Is given up after its time."""
        self.server.decide = lambda peer, offer: None
        self.start()
        assert self.keeper.report()["state"] == "opening"

        self.server.wait(21)

        assert self.keeper.state is State.WAITING
        assert "timeout" in self.keeper.report()["cause"]

    def test_resting(self) -> None:
        """Whoever can do without a session does, once it may take long until there is one."""
        self.server.answers += [Unusable(text="no")] * 3
        assert not self.keeper.is_resting
        self.start()
        assert not self.keeper.is_resting

        self.server.wait(3 * BASE)
        assert self.keeper.is_resting
        self.server.wait(4 * BASE)

        assert self.live == [True]
        assert not self.keeper.is_resting

    def test_lost_before_it_was_open(self) -> None:
        """Counts as a failure."""
        self.server.decide = lambda peer, offer: None
        self.start()

        self.server.links[-1].lose()

        assert self.keeper.state is State.WAITING
        assert self.keeper.report()["failures"] == 1

    @pytest.mark.conformance("F19")
    def test_the_wrong_server(self) -> None:
        """Where the configuration names the server, another is refused by us."""
        self.keeper = self.new_keeper(wanted="s:elsewhere")

        self.start()

        assert self.keeper.state in (State.BARRED, State.WAITING)
        assert self.live == []

    def test_a_store_that_fails(self) -> None:
        """No attempt without knowing who we are; later it goes on."""
        self.identity = DatabaseFull("the disk is full")
        self.start()
        assert "the disk is full" in self.keeper.report()["cause"]

        self.identity = SEVEN
        self.server.wait(BASE)

        assert self.live == [True]

    def test_our_mistake(self) -> None:
        """Ends no more than one attempt."""
        self.identity = ValueError("oops")
        self.start()
        assert "please report this" in self.keeper.report()["cause"]
        assert len(self.flushLoggedErrors(ValueError)) == 1

        self.identity = SEVEN
        self.server.wait(BASE)

        assert self.live == [True]


class EndingTests(KeeperTestCase):
    @pytest.mark.conformance("N22")
    def test_draining(self) -> None:
        """The server's delay is kept, and some more."""
        self.start()
        self.server.wait(100)

        self.server.peer.close("draining", 30)
        self.server.settle()

        assert self.keeper.state is State.WAITING
        assert self.next_in == pytest.approx(37.5)
        assert self.keeper.peer_as(b"secret-7") is None

    def test_elsewhere(self) -> None:
        """The next attempt goes where the goodbye says, the one after that to the address that we know."""
        self.start()
        self.server.peer.close("moved", None, "https://other.example/session/default")
        self.server.settle()
        self.server.answers.append(Unusable(text="nobody there"))

        self.server.wait(3 * BASE)
        self.server.wait(6 * BASE)

        assert self.server.locations == [None, "https://other.example/session/default", None]

    @pytest.mark.conformance("F39")
    def test_replaced(self) -> None:
        """Whoever has our name and took our place is not fought."""
        self.start()
        self.server.peer.close("replaced")
        self.server.settle()

        assert self.next_in >= REPLACED_PAUSE
        assert "replaced by a new connection" in self.keeper.report()["cause"]

    def test_barred(self) -> None:
        """A clone, or a machine that was sent away, comes back slowly, and says what to do."""
        for reason in ("clone", "revoked"):
            self.keeper = self.new_keeper()
            self.start()
            self.server.peer.close(reason)
            self.server.settle()

            assert self.keeper.state is State.BARRED
            assert self.next_in == SLOW
            self.successResultOf(self.keeper.stop())

    def test_one_that_never_lives_long(self) -> None:
        """Is tried for less and less often."""
        self.start()
        pauses = []
        for _ in range(4):
            self.server.links[-1].lose()
            pauses.append(self.next_in)
            self.server.wait(pauses[-1])

        assert pauses == [BASE, 2 * BASE, 4 * BASE, 8 * BASE]


class IdentityTests(KeeperTestCase):
    def test_registered(self) -> None:
        """As soon as the machine has an identity, the session is had in its name."""
        self.identity = NOBODY
        self.start()

        self.identity = SEVEN
        self.check_identity()
        self.server.wait(1)

        assert [offer.hello.id for offer in self.server.offers] == [None, "a:7"]
        assert self.keeper.peer_as(b"secret-7") is not None

    def test_unchanged(self) -> None:
        """Nothing happens."""
        self.start()

        self.check_identity()

        assert len(self.server.offers) == 1
        assert self.keeper.state is State.OPEN

    def test_while_barred(self) -> None:
        """A new identity may be let in where the old one was not."""
        self.server.decide = lambda peer, _: peer.refuse("proof", "no")
        self.start()
        self.server.decide = self.server._decide
        self.identity = Identity(secure_id=b"new", insecure_id=8)

        self.check_identity()
        self.server.wait(1)

        assert self.server.offers[-1].hello.id == "a:8"
        assert self.live == [True]

    def test_while_it_opens(self) -> None:
        """The session that was under way in the old name is not used."""
        offers = []
        self.server.decide = lambda peer, offer: offers.append((peer, offer))
        self.start()
        self.identity = Identity(secure_id=b"new", insecure_id=8)
        self.server.decide = self.server._decide

        self.server._decide(*offers[0])
        self.server.wait(1)

        assert self.server.offers[-1].hello.id == "a:8"
        assert self.keeper.peer_as(b"new") is not None

    def test_before_the_first_attempt_and_with_a_full_disk(self) -> None:
        """Nothing to do."""
        self.check_identity()
        self.start()
        self.identity = DatabaseFull("full")
        self.check_identity()

        assert self.keeper.state is State.OPEN


class StopTests(KeeperTestCase):
    def test_goodbye(self) -> None:
        """The server is told, and nothing is left."""
        self.start()

        stopped = self.keeper.stop()
        self.server.settle()
        self.server.wait(1)

        self.successResultOf(stopped)
        assert self.server.peer.ending is not None
        assert self.server.peer.ending.reason == "shutdown"
        assert self.live == [True, False]

    def test_a_server_that_does_not_listen(self) -> None:
        """Is not waited for longer than a moment."""
        self.start()

        stopped = self.keeper.stop()
        self.clock.advance(STOP_WITHIN)
        self.server.links[-1].carry()

        self.successResultOf(stopped)

    def test_while_it_opens(self) -> None:
        """An attempt under way is dropped."""
        waiting: Deferred[Any] = Deferred()
        self.server.answers.append(waiting)
        self.start()

        self.successResultOf(self.keeper.stop())
        self.server.wait(100, step=10)

        assert self.server.locations == [None]

    def test_while_it_waits(self) -> None:
        """Nothing is tried any more."""
        self.server.answers.append(Unusable(text="no"))
        self.start()

        self.successResultOf(self.keeper.stop())
        self.server.wait(100, step=10)

        assert self.server.locations == [None]
        assert self.clock.getDelayedCalls() == []

    def test_quiet(self) -> None:
        """A failure that goes on is logged once."""
        self.server.answers += [Unusable(text="no")] * 4
        with capturedLogs() as logs:
            self.start()
            self.server.wait(4 * BASE)

        assert len([log for log in logs if "no session" in log["log_format"]]) == 1
