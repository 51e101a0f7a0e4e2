"""What an application sees of broker and server, by session, by session with TLS inside, and by POST: the same."""

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport

from fieldpost.broker.carriage.transport import Answered, Refused
from fieldpost.runtime.database import DatabaseFull
from fieldpost.server.errors import Refused as ServerRefused
from fieldpost.server.outgoing import Window
from fieldpost.server.parcel import ParcelLimits
from fieldpost.wire.local import ACCEPTANCE_CHANGED, REGISTRATION_FAILED, RESYNCHRONIZE_CLIENTS
from tests.broker.fakes import result_of
from tests.broker.store.stores import ids, open_store
from tests.carriers.world import CARRIERS, INSIDE, POST, Agent, Terrain, World

Make = Callable[..., World]


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> str:
    """How octets travel."""
    found: str = request.param
    return found


@pytest.fixture
def make(carrier: str) -> Iterator[Make]:
    """Makes worlds in which octets travel this way, and looks afterwards whether they did."""
    worlds: list[World] = []

    def make(**terrain: Any) -> World:
        worlds.append(World(Terrain(carrier=carrier, **terrain)))
        return worlds[-1]

    yield make
    for world in worlds:
        went_by_session = len(world.agent.transport.requests) - world.agent.post.count
        assert (went_by_session > 0) == (carrier != POST), went_by_session
        world.close()


@pytest.fixture
def world(make: Make) -> World:
    """A machine that is known, and has the carrier that it is to have."""
    return make().settle_in()


def requests(world: World, since: int = 0) -> list[list[Any]]:
    """The messages of each payload, by `value` or else by type."""
    return [
        [message.get("value", message["type"]) for message in request.payload.messages]
        for request in world.agent.transport.requests[since:]
    ]


def refusals(world: World) -> list[int]:
    """The statuses with which the server refused."""
    return [reply.status for reply in world.agent.transport.replies if isinstance(reply, Refused)]


def ask_of_computer(world: World, **body: Any) -> None:
    """The operator acts on the computer."""
    reply = world.server.api("POST", "/computers/1", body)
    assert reply.status < 300, reply


# The carriers themselves


def test_the_way(world: World, carrier: str) -> None:
    """They are what they are called."""
    sockets = [pipe.server for pipe in world.network.open]

    assert any(ISSLTransport.providedBy(socket) for socket in sockets) == (carrier == INSIDE)
    assert world.agent.is_live == (carrier != POST)
    assert bool(world.server.computers()[0]["session"]) == (carrier != POST)


# Becoming known


def test_first_contact(make: Make) -> None:
    """A machine without identity hears what the server takes, and sends nothing else."""
    world = make(account="closed")
    world.agent.report(1)

    world.until(lambda: world.agent.store.state().accepted_types)
    first = world.agent.transport.requests[0]

    assert (first.secure_id, first.payload.messages) == (None, ())
    assert world.agent.store.state().accepted_types == ("register",)


def test_accepted_at_once(make: Make) -> None:
    """With the right key at an open door it is through within a moment, and what it had to say is there."""
    world = make()
    world.agent.report(1, 2)

    world.until(lambda: world.agent.transport.requests)
    world.run(10.0)

    assert world.agent.rig.report()["registration"]["is-registered"]
    assert world.server.values("load") == [1, 2]
    assert len(world.server.computers()) == 1
    world.settle_in()


def test_pending_then_approved(make: Make) -> None:
    """It waits until the operator has decided; then it is known, under the number that the operator saw."""
    world = make(account="closed")
    world.agent.report(1)
    world.until(world.server.computers)
    world.run(3_600.0)
    assert world.server.computers()[0]["status"] == "pending"
    assert not world.agent.rig.report()["registration"]["is-registered"]
    assert world.server.values("load") == []

    ask_of_computer(world, action="approve")
    world.until(lambda: world.server.values("load"), within=1_000.0)

    assert world.agent.rig.report()["registration"]["insecure-id"] == 1
    world.settle_in()


def test_wrong_key(make: Make) -> None:
    """Who has the wrong key is told so, and the machine says why to whoever looks; what it has to send is kept."""
    world = make(key="wrong")
    world.agent.report(1)

    world.until(lambda: REGISTRATION_FAILED in world.agent.seen)
    registration = world.agent.rig.report()["registration"]

    assert "unknown-account" in registration["cause"]
    assert world.server.computers() == []
    assert world.agent.store.status().pending + world.agent.store.status().held == 1


# Messages


def test_in_order(world: World) -> None:
    """What a plugin sends, bit by bit, arrives once and in its order."""
    for start in range(0, 300, 60):
        world.agent.report(*range(start, start + 60))
        world.agent.report(*range(start, start + 60), type="disk")
        world.run(7.0)

    world.until(lambda: len(world.server.values("disk")) == 300)

    assert world.server.values("load") == world.server.values("disk") == list(range(300))
    assert [row[0] for row in world.database.execute("SELECT number FROM message")] == list(range(1, 601))


def test_held_and_released(make: Make) -> None:
    """A type that the server does not take stays here, and goes in its order when the server takes it."""
    world = make(types=("load",)).settle_in()
    world.agent.report(1, 2, type="disk")
    world.agent.report(3)
    world.until(lambda: world.server.values("load") == [3])
    assert world.agent.store.status().held == 2

    world.kill_server()
    world.terrain.types = ("load", "disk")
    world.open_server()
    world.until(lambda: world.server.values("disk"), within=2_000.0)

    assert world.server.values("disk") == [1, 2]
    changes = world.agent.rig.heard(ACCEPTANCE_CHANGED)
    assert {"type": "disk", "accepted": True} in changes


def test_no_longer_taken(make: Make) -> None:
    """And back: what is not wanted any more is kept."""
    world = make().settle_in()

    world.kill_server()
    world.terrain.types = ("disk",)
    world.open_server()
    world.until(lambda: "load" not in world.agent.store.state().accepted_types, within=2_000.0)
    world.agent.report(1)
    world.run(200.0)

    assert world.server.values("load") == []
    assert world.agent.store.status().held == 1


def test_split(make: Make) -> None:
    """More than the server takes in one payload goes in several."""
    world = make(parcel=ParcelLimits(messages=7)).settle_in()

    world.agent.report(*range(50))
    world.until(lambda: len(world.server.values("load")) == 50)

    assert world.server.values("load") == list(range(50))
    assert set(refusals(world)) == {413}
    assert world.agent.store.dead_letters(10) == []


@pytest.mark.parametrize("limit", [10_000, 40_000])
def test_too_many_octets(make: Make, limit: int) -> None:
    """The same when it is the octets that are too many, and many times too many."""
    world = make(parcel=ParcelLimits(octets=limit)).settle_in()

    world.agent.report(*range(40), octets=limit // 4)
    world.until(lambda: len(world.server.values("load")) == 40)

    assert world.server.values("load") == list(range(40))
    assert set(refusals(world)) == {413}
    assert world.agent.store.dead_letters(10) == []


@pytest.mark.parametrize("status", [413, 422, 400])
def test_poison(make: Make, status: int) -> None:
    """A message that the server cannot take is set aside with its reason and leaves a receipt; the others go on."""
    world = make().settle_in()
    _refuse(world, status, lambda payload: any(message.get("value") == 3 for message in payload.messages))

    world.agent.report(*range(8))
    world.until(lambda: len(world.server.values("load")) == 7, within=2_000.0)
    world.run(200.0)

    (letter,) = world.agent.store.dead_letters(10)
    assert str(status) in letter.reason
    assert world.server.values("load") == [0, 1, 2, 4, 5, 6, 7]
    (receipt,) = [message for message in world.server.stored() if message["type"] == "receipt"]
    assert (receipt["reason"], receipt["message-type"], receipt["count"]) == ("poison", "load", 1)


def _refuse(world: World, status: int, refuses: Callable[[Any], bool]) -> None:
    """Let the server have a rule of its own about payloads."""
    intake = world.server.server.desk.intake
    opens = intake.open

    async def open(envelope: Any) -> Any:
        parcel = await opens(envelope)
        if refuses(parcel.payload):
            raise ServerRefused(status, "this server does not like it", "send something else")
        return parcel

    intake.open = open  # type: ignore[method-assign]


def test_busy(world: World) -> None:
    """A server that cannot store anything says when to come back, is left alone for so long, and gets all then."""
    world.server.writer.trouble = DatabaseFull("the disk is full")
    world.agent.report(1, 2)
    world.until(lambda: refusals(world))
    (reply,) = [reply for reply in world.agent.transport.replies if isinstance(reply, Refused)]
    before = len(world.agent.transport.requests)
    world.run((reply.retry_after or 0.0) - 1.0)
    assert len(world.agent.transport.requests) == before

    world.server.writer.trouble = None
    world.until(lambda: world.server.values("load"), within=1_000.0)

    assert (reply.status, (reply.retry_after or 0.0) >= 10.0) == (503, True)
    assert world.server.values("load") == [1, 2]


def test_backlog(make: Make) -> None:
    """
    A backlog drains at once: several payloads together where the carrier can, one after the other where not.

    Of those together only the first shows the token and is told news.
    """
    world = make(messages=20).settle_in()
    before = len(world.agent.transport.requests)

    world.agent.report(*range(1_000))
    world.until(lambda: len(world.server.values("load")) == 1_000)
    took = world.agent.transport.requests[before:]

    assert world.server.values("load") == list(range(1_000))
    assert (world.agent.transport.most_together > 1) == world.agent.is_live
    assert any(request.follows for request in took) == world.agent.is_live
    assert all((request.token is None) == request.follows for request in took)
    tokens = [request.token for request in took if request.token]
    assert len(set(tokens)) == len(tokens)


def test_small_behind_large(make: Make) -> None:
    """A small payload does not overtake the large one ahead of it, which would have it come again."""
    world = make(messages=20).settle_in()
    told = len(world.agent.rig.heard(RESYNCHRONIZE_CLIENTS))
    before = len(world.agent.transport.requests)

    for start in range(0, 400, 20):
        large = world.random.random() < 0.5
        world.agent.report(*range(start, start + 20), octets=5_000 if large else 0)
    world.until(lambda: len(world.server.values("load")) >= 400)
    world.run(60.0)

    assert world.server.values("load") == list(range(400))
    took = [request.payload for request in world.agent.transport.requests[before:]]
    assert sum(len(payload.messages) for payload in took) == 400
    assert len(world.agent.rig.heard(RESYNCHRONIZE_CLIENTS)) == told


def test_quiet(make: Make) -> None:
    """What follows is acknowledged and no more: messages of the server come with the first answer, each once."""
    world = make(messages=5, window=Window(messages=2)).settle_in()
    before = len(world.agent.transport.replies)

    world.agent.report(*range(100))
    operations = [world.server.operate("echo", word=str(number)) for number in range(10)]
    world.until(lambda: world.server.operation(operations[-1])["status"] == "succeeded")
    pairs = zip(world.agent.transport.requests[before:], world.agent.transport.replies[before:], strict=False)
    followers = [reply for request, reply in pairs if request.follows]

    assert bool(followers) == world.agent.is_live
    assert not any(isinstance(reply, Answered) and reply.payload.messages for reply in followers)
    assert world.carried_out == operations
    world.until(lambda: len(world.server.values("load")) == 100)


# Operations


def test_operations(world: World) -> None:
    """Each reaches the plugin once, in order, and its one result the operator, with what the plugin said."""
    operations = [world.server.operate("echo", word=str(number)) for number in range(25)]

    world.until(lambda: world.server.operation(operations[-1])["status"] == "succeeded")

    assert world.carried_out == operations
    assert [world.server.operation(id)["result-text"] for id in operations] == [str(n) for n in range(25)]
    results = [m["operation-id"] for m in world.server.stored() if m["type"] == "operation-result"]
    assert results == operations


def test_woken(world: World) -> None:
    """An operation is fetched as soon as it is asked for, though the next exchange would be long in coming."""
    world.run(120.0)
    before = world.clock.seconds()

    world.server.operate("echo", word="now")
    world.until(lambda: world.carried_out)

    assert world.clock.seconds() - before < 2.0


def test_nobody_takes_it(world: World) -> None:
    """An operation of a type that no plugin takes fails, and says so."""
    id = world.server.operate("nonsense")

    world.until(lambda: world.server.operation(id)["status"] == "failed")

    assert "no plugin handles nonsense" in world.server.operation(id)["result-text"]


@pytest.mark.parametrize("scopes", [None, ["disk", "load"]])
def test_resynchronized(world: World, scopes: list[str] | None) -> None:
    """The server lost track, of everything or of some scopes: plugins hear of what, and their sessions end."""
    store = world.agent.store
    mine, other = store.open_session("plugin-1", "disk"), store.open_session("plugin-1", "users")
    asked = {} if scopes is None else {"scopes": scopes}

    ask_of_computer(world, action="resynchronize", **asked)
    heard = world.agent.rig.heard(RESYNCHRONIZE_CLIENTS)
    told = len(heard)
    world.until(lambda: len(world.agent.rig.heard(RESYNCHRONIZE_CLIENTS)) > told)
    world.until(lambda: any(message["type"] == "resynchronize" for message in world.server.stored()))

    assert world.agent.rig.heard(RESYNCHRONIZE_CLIENTS)[-1]["scopes"] == scopes
    assert store.open_session("plugin-1", "disk") != mine
    assert (store.open_session("plugin-1", "users") == other) == (scopes is not None)


def test_intervals(world: World) -> None:
    """The operator sets how often to exchange, and that holds from then on."""
    ask_of_computer(world, action="set-intervals", **{"exchange": 300, "urgent-exchange": 30})

    world.until(lambda: world.agent.rig.report()["exchange"]["interval"] == 300)
    world.run(400.0)
    left = world.agent.rig.until_next

    assert world.agent.rig.report()["exchange"]["urgent-interval"] == 30
    assert left is not None and left <= 300


# Identity


def test_forgotten(world: World) -> None:
    """A machine that the server does not know any more registers again, and tells all afresh."""
    world.agent.report(1)
    world.until(lambda: world.server.values("load"))
    old = world.agent.store.state().secure_id

    with world.database:
        world.database.execute("UPDATE computer SET secure_id = x'00', registration_id = 'gone'")
    world.agent.report(2)
    world.until(lambda: world.agent.store.state().secure_id not in (None, old), within=4_000.0)
    world.settle_in()
    world.until(lambda: world.server.values("load") == [1, 2], within=2_000.0)

    assert len(world.server.computers()) == 2
    assert RESYNCHRONIZE_CLIENTS in world.agent.seen


def test_clone(make: Make, tmp_path: Path) -> None:
    """A machine made from another's disk is found by its token, becomes one of its own, and neither loses anything."""
    world = make()
    original = _restart_from(world, tmp_path / "original.sqlite")
    world.settle_in()
    original.report(1, 2)
    world.until(lambda: world.server.values("load") == [1, 2])
    world.run(1.0)
    _copy(tmp_path / "original.sqlite", tmp_path / "copy.sqlite")
    original.report(3)
    world.until(lambda: world.server.values("load") == [1, 2, 3])
    world.run(1.0)

    copy = world.boot(
        open_store(str(tmp_path / "copy.sqlite"), clock=world.clock, new_id=ids("copy"), accept=None)
    )
    copy.report(100)
    world.until(lambda: 100 in world.server.values("load"), within=8_000.0)
    original.report(4)
    world.until(lambda: 4 in world.server.values("load"), within=8_000.0)

    first, second = (computer["id"] for computer in world.server.computers())
    assert world.server.values("load", first) == [1, 2, 3, 4]
    assert world.server.values("load", second) == [100]
    assert copy.store.state().secure_id != original.store.state().secure_id
    original.store.close()


def _restart_from(world: World, path: Path) -> Agent:
    """Let the machine have its store on a disk."""
    world.kill_broker()
    world.agent.store.close()
    return world.boot(open_store(str(path), clock=world.clock, accept=None))


def _copy(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


def test_restarts(world: World) -> None:
    """Either process may be killed and come back; nothing is lost, nothing doubled, and the token is no clone's."""
    world.agent.report(1)
    world.until(lambda: world.server.values("load") == [1])

    world.kill_broker()
    world.boot().report(2)
    world.settle_in()
    world.kill_server()
    world.run(20.0)
    world.open_server()
    world.agent.report(3)
    world.until(lambda: world.server.values("load") == [1, 2, 3], within=1_000.0)

    assert len(world.server.computers()) == 1


def test_goodbye(world: World) -> None:
    """A broker that is stopped says goodbye, waits for no notification, and the server knows it at once."""
    world.agent.hear("weather")
    world.run(1.0)
    stopped = Deferred.fromCoroutine(world.agent.stop())
    world.run(1.0)

    result_of(stopped)
    assert world.server.computers()[0]["session"] is None


def test_servers_goodbye(world: World) -> None:
    """A server that is stopped is through at once too, and what it was sent is in its database."""
    world.agent.report(1)
    world.until(lambda: world.server.values("load"))

    gone = world.server.endpoint.drain()
    world.run(1.0)

    result_of(gone)
    assert not world.agent.is_live


# Notifications


@pytest.mark.conformance("N23")
def test_notified(world: World) -> None:
    """A plugin hears what the operator publishes, in order, the newest at least; the same by either way."""
    world.agent.hear("weather")
    world.run(61.0)

    _publish(world, "weather", {"sky": "blue"})
    world.until(lambda: world.agent.heard)
    _publish(world, "weather", "rain")
    _publish(world, "weather", "snow")
    world.until(lambda: world.agent.heard[-1].value == "snow")

    values = [notice.value for notice in world.agent.heard]
    assert values in ([{"sky": "blue"}, "rain", "snow"], [{"sky": "blue"}, "snow"])
    numbers = [notice.seq for notice in world.agent.heard]
    assert numbers == sorted(set(numbers))


def test_notified_in_time(world: World) -> None:
    """It takes no longer than it must."""
    world.agent.hear("weather")
    world.run(61.0)
    begun = world.clock.seconds()

    _publish(world, "weather", "rain")
    world.until(lambda: world.agent.heard)

    assert world.clock.seconds() - begun < 2.0


def test_notified_behind_a_break(world: World) -> None:
    """What is published while there is no connection is heard when there is one again."""
    world.agent.hear("weather")
    world.run(61.0)
    _publish(world, "weather", 1)
    world.until(lambda: world.agent.heard)

    world.network.manners.refuses = True
    world.network.cut()
    world.run(10.0)
    _publish(world, "weather", 2)
    world.run(10.0)
    world.network.manners.refuses = False
    world.until(lambda: world.agent.heard[-1].value == 2, within=1_000.0)

    assert [notice.value for notice in world.agent.heard] == [1, 2]


def _publish(world: World, topic: str, value: Any) -> None:
    reply = world.server.api("POST", f"/topics/{topic}", {"value": value})
    assert reply.status < 300, reply


# What needs a session


def test_watched(world: World) -> None:
    """Where there is a session the operator sees what an operation writes while it runs; where not, that there is none."""
    id = world.server.operate("echo", word="long", pause=30)
    world.until(lambda: world.carried_out)

    _look(world, id)
    seen = _look(world, id)

    assert seen["status"] not in ("succeeded", "failed")
    if world.agent.is_live:
        assert (seen["output"], seen["live"]) == ("working on long\n", True)
        assert seen["progress"]
    else:
        assert (seen["output"], seen["live"]) == ("", False)
        assert "no session" in seen["trouble"]
    world.until(lambda: world.server.operation(id)["status"] == "succeeded")


def _look(world: World, id: int) -> dict[str, Any]:
    """What the API shows of an operation's output; it may hold its answer back a little."""
    channel, transport = world.server.connect()
    head = f"GET /api/v1/operations/{id}/output?after=0&wait=5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer api-secret\r\n\r\n"
    channel.dataReceived(head.encode())
    world.run(6.0)
    found: dict[str, Any] = json.loads(transport.value().partition(b"\r\n\r\n")[2])
    return found


def test_asked(world: World) -> None:
    """The same for the last lines of the log."""
    channel, transport = world.server.connect()
    body = b'{"command": "tail", "log": 5}'
    head = (
        "POST /api/v1/computers/1/ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer api-secret\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    channel.dataReceived(head.encode() + body)
    world.run(1.0)
    first, _, rest = transport.value().partition(b"\r\n")
    answer = json.loads(rest.partition(b"\r\n\r\n")[2])

    if world.agent.is_live:
        assert answer["output"] == "a line of the log\n"
    else:
        assert b" 409 " in first + b" "


def test_octets(world: World) -> None:
    """Octets, text, numbers and nothing arrive as what they are, in both directions."""
    value = [b"\x00\xff", "t\u00ebxt", -1, 2**60, 1.5, None, {"k": [True]}]
    world.agent.report(value)
    world.server.operate("echo", word={"octets": base64.b64encode(b"\x00\xfe").decode()})

    world.until(lambda: world.server.values("load") and world.carried_out)

    assert world.server.values("load") == [value]
