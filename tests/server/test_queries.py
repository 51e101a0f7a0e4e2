"""What comes in with an API request is read by its exact form, or refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from fieldpost.server.call import Call
from fieldpost.server.errors import Refused
from fieldpost.server.queries import (
    bearer_guard,
    choice,
    json_body,
    number,
    parameters,
    parse_json,
    word,
)
from fieldpost.wire.errors import Malformed

KNOWN = {"after": number(), "limit": number(1, 10), "status": choice("a", "b"), "type": word}


def call(query: str = "", body: bytes = b"", **headers: str) -> Call:
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return Call(method="GET", path="/", query=query, body=body, headers=Headers(named))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("after=0", {"after": 0}),
        ("after=9223372036854775807&limit=10", {"after": 2**63 - 1, "limit": 10}),
        ("status=b&type=a%20b", {"status": "b", "type": "a b"}),
        ("type=", {"type": ""}),
    ],
)
def test_parameters(query: str, expected: dict[str, Any]) -> None:
    """Known parameters are read."""
    assert expected == parameters(call(query), KNOWN)


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("after=-1", "whole number"),
        ("after=9223372036854775808", "whole number"),
        ("after=1.5", "whole number"),
        ("after=", "whole number"),
        ("after=" + "9" * 5_000, "whole number"),
        ("after=%D9%A3", "whole number"),
        ("limit=0", "from 1 to 10"),
        ("limit=11", "from 1 to 10"),
        ("status=c", "one of a, b"),
        ("type=%00", "printable"),
        ("aftr=1", "did you mean `after`"),
        ("zzz=1", "known are after, limit"),
        ("after=1&after=2", "twice"),
        ("after", "a=1&b=2"),
        ("&".join(["after=1"] * 30), "a=1&b=2"),
    ],
)
def test_wrong_parameters(query: str, hint: str) -> None:
    """Anything else is refused, with what would be right."""
    with pytest.raises(Malformed, match=hint):
        parameters(call(query), KNOWN)


@given(st.text(max_size=40))
def test_any_query(query: str) -> None:
    """No query makes more than a refusal."""
    try:
        parameters(call(query), KNOWN)
    except Malformed:
        return


BODY = {"computer": int, "type": str, "fields": dict, "scopes": list}


def read_body(body: bytes, form: str = "application/json") -> dict[str, Any]:
    return json_body(call(body=body, Content_Type=form), BODY)


def test_body() -> None:
    """Known members of the right types are read."""
    assert read_body(b'{"computer": 1, "fields": {}}') == {"computer": 1, "fields": {}}
    assert read_body(b"{}", "Application/JSON; charset=utf-8") == {}


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"computer": true}', "`computer` must be an integer"),
        (b'{"computer": 1.0}', "`computer` must be an integer"),
        (b'{"type": null}', "`type` must be text"),
        (b'{"fields": []}', "`fields` must be an object"),
        (b'{"scopes": "a"}', "`scopes` must be a list"),
        (b'{"computr": 1}', "did you mean `computer`"),
        (b'{"fields": {"a": NaN}}', "NaN is no number"),
        (b'{"computer": ' + b"1" * 5_000 + b"}", "no JSON"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_wrong_body(body: bytes, hint: str) -> None:
    """Anything else is refused, with what would be right."""
    with pytest.raises(Malformed, match=hint):
        read_body(body)


@pytest.mark.parametrize(
    ("body", "form", "status"),
    [(b"{}", "text/plain", 415), (b"{}", "", 415), (b" " * 2_000_000, "application/json", 413)],
)
def test_body_in_another_form(body: bytes, form: str, status: int) -> None:
    """Only JSON of a sensible length is looked at."""
    with pytest.raises(Refused) as caught:
        read_body(body, form)

    assert status == caught.value.status


@given(st.binary(max_size=60))
def test_any_octets(octets: bytes) -> None:
    """No body makes more than a refusal."""
    try:
        parse_json(octets)
    except Malformed:
        return


def status_of(token: str | None, given: str | None) -> int:
    try:
        bearer_guard(token)(call() if given is None else call(Authorization=given))
    except Refused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer secret", 200),
        ("bearer  secret ", 200),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Bearer secret more", 401),
        ("Basic secret", 401),
        ("secret", 401),
        ("", 401),
        ("Bearer \xe9", 401),
        (None, 401),
    ],
)
def test_bearer(given: str | None, status: int) -> None:
    """Only the right token opens the API."""
    assert status == status_of("secret", given)


def test_no_token_configured() -> None:
    """Without a token in the configuration nobody gets in, whatever they say."""
    assert [status_of(None, given) for given in (None, "Bearer ", "Bearer None")] == [403, 403, 403]
