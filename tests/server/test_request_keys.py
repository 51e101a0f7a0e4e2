"""An operator's request that is repeated under its key is carried out once, whatever was lost on the way."""

import json
import sqlite3
import time
from contextlib import closing
from http.client import HTTPConnection
from importlib.resources import files
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from fieldpost.runtime.database import open_database
from fieldpost.server.composition import APPLICATION_ID, open_server_database
from fieldpost.server.errors import Refused
from fieldpost.server.request_keys import (
    HEADER,
    KEPT_SECONDS,
    MAX_KEY_OCTETS,
    MOST_KEYS,
    RequestKey,
    once_txn,
)
from tests.server.test_service import PATIENCE, _ports, launch, write_config
from tests.server.wired import (
    HeldWriter,
    Reply,
    WiredServer,
    api_request,
    client_payload,
    exchange_request,
    read_reply,
    register_message,
    request_octets,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "server.md"
LOOK = {"computer": 1, "type": "look", "fields": {"at": "the disk"}}


@pytest.fixture
def wired() -> WiredServer:
    found = WiredServer()
    found.register()
    return found


def ask(wired: WiredServer, key: str | None, value: Any = LOOK, path: str = "/operations") -> Reply:
    return wired.api("POST", path, value, key=key)


def operations(wired: WiredServer) -> int:
    """How many there are, each with its message."""
    (found,) = wired.connection.execute("SELECT count(*) FROM operation").fetchone()
    (queued,) = wired.connection.execute(
        "SELECT count(*) FROM outgoing WHERE operation IS NOT NULL"
    ).fetchone()
    assert queued == found
    return int(found)


def keys(wired: WiredServer) -> int:
    (found,) = wired.connection.execute("SELECT count(*) FROM request_key").fetchone()
    return int(found)


def test_documented() -> None:
    """docs/server.md tells the limits as they are."""
    text = " ".join(DOCUMENT.read_text().split())

    assert f"`{HEADER}` (1 to {MAX_KEY_OCTETS} printable ASCII characters" in text
    assert f"{MOST_KEYS:,} keys of the last day are kept already" in text
    assert KEPT_SECONDS == 24 * 3600


def test_repeated(wired: WiredServer) -> None:
    """The same key with the same body is answered with the first one's operation, and the same status."""
    replies = [ask(wired, "key-1") for _ in range(3)]

    assert {reply.status for reply in replies} == {201}
    assert {reply.headers["location"] for reply in replies} == {"/api/v1/operations/1"}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert operations(wired) == 1


def test_repeated_late(wired: WiredServer) -> None:
    """The answer shows the operation as it is by then."""
    ask(wired, "key-1")
    wired.connection.execute("UPDATE operation SET status = 'succeeded'")

    assert (ask(wired, "key-1").status, ask(wired, "key-1").json["status"]) == (201, "succeeded")


def test_other_keys(wired: WiredServer) -> None:
    """Another key, and none, is another request; so are keys that differ in case or quotes."""
    replies = [ask(wired, key) for key in ("a", "A", '"a"', "b", None, None)]

    assert [reply.json["id"] for reply in replies] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/operations", {**LOOK, "fields": {"at": "the door"}}),
        ("/operations", {**LOOK, "computer": 2}),
        ("/computers/1", {"action": "resynchronize"}),
    ],
)
def test_key_of_another_request(wired: WiredServer, path: str, value: Any) -> None:
    """A key stands for one request: under another one it is refused, and nothing is done."""
    wired.register("r-2")
    ask(wired, "key-1")

    reply = ask(wired, "key-1", value, path)

    assert reply.status == 422
    assert "was used with another request" in reply.json["error"]
    assert "draw a new key" in reply.json["next"]
    assert operations(wired) == 1


def test_key_of_another_computer(wired: WiredServer) -> None:
    """The path is part of the request."""
    wired.register("r-2")
    ask(wired, "k", {"action": "reject"}, "/computers/1")

    assert ask(wired, "k", {"action": "reject"}, "/computers/2").status == 422
    assert wired.api("GET", "/computers/2").json["status"] == "approved"


@pytest.mark.parametrize("key", ["", " ", "x" * (MAX_KEY_OCTETS + 1), "caf\xe9", "a\x01b", "a\tb", "\x7f"])
def test_no_key(wired: WiredServer, key: str) -> None:
    """What is no key is refused rather than ignored: its sender relies on it."""
    reply = ask(wired, key)

    assert reply.status == 400
    assert "1 to 255 printable ASCII characters" in reply.json["error"]
    assert operations(wired) == 0


def test_longest_key(wired: WiredServer) -> None:
    """255 characters are a key, also with spaces between."""
    assert [ask(wired, "x y" * 85).json["id"] for _ in range(2)] == [1, 1]


def test_two_keys(wired: WiredServer) -> None:
    """Nobody can tell which of two is meant."""
    method, path, body, headers = api_request("POST", "/operations", LOOK, key="a")
    reply = wired.request(method, path, body, {**headers, "idempotency-key": "b"})

    assert reply.status == 400
    assert "given once" in reply.json["error"]


def test_requests_that_look_alike(wired: WiredServer) -> None:
    """Where one part of a request ends and the next begins counts too."""

    def do(*parts: bytes) -> tuple[int, bool]:
        key = RequestKey(key="k", request=parts)
        return once_txn(wired.connection, key, now=0.0, work=lambda _: 1, find=lambda _, id: id)

    assert [do(b"ab", b"c"), do(b"ab", b"c")] == [(1, False), (1, True)]
    with pytest.raises(Refused):
        do(b"a", b"bc")


def test_refused_first(wired: WiredServer) -> None:
    """What was refused made nothing: when its cause is gone the request works under the same key."""
    wired.exchange(client_payload(messages=[register_message("r-2", account_name="closed")]))
    value = {**LOOK, "computer": 2}
    assert ask(wired, "key-1", value).status == 409
    assert keys(wired) == 0
    wired.api("POST", "/computers/2", {"action": "approve"})

    assert [ask(wired, "key-1", value).status for _ in range(2)] == [201, 201]
    assert operations(wired) == 1


# What else takes a key


def test_resynchronize(wired: WiredServer) -> None:
    """An action that makes an operation makes one."""
    value = {"action": "resynchronize", "scopes": ["disk"]}

    assert [ask(wired, "k", value, "/computers/1").json["id"] for _ in range(2)] == [1, 1]
    assert operations(wired) == 1


def test_intervals(wired: WiredServer) -> None:
    """A message goes out once."""
    for _ in range(2):
        assert ask(wired, "k", {"action": "set-intervals", "ping": 60}, "/computers/1").status == 200

    (queued,) = wired.connection.execute(
        "SELECT count(*) FROM outgoing WHERE type = 'set-intervals'"
    ).fetchone()
    assert queued == 1


def test_decision_that_was_changed_meanwhile(wired: WiredServer) -> None:
    """A late repeat of an approval does not undo what was decided since."""
    approve = {"action": "approve"}
    ask(wired, "k", approve, "/computers/1")
    wired.api("POST", "/computers/1", {"action": "reject"})

    with capturedLogs() as events:
        reply = ask(wired, "k", approve, "/computers/1")

    assert (reply.status, reply.json["status"]) == (200, "rejected")
    assert not [event for event in events if "action" in event]
    assert ask(wired, "other", approve, "/computers/1").json["status"] == "approved"


def attach(wired: WiredServer, key: str, octets: bytes = b"tool", name: str = "a") -> Reply:
    _, _, _, headers = api_request("POST", "/attachments", key=key)
    headers["Content-Type"] = "application/octet-stream"
    return wired.request("POST", f"/api/v1/attachments?name={name}", octets, headers)


def test_attachment(wired: WiredServer) -> None:
    """A file is put in once; another one, or another name, is another request."""
    replies = [attach(wired, "k") for _ in range(2)]

    assert [(reply.status, reply.json["id"]) for reply in replies] == [(201, 1), (201, 1)]
    assert attach(wired, "k", b"other").status == 422
    assert attach(wired, "k", name="b").status == 422
    assert len(wired.api("GET", "/attachments").json["attachments"]) == 1


def test_attachment_that_was_deleted(wired: WiredServer) -> None:
    """A repeat does not put it in again, nor say that it is there."""
    attach(wired, "k")
    wired.api("DELETE", "/attachments/1")

    reply = attach(wired, "k")

    assert reply.status == 410
    assert "was deleted since" in reply.json["error"]


# How long, and how many


def test_a_day(wired: WiredServer) -> None:
    """A key is good for a day; then it is forgotten, also from the database."""
    ask(wired, "old")
    wired.clock.advance(KEPT_SECONDS - 1)
    assert ask(wired, "old").json["id"] == 1

    wired.clock.advance(1)

    assert ask(wired, "new").json["id"] == 2
    assert keys(wired) == 1
    assert ask(wired, "old").json["id"] == 3


def fill(wired: WiredServer, number: int, created: float) -> None:
    wired.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO request_key (key, digest, created, made) SELECT 'k' || i, x'00', ?, 1 FROM n",
        (number, created),
    )


def test_forgetting_is_spread(wired: WiredServer) -> None:
    """However many are old at once, no request has to wait until all are gone."""
    fill(wired, 1_000, 0.0)
    wired.clock.advance(KEPT_SECONDS)

    for number in range(1, 4):
        ask(wired, f"new-{number}")
        assert keys(wired) == 1_000 - 100 * number + number


def test_an_old_key_that_is_still_there(wired: WiredServer) -> None:
    """It is over when its day is, not when it is its turn to be forgotten."""
    fill(wired, 300, 0.0)
    wired.clock.advance(KEPT_SECONDS)

    reply = ask(wired, "k300")

    assert (reply.status, operations(wired)) == (201, 1)
    assert ask(wired, "k300").json["id"] == reply.json["id"]


def test_a_clock_that_is_taken_back(wired: WiredServer) -> None:
    """By a little nothing is forgotten; what is from a far day is, for its own would never be over."""
    fill(wired, 1, 2 * KEPT_SECONDS)
    wired.clock.advance(1_000)
    ask(wired, "key-1")
    wired.clock.rightNow -= 900

    assert ask(wired, "key-1").json["id"] == 1
    assert keys(wired) == 1


def test_most_keys(wired: WiredServer) -> None:
    """Beyond what is kept a request with a key is refused; without one it is taken, and repeats go on."""
    ask(wired, "mine")
    fill(wired, MOST_KEYS - 1, 0.0)

    reply = ask(wired, "one more")

    assert (reply.status, reply.headers["retry-after"]) == (503, "3600")
    assert "200000 keys" in reply.json["error"]
    assert ask(wired, None).status == 201
    assert ask(wired, "mine").json["id"] == 1


def test_flat(wired: WiredServer) -> None:
    """What a request with a key costs does not grow with the keys that are kept: each is found, none are gone through."""
    fill(wired, 10, 0.0)
    told: list[str] = []
    wired.connection.set_trace_callback(told.append)
    assert [ask(wired, "key-1").json["id"] for _ in range(2)] == [1, 1]
    wired.connection.set_trace_callback(None)

    plans = [
        (text, step[3])
        for text in told
        if "request_key" in text and not text.startswith("--")
        for step in wired.connection.execute(f"EXPLAIN QUERY PLAN {text}")
    ]

    assert len(plans) >= 8
    assert [(text, step) for text, step in plans if "SCAN" in step and "CONSTANT" not in step] == []


def test_gaps(wired: WiredServer) -> None:
    """Where a clock was wrong a key outlives later ones: what is kept counts, not what has come since."""
    fill(wired, MOST_KEYS, 0.0)
    wired.connection.execute("DELETE FROM request_key WHERE id = ?", (MOST_KEYS // 2,))

    assert [ask(wired, key).status for key in ("one", "two")] == [201, 503]
    assert keys(wired) == MOST_KEYS


# Lost answers


class DyingWriter(HeldWriter):
    """A writer's thread that dies once it `has` done so many more commits: the last is on the disk, and nobody hears of it."""

    has: int | None = None

    def run(self, function: Any, /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        if self.has == 0:
            return Deferred()
        if self.has is not None:
            self.has -= 1
        if self.has == 0:
            function(*args, **kwargs)
            return Deferred()
        done = super().run(function, *args, **kwargs)
        self.release()
        return done


def send(wired: WiredServer, key: str, value: Any = LOOK) -> StringTransport:
    """A request whose answer may not come."""
    channel, transport = wired.connect()
    channel.dataReceived(request_octets(*api_request("POST", "/operations", value, key=key)))
    return transport


def test_at_the_same_time() -> None:
    """Of two that arrive together, in one commit or in two, one is carried out and both are answered with it."""
    writer = HeldWriter()
    wired = WiredServer(writer=writer)
    payload = client_payload(messages=[register_message()])
    channel, _ = wired.connect()
    channel.dataReceived(request_octets(*exchange_request(payload)))
    writer.release()

    transports = [
        send(wired, "key-1") for _ in range(3)
    ]  # the first is being committed, the others wait together
    while writer.held:
        writer.release()

    replies = [read_reply(transport.value()) for transport in transports]
    assert [(reply.status, reply.json["id"]) for reply in replies] == [(201, 1)] * 3
    assert operations(wired) == 1


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_death_between_commit_and_answer(tmp_path: Path, commits: int) -> None:
    """The server dies when it has stored something and before it could say so: the repeat finds it, whatever it was."""
    path, writer = str(tmp_path / "server.sqlite"), DyingWriter()
    wired = WiredServer(path, writer=writer)
    wired.register()
    writer.has = commits
    send(wired, "key-1")
    assert operations(wired) == 1
    wired.connection.close()

    again = WiredServer(path)

    reply = ask(again, "key-1")
    assert (reply.status, reply.json["id"], operations(again)) == (201, 1, 1)


def test_death_before_the_commit(tmp_path: Path) -> None:
    """Then nothing is stored, neither operation nor key, and the repeat is the first."""
    path, writer = str(tmp_path / "server.sqlite"), DyingWriter()
    wired = WiredServer(path, writer=writer)
    wired.register()
    wired.connection.set_authorizer(_no_commit)
    with capturedLogs():
        assert read_reply(send(wired, "key-1").value()).status == 500
    wired.connection.set_authorizer(None)
    assert (operations(wired), keys(wired)) == (0, 0)
    wired.connection.close()

    again = WiredServer(path)

    assert (ask(again, "key-1").json["id"], operations(again)) == (1, 1)


def _no_commit(action: int, first: str | None, *rest: str | None) -> int:
    is_commit = action == sqlite3.SQLITE_TRANSACTION and first == "COMMIT"
    return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK


class Killed:
    """A server's process that is killed and started again over the same database."""

    def __init__(self, folder: Path) -> None:
        self._config = write_config(folder, '["tcp:port=0:interface=127.0.0.1"]')
        self._state = folder / "state"
        self._asking: list[HTTPConnection] = []
        self.start()

    def start(self) -> None:
        self._process = launch(self._config)
        (self._port,) = (port["port"] for port in _ports(self._state / "ports.json", self._process))

    def kill(self) -> None:
        """As the power does it: nothing is said or tidied up."""
        self._process.kill()
        self._process.communicate()
        (self._state / "ports.json").unlink(missing_ok=True)
        for connection in self._asking:
            connection.close()

    def send(self, *request: Any) -> HTTPConnection:
        """Ask, and do not wait for the answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        self._asking.append(connection)
        connection.request(*request)
        return connection

    def operations(self) -> int:
        """How many are stored, as another process sees it."""
        with closing(sqlite3.connect(self._state / "server.sqlite", timeout=PATIENCE)) as connection:
            (found,) = connection.execute("SELECT count(*) FROM operation").fetchone()
        return int(found)


@pytest.mark.process
def test_killed_servers(tmp_path: Path) -> None:
    """Killed as soon as it was asked, and killed when it had just stored it: the third try is answered, and is the only one."""
    server, end = Killed(tmp_path), time.monotonic() + PATIENCE
    try:
        server.send(*exchange_request(client_payload(messages=[register_message()]))).getresponse().read()
        request = api_request("POST", "/operations", LOOK, token="secret", key="key-1")
        server.send(*request)
        server.kill()

        server.start()
        server.send(*request)
        while not server.operations():
            assert time.monotonic() < end
        server.kill()

        server.start()
        answer = server.send(*request).getresponse()
        assert (answer.status, json.loads(answer.read())["id"]) == (201, 1)
        assert server.operations() == 1
    finally:
        server.kill()


LOSSES = st.one_of(st.sampled_from(["nothing", "the request", "the answer"]), st.integers(1, 3))
"""The last: the server, with so many commits."""


@settings(max_examples=40, deadline=None)
@given(attempts=st.lists(st.tuples(st.integers(0, 4), LOSSES), max_size=20))
def test_any_losses(attempts: list[tuple[int, str | int]]) -> None:
    """
    However often clients try, and whatever is lost on the way, n keys make n operations.

    And each client that has an answer has the same as all who asked under its key.
    """
    with TemporaryDirectory() as folder:
        path, ids = f"{folder}/server.sqlite", count(1)
        wired, writer = _started(path, ids)
        wired.register()
        answers: dict[int, set[int]] = {}
        for number, lost in [*attempts, *((number, "nothing") for number in {n for n, _ in attempts})]:
            if lost == "the request":
                continue
            writer.has = lost if isinstance(lost, int) else None
            octets = send(wired, f"key-{number}", {**LOOK, "fields": {"n": number}}).value()
            if lost == "nothing":
                answers.setdefault(number, set()).add(read_reply(octets).json["id"])
            if writer.has is not None:
                wired.connection.close()
                wired, writer = _started(path, ids)

        assert operations(wired) == len(answers) == len({id for found in answers.values() for id in found})
        assert all(len(found) == 1 for found in answers.values())
        wired.connection.close()


def _started(path: str, ids: "count[int]") -> tuple[WiredServer, DyingWriter]:
    writer = DyingWriter()
    return WiredServer(path, writer=writer, ids=ids), writer


# The file


def _schema_until(folder: Path, version: int) -> Path:
    folder.mkdir()
    for step in files("fieldpost.server").joinpath("schema").iterdir():
        if step.name[:4].isdigit() and int(step.name[:4]) <= version:
            (folder / step.name).write_text(step.read_text())
    return folder


def test_file_of_the_version_before(tmp_path: Path) -> None:
    """It is brought up to date with all that is in it; the program before can go on with it, and ours after that."""
    path, older = str(tmp_path / "server.sqlite"), _schema_until(tmp_path / "older", 3)
    with closing(open_database(path, older, application_id=APPLICATION_ID)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        connection.execute(
            "INSERT INTO attachment (id, size, digest, created, octets) VALUES (7, 1, x'', 0, x'00')"
        )

    wired = WiredServer(path)
    wired.register()
    assert (attach(wired, "a").json["id"], ask(wired, "k").json["id"]) == (8, 1)
    wired.connection.close()
    with closing(open_database(path, older, application_id=APPLICATION_ID)) as connection:
        assert connection.execute("DELETE FROM attachment").rowcount == 2

    again = WiredServer(path)
    assert (ask(again, "k").json["id"], attach(again, "a").status) == (1, 410)
    assert (tmp_path / "server.sqlite.v3").exists()
    assert open_server_database(":memory:").execute("PRAGMA user_version").fetchone() == (4,)
