"""
Runs a script that the server sends, as a process of its own, within limits.

It is switched off unless its manifest says otherwise: whoever may send operations may then do here what the allowed
users may. The script gets a fresh folder that is removed afterwards, a clean environment and an empty standard input;
it and what it started are ended when the time is over.
"""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError

from ..runtime.settings import OCTETS, SECONDS, option
from ..wire.errors import FieldpostError, Malformed
from ..wire.local import DONE, FAILED, Outcome
from ..wire.message import Message
from ..wire.schema import MAP, NATURAL, TEXT, field_of, from_map, optional
from .child import STOPPED, TIME_LIMIT, Child, Command, Ending
from .context import Context
from .errors import OperationFailed
from .plugin import Plugin, handles

ERROR = 100
TIMED_OUT = 102
PROCESS_FAILED = 103
NO_ATTACHMENT = 104
"""`result-code` of the operation (landscape 1.5)."""

EVERYBODY = "ALL"
SCRIPT = "script"
"""Name of the script's own file."""
MAX_ATTACHMENTS = 100
NAME_OCTETS = 255
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def read_environment(value: Any) -> dict[str, str]:
    """A map that can be an environment."""
    found = {TEXT(key): _variable(item) for key, item in MAP(value).items()}
    for key, item in found.items():
        if not key or "=" in key or "\0" in key + item:
            raise Malformed(f"{key[:40]!r} cannot be set in an environment")
    return found


def _variable(value: Any) -> str:
    """Text. Landscape's description of its scripts has numbers and a list of tags there, too."""
    found: str = ",".join(map(TEXT, value)) if type(value) is list else TEXT(_digits(value))
    return found


def _digits(value: Any) -> Any:
    return str(value) if type(value) is int else value


def read_attachments(value: Any) -> dict[str, int]:
    """A map of file names to ids, or a list of ids: those are the names, then, as in Landscape's description of its scripts."""
    named = {str(NATURAL(id)): id for id in value} if type(value) is list else MAP(value)
    found = {TEXT(name): NATURAL(id) for name, id in named.items()}
    if len(found) > MAX_ATTACHMENTS:
        raise Malformed(f"may name {MAX_ATTACHMENTS} files, not {len(found)}")
    for name in found:
        if (
            "/" in name
            or "\0" in name
            or name in ("", ".", "..", SCRIPT)
            or len(os.fsencode(name)) > NAME_OCTETS
        ):
            raise Malformed(f"{name[:40]!r} cannot be the name of a file beside the script")
    return found


def read_line(value: Any) -> str:
    """Text of one line."""
    text: str = TEXT(value)
    if not text.strip() or not text.isprintable():
        raise Malformed("must be one line of printable text, not empty")
    return text


@frozen(kw_only=True)
class ScriptRequest:
    """The operation's message. A time limit of null or 0 is the plugin's own."""

    interpreter: str = field_of(read_line)
    """A path, with at most one argument after it, as in the first line of a script."""
    code: str = field_of(TEXT)
    username: str = field_of(read_line)
    time_limit: int | None = field_of(optional(NATURAL), default=None)
    env: dict[str, str] | None = field_of(optional(read_environment), default=None)
    attachments: dict[str, int] | None = field_of(optional(read_attachments), default=None)
    """Files that are put beside the script: ids by name."""


@frozen(kw_only=True)
class ExecuteScriptSettings:
    """Who may run what, and how much of it."""

    users: tuple[str, ...] = ()
    """Users that scripts may run as; `ALL` for every user; empty: only the one that this process has."""
    time_limit: float = option(default=300.0, unit=SECONDS, at_least=1, at_most=604_800)
    """For a script that comes without one."""
    longest_time_limit: float = option(default=3600.0, unit=SECONDS, at_least=1, at_most=604_800)
    output_limit: int = option(default=65_536, unit=OCTETS, at_least=1024, at_most=99_000)
    """A result holds 100,000 characters."""
    attachments_limit: int = option(default=33_554_432, unit=OCTETS, at_least=0, at_most=1_073_741_824)
    """For all files of one script together."""
    grace: float = option(default=5.0, unit=SECONDS, at_least=0.1, at_most=600)
    """From asking a script to end to killing it."""

    def __attrs_post_init__(self) -> None:
        if self.time_limit > self.longest_time_limit:
            raise ValueError(
                "time-limit must not be more than longest-time-limit; lower it, or raise the other"
            )


@frozen(kw_only=True)
class User:
    """An account of this machine. `uid` and `gid`: None for those of this process."""

    name: str
    home: str
    shell: str
    uid: int | None
    gid: int | None


def own_name(uid: int | None = None) -> str:
    """The name of the user that this process has; its number where it has none, as in some containers."""
    number = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def find_user(name: str, own: str, *, own_uid: int | None = None) -> User:
    """
    An account by name, `own` being that of this process. It may block where accounts come from a server.

    Raises OperationFailed when there is no such account, or this process cannot become it.
    """
    number = os.geteuid() if own_uid is None else own_uid
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        if name == own:
            return User(name=name, home="/", shell="/bin/sh", uid=None, gid=None)
        raise OperationFailed(f"this machine has no user {name!r}", result_code=ERROR) from None
    user = User(name=name, home=found.pw_dir, shell=found.pw_shell, uid=found.pw_uid, gid=found.pw_gid)
    if found.pw_uid == number:
        return evolve(user, uid=None, gid=None)
    if number == 0:
        return user
    raise OperationFailed(
        f'the plugin runs as {own!r} and cannot become {name!r}; set `user = "root"` in its manifest, or run the '
        f"script as {own!r}",
        result_code=ERROR,
    )


class ExecuteScript(Plugin):
    """Handles `execute-script`; the operation's result has what the script wrote."""

    name = "execute-script"
    Settings = ExecuteScriptSettings

    def __init__(
        self,
        context: Context,
        own_name: Callable[[], str] = own_name,
        find_user: Callable[[str, str], User] = find_user,
        setsid: str | None = shutil.which("setsid"),
        make_child: Callable[..., Child] = Child,
    ) -> None:
        super().__init__(context)
        self._make_child = make_child
        self._own_name = own_name()
        self._find_user = find_user
        self._setsid = setsid

    @handles("execute-script")
    async def execute(self, message: Message) -> Outcome:
        """Run it; the outcome says how it went."""
        request = self._checked(message)
        setsid = self._setsid_program()
        directory = _make_directory()
        try:
            await self._fetch(request, message, directory)
            command = await self.in_thread(self._prepare, request, directory)
            return _outcome(
                await self._run(command, request, setsid, self._shown(message)), self._limit_of(request)
            )
        finally:
            await self._remove(directory)

    def _checked(self, message: Message) -> ScriptRequest:
        """Raises OperationFailed for what may not or cannot be run."""
        try:
            request = from_map(ScriptRequest, message)
        except Malformed as error:
            raise OperationFailed(f"this is no script that can be run: {error}", result_code=ERROR) from None
        self._check_user(request.username)
        if self._limit_of(request) > self.settings.longest_time_limit:
            longest = self.settings.longest_time_limit
            raise OperationFailed(
                f"a time limit of {request.time_limit} s is more than the {longest:g} s allowed here "
                "(`longest-time-limit` in the plugin's manifest)",
                result_code=ERROR,
            )
        return request

    def _check_user(self, name: str) -> None:
        allowed = self.settings.users or (self._own_name,)
        if name not in allowed and EVERYBODY not in allowed:
            raise OperationFailed(
                f"scripts may not run as {name!r} here, only as {', '.join(allowed)} (`users` in the plugin's manifest)",
                result_code=ERROR,
            )

    def _limit_of(self, request: ScriptRequest) -> float:
        limit: float = request.time_limit or self.settings.time_limit
        return limit

    async def _fetch(self, request: ScriptRequest, message: Message, directory: str) -> None:
        """
        Put the files beside where the script will be, while the folder is still ours alone.

        Raises OperationFailed.
        """
        room = self.settings.attachments_limit
        for name, id in (request.attachments or {}).items():
            octets = await self._attachment(message, id)
            room -= len(octets)
            if room < 0:
                raise OperationFailed(
                    f"the attachments have more than {self.settings.attachments_limit} octets together "
                    "(`attachments-limit` in the plugin's manifest)",
                    result_code=NO_ATTACHMENT,
                )
            try:
                await self.in_thread(_write_file, Path(directory, name), octets)
            except OSError as error:
                text = f"attachment {name!r} cannot be written: {error}"
                raise OperationFailed(text, result_code=NO_ATTACHMENT) from None

    async def _attachment(self, message: Message, id: int) -> bytes:
        operation = message.get("operation-id")
        if type(operation) is not int:
            raise OperationFailed("only operations have attachments", result_code=NO_ATTACHMENT)
        try:
            return await self.context.attachment(operation, id)
        except FieldpostError as error:
            raise OperationFailed(str(error), result_code=NO_ATTACHMENT) from None

    def _prepare(self, request: ScriptRequest, directory: str) -> Command:
        """In a thread: write the script, find the user. Raises OperationFailed."""
        user = self._find_user(request.username, self._own_name)
        interpreter = _interpreter_of(request)
        script = Path(directory, SCRIPT)
        try:
            _write_script(script, request.code, user)
        except OSError as error:
            raise OperationFailed(f"the script cannot be written: {error}", result_code=ERROR) from None
        return Command(
            arguments=[*interpreter, str(script)],
            environment={**_environment_of(user), **(request.env or {})},
            directory=directory,
            uid=user.uid,
            gid=user.gid,
        )

    def _shown(self, message: Message) -> Callable[[str], None] | None:
        """Who is told what the script writes, as it comes: whoever watches the operation."""
        operation = message.get("operation-id")
        return partial(self.context.report_output, operation) if type(operation) is int else None

    async def _run(
        self, command: Command, request: ScriptRequest, setsid: str, wrote: Callable[[str], None] | None
    ) -> Ending:
        child = self._make_child(
            clock=self.context.clock,
            output_limit=self.settings.output_limit,
            grace=self.settings.grace,
            wrote=wrote,
        )
        child.start(self.context.spawner, command, setsid=setsid, time_limit=self._limit_of(request))
        try:
            return await child.ended()
        except CancelledError:
            child.end(STOPPED)
            return await child.ended()

    def _setsid_program(self) -> str:
        if self._setsid is None:
            raise OperationFailed("the program `setsid` is missing: install util-linux", result_code=ERROR)
        return self._setsid

    async def _remove(self, directory: str) -> None:
        """In a thread: a script may have left a great many files."""
        if not await self.in_thread(_removed, directory):
            self.log.warn("{plugin}: {directory} could not be removed", plugin=self.name, directory=directory)


def _make_directory() -> str:
    try:
        return tempfile.mkdtemp(prefix="fieldpost-script-")
    except OSError as error:
        raise OperationFailed(f"there is no place for the script: {error}", result_code=ERROR) from None


def _removed(directory: str) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not os.path.lexists(directory)


def _write_script(script: Path, code: str, user: User) -> None:
    script.touch(mode=0o700)
    script.write_text(code, encoding="utf-8", newline="")
    if user.uid is not None and user.gid is not None:
        for path in (*script.parent.iterdir(), script.parent):
            os.chown(path, user.uid, user.gid)


def _write_file(path: Path, octets: bytes) -> None:
    path.touch(mode=0o700)
    path.write_bytes(octets)


def _interpreter_of(request: ScriptRequest) -> list[str]:
    parts = request.interpreter.split(None, 1)
    if not os.path.isabs(parts[0]) or not os.path.isfile(parts[0]) or not os.access(parts[0], os.X_OK):
        raise OperationFailed(
            f"there is no interpreter {parts[0]!r} here: name a program by its path, such as /bin/sh",
            result_code=ERROR,
        )
    return parts


def _environment_of(user: User) -> dict[str, str]:
    return {
        "PATH": SEARCH_PATH,
        "USER": user.name,
        "LOGNAME": user.name,
        "HOME": user.home,
        "SHELL": user.shell,
        "LANG": "C.UTF-8",
    }


def _outcome(ending: Ending, limit: float) -> Outcome:
    if ending.cause is None and not ending.exit_code and ending.signal is None:
        return Outcome(status=DONE, result_text=ending.output)
    gap = "" if not ending.output or ending.output.endswith("\n") else "\n"
    return Outcome(
        status=FAILED,
        result_code=TIMED_OUT if ending.cause == TIME_LIMIT else PROCESS_FAILED,
        result_text=f"{ending.output}{gap}[{_note(ending, limit)}]",
    )


def _note(ending: Ending, limit: float) -> str:
    if ending.cause is not None:
        reason = (
            f"it ran for more than {limit:g} s" if ending.cause == TIME_LIMIT else "the agent was stopped"
        )
        hangs = ending.exit_code is None and ending.signal is None
        return f"killed because {reason}, but it does not end" if hangs else f"ended because {reason}"
    if ending.signal is not None:
        return f"ended by signal {_signal_name(ending.signal)}"
    return f"exit code {ending.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
