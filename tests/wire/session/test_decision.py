"""What the master makes of two hellos."""

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import Malformed
from fieldpost.wire.session.decision import (
    Decision,
    Refusal,
    Terms,
    decision_map,
    find_fault,
    read_decision,
    settle,
)
from fieldpost.wire.session.hello import Hello
from fieldpost.wire.session.identity import Role

PROPOSAL: dict[str, str] = json.loads((Path(__file__).parent / "proposal.json").read_text())
DECISION = Decision(
    version=1,
    codec="cbor",
    capabilities=("cancel", "credit", "notify", "push"),
    connection=(bytes.fromhex("a1a2a3a4a5a6a7a8"), 1),
    keepalive=(25, 20),
)
DUPLICATE = Refusal(code="duplicate", text="another live connection", retry_after=30)


@pytest.mark.parametrize(("vector", "value"), [("D03", DECISION), ("D04", DUPLICATE)])
def test_a_decision_has_the_known_octets(vector: str, value: Decision | Refusal) -> None:
    """Vectors D03 and D04, there and back."""
    octets = bytes.fromhex(PROPOSAL[vector])[8:]

    assert cbor2.dumps(decision_map(value)) == octets
    assert read_decision(cbor2.loads(octets)) == value


def test_all_that_can_be_decided_goes_round() -> None:
    """The optional fields too."""
    decision = evolve(DECISION, encodings=("zlib",), session=b"s" * 16)
    refusal = evolve(DUPLICATE, text="nür 5 % %s", versions=(1, 2))

    assert read_decision(cbor2.loads(cbor2.dumps(decision_map(decision)))) == decision
    assert read_decision(cbor2.loads(cbor2.dumps(decision_map(refusal)))) == refusal


@pytest.mark.conformance("F26")
def test_a_foreign_refusal_is_readable() -> None:
    """Unknown codes, several atoms, control characters: still one line for people."""
    atoms = [{b"msg": b"no %s", b"args": [b"room\x1b"], b"labels": [b"x"]}, {b"msg": b"here\n"}]

    found = read_decision({b"error": {b"code": b"full", b"message": atoms, b"mood": b"sad"}})

    assert found == Refusal(code="full", text="no room? here?")


BAD: list[Any] = [
    None,
    {},
    {b"version": 1},
    {b"version": b"1", b"codec": b"cbor"},
    {b"version": 1, b"codec": "cbor"},
    {b"version": 1, b"codec": b"cbor", b"capabilities": b"all"},
    {b"version": 1, b"codec": b"cbor", b"connection": 1},
    {b"version": 1, b"codec": b"cbor", b"keepalive": [0, 0]},
    {b"version": 1, b"codec": b"cbor", b"session": b""},
    {b"error": b"no"},
    {b"error": {}},
    {b"error": {b"code": b"x", b"message": b"text"}},
    {b"error": {b"code": b"x", b"message": [b"text"]}},
    {b"error": {b"code": b"x", b"message": [{b"msg": b"%s", b"args": b"text"}]}},
    {b"error": {b"code": b"x", b"retry-after": -1}},
    {b"error": {b"code": b"x", b"versions": [2, 1]}},
]


@pytest.mark.conformance("Z12")
@pytest.mark.parametrize("value", BAD, ids=str)
def test_what_is_no_decision_is_malformed(value: Any) -> None:
    """Decisions and refusals with wrong fields."""
    with pytest.raises(Malformed):
        read_decision(value)


def _hello(oldest: int, newest: int, **fields: Any) -> Hello:
    return Hello(versions=(oldest, newest), **fields)


def _settle(client: Hello, server: Hello) -> Terms | Refusal:
    """What both ends find, which is the same but for whose versions are named."""
    here, there = settle(client, server, role=Role.CLIENT), settle(server, client, role=Role.SERVER)
    if isinstance(here, Refusal) and isinstance(there, Refusal):
        assert here.text == there.text
        assert (here.versions, there.versions) == (client.versions, server.versions)
    else:
        assert here == there
    return here


@pytest.mark.conformance("Z5", "Z6", "Z7", "F17")
@pytest.mark.parametrize(
    ("client", "server", "version"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 2), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((1, 3), (2, 5), 3),
        ((1, 5), (1, 99999), 5),
        ((1, 9), (1, 10), 9),
        ((1, 10), (1, 9), 9),
        ((5, 10), (5, 10), 10),
        ((3, 3), (3, 4), 3),
        ((3, 4), (3, 3), 3),
    ],
)
def test_the_lower_of_the_newest_is_spoken(
    client: tuple[int, int], server: tuple[int, int], version: int
) -> None:
    """Versions are numbers: 10 is newer than 9 and 5."""
    terms = _settle(_hello(*client), _hello(*server))

    assert isinstance(terms, Terms)
    assert terms.version == version


@pytest.mark.conformance("Z8", "F18")
@pytest.mark.parametrize(
    ("client", "server"), [((3, 3), (4, 4)), ((4, 4), (3, 3)), ((1, 2), (10, 12)), ((10, 12), (1, 9))]
)
def test_ranges_that_do_not_meet_are_both_named(client: tuple[int, int], server: tuple[int, int]) -> None:
    """So that whoever reads it knows which side to upgrade."""
    refusal = _settle(_hello(*client), _hello(*server))

    assert isinstance(refusal, Refusal)
    assert refusal.code == "version"
    assert f"the client speaks {client[0]} to {client[1]}" in refusal.text
    assert f"the server {server[0]} to {server[1]}" in refusal.text


@pytest.mark.conformance("Z11")
def test_each_role_has_its_own_range() -> None:
    """The same two builds: the old client works with the new server, not the other way round."""
    old = {"client": _hello(200, 201), "server": _hello(200, 201)}
    new = {"client": _hello(303, 303), "server": _hello(200, 303)}

    assert isinstance(_settle(old["client"], new["server"]), Terms)
    assert isinstance(_settle(new["client"], old["server"]), Refusal)


@given(st.tuples(*[st.integers(0, 6)] * 4))
def test_a_version_is_agreed_exactly_when_the_ranges_meet(ends: tuple[int, ...]) -> None:
    """Whatever the ranges."""
    client, server = sorted(ends[:2]), sorted(ends[2:])

    found = _settle(_hello(*client), _hello(*server))

    common = set(range(client[0], client[1] + 1)) & set(range(server[0], server[1] + 1))
    assert isinstance(found, Terms) is bool(common)
    if isinstance(found, Terms):
        assert found.version == max(common)


def test_the_clients_first_codec_that_the_server_has_is_used() -> None:
    """And with none there is no session."""
    client = _hello(1, 1, codecs=("a", "cbor", "hg-cbor"))

    terms = _settle(client, _hello(1, 1, codecs=("hg-cbor", "cbor")))
    refusal = _settle(client, _hello(1, 1, codecs=("b",)))

    assert isinstance(terms, Terms)
    assert terms.codec == "cbor"
    assert isinstance(refusal, Refusal)
    assert "the client has a, cbor, hg-cbor, the server b" in refusal.text


def test_what_both_can_is_in_force() -> None:
    """Capabilities sorted, encodings in the server's order."""
    client = _hello(1, 1, capabilities=("push", "cancel", "x"), encodings=("zlib", "zstd-8mb", "q"))
    server = _hello(1, 1, capabilities=("cancel", "y", "push"), encodings=("zstd-8mb", "zlib"))

    terms = _settle(client, server)

    assert isinstance(terms, Terms)
    assert terms.capabilities == ("cancel", "push")
    assert terms.encodings == ("zstd-8mb", "zlib")


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        (None, None, (25, 20)),
        ((25, 20), (40, 20), (40, 20)),
        ((10, 5), None, (25, 20)),
        ((10, 5), (10, 5), (10, 5)),
        ((25, 20), (2, 20), (2, 20)),
        ((25, 20), (3600, 3600), (50, 50)),
    ],
)
def test_pings_are_as_seldom_as_the_server_wants_and_proxies_allow(
    client: tuple[int, int] | None, server: tuple[int, int] | None, agreed: tuple[int, int]
) -> None:
    """The server's operator knows what stands between; never beyond 50 seconds."""
    terms = _settle(_hello(1, 1, keepalive=client), _hello(1, 1, keepalive=server))

    assert isinstance(terms, Terms)
    assert terms.keepalive == agreed


@pytest.mark.conformance("F23")
@pytest.mark.parametrize(
    "change",
    [{"version": 3}, {"version": 0}, {"codec": "x"}, {"capabilities": ("x",)}, {"encodings": ("x",)}],
    ids=str,
)
def test_a_decision_for_what_was_not_offered_is_refused(change: dict[str, Any]) -> None:
    """The receiver may still refuse it."""
    ours = _hello(1, 2, codecs=("cbor",), capabilities=("push",), encodings=("zlib",))
    terms = _settle(ours, ours)
    assert isinstance(terms, Terms)
    good = Decision(version=2, codec="cbor", capabilities=("push",), encodings=("zlib",))

    assert find_fault(good, terms, ours) is None
    fault = find_fault(evolve(good, **change), terms, ours)

    assert fault is not None
    assert "offered" in fault.text


def test_a_decision_above_the_masters_own_newest_is_refused() -> None:
    """It did not offer that itself."""
    ours, theirs = _hello(1, 5), _hello(1, 2)
    terms = _settle(ours, theirs)
    assert isinstance(terms, Terms)

    assert find_fault(Decision(version=2, codec="hg-cbor"), terms, ours) is None
    assert find_fault(Decision(version=5, codec="hg-cbor"), terms, ours) is not None
