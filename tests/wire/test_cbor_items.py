"""The octets of a list's items are found in the octets of the whole, exactly as decoding sees them."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.cbor import Limits, decode, decode_with_items, encode
from fieldpost.wire.errors import Malformed, RemoteProtocolError, TooLarge

from .test_cbor import odd_values
from .values import values

KEYS = st.sampled_from(["messages", "other", b"messages", 1])


@given(st.dictionaries(KEYS, values | st.lists(values, max_size=30), max_size=4))
def test_items(value: Any) -> None:
    """Each item's octets stand for the item, in order; the value is the one that decoding gives."""
    octets = encode(value)

    found, items = decode_with_items(octets, "messages")

    assert encode(decode(octets)) == encode(found)
    listed = value.get("messages")
    expected = listed if isinstance(listed, list) else []
    assert list(map(encode, expected)) == [encode(decode(item)) for item in items]


@given(odd_values | st.binary(max_size=40))
def test_same_refusals(octets: bytes) -> None:
    """What decoding refuses is refused here, and nothing else."""
    limits = Limits(depth=4, items=40)
    try:
        expected = encode(decode(octets, limits))
    except RemoteProtocolError as error:
        with pytest.raises(type(error)):
            decode_with_items(octets, "a", limits)
    else:
        assert expected == encode(decode_with_items(octets, "a", limits)[0])


@pytest.mark.parametrize(
    "value",
    [[], [[1]], 5, {}, {"messages": 1}, {"messages": {}}, [{"messages": [1]}], {"x": {"messages": [1]}}],
)
def test_no_such_list(value: Any) -> None:
    """Only the list under the key of the outermost map counts."""
    assert (value, []) == decode_with_items(encode(value), "messages")


def test_key_twice() -> None:
    """Where the key stands twice, the items are the last one's, as the value is."""
    pair = encode("a") + encode([1, 2])

    assert ({"a": [3]}, [encode(3)]) == decode_with_items(b"\xa2" + pair + encode("a") + encode([3]), "a")
    assert decode_with_items(b"\xa2" + pair + encode("a") + encode(3), "a") == ({"a": 3}, [])


@pytest.mark.parametrize("key", [b"\x61a", b"\x78\x01a", b"\x79\0\x01a", b"\x7a\0\0\0\x01a"])
def test_key_with_a_long_head(key: bytes) -> None:
    """A key is the same however its length is written."""
    assert decode_with_items(b"\xa1" + key + encode([7]), "a") == ({"a": [7]}, [b"\x07"])


def test_other_keys_with_long_heads() -> None:
    """Octets are no text, and a longer text is another key."""
    for key in (b"\x58\x01a", b"\x78\x02aa", b"\x18\x61"):
        assert decode_with_items(b"\xa1" + key + encode([7]), "a")[1] == []


def test_items_as_they_came() -> None:
    """Items keep the very octets in which they were written."""
    odd = b"\x18\x01"

    assert ({"a": [1, "x"]}, [odd, b"\x61x"]) == decode_with_items(b"\xa1\x61a\x82" + odd + b"\x61x", "a")


def test_limits() -> None:
    """Length, depth and number of items are bounded as in decoding."""
    octets = encode({"a": [[[1]], 2, 3]})

    for limits in (Limits(octets=3), Limits(depth=3), Limits(items=5)):
        with pytest.raises(TooLarge):
            decode_with_items(octets, "a", limits)


def test_key_that_is_no_text() -> None:
    """A key of octets that are no UTF-8 is refused as decoding refuses it."""
    with pytest.raises(Malformed):
        decode_with_items(b"\xa1\x78\x01\xff\x80", "a")


def test_cut_at_every_octet() -> None:
    """A text that ends early is malformed, wherever it ends."""
    octets = cbor2.dumps({"x": 1, "messages": [{"type": "a"}, [1, [2]], "text"], "y": 2})

    for end in range(len(octets)):
        with pytest.raises(Malformed):
            decode_with_items(octets[:end], "messages")
