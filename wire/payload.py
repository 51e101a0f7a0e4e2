"""
The two payloads of an exchange (landscape 1.3 and 1.4), whatever encoding carries them.

Which fields are octets and which are text is part of the protocol, so that one set of maps serves both encodings:
API levels, digests and tokens are octets; types and uuids are text. What a peer may send either way is read either way.
"""

from typing import Any

from attrs import frozen

from .api import CLIENT_API, ApiLevel
from .digest import DIGEST_OCTETS
from .errors import Malformed
from .http import MAX_CREDENTIAL_OCTETS, is_credential
from .message import TYPE_RULE, Message, check_message, is_type
from .schema import NATURAL, OCTETS, TEXT, field_of, from_map, integer_of, list_of, optional, to_map

MAX_TYPES = 1_000
MAX_UUID_LENGTH = 128
MAX_SEQUENCE = 2**53
"""
Numbers of messages stay within this, on both sides of 0.

All languages can hold them, and counting on from one never leaves a database's range. Numbers below 0 are no fault: a
server may ask for one (landscape 1.8), and the agent goes on from there.
"""
_NUMBER = integer_of(-MAX_SEQUENCE, MAX_SEQUENCE)


def _api(value: Any) -> ApiLevel:
    if not isinstance(value, (bytes, str)):
        raise Malformed("must be an API level in octets or text")
    return ApiLevel.parse(value)


def _uuid(value: Any) -> str:
    """Text, or octets of ASCII in its place (landscape 1.4)."""
    uuid: str = TEXT(value.decode("ascii") if isinstance(value, bytes) and value.isascii() else value)
    if not 0 < len(uuid) <= MAX_UUID_LENGTH:
        raise Malformed(f"must have 1 to {MAX_UUID_LENGTH} characters, not {len(uuid)}")
    return uuid


def _digest(value: Any) -> bytes:
    octets: bytes = OCTETS(value)
    if len(octets) != DIGEST_OCTETS:
        raise Malformed(f"must be {DIGEST_OCTETS} octets, not {len(octets)}")
    return octets


def _token(value: Any) -> bytes:
    """Octets, or text in their place (landscape 1.6)."""
    octets: bytes = OCTETS(value.encode() if isinstance(value, str) else value)
    if not is_credential(octets):
        raise Malformed(
            f"must be 1 to {MAX_CREDENTIAL_OCTETS} octets of visible ASCII: it travels in a header"
        )
    return octets


def _type(value: Any) -> str:
    name: str = TEXT(value)
    if not is_type(name):
        raise Malformed(f"must be {TYPE_RULE}")
    return name


def _types(value: Any) -> tuple[str, ...]:
    types: tuple[str, ...] = list_of(_type)(value)
    if len(types) > MAX_TYPES:
        raise Malformed(f"must hold at most {MAX_TYPES} types, not {len(types)}")
    return types


WRECK = "malformed-message"
"""Type under which a server's message that is none is journaled; its `cause` says why."""


def _message_or_wreck(value: Any) -> Message:
    """
    The message, or one that nobody can take in its place.

    So a message without a usable type does not spoil the answer, and the stream goes on behind it (fault L6).
    """
    try:
        return check_message(_with_type_in_text(value))
    except Malformed as error:
        return {"type": WRECK, "cause": str(error)}


def _with_type_in_text(value: Any) -> Any:
    """The same message, if its `type` came in octets (landscape 1.6)."""
    kind = value.get("type") if type(value) is dict else None
    return {**value, "type": kind.decode()} if type(kind) is bytes and kind.isascii() else value


@frozen(kw_only=True)
class ClientPayload:
    """
    What an agent sends in one exchange.

    `sequence` is the number of the first message; all messages are of API level `server_api`; `total_messages` counts
    what is pending, these included; `client_accepted_types` goes along only while the server's digest is not ours.
    """

    accepted_types: bytes = field_of(_digest)
    client_accepted_types: tuple[str, ...] | None = field_of(optional(_types), default=None)
    client_api: ApiLevel = field_of(_api, default=CLIENT_API, write=bytes)
    messages: tuple[Message, ...] = field_of(list_of(check_message))
    next_expected_sequence: int = field_of(_NUMBER)
    sequence: int = field_of(_NUMBER)
    server_api: ApiLevel = field_of(_api, write=bytes)
    total_messages: int = field_of(NATURAL)

    def to_map(self) -> dict[str, Any]:
        """The map that is encoded."""
        return to_map(self)

    @classmethod
    def from_map(cls, value: Any) -> "ClientPayload":
        """Raises Malformed, naming the field."""
        return from_map(cls, value)


@frozen(kw_only=True)
class ServerPayload:
    """
    What the server answers.

    `next_expected_sequence` acknowledges: all messages below it are safe with the server; None means all that were
    sent. `next_exchange_token` is shown once, in the next exchange.
    """

    server_api: ApiLevel = field_of(_api, write=bytes)
    server_uuid: str = field_of(_uuid)
    messages: tuple[Message, ...] = field_of(list_of(_message_or_wreck))
    next_expected_sequence: int | None = field_of(optional(_NUMBER), default=None)
    next_exchange_token: bytes | None = field_of(optional(_token), default=None)
    client_accepted_types_hash: bytes | None = field_of(optional(_digest), default=None)

    def to_map(self) -> dict[str, Any]:
        """The map that is encoded."""
        return to_map(self)

    @classmethod
    def from_map(cls, value: Any) -> "ServerPayload":
        """Raises Malformed, naming the field. What stands for a message and is none becomes a WRECK."""
        return from_map(cls, value)
