"""
The place of a UNIX socket in the file system: free to listen on, and ours alone while we do.

A socket file outlives its broker, and whether somebody listens behind one cannot be told without a race. So a lock
file stands beside it, held by the kernel for as long as its broker lives: who has the lock may remove the socket.
"""

import fcntl
import os
import stat
from contextlib import closing, suppress
from socket import AF_UNIX, SOCK_STREAM, socket

from ..errors import BrokerError

MAX_PATH_OCTETS = 107
"""What a socket address can hold on Linux, its final zero left out."""


class SocketUnusable(BrokerError):
    """The broker cannot listen where it was told to; the text says why and what to do."""


class SocketFile:
    """
    A socket's path, taken for this process from `claim` until `free`.

    A folder that is missing is made, with `folder_mode`.
    """

    def __init__(self, path: str, *, folder_mode: int = 0o750) -> None:
        self.path = path
        self._folder = os.path.dirname(path) or "."
        self._folder_mode = folder_mode
        self._lock: int | None = None

    def claim(self) -> None:
        """
        Make sure that a socket can be bound to the path, and that no other broker comes to do it.

        Raises SocketUnusable.
        """
        length = len(os.fsencode(self.path))
        if length > MAX_PATH_OCTETS:
            raise SocketUnusable(
                f"socket {self.path}: the path has {length} octets, and a socket's may have {MAX_PATH_OCTETS}; "
                "set a shorter one"
            )
        try:
            self._prepare_folder()
            self._take_lock()
            self._clear_path()
        except OSError as error:
            self.free()
            raise SocketUnusable(
                f"socket {self.path}: {error.strerror} ({error.filename or self._folder}); see that the folder can "
                "be made and written by the broker's user"
            ) from error
        except SocketUnusable:
            self.free()
            raise

    def free(self) -> None:
        """Let the next broker have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _prepare_folder(self) -> None:
        if not os.path.isdir(self._folder):
            os.makedirs(self._folder)
            os.chmod(self._folder, self._folder_mode)
        found = os.stat(self._folder)
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise SocketUnusable(
                f"socket {self.path}: everybody may write to {self._folder}, and so put a socket of their own in this "
                f"one's place; take that right away: chmod o-w {self._folder}"
            )

    def _take_lock(self) -> None:
        path = f"{self.path}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 20).decode("ascii", "replace").strip() or "unknown"
            raise SocketUnusable(
                f"socket {self.path}: another broker, process {owner}, is running there; stop it, or set another path"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, b"%d\n" % os.getpid())

    def _clear_path(self) -> None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise SocketUnusable(
                f"socket {self.path}: something else has that name; move it away, or set another path"
            )
        if self._is_answered():
            raise SocketUnusable(
                f"socket {self.path}: another program listens there; stop it, or set another path"
            )
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def _is_answered(self) -> bool:
        with closing(socket(AF_UNIX, SOCK_STREAM)) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                return False
            except BlockingIOError:  # somebody listens, and is too busy to accept
                return True
        return True
