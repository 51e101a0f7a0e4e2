"""One letter over HTTP; what exchanges make of it is in test_http.py."""

from typing import Any

import pytest
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.post import Letter, PostFailed
from fieldpost.broker.carriage.request_head import ExactHeaders, LengthLast
from fieldpost.runtime.doors import returns_deferred

from .peers import HOST, Web, a_poster, listen, says, serving
from .test_http import Keeping

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class PostTests(TestCase):
    """Against real peers."""

    pytestmark = pytest.mark.process
    timeout = 240

    @returns_deferred
    async def test_headers_are_written_as_the_letter_has_them(self) -> None:
        """In its order and spelling, after the host and before the length; who we are is added."""
        peer = Keeping(first=FINE)
        port = listen(self, serving(lambda: peer))
        letter = Letter(
            headers={"X-Computer-ID": b"7", "accept": b"x", "Accept-Encoding": b"br"}, body=b"body"
        )

        answer = await a_poster(self, f"http://{HOST}:{port}").post(letter)

        assert (answer.status, answer.body) == (200, b"ok")
        head = f"Host: {HOST}:{port}\r\nX-Computer-ID: 7\r\naccept: x\r\nAccept-Encoding: br\r\n"
        rest = "User-Agent: fieldpost/0.1\r\nContent-Length: 4\r\n\r\nbody"
        assert peer.heads == [f"POST /message-system HTTP/1.1\r\n{head}{rest}".encode()]

    @returns_deferred
    async def test_a_letter_may_go_to_another_path(self) -> None:
        """Of the same server."""
        web = Web(says(200, b"yes"))
        poster = a_poster(self, f"http://{HOST}:{listen(self, web)}")

        answer = await poster.post(Letter(path="/session/7?x", headers={}, body=b""))

        assert (answer.body, web.seen[0].target) == (b"yes", "/session/7?x")

    @returns_deferred
    async def test_an_answer_of_any_status_is_an_answer(self) -> None:
        """But for one that sends us elsewhere: then its status is told with the reason."""
        web = Web(says(500, b"oh"), says(302, Location="/b"))
        poster = a_poster(self, f"http://{HOST}:{listen(self, web)}")

        answer: Any = await poster.post(Letter(headers={}, body=b""))
        with pytest.raises(PostFailed, match="would lose the messages") as failed:
            await poster.post(Letter(headers={}, body=b""))

        assert (answer.status, failed.value.status) == (500, 302)

    @returns_deferred
    async def test_what_may_be_shown_once_is_left_out_of_a_repetition(self) -> None:
        """All else is the same."""
        peers = [Keeping(first=FINE), Keeping(first=FINE)]
        waiting = list(peers)
        poster = a_poster(self, f"http://{HOST}:{listen(self, serving(lambda: waiting.pop(0)))}")
        letter = Letter(headers={"A": b"1", "B": b"2", "C": b"3"}, body=b"x", once=frozenset({"B"}))

        for _ in "12":
            await poster.post(letter)

        (_, shown), (repeated,) = (peer.heads for peer in peers)
        assert shown.replace(b"B: 2\r\n", b"") == repeated


def test_host_names_the_port_where_it_is_not_the_usual_one() -> None:
    """As all clients write it."""
    lines = {
        "http://a.example/x": "a.example",
        "http://a.example:443/x": "a.example:443",
        "https://a.example:443/x": "a.example",
        "https://[::1]/x": "[::1]",
        "https://[::1]:8443/x": "[::1]:8443",
    }

    assert {url: Address.parse(url).host_line for url in lines} == lines


def test_exact_headers_are_headers() -> None:
    """They are found whatever the case; a line break in a value does not make another header."""
    headers = ExactHeaders([("X-Computer-ID", b"7"), ("b", b"a\r\nEvil: 1")])

    assert headers.getRawHeaders(b"x-computer-id") == [b"7"]
    assert list(headers.getAllRawHeaders()) == [(b"X-Computer-ID", [b"7"]), (b"b", [b"a Evil: 1"])]


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (
            [b"POST / X\r\n", b"Content-Length: 1\r\n", b"A: b\r\n", b"\r\n"],
            b"POST / X\r\nA: b\r\nContent-Length: 1\r\n\r\n",
        ),
        ([b"GET / X\r\n", b"A: b\r\n", b"\r\n"], b"GET / X\r\nA: b\r\n\r\n"),
        ([b"Content-Length: 1\r\n", b"not a head"], b"Content-Length: 1\r\nnot a head"),
        ([], b""),
    ],
)
def test_length_goes_last(written: list[bytes], seen: bytes) -> None:
    """Of a head; nothing else is touched."""
    transport = StringTransport()

    LengthLast(transport).writeSequence(written)

    assert transport.value() == seen


def test_all_else_of_a_transport_is_its_own() -> None:
    """It is asked as ever."""
    transport = StringTransport()
    last = LengthLast(transport)

    last.write(b"x")
    last.loseConnection()

    assert (transport.value(), transport.disconnecting) == (b"x", True)
