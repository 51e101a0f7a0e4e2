"""Waiting for what other processes do: ask again and again, never longer than a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.05
"""Seconds between two looks."""


class Overdue(AssertionError):
    """What was waited for did not happen in time."""


def until(look: Callable[[], T], *, limit: float, what: str) -> T:
    """
    What `look` returns as soon as it is true.

    Raises Overdue, which names what was waited for and what was seen last.
    """
    end = time.monotonic() + limit
    while not (found := look()):
        if time.monotonic() > end:
            raise Overdue(f"{what}: not within {limit:g} s; last seen: {str(found)[:2000]}")
        time.sleep(PAUSE)
    return found
