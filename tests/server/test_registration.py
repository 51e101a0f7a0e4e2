"""A registration makes one computer, however often and however late it comes."""

from typing import Any

import pytest

from fieldpost.server.policy import Account, Policy
from fieldpost.wire.digest import types_digest
from fieldpost.wire.payload import ServerPayload
from tests.server.wired import (
    NOTHING_DIGEST,
    POLICY,
    REGISTER_DIGEST,
    SERVER_DIGEST,
    WiredServer,
    client_payload,
    register_message,
)


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer()


def send(wired: WiredServer, *messages: dict[str, Any], **fields: Any) -> ServerPayload:
    return wired.exchange(client_payload(messages=list(messages), **fields)).payload


def kinds(answer: ServerPayload) -> list[str]:
    return [message["type"] for message in answer.messages]


def computers(wired: WiredServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = wired.api("GET", "/computers").json["computers"]
    return found


def test_first_contact(wired: WiredServer) -> None:
    """An unknown agent is told that it may register, and nothing else."""
    answer = send(wired, accepted_types=NOTHING_DIGEST, sequence=4)

    assert answer.messages == ({"type": "accepted-types", "types": ["register"]},)
    assert (
        answer.next_expected_sequence,
        answer.next_exchange_token,
        answer.client_accepted_types_hash,
    ) == (4, None, None)
    assert str(answer.server_api) == "3.3"


def test_unknown_agent_that_knows_its_types(wired: WiredServer) -> None:
    """Types that the agent knows are not told again."""
    assert send(wired, accepted_types=REGISTER_DIGEST).messages == ()


def test_registered(wired: WiredServer) -> None:
    """The right key gets an identity and all types in one answer."""
    answer = send(wired, register_message(), sequence=4, accepted_types=REGISTER_DIGEST)

    set_id, types = answer.messages
    assert set_id == {"type": "set-id", "id": b"id-2", "insecure-id": 1}
    assert {"type": "accepted-types", "types": list(POLICY.accepted.types)} == types
    assert answer.next_expected_sequence == 5


def test_shown_computer(wired: WiredServer) -> None:
    """The operator sees what the computer said of itself, and none of its secrets."""
    wired.clock.advance(12)
    wired.register(tags="web,db")

    assert computers(wired) == [
        {
            "id": 1,
            "account": "open",
            "title": "A computer",
            "hostname": "host",
            "tags": "web,db",
            "status": "approved",
            "clone-of": None,
            "created": 12.0,
            "last-exchange": None,
            "next-expected-sequence": 1,
            "handles": None,
            "session": None,
            "twins-seen": None,
        }
    ]


def test_repeated(wired: WiredServer) -> None:
    """A registration whose answer was lost finds the same computer and the same identity."""
    first = send(wired, register_message())
    second = send(wired, register_message(computer_title="New title"))

    assert first.messages == second.messages
    assert first.next_expected_sequence == second.next_expected_sequence
    assert [computer["title"] for computer in computers(wired)] == ["New title"]


def test_accounts_are_apart(wired: WiredServer) -> None:
    """The same registration id in another account is another computer."""
    wired.register("r")
    send(wired, register_message("r", account_name="keyless"))

    assert [computer["account"] for computer in computers(wired)] == ["open", "keyless"]


@pytest.mark.parametrize(
    "wrong",
    [{"account_name": "none"}, {"registration_password": "x"}, {"registration_password": None}],
)
def test_wrong_account_or_key(wired: WiredServer, wrong: dict[str, Any]) -> None:
    """A stranger is told that the account is unknown, not which half was wrong; its message is taken."""
    answer = send(wired, register_message(**wrong), accepted_types=REGISTER_DIGEST)

    assert answer.messages == ({"type": "registration", "info": "unknown-account"},)
    assert answer.next_expected_sequence == 1
    assert computers(wired) == []


def test_wrong_key_does_not_find_the_computer(wired: WiredServer) -> None:
    """Knowing a registration id is not enough to get its identity."""
    wired.register("r")

    assert kinds(send(wired, register_message("r", registration_password="x")))[:1] == ["registration"]


def test_pending(wired: WiredServer) -> None:
    """A computer of an account that does not accept by itself waits, and stays one while it asks again."""
    for sequence in range(3):
        answer = send(
            wired,
            register_message(account_name="closed"),
            sequence=sequence,
            accepted_types=REGISTER_DIGEST,
        )
        assert ((), sequence + 1) == (answer.messages, answer.next_expected_sequence)

    assert [(c["status"], c["next-expected-sequence"]) for c in computers(wired)] == [("pending", 0)]


def test_approved(wired: WiredServer) -> None:
    """After the operator's word the next registration brings the identity."""
    send(wired, register_message(account_name="closed"))
    wired.api("POST", "/computers/1", {"action": "approve"})

    answer = send(wired, register_message(account_name="closed"), sequence=1)

    assert kinds(answer)[0] == "set-id"
    assert computers(wired)[0]["next-expected-sequence"] == 2


def test_rejected(wired: WiredServer) -> None:
    """A rejected computer is refused until the operator changes his mind."""
    send(wired, register_message(account_name="closed"))
    wired.api("POST", "/computers/1", {"action": "reject"})

    refused = send(wired, register_message(account_name="closed"), accepted_types=REGISTER_DIGEST)
    wired.api("POST", "/computers/1", {"action": "approve"})
    accepted = send(wired, register_message(account_name="closed"))

    assert refused.messages == ({"type": "registration", "info": "unknown-account"},)
    assert kinds(accepted)[0] == "set-id"


def test_too_many_pending(wired: WiredServer) -> None:
    """Beyond the limit new computers are refused; those that wait already go on waiting."""

    def ask(registration_id: str) -> list[str]:
        message = register_message(registration_id, account_name="closed")
        return [m.get("info", "") for m in send(wired, message, accepted_types=REGISTER_DIGEST).messages]

    assert [ask(name) for name in ("a", "b", "c", "a")] == [[], [], ["max-pending-computers"], []]
    wired.api("POST", "/computers/1", {"action": "approve"})
    assert ask("c") == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("account_name", None),
        ("account_name", b"open"),
        ("registration_password", 5),
        ("computer_title", "x" * 256),
        ("computer_title", ["x"]),
        ("hostname", 1),
        ("tags", {}),
        ("tags", "x" * 2_001),
        ("registration-id", 7),
        ("clone_secure_id", 7),
        ("clone_secure_id", b""),
    ],
)
def test_wrong_field(wired: WiredServer, name: str, wrong: Any) -> None:
    """A registration with a wrong field is refused by the field's name, and nothing is stored."""
    reply = wired.exchange(client_payload(messages=[register_message(**{name: wrong})]))

    assert reply.status == 400
    assert f"in a `register` message, `{name}`" in reply.json["error"]
    assert computers(wired) == []


def test_missing_field(wired: WiredServer) -> None:
    """So is one that lacks a field."""
    message = register_message()
    del message["hostname"]

    reply = wired.exchange(client_payload(messages=[message]))

    assert (
        reply.status,
        reply.json["error"],
    ) == (400, "in a `register` message, `hostname` is missing")


def test_clone(wired: WiredServer) -> None:
    """A computer that was told that it is a clone becomes one of its own, and the operator sees whose."""
    original = wired.register("r")
    wired.register("new", clone_secure_id=original)
    wired.register("newer", clone_secure_id=original.decode())
    wired.register("odd", clone_secure_id="nobody")

    assert [computer["clone-of"] for computer in computers(wired)] == [None, 1, 1, None]


def test_other_messages_stay_with_the_agent(wired: WiredServer) -> None:
    """
    What an agent without identity sends beside its registration is neither taken nor lost.

    The answer names a number beyond all that is pending, upon which the agent numbers anew what it holds.
    """
    answer = send(wired, {"type": "cpu-usage"}, register_message(), sequence=10)
    more = send(wired, {"type": "cpu-usage"}, sequence=10, total_messages=4_000)
    most = send(wired, {"type": "cpu-usage"}, register_message("m"), total_messages=2**63 - 1)

    found = [payload.next_expected_sequence for payload in (answer, more, most)]
    assert found == [1_012, 5_010, 2**40 + 1_000]
    assert [computer["next-expected-sequence"] for computer in computers(wired)] == [1_012, found[2]]
    assert wired.stored() == []


def test_late_registration_moves_no_number_back(wired: WiredServer) -> None:
    """A registration that comes again when its computer has gone on answers with where that is."""
    secure_id = wired.register()
    wired.exchange(client_payload(sequence=1, messages=[{"type": "a"}] * 5), secure_id=secure_id)

    answer = send(wired, register_message())

    assert answer.next_expected_sequence == 6
    assert computers(wired)[0]["next-expected-sequence"] == 6


def test_numbers_below_zero(wired: WiredServer) -> None:
    """A new computer's numbers go on from wherever its agent is."""
    answer = send(wired, register_message(), sequence=-7)

    assert answer.next_expected_sequence == -6
    secure_id = answer.messages[0]["id"]
    wired.exchange(client_payload(sequence=-6, messages=[{"type": "a"}]), secure_id=secure_id)
    assert computers(wired)[0]["next-expected-sequence"] == -5


def test_password_is_not_stored(wired: WiredServer) -> None:
    """A registration that a registered computer sends again takes its number and leaves no password behind."""
    secure_id = wired.register()

    payload = client_payload(sequence=1, messages=[register_message(), {"type": "a"}])
    answer = wired.exchange(payload, secure_id=secure_id).payload

    assert answer.next_expected_sequence == 3
    assert wired.stored() == [{"type": "a"}]


def test_client_types_come_with_the_registration(wired: WiredServer) -> None:
    """Types that the agent names while registering need not be named again."""
    answer = send(wired, register_message(), client_accepted_types=["b", "a"])

    assert types_digest(("a", "b")) == answer.client_accepted_types_hash
    assert [computer["handles"] for computer in computers(wired)] == [["b", "a"]]


def test_account_that_accepts_later(wired: WiredServer) -> None:
    """Computers that wait come in when their account starts to accept by itself."""
    send(wired, register_message(account_name="closed"))
    door = Account(name="closed", registration_key="key", auto_accept=True)
    changed = WiredServer(policy=Policy(accounts={"closed": door}))
    wired.connection.backup(changed.connection)

    assert kinds(send(changed, register_message(account_name="closed")))[0] == "set-id"


def test_known_types_are_not_told(wired: WiredServer) -> None:
    """A new computer that knows the full list already gets its identity alone."""
    assert kinds(send(wired, register_message(), accepted_types=SERVER_DIGEST)) == ["set-id"]


def test_nothing_waits_where_all_are_accepted() -> None:
    """The limit on waiting computers does not concern an account that accepts by itself."""
    door = Account(name="open", registration_key="key", auto_accept=True, max_pending=0)

    assert WiredServer(policy=Policy(accounts={"open": door})).register() == b"id-2"


def nameless(**fields: Any) -> dict[str, Any]:
    """A registration without an id, as Landscape's client makes it."""
    message = register_message(**fields)
    del message["registration-id"]
    return message


def test_repeated_without_an_id(wired: WiredServer) -> None:
    """Until its identity is used, a registration without an id finds the computer of the same title and hostname."""
    first = send(wired, nameless())
    second = send(wired, nameless(tags="new"), sequence=1)

    assert first.messages == second.messages
    assert [computer["tags"] for computer in computers(wired)] == ["new"]


@pytest.mark.parametrize(
    "other",
    [{"computer_title": "x"}, {"hostname": "x"}, {"account_name": "keyless"}, {"clone_secure_id": "id-2"}],
)
def test_other_facts(wired: WiredServer, other: dict[str, Any]) -> None:
    """What differs in title, hostname, account or origin is another computer."""
    send(wired, nameless())
    send(wired, nameless(**other))

    assert len(computers(wired)) == 2


def test_ids_are_no_facts(wired: WiredServer) -> None:
    """A registration with an id and one without never find each other."""
    wired.register("r")
    send(wired, nameless())

    assert len(computers(wired)) == 2


def test_same_facts_later(wired: WiredServer) -> None:
    """A computer that uses its identity is never handed to one that merely looks like it."""
    first = send(wired, nameless()).messages[0]["id"]
    wired.exchange(client_payload(sequence=1), secure_id=first)

    second = send(wired, nameless()).messages[0]["id"]

    assert first != second
    assert [computer["next-expected-sequence"] for computer in computers(wired)] == [1, 1]


def test_rejected_facts_stay_out(wired: WiredServer) -> None:
    """What the operator rejected does not come in as new, though it knows the key and used its identity."""
    first = send(wired, nameless()).messages[0]["id"]
    wired.exchange(client_payload(sequence=1), secure_id=first)
    wired.api("POST", "/computers/1", {"action": "reject"})

    answer = send(wired, nameless(), accepted_types=REGISTER_DIGEST)

    assert answer.messages == ({"type": "registration", "info": "unknown-account"},)
    assert len(computers(wired)) == 1
