"""What agents can make the server hold, and what they leave behind when they are gone."""

from contextlib import suppress
from typing import Any

from twisted.logger import capturedLogs

from fieldpost.wire.errors import LocalProtocolError
from tests.server.session.visiting import Agent, Hosting, registered
from tests.server.wired import HeldWriter, WiredServer, client_payload

ROOM = 8 * 30_000_000
PIECE = 1_000_000


def free(hosting: Hosting) -> int:
    return hosting.wired.server.desk.room._free


def begin_upload(agent: Agent, octets: int) -> int:
    """An exchange whose data come, and do not end."""
    now = agent.hosting.clock.seconds()
    request = agent.session.request(b"exchange", {}, has_data=True, now=now)
    with suppress(LocalProtocolError):  # it was refused
        for _ in range(octets // PIECE):
            agent.session.send_data(request, bytes(PIECE), end=False)
            agent.line.wake()
            agent.hosting.run()
    return request


def test_uploads_that_do_not_end() -> None:
    """What has come of them takes of the room that all sessions share, until it is given up; who finds none hears so."""
    hosting = Hosting()
    one, other = registered(hosting), registered(hosting, "r-2")
    begin_upload(one, 20_000_000)
    begin_upload(one, 5_000_000)
    assert ROOM - 25_000_000 - free(hosting) in range(100_000)

    with hosting.wired.server.desk.room.taken(free(hosting) - 50_000):
        error = other.exchange(client_payload(sequence=1, messages=[{"type": "a", "text": "x" * 90_000}]))
    assert (error.code, error.details) == ("unavailable", {"status": 503, "retry_after": 30})

    one.hang_up()
    assert free(hosting) == ROOM
    assert other.exchange(client_payload(sequence=1, messages=[{"type": "a"}])).next_expected_sequence == 2


def test_uploads_of_strangers() -> None:
    """All agents without identity together cannot take the room of those who have one."""
    hosting = Hosting()

    strangers = [hosting.agent() for _ in range(5)]
    for stranger in strangers:
        begin_upload(stranger, 10_000_000)

    assert ROOM - free(hosting) <= 5 * 256 * 1024
    assert ROOM * 3 / 4 > 500 * 256 * 1024


def test_answers_of_agents() -> None:
    """An agent's answer is kept up to a bound that no agent of ours comes near."""
    agent = registered(hosting := Hosting(), handlers={"ping-plugin": lambda asked: [bytes(900_000)] * 9})
    entry = hosting.wired.server.registry.find(1)
    assert entry is not None and agent.is_open

    found: list[Any] = []
    entry.line.call("ping-plugin", {"plugin": "x"}).addBoth(found.append)
    hosting.run()

    assert found[0].value.code == "too-large"


def test_nothing_stays() -> None:
    """After many sessions of all kinds there are no timers, subscriptions, locks or sessions that there were not before."""
    hosting = Hosting()
    names = {name: hosting.wired.register(name) for name in ("r-1", "r-2", "r-3")}
    timers, connections = len(hosting.clock.getDelayedCalls()), hosting.doors.site.connections

    for turn in range(30):
        for number, secret in enumerate(names.values(), 1):
            agent = hosting.agent(
                id=f"a:{number}", secret=secret, incarnation=b"%08d" % (turn // 20), attempt=turn
            )
            assert agent.is_open, agent.ending
            agent.subscribe("messages", "weather")
            begin_upload(agent, PIECE)
            agent.peer.close("done") if turn % 2 else agent.hang_up()
            hosting.run()
            agent.hang_up()
        hosting.agent().hang_up()
    hosting.advance(10)
    hosting.agents.clear()

    server = hosting.wired.server
    assert len(hosting.clock.getDelayedCalls()) == timers
    assert (len(server.registry), server.registry._locks, server.registry._strangers) == (0, {}, {})
    assert (server.desk.topics._scopes, len(hosting.endpoint), free(hosting)) == ({}, 0, ROOM)
    assert hosting.doors.site.connections == connections


def test_subscribed_and_taken_back_at_once() -> None:
    """A subscription that is taken back before it is answered listens to nothing, and has no timer."""
    agent = registered(hosting := Hosting())
    timers = len(hosting.clock.getDelayedCalls())
    topics = hosting.wired.server.desk.topics

    for _ in range(20):
        octets = []
        request = agent.session.request(b"subscribe", {b"topics": [b"messages"]}, now=hosting.clock.seconds())
        octets.append(agent.session.data_to_send())
        agent.session.cancel(request)
        octets.append(agent.session.data_to_send())
        agent.door.dataReceived(b"".join(octets))
        hosting.run()

    assert topics.listeners("1") == 0
    assert len(hosting.clock.getDelayedCalls()) <= timers + 1


def test_gone_while_it_is_looked_what_waits() -> None:
    """A computer that goes while the server looks what waits for it leaves no topics behind."""
    writer = HeldWriter()
    hosting = Hosting(wired=(wired := WiredServer()))
    secret = wired.register("r-1")
    wired.server.commits._writer = writer
    wired.server.desk.bulletin.publish("weather", "sun")
    agent = hosting.agent(id="a:1", secret=secret)
    while not agent.is_open:
        writer.release()
        hosting.run()

    agent.hang_up()
    while writer.held:
        writer.release()
    hosting.run()

    assert wired.server.desk.topics._scopes == {}


def test_strangers_in_the_log() -> None:
    """However many come and go, and break rules: the log has some of them, and how many more there were."""
    hosting = Hosting()

    with capturedLogs() as events:
        for _ in range(300):
            agent = hosting.agent()
            agent.door.dataReceived(b"\xff" * 20)
            agent.hang_up()
            hosting.agents.clear()
        hosting.clock.advance(1)
        hosting.agent()

    assert len(events) < 220
    assert any("left out" in event["log_format"] for event in events)
