"""
Telling the service manager how we are: systemd's notification protocol (sd_notify(3)).

One datagram per word to the socket that NOTIFY_SOCKET names; where it names none, nothing happens.
"""

import socket
from collections.abc import Callable, Mapping

from attrs import frozen

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
MAX_STATUS_LENGTH = 200


@frozen
class Notifier:
    """Says things to the service manager; `address` is that of its socket, None where there is none."""

    address: str | None
    watchdog_interval: float | None = None
    """Seconds within which it wants to hear ALIVE, again and again."""

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], pid: int) -> "Notifier":
        """The one that the environment describes; what it says for another process is passed over."""
        path = environ.get("NOTIFY_SOCKET") or None
        address = "\0" + path[1:] if path and path.startswith("@") else path
        for_us = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = environ.get("WATCHDOG_USEC", "")
        interval = (
            int(microseconds) / 1e6 if for_us and microseconds.isascii() and microseconds.isdigit() else None
        )
        return cls(address, interval if address else None)

    def say(self, *words: str) -> None:
        """Any of the words above. A service manager that does not listen does not stop us."""
        if self.address is None:
            return
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as speaker:
            try:
                speaker.sendto("\n".join(words).encode(), self.address)
            except OSError:
                return

    def reloading(self, monotonic: Callable[[], float]) -> None:
        """We are reading our configuration again; READY is to follow. The clock is that of CLOCK_MONOTONIC."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1e6)}")


def status(text: str) -> str:
    """The word that says in one line how we are."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"STATUS={line[:MAX_STATUS_LENGTH]}"
