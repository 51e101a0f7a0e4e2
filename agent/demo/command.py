"""`fieldpost demo`: chooses folder and view, runs the demo, says how it went, cleans up."""

import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

import click
from attrs import frozen
from rich.console import Console
from twisted.logger import globalLogBeginner

from ...plugins.execute_script import own_name
from ..hosting import Hosting
from ..logs import log_observer
from ..supervision.processes import ProcessSpawner
from .demo import Demo, Outcome, as_json
from .folder import DemoFolder
from .view import LineView, LiveView, View


@frozen(kw_only=True)
class DemoOptions:
    """What the command line says."""

    once: bool
    as_json: bool
    timeout: float
    state: Path | None
    keep: bool


def run_demo(options: DemoOptions) -> int:
    """
    Run it to its end; the exit code.

    Raises FolderUnusable.
    """
    folder = DemoFolder(_folder_path(options.state))
    folder.prepare()
    click.echo(f"state and logs are in {folder.path}", err=options.as_json)
    ending = _run(options, folder)
    if not (options.keep or options.state or ending.has_failed):
        shutil.rmtree(folder.path, ignore_errors=True)
    return _tell(options, folder, ending)


@frozen(kw_only=True)
class _Ending:
    """`document` was made while the processes were still there."""

    outcome: Outcome
    document: str
    was_interrupted: bool = False

    @property
    def has_failed(self) -> bool:
        return self.outcome.reason is not None and not self.was_interrupted


def _folder_path(chosen: Path | None) -> Path:
    return chosen.absolute() if chosen else Path(tempfile.mkdtemp(prefix="fieldpost-demo-"))


def _run(options: DemoOptions, folder: DemoFolder) -> _Ending:
    from twisted.internet import reactor

    endings: list[_Ending] = []

    def end(outcome: Outcome) -> None:
        endings.append(_Ending(outcome=outcome, document=as_json(outcome, folder)))
        hosting.stop()

    demo = Demo(
        folder=folder,
        reactor=reactor,
        spawner=ProcessSpawner(reactor),
        random=Random(),
        view=_view(options, folder),
        user=own_name(),
        once=options.once,
        timeout=options.timeout,
        on_outcome=end,
    )
    hosting = Hosting(demo, reactor)
    with folder.log.open("w") as log:
        globalLogBeginner.beginLoggingTo(
            [log_observer(log, level="info", format="text")], redirectStandardIO=False
        )
        hosting.run()
    return endings[0] if endings else _interrupted(demo, folder)


def _interrupted(demo: Demo, folder: DemoFolder) -> _Ending:
    outcome = demo.outcome("interrupted")
    return _Ending(outcome=outcome, document=as_json(outcome, folder), was_interrupted=True)


def _view(options: DemoOptions, folder: DemoFolder) -> View:
    if options.as_json:
        return LineView(sys.stderr)
    if not sys.stdout.isatty():
        return LineView(sys.stdout)
    hint = "ends by itself" if options.once else "Ctrl-C ends it"
    return LiveView(Console(), f"Fieldpost demo in {folder.path} ({hint})")


def _tell(options: DemoOptions, folder: DemoFolder, ending: _Ending) -> int:
    """Say how it went; the exit code. A demo without end is meant to be interrupted."""
    if options.as_json:
        click.echo(ending.document)
    if ending.has_failed:
        click.echo(f"the demo failed: {ending.outcome.reason}\nits log is {folder.log}", err=True)
    elif ending.was_interrupted and options.once:
        click.echo("the demo was interrupted before all had arrived", err=True)
    elif options.once:
        click.echo(f"all has arrived, {ending.outcome.seconds:.1f} s after the start", err=options.as_json)
    return 1 if ending.has_failed or (ending.was_interrupted and options.once) else 0
