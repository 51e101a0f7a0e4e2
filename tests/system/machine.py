"""
One Debian in a container: boots, runs commands, is shut down, or loses its power.

The container is systemd's own (systemd-nspawn), without a network but its loopback, and unknown to the computer's service
manager. Each has a control group of its own, so that several can run side by side, those of other work trees too. When this
process dies, so do they.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from .polling import until

BOOT_LIMIT = 300.0
STOP_LIMIT = 180.0
COMMAND_LIMIT = 300.0
"""Seconds after which it hangs; a slow and busy computer is far from them."""
REBOOT_STATUS = 133
"""How nspawn ends when the system inside asks for a reboot and nobody else restarts it."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}
Ran = subprocess.CompletedProcess[str]
_NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe")
_ENTER_GROUP = 'for group in $GROUPS_TO_ENTER; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'


class CommandFailed(AssertionError):
    """A command inside ended badly; the text has all that it said."""


class Machine:
    """The computer whose disk is the folder `root`; `log` is where its console goes."""

    def __init__(self, root: Path, *, name: str, log: Path) -> None:
        self.root = root
        self.name = name
        self._log = log
        self._unique = f"fp-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]}"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._options: tuple[str, ...] = ()

    # power

    def boot(self, *options: str) -> None:
        """Switch on, and wait until every service that starts at boot did or failed. Options are nspawn's."""
        assert self._nspawn is None, f"{self.name} runs already"
        self._options = options
        with self._log.open("ab") as log:
            self._nspawn = self._spawn(("--private-network", "--boot", *options), log)
        until(self._find_leader, limit=BOOT_LIMIT, what=f"{self.name}: first process")
        until(self._is_up, limit=BOOT_LIMIT, what=f"{self.name}: end of the boot (console in {self._log})")

    def shut_down(self) -> None:
        """As a person would: `systemctl poweroff`."""
        self._ask_to_end("poweroff")

    def reboot(self) -> None:
        """As a person would: `systemctl reboot`; returns when it is up again."""
        status = self._ask_to_end("reboot")
        assert status == REBOOT_STATUS, f"{self.name} did not reboot but ended with status {status}"
        self.boot(*self._options)

    def cut_power(self) -> None:
        """All processes end at this instant, none gets a word."""
        if self._nspawn is not None:
            self._kill()
            self._await_end()

    @property
    def is_on(self) -> bool:
        """Whether it runs."""
        return self._nspawn is not None

    # commands

    def run(self, *command: str, check: bool = True, limit: float = COMMAND_LIMIT, stdin: str = "") -> Ran:
        """
        Run a command inside, as root.

        Raises CommandFailed when it takes longer than the limit, or ends badly and `check` is set.
        """
        try:
            ran = subprocess.run(
                ["nsenter", f"--target={self._leader}", "--all", *_environment(), *command],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(command)}: not within {limit:g} s\n{error.stdout!r}") from None
        return _checked(ran, command) if check else ran

    def shell(self, script: str, *, check: bool = True, limit: float = COMMAND_LIMIT) -> Ran:
        """Run lines of shell inside; with `check`, the first that fails ends them."""
        return self.run("sh", "-e", "-c", script, check=check, limit=limit)

    def say(self, *command: str) -> str:
        """What a command inside says on its standard output, however it ends."""
        return self.run(*command, check=False).stdout.strip()

    def prepare(self, script: str, *, limit: float = 900.0) -> Ran:
        """Run lines of shell inside without booting, with the network of this computer."""
        assert self._nspawn is None, f"{self.name} runs already"
        settings = tuple(f"--setenv={name}={value}" for name, value in ENVIRONMENT.items())
        options = ("--resolv-conf=copy-host", *settings)
        command = [*_NSPAWN, *options, *self._itself(), "sh", "-e", "-c", script]
        ran = self._in_group(command, limit)
        return _checked(ran, (script,))

    def path(self, inside: str) -> Path:
        """Where a file of the machine stands for us, as long as it is on its disk and not in /run or /tmp."""
        return self.root / inside.lstrip("/")

    # inside

    def _itself(self) -> tuple[str, ...]:
        return f"--directory={self.root}", f"--machine={self._unique}", f"--hostname={self.name}"

    def _spawn(self, options: tuple[str, ...], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [*_NSPAWN, *options, *self._itself()]
        return subprocess.Popen(
            _grouped(["setpriv", "--pdeathsig", "KILL", *command]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._make_groups(),
        )

    def _in_group(self, command: list[str], limit: float) -> Ran:
        try:
            return subprocess.run(
                _grouped(command),
                env=self._make_groups(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        finally:
            self._remove_groups()

    def _find_leader(self) -> int:
        """The container's process 1, a child of nspawn. Zero as long as there is none."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        if self._nspawn.poll() is not None:
            raise AssertionError(f"{self.name} does not start; its console is in {self._log}")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        inner = [int(child) for child in children if _number_inside(int(child)) == 1]
        self._leader = inner[0] if inner else 0
        return self._leader

    def _is_up(self) -> bool:
        return self.say("systemctl", "is-system-running") in ("running", "degraded")

    def _ask_to_end(self, verb: str) -> int:
        self.run("systemctl", "--no-wall", "--no-block", verb)
        return self._await_end()

    def _await_end(self) -> int:
        assert self._nspawn is not None
        try:
            status = self._nspawn.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()
            self._nspawn.wait(STOP_LIMIT)
            raise AssertionError(f"{self.name} did not shut down within {STOP_LIMIT:g} s") from None
        finally:
            self._nspawn, self._leader = None, 0
        self._remove_groups()
        return status

    def _kill(self) -> None:
        """The first process inside; nspawn itself as long as there is none. Whoever has ended already is left alone."""
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            return
        if self._leader:
            os.kill(self._leader, 9)
        else:
            self._nspawn.kill()

    def _groups(self) -> list[Path]:
        return [hierarchy / self._unique for hierarchy in _hierarchies()]

    def _make_groups(self) -> Mapping[str, str]:
        for group in self._groups():
            group.mkdir(exist_ok=True)
        return {**os.environ, "GROUPS_TO_ENTER": " ".join(map(str, self._groups()))}

    def _remove_groups(self) -> None:
        """They are empty soon after the last process has gone; what stays is in nobody's way."""
        end = time.monotonic() + 5
        for group in self._groups():
            for folder, _, _ in os.walk(group, topdown=False):
                while not _removed(folder) and time.monotonic() < end:
                    time.sleep(0.05)


def _environment() -> list[str]:
    return [
        "env",
        "--ignore-environment",
        "--chdir=/",
        *(f"{name}={value}" for name, value in ENVIRONMENT.items()),
    ]


def _grouped(command: list[str]) -> list[str]:
    return ["sh", "-c", _ENTER_GROUP, "sh", *command]


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _checked(ran: Ran, command: tuple[str, ...]) -> Ran:
    if ran.returncode:
        raise CommandFailed(f"{' '.join(command)}: exit status {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return ran


def _hierarchies() -> list[Path]:
    """Where control groups are made: one tree, or the two that systemd uses on an older layout."""
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.controllers").exists():
        return [base]
    return [tree for tree in (base / "systemd", base / "unified") if tree.exists()]


def _number_inside(pid: int) -> int:
    """The number that a process has in the innermost container that it is in; zero when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return int(numbers[-1]) if len(numbers) > 1 else 0
