"""Octets where text is due, text where octets are, and other wrong values, in every field that a client sends (landscape 1.3, 1.6)."""

from collections.abc import Iterator
from typing import Any

import pytest

from fieldpost.wire import bpickle
from tests.server.test_landscape import STATES, Fresh, send, strict, with_body

WRONG: list[Any] = [None, True, -1, 2**70, 0.5, "x", b"x", [], {}, [[]], {"a": b"b"}, b"\xff", ""]


def swapped(value: Any) -> Any:
    """Text as octets, octets as text; None for what has no other form."""
    if type(value) is str:
        return value.encode()
    return value.decode("latin-1") if type(value) is bytes else None


def variants(value: Any) -> Iterator[Any]:
    """The value, with one leaf of it swapped, one after the other."""
    pairs = value.items() if type(value) is dict else enumerate(value)
    for key, inner in pairs:
        made = variants(inner) if type(inner) in (dict, list) else [swapped(inner)]
        for each in made:
            if each is not None:
                copy = dict(value) if type(value) is dict else list(value)
                copy[key] = each
                yield copy


def replacements(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The payload with one field of it, or of a message of it, replaced by something else or missing."""
    for key in value:
        yield {name: inner for name, inner in value.items() if name != key}
        yield from ({**value, key: wrong} for wrong in WRONG)
    for index, message in enumerate(value["messages"]):
        for key in message:
            rest = {name: inner for name, inner in message.items() if name != key}
            for changed in (rest, *({**message, key: wrong} for wrong in WRONG)):
                messages = [*value["messages"][:index], changed, *value["messages"][index + 1 :]]
                yield {**value, "messages": messages}


def payload_of(fresh: Fresh) -> dict[str, Any]:
    found: dict[str, Any] = bpickle.decode(fresh.request.partition(b"\r\n\r\n")[2])
    return found


def check(fresh: Fresh, body: dict[str, Any]) -> None:
    """It is taken, and what comes next is served; or it is refused, and nothing is kept."""
    before = fresh.wired.connection.total_changes
    reply = send(fresh.wired, with_body(fresh.request, bpickle.encode(body)))
    if reply.status == 200:
        strict(reply)
        fresh.go_on()
        fresh.restore()
        return
    assert reply.status in (400, 404, 413), (body, reply)
    assert {"error", "next"} == set(reply.json)
    assert fresh.wired.connection.total_changes == before


@pytest.mark.parametrize("name", STATES)
def test_text_and_octets_swapped_in_each_field(name: str) -> None:
    """Of the payload and of its messages."""
    fresh = Fresh(name)
    found = list(variants(payload_of(fresh)))

    assert found
    for body in found:
        check(fresh, body)


@pytest.mark.parametrize("name", STATES)
def test_something_else_in_each_field(name: str) -> None:
    """Null, numbers of any size, lists and maps, nothing at all."""
    fresh = Fresh(name)

    for body in replacements(payload_of(fresh)):
        check(fresh, body)


EXTREMES = [0, 1, -1, 2**31, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63, -(2**64), 10**400]


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("field", ["sequence", "next-expected-sequence", "total-messages"])
def test_numbers_of_any_size(name: str, field: str) -> None:
    """Equal, negative, huge: taken or refused, and the next good exchange works."""
    fresh = Fresh(name)
    body = payload_of(fresh)

    for first in EXTREMES:
        check(fresh, {**body, field: first})
        check(fresh, {**body, field: first, "next-expected-sequence": first, "sequence": first})
