"""
What the broker sends to a Landscape server, octet by octet: the recorded requests of Landscape's own client.

Each test brings the broker where the client was, by the answers that it got, and compares everything but version and times.
"""

from fieldpost.broker.store.records import NewMessage
from fieldpost.wire import cbor
from fieldpost.wire.local import DONE, Outcome
from tests.broker.landscape.scene import (
    TRAVEL,
    Scene,
    Script,
    answer,
    expecting,
    request,
    substituted,
    with_token,
)
from tests.broker.store.stores import add

IDLE = answer("04-registered-idle")


def same(sent: bytes, name: str) -> None:
    assert substituted(sent) == substituted(request(name))


def registered(*more: bytes, token: int = 2) -> Scene:
    """A broker that has an identity, has had an exchange with it, and has this token."""
    first = (answer("01-first-contact"), answer("02-register"), with_token(IDLE, token))
    scene = Scene(Script(*first, *more))
    for _ in first:
        scene.exchange()
    return scene


def text(number: int) -> NewMessage:
    """What the captures' plugin sent."""
    body = cbor.encode({"type": "text-message", "message": "x" * 10})
    return NewMessage(type="text-message", body=body, timestamp=1_795_262_395 + number)


def test_01_first_contact_and_02_register() -> None:
    """The second exchange comes by itself, at once, as soon as the server takes registrations."""
    scene = Scene(Script(answer("01-first-contact"), answer("02-register"), IDLE))

    scene.exchange()
    scene.exchange()

    same(scene.server.requests[0], "01-first-contact")
    same(scene.server.requests[1], "02-register")


def test_03_ping() -> None:
    """It shows the public number alone."""
    scene = registered()
    scene.server.reply = Script(answer("03-ping"))

    scene.ping.start()
    scene.clock.advance(30)
    scene.clock.advance(TRAVEL)

    same(scene.last, "03-ping")
    assert scene.ping.status.pings == 1


def test_04_idle() -> None:
    """Identity and token are shown; the types that we take are not, since the server has them."""
    scene = registered()

    same(scene.last, "04-registered-idle")
    assert scene.rig.record.failures == 0


def test_05_operation_result() -> None:
    """A plugin carries an operation out, and its result goes in the next exchange."""
    scene = registered(answer("05-operation-request"), IDLE, token=4)
    scene.plugin.answers = lambda _: Outcome(status=DONE, result_text="done")
    scene.rig.delivery.register(("frobnicate",), scene.plugin.name, scene.plugin.deliver)
    scene.exchange()

    scene.exchange()

    same(scene.last, "05-operation-result")


def test_06_register_after_clone() -> None:
    """Without id and token, at once, and it says which id it had."""
    scene = registered(answer("06-unknown-id-clone"), answer("02-register"))
    scene.exchange()
    scene.exchange()

    same(scene.last, "06-register-after-clone")


def test_07_batch_before_and_after_a_kill() -> None:
    """The same messages under the same numbers; without a token, which has been shown, and with the types that we take."""
    scene = registered(token=3)
    add(scene.store, text(0), text(0), text(1))
    scene.server.reply = lambda _: b""
    scene.rig.exchange.run()
    scene.clock.advance(TRAVEL)
    before = scene.last

    scene.kill()
    scene.rig.exchange.run()
    scene.clock.advance(TRAVEL)

    same(before, "07-batch-before-kill")
    same(scene.last, "07-batch-resent-after-kill")


def test_08_resynchronize_after_ancient() -> None:
    """What is left is sent again from the number that the server named, the registration too; then that all is told anew."""
    scene = registered(with_token(expecting(IDLE, -5), 8), IDLE)
    scene.exchange()

    scene.exchange()

    same(scene.last, "08-resync-after-ancient")


def test_compared_is_all_but_version_and_times() -> None:
    """The comparison would see another header, another spelling, another order, another field."""
    sent = request("02-register")
    for other in (
        sent.replace(b"X-Message-API", b"X-Message-Api"),
        sent.replace(b"Accept: */*\r\n", b""),
        sent.replace(b"u7:box-one", b"s7:box-one"),
    ):
        assert substituted(other) != substituted(sent)
