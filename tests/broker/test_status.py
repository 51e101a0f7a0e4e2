"""What `fieldpost status` shows."""

from twisted.logger import capturedLogs

from fieldpost.broker.carriage.transport import Refused, Unreachable
from fieldpost.runtime.database import DatabaseFull
from fieldpost.wire import cbor
from tests.broker.fakes import FailingWriter, RecordingPlugin, SteadyRandom, says, started
from tests.broker.store.stores import START, add_values


def test_after_a_good_exchange() -> None:
    """What went and came, and when the next one is."""
    rig, _ = started(says({"type": "x"}))
    add_values(rig.store, range(3))

    rig.run()

    exchange = rig.report()["exchange"]
    assert exchange["last"] == {"at": START, "sent": 3, "received": 1, "pending": 0}
    assert (exchange["failing"], exchange["last-failure"], exchange["next-in"]) == (False, None, 900.0)
    assert (exchange["interval"], exchange["urgent-interval"]) == (900.0, 60.0)
    assert rig.report()["incoming"]["waiting"] == 1


def test_after_failures() -> None:
    """The cause, since when, and how long we stay away."""
    rig, _ = started(says(), Refused(status=503, reason="busy", retry_after=500.0), random=SteadyRandom())
    rig.run()
    rig.clock.advance(1)

    rig.run()

    exchange = rig.report()["exchange"]
    assert exchange["failing"] is True
    assert exchange["last-failure"] == {
        "at": START + 1,
        "cause": "the server refused the exchange (503): busy",
        "retry-after": 500.0,
    }
    assert (exchange["exchanges"], exchange["failures"]) == (1, 1)
    assert (exchange["back-off-steps"], exchange["next-in"]) == (1, 500.0)


def test_failing_ends_with_a_success() -> None:
    """The last failure stays to be looked at, but nobody is alarmed by it, wherever the clock went."""
    rig, _ = started(Unreachable(reason="away"), says(), random=SteadyRandom())
    rig.run()
    rig.clock.rightNow -= 10_000

    rig.run()

    exchange = rig.report()["exchange"]
    assert exchange["failing"] is False
    assert exchange["last-failure"]["cause"] == "away"


def test_store_and_server() -> None:
    """How full the store is, lane by lane, and which server it is for."""
    rig, _ = started(says(expected=0))
    add_values(rig.store, range(3), type="held")
    rig.run()

    report = rig.report()

    assert report["server"]["uuid"] == "server-1"
    assert report["server"]["api"] == "3.2"
    assert "load" in report["server"]["accepted-types"]
    assert (report["store"]["pending"], report["store"]["held"]) == (0, 3)
    (lane,) = report["store"]["lanes"]
    assert (lane["type"], lane["api"], lane["count"], lane["held"]) == ("held", "3.2", 3, True)


def test_travels() -> None:
    """The report goes over the local socket as it is."""
    rig, _ = started(says({"type": "x"}, {"type": "set-id"}))
    plugin = RecordingPlugin()
    rig.delivery.register(("x",), plugin.name, plugin.deliver)
    add_values(rig.store, range(3), type="held")
    with capturedLogs():
        rig.run()

    report = rig.report()

    assert cbor.decode(cbor.encode(report)) == report


def test_store_that_cannot_be_read() -> None:
    """A store in trouble is named, and what is known without it is shown."""
    writer = FailingWriter()
    rig, _ = started(writer=writer)
    rig.run()
    writer.failures = [DatabaseFull("the disk is full")]

    report = rig.report()

    assert report["store"] == {"error": "the disk is full"}
    assert report["exchange"]["exchanges"] == 1
