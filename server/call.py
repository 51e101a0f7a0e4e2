"""A request and its answer as values: all that the server's parts see of HTTP."""

import json
from typing import Any

from attrs import field, frozen
from twisted.web.http_headers import Headers

from ..runtime.session.later import Moment
from .errors import Refused

JSON_TYPE = "application/json"


@frozen(kw_only=True)
class Call:
    """One request, its body whole and within the limit."""

    method: str
    path: str
    query: str = ""
    headers: Headers = field(factory=Headers)
    body: bytes = b""
    peer: str = "unknown"
    """Address of the other end, for the log."""
    gone: Moment[None] = field(factory=Moment, eq=False, repr=False)
    """When the client hangs up without waiting for the answer."""

    def header(self, name: str) -> str | None:
        """The last value of a header, without the space around it; octets beyond ASCII read as Latin-1."""
        values = self.headers.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("latin-1").strip() if values else None


@frozen(kw_only=True)
class Answer:
    """What goes back."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def json_answer(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer of JSON, ending in a newline so that a terminal shows it well."""
    body = json.dumps(value, allow_nan=False).encode() + b"\n"
    return Answer(status=status, headers=(("Content-Type", JSON_TYPE), *headers), body=body)


def refusal_answer(refused: Refused) -> Answer:
    """The form of every error: what is wrong, and what to do about it."""
    return json_answer(
        {"error": refused.cause, "next": refused.next_step}, refused.status, headers=refused.headers
    )
