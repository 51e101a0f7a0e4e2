"""`fieldpost run`: the agent under its supervisor. The composition root of the supervisor's process."""

import sys
from pathlib import Path
from random import Random

from twisted.logger import globalLogBeginner

from .config import AgentConfig, load_config
from .hosting import Hosting
from .logs import log_observer
from .manifest import Manifest, load_manifests
from .programs import agent_programs
from .supervision.child import RestartPolicy
from .supervision.processes import ProcessSpawner
from .supervision.supervisor import Supervisor


def run_agent(file: Path) -> int:
    """
    The exit code, once the agent was asked to stop.

    Raises SettingsError.
    """
    config = load_config(file)
    manifests = load_manifests(config.plugins.manifests)
    return _supervise(config, manifests, file)


def _supervise(config: AgentConfig, manifests: tuple[Manifest, ...], file: Path) -> int:
    from twisted.internet import reactor

    supervisor = Supervisor(
        programs=agent_programs(config, manifests, file=file.absolute()),
        policy=RestartPolicy(
            base=config.supervisor.restart_base,
            cap=config.supervisor.restart_cap,
            steady_after=config.supervisor.steady_after,
            stop_grace=config.supervisor.stop_grace,
        ),
        spawner=ProcessSpawner(reactor),
        clock=reactor,
        random=Random(),
        on_line=_pass_on if config.log.format == "text" else _pass_on_alone,
    )
    observer = log_observer(sys.stderr, level=config.log.level, format=config.log.format)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return Hosting(supervisor, reactor).run()


def _pass_on(child: str, line: str) -> None:
    """A child's lines have time and level of their own already."""
    sys.stderr.write(f"{child}: {line}\n")
    sys.stderr.flush()


def _pass_on_alone(child: str, line: str) -> None:
    """A line of JSON stays one."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
