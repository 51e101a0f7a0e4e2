"""Ours and Mercurial's understand each other, both ways round: its own frame code is the other end."""

from typing import Any

import pytest

from fieldpost.wire.session import encodings
from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.events import Aborted, Failed, Requested, Responded, Settings
from fieldpost.wire.session.handshake import hello_of
from fieldpost.wire.session.hello import hello_map
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.values import HG

from ..link import client, feed, server
from .process import Line, call, needs_mercurial, serve

pytestmark = [pytest.mark.process, needs_mercurial]
ENCODINGS = [name.decode() for name in encodings.NAMES]
BIG = 200_000


def ours() -> Reactor:
    """Our client, in the manner of Mercurial's."""
    return client(codec=HG)


def answers(reactor: Reactor, *options: str) -> tuple[dict[int, list[Any]], list[Line]]:
    """Send all that the client has to Mercurial's server: its events by request, and what the server understood."""
    answered, understood = serve(reactor.data_to_send(), *options)
    found: dict[int, list[Any]] = {}
    for event in feed(reactor, answered):
        assert isinstance(event, Responded | Failed), event
        found.setdefault(event.request, []).append(event)
    return found, understood


def values_of(events: list[Any]) -> list[Any]:
    """All values of an answer that is whole."""
    assert all(isinstance(event, Responded) for event in events), events
    assert [event.end for event in events] == [False] * (len(events) - 1) + [True]
    return [value for event in events for value in event.values]


# Our client, its server.


@pytest.mark.conformance("M9", "M10", "M16", "M17", "M18", "M70")
def test_its_server_runs_our_requests() -> None:
    """It sees the names and arguments that we gave, and we the answers that it gave."""
    reactor = ours()
    reactor.request(b"echo", {b"one": 1, b"and": [b"two", {b"three": None}]})
    reactor.request(b"numbers", {b"count": 3})

    found, understood = answers(reactor)

    assert understood == [
        {"request": 1, "command": "echo", "args": {"one": 1, "and": ["two", {"three": None}]}, "data": None},
        {"request": 3, "command": "numbers", "args": {"count": 3}, "data": None},
    ]
    assert values_of(found[1]) == [{b"one": 1, b"and": [b"two", {b"three": None}]}]
    assert values_of(found[3]) == [0, 1, 2]


@pytest.mark.conformance("M11", "M12", "M13", "M14", "M15", "M20")
@pytest.mark.parametrize("size", [0, 1, 1_000, 1_001, 32_768, BIG])
def test_its_server_joins_our_data(size: int) -> None:
    """Of no frame, one, exactly one, and many."""
    reactor = client(codec=HG, limits=Limits(send_frame=1_000 if size < 2_000 else 32_768))
    data = bytes(number % 251 for number in range(size))
    reactor.request(b"joined", {b"long": b"x" * 5_000}, data=data)

    found, _ = answers(reactor)

    assert values_of(found[1]) == [data]


@pytest.mark.conformance("M28", "M29", "M79")
def test_its_server_takes_our_requests_in_turns() -> None:
    """Frames of several requests stand between each other; each gets its own answer."""
    reactor = client(codec=HG, limits=Limits(send_frame=256))
    for number in range(5):
        reactor.request(b"joined", {}, data=bytes([number]) * (1_000 * (5 - number)))

    found, understood = answers(reactor)

    assert [line["request"] for line in understood] == [9, 7, 5, 3, 1]
    assert [values_of(found[id]) for id in (1, 9)] == [[b"\0" * 5_000], [b"\4" * 1_000]]


@pytest.mark.conformance("M57", "M61", "M63", "M64")
@pytest.mark.parametrize(
    "names", [(), ("zlib",), ("unheard-of", "zlib"), ("zstd-8mb",), ("zlib", "zstd-8mb")]
)
def test_our_hello_is_settings_to_its_server(names: tuple[str, ...]) -> None:
    """It packs with what our hello says that we unpack, one packer for all answers, and we unpack that."""
    if not all(name in [*ENCODINGS, "unheard-of"] for name in names):
        pytest.skip("needs the library zstandard")
    reactor = ours()
    us = Profile(incarnation=bytes(8), nonce=bytes(32), encodings=names or ("identity",))
    reactor.settings(hello_map(hello_of(us, Role.CLIENT, Limits()), says_last=True))
    reactor.request(b"blob", {b"size": BIG})
    reactor.request(b"blob", {b"size": BIG, b"random": True})
    reactor.request(b"kinds", {})

    found, _ = answers(reactor)

    assert values_of(found[1]) == [b"x" * BIG]
    assert [len(value) for value in values_of(found[3])] == [BIG]
    assert values_of(found[5]) == [
        {b"map": {b"a": 1, b"bb": -1}, b"list": [True, False, None], b"large": 2**40},
        {b"one", b"two"},
    ]


@pytest.mark.conformance("M48", "M49")
def test_its_errors_are_ours() -> None:
    """A command's by its status map, the server's own by an error frame."""
    reactor = ours()
    for name in (b"refuse", b"crash"):
        reactor.request(name)

    found, _ = answers(reactor)

    (refused,), (crashed,) = found[1], found[3]
    assert (refused.error.kind, refused.error.text, refused.began) == (b"command", "not today", False)
    assert (crashed.error.kind, crashed.error.text, crashed.began) == (b"server", "crashed", False)


@pytest.mark.conformance("M50", "M76")
def test_its_late_error_follows_what_came_before() -> None:
    """Whoever reads the values is told that they are not all."""
    reactor = ours()
    reactor.request(b"crash_late")

    found, _ = answers(reactor)

    assert (found[1][-1].error.text, found[1][-1].began) == ("crashed late", True)


@pytest.mark.conformance("M54")
def test_its_server_may_answer_all_at_the_end() -> None:
    """As behind one POST."""
    reactor = ours()
    for number in range(3):
        reactor.request(b"echo", {b"number": number})

    found, _ = answers(reactor, "deferred")

    assert [values_of(found[id]) for id in (1, 3, 5)] == [[{b"number": number}] for number in range(3)]


# Its client, our server.


def answering(reactor: Reactor, names: list[bytes] | None = None) -> Any:
    """What our server answers to octets of Mercurial's client, by the commands' names."""

    def answer(octets: bytes) -> bytes:
        for event in feed(reactor, octets):
            if isinstance(event, Settings) and names is not None:
                names.extend(event.values[b"contentencodings"])
            elif isinstance(event, Requested):
                _answer(reactor, event)
            else:
                assert not isinstance(event, Aborted)
        reactor.end()
        return reactor.data_to_send()

    return answer


def _answer(reactor: Reactor, asked: Requested) -> None:
    if asked.name == b"echo":
        reactor.respond(asked.request, [asked.args, asked.data], end=True)
    elif asked.name == b"blob":
        reactor.respond(asked.request, [b"x" * BIG, {b"and": 2}], end=True)
    elif asked.name == b"late":
        reactor.respond(asked.request, [b"before"], end=False)
        reactor.fail(asked.request, "late", "it went wrong behind it", kind=b"server")
    else:
        reactor.fail(asked.request, "unknown-command", "100% unknown")


def objects_of(understood: list[Line], request: int) -> list[Any]:
    """What Mercurial's client made of an answer that is whole, the status before it."""
    lines = [line for line in understood if line["request"] == request]
    assert [line["end"] for line in lines] == [False] * (len(lines) - 1) + [True]
    return [value for line in lines for value in line["objects"]]


@pytest.mark.conformance("M19", "M44", "M45", "M46", "M47")
def test_our_server_answers_its_client() -> None:
    """Its requests, with data and without, and answers of many frames."""
    calls: list[Line] = [
        {"name": "echo", "args": {"one": 1}},
        {"name": "blob"},
        {"name": "echo", "data": "x" * 70_000},
    ]

    understood = call(calls, answering(server(codec=HG)))

    assert objects_of(understood, 1) == [{"status": "ok"}, {"one": 1}, None]
    assert objects_of(understood, 3) == [{"status": "ok"}, "x" * BIG, {"and": 2}]
    assert objects_of(understood, 5) == [{"status": "ok"}, {}, "x" * 70_000]


@pytest.mark.conformance("M57", "M63", "M64")
@pytest.mark.parametrize("name", ["identity", *ENCODINGS])
def test_its_client_unpacks_ours(name: str) -> None:
    """After its settings, which come with its first request."""
    calls: list[Line] = [{"name": "blob"}, {"name": "blob"}, {"name": "echo"}]
    names: list[bytes] = []

    understood = call(calls, answering(server(codec=HG, encoding=name.encode()), names), encodings=(name,))

    assert names == [name.encode()]
    for request in (1, 3):
        assert objects_of(understood, request) == [{"status": "ok"}, "x" * BIG, {"and": 2}]
    assert objects_of(understood, 5) == [{"status": "ok"}, {}, None]


@pytest.mark.conformance("M49", "M50")
def test_its_client_understands_our_errors() -> None:
    """One in place of an answer, and one behind some of it."""
    understood = call([{"name": "late"}, {"name": "nothing"}], answering(server(codec=HG)))

    late, refused = ([line for line in understood if line["request"] == id] for id in (1, 3))
    assert [value for line in late[:-1] for value in line["objects"]] == [{"status": "ok"}, "before"]
    assert late[-1] == {"request": 1, "error": [{"msg": "it went wrong behind it"}]}
    assert [line["objects"] for line in refused] == [
        [{"status": "error", "error": {"message": "100%% unknown"}}]
    ]


@pytest.mark.conformance("M54", "M79")
def test_our_server_may_answer_its_client_at_the_end() -> None:
    """As behind one POST."""
    understood = call([{"name": "echo"}, {"name": "echo"}], answering(server(codec=HG, deferred=True)))

    assert [line["request"] for line in understood if line["end"]] == [1, 3]
