"""
Answers of a Landscape server that are cut or garbled, at every octet.

Either the exchange fails, says why, and has changed nothing; or what came is a whole answer of another content, and then nothing
breaks over it. Then the next exchange works, and what was sent before is sent again.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from attrs import evolve
from twisted.logger import LogLevel, capturedLogs

from fieldpost.broker.status import Exchanged, Failed
from fieldpost.wire.cbor import DEFAULT_LIMITS
from fieldpost.wire.encoding import BPICKLE
from tests.broker.landscape.scene import Scene, Script, answer, http, payload, well
from tests.broker.landscape.test_captures import registered, text
from tests.broker.store.stores import add


def _fresh() -> Scene:
    return Scene(Script())


def _contacted() -> Scene:
    scene = Scene(Script(answer("01-first-contact"), answer("01-first-contact")))
    scene.exchange()
    scene.exchange()
    return scene


def _registered() -> Scene:
    scene = registered()
    add(scene.store, text(0), text(1))
    return scene


STAGES: dict[str, Callable[[], Scene]] = {
    "01-first-contact": _fresh,
    "02-register": _contacted,
    "04-registered-idle": _registered,
    "05-operation-request": _registered,
    "06-unknown-id-clone": _registered,
}
"""Each answer, and a broker that is waiting for it."""
every_answer = pytest.mark.parametrize("name", STAGES)


def fails(scene: Scene) -> str:
    """One exchange, which fails and changes nothing; the cause that the status names."""
    before = evolve(scene.store.state(), client_types_hash=None)
    failed = scene.exchange()
    assert isinstance(failed, Failed)
    assert evolve(scene.store.state(), client_types_hash=None) == before
    cause: str = scene.rig.report()["exchange"]["last-failure"]["cause"]
    assert cause == failed.cause
    assert "the agent broke" not in cause
    return cause


def recovers(scene: Scene) -> None:
    """The next exchange works, and sends what there is to send."""
    scene.server.reply, scene.server.closes = well, False
    assert isinstance(scene.exchange(), Exchanged)
    for _ in range(3):
        scene.exchange()
    assert scene.store.status().pending == 0


def sent(scene: Scene) -> list[object]:
    """The texts in the last request."""
    return [message["message"] for message in payload(scene.last)["messages"] if "message" in message]


@every_answer
def test_a_body_that_is_cut_at_any_octet_fails_the_exchange(name: str) -> None:
    """Nothing of it is taken; the same goes again, until an answer is whole."""
    scene, body = STAGES[name](), answer(name)
    expected = ["x" * 10] * 2 if STAGES[name] is _registered else []

    for end in range(len(body)):
        scene.server.reply = lambda _, end=end: http(body[:end])  # type: ignore[misc]
        assert "cannot be used" in fails(scene)
        assert sent(scene) == expected

    recovers(scene)


@every_answer
def test_an_answer_that_is_cut_on_the_way_fails_the_exchange(name: str) -> None:
    """At every octet of head and body."""
    scene, octets = STAGES[name](), http(answer(name))
    scene.server.closes = True

    for end in range(len(octets)):
        scene.server.reply = lambda _, end=end: octets[:end]  # type: ignore[misc]
        fails(scene)

    recovers(scene)


@every_answer
@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_a_flipped_octet_breaks_nothing(name: str, mask: int) -> None:
    """Most are seen, and fail the exchange. The others make another answer, which is taken for what it is."""
    body, failed = answer(name), 0
    scene = STAGES[name]()
    with capturedLogs() as logs:
        for place in range(len(body)):
            flipped = bytes([*body[:place], body[place] ^ mask, *body[place + 1 :]])
            before = scene.store.state()
            scene.server.reply = lambda _, flipped=flipped: http(flipped)  # type: ignore[misc]
            if isinstance(result := scene.exchange(), Failed):
                failed += 1
                assert "the agent broke" not in result.cause
                assert scene.store.state() == before
                continue
            recovers(scene)
            scene = STAGES[name]()

    recovers(scene)
    assert failed > len(body) / 4
    assert [log for log in logs if log["log_level"] >= LogLevel.error] == []


@every_answer
@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_a_flipped_octet_of_the_head_breaks_nothing(name: str, mask: int) -> None:
    """A head of another meaning is a failed exchange, or one that says the same: nothing is taken that was not said."""
    octets = http(answer(name))
    length = len(octets) - len(answer(name))
    failed, scene = 0, STAGES[name]()
    with capturedLogs() as logs:
        for place in range(length):
            flipped = bytes([*octets[:place], octets[place] ^ mask, *octets[place + 1 :]])
            before = scene.store.state()
            scene.server.reply, scene.server.closes = lambda _, flipped=flipped: flipped, True  # type: ignore[misc]
            if isinstance(result := scene.exchange(), Failed):
                failed += 1
                assert result.cause
                assert "the agent broke" not in result.cause
                assert scene.store.state() == before
                continue
            recovers(scene)
            scene = STAGES[name]()

    recovers(scene)
    assert failed > length / 8
    assert [log for log in logs if log["log_level"] >= LogLevel.error] == []


WRONG: list[Any] = [
    None,
    True,
    -1,
    2**62,
    2**70,
    -(2**70),
    0.5,
    "x",
    b"x",
    [],
    {},
    [[]],
    {"a": b"b"},
    b"\xff",
    "",
]


def replacements(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer with one field of it, or of a message of it, missing or replaced by something else."""
    for key in said:
        yield {name: value for name, value in said.items() if name != key}
        yield from ({**said, key: wrong} for wrong in WRONG)
    for index, message in enumerate(said["messages"]):
        for key in message:
            rest = {name: value for name, value in message.items() if name != key}
            for changed in (rest, *({**message, key: wrong} for wrong in WRONG)):
                yield {
                    **said,
                    "messages": [*said["messages"][:index], changed, *said["messages"][index + 1 :]],
                }
    yield from ({**said, "messages": [wrong, *said["messages"]]} for wrong in WRONG)


@every_answer
def test_something_else_in_each_field_breaks_nothing(name: str) -> None:
    """Null, numbers of any size, lists and maps: a failed exchange that changed nothing, or something that can be taken."""
    said: Any = BPICKLE.decode(answer(name), DEFAULT_LIMITS)
    failed, scene = 0, STAGES[name]()
    with capturedLogs() as logs:
        for changed in replacements(said):
            before = scene.store.state()
            scene.server.reply = lambda _, changed=changed: http(BPICKLE.encode(changed))  # type: ignore[misc]
            if isinstance(result := scene.exchange(), Failed):
                failed += 1
                assert "the agent broke" not in result.cause, changed
                assert scene.store.state() == before, changed
                continue
            recovers(scene)
            scene = STAGES[name]()

    recovers(scene)
    assert failed > len(WRONG)
    assert [log for log in logs if log["log_level"] >= LogLevel.error] == []


def test_all_answers_are_there() -> None:
    """Those of the captures that are answers to a broker's exchange."""
    assert [name for name in chain(STAGES) if b"server-uuid" not in answer(name)] == []
