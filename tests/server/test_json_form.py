"""Messages go into JSON and come back the same."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.server.json_form import from_json, to_json
from fieldpost.wire.errors import Malformed

KEYS = (
    st.text(max_size=5) | st.integers() | st.binary(max_size=3) | st.sampled_from(["octets", "map", "float"])
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(VALUES)
def test_there_and_back(value: Any) -> None:
    """Nothing that a message can hold is lost or confused in JSON."""
    assert value == from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))


def test_forms() -> None:
    """What JSON lacks is written as documented."""
    value = {"a": b"\0\x01", "b": math.inf, "c": {1: "one"}, "d": {"octets": 1}}

    assert to_json(value) == {
        "a": {"octets": "AAE="},
        "b": {"float": "inf"},
        "c": {"map": [[1, "one"]]},
        "d": {"map": [["octets", 1]]},
    }


def test_no_number() -> None:
    """Not even what is no number is lost."""
    assert to_json(math.nan) == {"float": "nan"}
    assert math.isnan(from_json({"float": "nan"}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"octets": "A"},
        {"octets": 5},
        {"octets": ["AAE="]},
        {"octets": "é"},
        {"float": "1.5"},
        {"float": 1.5},
        {"float": []},
        {"map": 5},
        {"map": {"a": 1}},
        {"map": [1]},
        {"map": [[1]]},
        {"map": [[[], 1]]},
        {"map": [[None, 1]]},
        {"map": [[True, 1]]},
        "\ud800",
        {"\udfff": 1},
        [{"octets": None}],
    ],
)
def test_wrong(wrong: Any) -> None:
    """A mark with the wrong content is refused, as is text that is no Unicode."""
    with pytest.raises(Malformed):
        from_json(wrong)
