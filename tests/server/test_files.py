"""Attachments: put in by operators, fetched by the computers that an operation sends to them."""

from typing import Any

import pytest

from tests.server.wired import TOKEN, Reply, WiredServer, client_payload

OCTETS = bytes(range(256)) * 8


def put(
    wired: WiredServer,
    octets: bytes = OCTETS,
    *,
    path: str = "/attachments?name=tool",
    headers: dict[str, str] | None = None,
) -> Reply:
    found = {
        "Content-Type": "application/octet-stream",
        "Authorization": f"Bearer {TOKEN}",
        **(headers or {}),
    }
    return wired.request("POST", f"/api/v1{path}", octets, found)


def fetch(wired: WiredServer, number: Any, secure_id: bytes | None) -> Reply:
    headers = {} if secure_id is None else {"X-Computer-ID": secure_id.decode()}
    return wired.request("GET", f"/attachment/{number}", None, headers)


def ask(wired: WiredServer, attachments: Any, computer: int = 1, kind: str = "execute-script") -> Reply:
    script = {"interpreter": "/bin/sh", "code": "./tool", "username": "nobody", "attachments": attachments}
    return wired.api("POST", "/operations", {"computer": computer, "type": kind, "fields": script})


@pytest.fixture
def wired() -> WiredServer:
    wired = WiredServer()
    wired.register()
    return wired


ID = b"id-2"


def deliver(wired: WiredServer, messages: tuple[dict[str, Any], ...] = ()) -> None:
    wired.exchange(client_payload(sequence=1, messages=list(messages)), secure_id=ID)


def test_a_computer_fetches_what_its_operation_names(wired: WiredServer) -> None:
    """The very octets, with the status and the type that Landscape's client takes (landscape 1.1)."""
    added = put(wired)
    assert (added.status, added.headers["location"]) == (201, "/api/v1/attachments/1")
    assert added.json["octets"] == len(OCTETS)
    assert ask(wired, {"tool": added.json["id"]}).status == 201
    deliver(wired)

    reply = fetch(wired, 1, ID)

    assert (reply.status, reply.body) == (200, OCTETS)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == str(len(OCTETS))


def test_not_before_the_operation_went_out_nor_after_its_result(wired: WiredServer) -> None:
    """What a computer has no use for any more it does not get."""
    put(wired)
    ask(wired, {"tool": 1})
    assert fetch(wired, 1, ID).status == 404
    deliver(wired)
    assert fetch(wired, 1, ID).status == 200
    deliver(wired, ({"type": "operation-result", "operation-id": 1, "status": 6},))

    assert fetch(wired, 1, ID).status == 404


def test_others_do_not_get_it(wired: WiredServer) -> None:
    """No identity, a wrong one, one that waits or is rejected: 403. Another computer: 404, as if it were not there."""
    put(wired)
    ask(wired, {"tool": 1})
    deliver(wired)
    other = wired.register("r-2")

    assert [fetch(wired, 1, who).status for who in (None, b"", b"wrong", b"registering")] == [403] * 4
    assert fetch(wired, 1, other).status == 404
    wired.api("POST", "/computers/1", {"action": "reject"})
    assert fetch(wired, 1, ID).status == 403


@pytest.mark.parametrize("number", ["2", "0", "x", "", "-1", "1" * 30, "%2e%2e", "1?a=b"])
def test_what_is_not_there_is_not_there(wired: WiredServer, number: str) -> None:
    """Whatever is asked for, the answer is no, and no fault of the server."""
    put(wired)

    assert fetch(wired, number, ID).status == 404


def test_an_operation_names_attachments_that_exist(wired: WiredServer) -> None:
    """A slip is told to the operator, not to the computer."""
    reply = ask(wired, {"tool": 7})

    assert reply.status == 400
    assert "there is no attachment 7" in reply.json["error"]
    assert ask(wired, {"tool": "1"}).status == 400
    assert ask(wired, {"tool": 2**80}).status == 400
    assert ask(wired, {"tool": 2**80}, kind="some-other").status == 400


def test_they_are_listed_and_dropped(wired: WiredServer) -> None:
    """An operator sees what there is, and takes away what is no longer needed."""
    for octets in (b"", b"a"):
        put(wired, octets)

    found = wired.api("GET", "/attachments?limit=1").json
    assert [item["id"] for item in found["attachments"]] == [1]
    assert found["attachments"][0]["name"] == "tool"
    assert found["next"] == 1
    assert wired.api("DELETE", "/attachments/1").status == 200
    assert wired.api("DELETE", "/attachments/1").status == 404
    assert [item["id"] for item in wired.api("GET", "/attachments").json["attachments"]] == [2]


def test_only_operators_put_them_in(wired: WiredServer) -> None:
    """With the token, and as octets."""
    assert put(wired, headers={"Authorization": "Bearer wrong"}).status == 401
    assert put(wired, headers={"Content-Type": "text/plain"}).status == 415
    assert put(wired, path="/attachments?nam=x").status == 400
    assert wired.api("GET", "/attachments").json["attachments"] == []
