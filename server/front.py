"""
The front of the server: finds who answers a request, and turns every error into an answer.

Nothing that a request contains gets a traceback out of here. What is the sender's fault is told to it with a next step;
what is ours is logged as a failure and answered 500.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from ..runtime.database import DatabaseError, DatabaseUnavailable
from ..wire.errors import Malformed, TooLarge
from .call import Answer, Call, refusal_answer
from .errors import Refused, Stopping

RETRY_AFTER = 30
"""Seconds after which a request that failed for our own reasons may be tried again."""


@frozen
class Route:
    """
    A method and a path that are answered, such as `GET /computers/*`.

    `answer` gets the call, and each part of the path that a `*` stands for.
    """

    method: str
    path: str
    answer: Callable[..., Awaitable[Answer]]
    guard: Callable[[Call], None] | None = None
    """Raises Refused when this caller may not; asked before anything else is looked at."""
    parts: tuple[str, ...] = field(init=False)

    @parts.default
    def _parts(self) -> tuple[str, ...]:
        return tuple(self.path.split("/"))

    def match(self, parts: Sequence[str]) -> list[str] | None:
        """What stands at the `*`s of this path, or None when it is another path."""
        pairs = list(zip(self.parts, parts, strict=False))
        if len(parts) != len(self.parts) or any(ours not in ("*", theirs) for ours, theirs in pairs):
            return None
        return [theirs for ours, theirs in pairs if ours == "*"]


class Front:
    """Answers calls by its routes."""

    log = Logger()

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    async def answer(self, call: Call) -> Answer:
        """Never raises for anything in the call or in the server."""
        try:
            return await self._route(call)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            return refusal_answer(self._refused(call, error))

    def _refused(self, call: Call, error: Exception) -> Refused:
        refused = refusal_of(error)
        if isinstance(error, (DatabaseUnavailable, Stopping)):
            self.log.error("{method} {path} from {peer}: {error}", error=error, **_named(call))
        elif isinstance(error, DatabaseError):
            self.log.critical("the database fails: {error}", error=error)
        elif refused is None:
            self.log.failure("{method} {path} from {peer} failed", **_named(call))
        return refused or _fault()

    async def _route(self, call: Call) -> Answer:
        found = self._routes_for(call.path)
        if not found:
            raise Refused(404, "there is nothing at this path", "see docs/server.md for the paths there are")
        for route, _ in found:
            if route.guard is not None:
                route.guard(call)
        method = "GET" if call.method == "HEAD" else call.method
        for route, values in found:
            if route.method == method:
                return await route.answer(call, *values)
        allowed = ", ".join(route.method for route, _ in found)
        raise Refused(
            405, "this path does not take this method", f"use {allowed}", headers=(("Allow", allowed),)
        )

    def _routes_for(self, path: str) -> list[tuple[Route, list[str]]]:
        parts = path.split("/")
        matches = [(route, route.match(parts)) for route in self._routes]
        return [(route, values) for route, values in matches if values is not None]


def _named(call: Call) -> dict[str, Any]:
    return {"method": call.method[:20], "path": call.path[:200], "peer": call.peer}


def refusal_of(error: Exception) -> Refused | None:
    """What a sender is told of an error; None for one that nobody foresaw."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, TooLarge):
        return Refused(413, str(error), "send less in one request")
    if isinstance(error, Malformed):
        return Refused(400, str(error), "correct the request; sending it again will not help")
    if isinstance(error, (DatabaseUnavailable, Stopping)):
        return _unavailable(error)
    return _fault() if isinstance(error, DatabaseError) else None


def _unavailable(error: Exception) -> Refused:
    cause = (
        "the server is stopping" if isinstance(error, Stopping) else "the server cannot store anything now"
    )
    next_step = f"try again in {RETRY_AFTER} seconds; the operator finds the reason in the server's log"
    return Refused(503, cause, next_step, headers=(("Retry-After", str(RETRY_AFTER)),))


def _fault() -> Refused:
    next_step = (
        f"try again in {RETRY_AFTER} seconds; if it stays, ask the operator, whose log has the details"
    )
    return Refused(500, "the server failed", next_step)
