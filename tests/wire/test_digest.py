"""The digest of a set of types is the one that Landscape computes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.digest import DIGEST_OCTETS, types_digest
from fieldpost.wire.message import BROKER_TYPES

from .values import types


@pytest.mark.parametrize(
    ("known", "digest"),
    [
        ((), "d41d8cd98f00b204e9800998ecf8427e"),
        (("register",), "9de4a97425678c5b1288aa70c1669a64"),
        (("bar", "ack"), "48e39581ac74088363865a470e41ce02"),
        (BROKER_TYPES, "6baae2d0013dae52528e1498b6b025c1"),
    ],
)
def test_the_digests_are_those_of_the_real_program(known: tuple[str, ...], digest: str) -> None:
    """Landscape 1.3 has these four."""
    assert types_digest(known).hex() == digest


@given(st.lists(types), st.randoms())
def test_neither_order_nor_repetition_changes_a_digest(known: list[str], random: Random) -> None:
    """Both sides may keep the types as they like."""
    shuffled = known + known[:2]
    random.shuffle(shuffled)

    assert types_digest(shuffled) == types_digest(set(known))
    assert len(types_digest(known)) == DIGEST_OCTETS
