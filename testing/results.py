"""Looking at Deferreds in a plain test."""

from typing import TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class NotYet(AssertionError):
    """The Deferred has not fired: advance the clock, or let the broker answer."""


def result_of(deferred: "Deferred[T]") -> T:
    """
    What a Deferred fired with.

    Raises what it failed with, or NotYet.
    """
    found: list[T | Failure] = []
    looking = True

    def look(result: T | Failure) -> T | Failure | None:
        """What it fires with later is not ours to take."""
        if looking:
            found.append(result)
        return None if looking and isinstance(result, Failure) else result

    deferred.addBoth(look)
    looking = False
    if not found:
        raise NotYet("the Deferred has not fired")
    result = found[0]
    if isinstance(result, Failure):
        raise cast(BaseException, result.value)
    return result
