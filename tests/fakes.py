"""Honest stand-ins for the parts that a test holds in its hands."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, execute

P = ParamSpec("P")
T = TypeVar("T")


class InlineWriter:
    """A Writer that runs each call at once, in the caller's thread."""

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        done: Deferred[Any] = execute(function, *args, **kwargs)
        return done

    def stop(self) -> "Deferred[None]":
        return execute(lambda: None)
