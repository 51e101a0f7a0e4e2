"""
Credit (spec/wire.md 5.9): how many payload octets of data and response frames may be on their way.

Both ends count for the connection and for each request. Whoever receives gives back what has been consumed, in steps
of half a window, so that credit frames stay few.
"""

from collections.abc import Callable

from ..errors import RemoteProtocolError
from .limits import LARGEST_CREDIT

CREDIT_OCTETS = 4


def read_credit(payload: bytes) -> int:
    """How much a credit frame gives. Raises RemoteProtocolError."""
    if len(payload) != CREDIT_OCTETS:
        raise RemoteProtocolError("credit-malformed", f"a credit is of {CREDIT_OCTETS} octets")
    octets = int.from_bytes(payload, "little")
    if not octets:
        raise RemoteProtocolError("credit-zero", "a credit of 0 octets")
    if octets > LARGEST_CREDIT:
        raise RemoteProtocolError("credit-overflow", f"credit of more than {LARGEST_CREDIT} octets")
    return octets


class ReceiveWindow:
    """What the peer may still send us."""

    __slots__ = ("_consumed", "_left", "_step")

    def __init__(self, size: int) -> None:
        self._left = size
        self._step = max(1, size // 2)
        self._consumed = 0

    def take(self, octets: int) -> None:
        """They have come. Raises RemoteProtocolError when that was more than allowed."""
        self._left -= octets
        if self._left < 0:
            raise RemoteProtocolError(
                "credit-exceeded", f"{-self._left} octets came for which there was no credit"
            )

    def consume(self, octets: int) -> int:
        """They have been used: how much credit to give back now, mostly none."""
        self._consumed += octets
        if self._consumed < self._step:
            return 0
        given, self._consumed = self._consumed, 0
        self._left += given
        return given


class SendWindow:
    """What we may still send to the peer."""

    __slots__ = ("left", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size

    def resize(self, size: int) -> None:
        """The peer has told what its window is."""
        self.left += size - self.size
        self.size = size

    def add(self, octets: int) -> bool:
        """
        The peer gives credit; True when it gives back a good part of what we used, as it should.

        Raises RemoteProtocolError for more than counts.
        """
        spent = self.size - self.left
        self.left += octets
        if self.left > LARGEST_CREDIT:
            raise RemoteProtocolError("credit-overflow", f"credit of more than {LARGEST_CREDIT} octets")
        return self.size // 8 <= octets <= spent


class Ledger:
    """Keeps the receiving side's windows, of the connection and of requests, and gives credit back."""

    def __init__(self, *, connection: int, request: int, send: Callable[[int, bytes], None]) -> None:
        self._connection = ReceiveWindow(connection)
        self._request = request
        self._send = send
        """Sends a credit frame: for which request, and its payload."""

    def new_window(self) -> ReceiveWindow:
        """Of one request."""
        return ReceiveWindow(self._request)

    def take(self, window: ReceiveWindow, octets: int) -> None:
        """They have come. Raises RemoteProtocolError without credit for them."""
        window.take(octets)
        self._connection.take(octets)

    def give(self, octets: int, request: int = 0, window: ReceiveWindow | None = None) -> None:
        """They have been used; the window is that of the request, if more is to come for it."""
        self._give(0, self._connection.consume(octets))
        if window is not None:
            self._give(request, window.consume(octets))

    def _give(self, request: int, octets: int) -> None:
        if octets:
            self._send(request, octets.to_bytes(CREDIT_OCTETS, "little"))
