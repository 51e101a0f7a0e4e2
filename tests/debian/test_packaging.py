"""What the Debian packages install besides the modules: configuration, manual pages, units."""

import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from fieldpost.agent.cli import main
from fieldpost.agent.config import AgentConfig, load_config
from fieldpost.agent.manifest import Manifest, load_manifests
from fieldpost.runtime.settings import options_of
from fieldpost.server.settings import ServerSettings, load_settings

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "debian" / "systemd"
SOCKET_GROUP = "fieldpost-plugins"


def made(script: str, source: Path, target: Path) -> Path:
    """What one of the build's scripts makes."""
    subprocess.run([sys.executable, str(ROOT / "debian" / script), str(source), str(target)], check=True)
    return target


@pytest.fixture(name="conf")
def _conf(tmp_path: Path) -> Path:
    return made("conffiles.py", ROOT / "conf", tmp_path / "fieldpost")


@pytest.fixture(name="pages")
def _pages(tmp_path: Path) -> Path:
    return made("manpages.py", ROOT / "docs", tmp_path / "man")


def unit(name: str) -> dict[str, str]:
    """The settings of a unit's section [Service] or [Socket]; of one that is given several times, the last."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names as they are
    parser.read(UNITS / name)
    return dict(parser["Socket" if name.endswith(".socket") else "Service"])


def unit_of(manifest: Manifest) -> dict[str, str]:
    """The unit that a plugin's process is: its own, or the template's."""
    own = f"fieldpost-plugin@{manifest.host}.service"
    return unit(own if (UNITS / own).exists() else "fieldpost-plugin@.service")


def test_agent_is_installed_without_a_server(conf: Path) -> None:
    """It waits for one; everything else is as in the sample."""
    config = load_config(conf / "agent.toml")
    assert config.server.url is None
    assert config.server.account_name is None


def test_server_is_installed_for_this_machine_alone(conf: Path) -> None:
    """Nobody is admitted, and nothing is open to others, before somebody says so."""
    settings = load_settings(conf / "server.toml")
    assert settings.server.listen == ("tcp:port=8080:interface=127.0.0.1",)
    assert not any(account.auto_accept for account in settings.accounts.values())


def test_each_manifest_names_the_user_of_its_unit(conf: Path) -> None:
    """The broker knows plugins by their users; a manifest that names another would be refused."""
    manifests = load_manifests(conf / "plugins.d")
    assert len(manifests) == len(list((ROOT / "conf" / "plugins.d").iterdir()))
    assert {m.name: m.user for m in manifests} == {m.name: unit_of(m)["User"] for m in manifests}


def test_only_monitors_share_the_unprivileged_unit(conf: Path) -> None:
    """What takes the server's messages does something to the machine, and has a unit of its own."""
    for manifest in load_manifests(conf / "plugins.d"):
        assert bool(manifest.handles) != (unit_of(manifest)["User"] == "fieldpost-monitor")


def test_units_have_users_that_are_made() -> None:
    """By systemd-sysusers, from the file of the same package."""
    files = [ROOT / "debian" / f"fieldpost-{package}.sysusers" for package in ("agent", "server")]
    known = set(re.findall(r"^[ug] ([a-z-]+)", "\n".join(file.read_text() for file in files), re.MULTILINE))
    services = [unit(file.name) for file in UNITS.glob("*.service")]
    named = {service[key] for service in services for key in ("User", "Group") if key in service}
    assert named - {"root"} == known


def test_socket_is_where_the_configuration_has_it(conf: Path) -> None:
    """And the group that may connect is that of the monitors."""
    socket = unit("fieldpost-broker.socket")
    assert socket["ListenStream"] == str(load_config(conf / "agent.toml").broker.socket)
    assert socket["SocketGroup"] == SOCKET_GROUP == unit("fieldpost-plugin@.service")["Group"]


@pytest.mark.parametrize(
    ("page", "schema"), [("fieldpost-agent.toml.5", AgentConfig), ("fieldpost-server.toml.5", ServerSettings)]
)
def test_manual_has_every_option(pages: Path, page: str, schema: type) -> None:
    """They come from the documentation's tables."""
    text = (pages / page).read_text().replace("\\-", "-")
    bold = set(re.findall(r"^\.B (\S+)$", text, re.MULTILINE))
    missing = [
        note.name
        for note in options_of(schema)
        if note.name not in bold and note.name.rpartition(".")[2] not in bold
    ]
    assert not missing


def test_manual_has_every_option_of_a_manifest(pages: Path) -> None:
    """That page is written by hand."""
    text = (pages / "fieldpost-plugin.toml.5").read_text()
    names = [
        name for name in Manifest.__annotations__ if name not in ("name", "file", "settings", "declarations")
    ]
    assert [name for name in names if f"\n.B {name}\n" not in text] == []
    assert "\n.SS [messages.TYPE]\n" in text


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Each command with all its words, and the long names of its options."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            options = [o for param in command.params for o in param.opts if o.startswith("--")]
            yield " ".join((*words, name)), options


def test_manual_has_every_command(pages: Path) -> None:
    """With its options."""
    text = (pages / "fieldpost.1").read_text().replace("\\-", "-")
    for command, options in commands(main):
        assert re.search(rf"^\.BI? \"?{command} ?\"?", text, re.MULTILINE), command
        assert [option for option in options if option not in text] == [], command


def test_a_changed_sample_ends_the_build(tmp_path: Path) -> None:
    """Rather than installing something that nobody has looked at."""
    sample = (ROOT / "conf" / "agent.toml").read_text()
    (tmp_path / "agent.toml").write_text(sample.replace("\nurl = ", "\naddress = "))
    ended = subprocess.run(
        [sys.executable, str(ROOT / "debian" / "conffiles.py"), str(tmp_path), str(tmp_path / "made")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "change debian/conffiles.py" in ended.stderr
