"""
What happened, told to whoever wants to know (landscape 1.13).

An event is a name and a map of details. The names are those of `wire.local`, which plugins may hear as well, and two
that stay inside the broker. A listener that fails is logged and hurts nobody else: an exchange does not end because
somebody who listened to it fell over.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from ..wire.local import EVENTS

MESSAGE = "message"
"""A message came from the server; told before its handlers get it. Details: `number`, `message`."""
EXCHANGE_DUE = "exchange-due"
"""The timetable says that it is time."""

Details = Mapping[str, Any]
"""What an event tells: values that travel."""

Listener = Callable[[Details], Awaitable[None] | None]
"""
Called with the details; may return something to wait for. `fire` waits for it, so a listener that passes the event on
to a peer must not wait for the peer.
"""

Forget = Callable[[], None]
"""Takes back a registration; calling it again does nothing."""


@frozen(eq=False)
class _Place:
    """One registration: the same listener may have several."""

    listener: Listener


class Bus:
    """Listeners per event, called one after the other in the order in which they came."""

    log = Logger()

    def __init__(self) -> None:
        self._places: dict[str, dict[_Place, None]] = {name: {} for name in (*EVENTS, MESSAGE, EXCHANGE_DUE)}

    def listen(self, name: str, listener: Listener, /) -> Forget:
        """
        Hear of an event from now on, until the answer is called.

        Raises KeyError for a name that is no event.
        """
        places, place = self._places[name], _Place(listener)
        places[place] = None
        return lambda: places.pop(place, None)

    async def fire(self, name: str, /, **details: Any) -> None:  # Any: whatever travels
        """Tell all who listened when this began, and wait for each in turn."""
        for place in tuple(self._places[name]):
            try:
                waiting = place.listener(details)
                if waiting is not None:
                    await waiting
            except Exception:  # noqa: BLE001 - whatever it is, it is the listener's
                self.log.failure("a listener to {event} failed; the others are told all the same", event=name)
