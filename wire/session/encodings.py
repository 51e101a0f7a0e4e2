"""
How a stream may be packed (spec/wire.md 1.6, 5.13): names, packers, and unpackers that stop at a limit.

Each piece is flushed as it is packed, so a frame unpacks to all that went into it: whatever becomes of the rest of its
response, the next one on that stream is not touched by it.
"""

import zlib
from typing import Protocol

from ..errors import Malformed, TooLarge

try:
    import zstandard  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # it comes with the extra `zstd`
    zstandard = None  # type: ignore[assignment,unused-ignore]

IDENTITY = b"identity"
ZLIB = b"zlib"
ZSTD = b"zstd-8mb"
_LEVEL = 1
"""Packing happens between other work: the higher levels take three times as long for a tenth less."""
_ZSTD_PIECE = 256
_ZSTD_WINDOW = 8 * 1024 * 1024
WORTH_PACKING = 64 * 1024
"""Octets of a body from which on it is worth a packer of its own, though nothing but the line is slow."""
NAMES = (ZSTD, ZLIB) if zstandard else (ZLIB,)
"""What this program packs and unpacks, best first. IDENTITY is taken as well, and never announced."""


class Packer(Protocol):
    """The sender's side of a stream."""

    def pack(self, octets: bytes) -> bytes:
        """What they become; nothing is held back."""


class Unpacker(Protocol):
    """The receiver's side."""

    def unpack(self, octets: bytes, limit: int) -> bytes:
        """Raises TooLarge above the limit, Malformed for what is not of this encoding."""


def choose(ours: tuple[bytes, ...], theirs: tuple[bytes, ...]) -> bytes | None:
    """The first of ours that the peer can unpack; None when there is none, and things go plain."""
    return next((name for name in ours if name in theirs and name != IDENTITY), None)


def make_packer(name: bytes) -> Packer:
    """For a name of NAMES, or IDENTITY."""
    return _PACKERS[name]()


def make_unpacker(name: bytes) -> Unpacker | None:
    """None for a name that is not known here."""
    return _UNPACKERS[name]() if name in _UNPACKERS else None


class _Plain:
    def pack(self, octets: bytes) -> bytes:
        return octets

    def unpack(self, octets: bytes, limit: int) -> bytes:
        return octets


class _Deflate:
    def __init__(self) -> None:
        self._packer = zlib.compressobj(_LEVEL)

    def pack(self, octets: bytes) -> bytes:
        return self._packer.compress(octets) + self._packer.flush(zlib.Z_SYNC_FLUSH)


class _Inflate:
    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj()

    def unpack(self, octets: bytes, limit: int) -> bytes:
        if self._unpacker.eof:
            raise Malformed("packed octets after the end of their stream")
        try:
            found = self._unpacker.decompress(octets, limit + 1)
        except zlib.error as error:
            raise Malformed(f"not zlib: {error}") from error
        if self._unpacker.unused_data:
            raise Malformed("packed octets after the end of their stream")
        return _check_size(found, limit)


def _check_size(found: bytes, limit: int) -> bytes:
    if len(found) > limit:
        raise TooLarge(f"a frame unpacks to more than the {limit} octets allowed")
    return found


class _ZstdPacker:
    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj()

    def pack(self, octets: bytes) -> bytes:
        packed: bytes = self._packer.compress(octets)
        packed += self._packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return packed


class _ZstdUnpacker:
    """The library has no limit to what comes out, so it gets a little at a time: each little comes to 8 MiB at most."""

    def __init__(self) -> None:
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()

    def unpack(self, octets: bytes, limit: int) -> bytes:
        parts, left = [], limit
        for start in range(0, len(octets), _ZSTD_PIECE):
            part = self._unpack(octets[start : start + _ZSTD_PIECE])
            left -= len(part)
            if left < 0:
                raise TooLarge(f"a frame unpacks to more than the {limit} octets allowed")
            parts.append(part)
        return b"".join(parts)

    def _unpack(self, octets: bytes) -> bytes:
        try:
            found: bytes = self._unpacker.decompress(octets)
        except zstandard.ZstdError as error:
            raise Malformed(f"not zstd: {error}") from error
        if self._unpacker.unused_data:
            raise Malformed("packed octets after the end of their stream")
        return found


_PACKERS: dict[bytes, type[Packer]] = {IDENTITY: _Plain, ZLIB: _Deflate}
_UNPACKERS: dict[bytes, type[Unpacker]] = {IDENTITY: _Plain, ZLIB: _Inflate}
if zstandard:
    _PACKERS[ZSTD] = _ZstdPacker
    _UNPACKERS[ZSTD] = _ZstdUnpacker
