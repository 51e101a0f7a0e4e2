"""The broker put together."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import TestCase

from fieldpost.agent.broker_client import BrokerClient
from fieldpost.agent.broker_service import build_broker
from fieldpost.agent.composition import account_of, open_store, schedule_of
from fieldpost.agent.config import AgentConfig, load_config
from fieldpost.agent.manifest import Manifest
from fieldpost.agent.rights import grants_of
from fieldpost.agent.threads import Threads
from fieldpost.broker.local.grants import GrantInvalid
from fieldpost.broker.local.peer import Peer
from fieldpost.broker.local.socket_file import SocketUnusable
from fieldpost.runtime.doors import returns_deferred
from fieldpost.runtime.settings import SettingsError
from fieldpost.wire.local import Refused

reactor: Any = twisted_reactor  # of which Twisted has no one interface


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def configured(folder: Path, server: str = "", rest: str = "") -> AgentConfig:
    file = folder / "agent.toml"
    file.write_text(
        f'[server]\nurl = "https://127.0.0.1:1/"\n{server}\n[broker]\nstate-dir = "state"\n{rest}'
    )
    return load_config(file)


def manifest(name: str = "cpu", **fields: object) -> Manifest:
    return Manifest(name=name, file=Path(f"{name}.toml"), module="a:B", host=name, **fields)  # type: ignore[arg-type]


def test_account(folder: Path) -> None:
    """What the broker registers with is what the configuration says; the host's name is added."""
    (folder / "key").write_text("s3cret\n")
    server = (
        'account-name = "main"\nregistration-key-file = "key"\ntags = ["a", "b"]\ncomputer-title = "mine"'
    )

    account = account_of(configured(folder, server))

    assert account is not None
    assert (account.account_name, account.registration_password) == ("main", "s3cret")
    assert (account.computer_title, account.tags) == ("mine", "a,b")
    assert account.hostname


def test_no_account(folder: Path) -> None:
    """Without an account's name there is nothing to register with."""
    assert account_of(configured(folder)) is None


def test_intervals(folder: Path) -> None:
    """The schedule has the configured intervals."""
    rest = '[exchange]\ninterval = "7 min"\nurgent-interval = 7\ndrain-interval = 2'

    intervals = schedule_of(configured(folder, rest=rest), random.Random()).intervals

    assert (intervals.normal, intervals.urgent, intervals.drain) == (420.0, 7.0, 2.0)


def test_grants() -> None:
    """A plugin has the rights that its manifest states, for its own user."""
    grants = grants_of([manifest(sends=("cpu-usage",), handles=("reboot",))], own_uid=1234)

    grant = grants.admit(["cpu"], Peer(uid=1234, gid=1, pid=1))["cpu"]

    assert grant.may_send("cpu-usage")
    assert not grant.may_send("memory-info")
    assert grant.may_handle("reboot")


@pytest.mark.parametrize(("user", "uid", "is_admitted"), [
    (None, 1234, True),
    (None, 0, True),
    (None, 5, False),
    ("nobody", 65534, True),
    ("nobody", 1234, False),
    ("nobody", 0, False),
])  # fmt: skip
def test_users(user: str | None, uid: int, is_admitted: bool) -> None:
    """A plugin that names a user is that user's alone; one that names none is the broker's or root's."""
    grants = grants_of([manifest(user=user)], own_uid=1234)
    peer = Peer(uid=uid, gid=1, pid=1)

    if is_admitted:
        assert set(grants.admit(["cpu"], peer)) == {"cpu"}
    else:
        with pytest.raises(Refused):
            grants.admit(["cpu"], peer)


def test_operators() -> None:
    """The broker's own user and root may look at it; nobody else."""
    grants = grants_of([], own_uid=1234)

    for uid in (0, 1234):
        assert grants.admit([], Peer(uid=uid, gid=1, pid=1)) == {}
    with pytest.raises(Refused):
        grants.admit([], Peer(uid=5, gid=1, pid=1))


def test_rights_that_nobody_has() -> None:
    """A manifest cannot grant what is the broker's own."""
    with pytest.raises(GrantInvalid, match="register"):
        grants_of([manifest(sends=("register",))], own_uid=1)


def test_no_such_user() -> None:
    """A manifest that names a user who is not there is named."""
    with pytest.raises(SettingsError, match=r"cpu.toml: user: there is no user nobody-at-all"):
        grants_of([manifest(user="nobody-at-all")], own_uid=1)


def test_state_folder(folder: Path) -> None:
    """The state folder is made, for our own eyes."""
    config = configured(folder)

    open_store(config, now=lambda: 1.0).close()

    assert (folder / "state").stat().st_mode & 0o777 == 0o700
    assert config.broker.store.exists()


def test_state_folder_cannot_be_made(folder: Path) -> None:
    """A state folder that cannot be made is named with what to do."""
    (folder / "state").write_text("")

    with pytest.raises(SettingsError, match="the state folder cannot be made: file exists; make it"):
        open_store(configured(folder), now=lambda: 1.0)


@pytest.mark.process
class ServiceTests(TestCase):
    """The whole broker on a real reactor; there is no server."""

    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)
        rest = 'socket = "broker.sock"\n[store]\nmax-age = "1 d"\n'
        self.config = configured(self.folder, 'proxy = "none"', rest)

    def service(self, *manifests: Manifest) -> Service:
        found = build_broker(self.config, manifests, reactor)
        assert isinstance(found, Service)
        return found

    @returns_deferred
    async def test_life(self) -> None:
        """It starts, tells how it is, and stops with nothing left behind; then it can be started again."""
        for _ in range(2):
            service = self.service()
            service.startService()
            try:
                status = await Threads(reactor=reactor).run(self._status)
            finally:
                await maybeDeferred(service.stopService)
            self.assertEqual(os.getpid(), status["pid"])
            self.assertEqual("https://127.0.0.1:1/", status["server"]["url"])
            self.assertEqual((0, 0), (status["store"]["pending"], status["store"]["dead-letters"]))
            self.assertFalse(status["registration"]["is-registered"])
            self.assertEqual(({}, []), (status["types"], status["troubles"]))

    def _status(self) -> dict[str, Any]:
        with BrokerClient(self.config.broker.socket) as client:
            client.exchange()
            return client.status()

    @returns_deferred
    async def test_second(self) -> None:
        """A second one on the same socket does not start, and does not harm the first."""
        first, second = self.service(), self.service()
        first.startService()
        try:
            self.assertRaises(SocketUnusable, second.startService)
            self.assertFalse(second.running)
            await maybeDeferred(second.stopService)
            await Threads(reactor=reactor).run(self._status)
        finally:
            await maybeDeferred(first.stopService)

    @returns_deferred
    async def test_door(self) -> None:
        """The socket is for its own user alone, unless plugins have users of their own."""
        for manifests, mode in (((), 0o600), ((manifest(user="nobody"),), 0o666)):
            service = self.service(*manifests)
            service.startService()
            found = self.config.broker.socket.stat().st_mode & 0o777
            await maybeDeferred(service.stopService)
            self.assertEqual(mode, found)
