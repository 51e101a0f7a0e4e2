"""Whose key is whose."""

from typing import Any

from twisted.internet.defer import Deferred

from fieldpost.server.commits import Commits
from fieldpost.server.session.credentials import Credentials, Denied, recognise
from fieldpost.server.session.records import find_record_txn
from fieldpost.wire.session.identity import Evidence
from tests.server.wired import HeldWriter, WiredServer


class Says:
    """A hello, as far as it counts here."""

    def __init__(self, id: str) -> None:
        self.id = id


def shown(wired: WiredServer, id: str, key: str | None, *, proved: bool = True) -> Any:
    """The number of the computer that shows this, or the code of the refusal."""
    hello: Any = Says(id)
    credentials = Credentials(hello=hello, evidence=Evidence(key=key), is_proved_by=lambda secret: proved)
    found: list[Any] = []
    Deferred.fromCoroutine(recognise(wired.server.commits, credentials)).addBoth(found.append)
    if getattr(found[0], "value", None) is None:
        return found[0].id
    assert isinstance(found[0].value, Denied), found[0]
    return found[0].value.code


def registered() -> WiredServer:
    """A server with two computers."""
    wired = WiredServer()
    wired.register("r-1")
    wired.register("r-2")
    return wired


def test_first_key() -> None:
    """The first key that is shown beside a proof is bound; then none other goes, nor none."""
    wired = registered()

    assert shown(wired, "a:1", None) == 1
    assert shown(wired, "a:1", "k", proved=False) == "proof"
    assert [shown(wired, "a:1", key) for key in ("k", "k", "other", None)] == [1, 1, "identity", "identity"]


def test_id_by_key() -> None:
    """A key that is bound is proof enough of the id that is its name, and of no other."""
    wired = registered()
    shown(wired, "a:1", "k")

    assert shown(wired, "a:k", "k", proved=False) == 1
    assert shown(wired, "a:k", "other", proved=False) == "proof"
    assert shown(wired, "a:other", "other", proved=False) == "identity"


def test_key_of_another() -> None:
    """It stays where it is; a computer that was rejected loses its own to the next."""
    wired = registered()
    shown(wired, "a:1", "k")

    assert [shown(wired, f"a:{number}", "k") for number in (2, 1)] == ["identity", 1]
    assert shown(wired, "a:2", None) == 2
    assert wired.api("POST", "/computers/1", {"action": "reject"}).status == 200
    assert shown(wired, "a:2", "k") == 2
    assert shown(wired, "a:k", "k", proved=False) == 2


def test_released_key() -> None:
    """The next key that the computer shows is bound to it, and the old one is free for another."""
    wired = registered()
    shown(wired, "a:1", "old")

    assert wired.api("DELETE", "/computers/1/key").status == 200
    assert [shown(wired, f"a:{number}", key) for number, key in ((1, "new"), (1, "old"), (2, "old"))] == [
        1,
        "identity",
        2,
    ]


def test_two_keys_at_once() -> None:
    """Of two sessions that begin together with different keys one has its key bound, and the other is refused."""
    wired = registered()
    writer = HeldWriter()
    commits = Commits(connection=wired.connection, writer=writer)
    found: list[Any] = []
    for key in ("k", "other"):
        hello: Any = Says("a:1")
        credentials = Credentials(hello=hello, evidence=Evidence(key=key), is_proved_by=lambda secret: True)
        Deferred.fromCoroutine(recognise(commits, credentials)).addBoth(found.append)

    while writer.held:
        writer.release()

    assert sorted(getattr(each, "id", None) == 1 for each in found) == [False, True]
    assert find_record_txn(wired.connection, 1).key_name == "k"
