"""
A request body made ready for the database: decoded, checked, each message in the form in which it is stored.

All work that needs no database happens here, so that it can run while another exchange waits for the disk.

What is stored is CBOR, whatever came: the very octets of a message in CBOR, a message in bpickle encoded anew. Tuples
become lists by that; nothing else is lost, octets and text stay apart.
"""

from functools import partial
from typing import Any

from attrs import frozen

from ..wire import cbor
from ..wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from ..wire.compression import inflate
from ..wire.declaration import Catalogue
from ..wire.digest import types_digest
from ..wire.encoding import BPICKLE, CBOR, Encoding
from ..wire.errors import TooLarge
from ..wire.http import MAX_EXCHANGE_OCTETS
from ..wire.message import OPERATION_RESULT, REGISTER, RESYNCHRONIZE, Message
from ..wire.payload import ClientPayload
from .errors import ServerError
from .messages import Row, row_of
from .operations import Result, read_result
from .typed import Parts, Typed

_NOTHING_TYPED = Typed(Catalogue({}))
_ANSWERS = (OPERATION_RESULT, RESYNCHRONIZE)


@frozen(kw_only=True)
class ParcelLimits:
    """How much one exchange may bring."""

    octets: int = MAX_EXCHANGE_OCTETS
    """Of the body, unpacked."""
    items: int = 1_000_000
    """Values of all kinds in it: this bounds the memory that decoding takes."""
    messages: int = 10_000


class UnknownLevel(ServerError):
    """The payload is written in an API level that this server does not have."""

    def __init__(self, level: ApiLevel) -> None:
        super().__init__(f"API level {level} is not known here")
        self.level = level


@frozen(kw_only=True)
class Item:
    """A message on its way to the database. What must not be stored, because it carries a password, has no row."""

    row: Row | None
    result: Result | None = None
    parts: Parts | None = None
    """Its fields in columns, where its type is declared."""


@frozen(kw_only=True)
class Parcel:
    """One exchange, as it came."""

    secure_id: bytes | None
    token: bytes | None
    payload: ClientPayload
    items: tuple[Item, ...]
    is_landscape: bool = False
    """Whether it came in Landscape's encoding."""
    numbered: bool = True
    """False for a registration that stands outside its agent's sequence: the numbers of its payload mean nothing."""


def open_parcel(
    body: bytes,
    *,
    encoding: Encoding,
    packed: bool,
    level: ApiLevel | None,
    secure_id: bytes | None,
    token: bytes | None,
    limits: ParcelLimits,
    typed: Typed = _NOTHING_TYPED,
) -> Parcel:
    """
    Read a body; `level` is what its header says.

    Raises Malformed, TooLarge, UnknownLevel.
    """
    octets = inflate(body, limits.octets) if packed else body
    bounds = cbor.Limits(octets=limits.octets, items=limits.items)
    if encoding is CBOR:
        value, bodies = cbor.decode_with_items(octets, "messages", bounds)
    else:
        value, bodies = encoding.decode(octets, bounds), None
    if encoding is BPICKLE and _is_bare(value):
        bare = ClientPayload.from_map(_completed(value, level))
        _check(bare, limits)
        return Parcel(secure_id=None, token=None, payload=bare, items=(), numbered=False)
    payload = ClientPayload.from_map(value)
    _check(payload, limits)
    if bodies is None:
        bodies = cbor.encode_each_known(payload.messages)
    items = tuple(map(partial(_item, typed), payload.messages, bodies))
    return Parcel(
        secure_id=secure_id, token=token, payload=payload, items=items, is_landscape=encoding is BPICKLE
    )


def _is_bare(value: Any) -> bool:
    """Whether this is the payload of `landscape-config`, which registers without its broker (landscape 1.5)."""
    return type(value) is dict and value.keys() == {"messages"}


def _completed(value: dict[str, Any], level: ApiLevel | None) -> dict[str, Any]:
    """Such a payload with what a broker that never exchanged would say."""
    return {
        "accepted-types": types_digest(()),
        "next-expected-sequence": 0,
        "sequence": 0,
        "server-api": bytes(level or NEWEST_SERVER_API),
        "total-messages": 0,
        **value,
    }


def _check(payload: ClientPayload, limits: ParcelLimits) -> None:
    count = len(payload.messages)
    if not OLDEST_SERVER_API <= payload.server_api <= NEWEST_SERVER_API:
        raise UnknownLevel(payload.server_api)
    if count > limits.messages:
        raise TooLarge(f"{count} messages are more than the {limits.messages} allowed in one exchange")


def _item(typed: Typed, message: Message, octets: bytes) -> Item:
    kind = message["type"]
    if kind == REGISTER:
        return Item(row=None)
    result = read_result(message) if kind in _ANSWERS else None
    return Item(row=row_of(message, octets), result=result, parts=typed.parts(message))
