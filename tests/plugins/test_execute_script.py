"""execute-script runs what it may, within limits, and leaves nothing behind."""

import os
import pwd
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from fieldpost.plugins import DONE, FAILED, OperationFailed, Outcome
from fieldpost.plugins.child import Child
from fieldpost.plugins.execute_script import (
    ERROR,
    NO_ATTACHMENT,
    PROCESS_FAILED,
    TIMED_OUT,
    ExecuteScript,
    User,
    find_user,
    own_name,
)
from fieldpost.runtime.doors import returns_deferred
from fieldpost.runtime.settings import SettingsError
from fieldpost.testing import FakeProcess, FakeSpawner, PluginRun, result_of

ME = User(name="me", home="/home/me", shell="/bin/sh", uid=None, gid=None)


def message(code: str = "true", **fields: Any) -> dict[str, Any]:
    return {
        "type": "execute-script",
        "operation-id": 1,
        "interpreter": "/bin/sh",
        "code": code,
        "username": "me",
        **fields,
    }


def run_of(**settings: Any) -> PluginRun[ExecuteScript]:
    """The plugin with processes that are not started."""
    spawner = FakeSpawner()
    return PluginRun(
        ExecuteScript,
        settings=settings,
        spawner=spawner,
        own_name=lambda: "me",
        find_user=lambda name, own: User(
            name=name, home="/home/" + name, shell="/bin/sh", uid=None, gid=None
        ),
        setsid="/usr/bin/setsid",
        make_child=partial(Child, kill=spawner.kill, kill_group=spawner.kill),
    )


def process_of(run: PluginRun[ExecuteScript]) -> FakeProcess:
    spawner: Any = run.plugin.context.spawner
    process: FakeProcess = spawner.processes[-1]
    return process


def refused(run: PluginRun[ExecuteScript], **fields: Any) -> str:
    outcome = run.deliver(message(**fields))
    assert outcome.status == FAILED
    assert outcome.result_code == ERROR
    return str(outcome.result_text)


# What is shown


def test_what_it_writes_is_shown_while_it_runs() -> None:
    """Whoever watches the operation sees it before its result, whole characters only."""
    run = run_of()
    outcome = run.begin_delivery(message())
    process = process_of(run)

    process.write(b"caf\xc3")
    process.write(b"\xa9\n")
    run.advance(1)

    assert [output.text for output in run.broker.reported] == ["caf", "é\n"]
    assert {(output.plugin, output.operation) for output in run.broker.reported} == {("execute-script", 1)}
    assert not outcome.called
    process.exit()
    assert result_of(outcome).result_text == "café\n"


def test_a_script_that_is_no_operation_shows_nothing() -> None:
    """There is nothing to watch."""
    run = run_of()
    said = message()
    del said["operation-id"]
    run.begin_delivery(said)

    process_of(run).write(b"hello")

    assert run.broker.reported == []
    process_of(run).exit()


# What is refused


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code": None}, "`code` must be text, not null"),
        ({"code": b"true"}, "`code` must be text, not octets"),
        ({"interpreter": ""}, "`interpreter` must be one line"),
        ({"interpreter": "/bin/sh\nrm"}, "`interpreter` must be one line"),
        ({"username": "a\0b"}, "`username` must be one line"),
        ({"time-limit": "60"}, "`time-limit` must be an integer"),
        ({"time-limit": -1}, "`time-limit` must be from 0"),
        ({"env": ["A=b"]}, "`env` must be a map"),
        ({"env": {"A": 0.5}}, "`env` must be text"),
        ({"env": {"A": True}}, "`env` must be text"),
        ({"env": {"A": ["a", 1]}}, "`env` must be text"),
        ({"env": {"A=b": "c"}}, "'A=b' cannot be set"),
        ({"env": {"": "c"}}, "'' cannot be set"),
        ({"env": {"A": "c\0d"}}, "'A' cannot be set"),
    ],
)
def test_what_is_no_script_is_refused(fields: dict[str, Any], words: str) -> None:
    """With the field and what it must be."""
    assert words in refused(run_of(), **fields)


def without_files(run: PluginRun[ExecuteScript], **fields: Any) -> str:
    outcome = run.deliver(message(**fields))
    assert (outcome.status, outcome.result_code) == (FAILED, NO_ATTACHMENT)
    return str(outcome.result_text)


def test_attachments_that_cannot_be_had_are_refused() -> None:
    """They would be missing where the script looks for them; the result has the reason."""
    run = run_of(**{"attachments-limit": 10})
    run.broker.attachments = {1: b"x" * 5, 2: b"x" * 6}

    assert "there is no attachment 3" in without_files(run, attachments={"a": 1, "b": 3})
    assert "more than 10 octets together" in without_files(run, attachments={"a": 1, "b": 2})
    assert "only operations" in without_files(run, attachments={"a": 1}, **{"operation-id": None})


@pytest.mark.parametrize(
    ("attachments", "words"),
    [
        (1, "must be a map"),
        (["1"], "must be an integer"),
        ([-1], "must be from 0"),
        ({"a": "1"}, "must be an integer"),
        ({"a": -1}, "must be from 0"),
        ({str(number): 1 for number in range(101)}, "may name 100 files, not 101"),
        *(
            ({name: 1}, "cannot be the name of a file")
            for name in ("", ".", "..", "a/b", "/etc/x", "a\0b", "script", "é" * 128)
        ),
    ],
)
def test_attachments_that_are_none_are_refused(attachments: Any, words: str) -> None:
    """Nothing is fetched for them, and nothing written elsewhere than beside the script."""
    assert words in refused(run_of(), attachments=attachments)


def test_other_users_are_refused_unless_allowed() -> None:
    """By default a script runs as the plugin's own user alone."""
    assert "may not run as 'root' here, only as me" in refused(run_of(), username="root")
    assert "only as nobody, daemon" in refused(run_of(users=["nobody", "daemon"]), username="me")


@pytest.mark.parametrize("users", [["nobody", "other"], ["ALL"]])
def test_allowed_users_are_allowed(users: list[str]) -> None:
    """By name, or all of them."""
    run = run_of(users=users)

    run.begin_delivery(message(username="other"))

    environment = process_of(run).environment
    assert environment is not None
    assert environment["HOME"] == "/home/other"


def test_a_time_limit_above_the_longest_is_refused() -> None:
    """With the setting that says so."""
    words = refused(run_of(**{"longest-time-limit": 300}), **{"time-limit": 301})

    assert "301 s is more than the 300 s allowed" in words
    assert "`longest-time-limit`" in words


@pytest.mark.parametrize("interpreter", ["sh", "/no/such/sh", "/etc/passwd", "/bin", "./sh"])
def test_an_interpreter_that_is_not_there_is_refused(interpreter: str) -> None:
    """It is named by its path."""
    assert f"no interpreter '{interpreter}'" in refused(run_of(), interpreter=interpreter)


def test_a_machine_without_setsid_is_told_what_to_install() -> None:
    """Without it a script could not be ended with all it started."""
    run = PluginRun(ExecuteScript, own_name=lambda: "me", setsid=None)

    assert "install util-linux" in refused(run)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """Whether there is no place for the folder or none for the script."""
    run = run_of()
    directory, tempfile.tempdir = tempfile.tempdir, str(tmp_path / "missing")
    try:
        assert "there is no place for the script" in refused(run)

        (tmp_path / "missing").mkdir()
        run.threads.hold()
        delivery = run.begin_delivery(message())
    finally:
        tempfile.tempdir = directory
    shutil.rmtree(tmp_path / "missing")
    run.threads.release()

    assert "the script cannot be written" in str(result_of(delivery).result_text)


def test_a_result_has_room_for_the_output() -> None:
    """And the settings must fit each other."""
    with pytest.raises(SettingsError, match="output-limit: must be at most 99000"):
        run_of(**{"output-limit": "1 MiB"})
    with pytest.raises(SettingsError, match="time-limit must not be more than longest-time-limit"):
        run_of(**{"time-limit": 7200})


# Users of this machine


def test_the_own_user_is_found_and_not_changed() -> None:
    """No rights are needed for that."""
    name = own_name()

    user = find_user(name, name)

    assert (user.name, user.uid, user.gid) == (name, None, None)


def test_a_user_without_an_account_is_its_number() -> None:
    """As in some containers."""
    nobody_has = 2**31 - 7
    name = own_name(nobody_has)

    assert name == str(nobody_has)
    assert find_user(name, name) == User(name=name, home="/", shell="/bin/sh", uid=None, gid=None)


def test_an_unknown_user_is_said() -> None:
    """By name."""
    with pytest.raises(OperationFailed, match="no user 'no-such-user'"):
        find_user("no-such-user", "me")


def test_root_may_become_anybody_and_nobody_else_may() -> None:
    """It is said what to do."""
    nobody = pwd.getpwnam("nobody")

    found = find_user("nobody", "root", own_uid=0)

    assert (found.uid, found.gid, found.home) == (nobody.pw_uid, nobody.pw_gid, nobody.pw_dir)
    with pytest.raises(
        OperationFailed, match="runs as 'me' and cannot become 'nobody'; set `user = \"root\"`"
    ):
        find_user("nobody", "me", own_uid=nobody.pw_uid + 1)


# How it is run


def test_it_runs_in_a_fresh_folder_with_a_clean_environment() -> None:
    """Nothing of the agent's own environment leaks."""
    run = run_of()

    run.begin_delivery(message("echo hi", env={"ANSWER": "42", "LANG": "C"}))

    process = process_of(run)
    assert process.directory is not None
    script = Path(process.directory, "script")
    assert process.arguments == ["/usr/bin/setsid", "/bin/sh", str(script)]
    assert script.read_text() == "echo hi"
    assert script.stat().st_mode & 0o777 == 0o700
    assert process.environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "USER": "me",
        "LOGNAME": "me",
        "HOME": "/home/me",
        "SHELL": "/bin/sh",
        "LANG": "C",
        "ANSWER": "42",
    }


def test_an_interpreter_may_have_one_argument() -> None:
    """As the first line of a script may."""
    run = run_of()

    run.begin_delivery(message(interpreter="/usr/bin/env -i  sh"))

    assert list(process_of(run).arguments[1:3]) == ["/usr/bin/env", "-i  sh"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ({}, Outcome(status=DONE, result_text="said")),
        ({"code": 3}, Outcome(status=FAILED, result_code=PROCESS_FAILED, result_text="said\n[exit code 3]")),
        (
            {"signal": 11},
            Outcome(status=FAILED, result_code=PROCESS_FAILED, result_text="said\n[ended by signal SIGSEGV]"),
        ),
        (
            {"signal": 77},
            Outcome(status=FAILED, result_code=PROCESS_FAILED, result_text="said\n[ended by signal 77]"),
        ),
    ],
)
def test_the_outcome_has_the_output_and_how_it_ended(end: dict[str, Any], outcome: Outcome) -> None:
    """And the folder is gone."""
    run = run_of()
    delivery = run.begin_delivery(message())
    process = process_of(run)

    process.write(b"said")
    process.exit(**end)

    assert result_of(delivery) == outcome
    assert not os.path.lexists(str(process.directory))


def test_output_that_ends_its_line_gets_no_empty_one() -> None:
    """Before the note."""
    run = run_of()
    delivery = run.begin_delivery(message())
    process_of(run).write(b"said\n")

    process_of(run).exit(1)

    assert result_of(delivery).result_text == "said\n[exit code 1]"


@pytest.mark.parametrize(("asked", "limit"), [(None, 120), (0, 120), (30, 30)])
def test_a_script_that_takes_too_long_is_ended(asked: int | None, limit: int) -> None:
    """By its own limit, or else the plugin's."""
    run = run_of(**{"time-limit": "2 min"})
    fields: dict[str, Any] = {"time-limit": asked}
    delivery = run.begin_delivery(message(**fields))

    run.advance(limit - 1)
    assert process_of(run).signals == []
    run.advance(6)

    assert result_of(delivery) == Outcome(
        status=FAILED, result_code=TIMED_OUT, result_text=f"[ended because it ran for more than {limit} s]"
    )


def test_a_script_that_cannot_be_killed_is_said_to_run_on() -> None:
    """A process may hang in the kernel; whoever asked is told, and not kept waiting."""
    run = run_of()
    run.plugin._make_child = partial(Child, kill=lambda *_: None, kill_group=lambda *_: None)
    delivery = run.begin_delivery(message())

    run.advance(310)

    assert result_of(delivery) == Outcome(
        status=FAILED,
        result_code=TIMED_OUT,
        result_text="[killed because it ran for more than 300 s, but it does not end]",
    )


def test_stopping_the_plugin_ends_the_script_and_says_so() -> None:
    """Whoever asked learns that it did not come to its end."""
    run = run_of()
    delivery = run.begin_delivery(message())
    process = process_of(run)

    stopped = run.runner.stop(10)
    run.advance(6)

    assert len(process.signals) == 2
    assert result_of(delivery) == Outcome(
        status=FAILED,
        result_code=PROCESS_FAILED,
        result_text="[ended because the agent was stopped]",
    )
    assert result_of(stopped) is None
    assert not os.path.lexists(str(process.directory))


def test_a_folder_that_cannot_be_removed_is_logged() -> None:
    """It would fill the disk unseen."""
    run = run_of()
    delivery = run.begin_delivery(message())
    directory = str(process_of(run).directory)
    real = run.threads.run
    run.plugin.in_thread = lambda function, *args: real(lambda: False)  # type: ignore[assignment]

    with capturedLogs() as logs:
        process_of(run).exit()

    assert result_of(delivery).status == DONE
    assert logs[0]["directory"] == directory
    os.remove(Path(directory, "script"))
    os.rmdir(directory)


# Real processes


class Watched(Child):
    """Tells when it said something."""

    said: "Deferred[None]"

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        super().childDataReceived(childFD, data)
        if not self.said.called:
            self.said.callback(None)


@pytest.mark.process
class RealScripts(TestCase):
    """Real processes; the clock is the test's, so that no time limit takes time."""

    timeout = 240

    def setUp(self) -> None:
        self.said: Deferred[None] = Deferred()
        self.run_: PluginRun[ExecuteScript] = PluginRun(
            ExecuteScript,
            settings={"users": ["ALL"], "output-limit": 2000},
            spawner=reactor,
            make_child=self.make_child,
        )

    def make_child(self, **parts: Any) -> Child:
        child = Watched(**parts)
        child.said = self.said
        return child

    def execute(self, code: str, **fields: Any) -> "Deferred[Outcome]":
        return self.run_.begin_delivery(message(code, **{"username": own_name(), **fields}))

    @returns_deferred
    async def test_a_script_runs(self) -> None:
        """In its folder, alone in it, with its environment and nothing else's, and nothing to read."""
        os.environ["FIELDPOST_SECRET"] = "x"
        self.addCleanup(os.environ.pop, "FIELDPOST_SECRET")

        outcome = await self.execute(
            'pwd; ls; cat; env | sort; echo "$ANSWER" >&2', env={"ANSWER": "forty two"}
        )

        text = str(outcome.result_text)
        assert outcome.status == DONE, text
        assert text.splitlines()[1] == "script"
        assert "fieldpost-script-" in text.splitlines()[0]
        assert "ANSWER=forty two" in text
        assert "FIELDPOST_SECRET" not in text

    @returns_deferred
    async def test_its_attachments_are_beside_it(self) -> None:
        """To be read and to be run; nothing of them stays."""
        self.run_.broker.attachments = {7: b"#!/bin/sh\necho $1 tool\n", 8: b"\0\xff"}

        outcome = await self.execute("./tool a && wc -c < data && pwd", attachments={"tool": 7, "data": 8})

        assert outcome.status == DONE, outcome
        first, size, folder = str(outcome.result_text).split("\n")[:3]
        assert (first, size.strip()) == ("a tool", "2")
        assert not os.path.exists(folder)

    @returns_deferred
    async def test_attachments_without_names(self) -> None:
        """Their ids are their names; numbers and lists in the environment are written as text."""
        self.run_.broker.attachments = {7: b"seven"}

        outcome = await self.execute(
            'cat 7 && echo " $ID $TAGS"', attachments=[7], env={"ID": 12, "TAGS": ["a", "b"]}
        )

        assert (outcome.status, outcome.result_text) == (DONE, "seven 12 a,b\n"), outcome

    @returns_deferred
    async def test_a_script_of_another_language_runs(self) -> None:
        """Whatever its interpreter is."""
        outcome = await self.execute("print('\\N{SNOWMAN}')", interpreter="/usr/bin/env python3")

        assert outcome == Outcome(status=DONE, result_text="\N{SNOWMAN}\n")

    @returns_deferred
    async def test_a_script_that_fails_says_how(self) -> None:
        """With its exit code and its words."""
        outcome = await self.execute("echo no luck >&2; exit 7")

        assert outcome == Outcome(
            status=FAILED, result_code=PROCESS_FAILED, result_text="no luck\n[exit code 7]"
        )

    @returns_deferred
    async def test_a_script_that_says_too_much_is_cut_in_the_middle(self) -> None:
        """And runs to its end."""
        outcome = await self.execute("echo first; yes | head -c 3000000; echo last")

        text = str(outcome.result_text)
        assert outcome.status == DONE
        assert text.startswith("first\n")
        assert text.endswith("last\n")
        assert "[2998011 octets of output cut here]" in text
        assert len(text) < 2100

    @returns_deferred
    async def test_a_script_that_takes_too_long_is_killed_with_all_it_started(self) -> None:
        """Also those that do not listen when they are asked to end."""
        outcome = self.execute(
            "trap '' TERM; (trap '' TERM; echo $$; while :; do sleep 60; done) & wait; wait"
        )
        await self.said

        self.run_.advance(306)

        found = await outcome
        assert found.result_code == TIMED_OUT
        await until_gone(int(str(found.result_text).split()[0]))

    @returns_deferred
    async def test_a_script_leaves_no_process_behind(self) -> None:
        """What it started ends with it, whether it holds the output or not."""
        outcome = await self.execute("sleep 600 & sleep 600 >/dev/null 2>&1 & echo $$")

        assert outcome.status == DONE
        await until_gone(int(str(outcome.result_text)))

    @returns_deferred
    async def test_stopping_ends_a_script(self) -> None:
        """At once when it listens."""
        outcome = self.execute("echo $$; sleep 600")
        await self.said

        self.run_.runner.stop(5)

        assert "the agent was stopped" in str((await outcome).result_text)

    @returns_deferred
    async def test_a_script_runs_as_another_user(self) -> None:
        """Where this process may become one."""
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        nobody = pwd.getpwnam("nobody")

        outcome = await self.execute("id -u; id -g; stat -c %u . script; touch new", username="nobody")

        expected = f"{nobody.pw_uid}\n{nobody.pw_gid}\n{nobody.pw_uid}\n{nobody.pw_uid}\n"
        assert outcome == Outcome(status=DONE, result_text=expected)


async def until_gone(group: int) -> None:
    """Wait until a killed group has been reaped by whoever inherits it: killing is not yet being gone."""
    while any(_group_and_state(stat) == (group, False) for stat in Path("/proc").glob("[0-9]*/stat")):
        turn: Deferred[None] = Deferred()
        _clock().callLater(0.01, turn.callback, None)
        await turn


def _group_and_state(stat: Path) -> tuple[int, bool]:
    """The process group, and whether it is dead (a zombie)."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0, True
    return int(fields[2]), fields[0] in "ZX"


def _clock() -> Any:
    return reactor
