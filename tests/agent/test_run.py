"""Starting a process of ours without twistd."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fieldpost.agent.run import ROLES


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "fieldpost.agent.run", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


@pytest.mark.process
@pytest.mark.parametrize("arguments", [(), ("brokr",), ("--log-level", "info")])
def test_no_such_role(arguments: tuple[str, ...]) -> None:
    """Without a role that there is, the usage is shown."""
    ended = run(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")


@pytest.mark.process
@pytest.mark.parametrize("role", ROLES)
def test_configuration_is_missing(role: str) -> None:
    """A configuration that is not there is named, with exit code 2."""
    ended = run(role, "--config", "/nowhere/at-all.toml", *(["monitors"] if role == "plugin" else []))

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "/nowhere/at-all.toml: cannot be read: no such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.process
def test_second_openssl_is_not_loaded_early() -> None:
    """What is loaded before a process can leave it out does not bring it in."""
    code = "import sys, fieldpost.agent.run; print({'_hashlib', '_ssl'} & set(sys.modules) or 'neither')"

    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True, timeout=120
    )

    assert ended.stdout == "neither\n"


@pytest.mark.process
def test_log_as_configured(tmp_path: Path) -> None:
    """The log is in the form that the configuration wants; a command line goes before it."""
    file = tmp_path / "agent.toml"
    file.write_text(f'[broker]\nstate-dir = "b"\nsocket = "{"x" * 120}"\n[log]\nformat = "json"\n')
    (tmp_path / "plugins.d").mkdir()

    configured = run("broker", "--config", str(file))
    told = run("--log-format", "text", "broker", "--config", str(file))

    assert (configured.returncode, told.returncode) == (1, 1)
    assert "a socket's may have 107" in json.loads(configured.stderr.splitlines()[-1])["text"]
    assert not told.stderr.startswith("{")
