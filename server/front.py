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
        except Refused as refused:
            return refusal_answer(refused)
        except TooLarge as error:
            return refusal_answer(Refused(413, str(error), "send less in one request"))
        except Malformed as error:
            return refusal_answer(
                Refused(400, str(error), "correct the request; sending it again will not help")
            )
        except (DatabaseUnavailable, Stopping) as error:
            return self._unavailable(call, error)
        except DatabaseError as error:
            self.log.critical("the database fails: {error}", error=error)
            return _fault()
        except Exception:  # noqa: BLE001 - the last line of defence
            self.log.failure("{method} {path} from {peer} failed", **_named(call))
            return _fault()

    def _unavailable(self, call: Call, error: Exception) -> Answer:
        self.log.error("{method} {path} from {peer}: {error}", error=error, **_named(call))
        cause = (
            "the server is stopping"
            if isinstance(error, Stopping)
            else "the server cannot store anything now"
        )
        next_step = f"try again in {RETRY_AFTER} seconds; the operator finds the reason in the server's log"
        return refusal_answer(Refused(503, cause, next_step, headers=(("Retry-After", str(RETRY_AFTER)),)))

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


def _fault() -> Answer:
    next_step = (
        f"try again in {RETRY_AFTER} seconds; if it stays, ask the operator, whose log has the details"
    )
    return refusal_answer(Refused(500, "the server failed", next_step))
