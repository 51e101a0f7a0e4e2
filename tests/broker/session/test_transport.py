"""Exchanges over the session, by POST without one, and nothing lost or doubled when it breaks between."""

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fieldpost.broker.carriage.transport import Answered, Refused, Reply, Request, Unreachable
from fieldpost.broker.session.course import BASE, Course, State
from fieldpost.broker.session.keeper import Identity, Keeper
from fieldpost.broker.session.transport import DEPTH, SessionTransport
from fieldpost.runtime.session.answers import Asked
from fieldpost.runtime.session.errors import CommandError
from fieldpost.runtime.session.subscriptions import Subscriptions
from fieldpost.wire.cbor import decode, encode
from fieldpost.wire.session.encodings import WORTH_PACKING
from fieldpost.wire.session.opening import NoUpgrade
from tests.broker.carriage.peers import ANSWER, ANSWER_OCTETS, a_request
from tests.broker.fakes import NoSpread
from tests.broker.session.server_side import ServerInMemory
from tests.fakes import InlineWriter

ID = b"id-1"
POSTED = Answered(payload=evolve(ANSWER, server_uuid="by-post"))


class Posting:
    """The other way: it answers at once, or when the test lets it."""

    depth = 1

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.held: list[Deferred[Reply]] | None = None
        self.is_stopped = False

    async def exchange(self, request: Request) -> Reply:
        self.requests.append(request)
        if self.held is None:
            return POSTED
        self.held.append(Deferred())
        return await self.held[-1]

    async def stop(self) -> None:
        self.is_stopped = True


class TransportTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = ServerInMemory(self.clock)
        self.asked: list[Asked] = []
        self.answer: Any = lambda asked: (ANSWER_OCTETS,)
        self.server.handlers["exchange"] = self.take
        self.posting = Posting()
        random = NoSpread(1)
        self.keeper = Keeper(
            opener=self.server,
            course=Course(random=random),
            clock=self.clock,
            random=random,
            identity=self.identity,
            handlers={},
            subscriptions=Subscriptions(clock=self.clock),
            incarnation=b"client-1",
            new_octets=bytes,
        )
        self.transport = SessionTransport(
            sessions=self.keeper,
            fallback=self.posting,
            worker=InlineWriter(),
            clock=self.clock,
            within=100.0,
            max_answer_octets=100_000,
        )

    async def identity(self) -> Identity:
        return Identity(secure_id=ID, insecure_id=7)

    def take(self, asked: Asked) -> Any:
        self.asked.append(asked)
        return self.answer(asked)

    def open(self) -> None:
        self.keeper.start()
        self.server.wait(BASE)

    def exchange(self, request: Request | None = None) -> "Deferred[Any]":
        answer = Deferred.fromCoroutine(self.transport.exchange(request or a_request()))
        self.server.settle()
        return answer


class SessionTests(TransportTestCase):
    def test_over_the_session(self) -> None:
        """The payload is the same as by POST, and so is the answer."""
        self.open()
        request = a_request(messages=({"type": "load"},))

        reply = self.successResultOf(self.exchange(request))

        assert reply == Answered(payload=ANSWER)
        (asked,) = self.asked
        assert asked.data is not None
        assert decode(asked.data) == request.payload.to_map()
        assert asked.args == {b"api": bytes(request.payload.server_api), b"token": b"token-1"}
        assert self.posting.requests == []

    def test_without_token(self) -> None:
        """What there is not is not said."""
        self.open()

        self.exchange(a_request(token=None))

        assert b"token" not in self.asked[0].args

    def test_large(self) -> None:
        """A large payload is packed on its way, and a large answer on its way back; small ones are not."""
        self.open()
        text = "word " * (WORTH_PACKING // 5 + 1)
        request = a_request(messages=({"type": "large", "text": text},))
        large = encode(evolve(ANSWER, messages=({"type": "large", "text": text},)).to_map())
        small = a_request(messages=({"type": "small", "text": text[: WORTH_PACKING // 2]},))

        self.answer = lambda asked: self.packing(asked, large)
        there, back = self.octets_of(request)

        (asked,) = self.asked
        assert asked.data is not None
        assert decode(asked.data) == request.payload.to_map()
        assert max(there, back) < WORTH_PACKING / 20
        assert WORTH_PACKING / 2 < self.octets_of(small)[0] < WORTH_PACKING

    def packing(self, asked: Asked, octets: bytes) -> Any:
        asked.bulk = True
        return (octets,)

    def octets_of(self, request: Request) -> tuple[int, int]:
        """How many went to the server and back."""
        (link,) = self.server.links
        link.carried = [0, 0]
        self.successResultOf(self.exchange(request))
        return link.carried[0], link.carried[1]

    def test_several(self) -> None:
        """Several may be under way; they arrive in the order in which they were given."""
        self.open()
        waiting: list[Deferred[Any]] = []

        def hold(asked: Asked) -> "Deferred[Any]":
            waiting.append(Deferred())
            return waiting[-1]

        self.answer = hold
        assert self.transport.depth == 1  # nobody knows yet in whose name
        first = self.exchange()
        assert self.transport.depth == DEPTH
        second = self.exchange(a_request(messages=({"type": "second"},)))

        assert [decode(asked.data or b"")["messages"] for asked in self.asked] == [[], [{"type": "second"}]]
        waiting[1].callback((ANSWER_OCTETS,))
        self.server.settle()
        self.successResultOf(second)
        self.assertNoResult(first)
        waiting[0].callback((ANSWER_OCTETS,))
        self.server.settle()
        self.successResultOf(first)

    def test_refused(self) -> None:
        """A refusal has the status that a POST would have had."""
        for error, expected in (
            (CommandError("unavailable", "the disk is full", status=503, retry_after=7),
             Refused(status=503, reason="the disk is full", retry_after=7.0)),
            (CommandError("unknown-level", "not that one", status=404), Refused(status=404, reason="not that one")),
            (CommandError("busy"), Refused(status=503, reason="busy")),
            (CommandError("odd", "odd", status="x", retry_after=-1), Refused(status=503, reason="odd")),
            (CommandError("odd", "odd", status=429, retry_after=10**400),
             Refused(status=429, reason="odd", retry_after=86_400.0)),
            (CommandError("odd", "odd", retry_after=float("nan")), Refused(status=503, reason="odd")),
        ):  # fmt: skip
            self.setUp()
            self.open()

            def refuse(asked: Asked, error: Exception = error) -> Any:
                raise error

            self.answer = refuse

            assert self.successResultOf(self.exchange()) == expected

    def test_too_large_for_the_session(self) -> None:
        """What the session itself does not take goes by POST, where the server says what it thinks of it; once it has, that counts."""
        self.open()
        statuses: list[dict[str, int]] = [{}, {"status": 413}]

        def refuse(asked: Asked) -> Any:
            raise CommandError("too-large", "more than it takes", **statuses.pop(0))

        self.answer = refuse
        by_session = self.exchange()
        told = self.exchange()

        assert self.successResultOf(by_session) == POSTED
        assert self.successResultOf(told) == Refused(status=413, reason="more than it takes")
        assert [request.token for request in self.posting.requests] == [None]

    def test_what_is_no_answer(self) -> None:
        """Is told with its cause."""
        self.open()
        for values in ((), (1,), (b"\xff",), (ANSWER_OCTETS, ANSWER_OCTETS), (b"\xa0",)):
            self.answer = lambda asked, values=values: values

            reply = self.successResultOf(self.exchange())

            assert isinstance(reply, Unreachable)
            assert "the server's answer" in reply.reason

    def test_never_answered(self) -> None:
        """Is given up after its time."""
        self.open()
        self.answer = lambda asked: Deferred()
        answer = self.exchange()

        self.server.wait(100)

        reply = self.successResultOf(answer)
        assert isinstance(reply, Unreachable)
        assert "within 100 s" in reply.reason

    def test_cancelled(self) -> None:
        """At a stop the server is told, and nothing is posted."""
        self.open()
        self.answer = lambda asked: Deferred()
        answer = self.exchange()

        answer.cancel()
        self.server.settle()

        self.failureResultOf(answer, CancelledError)
        assert self.asked[0].is_over
        assert self.posting.requests == []


class FallbackTests(TransportTestCase):
    def test_without_a_session(self) -> None:
        """It goes by POST as it is."""
        request = a_request()

        assert self.successResultOf(self.exchange(request)) == POSTED

        assert self.posting.requests == [request]
        assert self.transport.depth == 1

    def test_the_way_is_open_again(self) -> None:
        """A POST that is answered after one that was not hastens the session; as long as all are answered none does."""
        self.server.answers.append(NoUpgrade(text="a login page"))
        self.keeper.start()
        self.server.wait(BASE)
        self.successResultOf(self.exchange())
        self.server.wait(BASE)
        assert self.keeper.state is State.FALLBACK

        self.posting.held = []
        for reply in (Unreachable(reason="a login page"), Refused(status=500, reason="odd"), POSTED):
            answer = self.exchange()
            assert self.keeper.state is State.FALLBACK
            self.posting.held.pop().callback(reply)
            self.successResultOf(answer)
        self.server.wait(BASE)

        assert self.keeper.peer_as(ID) is not None

    def test_in_another_name(self) -> None:
        """What is to go in another name than the session's goes by POST, which names it."""
        self.open()
        for secure_id in (None, b"other"):
            self.exchange(a_request(secure_id=secure_id))

        assert [request.secure_id for request in self.posting.requests] == [None, b"other"]
        assert self.asked == []

    def test_a_server_that_does_not_know_the_command(self) -> None:
        """Knows POST."""
        self.open()
        del self.server.handlers["exchange"]
        self.server.peers[-1]._answers._handlers.pop(b"exchange")

        assert self.successResultOf(self.exchange()) == POSTED

    @pytest.mark.conformance("Z17")
    def test_lost_under_way(self) -> None:
        """It is repeated by POST at once, with its numbers and without its token."""
        self.open()
        self.answer = lambda asked: Deferred()
        answer = self.exchange()
        self.assertNoResult(answer)

        self.server.links[-1].lose()

        assert self.successResultOf(answer) == POSTED
        assert self.posting.requests == [a_request(token=None)]

    def test_closed_under_way(self) -> None:
        """A server that drains may still answer; what it does not answer goes by POST."""
        self.open()
        waiting: list[Deferred[Any]] = []

        def hold(asked: Asked) -> "Deferred[Any]":
            waiting.append(Deferred())
            return waiting[-1]

        self.answer = hold
        answers = [self.exchange(), self.exchange()]
        self.server.peer.close("draining", 5)
        self.server.settle()

        waiting[0].callback((ANSWER_OCTETS,))
        self.server.settle()
        assert self.successResultOf(answers[0]) == Answered(payload=ANSWER)
        self.server.wait(15)

        assert self.successResultOf(answers[1]) == POSTED

    def test_in_order(self) -> None:
        """While one goes by POST, those behind it do too, though there is a session again."""
        self.open()
        self.answer = lambda asked: Deferred()
        self.posting.held = []
        answers = [self.exchange()]
        self.server.links[-1].lose()
        self.server.wait(2 * BASE)
        assert self.keeper.peer_as(ID) is not None
        assert self.transport.depth == 1

        answers.append(self.exchange())

        assert len(self.posting.requests) == 2
        for held in self.posting.held:
            held.callback(POSTED)
        for answer in answers:
            self.successResultOf(answer)
        self.answer = lambda asked: (ANSWER_OCTETS,)
        assert self.successResultOf(self.exchange()) == Answered(payload=ANSWER)

    def test_what_follows(self) -> None:
        """A payload behind another wants an acknowledgement alone; when the session breaks, it is not repeated by POST."""
        self.open()
        self.answer = lambda asked: Deferred()
        first = self.exchange()
        second = self.exchange(evolve(a_request(token=None), follows=True))
        assert [asked.args.get(b"quiet") for asked in self.asked] == [None, True]

        self.server.links[-1].lose()

        assert self.successResultOf(first) == POSTED
        reply = self.successResultOf(second)
        assert isinstance(reply, Unreachable)
        assert "the session ended under it" in reply.reason
        assert len(self.posting.requests) == 1
        late = self.successResultOf(self.exchange(evolve(a_request(), follows=True)))
        assert isinstance(late, Unreachable)

    def test_behind_a_proxy(self) -> None:
        """Where nothing upgrades, exchanges go on by POST."""
        self.server.answers.append(NoUpgrade(text="it said 426"))
        self.open()

        assert self.successResultOf(self.exchange()) == POSTED

    def test_stopped(self) -> None:
        """The other way is stopped with it."""
        self.successResultOf(Deferred.fromCoroutine(self.transport.stop()))

        assert self.posting.is_stopped
