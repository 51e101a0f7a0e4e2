"""What HTTP answers mean."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import binary, sampled_from
from twisted.web.http_headers import Headers

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.answers import MAX_RETRY_AFTER, Answer, judge, redirection, takes_gzip
from fieldpost.broker.carriage.transport import Answered, Refused, Reply, Unreachable
from fieldpost.wire.compression import deflate

from .peers import ANSWER, ANSWER_OCTETS

NOW = 1_000_000_000.0


def an_answer(
    status: int, body: bytes = b"", *, whole: bool = True, phrase: str = "", **headers: Any
) -> Answer:
    """Header names with underscores for dashes; a list gives several of one name."""
    found = Headers()
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            found.addRawHeader(name.replace("_", "-").encode(), one.encode("latin-1"))
    return Answer(status=status, phrase=phrase, headers=found, body=body, whole=whole)


def judged(answer: Answer) -> Reply:
    """With the limits of these tests."""
    return judge(answer, limit=10_000, now=NOW)


def reason_of(answer: Answer) -> str:
    """Why it is no answer to an exchange."""
    reply = judged(answer)
    assert not isinstance(reply, Answered)
    return reply.reason


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ANSWER_OCTETS, {}),
        (ANSWER_OCTETS, {"content_encoding": "identity"}),
        (deflate(ANSWER_OCTETS), {"content_encoding": "gzip"}),
        (deflate(ANSWER_OCTETS), {"content_encoding": "X-GZIP"}),
    ],
)
def test_a_payload_is_taken(body: bytes, headers: dict[str, Any]) -> None:
    """Packed or not, and whatever the case of names."""
    answer = an_answer(200, body, content_type="Application/CBOR; charset=x", **headers)

    assert judged(answer) == Answered(payload=ANSWER)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (an_answer(200, b"", content_type="application/cbor"), "cut after 0 octets"),
        (an_answer(200, b"\xa0", content_type="application/cbor"), "`server-api` is missing"),
        (an_answer(200, b"\x01", content_type="application/cbor"), "must be a map"),
        (
            an_answer(200, b"\xa0", whole=False, content_type="application/cbor"),
            "larger than the 10000 octets",
        ),
        (
            an_answer(200, deflate(bytes(20_000)), content_type="application/cbor", content_encoding="gzip"),
            "more than the 10000 octets",
        ),
        (an_answer(200, b"junk", content_type="application/cbor", content_encoding="gzip"), "not gzip"),
        (an_answer(200, b"x", content_type="application/cbor", content_encoding="br"), "packed as br"),
    ],
)
def test_a_spoilt_payload_is_no_answer(answer: Answer, cause: str) -> None:
    """The reason says what is wrong with it, and where to look."""
    reason = reason_of(answer)

    assert cause in reason
    assert "see the server's log" in reason
    assert isinstance(judged(answer), Unreachable)


def test_a_page_in_the_servers_place_is_named() -> None:
    """A hotel's login page is known by its title."""
    answer = an_answer(200, b"<html><TITLE lang=en>Hotel\nWi-Fi</title>", content_type="text/html")

    reason = reason_of(answer)

    assert reason.startswith("a page titled “Hotel Wi-Fi” came (200, text/html)")
    assert "login page" in reason


@pytest.mark.parametrize("page", [b"", b"<title", b"<title>", b"<title>x", b"</title>", b"<p>x</title>"])
def test_a_page_without_a_title_is_counted(page: bytes) -> None:
    """A page may be cut anywhere."""
    assert f"{len(page)} octets came (200, text/html)" in reason_of(
        an_answer(200, page, content_type="text/html")
    )


def test_an_answer_without_a_type_says_so() -> None:
    """Nothing is guessed."""
    assert "(200, no media type)" in reason_of(an_answer(200, ANSWER_OCTETS))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            an_answer(403, b'{"error": "not yours", "next": "ask\\u001b"}', content_type="application/json"),
            "not yours; ask",
        ),
        (
            an_answer(413, b'{"error": "too much"}', content_type="application/problem+json"),
            "too much; lower `max-octets` in [exchange], or raise the server's limit",
        ),
        (
            an_answer(429, b'{"error": 1, "next": 2}', phrase="Slow down", content_type="application/json"),
            "Slow down; this is tried again later; if it stays so, see the server's log",
        ),
        (an_answer(418, b"[]", content_type="application/json"), "no reason given; see the server's log"),
        (an_answer(418, b"{", content_type="application/json"), "no reason given; see the server's log"),
        (
            an_answer(418, b"[" * 16_000, content_type="application/json"),
            "no reason given; see the server's log",
        ),
        (
            an_answer(404, b"no\nsuch", content_type="text/plain"),
            "no such; check the path of `url` in [server]",
        ),
        (
            an_answer(418, deflate(b"a teapot"), content_type="text/plain", content_encoding="gzip"),
            "a teapot; see the server's log",
        ),
        (
            an_answer(418, b"junk", content_type="text/plain", content_encoding="gzip"),
            "no reason given; see the server's log",
        ),
        (
            an_answer(502, b"<title>Bad gateway</title>", content_type="text/html"),
            (
                "a page titled “Bad gateway” came (502, text/html); "
                "this is tried again later; if it stays so, see the server's log"
            ),
        ),
        (an_answer(400, b"\x00\x01", phrase="Bad"), "Bad; see the server's log"),
    ],
)
def test_a_refusal_keeps_the_servers_words(answer: Answer, reason: str) -> None:
    """As JSON, as text, as a page's title, or as the status line; with a next step when the server names none."""
    assert judged(answer) == Refused(status=answer.status, reason=reason)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "120"}, 120.0),
        ({"retry_after": "9" * 100}, MAX_RETRY_AFTER),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "²"}, None),
        ({"retry_after": ["1", "2"]}, None),
        ({"retry_after": "Sun, 09 Sep 2001 01:47:40 GMT"}, 60.0),
        ({"retry_after": "Sun, 09 Sep 2001 01:40:00 GMT"}, 0.0),
        ({"retry_after": "Sun, 09 Sep 2031 01:40:00 GMT"}, MAX_RETRY_AFTER),
        ({"retry_after": "Mon, 10 Sep 2001 00:00:10 GMT", "date": "Mon, 10 Sep 2001 00:00:00 GMT"}, 10.0),
        ({"retry_after": "Sun, 09 Sep 2001 01:47:40 GMT", "date": "  "}, 60.0),
    ],
)
def test_retry_after_becomes_seconds(headers: dict[str, Any], seconds: float | None) -> None:
    """Seconds or a date, by the server's clock when it shows one; never more than a day."""
    assert judged(an_answer(503, **headers)).retry_after == seconds  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("headers", "takes"),
    [
        ({}, None),
        ({"accept_encoding": "gzip"}, True),
        ({"accept_encoding": "br, X-gzip;q=0.5"}, True),
        ({"accept_encoding": ["br", "gzip; q=1.0"]}, True),
        ({"accept_encoding": "gzip;q=0"}, False),
        ({"accept_encoding": "gzip; Q=0.000"}, False),
        ({"accept_encoding": "identity"}, False),
        ({"accept_encoding": ""}, False),
    ],
)
def test_a_server_says_whether_it_reads_gzip(headers: dict[str, Any], takes: bool | None) -> None:
    """RFC 7694."""
    assert takes_gzip(an_answer(200, **headers)) is takes


HERE = Address.parse("https://a.example/x")


@pytest.mark.parametrize("status", [200, 204, 304, 404])
def test_other_answers_lead_nowhere(status: int) -> None:
    """Only redirects redirect."""
    assert redirection(an_answer(status, location="/y"), [HERE]) is None


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_the_same_party_is_followed(status: int) -> None:
    """With the method and the body kept."""
    assert redirection(an_answer(status, location="/y"), [HERE]) == HERE.join("/y")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (an_answer(307), "points nowhere"),
        (an_answer(307, location="http://["), "points to “http://[”, where nobody can go"),
        (an_answer(307, location="https://b.example/"), "points to https://b.example:443/, another place"),
        (an_answer(307, location="http://a.example/x"), "points to http://a.example:80/x, another place"),
        (an_answer(302, location="/login"), "points to https://a.example:443/login in a way that would lose"),
        (an_answer(307, location="/x"), "in a circle: https://a.example:443/x -> https://a.example:443/x"),
    ],
)
def test_other_redirects_are_refused_and_named(answer: Answer, cause: str) -> None:
    """The reason says where they point, and what to do."""
    further = redirection(answer, [HERE])

    assert isinstance(further, Refused)
    assert cause in further.reason
    assert "url" in further.reason


def test_redirects_come_to_an_end() -> None:
    """Five are followed."""
    trail = [HERE.join(f"/{step}") for step in range(6)]

    assert isinstance(redirection(an_answer(307, location="/5"), trail[:5]), Address)
    assert "after 5 redirects" in redirection(an_answer(307, location="/6"), trail).reason  # type: ignore[union-attr]


@given(
    status=sampled_from([200, 307, 404, 503]),
    body=binary(max_size=200),
    kind=sampled_from(["application/cbor", "application/json", "text/html", "text/plain", "", "*"]),
    coding=sampled_from(["", "gzip", "identity"]),
    header=binary(max_size=40),
)
def test_nothing_that_comes_raises(status: int, body: bytes, kind: str, coding: str, header: bytes) -> None:
    """Garbage gives a reason, never a traceback."""
    word = header.decode("latin-1").replace("\n", "").replace("\r", "")
    answer = an_answer(
        status,
        body,
        content_type=kind,
        content_encoding=coding,
        retry_after=word,
        date=word,
        location=word,
        accept_encoding=word,
    )

    takes_gzip(answer)
    redirection(answer, [HERE])
    reply = judged(answer)

    assert isinstance(reply, Refused | Unreachable)
    assert reply.reason.isprintable()
