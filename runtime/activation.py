"""Sockets that the service manager opened for us before it started us (sd_listen_fds(3))."""

from collections.abc import Mapping

FIRST_DESCRIPTOR = 3


def inherited_socket(environ: Mapping[str, str], *, pid: int, name: str) -> int | None:
    """
    The descriptor of the socket that was passed under this name; None where there is none for this process.

    The name is that of FileDescriptorName= in the socket's unit. Twisted's endpoints, when they are imported, take
    LISTEN_PID and LISTEN_FDS out of the environment if they are this process's, and leave the names.
    """
    if environ.get("LISTEN_PID", str(pid)) != str(pid):
        return None
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return FIRST_DESCRIPTOR + names.index(name) if name in names else None
