"""Becoming known to the server."""

from typing import Any

import pytest
from attrs import evolve

from fieldpost.broker.carriage.transport import Unreachable
from fieldpost.broker.registration import Account
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from tests.broker.fakes import ACCOUNT, Rig, ScriptedTransport, SteadyRandom, says, started
from tests.broker.store.stores import START, add_values, answer, open_store

REGISTER = {"type": "accepted-types", "types": ["register"]}


def unregistered(*script: Any, accept: tuple[str, ...] | None = ("register",), **parts: Any) -> Any:
    """A rig with an account, whose server takes `register`."""
    return started(*script, **{"account": ACCOUNT, "store": open_store(accept=accept), **parts})


def registers(transport: ScriptedTransport) -> list[list[Any]]:
    """The registration ids, payload by payload."""
    return [
        [m["registration-id"] for m in request.payload.messages if m["type"] == "register"]
        for request in transport.requests
    ]


def standing(rig: Rig) -> dict[str, Any]:
    found: dict[str, Any] = rig.report()["registration"]
    return found


def test_registers_in_the_exchange_that_begins() -> None:
    """The message is queued at the last call, so it goes in the same payload."""
    rig, transport = unregistered()

    rig.run()

    (message,) = transport.last.messages
    registration_id = rig.store.state().registration_id
    assert message == {
        "type": "register",
        "account_name": "acme",
        "computer_title": "Press 7",
        "hostname": "press-7",
        "registration_password": "key",
        "tags": None,
        "registration-id": registration_id,
        "api": b"3.2",
        "timestamp": message["timestamp"],
    }


def test_names_the_identity_that_was_cloned() -> None:
    """A clone says which secure id it had."""
    rig, transport = unregistered()
    rig.store.set_identity(secure_id=b"old", insecure_id=1)
    rig.store.forget_identity(clone_of="Press 7")

    rig.run()

    assert transport.last.messages[0]["clone_secure_id"] == "old"


def test_repeats_until_the_server_decides() -> None:
    """While an operator has not approved, each exchange asks again, as the same computer."""
    rig, transport = unregistered()

    for _ in range(3):
        rig.run()

    id = rig.store.state().registration_id
    assert registers(transport) == [[id], [id], [id]]


def test_asks_once_while_the_server_is_away() -> None:
    """Attempts that fail do not pile up registrations."""
    rig, transport = unregistered(Unreachable(reason="away"), says(), random=SteadyRandom())

    rig.run()
    rig.run()

    assert [len(ids) for ids in registers(transport)] == [1, 1]
    assert transport.last.sequence == 0


@pytest.mark.parametrize(
    ("parts", "identity"),
    [({"account": None}, None), ({"accept": ("load",)}, None), ({}, b"known")],
    ids=["no account", "not asked", "registered"],
)
def test_does_not_register(parts: dict[str, Any], identity: bytes | None) -> None:
    """Without an account, without being asked to, or with an identity, there is nothing to register."""
    rig, transport = unregistered(**parts)
    if identity:
        rig.store.set_identity(secure_id=identity, insecure_id=1)

    rig.run()

    assert registers(transport) == [[]]


def test_follows_the_invitation_at_once() -> None:
    """The server's list of types with `register` in it brings the registration in milliseconds, not minutes."""
    rig, transport = unregistered(says(REGISTER), says(), accept=None)

    rig.run()

    assert [len(ids) for ids in registers(transport)] == [0, 1]


@pytest.mark.parametrize("identity", [None, b"known"])
def test_other_types_are_no_invitation(identity: bytes | None) -> None:
    """Nothing is rushed where there is nothing to register."""
    types = {"type": "accepted-types", "types": ["load", "register"] if identity else ["load"]}
    rig, transport = unregistered(says(types), says(), accept=None)
    if identity:
        rig.store.set_identity(secure_id=identity, insecure_id=1)

    rig.run()

    assert len(transport.requests) == 1


def test_l14_registration_wipes_nothing() -> None:
    """What plugins sent before the registration is there after it, in order (fault L14)."""
    set_id = {"type": "set-id", "id": b"secure", "insecure-id": 7}
    types = {"type": "accepted-types", "types": ["load", "register"]}
    rig, transport = unregistered(says(), says(), says(set_id, types), says())
    add_values(rig.store, range(5))

    for _ in range(3):
        rig.run()

    assert transport.types[:3] == [["register"]] * 3
    assert transport.sent[3] == [0, 1, 2, 3, 4]


def test_standing_registered() -> None:
    """The status says who we are."""
    rig, _ = unregistered()
    rig.store.set_identity(secure_id=b"secret", insecure_id=7)

    assert standing(rig) == {"is-registered": True, "insecure-id": 7, "cause": None, "next-step": None}
    assert "secret" not in str(rig.report())


@pytest.mark.parametrize(
    ("parts", "cause", "next_step"),
    [
        ({"account": None}, "no account is configured", "set account-name"),
        ({"accept": None}, "has not asked us", "wait"),
        ({}, "has not answered", "approve"),
    ],
)
def test_standing_not_registered(parts: dict[str, Any], cause: str, next_step: str) -> None:
    """The status says why not, and what to do."""
    rig, _ = unregistered(**parts)

    found = standing(rig)

    assert found["is-registered"] is False
    assert cause in found["cause"] and next_step in found["next-step"]


def test_standing_refused() -> None:
    """A refusal shows with its reason until the server thinks better of it."""
    refusal = {"type": "registration", "info": "unknown-account"}
    rig, _ = unregistered(
        says(refusal),
        says({"type": "registration", "info": "bad mood"}),
        says({"type": "set-id", "id": b"x"}),
    )

    rig.run()
    assert "unknown-account" in standing(rig)["cause"]
    assert "registration-key" in standing(rig)["next-step"]
    rig.run()
    assert "bad mood" in standing(rig)["cause"]
    assert "operator" in standing(rig)["next-step"]
    rig.run()

    assert standing(rig)["is-registered"] is True


def test_standing_of_a_clone() -> None:
    """An operator sees of which computer this one was taken for a clone."""
    rig, _ = unregistered(says({"type": "unknown-id", "clone-of": "Press 7"}))
    rig.store.set_identity(secure_id=b"old", insecure_id=1)

    rig.run()

    assert "clone of 'Press 7'" in standing(rig)["cause"]


def test_account_without_a_key() -> None:
    """An account may need none; the field goes as null."""
    rig, transport = unregistered(account=evolve(ACCOUNT, registration_password=None, tags="a,b"))

    rig.run()

    assert transport.last.messages[0]["registration_password"] is None
    assert transport.last.messages[0]["tags"] == "a,b"


def of_landscape(level: ApiLevel, account: Account = ACCOUNT) -> Any:
    """What a Landscape server of this level gets."""
    store = open_store(accept=("register", "load"))
    store.speak_landscape(True)
    store.commit_answer(answer(server_api=level))
    rig, transport = started(account=account, store=store)
    rig.run()
    (message,) = transport.last.messages
    return message


def test_registers_with_landscape_as_its_client_does() -> None:
    """No registration id, which its servers do not know; what kind of machine it is; `vm-info` alone in octets."""
    assert (
        of_landscape(NEWEST_SERVER_API).items()
        == {
            "type": "register",
            "account_name": "acme",
            "computer_title": "Press 7",
            "hostname": "press-7",
            "registration_password": "key",
            "tags": None,
            "container-info": "",
            "vm-info": b"",
            "ubuntu_pro_info": "{}",
            "api": b"3.3",
            "timestamp": START,
        }.items()
    )


def test_an_older_landscape_server_gets_the_fields_that_it_knows() -> None:
    """Those of API 3.3 are left out (landscape 1.5)."""
    account = evolve(ACCOUNT, access_group="presses", container_info="lxc")

    older, newer = (of_landscape(level, account) for level in (OLDEST_SERVER_API, NEWEST_SERVER_API))

    assert (older["container-info"], older["access_group"]) == ("lxc", "presses")
    assert newer.keys() - older.keys() == {"ubuntu_pro_info"}
