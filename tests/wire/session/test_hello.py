"""What an end says of itself."""

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import Malformed
from fieldpost.wire.session.hello import Hello, hello_map, proof_map, read_hello, read_proof

CLIENT = Hello(
    versions=(1, 2),
    id="a:7f3c",
    incarnation=bytes.fromhex("0102030405060708"),
    capabilities=("push", "cancel", "notify", "credit"),
    codecs=("cbor", "hg-cbor"),
    encodings=("zlib", "identity"),
    limits={"active": 64, "credit": 1 << 20, "frame": 65535, "request": 1 << 20},
)


def _octets(vector: str) -> bytes:
    return bytes.fromhex(PROPOSAL[vector])[8:]


PROPOSAL: dict[str, str] = json.loads((Path(__file__).parent / "proposal.json").read_text())
"""Frames of the specification's companion file, by their names there."""


@pytest.mark.conformance("F15")
def test_the_clients_hello_has_the_known_octets() -> None:
    """Range, id, incarnation and, from the client, the last connection: vector D01."""
    assert cbor2.dumps(hello_map(CLIENT, says_last=True)) == _octets("D01")


def test_the_known_client_hello_is_read() -> None:
    """There and back."""
    assert read_hello(cbor2.loads(_octets("D01"))) == Hello(
        versions=CLIENT.versions,
        id=CLIENT.id,
        incarnation=CLIENT.incarnation,
        capabilities=("cancel", "credit", "notify", "push"),
        codecs=CLIENT.codecs,
        encodings=CLIENT.encodings,
        limits=CLIENT.limits,
    )


@pytest.mark.conformance("F15")
def test_the_servers_hello_has_the_known_octets() -> None:
    """Vector D02: no last connection."""
    hello = Hello(
        versions=(1, 1),
        id="s:91d0",
        incarnation=bytes.fromhex("a1a2a3a4a5a6a7a8"),
        capabilities=("cancel", "credit", "notify", "push"),
        codecs=("hg-cbor", "cbor"),
        encodings=("zlib", "identity"),
        limits={"active": 128, "credit": 1 << 20, "frame": 32768, "request": 1 << 22},
    )

    assert cbor2.dumps(hello_map(hello, says_last=False)) == _octets("D02")
    assert read_hello(cbor2.loads(_octets("D02"))) == hello


@pytest.mark.conformance("F16")
def test_what_a_newer_peer_adds_is_passed_over() -> None:
    """Keys of any kind, limits too."""
    values: dict[Any, Any] = {
        **hello_map(CLIENT, says_last=True),
        b"colour": b"blue",
        b"\xff": 1,
        "text": 2,
        3: 4,
        b"limits": {b"frame": 300, b"taste": b"sweet"},
    }

    assert read_hello(values).limits == {"frame": 300}


def test_all_that_can_be_said_goes_round() -> None:
    """The optional fields too."""
    hello = Hello(
        versions=(3, 3),
        id="a:1",
        incarnation=b"12345678",
        attempt=5,
        last=(b"abcdefgh", 7),
        keepalive=(25, 20),
        nonce=b"n" * 32,
        proof=b"hmac-sha256",
    )

    assert read_hello(cbor2.loads(cbor2.dumps(hello_map(hello, says_last=True)))) == hello


def test_a_proof_goes_round() -> None:
    """In a map of its own."""
    assert read_proof(proof_map(b"p" * 32)) == b"p" * 32


BAD: list[tuple[dict[bytes, Any], str]] = [
    ({b"versions": None}, "`versions` must be a list of two"),
    ({b"versions": [1]}, "`versions` must be a list of two"),
    ({b"versions": [2, 1]}, "`versions` must be the oldest and the newest, not 2 and 1"),
    ({b"versions": [b"1", b"2"]}, "`versions` must be an integer, not octets"),
    ({b"versions": [True, 2]}, "`versions` must be an integer, not true or false"),
    ({b"versions": [0, 2**31]}, "`versions` must be from 0 to 2147483647"),
    ({b"id": "a:1"}, "`id` must be octets, not text"),
    ({b"id": b"root"}, "`id` must be `a:` or `s:` and a name"),
    ({b"id": b"a:\xff"}, "`id` must be ASCII"),
    ({b"incarnation": b""}, "`incarnation` must be 1 to 64 octets long, not 0"),
    ({b"last": [b"x"]}, "`last` must be a list of two"),
    ({b"last": [1, b"x"]}, "`last` must be octets"),
    ({b"capabilities": b"push"}, "`capabilities` must be a list"),
    ({b"capabilities": [b"x"] * 65}, "`capabilities` must have at most 64 items"),
    ({b"codecs": [1]}, "`codecs`[0] must be octets"),
    ({b"contentencodings": b"zlib"}, "`contentencodings` must be a list"),
    ({b"limits": []}, "`limits` must be a map"),
    ({b"limits": {b"frame": b"big"}}, "`limits`.`frame` must be an integer"),
    ({b"limits": {b"frame": 7}}, "`limits`.`frame` must be at least 256"),
    ({b"limits": {b"active": 0}}, "`limits`.`active` must be at least 1"),
    ({b"keepalive": [0, 0]}, "`keepalive` must be from 1 to 3600"),
    ({b"nonce": b"short"}, "`nonce` must be 32 octets long"),
    ({b"proof": b"hmac-sha256"}, "`proof` must be hmac-sha256, and come with `nonce`"),
    ({b"proof": b"password"}, "`proof` must be hmac-sha256, and come with `nonce`"),
]


@pytest.mark.conformance("Z12")
@pytest.mark.parametrize(("change", "text"), BAD, ids=[text[:40] for _, text in BAD])
def test_what_is_wrong_is_named(change: dict[bytes, Any], text: str) -> None:
    """Each field of a hello that is of the wrong kind, by its name."""
    with pytest.raises(Malformed) as caught:
        read_hello({**hello_map(CLIENT, says_last=True), **change})

    assert str(caught.value).startswith(text)


def test_a_hello_without_versions_is_none() -> None:
    """As settings that are no hello would be."""
    with pytest.raises(Malformed, match="`versions` is missing"):
        read_hello({b"contentencodings": [b"identity"]})


@pytest.mark.parametrize("value", [{}, {b"proof": b"x" * 31}, {b"proof": 1}, []])
def test_what_is_no_proof_is_refused(value: Any) -> None:
    """A proof has 32 octets."""
    with pytest.raises(Malformed):
        read_proof(value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary(max_size=40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        b"versions",
        b"id",
        b"last",
        b"limits",
        b"capabilities",
        b"codecs",
        b"keepalive",
        b"nonce",
        b"proof",
        b"attempt",
    ]
)


@given(st.dictionaries(KEYS, anything))
def test_nothing_a_peer_says_is_more_than_malformed(change: dict[bytes, Any]) -> None:
    """A hello is read, or refused by the one error for it."""
    try:
        read_hello({b"versions": [1, 1], **change})
    except Malformed as error:
        assert str(error)
