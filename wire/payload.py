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
from .message import Message, check_message
from .schema import INTEGER, NATURAL, OCTETS, TEXT, field_of, from_map, list_of, optional, to_map

MAX_TOKEN_OCTETS = 128
MAX_TYPES = 1_000


def _api(value: Any) -> ApiLevel:
    if not isinstance(value, (bytes, str)):
        raise Malformed("must be an API level in octets or text")
    return ApiLevel.parse(value)


def _word(value: Any) -> str:
    """Text, or octets of ASCII in its place (landscape 1.4)."""
    if isinstance(value, bytes) and value.isascii():
        return value.decode("ascii")
    word: str = TEXT(value)
    return word


def _digest(value: Any) -> bytes:
    octets: bytes = OCTETS(value)
    if len(octets) != DIGEST_OCTETS:
        raise Malformed(f"must be {DIGEST_OCTETS} octets, not {len(octets)}")
    return octets


def _token(value: Any) -> bytes:
    octets: bytes = OCTETS(value)
    if not octets or len(octets) > MAX_TOKEN_OCTETS:
        raise Malformed(f"must be 1 to {MAX_TOKEN_OCTETS} octets, not {len(octets)}")
    return octets


def _types(value: Any) -> tuple[str, ...]:
    types: tuple[str, ...] = list_of(TEXT)(value)
    if len(types) > MAX_TYPES:
        raise Malformed(f"must hold at most {MAX_TYPES} types, not {len(types)}")
    return types


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
    next_expected_sequence: int = field_of(NATURAL)
    sequence: int = field_of(NATURAL)
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
    server_uuid: str = field_of(_word)
    messages: tuple[Message, ...] = field_of(list_of(check_message))
    next_expected_sequence: int | None = field_of(optional(INTEGER), default=None)
    next_exchange_token: bytes | None = field_of(optional(_token), default=None)
    client_accepted_types_hash: bytes | None = field_of(optional(_digest), default=None)

    def to_map(self) -> dict[str, Any]:
        """The map that is encoded."""
        return to_map(self)

    @classmethod
    def from_map(cls, value: Any) -> "ServerPayload":
        """
        Raises Malformed, naming the field.

        A message without a usable type does not spoil the answer: it is kept, as one that nobody can take, so that
        the stream goes on behind it (fault L6).
        """
        found = from_map(_LenientServerPayload, value)
        return cls(
            server_api=found.server_api,
            server_uuid=found.server_uuid,
            messages=tuple(_message_or_wreck(item) for item in found.messages),
            next_expected_sequence=found.next_expected_sequence,
            next_exchange_token=found.next_exchange_token,
            client_accepted_types_hash=found.client_accepted_types_hash,
        )


WRECK = "malformed-message"
"""Type under which a server's message that is none is journaled; its `cause` says why."""


@frozen(kw_only=True)
class _LenientServerPayload(ServerPayload):
    messages: tuple[Any, ...] = field_of(list_of(lambda item: item))


def _message_or_wreck(item: Any) -> Message:
    try:
        return check_message(item)
    except Malformed as error:
        return {"type": WRECK, "cause": str(error)}
