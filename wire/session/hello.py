"""
The hello: the first frame of both ends (spec, 5.4).

It says for the role that the sender has in this session which versions it speaks, who it is, in which life, what it can
and what it takes. What a newer peer adds is passed over. A second frame of the same kind may bring the proof that the
first announced.
"""

from typing import Any

from attrs import evolve, frozen

from ..errors import Malformed
from ..schema import field_of, integer_of, optional
from .identity import NONCE_OCTETS, is_id
from .maps import (
    from_octet_map,
    octets_of,
    pair_of,
    read_word,
    read_words,
    to_octet_map,
    write_word,
    write_words,
)
from .proof import PROOF_METHOD, PROOF_OCTETS

MAX_HELLO_OCTETS = 16 * 1024
"""As `Limits.hello`; what a frame before there is a session may hold."""
MAX_VERSION = 2**31 - 1
CBOR, HG_CBOR = "cbor", "hg-cbor"
CODECS = (CBOR, HG_CBOR)
"""Those that this program has, the most wanted first."""
CANCEL, CREDIT, NOTIFY, PUSH, RESUME = "cancel", "credit", "notify", "push", "resume"
CAPABILITIES = (CANCEL, CREDIT, NOTIFY, PUSH)
"""Those that this program has."""
LIMIT_NAMES = ("active", "credit", "data", "decoded", "frame", "partial", "request", "streams")
LEAST_LIMITS = {
    "active": 1,
    "credit": 256,
    "data": 0,
    "decoded": 256,
    "frame": 256,
    "partial": 1,
    "request": 256,
    "streams": 1,
}
"""A peer that takes less than this could not be told anything."""
MAX_LIMIT = 2**31 - 1
MAX_KEEPALIVE_SECONDS = 3600

VERSION_NUMBER = integer_of(0, MAX_VERSION)
SECONDS = integer_of(1, MAX_KEEPALIVE_SECONDS)
COUNTER = integer_of(0, 2**63 - 1)
_LIMIT = integer_of(0, MAX_LIMIT)
INCARNATION = octets_of(1, 64)


def read_versions(value: Any) -> tuple[int, int]:
    """Oldest and newest."""
    oldest, newest = pair_of(VERSION_NUMBER, VERSION_NUMBER)(value)
    if oldest > newest:
        raise Malformed(f"must be the oldest and the newest, not {oldest} and {newest}")
    return oldest, newest


def _read_id(value: Any) -> str:
    text = read_word(value)
    if not is_id(text):
        raise Malformed("must be `a:` or `s:` and a name of letters, digits, dots, dashes and low lines")
    return text


def _read_limits(value: Any) -> dict[str, int]:
    """Those that we know; others may be a newer peer's."""
    if type(value) is not dict:
        raise Malformed("must be a map")
    return {name: _read_limit(name, value[name.encode()]) for name in LIMIT_NAMES if name.encode() in value}


def _read_limit(name: str, value: Any) -> int:
    try:
        return int(_LIMIT(value))
    except Malformed as error:
        raise Malformed(f"`{name}` {error}") from None


def _write_limits(value: dict[str, int]) -> dict[bytes, int]:
    return {name.encode(): number for name, number in sorted(value.items())}


def write_pair(value: tuple[Any, Any]) -> list[Any]:
    """A list of two."""
    return list(value)


def _write_capabilities(value: tuple[str, ...]) -> list[bytes]:
    return write_words(tuple(sorted(value)))


@frozen(kw_only=True)
class Hello:
    """What an end says of itself. Whatever is None or empty was not said, or will not be."""

    versions: tuple[int, int] = field_of(read_versions, write=write_pair)
    id: str | None = field_of(_read_id, default=None, write=write_word)
    incarnation: bytes | None = field_of(INCARNATION, default=None)
    attempt: int | None = field_of(COUNTER, default=None)
    last: tuple[bytes, int] | None = field_of(
        optional(pair_of(INCARNATION, COUNTER)), default=None, write=write_pair
    )
    """Incarnation and number of the last decision heard; a client with none says null."""
    capabilities: tuple[str, ...] = field_of(read_words, default=(), write=_write_capabilities)
    codecs: tuple[str, ...] = field_of(read_words, default=(HG_CBOR,), write=write_words)
    """The most wanted first."""
    encodings: tuple[str, ...] = field_of(read_words, name="contentencodings", default=(), write=write_words)
    """What it can decode."""
    limits: dict[str, int] = field_of(_read_limits, default={}, write=_write_limits)
    """What it is ready to receive."""
    keepalive: tuple[int, int] | None = field_of(pair_of(SECONDS, SECONDS), default=None, write=write_pair)
    """Seconds of silence until it wants to be pinged, and from then on until it gives up."""
    nonce: bytes | None = field_of(octets_of(NONCE_OCTETS, NONCE_OCTETS), default=None)
    proof: bytes | None = field_of(octets_of(1, 64), default=None)
    """How it will prove its id, when a proof follows."""


def hello_map(hello: Hello, *, says_last: bool) -> dict[bytes, Any]:
    """The map of a hello. A client `says_last`, if only that there was none."""
    found = to_octet_map(hello)
    if says_last and hello.last is None:
        found[b"last"] = None
    return dict(sorted(found.items()))


def read_hello(value: Any) -> Hello:
    """
    The hello of a peer's map.

    Raises Malformed for what is missing or wrong, and for limits under which no session could work.
    """
    hello = from_octet_map(Hello, value)
    for name, least in LEAST_LIMITS.items():
        if hello.limits.get(name, least) < least:
            raise Malformed(f"`limits`.`{name}` must be at least {least}")
    if hello.proof is not None and (hello.proof != PROOF_METHOD or not hello.nonce or not hello.id):
        raise Malformed(f"`proof` must be {PROOF_METHOD.decode()}, and come with `nonce` and `id`")
    return evolve(hello, capabilities=tuple(sorted(set(hello.capabilities))))


@frozen(kw_only=True)
class _Proof:
    proof: bytes = field_of(octets_of(PROOF_OCTETS, PROOF_OCTETS))


def proof_map(proof: bytes) -> dict[bytes, Any]:
    """The map of the second frame."""
    return to_octet_map(_Proof(proof=proof))


def read_proof(value: Any) -> bytes:
    """The proof in a peer's second map. Raises Malformed."""
    return from_octet_map(_Proof, value).proof
