"""The files of a demo."""

import json
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldpost.agent.config import load_config, registration_key
from fieldpost.agent.demo.folder import EXPECTED_TYPES, HOSTS, PLUGINS, DemoFolder, FolderUnusable
from fieldpost.agent.manifest import hosts_of, load_manifests
from fieldpost.server.settings import api_token_of, load_settings, policy_of

SAMPLES = Path(__file__).parents[3] / "conf" / "plugins.d"


@pytest.fixture
def folder() -> Iterator[DemoFolder]:
    with tempfile.TemporaryDirectory() as path:
        yield DemoFolder(Path(path))


def test_configurations_load(folder: DemoFolder) -> None:
    """What the demo writes is configuration that server and agent take, and both mean each other."""
    folder.prepare()
    folder.write_agent_config(4711)

    config, settings = load_config(folder.agent_config), load_settings(folder.server_config)

    assert config.server.url == "https://127.0.0.1:4711/message-system"
    assert "ssl:port=4711:" in settings.server.listen[0], "a server that is started anew must be found again"
    assert config.broker.socket == folder.socket
    assert api_token_of(settings) == folder.api_token()
    account = policy_of(settings).accounts[config.server.account_name or ""]
    assert account.registration_key == registration_key(config.server, {})
    assert account.auto_accept


def test_manifests_are_those_of_the_samples(folder: DemoFolder) -> None:
    """The demo runs all plugins that are bundled, with the rights that their samples have."""
    folder.prepare()

    ours = {m.name: (m.module, m.sends, m.handles) for m in load_manifests(folder.path / "plugins.d")}
    samples = {m.name: (m.module, m.sends, m.handles) for m in load_manifests(SAMPLES)}

    assert ours == samples


def test_all_are_enabled(folder: DemoFolder) -> None:
    """Nothing is left out."""
    folder.prepare()

    hosts = hosts_of(load_manifests(folder.path / "plugins.d"))

    assert set(hosts) == set(HOSTS)
    assert sum(map(len, hosts.values())) == len(PLUGINS)
    assert set(EXPECTED_TYPES) <= set(policy_of(load_settings(folder.server_config)).accepted.types)


def test_secrets_are_private(folder: DemoFolder) -> None:
    """Keys and tokens are readable for the user alone."""
    folder.prepare()

    for name in ("server.key", "api-token", "registration-key"):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600


def test_folder_in_use(folder: DemoFolder) -> None:
    """A folder that holds something is left alone."""
    (folder.path / "thesis.txt").write_text("")

    with pytest.raises(FolderUnusable, match="is not empty"):
        folder.prepare()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/tmp/" + "x" * 110, "too long a path"),
        ("/dev/null/demo", "cannot be written"),
        ("/tmp/a:b", "no `:`"),
    ],
)
def test_impossible_folder(path: str, expected: str) -> None:
    """A folder that cannot be used is refused with the reason, before anything runs."""
    with pytest.raises(FolderUnusable, match=expected):
        DemoFolder(Path(path)).prepare()


def test_port(folder: DemoFolder) -> None:
    """The server's port is known once the server has written it down."""
    assert folder.server_port() is None

    (folder.path / "server").mkdir()
    (folder.path / "server" / "ports.json").write_text(
        json.dumps({"ports": [{"host": "127.0.0.1", "port": 99}]})
    )

    assert folder.server_port() == 99
