"""From the session down to POST when something on the way takes the upgrade out, and up again when it lets it pass."""

from collections.abc import Iterator

import pytest

from fieldpost.broker.session.course import HOURLY
from tests.carriers.world import POST, Terrain, World


@pytest.fixture
def world() -> Iterator[World]:
    """A machine that is known, with a session."""
    found = World().settle_in()
    yield found
    found.close()


def strip(world: World, strips: bool) -> None:
    """From now on a proxy on the way takes the upgrade out, or does not; its operator restarts it."""
    world.network.manners.strips = strips
    world.network.cut()


def ways(world: World) -> tuple[int, int]:
    """How many payloads went by session, and by POST."""
    by_post = world.agent.post.count
    return len(world.agent.transport.requests) - by_post, by_post


def test_down(world: World) -> None:
    """When the session is gone for good, exchanges and operations go on by POST, as soon and as surely."""
    world.agent.report(1)
    world.until(lambda: world.server.values("load") == [1])
    strip(world, True)
    world.until(lambda: world.agent.keeper.state.value == "by POST")
    by_session, _ = ways(world)
    world.run(61.0)

    world.agent.report(2)
    world.until(lambda: world.server.values("load") == [1, 2])
    world.run(5.0)
    begun = world.clock.seconds()
    operation = world.server.operate("echo", word="x")
    world.until(lambda: world.carried_out == [operation])

    assert world.clock.seconds() - begun < 2.0
    assert ways(world)[0] == by_session
    assert "something on the way" in world.agent.keeper.report()["cause"]


def test_up_again(world: World) -> None:
    """An hour later, more or less, a session is tried for again; once it passes, everything goes over it."""
    strip(world, True)
    world.until(lambda: world.agent.keeper.state.value == "by POST")
    fallen = world.clock.seconds()
    world.run(600.0)
    strip(world, False)
    world.until(lambda: world.agent.is_live, within=2 * HOURLY)
    waited = world.clock.seconds() - fallen
    by_session, by_post = ways(world)

    world.agent.report(*range(5))
    operation = world.server.operate("echo", word="x")
    world.until(lambda: world.server.operation(operation)["status"] == "succeeded")
    world.until(lambda: world.server.values("load") == list(range(5)))

    assert 0.8 * HOURLY <= waited <= 1.25 * HOURLY
    assert ways(world) == (by_session + len(world.agent.transport.requests) - by_session - by_post, by_post)


def test_from_post_to_a_session() -> None:
    """A machine that never had one, and became known by POST, gets one in its own name."""
    world = World(Terrain(carrier=POST)).settle_in()
    world.agent.report(1)
    world.until(lambda: world.server.values("load") == [1])
    assert ways(world)[0] == 0

    strip(world, False)
    world.until(world.has_own_session, within=2 * HOURLY)
    world.agent.report(2)
    world.until(lambda: world.server.values("load") == [1, 2])

    assert ways(world)[0] > 0
    assert len(world.server.computers()) == 1
    world.close()


def test_a_server_that_begins_to_take_sessions() -> None:
    """It says so in what it answers by POST, and nobody waits for the hour to be over."""
    world = World(Terrain(takes_sessions=False))
    world.agent.hear("weather")
    world.until(lambda: world.agent.store.state().secure_id is not None)
    world.until(lambda: world.agent.keeper.state.value == "by POST")
    world.run(120.0)

    world.kill_server()
    world.terrain.takes_sessions = True
    world.open_server()
    begun = world.clock.seconds()
    world.until(world.has_own_session, within=HOURLY)

    assert world.clock.seconds() - begun < 300.0
    world.close()


def test_up_and_down_under_load(world: World) -> None:
    """However often it changes in the middle of a backlog: once, and in order."""
    for turn in range(8):
        world.agent.report(*range(turn * 100, turn * 100 + 100), octets=500)
        world.run(0.3)
        strip(world, turn % 2 == 0)
        world.run(45.0)
        world.agent.keeper.hurry()
    world.until(lambda: len(world.server.values("load")) == 800, within=HOURLY)

    assert world.server.values("load") == list(range(800))
    assert min(ways(world)) > 0
    assert len(world.server.computers()) == 1
