"""Which programs make an agent: the broker, and a process for each host of plugins."""

import os
import pwd
import sys
from collections.abc import Iterable
from pathlib import Path

from ..runtime.settings import SettingsError
from ..runtime.toml_source import Problem
from .config import AgentConfig, Log
from .manifest import Manifest, hosts_of
from .supervision.processes import Program

BROKER = "broker"


def agent_programs(config: AgentConfig, manifests: Iterable[Manifest], *, file: Path) -> tuple[Program, ...]:
    """
    The programs in the order in which they start; `file` is where the configuration came from.

    Raises SettingsError for a user that there is not, or that this process cannot become.
    """
    broker = own_program(
        BROKER, ("broker", "--config", str(file)), log=config.log, user=config.broker.user, origin=file
    )
    hosts = (
        own_program(
            host,
            ("plugin", "--config", str(file), host),
            log=config.log,
            user=members[0].user,
            origin=members[0].file,
        )
        for host, members in hosts_of(manifests).items()
    )
    return (broker, *hosts)


def own_program(
    name: str, arguments: tuple[str, ...], *, log: Log, user: str | None, origin: Path
) -> Program:
    """
    A process of ours, by its role and options. `origin` is the file that names the user.

    Nothing is taken from the working folder (`-P`), so that it does not matter where an agent is started.
    """
    uid, gid = account_of(user, origin)
    launch = (sys.executable, "-P", "-m", "fieldpost.agent.run")
    options = ("--log-level", log.level, "--log-format", log.format)
    return Program(
        name=name,
        arguments=(*launch, *options, *arguments),
        uid=uid,
        gid=gid,
        environment={"PYTHONUNBUFFERED": "1"},
    )


def account_of(user: str | None, origin: Path) -> tuple[int | None, int | None]:
    """
    User and group to become; None for those that we have.

    Raises SettingsError.
    """
    if user is None:
        return None, None
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise _user_error(origin, f"there is no user {user}; make it, or name another") from None
    if found.pw_uid == os.geteuid():
        return None, None
    if os.geteuid() != 0:
        raise _user_error(
            origin, f"only root can start a process as {user}; start it as root, or leave `user` out"
        )
    return found.pw_uid, found.pw_gid


def _user_error(origin: Path, text: str) -> SettingsError:
    return SettingsError([Problem(file=origin, option="user", text=text)])
