"""The light poll of Landscape's protocol."""

from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs
from twisted.web.http_headers import Headers

from fieldpost.broker.carriage.answers import Answer
from fieldpost.broker.carriage.post import Letter, PostFailed
from fieldpost.broker.ping import Ping
from fieldpost.broker.schedule import Urgency
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire.encoding import BPICKLE
from fieldpost.wire.local import EXCHANGE_DONE
from tests.broker.fakes import FailingWriter, HeldWriter, Rig, ScriptedTransport, result_of
from tests.broker.landscape.scene import CAPTURES
from tests.broker.store.stores import clock_at, open_store
from tests.fakes import InlineWriter

INTERVAL = 30.0


def said(value: Any, status: int = 200, body: bytes | None = None) -> Answer:
    octets = BPICKLE.encode(value) if body is None else body
    return Answer(status=status, phrase="Fine", headers=Headers(), body=octets, whole=True)


class Post:
    """Answers by its script, and then that nothing waits."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.letters: list[Letter] = []
        self.is_stopped = False

    async def post(self, letter: Letter) -> Answer:
        self.letters.append(letter)
        line = self.script.pop(0) if self.script else said({"messages": False})
        if isinstance(line, Exception):
            raise line
        answer: Answer = await line if isinstance(line, Deferred) else line
        return answer

    async def stop(self) -> None:
        self.is_stopped = True


class Scene:
    """A registered broker that pings."""

    def __init__(self, *script: Any, insecure_id: int | None = 7, writer: Any = None) -> None:
        self.writer: Any = writer or InlineWriter()
        self.clock = clock_at()
        self.store = open_store(clock=self.clock)
        self.store.set_identity(secure_id=b"id", insecure_id=insecure_id)
        self.rig = Rig.build(ScriptedTransport(), clock=self.clock, store=self.store)
        self.post = Post(*script)
        self.asked: list[Urgency] = []
        self.ping = Ping(
            poster=self.post,
            store=self.store,
            writer=self.writer,
            bus=self.rig.bus,
            ask=self.asked.append,
            clock=self.clock,
            now=self.clock.seconds,
            random=Random(1),
            interval=INTERVAL,
        )
        self.ping.start()

    def first(self) -> None:
        """Let the first ping go, on the dot."""
        self.clock.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())

    def pass_time(self, seconds: float) -> int:
        """How many pings went meanwhile."""
        before = len(self.post.letters)
        for _ in range(int(seconds)):
            self.clock.advance(1)
        return len(self.post.letters) - before


def test_the_number_is_shown_and_nothing_else() -> None:
    """The secure id is no business of this request, which may be read on the way."""
    scene = Scene()
    scene.first()

    (letter,) = scene.post.letters
    assert letter.body == b"insecure_id=7"
    assert list(letter.headers) == ["Accept", "Accept-Encoding", "Content-Type"]


def test_goes_at_the_interval() -> None:
    """The first one at a random moment of it."""
    scene = Scene()
    first = scene.clock.getDelayedCalls()[0].getTime() - scene.clock.seconds()
    scene.first()

    assert 0 <= first <= INTERVAL
    assert scene.pass_time(10 * INTERVAL) == 10
    assert scene.ping.status.interval == INTERVAL


def test_waiting_messages_bring_an_exchange_at_once() -> None:
    """Once per ping; also when the server has more to say than that."""
    scene = Scene(said({"messages": True}), said({"messages": True, "more": 1}), said({"messages": False}))
    scene.first()
    scene.pass_time(2 * INTERVAL)

    assert scene.asked == [Urgency.AT_ONCE] * 2


@pytest.mark.parametrize("insecure_id", [None])
def test_without_a_number_there_is_nothing_to_ask(insecure_id: int | None) -> None:
    """It begins when there is one."""
    scene = Scene(insecure_id=insecure_id)
    scene.first()
    assert scene.pass_time(3 * INTERVAL) == 0

    scene.store.set_identity(secure_id=b"id", insecure_id=7)

    assert scene.pass_time(INTERVAL) == 1


def test_the_server_sets_the_interval() -> None:
    """It is kept, and counts from the exchange that brought it."""
    scene = Scene()
    scene.first()
    scene.store.set_intervals(exchange=None, urgent_exchange=None, ping=5)

    result_of(Deferred.fromCoroutine(scene.rig.bus.fire(EXCHANGE_DONE, ok=True, received=1)))

    assert scene.pass_time(50) == 10
    assert Scene().ping.status.interval == INTERVAL


def test_a_message_that_came_restarts_the_interval() -> None:
    """What the server had to say it has said; an exchange without messages changes nothing."""
    scene = Scene()
    scene.first()
    scene.pass_time(20)
    result_of(Deferred.fromCoroutine(scene.rig.bus.fire(EXCHANGE_DONE, ok=True, received=0)))
    assert scene.pass_time(10) == 1
    scene.pass_time(20)

    result_of(Deferred.fromCoroutine(scene.rig.bus.fire(EXCHANGE_DONE, ok=True, received=3)))

    assert scene.pass_time(29) == 0
    assert scene.pass_time(1) == 1


WRONG: list[tuple[Any, str]] = [
    (PostFailed("nobody is there; look"), "nobody is there; look"),
    (said(None, status=404), "the answer is 404 Fine; check `ping-url`"),
    (said(None, body=b"<html>"), "starts no value"),
    (said(None, body=b""), "cut after 0 octets"),
    (said([]), "is no answer to a ping; check `ping-url`"),
    (said({}), "is no answer to a ping; check `ping-url`"),
    (said({"messages": 1}), "is no answer to a ping"),
    (said({"messages": "x" * 5_000}), "more than the 4096"),
    (said(None, body=b"l" * 4_000), "more than 4 deep"),
]


@pytest.mark.parametrize(("wrong", "cause"), WRONG, ids=lambda part: part if isinstance(part, str) else "")
def test_a_ping_that_fails_says_why(wrong: Any, cause: str) -> None:
    """In the log, once, and in the status; and when it is over."""
    scene = Scene(wrong, wrong)
    with capturedLogs() as logs:
        scene.first()
        scene.pass_time(3 * INTERVAL)
        assert cause in str(scene.ping.status.failing)
        scene.pass_time(10 * INTERVAL)

    assert scene.ping.status.failing is None
    told = [log["log_format"] for log in logs if "pinged" in log["log_format"]]
    assert told == ["the server cannot be pinged: {cause}", "the server can be pinged again"]
    assert scene.asked == []


CAPTURED = (CAPTURES / "03-ping.rsp").read_bytes()
SPOILT = [CAPTURED[:end] for end in range(len(CAPTURED))] + [
    bytes([*CAPTURED[:place], CAPTURED[place] ^ mask, *CAPTURED[place + 1 :]])
    for place in range(len(CAPTURED))
    for mask in (0x01, 0x20, 0xFF)
]


@pytest.mark.parametrize("body", SPOILT, ids=repr)
def test_an_answer_that_is_cut_or_garbled(body: bytes) -> None:
    """It fails with its cause, or says yes or no; and the next ping goes."""
    scene = Scene(said(None, body=body))
    scene.first()
    failing = scene.ping.status.failing

    assert scene.pass_time(3 * INTERVAL) >= 1
    assert scene.ping.status.failing is None
    assert (failing is None) == (body in (CAPTURED.replace(b"b0", b"b1"), CAPTURED))
    assert bool(scene.asked) == (failing is None)


def test_failing_pings_become_rare() -> None:
    """A server that is in trouble is not asked every half minute by all."""
    scene = Scene(*[PostFailed("away")] * 1_000)
    scene.first()

    assert scene.pass_time(3_600) < 12
    assert scene.pass_time(16 * INTERVAL * 5) == 5


def test_a_mistake_of_ours_does_not_end_the_pings() -> None:
    """It is logged, and the next ping goes."""
    scene = Scene(fail(ZeroDivisionError()))
    scene.first()

    assert scene.pass_time(2 * INTERVAL) >= 1
    assert len(scene.post.letters) >= 2


def test_a_store_that_cannot_be_read_is_a_failure() -> None:
    """It passes; an exchange meanwhile changes nothing about the next ping."""
    scene = Scene(writer=FailingWriter())
    scene.writer.failures = [DatabaseFull("no room")]
    scene.first()
    assert scene.ping.status.failing == "no room"
    scene.writer.failures = [DatabaseFull("no room")]

    result_of(Deferred.fromCoroutine(scene.rig.bus.fire(EXCHANGE_DONE, ok=True, received=1)))

    assert scene.pass_time(INTERVAL) == 1
    assert scene.ping.status.failing is None


def test_an_exchange_may_end_after_the_stop() -> None:
    """No ping is planned again then."""
    scene = Scene(writer=HeldWriter())
    scene.writer.is_held = True
    done = Deferred.fromCoroutine(scene.rig.bus.fire(EXCHANGE_DONE, ok=True, received=1))
    result_of(Deferred.fromCoroutine(scene.ping.stop()))

    scene.writer.release()

    assert done.called
    assert scene.clock.getDelayedCalls() == []


def test_stop_ends_them() -> None:
    """The one under way as well."""
    ended: list[str] = []
    waiting: Deferred[Answer] = Deferred(lambda _: ended.append("cancelled"))
    scene = Scene(waiting)
    scene.first()

    result_of(Deferred.fromCoroutine(scene.ping.stop()))

    assert (ended, scene.post.is_stopped) == (["cancelled"], True)
    assert scene.pass_time(10 * INTERVAL) == 0
    assert scene.clock.getDelayedCalls() == []


def test_stop_before_the_first() -> None:
    """Nothing is left on the clock."""
    scene = Scene()

    result_of(Deferred.fromCoroutine(scene.ping.stop()))

    assert scene.clock.getDelayedCalls() == []
    assert succeed(scene.post.letters).result == []
