"""CBOR: all that may travel arrives as it was, and nothing else gets in or out."""

import tracemalloc
from collections import OrderedDict
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fieldpost.wire.cbor import DEFAULT_LIMITS, Limits, decode, encode, encode_each_known, encode_known
from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge

from .plain_cbor import NotTaken, read_plainly
from .values import messages, same, values

PLAIN_LIMITS = Limits(depth=4, items=40)


def _head(major: int, argument: int, size: int) -> bytes:
    """A head of the size that is asked for, be it longer than needed."""
    if size == 0:
        return bytes([major << 5 | argument & 23])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + argument.to_bytes(size, "big")


heads = st.builds(
    _head, st.integers(0, 7), st.integers(0, 30) | st.integers(0, 255), st.sampled_from([0, 0, 0, 1, 2, 4, 8])
)
"""What starts an item of any kind, may it travel or not."""
cbor_like = st.lists(heads | st.binary(max_size=3), max_size=12).map(b"".join)


def _listed(items: list[bytes]) -> bytes:
    return _head(4, len(items), 1) + b"".join(items)


def _mapped(items: list[bytes]) -> bytes:
    return _head(5, len(items) // 2, 2) + b"".join(items[: len(items) // 2 * 2])


odd_values = st.recursive(
    values.map(encode) | heads,
    lambda inner: st.lists(inner, max_size=6).map(_listed) | st.lists(inner, max_size=6).map(_mapped),
    max_leaves=12,
)
"""Well put together out of good and bad items, with heads longer than needed."""


# There and back


@given(values)
@example([1.5, [2, [3, b"", "", {}]], {"a": {b"a": {1: None}}}])
@example({"": "", b"": b"", 0: 0})
def test_every_value_survives_the_way_there_and_back(value: Any) -> None:
    """Octets and text stay apart, lists stay lists, numbers keep their kind, maps their order."""
    assert same(decode(encode(value)), value)


@given(values)
def test_the_octets_are_those_of_the_library(value: Any) -> None:
    """So any program that speaks CBOR can read what we write."""
    assert encode(value) == cbor2.dumps(value)


@given(values)
def test_what_is_known_to_travel_has_the_same_octets(value: Any) -> None:
    """A value that is encoded without the walk is encoded alike."""
    assert encode_known(value) == encode(value)


@given(st.lists(values))
def test_many_at_once_have_the_same_octets_each(many: list[Any]) -> None:
    """None of them leaves a trace in the next."""
    assert encode_each_known(many) == [encode(value) for value in many]


def test_what_is_known_to_travel_and_does_not_is_our_mistake() -> None:
    """What the library does not take is an error of ours without the walk, too."""
    with pytest.raises(LocalProtocolError, match="of type object"):
        encode_known({"a": object()})
    with pytest.raises(LocalProtocolError, match="of type object"):
        encode_each_known([1, {"a": object()}, 2])


@given(messages)
def test_a_message_survives_the_way_there_and_back(message: dict[str, Any]) -> None:
    """This is what the whole program is for."""
    assert same(decode(encode(message)), message)


def test_octets_and_text_of_the_same_letters_are_two_keys() -> None:
    """Nothing is ever guessed to be text."""
    assert decode(encode({b"a": 1, "a": 2})) == {b"a": 1, "a": 2}


def test_a_tuple_arrives_as_a_list() -> None:
    """The wire knows one kind of list."""
    assert decode(encode((1, (2,)))) == [1, [2]]


@pytest.mark.parametrize("size", [23, 24, 255, 256, 65_535, 65_536, 200_001])
def test_strings_and_lists_of_any_length_survive(size: int) -> None:
    """Also where the head grows by an octet, and where a library reads text in pieces."""
    value = ["ü" * size, b"\xff" * size, [None] * size, {number: number for number in range(size)}]

    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("f97e00", "nan"),
        ("f97c00", "inf"),
        ("f9c400", "-4.0"),
        ("fa47c35000", "100000.0"),
        ("fb3ff199999999999a", "1.1"),
        ("1bffffffffffffffff", "18446744073709551615"),
        ("3bffffffffffffffff", "-18446744073709551616"),
        ("c249010000000000000000", "18446744073709551616"),
        ("c349010000000000000000", "-18446744073709551617"),
        ("c24101", "1"),
        ("1800", "0"),
        ("9b000000000000000101", "[1]"),
        ("b801616102", "{'a': 2}"),
        ("f4", "False"),
        ("f5", "True"),
        ("f6", "None"),
        ("a2616101616102", "{'a': 2}"),
    ],
)
def test_values_of_the_standard_are_read(octets: str, value: str) -> None:
    """RFC 8949, appendix A; heads may be longer than needed, and of a key that stands twice the last counts."""
    assert repr(decode(bytes.fromhex(octets))) == value


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Point(NamedTuple):
    """A list with names."""

    x: int
    y: int


def test_kinds_of_kinds_travel_as_what_they_are() -> None:
    """Plugin authors need not convert what their libraries hand them."""
    value = {"level": Level.HIGH, "point": Point(1, 2), "map": OrderedDict(a=1), "octets": bytearray(b"x")}

    assert decode(encode(value)) == {"level": 3, "point": [1, 2], "map": {"a": 1}, "octets": b"x"}


# What does not leave


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({1, 2}, "it is of type set"),
        (..., "it is of type ellipsis"),
        ({"a": [1, datetime(2026, 1, 2)]}, "['a'][1] is of type datetime"),
        ({"a": {None: 1}}, "['a'] has the key None; keys are text, octets or integers"),
        ({True: 1}, "it has the key True"),
        ({1.5: 1}, "it has the key 1.5"),
        ({(1,): 1}, "it has the key (1,)"),
        ({2**64: 1}, "a map's key must be text, octets or an integer"),
        ([2**9_000], "an integer of more than 1024 octets"),
        (_nested(41), "more than 40 deep"),
        ({"a": HOLDS_ITSELF}, "more than 40 deep"),
        ("\ud800", "surrogates not allowed"),
        (cbor2.undefined, "it is of type"),
        (cbor2.CBORTag(0, "2026-01-02T00:00:00Z"), "it is of type CBORTag"),
    ],
    ids=repr,
)
def test_what_a_peer_would_refuse_is_refused_here_with_its_place(value: Any, fault: str) -> None:
    """A plugin's author learns at once which value does not travel, and where it stands."""
    with pytest.raises(LocalProtocolError) as caught:
        encode(value)

    assert str(caught.value).startswith("this value does not travel: ")
    assert fault in str(caught.value)


@given(values)
def test_whatever_is_encoded_is_decoded_by_a_peer_of_default_limits(value: Any) -> None:
    """No value leaves that would be refused on arrival, and the deepest may be as deep as they take."""
    decode(encode({"inside": value}))
    decode(encode(_nested(DEFAULT_LIMITS.depth)))


def test_a_value_of_more_items_than_a_peer_takes_is_encoded_all_the_same() -> None:
    """How much it takes is the peer's to say: a payload that it refuses is sent again in parts."""
    octets = encode([None] * (DEFAULT_LIMITS.items + 1))

    with pytest.raises(TooLarge):
        decode(octets)


# What does not enter


def _refuses(octets: bytes, limits: Limits = PLAIN_LIMITS) -> bool:
    """Whether decoding ends in the one named error; any other is the test's failure."""
    try:
        decode(octets, limits)
    except RemoteProtocolError as error:
        assert type(error) in (Malformed, TooLarge)
        assert str(error)
        return True
    return False


def _agrees_with_the_plain_reading(octets: bytes) -> None:
    try:
        expected = read_plainly(octets, depth=PLAIN_LIMITS.depth, items=PLAIN_LIMITS.items)
    except NotTaken:
        assert _refuses(octets)
    else:
        assert same(decode(octets, PLAIN_LIMITS), expected)


@given(st.binary(max_size=100) | cbor_like | odd_values)
@example(b"\xa1\xc2\x41\x01\x00")
@example(b"\x82\x81\x81\x81\x00\x81\x00")
@example(b"\xc2\xc2\x41\x01")
def test_any_octets_are_the_value_that_a_plain_reading_finds_or_one_named_error(octets: bytes) -> None:
    """The fast walk is exactly as strict as the standard read word by word, and nothing else leaves it."""
    _agrees_with_the_plain_reading(octets)


@given(values.map(encode), st.data())
def test_a_value_with_an_octet_changed_put_in_or_left_out_is_a_value_or_one_named_error(
    octets: bytes, data: st.DataObject
) -> None:
    """A disturbed line does no harm."""
    at = data.draw(st.integers(0, len(octets)))
    put_in = data.draw(st.binary(max_size=2))
    left_out = data.draw(st.integers(0, 2))

    _agrees_with_the_plain_reading(octets[:at] + put_in + octets[at + left_out :])


@given(values.map(encode))
def test_a_value_cut_anywhere_is_malformed(octets: bytes) -> None:
    """Truncated at every octet in turn."""
    for length in range(len(octets)):
        with pytest.raises(Malformed):
            decode(octets[:length])


@given(values.map(encode), st.binary(min_size=1, max_size=3))
def test_octets_behind_the_value_are_malformed(octets: bytes, more: bytes) -> None:
    """A second value is none of ours."""
    with pytest.raises(Malformed, match=f"{len(more)} octets after the value's end"):
        decode(octets + more)


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        ("", "cut after 0 octets"),
        ("1a0000", "cut after 3 octets"),
        ("636161", "cut after 3 octets"),
        ("9a0000", "cut after 3 octets"),
        ("82", "cut after 1 octets"),
        ("a2616100", "4 items announced, 3 octets left"),
        ("a161", "2 items announced, 1 octets left"),
        ("9bffffffffffffffff00", "18446744073709551615 items announced, 1 octets left"),
        ("bbffffffffffffffff00", "36893488147419103230 items announced, 1 octets left"),
        ("7bffffffffffffffff61", "cut after 10 octets"),
        ("5bffffffffffffffff61", "cut after 10 octets"),
        ("c25bffffffffffffffff61", "an integer of more than 1024 octets"),
        ("c2", "cut after 1 octets"),
        ("c25a00", "cut after 3 octets"),
        ("c201", "octet 1: a big integer needs octets"),
        ("c25f4101ff", "octet 1: a big integer needs octets"),
        ("c26161", "octet 1: a big integer needs octets"),
        ("c14101", "octet 0: 0xc1 starts nothing"),
        ("9fff", "octet 0: 0x9f starts nothing"),
        ("bfff", "octet 0: 0xbf starts nothing"),
        ("5f4101ff", "octet 0: 0x5f starts nothing"),
        ("7f6161ff", "octet 0: 0x7f starts nothing"),
        ("8201ff", "octet 2: 0xff starts nothing"),
        ("1c", "octet 0: 0x1c starts nothing"),
        ("f7", "octet 0: 0xf7 starts nothing"),
        ("f820", "octet 0: 0xf8 starts nothing"),
        ("c074323031332d30332d32315432303a30343a30305a", "octet 0: 0xc0 starts nothing"),
        ("d81c8100", "octet 0: 0xd8 starts nothing"),
        ("d81d00", "octet 0: 0xd8 starts nothing"),
        ("a1f600", "octet 1: a map's key must be"),
        ("a1f500", "octet 1: a map's key must be"),
        ("a1f93c0000", "octet 1: a map's key must be"),
        ("a18000", "octet 1: a map's key must be"),
        ("a1a000", "octet 1: a map's key must be"),
        ("a1c2410100", "octet 1: a map's key must be"),
        ("a15f4101ff00", "octet 1: a map's key must be"),
        ("62c328", "not CBOR: "),
        ("a162c32800", "not CBOR: "),
        ("63eda080", "not CBOR: "),
    ],
)
def test_what_may_not_travel_is_refused_by_name_and_octet(octets: str, fault: str) -> None:
    """Cut values, lengths without end, tags, simple values, odd keys, text that is not UTF-8."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode(bytes.fromhex(octets))

    assert fault in str(caught.value)


# Limits


@pytest.mark.parametrize("shape", ["list", "long list", "map", "mixed"])
def test_a_value_may_be_as_deep_as_the_limit_and_no_deeper(shape: str) -> None:
    """The depth of an empty list counts, and so does that of a list of numbers."""
    starts = {
        "list": [b"\x81"] * 4,
        "long list": [b"\x98\x01"] * 4,
        "map": [b"\xa1\x00"] * 4,
        "mixed": [b"\x81", b"\xa1\x00"] * 2,
    }
    deepest = b"".join(starts[shape]) + b"\x00"

    assert not _refuses(deepest, Limits(depth=4))
    with pytest.raises(TooLarge, match="more than 3 deep"):
        decode(deepest, Limits(depth=3))
    assert _refuses(deepest[:-1] + b"\x80", Limits(depth=4))


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_a_value_deeper_than_any_stack_is_too_large(depth: int) -> None:
    """Even where somebody set a limit that the program itself cannot hold."""
    octets = b"\x81" * depth + b"\x00"

    with pytest.raises(TooLarge):
        decode(octets)
    assert _refuses(octets, Limits(depth=1_000_000))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _count(item) for item in value.values())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@given(values)
def test_a_value_may_have_as_many_items_as_the_limit_and_no_more(value: Any) -> None:
    """Lists, maps, keys and what they hold all count."""
    count = _count(value)

    assert same(decode(encode(value), Limits(items=count)), value)
    with pytest.raises(TooLarge, match=f"more than {count} items"):
        decode(encode([value]), Limits(items=count))


def test_an_integer_may_have_1024_octets_and_no_more() -> None:
    """Its head included; so that nobody pays for the arithmetic of a giant."""
    most = 2 ** (8 * 1_021) - 1

    assert decode(encode(most)) == most
    with pytest.raises(TooLarge, match="an integer of more than 1024 octets"):
        decode(b"\xc2\x59" + (1_022).to_bytes(2, "big") + b"\xff" * 1_022)


def test_a_value_may_be_as_long_as_the_limit_and_no_longer() -> None:
    """The length is looked at first."""
    assert decode(b"\x61a", Limits(octets=2)) == "a"
    with pytest.raises(TooLarge, match="2 octets are more than the 1 allowed"):
        decode(b"\x61a", Limits(octets=1))


@pytest.mark.parametrize(
    "octets",
    [
        b"\x9a\x7f\xff\xff\xff",
        b"\xba\x7f\xff\xff\xff",
        b"\x9b" + b"\x3f" * 8,
        b"\x5a\x7f\xff\xff\xff",
        b"\x7a\x7f\xff\xff\xff",
        b"\xc2\x5a\x7f\xff\xff\xff",
        b"\x9a\x00\x0f\x00\x00" * 20,
        b"\x81" * 31 + b"\x9a\x7f\xff\xff\xff",
    ],
    ids=lambda octets: octets[:6].hex(),
)
def test_announced_lengths_reserve_no_memory(octets: bytes) -> None:
    """Two thousand million items announced, none sent: nobody pays for them."""
    octets += bytes(1_000)
    tracemalloc.start()
    try:
        assert _refuses(octets, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000
