"""bpickle: what the real codec wrote is written the same, and nothing that it would not write is read."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire import bpickle
from fieldpost.wire.cbor import Limits
from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "landscape" / "bpickle-vectors.jsonl").read_text().splitlines()
]
ROUND_TRIPS = [v for v in VECTORS if v["case"] == "roundtrip"]
DECODES = [v for v in VECTORS if v["case"] == "decode" and "hex" in v]
TAKEN_STRICTLY = {"666e616e3b"}
"""Of what the old decoder takes beyond its encoder's own words, only this is a value that its encoder writes: nan."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1), inner)
        | st.dictionaries(st.binary(), inner)
    ),
    max_leaves=30,
)


@pytest.mark.parametrize("vector", ROUND_TRIPS, ids=lambda v: v["py"][:40])
def test_a_value_becomes_the_octets_that_the_real_codec_writes(vector: dict[str, Any]) -> None:
    """And these octets become the value again, with keys as text or as they are."""
    octets = bytes.fromhex(vector["hex"])

    assert bpickle.encode(ast.literal_eval(vector["py"])) == octets
    assert repr(bpickle.decode(octets)) == vector["loads"]
    assert repr(bpickle.decode(octets, text_keys=False)) == vector["loads_as_is"]


@pytest.mark.parametrize("vector", DECODES, ids=lambda v: v["hex"] or "nothing")
def test_what_no_encoder_writes_is_one_named_error(vector: dict[str, Any]) -> None:
    """The old decoder's looseness is not ours."""
    if vector["hex"] in TAKEN_STRICTLY:
        assert repr(bpickle.decode(bytes.fromhex(vector["hex"]))) == vector["ok"]
    else:
        with pytest.raises(Malformed):
            bpickle.decode(bytes.fromhex(vector["hex"]))


@given(values)
def test_every_value_survives_the_way_there_and_back(value: Any) -> None:
    """Octets and text, lists and tuples, integers of any size stay what they are."""
    there_and_back = bpickle.decode(bpickle.encode(value), text_keys=False)

    assert repr(there_and_back) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return type(value)(_sorted(item) for item in value) if isinstance(value, list | tuple) else value


alike = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d" * 9]), st.sampled_from(["x", "y", b"x", "z" * 99, 1, 0.5, []])
    )
)


@given(alike, st.data())
def test_messages_that_repeat_each_other_are_told_apart(value: Any, data: st.DataObject) -> None:
    """What was read once and comes again is read the same; what only begins the same is not."""
    octets = bpickle.encode(value)

    assert repr(bpickle.decode(octets)) == repr(_sorted(value))
    with pytest.raises(RemoteProtocolError):
        bpickle.decode(octets[: data.draw(st.integers(0, len(octets) - 1))])


def test_a_key_that_stands_twice_is_found_also_in_a_repetition() -> None:
    """However often its pairs were read before."""
    a, b = b"u1:au1:x", b"u1:bu1:y"

    assert bpickle.decode(b"ld" + a + b + b";d" + b + a + b";;") == [{"a": "x", "b": "y"}] * 2
    with pytest.raises(Malformed, match="twice"):
        bpickle.decode(b"ld" + a + b + b";d" + b + a + b";d" + a + b + a + b";;")


@given(st.binary(max_size=200))
def test_arbitrary_octets_are_a_value_or_one_named_error(octets: bytes) -> None:
    """Nothing else ever leaves the decoder."""
    try:
        value = bpickle.decode(octets)
    except RemoteProtocolError:
        return
    octets_again = bpickle.encode(value)
    assert bpickle.encode(bpickle.decode(octets_again)) == octets_again


@given(values.map(bpickle.encode), st.data())
def test_a_value_cut_or_changed_anywhere_is_a_value_or_one_named_error(
    octets: bytes, data: st.DataObject
) -> None:
    """Each prefix is refused, and each changed octet does no harm."""
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(RemoteProtocolError):
        bpickle.decode(octets[:cut])

    changed = octets[:cut] + bytes([data.draw(st.integers(0, 255))]) + octets[cut + 1 :]
    try:
        bpickle.decode(changed)
    except RemoteProtocolError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("octets", "limits"),
    [
        (b"l" * 5_000, Limits()),
        (b"l" * 5_000 + b";" * 5_000, Limits()),
        (b"l" + b"n" * 11 + b";", Limits(items=10)),
        (b"d" + b"".join(b"i%d;n" % key for key in range(11)) + b";", Limits(items=10)),
        (b"l" + b"du1:au1:x;" * 6 + b";", Limits(items=10)),
        (b"u5:abcde", Limits(octets=7)),
    ],
    ids=["open and deep", "deep", "many items", "many keys", "many pairs", "long"],
)
def test_what_is_above_a_limit_is_refused_as_too_large(octets: bytes, limits: Limits) -> None:
    """Depth, count and length are bounded, whatever the octets announce."""
    with pytest.raises(TooLarge):
        bpickle.decode(octets, limits)


@pytest.mark.parametrize(
    "octets",
    [b"b9", b"b", b"i 1;", b"i+1;", b"i1_0;", b"i01;", b"i-0;", b"i;", b"i1", b"f1,5;", b"f 1.0;", b"f+1.0;", b"f01.0;", b"f.5;", b"f1.;", b"f1e5;", b"f1_0.0;", b"f-nan;", b"f1.0", b"s05:abcde", b"s-1:",
     b"s5:abc", b"s99999999999:x", b"u1:\xff", b"nn", b"n;", b"dn1;", b"dl;n;", b"ds1:\xffn;", b"du1:an", b"du1:a;", b"lx;", b"",
     b"du1:ands1:anu;", b"du1:anu1:an;", b"ds1:anu1:an;", b"di1;nu1:an;",
     b"di18446744073709551616;n;", b"di-18446744073709551617;n;", b"i" + b"9" * 5_000 + b";"],
)  # fmt: skip
def test_each_looseness_of_the_old_decoder_is_refused(octets: bytes) -> None:
    """Blanks, signs, leading zeros, cut strings, octets behind the value, keys that stand twice or are mixed."""
    with pytest.raises(Malformed):
        bpickle.decode(octets)


def test_keys_in_octets_become_text_as_python_2_peers_need_it() -> None:
    """A Python 2 peer wrote all its keys in octets; their values stay octets."""
    assert bpickle.decode(b"ds4:types8:register;") == {"type": b"register"}


def test_what_other_encoders_write_is_read() -> None:
    """Other decimals of a float, another order of keys."""
    assert bpickle.decode(b"du1:bf0.10000000000000001;u1:af1;;") == {"b": 0.1, "a": 1.0}


@pytest.mark.parametrize(
    "value",
    [{"a": 1, b"b": 2}, {1, 2}, bytearray(b"x"), "\ud800", ..., [{"a": (...,)}], {1: 1, "a": 2}],
    ids=repr,
)
def test_what_has_no_form_in_bpickle_is_our_own_mistake(value: Any) -> None:
    """Mixed keys, other types, text that is no Unicode: refused before an octet is written."""
    with pytest.raises(LocalProtocolError):
        bpickle.encode(value)


def test_a_value_without_end_is_our_own_mistake() -> None:
    """A list inside itself is refused, not followed for ever."""
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(LocalProtocolError):
        bpickle.encode(endless)
