"""The programs that make an agent."""

import os
import sys
from pathlib import Path

import pytest

from fieldpost.agent.config import AgentConfig, Broker, Exchange, Log, Plugins, Server, Store, Supervisor
from fieldpost.agent.manifest import Manifest
from fieldpost.agent.programs import account_of, agent_programs
from fieldpost.runtime.settings import SettingsError

FILE = Path("/etc/fieldpost/agent.toml")


def config(*, user: str | None = None) -> AgentConfig:
    return AgentConfig(
        server=Server(url="https://a/"),
        broker=Broker(user=user),
        exchange=Exchange(),
        store=Store(),
        log=Log(level="debug", format="json"),
        plugins=Plugins(),
        supervisor=Supervisor(),
    )


def manifest(name: str, host: str, *, enabled: bool = True, user: str | None = None) -> Manifest:
    return Manifest(name=name, file=Path(f"{name}.toml"), module="a:B", host=host, enabled=enabled, user=user)


def test_programs() -> None:
    """The broker comes first, then one process for each host that has an enabled plugin."""
    manifests = (
        manifest("a", "one"),
        manifest("b", "two"),
        manifest("c", "one"),
        manifest("d", "three", enabled=False),
    )

    programs = agent_programs(config(), manifests, file=FILE)

    assert [program.name for program in programs] == ["broker", "one", "two"]
    assert programs[0].arguments[-3:] == ("broker", "--config", str(FILE))
    assert programs[1].arguments[-4:] == ("plugin", "--config", str(FILE), "one")


def test_launch() -> None:
    """A child runs the same Python, takes nothing from the working folder, and logs as the configuration says."""
    (broker,) = agent_programs(config(), (), file=FILE)

    assert broker.arguments[:4] == (sys.executable, "-P", "-m", "fieldpost.agent.run")
    assert broker.arguments[4:8] == ("--log-level", "debug", "--log-format", "json")
    assert (broker.uid, broker.gid) == (None, None)


def test_no_such_user() -> None:
    """A user that there is not is named, with the file that names it."""
    with pytest.raises(SettingsError, match=r"agent.toml: user: there is no user nobody-at-all"):
        agent_programs(config(user="nobody-at-all"), (), file=FILE)
    with pytest.raises(SettingsError, match=r"a.toml: user: there is no user nobody-at-all"):
        agent_programs(config(), (manifest("a", "one", user="nobody-at-all"),), file=FILE)


def test_another_user() -> None:
    """Root becomes whoever is named; others are told that they cannot."""
    if os.geteuid() == 0:
        assert account_of("nobody", FILE)[0] not in (None, 0)
        assert account_of("root", FILE) == (None, None)
    else:
        with pytest.raises(SettingsError, match="only root can start a process as root"):
            account_of("root", FILE)
