"""Plugins may do what their grants say, in processes of the users that they name."""

import pytest

from fieldpost.broker.local.grants import (
    EVERY_TYPE,
    OWN_INCOMING_TYPES,
    OWN_TYPES,
    Grant,
    GrantInvalid,
    Grants,
)
from fieldpost.broker.local.peer import Peer
from fieldpost.wire.local import Refused

LOAD = Grant(
    name="load", uids=frozenset({7, 8}), sends=frozenset({"load"}), handles=frozenset({"load-reset"})
)
DISK = Grant(name="disk", uids=frozenset({8}))
GRANTS = Grants([LOAD, DISK], operators=[0, 100])


def peer(uid: int) -> Peer:
    return Peer(uid=uid, gid=uid, pid=1)


def test_granted_plugins_are_admitted() -> None:
    """A process of the right user gets the grants of all plugins that it names."""
    assert GRANTS.admit(["load", "disk"], peer(8)) == {"load": LOAD, "disk": DISK}


def test_unknown_plugin() -> None:
    """A plugin without a manifest is refused, with what to do."""
    with pytest.raises(Refused, match="no plugin `net`; put its manifest"):
        GRANTS.admit(["load", "net"], peer(7))


def test_foreign_user() -> None:
    """A user who may not run a plugin is refused, with who may."""
    with pytest.raises(Refused, match="`disk` may not run as user 7, only as `8`"):
        GRANTS.admit(["load", "disk"], peer(7))


def test_operators_need_no_plugin() -> None:
    """An operator may look at the broker; nobody else may without a plugin."""
    assert GRANTS.admit([], peer(100)) == {}
    with pytest.raises(Refused, match="user 7 names no plugin"):
        GRANTS.admit([], peer(7))


def test_operators_are_no_plugins() -> None:
    """To be an operator gives no right to speak for a plugin."""
    with pytest.raises(Refused, match="may not run as user 0"):
        GRANTS.admit(["load"], peer(0))


def test_types_by_name() -> None:
    """A grant allows what it names, each way, and nothing else."""
    assert LOAD.may_send("load")
    assert not LOAD.may_send("load-reset")
    assert LOAD.may_handle("load-reset")
    assert not LOAD.may_handle("load")


@pytest.mark.parametrize("kind", sorted(OWN_TYPES))
def test_the_brokers_own_types_are_not_sent(kind: str) -> None:
    """No grant lets a plugin send what only the broker says, not even one for every type."""
    every = Grant(name="any", uids=frozenset(), sends=frozenset({EVERY_TYPE}))

    assert every.may_send("load")
    assert not every.may_send(kind)
    with pytest.raises(GrantInvalid, match=f"plugin `any`: `sends` names `{kind}`"):
        Grant(name="any", uids=frozenset(), sends=frozenset({kind, "load"}))


@pytest.mark.parametrize("kind", sorted(OWN_INCOMING_TYPES))
def test_the_brokers_own_types_are_not_handled(kind: str) -> None:
    """Nor does any let a plugin read what the server tells the broker alone: the identity is in it."""
    every = Grant(name="any", uids=frozenset(), handles=frozenset({EVERY_TYPE}))

    assert every.may_handle("load")
    assert not every.may_handle(kind)
    with pytest.raises(GrantInvalid, match=f"`handles` names `{kind}`"):
        Grant(name="any", uids=frozenset(), handles=frozenset({kind}))
