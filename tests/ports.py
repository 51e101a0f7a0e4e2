"""Port numbers of loopback that a test has to know before anybody listens there, or again later."""

import socket
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class Reserved:
    """
    A number that nobody is given by chance until it is released, though nobody listens there either.

    Whoever listens at it on purpose may, as often as it wants, if it sets SO_REUSEADDR, as servers do. A number that was
    found and let go may be anybody's by then: that of a connection of another test, or of another program.
    """

    def __init__(self) -> None:
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound.bind((HOST, 0))
        self.number: int = self._bound.getsockname()[1]

    def release(self) -> None:
        """It may be anybody's."""
        self._bound.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
