"""A message: a map with a `type`, and the names of the types that agent and server themselves speak."""

from typing import Any

from .errors import Malformed

Message = dict[str, Any]
"""Keys are text; `type` is there; the broker adds `api` and `timestamp`."""

MAX_TYPE_LENGTH = 64

REGISTER = "register"
RESYNCHRONIZE = "resynchronize"
OPERATION_RESULT = "operation-result"
RECEIPT = "receipt"

ACCEPTED_TYPES = "accepted-types"
SET_ID = "set-id"
REGISTRATION = "registration"
UNKNOWN_ID = "unknown-id"
SET_INTERVALS = "set-intervals"

BROKER_TYPES = (ACCEPTED_TYPES, REGISTRATION, RESYNCHRONIZE, SET_ID, SET_INTERVALS, UNKNOWN_ID)
"""Types of the server that the broker itself takes (landscape 1.5)."""

FAILED = 5
SUCCEEDED = 6
"""`status` of an operation-result."""


def check_message(value: Any) -> Message:
    """
    The same value, when it is a message.

    Raises Malformed, naming what is wrong, when it is not.
    """
    if type(value) is not dict:
        raise Malformed(f"a message must be a map, not {type(value).__name__}")
    kind = value.get("type")
    if type(kind) is not str:
        raise Malformed("a message needs a `type` that is text")
    if not is_type(kind):
        raise Malformed(f"a message's `type` must be {TYPE_RULE}")
    if not _TEXT_ONLY.issuperset(map(type, value)):
        other = next(type(key) for key in value if type(key) is not str)
        raise Malformed(f"the keys of a message must be text, not {other.__name__}")
    return value


_TEXT_ONLY = frozenset({str})


TYPE_RULE = f"1 to {MAX_TYPE_LENGTH} printable characters without `;`"


def is_type(name: str) -> bool:
    """Whether a message's type may be called so: `;` parts the types in a digest."""
    return 0 < len(name) <= MAX_TYPE_LENGTH and name.isprintable() and ";" not in name
