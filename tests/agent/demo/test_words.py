"""Messages in a few words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.agent.demo.folder import EXPECTED_TYPES
from fieldpost.agent.demo.words import MAX_CHARACTERS, in_words, octets_in_words


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"type": "computer-info", "hostname": "box", "total-memory": 2048, "distribution": "Debian"},
            "box: 2.0 GiB memory, Debian",
        ),
        ({"type": "cpu-usage", "cpu-usages": [[1, 0.5], [2, 0.123]]}, "12.3% busy"),
        ({"type": "memory-info", "memory-info": [[1, 512, 0]]}, "512.0 MiB memory free, 0 B swap free"),
        (
            {"type": "mount-info", "mount-info": [[1, {"mount-point": "/", "filesystem": "ext4", "total-space": 1}]] * 2},
            "/: ext4 of 1.0 MiB, and 1 more",
        ),
        ({"type": "free-space", "free-space": [[1, "/", 5], [2, "/", 6]]}, "/: 6.0 MiB free"),
        (
            {"type": "network-activity", "activities": {"lo": [[1, 10, 2048]], "eth0": [], "idle": [[1, 0, 0]]}},
            "lo: 10 B in, 2.0 KiB out",
        ),
        ({"type": "operation-result", "operation-id": 7, "status": 6, "result-text": "a\nb"}, "operation 7 succeeded: a b"),
        ({"type": "operation-result", "operation-id": 7, "status": 5}, "operation 7 failed:"),
        ({"type": "other", "api": "3.3", "timestamp": 5, "x": 1, "y": "\x1b[2J"}, "x: 1, y: [2J"),
    ],
)  # fmt: skip
def test_words(body: dict[str, Any], expected: str) -> None:
    """Each bundled monitor's message has words of its own; others show their fields, on one line."""
    assert in_words(body) == expected


def test_length() -> None:
    """However much is in a message, it stays a line."""
    assert len(in_words({"type": "other", "x": "y" * 1000})) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (2**30, "1.0 GiB"),
        (2**42, "4.0 TiB"),
        (10**18, "909494.7 TiB"),
    ],
)
def test_octets(octets: int, expected: str) -> None:
    """Sizes have the unit that suits them."""
    assert octets_in_words(octets) == expected


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
_FIELDS = st.sampled_from(
    [
        "cpu-usages",
        "memory-info",
        "mount-info",
        "free-space",
        "activities",
        "hostname",
        "total-memory",
        "status",
    ]
)


@given(kind=st.sampled_from([*EXPECTED_TYPES, "operation-result"]), fields=st.dictionaries(_FIELDS, _VALUES))
def test_any_message(kind: str, fields: dict[str, Any]) -> None:
    """A message of a known type with anything in it is still shown."""
    assert in_words({**fields, "type": kind}).isprintable()
