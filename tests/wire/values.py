"""What the tests of `wire` are fed: all values that travel, and messages made of them."""

from typing import Any

from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.integers(-(2**8_000), 2**8_000)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40)
)
keys = st.text(max_size=10) | st.binary(max_size=30) | st.integers(-(2**64), 2**64 - 1)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
types = st.text("abcxyzABCXYZ019-_. ", min_size=1, max_size=64)
messages = st.builds(
    lambda fields, kind: {**fields, "type": kind},
    st.dictionaries(st.text(max_size=10), values, max_size=3),
    types,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike in every type, in the order of their keys, and where they are nan."""
    return repr(one) == repr(other)
