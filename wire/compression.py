"""gzip for bodies, and deflate for those of others, with a bound on what comes out."""

import zlib

from .errors import Malformed, TooLarge

GZIP = "gzip"
DEFLATE = "deflate"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
WORTHWHILE_OCTETS = 1_024
"""Bodies below this go as they are: the packet that carries them is not full anyway."""


def deflate(octets: bytes) -> bytes:
    """The gzip form. Level 1: bodies are sent once, and an agent has better uses for its machine."""
    squeeze = zlib.compressobj(level=1, wbits=_GZIP_WINDOW)
    return squeeze.compress(octets) + squeeze.flush()


def inflate(octets: bytes, limit: int) -> bytes:
    """
    What a gzip body holds, at most `limit` octets.

    Raises TooLarge when there is more, Malformed when it is cut, broken or followed by something.
    """
    return _expanded(octets, limit, GZIP, _GZIP_WINDOW)


def inflate_deflate(octets: bytes, limit: int) -> bytes:
    """
    The same for what HTTP calls deflate: zlib's format, or what some servers send for it, the bare stream.

    Raises TooLarge and Malformed.
    """
    is_framed = octets[:1] == b"\x78" and int.from_bytes(octets[:2], "big") % 31 == 0
    return _expanded(octets, limit, DEFLATE, zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS)


def _expanded(octets: bytes, limit: int, coding: str, window: int) -> bytes:
    expand = zlib.decompressobj(wbits=window)
    try:
        found = expand.decompress(octets, limit + 1)
    except zlib.error as error:
        raise Malformed(f"not {coding}: {error}") from error
    if len(found) > limit:
        raise TooLarge(f"the body unpacks to more than the {limit} octets allowed")
    if not expand.eof:
        raise Malformed(f"the {coding} body is cut")
    if expand.unused_data:
        raise Malformed(f"{len(expand.unused_data)} octets after the {coding} body")
    return found
