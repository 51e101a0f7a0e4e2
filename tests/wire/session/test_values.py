"""Values in a row, cut anywhere, in both codecs."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire import cbor
from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from fieldpost.wire.session.events import Atom, atom_of
from fieldpost.wire.session.values import DEFAULT, HG, Codec, RowReader, encode_sorted

LIMITS = cbor.Limits(octets=2_000, depth=6, items=300)
KEYS = st.binary(max_size=5) | st.integers(-(2**63), 2**63)
HG_LEAVES = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40)
HG_VALUES = st.recursive(
    HG_LEAVES | st.sets(st.binary(max_size=3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
VALUES = st.recursive(
    HG_LEAVES | st.text(max_size=9) | st.floats(allow_nan=False) | st.integers(-(2**90), 2**90),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def read(codec: Codec, octets: bytes, cuts: list[int]) -> list[Any]:
    reader, values, left = RowReader(codec, LIMITS), [], octets
    for cut in cuts:
        values += reader.feed(left[:cut])
        left = left[cut:]
    values += reader.feed(left)
    assert reader.end() is None
    assert reader.held == 0
    return values


@given(st.lists(VALUES, max_size=4), st.lists(st.integers(0, 9), max_size=20))
def test_rows(values: list[Any], cuts: list[int]) -> None:
    """A row comes back, however it is cut."""
    assert read(DEFAULT, b"".join(map(DEFAULT.encode, values)), cuts) == values


@given(st.lists(HG_VALUES, max_size=4), st.lists(st.integers(0, 9), max_size=20))
def test_hg_rows(values: list[Any], cuts: list[int]) -> None:
    """So does one of the older codec, sets included."""
    assert read(HG, b"".join(map(HG.encode, values)), cuts) == values


@given(HG_VALUES)
def test_one_order(value: Any) -> None:
    """The older codec gives one value the same octets, in whatever order its keys were put."""
    assert encode_sorted(HG.decode(encode_sorted(value), LIMITS)) == encode_sorted(value)


@given(st.binary(max_size=60), st.lists(st.integers(1, 5), max_size=20))
def test_any_octets(octets: bytes, cuts: list[int]) -> None:
    """Any octets are values, the beginning of one, or refused; in whatever pieces they come."""
    for codec in (DEFAULT, HG):
        outcomes = [outcome_of(codec, octets, some) for some in ([], cuts, [1] * len(octets))]
        assert outcomes[0] == outcomes[1] == outcomes[2]


def outcome_of(codec: Codec, octets: bytes, cuts: list[int]) -> str:
    reader, values = RowReader(codec, LIMITS), []
    try:
        for cut in cuts:
            values += reader.feed(octets[:cut])
            octets = octets[cut:]
        values += reader.feed(octets)
    except RemoteProtocolError as error:
        return error.code
    return repr((values, reader.end()))


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"\x59\xff\xff", TooLarge),
        (b"\x81" * 7, TooLarge),
        (b"\x99\x01\x2d", TooLarge),
        (b"\xd9\x01\x02\x80", Malformed),
        (b"\x9f", Malformed),
        (b"\x81\x5f", Malformed),
        (b"\x5f\x5f", Malformed),
        (b"\x5f\x61a", Malformed),
        (b"\xa1\xf5", Malformed),
        (b"\xc2\x61", Malformed),
        (b"\xc2\x59\x04\x01", TooLarge),
        (b"\x61\xff", Malformed),
    ],
)
def test_refused(octets: bytes, error: type[Exception]) -> None:
    """What may not travel is refused as soon as it is seen."""
    with pytest.raises(error):
        RowReader(DEFAULT, LIMITS).feed(octets)


@pytest.mark.parametrize("value", ["text", 1.5, [object()], {b"k": "text"}, 2**64])
def test_not_of_the_older_codec(value: Any) -> None:
    """The older codec has no text, no floats and no big integers; neither way."""
    with pytest.raises(LocalProtocolError):
        HG.encode(value)
    with pytest.raises(Malformed):
        HG.decode(cbor2.dumps(value) if not isinstance(value, list) else b"\xff", LIMITS)


@pytest.mark.parametrize("octets", [b"", b"\1\1", b"\x42a"])
def test_one_value(octets: bytes) -> None:
    """Exactly one value, where one should be."""
    for codec in (DEFAULT, HG):
        with pytest.raises(Malformed):
            codec.decode(octets, LIMITS)


def test_chunks() -> None:
    """A byte string in chunks is one value, at the top of a row only."""
    assert read(DEFAULT, b"\x5f\x42ab\x40\x43cde\xff\x01", [1, 1, 3]) == [b"abcde", 1]
    assert read(DEFAULT, b"\x5f\x58\x02ab\xff", [1, 1, 1]) == [b"ab"]


def test_linear() -> None:
    """A large value in small pieces is walked over once."""
    octets = cbor.encode([[1, b"x" * 20]] * 40_000)
    reader = RowReader(DEFAULT, cbor.Limits(octets=10**7, depth=4, items=10**6))
    values = [value for at in range(0, len(octets), 100) for value in reader.feed(octets[at : at + 100])]

    assert len(values[0]) == 40_000


@given(st.text())
def test_atoms(text: str) -> None:
    """Text goes into an atom of ASCII and comes out as it was."""
    atom = atom_of(text)

    assert atom.msg.isascii()
    if text.isascii() or "\\u" not in ascii(text):
        assert atom.text.encode("utf-8", "backslashreplace") == text.encode("utf-8", "backslashreplace")


def test_atom_that_does_not_fit() -> None:
    """An atom with too few or too many arguments is shown as far as it goes."""
    assert Atom(b"%s and %s, 100 %%", (b"one",)).text == "one and %s, 100 %"
    assert Atom(b"none \xff", (b"one",)).text == "none \\xff"
