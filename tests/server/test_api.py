"""The JSON API as operators and programs use it, and as others misuse it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.server.api import ROOT, Api
from fieldpost.server.typed import Typed
from fieldpost.wire import cbor
from fieldpost.wire.catalogue.from_agents import AGENT_MESSAGES
from tests.fakes import InlineWriter
from tests.server.wired import HeldWriter, WiredServer, client_payload, register_message

DOCUMENT = Path(__file__).parents[2] / "docs" / "server.md"


@pytest.fixture
def wired() -> WiredServer:
    return WiredServer()


def api_of(wired: WiredServer) -> Api:
    """The API alone."""
    commits, registry = wired.server.commits, wired.server.registry
    return Api(
        commits=commits,
        renderer=InlineWriter(),
        clock=wired.clock,
        presence=registry,
        typed=Typed(AGENT_MESSAGES),
    )


def send(wired: WiredServer, secure_id: bytes, *messages: dict[str, Any], sequence: int = 1) -> None:
    payload = client_payload(sequence=sequence, messages=list(messages))
    assert wired.exchange(payload, secure_id=secure_id).status == 200


def test_health_needs_no_token(wired: WiredServer) -> None:
    """Whoever watches the server need not know its secrets."""
    assert wired.request("GET", "/healthz").json == {"status": "ok"}


def test_closed_api() -> None:
    """Without a token in the configuration the API says why it is closed; health and exchanges go on."""
    wired = WiredServer(api_token=None)

    reply = wired.api("GET", "/computers")

    assert reply.status == 403
    assert "no API token" in reply.json["error"]
    assert wired.request("GET", "/healthz").status == 200
    assert wired.register() == b"id-2"


@pytest.mark.parametrize("token", [None, "", "wrong", "api-secre", "api-secrets"])
def test_wrong_token(wired: WiredServer, token: str | None) -> None:
    """Every path of the API is closed to those without the token."""
    routes = api_of(wired).routes(lambda c: None)

    for route in routes:
        if route.path.startswith(ROOT):
            path = route.path.removeprefix(ROOT).replace("*", "1")
            reply = wired.api(route.method, path, {} if route.method == "POST" else None, token=token)
            assert reply.status == 401
            assert reply.headers["www-authenticate"].startswith("bearer")


def test_every_route_is_documented(wired: WiredServer) -> None:
    """docs/server.md names each path of the API with its method."""
    routes = api_of(wired).routes(lambda c: None)
    text = DOCUMENT.read_text()

    for route in routes:
        assert f"`{route.method} {route.path.replace('*', 'ID')}" in text
    assert "`POST /message-system`" in text


def test_pages_of_computers(wired: WiredServer) -> None:
    """A list goes on at `next` until that is null."""
    for name in "abc":
        wired.register(name)

    first = wired.api("GET", "/computers?limit=2").json
    second = wired.api("GET", f"/computers?limit=2&after={first['next']}").json

    assert [computer["id"] for computer in first["computers"] + second["computers"]] == [1, 2, 3]
    assert (first["next"], second["next"]) == (2, None)


def test_filters_of_computers(wired: WiredServer) -> None:
    """Computers can be listed by status and by account."""
    wired.register("a")
    wired.exchange(client_payload(messages=[register_message("b", account_name="closed")]))

    def ids(query: str) -> list[int]:
        return [computer["id"] for computer in wired.api("GET", f"/computers?{query}").json["computers"]]

    assert [
        ids(query) for query in ("status=pending", "status=approved", "account=closed", "account=none")
    ] == [[2], [1], [2], []]


def test_one_computer(wired: WiredServer) -> None:
    """A computer is shown by its number, as in the list."""
    wired.register()

    assert wired.api("GET", "/computers").json["computers"][0] == wired.api("GET", "/computers/1").json


@pytest.mark.parametrize("number", ["2", "0", "x", "-1", "1.0", "", "9" * 30, "%31", "999999999999999999"])
@pytest.mark.parametrize("kind", ["computers", "operations"])
def test_nothing_there(wired: WiredServer, kind: str, number: str) -> None:
    """What does not exist is a clean 404 that says where to look."""
    wired.register()
    wired.api("POST", "/operations", {"computer": 1, "type": "run"})

    reply = wired.api("GET", f"/{kind}/{number}")

    assert reply.status == 404
    assert {"error", "next"} == set(reply.json)


@pytest.mark.parametrize("path", ["/computers/1", "/operations/1"])
def test_parameters_where_there_are_none(wired: WiredServer, path: str) -> None:
    """A parameter that would be ignored is refused instead."""
    assert wired.api("GET", f"{path}?limit=1").status == 400


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({}, "`action` must be one of approve, reject, resynchronize"),
        ({"action": "delete"}, "`action` must be one of"),
        ({"action": 1}, "`action` must be text"),
        ({"acton": "approve"}, "did you mean `action`"),
        ({"action": "approve", "scopes": ["a"]}, "`scopes` goes with"),
        ({"action": "resynchronize", "scopes": []}, "`scopes` must be"),
        ({"action": "resynchronize", "ping": 30}, "`ping` goes with the action set-intervals"),
        ({"ping": 30}, "`ping` goes with the action set-intervals"),
        ({"action": "set-intervals", "scopes": ["a"]}, "`scopes` goes with the action resynchronize"),
        ({"action": "set-intervals"}, "at least one of exchange, urgent-exchange, ping"),
        ({"action": "set-intervals", "exchange": 9}, "`exchange` must be from 10 to"),
        ({"action": "set-intervals", "urgent-exchange": -1}, "`urgent-exchange` must be from 10 to"),
        ({"action": "set-intervals", "ping": 2**40}, "`ping` must be from 10 to"),
        ({"action": "set-intervals", "ping": True}, "`ping` must be an integer"),
        ({"action": "resynchronize", "scopes": [1]}, "`scopes` must be"),
        ({"action": "resynchronize", "scopes": ["\ud800"]}, "surrogate"),
        ([], "must be a JSON object"),
    ],
)
def test_wrong_action(wired: WiredServer, body: Any, hint: str) -> None:
    """An action that is none changes nothing and is told the right ones."""
    wired.register()

    reply = wired.api("POST", "/computers/1", body)

    assert reply.status == 400
    assert hint in reply.json["error"]
    assert wired.api("GET", "/computers/1").json["status"] == "approved"


def test_action_on_nothing(wired: WiredServer) -> None:
    """An action needs its computer."""
    for action in ("approve", "resynchronize"):
        assert wired.api("POST", "/computers/9", {"action": action}).status == 404


def test_actions(wired: WiredServer) -> None:
    """Approving and rejecting answer with the computer as it is then."""
    wired.register()

    assert [
        wired.api("POST", "/computers/1", {"action": action}).json["status"]
        for action in ("reject", "reject", "approve", "approve")
    ] == ["rejected", "rejected", "approved", "approved"]


def test_resynchronize_everything(wired: WiredServer) -> None:
    """Without scopes everything is asked for afresh."""
    wired.register()

    reply = wired.api("POST", "/computers/1", {"action": "resynchronize"})

    assert (reply.status, reply.json["type"], reply.json["fields"]) == (201, "resynchronize", {})


def test_intervals_of_a_pending_computer(wired: WiredServer) -> None:
    """Who has no identity yet cannot be told intervals; the answer says what to do."""
    message = register_message(account_name="closed")
    wired.exchange(client_payload(messages=[message]))

    reply = wired.api("POST", "/computers/1", {"action": "set-intervals", "ping": 30})

    assert (reply.status, reply.json["error"]) == (409, "computer 1 is pending")


def test_messages(wired: WiredServer) -> None:
    """Messages come in order of arrival, whole, and `next` is where to ask again."""
    wired.clock.advance(7)
    secure_id = wired.register()
    send(wired, secure_id, {"type": "a", "timestamp": 5, "api": b"3.3"}, {"type": "b"})

    first = wired.api("GET", "/messages?limit=1").json
    second = wired.api("GET", f"/messages?after={first['next']}").json
    third = wired.api("GET", f"/messages?after={second['next']}").json

    assert first == {
        "messages": [
            {
                "id": 1,
                "computer": 1,
                "number": 1,
                "type": "a",
                "timestamp": 5,
                "received": 7.0,
                "body": {"type": "a", "timestamp": 5, "api": {"octets": "My4z"}},
            }
        ],
        "next": 1,
    }
    assert [message["type"] for message in second["messages"]] == ["b"]
    assert third == {"messages": [], "next": 2}


def test_filters_of_messages(wired: WiredServer) -> None:
    """Messages can be asked for by computer and type."""
    one, two = wired.register("a"), wired.register("b")
    send(wired, one, {"type": "a"}, {"type": "b"})
    send(wired, two, {"type": "a"})

    def ids(query: str) -> list[int]:
        return [message["id"] for message in wired.api("GET", f"/messages?{query}").json["messages"]]

    assert [ids(query) for query in ("type=a", "computer=1", "type=a&computer=1", "computer=7")] == [
        [1, 3],
        [1, 2],
        [1],
        [],
    ]


def test_messages_are_rendered_elsewhere() -> None:
    """Turning many messages into JSON does not hold up the reactor."""
    renderer = HeldWriter()
    wired = WiredServer(decoder=renderer)
    channel, transport = wired.connect()

    channel.dataReceived(b"GET /api/v1/messages HTTP/1.1\r\nAuthorization: Bearer api-secret\r\n\r\n")

    assert transport.value() == b""
    renderer.release()
    assert b'{"messages": [], "next": 0}' in transport.value()


def test_operation(wired: WiredServer) -> None:
    """A new operation is answered with where it can be watched."""
    wired.clock.advance(3)
    wired.register()
    fields = {"code": "true", "data": {"octets": "AAE="}, "n": [1, 2.5, None, True]}

    reply = wired.api("POST", "/operations", {"computer": 1, "type": "run", "fields": fields})

    assert (reply.status, reply.headers["location"]) == (201, "/api/v1/operations/1")
    assert reply.json == wired.api("GET", "/operations/1").json
    assert {
        "id": 1,
        "computer": 1,
        "type": "run",
        "fields": fields,
        "status": "queued",
        "created": 3.0,
        "sent": None,
        "finished": None,
        "result-code": None,
        "result-text": None,
    } == reply.json
    (body,) = wired.connection.execute("SELECT body FROM outgoing").fetchone()
    assert cbor.decode(body)["data"] == b"\0\x01"


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        ({"type": "run"}, 400, "`computer` is missing"),
        ({"computer": 1}, 400, "`type` is missing"),
        ({"computer": 9, "type": "run"}, 404, "no computer 9"),
        ({"computer": -1, "type": "run"}, 404, "no computer -1"),
        ({"computer": 2**70, "type": "run"}, 404, "no computer"),
        ({"computer": "1", "type": "run"}, 400, "`computer` must be an integer"),
        ({"computer": 1, "type": ""}, 400, "`type` must be 1 to 64"),
        ({"computer": 1, "type": "a;b"}, 400, "`type` must be 1 to 64"),
        ({"computer": 1, "type": "\ud800"}, 400, "`type` must be 1 to 64"),
        ({"computer": 1, "type": "set-id"}, 400, "the server's own word"),
        ({"computer": 1, "type": "resynchronize"}, 400, "use the action resynchronize"),
        ({"computer": 1, "type": "run", "fields": {"type": "x"}}, 400, "must not hold `type`"),
        ({"computer": 1, "type": "run", "fields": {"operation-id": 1}}, 400, "must not hold `operation-id`"),
        ({"computer": 1, "type": "run", "fields": {"octets": "AAE="}}, 400, "must be a map"),
        ({"computer": 1, "type": "run", "fields": {"map": [[1, 2]]}}, 400, "keys of a message must be text"),
        ({"computer": 1, "type": "run", "fields": {"x": {"octets": "?"}}}, 400, "base64"),
        ({"computer": 1, "type": "run", "fields": {"x": "\udfff"}}, 400, "surrogate"),
        ({"computer": 1, "type": "run", "fields": {"x": 10**4_000}}, 400, "travel"),
        (
            {"computer": 1, "type": "run", "fields": {"map": [[{"octets": "AA=="}, 1]]}},
            400,
            "keys of a message",
        ),
    ],
)
def test_wrong_operation(wired: WiredServer, body: Any, status: int, hint: str) -> None:
    """An operation that no computer could take is refused by what is wrong, and nothing is queued."""
    wired.register()

    reply = wired.api("POST", "/operations", body)

    assert status == reply.status
    assert hint in reply.json["error"]
    assert wired.api("GET", "/operations").json["operations"] == []


def test_fields_that_are_too_deep(wired: WiredServer) -> None:
    """Fields nested beyond what agents read are refused, however deep."""
    wired.register()
    for depth in (30, 300, 900):
        deep: Any = 1
        for _ in range(depth):
            deep = [deep]
        reply = wired.api("POST", "/operations", {"computer": 1, "type": "run", "fields": {"x": deep}})
        assert reply.status == 400
        assert "deep" in reply.json["error"]


def test_deepest_fields_reach_the_agent(wired: WiredServer) -> None:
    """What is accepted can be read by an agent."""
    secure_id = wired.register()
    deep: Any = 1
    for _ in range(22):
        deep = [deep]

    assert (
        wired.api("POST", "/operations", {"computer": 1, "type": "run", "fields": {"x": deep}}).status == 201
    )
    assert deep == wired.exchange(client_payload(sequence=1), secure_id=secure_id).payload.messages[0]["x"]


def test_operation_for_a_computer_that_waits(wired: WiredServer) -> None:
    """Only approved computers get operations."""
    wired.exchange(client_payload(messages=[register_message(account_name="closed")]))

    reply = wired.api("POST", "/operations", {"computer": 1, "type": "run"})

    assert (reply.status, reply.json["error"]) == (409, "computer 1 is pending")


def test_pages_of_operations(wired: WiredServer) -> None:
    """Operations are listed in pages, by computer and status."""
    for name in "ab":
        wired.register(name)
    for computer in (1, 2, 1):
        wired.api("POST", "/operations", {"computer": computer, "type": "run"})

    def ids(query: str) -> list[int]:
        return [operation["id"] for operation in wired.api("GET", f"/operations?{query}").json["operations"]]

    assert [
        ids(query) for query in ("", "computer=1", "after=1&limit=1", "status=failed", "status=queued")
    ] == [[1, 2, 3], [1, 3], [2], [], [1, 2, 3]]


@given(st.binary(max_size=60))
def test_garbage_bodies(octets: bytes) -> None:
    """Whatever is posted, the answer is clean."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer api-secret"}

    for path in ("/operations", "/computers/1"):
        assert WIRED.request("POST", ROOT + path, octets, headers).status in (400, 404)


WIRED = WiredServer()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "get", "X"])
def test_methods(wired: WiredServer, method: str) -> None:
    """A method that a path does not take is refused with those it takes."""
    reply = wired.api(method, "/computers")

    assert (reply.status, reply.headers["allow"]) == (405, "get")


def test_head(wired: WiredServer) -> None:
    """HEAD answers as GET would, without the body."""
    octets = wired.send_octets(b"HEAD /healthz HTTP/1.1\r\n\r\n")

    assert octets.startswith(b"HTTP/1.1 200 OK")
    assert octets.endswith(b"\r\n\r\n")
    assert b"Content-Length: 17" in octets
