"""
Messages in JSON, and back, without loss.

JSON lacks octets, map keys that are no text, and numbers that are none. They are maps of one key:

    {"octets": "AAE="}              octets, in base64
    {"float": "nan"}                nan, inf, -inf
    {"map": [[1, "one"]]}           a map whose keys are not all text, or that looks like one of these three
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from ..wire.errors import Malformed

Json = Any
"""None, bool, int, float, str, a list of such, or a dict from text to such."""

_MARKS = ("octets", "float", "map")
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> Json:
    """The JSON form of a decoded value."""
    if isinstance(value, dict):
        return _map_to_json(value)
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return {"octets": b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _map_to_json(value: dict[Any, Any]) -> Json:
    looks_marked = len(value) == 1 and next(iter(value)) in _MARKS
    if not looks_marked and all(type(key) is str for key in value):
        return {key: to_json(item) for key, item in value.items()}
    return {"map": [[to_json(key), to_json(item)] for key, item in value.items()]}


def from_json(value: Json) -> Any:
    """
    The value that a JSON form stands for.

    Raises Malformed for a mark with the wrong content, and for text that is no Unicode.
    """
    if isinstance(value, dict):
        mark = next(iter(value)) if len(value) == 1 else None
        if mark in _MARKS:
            return _READERS[mark](value[mark])
        return {_text(key): from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed("text with half a surrogate pair is no Unicode; send whole characters")
    return text


def _octets(value: Json) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise Malformed('`octets` must be base64 in quotes, as in {"octets": "AAE="}') from None


def _float(value: Json) -> float:
    if not isinstance(value, str) or value not in _FLOATS:
        raise Malformed(f"`float` must be one of {', '.join(_FLOATS)}, in quotes")
    return _FLOATS[value]


def _map(value: Json) -> dict[Any, Any]:
    try:
        return {_key(key): from_json(item) for key, item in value}
    except (TypeError, ValueError):
        raise Malformed("`map` must be a list of pairs, each a key and a value") from None


def _key(value: Json) -> Any:
    key = from_json(value)
    if type(key) not in (str, int, bytes):
        raise Malformed("a key in `map` must be text, an integer or octets")
    return key


_READERS: dict[str, Callable[[Json], Any]] = {"octets": _octets, "float": _float, "map": _map}
