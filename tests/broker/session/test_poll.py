"""Notifications by POST, while there is no session: the same handlers, and nothing that a server does makes it spin."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.answers import Answer
from fieldpost.broker.carriage.post import Letter, PostFailed
from fieldpost.broker.session.course import BASE, HOURLY, State
from fieldpost.broker.session.keeper import Identity
from fieldpost.broker.session.poll import LEAST, NOTHING_TO_HEAR, Poll, poll_path
from fieldpost.runtime.database import DatabaseFull
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.events import Requested
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.post import MEDIA_TYPE, Post
from fieldpost.wire.session.subscription import Notification, write_notification
from tests.broker.fakes import SteadyRandom


class Server:
    """Takes letters; each is answered when the test says so."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.asked: list[Any] = []
        self._waiting: list[tuple[Post, Requested, Deferred[Answer]]] = []
        self.takes_sessions = True
        self.is_stopped = False

    async def post(self, letter: Letter) -> Answer:
        self.letters.append(letter)
        us = Profile(incarnation=b"server-1", nonce=bytes(32), id="s:here")
        post = Post(role=Role.SERVER, us=us, upgrade=self.takes_sessions)
        events = [*post.receive_data(letter.body, 0.0), *post.receive_end(0.0)]
        (asked,) = (event for event in events if isinstance(event, Requested))
        self.asked.append((asked.name, asked.args))
        answer: Deferred[Answer] = Deferred()
        self._waiting.append((post, asked, answer))
        return await answer

    async def stop(self) -> None:
        self.is_stopped = True

    def say(self, *notifications: Notification, **more: Any) -> None:
        """Answer the oldest letter."""
        post, asked, answer = self._waiting.pop(0)
        post.respond(asked.request, [write_notification(one) for one in notifications], end=True)
        answer.callback(answered(body=post.data_to_send(), **more))

    def refuse(self, code: bytes) -> None:
        post, asked, answer = self._waiting.pop(0)
        post.fail(asked.request, code, "no")
        answer.callback(answered(body=post.data_to_send()))

    def end(self, outcome: Answer | Exception) -> None:
        """In another way."""
        _, _, answer = self._waiting.pop(0)
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)


def answered(status: int = 200, body: bytes = b"", kind: str = MEDIA_TYPE, whole: bool = True) -> Answer:
    headers = Headers({b"content-type": [kind.encode()]})
    return Answer(status=status, phrase="", headers=headers, body=body, whole=whole)


class Sessions:
    """The keeper."""

    def __init__(self) -> None:
        self.state = State.FALLBACK
        self.hurried = 0

    @property
    def is_resting(self) -> bool:
        return self.state in (State.FALLBACK, State.BARRED)

    def hurry(self) -> None:
        self.hurried += 1


class PollTests(SynchronousTestCase):
    identity: Any = Identity(secure_id=b"id-1", insecure_id=7)

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Server()
        self.sessions = Sessions()
        self.subscriptions = Subscriptions(clock=self.clock)
        self.heard: list[int] = []
        self.subscriptions.subscribe("messages", lambda heard: self.heard.append(heard.seq))
        self.poll = Poll(
            poster=self.server,
            path="/exchange",
            sessions=self.sessions,
            subscriptions=self.subscriptions,
            identity=self.find_identity,
            clock=self.clock,
            random=SteadyRandom(1),
            incarnation=b"client-1",
            new_octets=bytes,
        )

    async def find_identity(self) -> Identity:
        if isinstance(self.identity, Exception):
            raise self.identity
        found: Identity = self.identity
        return found

    def notification(self, seq: int) -> Notification:
        return Notification(topic="messages", seq=seq, value={b"pending": 1})

    @pytest.mark.conformance("N23")
    def test_heard(self) -> None:
        """What the server says reaches the handlers, and it is asked for more from there."""
        self.poll.look()
        assert self.server.asked == [(b"wait", {b"topics": {b"messages": None}, b"seconds": 50})]
        letter = self.server.letters[0]
        assert letter.path == "/exchange"
        assert letter.headers["X-Computer-ID"] == b"id-1"

        self.server.say(self.notification(3))
        assert self.heard == [3]
        self.clock.advance(LEAST)

        assert self.server.asked[-1] == (b"wait", {b"topics": {b"messages": 3}, b"seconds": 50})

    def test_nothing_new(self) -> None:
        """It is asked again."""
        self.poll.look()
        self.clock.advance(50)
        self.server.say()
        self.clock.advance(0)

        assert len(self.server.letters) == 2

    def test_quick_answers(self) -> None:
        """A server that answers at once is not asked more than once a second."""
        self.poll.look()
        for _ in range(10):
            self.server.say()
            self.clock.advance(LEAST / 2)
            assert not self.server._waiting
            self.clock.advance(LEAST / 2)

        assert len(self.server.letters) == 11

    def test_only_while_there_is_no_session(self) -> None:
        """One that opens ends the asking; one that is lost for good begins it again."""
        self.sessions.state = State.WAITING
        self.poll.look()
        assert self.server.letters == []
        self.sessions.state = State.FALLBACK
        self.poll.look()
        self.poll.look()
        assert len(self.server.letters) == 1

        self.sessions.state = State.OPEN
        self.poll.look()
        self.clock.advance(100)
        assert len(self.server.letters) == 1
        self.sessions.state = State.BARRED
        self.poll.look()

        assert len(self.server.letters) == 2

    def test_while_a_session_is_tried_for(self) -> None:
        """The question that is under way stands; no other follows until that is decided."""
        self.poll.look()
        self.sessions.state = State.OPENING
        self.poll.look()
        self.server.say(self.notification(1))
        self.clock.advance(10)
        assert self.heard == [1]
        assert len(self.server.letters) == 1

        self.sessions.state = State.FALLBACK
        self.poll.look()

        assert len(self.server.letters) == 2

    def test_climbing_back(self) -> None:
        """A server that begins to take sessions gets one tried; one that always did does not, for a proxy is in the way."""
        self.poll.look()
        self.server.say()
        self.clock.advance(LEAST)
        assert self.sessions.hurried == 0
        self.server.takes_sessions = False
        self.server.say()
        self.clock.advance(LEAST)
        self.server.say()
        self.server.takes_sessions = True
        self.clock.advance(LEAST)
        assert self.sessions.hurried == 0

        self.server.say()

        assert self.sessions.hurried == 1

    def test_failures(self) -> None:
        """Whatever goes wrong, the pause grows."""
        self.poll.look()
        wrongs: list[Any] = [
            PostFailed("nobody there"),
            answered(status=500),
            answered(kind="text/html"),
            answered(body=b"\x00" * 100),
            answered(body=b""),
            answered(whole=False),
        ]
        for number, wrong in enumerate(wrongs):
            self.server.end(wrong)
            self.clock.advance(BASE * 2**number - 0.1)
            assert not self.server._waiting, wrong
            self.clock.advance(0.2)
            assert len(self.server._waiting) == 1, wrong

    def test_refused(self) -> None:
        """So does what the server refuses."""
        self.poll.look()

        self.server.refuse(b"not-registered")
        self.clock.advance(BASE - 1)

        assert not self.server._waiting

    def test_what_is_no_notification(self) -> None:
        """Is a failure."""
        self.poll.look()
        post, asked, answer = self.server._waiting.pop(0)
        post.respond(asked.request, [7], end=True)
        answer.callback(answered(body=post.data_to_send()))

        self.clock.advance(BASE - 1)
        assert not self.server._waiting

    def test_a_server_that_does_not_know_the_question(self) -> None:
        """Is asked again after an hour."""
        self.poll.look()
        self.server.end(answered(status=404))

        self.clock.advance(HOURLY)
        assert not self.server._waiting
        self.clock.advance(HOURLY)

        assert len(self.server._waiting) == 1

    def test_nothing_to_ask(self) -> None:
        """Without identity, topics, or a store that says who we are, it looks again later."""
        for identity in (
            Identity(secure_id=None, insecure_id=None),
            Identity(secure_id=b"no header\n", insecure_id=1),
            DatabaseFull("full"),
        ):
            self.setUp()
            self.identity = identity
            self.poll.look()
            assert self.server.letters == []

            self.identity = Identity(secure_id=b"id-1", insecure_id=7)
            self.clock.advance(NOTHING_TO_HEAR)

            assert len(self.server.letters) == 1

    def test_registered_meanwhile(self) -> None:
        """A machine that gets its identity does not wait to be notified."""
        self.identity = Identity(secure_id=None, insecure_id=None)
        self.poll.look()
        self.identity = Identity(secure_id=b"id-1", insecure_id=7)

        self.poll.look()

        assert len(self.server.letters) == 1
        self.poll.look()
        self.clock.advance(NOTHING_TO_HEAR)
        assert len(self.server.letters) == 1

    def test_stopped(self) -> None:
        """What is under way ends, and so does the poster."""
        self.poll.look()

        self.successResultOf(Deferred.fromCoroutine(self.poll.stop()))
        self.poll.look()

        assert self.server.is_stopped
        assert len(self.server.letters) == 1
        assert self.server._waiting[0][2].called


@pytest.mark.parametrize(
    ("url", "path"),
    [("https://a/message-system", "/exchange"), ("https://a/site/message-system?x", "/site/exchange")],
)
def test_path(url: str, path: str) -> None:
    """Beside the exchange's."""
    assert poll_path(Address.of_server(url)) == path
