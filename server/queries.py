"""What comes in with an API request: parameters after the `?`, a JSON body, the bearer token."""

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qsl

from ..wire.errors import Malformed
from .call import JSON_TYPE, Call
from .errors import Refused

MAX_BODY_OCTETS = 1024 * 1024
MAX_PARAMETERS = 20
_BIGGEST = 2**63 - 1

Read = Callable[[str, str], Any]
"""Turns a parameter's name and text into its value, or raises Malformed."""


def number(least: int = 0, most: int = _BIGGEST) -> Read:
    """A decimal integer within bounds."""

    def read(name: str, text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
            return int(text)
        raise Malformed(f"`{name}` must be a whole number from {least} to {most}, not {text[:30]!r}")

    return read


def choice(*words: str) -> Read:
    """One of these words."""

    def read(name: str, text: str) -> str:
        if text in words:
            return text
        raise Malformed(f"`{name}` must be one of {', '.join(words)}, not {text[:30]!r}")

    return read


def word(name: str, text: str) -> str:
    """Any text."""
    if not text.isprintable():
        raise Malformed(f"`{name}` must be printable text")
    return text


def text_of(name: str, text: str) -> str:
    """The text itself, whatever it is."""
    return text


def parameters(call: Call, known: Mapping[str, Read], *, others: Read | None = None) -> dict[str, Any]:
    """
    The values of the parameters given, by name; `others` reads those that are not known, where they may be given.

    Raises Malformed for one that is not known, given twice, or wrong.
    """
    try:
        pairs = parse_qsl(
            call.query, keep_blank_values=True, strict_parsing=bool(call.query), max_num_fields=MAX_PARAMETERS
        )
    except ValueError:
        raise Malformed("the query after the `?` must be like a=1&b=2") from None
    found: dict[str, Any] = {}
    for name, text in pairs:
        if others is None:
            check_name(name, known, "parameter")
        if name in found:
            raise Malformed(f"`{name[:60]}` is given twice")
        found[name] = known.get(name, others or word)(name, text)
    return found


def check_name(name: str, known: Mapping[str, Any], kind: str) -> None:
    """Raises Malformed, naming the nearest right one, when there is no such name."""
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        raise Malformed(f"there is no {kind} {name[:60]!r}; {hint}")


def json_body(call: Call, known: Mapping[str, type]) -> dict[str, Any]:
    """
    The object in the body, its members of these types; `object` takes any.

    Raises Malformed for anything else, Refused for a body that is not JSON by its Content-Type, or too long.
    """
    form = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
    if form != JSON_TYPE:
        raise Refused(
            415,
            f"the body must be {JSON_TYPE}, not {form[:60] or 'unnamed'}",
            f"send Content-Type: {JSON_TYPE}",
        )
    if len(call.body) > MAX_BODY_OCTETS:
        raise Refused(413, f"the body is longer than {MAX_BODY_OCTETS} octets", "send less in one request")
    value = parse_json(call.body)
    if type(value) is not dict:
        raise Malformed("the body must be a JSON object")
    for name, item in value.items():
        check_name(name, known, "member")
        if known[name] is not object and type(item) is not known[name]:
            words = {int: "an integer", str: "text", dict: "an object", list: "a list"}
            raise Malformed(f"`{name}` must be {words[known[name]]}")
    return value


def parse_json(octets: bytes) -> Any:
    """Raises Malformed."""
    try:
        return json.loads(octets.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise Malformed("lists and objects are nested too deep") from None
    except ValueError as error:
        raise Malformed(f"the body is no JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def bearer_guard(token: str | None) -> Callable[[Call], None]:
    """What lets only callers with this token pass; without one nobody."""

    def check(call: Call) -> None:
        if token is None:
            raise Refused(
                403,
                "the API is closed: the server has no API token",
                "set `api-token-file` (or `api-token`) in the server's configuration and start it again",
            )
        scheme, _, given = (call.header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(given.strip().encode(), token.encode()):
            raise Refused(
                401,
                "the API needs the server's token" if not given else "this is not the server's API token",
                "send `Authorization: Bearer TOKEN` with the token from the server's configuration",
                headers=(("WWW-Authenticate", 'Bearer realm="fieldpost"'),),
            )

    return check
