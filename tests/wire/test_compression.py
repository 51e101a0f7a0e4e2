"""gzip: bounded, whole, and nothing behind it."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.compression import deflate, inflate, inflate_deflate
from fieldpost.wire.errors import Malformed, RemoteProtocolError, TooLarge


@given(st.binary(max_size=2_000))
def test_a_body_survives_the_way_there_and_back(octets: bytes) -> None:
    """Up to exactly the limit; any gzip program reads ours, we read any gzip program's."""
    assert inflate(deflate(octets), len(octets)) == octets
    assert gzip.decompress(deflate(octets)) == octets
    assert inflate(gzip.compress(octets), len(octets)) == octets


@given(st.binary(min_size=1, max_size=2_000), st.data())
def test_a_body_above_the_limit_is_too_large(octets: bytes, data: st.DataObject) -> None:
    """By one octet or by many."""
    limit = data.draw(st.integers(0, len(octets) - 1))

    with pytest.raises(TooLarge, match=f"more than the {limit} octets allowed"):
        inflate(deflate(octets), limit)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """64 MiB packed into 64 KiB stay packed."""
    bomb = deflate(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(bomb, 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bomb) < 1024 * 1024
    assert peak < len(bomb) + 200_000


@given(st.binary(max_size=300))
def test_a_body_cut_anywhere_is_malformed(octets: bytes) -> None:
    """Truncated at every octet in turn, also within the checksum at its end."""
    packed = deflate(octets)

    for length in range(len(packed)):
        with pytest.raises(Malformed, match="the gzip body is cut"):
            inflate(packed[:length], 1_000)


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=30))
def test_octets_behind_the_body_are_malformed(octets: bytes, more: bytes) -> None:
    """Also when they are a second gzip body."""
    with pytest.raises(Malformed, match=f"{len(more)} octets after the gzip body"):
        inflate(deflate(octets) + more, 1_000)
    with pytest.raises(Malformed, match="octets after the gzip body"):
        inflate(deflate(octets) + deflate(more), 1_000)


@given(st.binary(max_size=300), st.data())
def test_a_disturbed_body_is_never_taken_for_another(octets: bytes, data: st.DataObject) -> None:
    """The checksum finds it, or the header does; where nothing depends on the octet the body is the same."""
    packed = bytearray(deflate(octets))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    try:
        assert inflate(bytes(packed), 1_000) == octets
    except RemoteProtocolError as error:
        assert str(error)


@pytest.mark.parametrize(
    "octets", [b"no gzip", zlib.compress(b"zlib's own form"), b"\x1f\x8b\x07" + bytes(20)]
)
def test_what_is_no_gzip_is_malformed(octets: bytes) -> None:
    """Plain octets, zlib's own form, an unknown method."""
    with pytest.raises(Malformed, match="not gzip"):
        inflate(octets, 1_000)


@pytest.mark.parametrize("window", [15, -15])
def test_deflate_of_others_is_read(window: int) -> None:
    """In zlib's format, as HTTP has it, and bare, as some servers write it; at every cut and flip it is that or an error."""
    squeeze = zlib.compressobj(wbits=window)
    packed = squeeze.compress(b"word " * 100) + squeeze.flush()

    assert inflate_deflate(packed, 1_000) == b"word " * 100
    with pytest.raises(TooLarge):
        inflate_deflate(packed, 499)
    for end in range(len(packed)):
        with pytest.raises(Malformed):
            inflate_deflate(packed[:end], 1_000)
    with pytest.raises(Malformed, match="3 octets after the deflate body"):
        inflate_deflate(packed + b"abc", 1_000)
