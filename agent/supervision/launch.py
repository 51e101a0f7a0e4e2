"""
Between the supervisor's fork and the program: bind the life of the process to that of the supervisor.

    python -I -S launch.py PARENT-PID PROGRAM ARGUMENT...

The process becomes the head of its own process group and asks the kernel to be terminated when its parent dies, by
whatever death; then it becomes the program. Nothing of this file stays in memory. It is run by its path and stands on
the standard library alone.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns."""
    parent, program = int(arguments[0]), arguments[1:]
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"the kernel does not bind this process to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its child began")
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"cannot start {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
