"""A Landscape server that writes octets where text is due, and the reverse, in every field of landscape 1.6."""

from typing import Any

import pytest

from fieldpost.broker.status import Exchanged
from fieldpost.wire.encoding import BPICKLE
from tests.broker.landscape.scene import Reply, Scene, http, payload

SECURE_ID, TOKEN = "SECURE-ID-0001", "00000000-0000-0000-0000-000000000001"


def octets(word: str) -> bytes:
    return word.encode()


def text(word: str) -> str:
    return word


def server(word: Any, *later: dict[str, Any], number: Any = 4242) -> Reply:
    """It registers whoever asks, and then has something to say; all its words are `word`'s, names of fields too."""
    waiting = list(later)

    def reply(request: bytes) -> bytes:
        asked = payload(request)
        types = [message["type"] for message in asked["messages"]]
        messages: list[dict[str, Any]] = []
        if b"X-Computer-ID" not in request and "register" not in types:
            messages = [{"type": word("accepted-types"), "types": [word("register")]}]
        elif "register" in types:
            accepted = [word(name) for name in ("register", "text-message", "operation-result")]
            messages = [
                {"type": word("set-id"), "id": word(SECURE_ID), "insecure-id": number},
                {"type": word("accepted-types"), "types": accepted},
            ]
        elif waiting:
            messages = [waiting.pop(0)]
        said = {
            "server-api": word("3.3"),
            "server-uuid": word("a-server"),
            "messages": [{word(key): value for key, value in message.items()} for message in messages],
            "next-expected-sequence": asked["sequence"] + len(asked["messages"]),
            "next-exchange-token": word(TOKEN),
        }
        return http(BPICKLE.encode({word(key): value for key, value in said.items()}))

    return reply


both = pytest.mark.parametrize("word", [octets, text])


@both
@pytest.mark.parametrize("number", [4242, "4242", b"4242"])
def test_registration_and_token(word: Any, number: Any) -> None:
    """The broker is registered, shows its identity and token, and knows the types."""
    scene = Scene(server(word, number=number))

    outcomes = [scene.exchange() for _ in range(4)]

    state = scene.store.state()
    assert all(isinstance(outcome, Exchanged) for outcome in outcomes)
    assert (state.secure_id, state.insecure_id) == (SECURE_ID.encode(), 4242)
    assert state.accepted_types == ("operation-result", "register", "text-message")
    assert f"X-Computer-ID: {SECURE_ID}\r\nX-Exchange-Token: {TOKEN}\r\n".encode() in scene.last
    assert scene.store.dead_letters(9) == []


@both
def test_refusal_of_a_registration(word: Any) -> None:
    """The reason reaches the status, whatever it is written as."""
    scene = Scene(server(word, {"type": word("registration"), "info": word("unknown-account")}))
    for _ in range(3):
        scene.exchange()

    assert scene.rig.heard("registration-failed")[0]["info"] == "unknown-account"


@both
def test_clone(word: Any) -> None:
    """The title of the other computer is shown as it is called."""
    scene = Scene(server(word, {"type": word("unknown-id"), "clone-of": word("box-zero")}))
    for _ in range(5):
        scene.exchange()

    (registration,) = [
        message
        for request in scene.server.requests
        for message in payload(request)["messages"]
        if "clone_secure_id" in message
    ]
    assert registration["clone_secure_id"] == SECURE_ID


@both
def test_operation(word: Any) -> None:
    """It reaches its plugin, and its result goes back."""
    scene = Scene(server(word, {"type": word("frobnicate"), "operation-id": 7}))
    scene.rig.delivery.register(("frobnicate",), scene.plugin.name, scene.plugin.deliver)
    for _ in range(5):
        scene.exchange()

    (result,) = results(scene)
    assert (result["type"], result["operation-id"], result["status"]) == ("operation-result", 7, 6)


def results(scene: Scene) -> list[dict[str, Any]]:
    """Of operations, as they were sent."""
    return [m for request in scene.server.requests for m in payload(request)["messages"] if "status" in m]


@pytest.mark.parametrize("id", ["7", b"7", None, True, 2**70, 7.0, [7]])
def test_an_operation_whose_id_is_none_stops_nothing(id: Any) -> None:
    """It is dealt with or set aside; what comes behind it arrives."""
    odd, good = {"type": "frobnicate", "operation-id": id}, {"type": "frobnicate", "operation-id": 8}
    scene = Scene(server(text, odd, good))
    scene.rig.delivery.register(("frobnicate",), scene.plugin.name, scene.plugin.deliver)
    outcomes = [scene.exchange() for _ in range(7)]

    assert all(isinstance(outcome, Exchanged) for outcome in outcomes)
    assert 8 in [result["operation-id"] for result in results(scene)]
