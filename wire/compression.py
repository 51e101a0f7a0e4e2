"""gzip for bodies, with a bound on what comes out."""

import zlib

from .errors import Malformed, TooLarge

GZIP = "gzip"
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
    expand = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        found = expand.decompress(octets, limit + 1)
    except zlib.error as error:
        raise Malformed(f"not gzip: {error}") from error
    if len(found) > limit:
        raise TooLarge(f"the body unpacks to more than the {limit} octets allowed")
    if not expand.eof:
        raise Malformed("the gzip body is cut")
    if expand.unused_data:
        raise Malformed(f"{len(expand.unused_data)} octets after the gzip body")
    return found
