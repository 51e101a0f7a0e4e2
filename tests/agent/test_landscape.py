"""What the broker is given in order to stand in for a landscape-client."""

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from fieldpost.agent.composition import Parts, account_of, assemble
from fieldpost.agent.config import AgentConfig, Server, load_config
from fieldpost.agent.landscape import container_kind, ping_address
from fieldpost.broker.carriage.landscape import LandscapeTransport


@pytest.mark.parametrize(
    ("server", "place"),
    [
        (Server(protocol="landscape"), None),
        (Server(protocol="landscape", url="https://a.example/message-system"), "https://a.example:443/ping"),
        (Server(protocol="landscape", url="http://a.example:8080"), "http://a.example:8080/ping"),
        (
            Server(protocol="landscape", url="https://a.example/", ping_url="http://b.example/p"),
            "http://b.example:80/p",
        ),
    ],
)
def test_pings_go_beside_the_exchange(server: Server, place: str | None) -> None:
    """With TLS where that has TLS; elsewhere only when it is said."""
    address = ping_address(server)

    assert (address and str(address)) == place


def test_kind_of_container(tmp_path: Path) -> None:
    """As systemd writes it down; anything odd is none."""
    file = tmp_path / "container"
    assert container_kind(file) == ""
    for content, kind in (
        (b"lxc\n", "lxc"),
        (b"", ""),
        (b"a\x00b", ""),
        (b"\xff", ""),
        (b"x" * 999, "x" * 64),
    ):
        file.write_bytes(content)
        assert container_kind(file) == kind


def configured(folder: Path, server: str) -> AgentConfig:
    file = folder / "agent.toml"
    file.write_text(
        f'[server]\nurl = "http://127.0.0.1:1"\naccount-name = "main"\nproxy = "none"\n{server}[broker]\nstate-dir = "state"\n'
        f'socket = "{folder}/s"\n'
    )
    return load_config(file)


class Reactor(Clock):
    """Keeps the time, and takes the last words of threads."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """See IReactorFromThreads."""
        function(*args)


def assembled(config: AgentConfig) -> Parts:
    parts = assemble(config, (), Reactor())
    parts.writer.stop()
    parts.packer.stop()
    return parts


def test_parts_of_landscape(tmp_path: Path) -> None:
    """The transport of its manner, pings, and a store that knows; another protocol makes it forget."""
    parts = assembled(configured(tmp_path, 'protocol = "landscape"\naccess-group = "presses"\n'))
    assert isinstance(parts.transport, LandscapeTransport)
    assert parts.ping is not None
    assert parts.store.state().is_landscape
    parts.store.close()

    parts = assembled(configured(tmp_path, 'session = "off"\n'))
    assert not isinstance(parts.transport, LandscapeTransport)
    assert parts.ping is None
    assert not parts.store.state().is_landscape
    parts.store.close()


@pytest.mark.parametrize(("configured_as", "most"), [("", 100), ("max-messages = 40\n", 40)])
def test_messages_of_one_exchange(tmp_path: Path, configured_as: str, most: int) -> None:
    """As many as Landscape's client sends, or fewer where that is configured."""
    server = f'protocol = "landscape"\n[exchange]\n{configured_as}'
    parts = assembled(configured(tmp_path, server))
    parts.store.close()

    assert parts.exchange._limits.messages == most


def test_account_of_landscape(tmp_path: Path) -> None:
    """With the group to register into."""
    account = account_of(configured(tmp_path, 'protocol = "landscape"\naccess-group = "presses"\n'))

    assert account is not None
    assert account.access_group == "presses"
