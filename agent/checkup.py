"""The configuration as the agent would read it, without running anything."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runtime.secret import read_secret
from ..runtime.settings import SettingsError
from ..runtime.toml_source import Problem
from ..wire.errors import FieldpostError
from .config import Server, load_config, registration_key
from .host import load_plugin
from .manifest import Manifest, hosts_of, load_manifests
from .programs import agent_programs
from .rights import grant_of

CREDENTIALS = Path("/etc/credstore")
"""Where systemd finds `fieldpost-agent.NAME`, which the broker's unit has it pass as NAME; root alone may look."""


def check_configuration(file: Path, *, credentials: Path = CREDENTIALS) -> str:
    """
    One line for people when all is right.

    Raises SettingsError with what is not.
    """
    config = load_config(file)
    _check_key(config.server, credentials)
    manifests = load_manifests(config.plugins.manifests)
    agent_programs(config, manifests, file=file)
    problems = [problem for manifest in manifests if manifest.enabled for problem in _problems_of(manifest)]
    if problems:
        raise SettingsError(problems)
    plugins = sum(map(len, hosts_of(manifests).values()))
    return f"{file} is right; {plugins} of {len(manifests)} plugins are enabled"


def _check_key(server: Server, credentials: Path) -> None:
    """As the broker would find it: it runs as a service that is passed credentials, and we do not."""
    file = server.registration_key_file
    stored = credentials / f"fieldpost-agent.{file.name}" if file else credentials
    if file and not os.path.exists(file) and os.path.exists(stored):
        read_secret(stored, option="server.registration-key-file", environ={})
    else:
        registration_key(server, os.environ)


def _problems_of(manifest: Manifest) -> Sequence[Problem]:
    """What would keep this plugin from running: its rights, its class, its settings."""
    try:
        grant_of(manifest, own_uid=os.geteuid())
        load_plugin(manifest)
    except SettingsError as error:
        return error.problems
    except FieldpostError as error:
        return [Problem(file=manifest.file, text=str(error).removeprefix(f"{manifest.file}: "))]
    return ()


def plugin_facts(file: Path) -> list[dict[str, Any]]:
    """
    Each plugin that has a manifest.

    Raises SettingsError.
    """
    return [
        {
            "name": manifest.name,
            "enabled": manifest.enabled,
            "host": manifest.host,
            "user": manifest.user,
            "sends": manifest.sends,
            "handles": manifest.handles,
            "module": manifest.module,
        }
        for manifest in load_manifests(load_config(file).plugins.manifests)
    ]


def plugin_lines(facts: list[dict[str, Any]]) -> list[str]:
    """The same for people."""
    if not facts:
        return ["no plugin has a manifest"]
    width = max(len(plugin["name"]) for plugin in facts)
    return [f"{plugin['name']:{width}}  {_described(plugin)}" for plugin in facts]


def _described(plugin: dict[str, Any]) -> str:
    if not plugin["enabled"]:
        return "disabled"
    rights = [f"{verb} {', '.join(plugin[verb])}" for verb in ("sends", "handles") if plugin[verb]]
    return f"in process {plugin['host']}; {'; '.join(rights) or 'may send and handle nothing'}"
