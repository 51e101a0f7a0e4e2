"""The command line."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from fieldpost import __version__
from fieldpost.agent.cli import DEFAULT_FILE, main
from fieldpost.agent.config import DEFAULT_FILE as CONFIG_DEFAULT_FILE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "agent.toml"
        path.write_text(
            '[server]\nurl = "https://a/"\n[broker]\nsocket = "broker.sock"\n[plugins]\nmanifests = "plugins.d"\n'
        )
        (path.parent / "plugins.d").mkdir()
        yield path


def add_manifest(file: Path, name: str, text: str) -> None:
    (file.parent / "plugins.d" / f"{name}.toml").write_text(text)


CPU = 'module = "fieldpost.plugins.cpu_usage:CpuUsage"\nhost = "monitors"\nsends = ["cpu-usage"]\n'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_version() -> None:
    """The version is that of the package."""
    assert run("--version").output == f"fieldpost, version {__version__}\n"


def test_one_default() -> None:
    """The command and the daemons look for the configuration at the same place."""
    assert DEFAULT_FILE == CONFIG_DEFAULT_FILE


def test_check(file: Path) -> None:
    """A configuration that is right is said to be."""
    add_manifest(file, "cpu-usage", CPU)

    result = run("config", "check", "--config", str(file))

    assert (result.exit_code, result.output) == (0, f"{file} is right; 1 of 1 plugins are enabled\n")


def test_check_of_a_file(file: Path) -> None:
    """The file to check may be named without ado; the samples that we ship are right."""
    assert run("config", "check", str(file)).exit_code == 0

    result = run("config", "check", str(ROOT / "conf" / "agent.toml"))
    assert (result.exit_code, "5 of 6 plugins are enabled" in result.output) == (0, True)


def test_check_finds_mistakes(file: Path) -> None:
    """What is wrong is told with file and line; the exit code is 2."""
    file.write_text(file.read_text() + "[exchange]\nintervall = 5\n")

    result = run("config", "check", "--config", str(file))

    assert result.exit_code == 2
    assert f"{file}:8: exchange.intervall: there is no such option; did you mean `interval`?" in result.output


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (CPU + "[settings]\nintervall = 5", "cpu-usage.toml:5: settings.intervall: there is no such option"),
        (CPU.replace("CpuUsage", "Nothing"), "Nothing in fieldpost.plugins.cpu_usage is no class"),
        (CPU.replace('"cpu-usage"', '"register"'), "register"),
        (CPU + 'user = "nobody-at-all"', "there is no user nobody-at-all"),
    ],
)
def test_check_looks_into_manifests(file: Path, manifest: str, expected: str) -> None:
    """What would keep a plugin from running is found before it runs."""
    add_manifest(file, "cpu-usage", manifest)

    result = run("config", "check", "--config", str(file))

    assert result.exit_code == 2
    assert expected in result.output


def test_plugin_list(file: Path) -> None:
    """Plugins are listed with their rights, those that are disabled too."""
    add_manifest(file, "cpu-usage", CPU)
    add_manifest(file, "off", "enabled = false\n" + CPU)

    assert run("plugin", "list", "--config", str(file)).output.splitlines() == [
        "cpu-usage  in process monitors; sends cpu-usage",
        "off        disabled",
    ]
    found = json.loads(run("plugin", "list", "--json", "--config", str(file)).output)
    assert [(plugin["name"], plugin["enabled"]) for plugin in found] == [("cpu-usage", True), ("off", False)]


def test_no_plugins(file: Path) -> None:
    """An empty folder is no error."""
    assert run("plugin", "list", "--config", str(file)).output == "no plugin has a manifest\n"


@pytest.mark.parametrize("command", ["status", "exchange"])
def test_no_broker(file: Path, command: str) -> None:
    """Without a broker, its commands say where it was looked for and what to do; the exit code is 1."""
    result = run(command, "--config", str(file))

    assert result.exit_code == 1
    assert f"no broker answers at {file.parent}/broker.sock: it is not running. If it was" in result.output


def test_configuration_from_the_environment(file: Path) -> None:
    """The configuration may be named once for all commands."""
    result = CliRunner().invoke(main, ["config", "check"], env={"FIELDPOST_CONFIG": str(file)})

    assert result.exit_code == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--timeout", "0"], ["status", "--nonsense"]])
def test_wrong_use(arguments: list[str]) -> None:
    """Wrong use is told so, with exit code 2."""
    assert run(*arguments).exit_code == 2


def test_demo_in_a_folder_in_use(file: Path) -> None:
    """The demo does not touch a folder that holds something."""
    result = run("demo", "--once", "--state", str(file.parent))

    assert result.exit_code == 1
    assert "is not empty; name a folder that is new or empty" in result.output


@pytest.mark.process
def test_light_start() -> None:
    """What a command does not need is not loaded: no reactor, no Twisted, no rich."""
    program = "import sys, fieldpost.agent.cli; print([n for n in ('twisted', 'rich', 'sqlite3') if n in sys.modules])"

    ended = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, check=True, text=True)

    assert ended.stdout == "[]\n"


def commands(group: click.Group, before: str = "fieldpost") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def test_every_command_is_documented() -> None:
    """docs/operations.md names each command and each of its options."""
    text = (ROOT / "docs" / "operations.md").read_text()
    for name, command in commands(main):
        assert f"`{name}" in text, name
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}" in text, f"{name} {option}"


def test_documented_commands_exist() -> None:
    """docs/operations.md names no command that there is not."""
    text = (ROOT / "docs" / "operations.md").read_text()
    known = {name for name, _ in commands(main)}

    for name in re.findall(r"^\| `(fieldpost [a-z -]*[a-z])", text, flags=re.MULTILINE):
        assert name in known
