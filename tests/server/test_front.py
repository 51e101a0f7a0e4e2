"""Every call gets an answer, and every error a cause and a next step."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs

from fieldpost.runtime.database import DatabaseBroken, DatabaseFull
from fieldpost.server.call import Answer, Call, json_answer
from fieldpost.server.errors import Refused, Stopping
from fieldpost.server.front import Front, Route
from fieldpost.wire.errors import Malformed, TooLarge


def answer_to(front: Front, method: str, path: str) -> Answer:
    found: list[Answer] = []
    Deferred.fromCoroutine(front.answer(Call(method=method, path=path, peer="192.0.2.7"))).addCallback(
        found.append
    )
    return found[0]


def failing(error: Exception) -> Front:
    async def fail(call: Call) -> Answer:
        raise error

    return Front([Route("GET", "/", fail)])


async def echo(call: Call, *values: str) -> Answer:
    return json_answer(list(values))


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Refused(418, "cause", "next"), 418, "cause"),
        (Malformed("odd"), 400, "odd"),
        (TooLarge("huge"), 413, "huge"),
        (DatabaseFull("/var/x: full"), 503, "cannot store"),
        (Stopping("bye"), 503, "stopping"),
        (DatabaseBroken("/var/x: broken"), 500, "the server failed"),
        (ZeroDivisionError("secret"), 500, "the server failed"),
        (RecursionError("secret"), 500, "the server failed"),
    ],
)
def test_errors(error: Exception, status: int, words: str) -> None:
    """Each error has its status, its words, and nothing of the server's insides."""
    with capturedLogs():
        answer = answer_to(failing(error), "GET", "/")

    assert status == answer.status
    assert words in answer.body.decode()
    assert '"next": "' in answer.body.decode()
    assert "secret" not in answer.body.decode()
    assert "/var" not in answer.body.decode()


def test_come_back_later() -> None:
    """What may pass later says when to come again."""
    with capturedLogs():
        assert ("Retry-After", "30") in answer_to(failing(DatabaseFull("full")), "GET", "/").headers


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (Refused(400, "cause", "next"), None),
        (DatabaseFull("full"), LogLevel.error),
        (DatabaseBroken("broken"), LogLevel.critical),
        (ZeroDivisionError(), LogLevel.critical),
    ],
)
def test_our_faults_are_logged(error: Exception, level: Any) -> None:
    """The operator sees what is ours to mend, with the traceback where it was unexpected."""
    with capturedLogs() as events:
        answer_to(failing(error), "GET", "/")

    assert [level] * (level is not None) == [event["log_level"] for event in events]
    assert isinstance(error, ZeroDivisionError) == any("log_failure" in event for event in events)


ROUTES = [Route("GET", "/a", echo), Route("POST", "/a", echo), Route("GET", "/a/*/b/*", echo)]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/a", 200),
        ("HEAD", "/a", 200),
        ("POST", "/a", 200),
        ("PUT", "/a", 405),
        ("", "/a", 405),
        ("GET", "/a/", 404),
        ("GET", "/a/1", 404),
        ("GET", "/a/1/b/2", 200),
        ("GET", "/a/1/b/2/3", 404),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/b", 404),
        ("GET", "/../a", 404),
        ("DELETE", "/a/1/b/2", 405),
    ],
)
def test_routes(method: str, path: str, status: int) -> None:
    """A path is found whole or not at all; a method that it does not take is said so."""
    assert status == answer_to(Front(ROUTES), method, path).status


def test_values_of_a_path() -> None:
    """What stands at the stars reaches whoever answers."""
    assert answer_to(Front(ROUTES), "GET", "/a/1/b/2").body == b'["1", "2"]\n'


def test_allowed_methods() -> None:
    """A refused method is told the right ones."""
    answer = answer_to(Front(ROUTES), "PUT", "/a")

    assert ("Allow", "GET, POST") in answer.headers
    assert b"use GET, POST" in answer.body


def test_guard_comes_first() -> None:
    """A caller that may not enter learns nothing about methods."""

    def guard(call: Call) -> None:
        raise Refused(401, "who are you", "say it")

    front = Front([Route("GET", "/a", echo, guard)])

    assert [answer_to(front, m, p).status for m, p in (("GET", "/a"), ("PUT", "/a"), ("GET", "/b"))] == [
        401,
        401,
        404,
    ]
