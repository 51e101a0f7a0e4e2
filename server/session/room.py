"""How much of what agents sent may be worked on at once, over all sessions."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Refused
from ..front import RETRY_AFTER


class Room:
    """Octets of payloads between their arrival and their answer."""

    def __init__(self, octets: int) -> None:
        self._free = octets

    @contextmanager
    def taken(self, octets: int) -> Iterator[None]:
        """Take so much of it meanwhile. Raises Refused when there is not so much."""
        if octets > self._free:
            raise Refused(
                503,
                "the server holds as many payloads as it can",
                f"try again in {RETRY_AFTER} seconds",
                headers=(("Retry-After", str(RETRY_AFTER)),),
            )
        self._free -= octets
        try:
            yield
        finally:
            self._free += octets
