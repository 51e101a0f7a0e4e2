"""Who is at the other end, and what shows it."""

import pytest

from fieldpost.wire.session.identity import CHECKED_SERVER, NOTHING_KNOWN, Evidence, Role, is_id, is_master
from fieldpost.wire.session.proof import Party, key_name, proof_of, proves

AGENT = Party(role=Role.CLIENT, id="a:7", incarnation=b"1" * 8, nonce=b"n" * 32)
SERVER = Party(role=Role.SERVER, id="s:x", incarnation=b"2" * 8, nonce=b"m" * 32)
PROOF = proof_of(b"secret", prover=AGENT, verifier=SERVER)


@pytest.mark.parametrize("text", ["a:7", "s:91d0", "a:" + "x" * 128, "s:0a-b_c.d"])
def test_an_id_is_a_role_and_a_name(text: str) -> None:
    """Agents and servers have one each."""
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "a:", "b:7", "7", "a:7\n", "a:ä", "A:7", "a:" + "x" * 129, "a:a b"])
def test_what_is_no_id_is_seen(text: str) -> None:
    """A name that could not stand in a path or a log is none."""
    assert not is_id(text)


def test_a_keys_name_is_the_hash_of_all_of_it() -> None:
    """SHA-256 in base32, lower case, without padding: 52 characters."""
    assert key_name(b"") == "4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq"


@pytest.mark.conformance("F21", "F22")
@pytest.mark.parametrize(
    ("client", "server", "master"),
    [
        ("a:1", "s:1", Role.SERVER),
        ("s:1", "a:1", Role.CLIENT),
        ("s:2", "s:1", Role.CLIENT),
        ("s:1", "s:2", Role.SERVER),
        ("a:1", None, Role.CLIENT),
        (None, "a:1", Role.SERVER),
        (None, None, Role.SERVER),
        ("s:1", "s:1", Role.SERVER),
    ],
)
def test_both_ends_find_the_same_master(client: str | None, server: str | None, master: Role) -> None:
    """The greater id decides; a missing one is the lowest; a tie goes to the accepting side."""
    assert is_master(client, server, role=Role.CLIENT) is (master is Role.CLIENT)
    assert is_master(server, client, role=Role.SERVER) is (master is Role.SERVER)


@pytest.mark.conformance("F19")
def test_a_key_proves_the_id_made_of_it_and_no_other() -> None:
    """Neither another key's id nor another role's."""
    evidence = Evidence(key=key_name(b"mine"))

    assert evidence.proves("a:" + key_name(b"mine"))
    assert not evidence.proves("a:" + key_name(b"other"))
    assert not evidence.proves("s:" + key_name(b"mine"))


def test_without_evidence_nothing_is_proved() -> None:
    """A missing key is not the key of an id."""
    assert not NOTHING_KNOWN.proves("a:None")


def test_a_checked_server_may_say_its_name_but_not_an_agents() -> None:
    """The carrier's word holds for one role."""
    assert CHECKED_SERVER.proves("s:anything")
    assert not CHECKED_SERVER.proves("a:anything")


def test_who_has_the_secret_can_prove_it() -> None:
    """And the proof is not the secret."""
    assert proves(PROOF, b"secret", prover=AGENT, verifier=SERVER)
    assert not proves(PROOF, b"other", prover=AGENT, verifier=SERVER)
    assert b"secret" not in PROOF
    assert len(PROOF) == 32


@pytest.mark.parametrize(
    "other",
    [
        Party(role=Role.CLIENT, id="a:7", incarnation=b"1" * 8, nonce=b"x" * 32),
        Party(role=Role.CLIENT, id="a:7", incarnation=b"x" * 8, nonce=b"n" * 32),
        Party(role=Role.CLIENT, id="a:8", incarnation=b"1" * 8, nonce=b"n" * 32),
        Party(role=Role.CLIENT, id="s:7", incarnation=b"1" * 8, nonce=b"n" * 32),
        Party(role=Role.CLIENT, id=None, incarnation=b"1" * 8, nonce=b"n" * 32),
        Party(role=Role.SERVER, id="a:7", incarnation=b"1" * 8, nonce=b"n" * 32),
    ],
    ids=str,
)
def test_a_proof_holds_for_this_session_alone(other: Party) -> None:
    """Another nonce, life, id or role on either side, and it is worth nothing."""
    assert not proves(PROOF, b"secret", prover=other, verifier=SERVER)
    assert not proves(PROOF, b"secret", prover=AGENT, verifier=other)


def test_a_proof_cannot_be_sent_back_to_its_maker() -> None:
    """The sides are in it."""
    assert not proves(PROOF, b"secret", prover=SERVER, verifier=AGENT)


def test_a_proof_is_bound_to_its_channel() -> None:
    """With TLS inside, its exporter is in it."""
    bound = proof_of(b"secret", prover=AGENT, verifier=SERVER, exporter=b"e" * 32)

    assert proves(bound, b"secret", prover=AGENT, verifier=SERVER, exporter=b"e" * 32)
    assert not proves(bound, b"secret", prover=AGENT, verifier=SERVER, exporter=b"f" * 32)
    assert not proves(bound, b"secret", prover=AGENT, verifier=SERVER)
