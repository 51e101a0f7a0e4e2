"""One GET, one answer, then the channel is the session's."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from fieldpost.wire.session.opening import (
    INSIDE_OFFER,
    MAX_HEAD_OCTETS,
    PLAIN_OFFER,
    Accepted,
    Answer,
    Denied,
    Head,
    HeadReader,
    Later,
    Moved,
    Moves,
    NotHere,
    NoUpgrade,
    Outcome,
    Trail,
    Unusable,
    Upgraded,
    build_request,
    is_secure,
    judge_answer,
    judge_request,
    parse_head,
)

ASKED = build_request(server="s:1", host="example.net:8080", agent="fieldpost/0.1", inside=False)


def _head(text: str) -> Head:
    return parse_head(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")


def _ask(
    octets: bytes = ASKED,
    *,
    inside: bool = False,
    draining_seconds: float | None = None,
    left: bytes = b"",
) -> Accepted | Answer:
    return judge_request(
        parse_head(octets),
        is_served="s:1".__eq__,
        inside=inside,
        moved={"s:2": "https://two.example/session/s:2"},
        draining_seconds=draining_seconds,
        left=left,
    )


def _refused(answer: Accepted | Answer, status: int) -> Head:
    assert isinstance(answer, Answer)
    assert answer.status == status
    octets, _, body = answer.octets.partition(b"\r\n\r\n")
    head = parse_head(octets + b"\r\n\r\n")
    assert head.first("content-length") == str(len(body))
    assert "close" in head.tokens("connection")
    assert body
    return head


def _judge(text: str, *, inside: bool = False, left: bytes = b"", now: float = 0.0) -> Outcome:
    return judge_answer(_head(text), inside=inside, left=left, now=now)


# Header blocks.


@pytest.mark.conformance("F1")
def test_the_request_has_the_known_octets() -> None:
    """GET, the id in the path, Host, Upgrade, Connection: and nothing after it."""
    assert ASKED == (
        b"GET /session/s:1 HTTP/1.1\r\nHost: example.net:8080\r\nUser-Agent: fieldpost/0.1\r\n"
        b"Upgrade: fieldpost/1\r\nConnection: Upgrade\r\n\r\n"
    )


def test_tls_inside_is_offered_as_such() -> None:
    """The line follows from the configured address."""
    asked = build_request(server="default", host="h", agent="x", inside=True)

    assert b"\r\nUpgrade: TLS/1.2, fieldpost/1\r\n" in asked


@pytest.mark.parametrize("host", ["a\r\nX: y", "h\xe4st", ""])
def test_what_does_not_fit_a_line_is_not_sent(host: str) -> None:
    """No address of a configuration adds a header."""
    if host:
        with pytest.raises(LocalProtocolError, match="does not fit"):
            build_request(server="s:1", host=host, agent="x", inside=False)
    assert b"%0D%0A" in build_request(server="s\r\n", host="h", agent="x", inside=False)


@pytest.mark.conformance("F8")
@pytest.mark.parametrize(
    "octets",
    [
        b"GET /session/s:1 HTTP/1.1\r\nhost: h\r\nupgrade: fieldpost/1\r\nconnection: upgrade\r\n\r\n",
        b"GET /session/s:1 HTTP/1.1\r\nCONNECTION: Keep-Alive, UPGRADE\r\nX: y\r\nUPGRADE:  FieldPost/1 \r\n\r\n",
        b"GET /session/s:1 HTTP/1.1\r\nUpgrade: h2c\r\nUpgrade: x,fieldpost/1\r\nConnection: a\r\nconnection: upgrade\r\n\r\n",
        b"GET /session/s%3A1?x=1 HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nUpgrade:fieldpost/1\r\nConnection:upgrade\r\n\r\n",
    ],
)
def test_proxies_may_rewrite_the_headers(octets: bytes) -> None:
    """Any case, any order, more of them, lists over lines."""
    assert isinstance(_ask(octets), Accepted)


@pytest.mark.conformance("F9")
def test_a_block_over_the_limit_is_refused() -> None:
    """Before it has ended, and without keeping what is beyond."""
    reader = HeadReader()
    assert reader.feed(b"GET / HTTP/1.1\r\nX: ") is None

    with pytest.raises(TooLarge, match="8192 octets"):
        reader.feed(b"x" * 100_000)


@pytest.mark.conformance("F9")
def test_the_limit_counts_the_block_only() -> None:
    """What follows in the same piece may be of any length."""
    reader = HeadReader()
    octets = b"GET / HTTP/1.1\r\nX: ".ljust(MAX_HEAD_OCTETS - 4, b"x") + b"\r\n\r\n"

    head = reader.feed(octets + b"y" * 100_000)

    assert head is not None
    assert reader.left == b"y" * 100_000


@pytest.mark.conformance("F9")
def test_a_block_of_the_limit_and_one_more_is_refused() -> None:
    """The limit is exact."""
    with pytest.raises(TooLarge):
        HeadReader().feed(b"GET / HTTP/1.1\r\nX: ".ljust(MAX_HEAD_OCTETS - 3, b"x") + b"\r\n\r\n")


def test_too_many_lines_are_refused() -> None:
    """Sixty-four, the first one included."""
    lines = b"X: y\r\n" * 63

    assert HeadReader().feed(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
    with pytest.raises(TooLarge, match="64 lines"):
        HeadReader().feed(b"GET / HTTP/1.1\r\n" + lines + b"X: y\r\n\r\n")


@pytest.mark.parametrize(
    "lines", ["no colon", ": no name", "na me: x", "X : y", "X: a\nb", "X: \x00", " folded: x", "n\xe4me: x"]
)
def test_what_is_no_header_is_malformed(lines: str) -> None:
    """Folded lines, bare line ends and control characters too."""
    with pytest.raises(Malformed):
        parse_head(b"GET / HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n\r\n")


def test_a_block_must_end() -> None:
    """In an empty line."""
    with pytest.raises(Malformed, match="empty line"):
        parse_head(b"GET / HTTP/1.1\r\n")


@given(st.lists(st.integers(0, len(ASKED) + 5), max_size=8))
def test_a_block_is_read_however_it_is_cut(cuts: list[int]) -> None:
    """Down to single octets; what follows is left over."""
    octets = ASKED + b"after"
    places = [0, *sorted(cuts), len(octets)]
    reader, head, left = HeadReader(), None, b""
    for start, end in pairwise(places):
        if head is None:
            head = reader.feed(octets[start:end])
            left = reader.left
        else:
            left += octets[start:end]

    assert head == parse_head(ASKED)
    assert left == b"after"


@given(st.binary(max_size=300))
def test_any_octets_are_a_block_or_an_error(octets: bytes) -> None:
    """Never anything else."""
    try:
        head = HeadReader(octets=100, lines=4).feed(octets)
    except (TooLarge, Malformed):
        return
    if head is not None:
        judge_request(head, is_served=bool, inside=False)
        judge_answer(head, inside=False)


# What the server answers.


@pytest.mark.conformance("F2")
@pytest.mark.parametrize("inside", [False, True])
def test_the_switch_names_what_was_chosen(inside: bool) -> None:
    """And the client takes it for what it offered."""
    asked = build_request(server="s:1", host="h", agent="x", inside=inside)

    accepted = _ask(asked, inside=inside)

    assert isinstance(accepted, Accepted)
    assert accepted.server == "s:1"
    head = parse_head(accepted.octets)
    assert head.first("upgrade") == ", ".join(INSIDE_OFFER if inside else PLAIN_OFFER)
    assert isinstance(judge_answer(head, inside=inside), Upgraded)


def test_the_default_name_is_always_this_server() -> None:
    """For agents that know only where it is."""
    asked = build_request(server="default", host="h", agent="x", inside=False)

    assert isinstance(_ask(asked), Accepted)


@pytest.mark.conformance("F3")
def test_a_browser_gets_a_readable_answer() -> None:
    """426 with what to do; the same for a proxy that speaks HTTP/1.0 or drops the headers."""
    for octets in (
        b"GET /session/s:1 HTTP/1.1\r\nHost: h\r\n\r\n",
        ASKED.replace(b"Connection: Upgrade", b"Connection: close"),
        ASKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ASKED.replace(b"fieldpost/1\r\nC", b"websocket\r\nC"),
    ):
        head = _refused(_ask(octets), 426)
        assert head.first("upgrade") == "fieldpost/1"
        assert head.first("content-type") == "text/plain; charset=utf-8"


def test_where_tls_must_be_inside_nothing_less_is_taken() -> None:
    """A client that offers plain frames there is told what to offer."""
    assert _refused(_ask(inside=True), 426).first("upgrade") == "TLS/1.2, fieldpost/1"


@pytest.mark.conformance("F5")
def test_an_unknown_id_is_not_found() -> None:
    """And the client sees that it is we who say so."""
    answer = _ask(ASKED.replace(b"s:1", b"s:9"))

    assert isinstance(judge_answer(_refused(answer, 404), inside=False), NotHere)


@pytest.mark.conformance("F6")
def test_an_id_that_moved_is_led_to() -> None:
    """303 with a public address."""
    answer = _ask(ASKED.replace(b"s:1", b"s:2"))

    outcome = judge_answer(_refused(answer, 303), inside=False)

    assert outcome == Moved(location="https://two.example/session/s:2", permanent=False)


def test_a_draining_server_says_when_to_come_back() -> None:
    """503 with Retry-After."""
    outcome = judge_answer(_refused(_ask(draining_seconds=12.4), 503), inside=False)

    assert isinstance(outcome, Later)
    assert outcome.after == 12


def test_other_methods_are_not_allowed() -> None:
    """405, naming the one that is."""
    assert _refused(_ask(ASKED.replace(b"GET", b"PUT")), 405).first("allow") == "GET"


@pytest.mark.parametrize(
    "line",
    [b"GET /session/s:1", b"GET  HTTP/1.1", b"GET /other HTTP/1.1", b"\x16\x03\x01", b"GET //[ HTTP/1.1"],
)
def test_what_is_no_request_of_ours_is_told_so(line: bytes) -> None:
    """400, or the block is malformed to begin with."""
    try:
        _refused(_ask(line + b"\r\nUpgrade: fieldpost/1\r\n\r\n"), 400)
    except Malformed:
        assert line.startswith(b"\x16")


@pytest.mark.conformance("F12")
def test_octets_before_tls_are_refused_on_both_sides() -> None:
    """Whoever stands between could have put them there."""
    asked = build_request(server="s:1", host="h", agent="x", inside=True)

    _refused(_ask(asked, inside=True, left=b"x"), 400)
    accepted = _ask(asked, inside=True)
    assert isinstance(accepted, Accepted)
    outcome = judge_answer(parse_head(accepted.octets), inside=True, left=b"x")

    assert isinstance(outcome, Unusable)
    assert "before TLS" in outcome.text


def test_octets_behind_the_switch_are_the_servers_hello() -> None:
    """When TLS is outside, nobody else could have sent them."""
    assert isinstance(_judge("HTTP/1.1 101 x\nUpgrade: fieldpost/1", left=b"hello"), Upgraded)


# What the client makes of answers.


@pytest.mark.conformance("F4")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("HTTP/1.1 101 Switching Protocols\nUpgrade: fieldpost/1", Upgraded),
        ("HTTP/1.1 101 Switching Protocols\nupgrade: FIELDPOST/1", Upgraded),
        ("HTTP/1.1 101 Switching Protocols", Unusable),
        ("HTTP/1.1 101 Switching Protocols\nUpgrade: TLS/1.2, fieldpost/1", Unusable),
        ("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket", Unusable),
        ("HTTP/1.1 303 See Other", Unusable),
        ("HTTP/1.1 404 Not Found\nContent-Type: text/html", NoUpgrade),
        ("HTTP/1.1 404 Not Found\nContent-Type: Text/X-Fieldpost-Refusal", NotHere),
        ("HTTP/1.1 200 OK", NoUpgrade),
        ("HTTP/1.0 400", NoUpgrade),
        ("HTTP/1.1 405 No", NoUpgrade),
        ("HTTP/1.1 426 No", NoUpgrade),
        ("HTTP/1.1 501 No", NoUpgrade),
        ("HTTP/1.1 401 No", Denied),
        ("HTTP/1.1 403 No", Denied),
        ("HTTP/1.1 429 No", Later),
        ("HTTP/1.1 503 No", Later),
        ("HTTP/1.1 500 No", Unusable),
        ("HTTP/1.1 502 No", Unusable),
        ("HTTP/1.1 204 No", Unusable),
        ("HTTP/1.1 42 No", Unusable),
        ("HTTP/1.1 4260 No", Unusable),
        ("HTTP/2 200 OK", Unusable),
        ("SSH-2.0-OpenSSH_9", Unusable),
    ],
)
def test_each_status_means_one_thing(text: str, kind: type) -> None:
    """And the text quotes the status line."""
    outcome = _judge(text)

    assert isinstance(outcome, kind)
    if not isinstance(outcome, (Upgraded, Moved)):
        assert text.splitlines()[0] in outcome.text


def test_what_it_may_be_that_nothing_upgrades() -> None:
    """A server without certificate is told from a proxy: only of TLS inside would it say that."""
    outcomes = [
        judge_answer(parse_head(f"HTTP/1.1 {status} No\r\n\r\n".encode()), inside=inside)
        for status, inside in ((501, True), (501, False), (426, True))
    ]

    steps = [outcome.step for outcome in outcomes if isinstance(outcome, NoUpgrade)]
    assert "`session.certificate-file`" in steps[0]
    assert steps[1:] == ["something on the way does not let sessions pass"] * 2


@pytest.mark.conformance("F2")
def test_no_answer_lowers_what_was_offered() -> None:
    """Who offered TLS inside goes on with it or not at all."""
    assert isinstance(_judge("HTTP/1.1 101 x\nUpgrade: fieldpost/1", inside=True), Unusable)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999999", 604800.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("\xb2", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, after: float | None) -> None:
    """Within a week; what is not readable is not obeyed."""
    outcome = _judge(f"HTTP/1.1 503 No\nRetry-After: {value}", now=100.0)

    assert isinstance(outcome, Later)
    assert outcome.after == after


# Redirects.


def _to(location: str, *, permanent: bool = False) -> Moved:
    return Moved(location=location, permanent=permanent)


@pytest.mark.parametrize(
    ("status", "permanent"), [(301, True), (302, False), (303, False), (307, False), (308, True)]
)
def test_the_five_redirects_are_followed(status: int, permanent: bool) -> None:
    """Two of them for good."""
    assert _judge(f"HTTP/1.1 {status} x\nLocation: /y") == _to("/y", permanent=permanent)


@pytest.mark.conformance("F6")
def test_a_location_may_be_relative() -> None:
    """To the address that answered."""
    trail = Trail("http://one.example/session/default", Moves())

    assert trail.follow(_to("/session/s:2")) == "http://one.example/session/s:2"
    assert trail.follow(_to("https://two.example/session/s:2")) == "https://two.example/session/s:2"
    assert is_secure(trail.url)


@pytest.mark.conformance("F7")
@pytest.mark.parametrize(
    "again", ["http://one.example/session/x", "HTTP://One.Example:80/session/x", "/session/x"]
)
def test_no_place_is_visited_twice(again: str) -> None:
    """Other spellings of it included."""
    trail = Trail("http://one.example/session/x", Moves())

    with pytest.raises(RemoteProtocolError, match="circle") as caught:
        trail.follow(_to(again))

    assert caught.value.code == "redirect"


@pytest.mark.conformance("F7")
def test_five_hops_are_enough() -> None:
    """The sixth is not made."""
    trail = Trail("http://h/0", Moves())
    for number in range(1, 6):
        trail.follow(_to(f"/{number}"))

    with pytest.raises(RemoteProtocolError, match="more than 5"):
        trail.follow(_to("/6"))


def test_nothing_leads_from_https_to_http() -> None:
    """Also not in a second step."""
    trail = Trail("http://h/0", Moves())
    trail.follow(_to("https://h/1"))

    with pytest.raises(RemoteProtocolError, match="from https to"):
        trail.follow(_to("http://h/2"))


@pytest.mark.parametrize(
    "location",
    ["ftp://h/x", "http://[", "http://h:99999/", "http://h/a b", "http://h/\xe4", "javascript:x"],
)
def test_a_location_must_be_an_address(location: str) -> None:
    """Whatever stands there, it is one error."""
    with pytest.raises(RemoteProtocolError, match="no address") as caught:
        Trail("http://h/0", Moves()).follow(_to(location))

    assert caught.value.code == "redirect"


def test_permanent_redirects_are_remembered() -> None:
    """For this run: the next attempt begins where they led, the others where it was told to."""
    moves = Moves()
    first = Trail("https://h/0", moves)
    first.follow(_to("https://h/1", permanent=True))
    first.follow(_to("https://h/2"))

    assert Trail("https://h/0", moves).url == "https://h/1"
    moves.forget("https://h/0")
    assert Trail("https://h/0", moves).url == "https://h/0"


def test_remembered_redirects_are_few_and_end() -> None:
    """A circle of them, or many, is no trap."""
    moves = Moves(most=3)
    for number in range(10):
        moves.note(f"https://h/{number}", f"https://h/{(number + 1) % 10}")
    moves.note("https://h/a", "https://h/b")
    moves.note("https://h/b", "https://h/a")

    assert moves.resolve("https://h/1") == "https://h/1"
    assert moves.resolve("https://h/a") == "https://h/a"
    moves.forget("https://h/a")
    assert moves.resolve("https://h/b") == "https://h/b"
