"""Accounts open to their key; the accepted types have one digest whatever their order."""

from fieldpost.server.policy import AcceptedTypes, Account
from fieldpost.wire.digest import types_digest


def test_key() -> None:
    """Only the right key opens an account that has one."""
    account = Account(name="a", registration_key="schlüssel")

    assert [account.admits(key) for key in ("schlüssel", "schlussel", "", None)] == [
        True,
        False,
        False,
        False,
    ]


def test_no_key() -> None:
    """An account without a key takes anybody, whatever they say."""
    account = Account(name="a")

    assert account.admits(None)
    assert account.admits("anything")


def test_key_is_secret() -> None:
    """A logged account does not show its key."""
    assert "hidden" not in repr(Account(name="a", registration_key="hidden"))


def test_types_are_a_set() -> None:
    """Order and repetition of types make no difference."""
    accepted = AcceptedTypes(("b", "a", "b"))

    assert accepted.types == ("a", "b")
    assert types_digest(("a", "b")) == accepted.digest
