"""Waiting for something that may never come."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


def wait_at_most(awaited: "Deferred[Any]", seconds: float, clock: IReactorTime) -> "Deferred[bool]":
    """
    Fires with True when the other has fired, with False when it has not after so many seconds.

    The other is neither cancelled nor changed: what it fires with goes on to its next callback.
    """
    waited: Deferred[bool] = Deferred(lambda _: timer.cancel() if timer.active() else None)
    timer = clock.callLater(seconds, waited.callback, False)

    def fired(result: Any) -> Any:
        if timer.active():
            timer.cancel()
            waited.callback(True)
        return result

    awaited.addBoth(fired)
    return waited
