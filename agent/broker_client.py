"""
An operator's short conversation with the broker over the plugin socket: it blocks, and needs no reactor.

The broker admits its own user and root without a plugin's name. See wire.local for the words.
"""

import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from ..runtime.amp import BODY_LIMITS, Box, BoxReader, gather, spread, write_box
from ..wire import cbor
from ..wire.errors import FieldpostError, RemoteProtocolError
from ..wire.local import CALLS, MAX_BODY_OCTETS, NEWEST_VERSION, OLDEST_VERSION, ExchangeSoon, Hello, Nothing
from ..wire.schema import from_map, to_map

READ_OCTETS = 65_536


class BrokerAway(FieldpostError):
    """There is no broker to speak to, or it does not answer; the text says why and what to do."""


class BrokerRefused(FieldpostError):
    """The broker is there, and does not do what was asked; the text is its reason."""


class BrokerClient:
    """One connection; a context manager. Each call raises BrokerAway or BrokerRefused."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self._path = path
        self._connection = self._connect(timeout)
        self._reader = BoxReader(max_octets=MAX_BODY_OCTETS * 2)
        self._calls = 0

    def _connect(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise BrokerAway(f"no broker answers at {self._path}: {_why(error)}") from None
        return connection

    def __enter__(self) -> Self:
        hello = Hello(
            oldest=OLDEST_VERSION, newest=NEWEST_VERSION, instance=f"operator-{uuid4().hex}", plugins=()
        )
        try:
            self._call("hello", hello)
        except FieldpostError:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def status(self) -> dict[str, Any]:
        """What the broker says of itself."""
        status: dict[str, Any] = self._call("status", Nothing()).status
        return status

    def exchange(self) -> None:
        """Ask for an exchange at once; returns when the broker has heard it, not when the exchange is done."""
        self._call("exchange", ExchangeSoon(at_once=True))

    def _call(self, name: str, value: Any) -> Any:  # Any: the classes of CALLS
        self._calls += 1
        tag = b"%x" % self._calls
        try:
            parts = spread(cbor.encode(to_map(value)))
            self._connection.sendall(write_box(((b"_ask", tag), (b"_command", name.encode()), *parts)))
            box = self._answer_to(tag)
            if b"_error" in box:
                raise BrokerRefused(
                    box.get(b"_error_description", b"it says no reason").decode(errors="replace")
                )
            return from_map(CALLS[name][1], cbor.decode(gather(box), BODY_LIMITS))
        except OSError as error:
            raise BrokerAway(f"the broker at {self._path} does not answer: {_why(error)}") from None
        except RemoteProtocolError as error:
            raise BrokerAway(
                f"what listens at {self._path} is no broker that this command understands: {error}"
            ) from None

    def _answer_to(self, tag: bytes) -> Box:
        """The box that answers; what else the broker says is passed over."""
        while True:
            octets = self._connection.recv(READ_OCTETS)
            if not octets:
                raise ConnectionResetError("closed")
            for box in self._reader.receive(octets):
                if tag in (box.get(b"_answer"), box.get(b"_error")):
                    return box


def _why(error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        # Whether its supervisor is about to start it again cannot be seen from here.
        again = "If it was, `fieldpost run` or systemd starts it again in a while"
        return f"it is not running. {again}; else start it, or name its configuration with --config"
    if isinstance(error, PermissionError):
        return "this user may not; run the command as root or as the broker's user"
    if isinstance(error, TimeoutError):
        return "it takes too long; its log may say why"
    if isinstance(error, ConnectionError):
        return "it closed the connection; its log says why"
    return str(error.strerror or error).lower()
