"""
The `fieldpost` command. Each command reads its options and calls one function; what that needs is loaded only then.

Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration. Answers go to the standard output, `--json` makes them
JSON; everything else goes to the standard error.
"""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from .. import __version__

P = ParamSpec("P")

DEFAULT_FILE = Path("/etc/fieldpost/agent.toml")

_config = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    envvar="FIELDPOST_CONFIG",
    show_envvar=True,
    help="The agent's configuration.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def _exits(command: Callable[P, int]) -> Callable[P, None]:
    """The command's number is the exit code; errors that we know are told without a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from ..runtime.settings import SettingsError
        from ..wire.errors import FieldpostError

        try:
            code = command(*args, **kwargs)
        except SettingsError as error:
            click.echo(str(error), err=True)
            code = 2
        except FieldpostError as error:
            click.echo(f"fieldpost: {error}", err=True)
            code = 1
        sys.exit(code)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fieldpost")
def main() -> None:
    """Fieldpost: a message agent for fleets of machines."""


@main.command()
@click.option("--once", is_flag=True, help="End when everything has arrived once.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print what was seen as one JSON document. Means --once."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds that --once may take.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new folder for state and logs. [default: a temporary one]",
)
@click.option("--keep", is_flag=True, help="Leave the temporary folder there.")
@_exits
def demo(once: bool, as_json: bool, timeout: float, state: Path | None, keep: bool) -> int:
    """Watch this machine's own figures travel: plugins, broker, server, and an operation back."""
    from .demo.command import DemoOptions, run_demo

    return run_demo(
        DemoOptions(once=once or as_json, as_json=as_json, timeout=timeout, state=state, keep=keep)
    )


@main.command()
@_config
@_exits
def run(file: Path) -> int:
    """Run the agent: the broker and the plugins, under one supervisor, until asked to stop."""
    from .lean import leave_second_openssl_out, leave_tls_out

    leave_tls_out()
    leave_second_openssl_out()
    from .run_command import run_agent

    return run_agent(file)


@main.command()
@_config
@_json
@_exits
def status(file: Path, as_json: bool) -> int:
    """Show how the broker is. Exit code 1 when it does not run."""
    from .broker_client import BrokerClient
    from .config import load_config
    from .status_words import status_lines

    with BrokerClient(load_config(file).broker.socket) as broker:
        found = broker.status()
    _answer(found, status_lines(found), as_json=as_json)
    return 0


@main.command()
@_config
@_exits
def exchange(file: Path) -> int:
    """Ask the broker for an exchange with the server now."""
    from .broker_client import BrokerClient
    from .config import load_config

    with BrokerClient(load_config(file).broker.socket) as broker:
        broker.exchange()
    click.echo("asked for; `fieldpost status` shows how it went")
    return 0


@main.group()
def config() -> None:
    """The configuration."""


@config.command()
@click.argument("named", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@_config
@_exits
def check(named: Path | None, file: Path) -> int:
    """Read the configuration and all manifests as the agent would; say all that is wrong."""
    from .checkup import check_configuration

    click.echo(check_configuration(named or file))
    return 0


@config.command("import-landscape")
@click.argument("theirs", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there, into a new file. [default: the standard output]",
)
@_exits
def import_landscape(theirs: Path, output: Path | None) -> int:
    """Turn the client.conf of a landscape-client into a configuration of ours; say what became of each option."""
    from .landscape_import import import_landscape as read
    from .landscape_import import write_new

    imported = read(theirs)
    if output is None:
        click.echo(imported.toml(), nl=False)
    else:
        write_new(output, imported.toml())
    for note in imported.notes:
        click.echo(str(note), err=True)
    return 0


@main.group()
def plugin() -> None:
    """The plugins."""


@plugin.command("list")
@_config
@_json
@_exits
def list_plugins(file: Path, as_json: bool) -> int:
    """List the plugins that have a manifest."""
    from .checkup import plugin_facts, plugin_lines

    found = plugin_facts(file)
    _answer(found, plugin_lines(found), as_json=as_json)
    return 0


def _answer(found: Any, lines: list[str], *, as_json: bool) -> None:  # Any: what JSON can say
    click.echo(json.dumps(found, indent=2, default=_as_text) if as_json else "\n".join(lines))


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
