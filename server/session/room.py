"""How much of what agents sent may be worked on at once, over all sessions."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...wire.session.events import CommandError, atom_of
from ..errors import Refused
from ..front import RETRY_AFTER


class Room:
    """Octets of payloads from the first that arrives to the answer: while they are not whole it is a session's Pool."""

    def __init__(self, octets: int) -> None:
        self._free = octets

    @contextmanager
    def taken(self, octets: int) -> Iterator[None]:
        """Take so much of it meanwhile. Raises Refused when there is not so much."""
        if octets > self._free:
            raise _full()
        self._free -= octets
        try:
            yield
        finally:
            self._free += octets

    def take(self, octets: int) -> CommandError | None:
        """See Pool."""
        if octets > self._free:
            refused = _full()
            details = {b"status": refused.status, b"retry-after": RETRY_AFTER}
            return CommandError(b"unavailable", (atom_of(str(refused)),), details)
        self._free -= octets
        return None

    def give(self, octets: int) -> None:
        """See Pool."""
        self._free += octets


def _full() -> Refused:
    return Refused(
        503,
        "the server holds as many payloads as it can",
        f"try again in {RETRY_AFTER} seconds",
        headers=(("Retry-After", str(RETRY_AFTER)),),
    )
