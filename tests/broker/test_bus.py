"""Events and who hears them."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fieldpost.broker.bus import Bus
from tests.broker.fakes import result_of

EVENT = "exchange-done"


def fire(bus: Bus, **details: Any) -> "Deferred[None]":
    return Deferred.fromCoroutine(bus.fire(EVENT, **details))


def test_listeners_in_order() -> None:
    """Whoever listened first is told first, with the details."""
    bus, heard = Bus(), []
    bus.listen(EVENT, lambda details: heard.append((1, details["ok"])))
    bus.listen(EVENT, lambda details: heard.append((2, details["ok"])))

    result_of(fire(bus, ok=True))

    assert heard == [(1, True), (2, True)]


def test_waits_for_a_listener() -> None:
    """The last call before an exchange is one: the payload waits for it."""
    bus, heard = Bus(), []
    slow: Deferred[None] = Deferred()
    bus.listen(EVENT, lambda _: slow)
    bus.listen(EVENT, lambda _: heard.append("second"))

    fired = fire(bus)

    assert heard == []
    slow.callback(None)
    result_of(fired)
    assert heard == ["second"]


def test_failing_listener() -> None:
    """A listener that fails is logged, and the others are told."""
    bus, heard = Bus(), []

    def fail(_: object) -> None:
        raise RuntimeError("fell over")

    bus.listen(EVENT, fail)
    bus.listen(EVENT, lambda _: heard.append("second"))

    with capturedLogs() as logs:
        result_of(fire(bus))

    assert heard == ["second"]
    assert [entry["log_failure"].getErrorMessage() for entry in logs] == ["fell over"]


def test_forget() -> None:
    """Nobody is told after saying so; saying it twice is no harm."""
    bus = Bus()
    heard: list[Any] = []
    forget = bus.listen(EVENT, heard.append)

    forget()
    forget()
    result_of(fire(bus))

    assert heard == []


def test_same_listener_twice() -> None:
    """Two registrations of one listener are two."""
    bus = Bus()
    heard: list[Any] = []
    forget = bus.listen(EVENT, heard.append)
    bus.listen(EVENT, heard.append)

    forget()
    forget()
    result_of(fire(bus))

    assert heard == [{}]


def test_leaving_while_told() -> None:
    """A listener that leaves during an event does not confuse the others."""
    bus, heard = Bus(), []
    forgets: list[Any] = []
    bus.listen(EVENT, lambda _: forgets[0]())
    forgets.append(bus.listen(EVENT, lambda _: heard.append("told")))

    result_of(fire(bus))
    result_of(fire(bus))

    assert heard == ["told"]


def test_unknown_event() -> None:
    """A name that is no event is a mistake that shows at once."""
    with pytest.raises(KeyError):
        Bus().listen("exchange-dnoe", lambda _: None)
