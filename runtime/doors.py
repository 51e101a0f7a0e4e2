"""Doors between Twisted and our coroutines."""

import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

P = ParamSpec("P")
T = TypeVar("T")


def returns_deferred(function: Callable[P, Coroutine[Deferred[Any], Any, T]]) -> Callable[P, Deferred[T]]:
    """
    Let Twisted call a coroutine function.

    Wherever Twisted calls us it expects a Deferred; Twisted 22.4 silently never runs a bare coroutine.
    """

    @wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return start


def following(followed: "Deferred[Any]") -> "Deferred[None]":
    """Fires when the other does, however that ends; leaves what it fires with alone. Any: that is its owner's."""
    follower: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        follower.callback(None)
        return result

    followed.addBoth(fired)
    return follower


def keep_steady_time(reactor: Any) -> None:  # Any: Twisted has no one interface for a reactor
    """
    Let a reactor's timers follow the monotonic clock.

    Twisted's own follow the time of day: a clock that is set back by a day holds every timer for a day.
    """
    reactor.seconds = time.monotonic
