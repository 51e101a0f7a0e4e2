"""
Maps whose keys and words are octets, as the hello, the decision and the close frame are.

They are classes of `schema` like all that travels; here is what turns their text into octets and back, and the order of
keys that the frames have: by content (spec 1.4).
"""

from typing import Any, TypeVar

from ..errors import Malformed
from ..schema import OCTETS, Read, from_map, list_of, to_map

T = TypeVar("T")
MAX_WORDS = 64
"""Of a list of words, such as the capabilities."""


def read_word(value: Any) -> str:
    """Octets that are a word in ASCII."""
    try:
        return str(OCTETS(value), "ascii")
    except UnicodeDecodeError:
        raise Malformed("must be ASCII") from None


def write_word(value: str) -> bytes:
    """The octets of a word."""
    return value.encode("ascii")


_read_list = list_of(read_word)


def read_words(value: Any) -> tuple[str, ...]:
    """A list of words, not longer than any of ours could become."""
    words: tuple[str, ...] = _read_list(value)
    if len(words) > MAX_WORDS:
        raise Malformed(f"must have at most {MAX_WORDS} items")
    return words


def write_words(value: tuple[str, ...]) -> list[bytes]:
    """The octets of words, in their order."""
    return [word.encode("ascii") for word in value]


def octets_of(least: int, most: int) -> Read:
    """Octets of a length in this range."""

    def read_octets(value: Any) -> bytes:
        octets: bytes = OCTETS(value)
        if not least <= len(octets) <= most:
            length = f"{least} to {most}" if most > least else str(least)
            raise Malformed(f"must be {length} octets long, not {len(octets)}")
        return octets

    return read_octets


def pair_of(first: Read, second: Read) -> Read:
    """A list of two; becomes a tuple."""

    def read_pair(value: Any) -> tuple[Any, Any]:
        if type(value) is not list or len(value) != 2:
            raise Malformed("must be a list of two")
        return first(value[0]), second(value[1])

    return read_pair


def to_octet_map(value: Any) -> dict[bytes, Any]:
    """The map of a value, keys as octets and in the order of their content."""
    return {key.encode("ascii"): item for key, item in sorted(to_map(value).items())}


def from_octet_map(cls: type[T], value: Any) -> T:
    """The value of a peer's map; what has no known key is passed over. Raises Malformed."""
    if type(value) is not dict:
        raise Malformed(f"{cls.__name__} must be a map")
    named = {key.decode("latin-1"): item for key, item in value.items() if type(key) is bytes}
    return from_map(cls, named)
