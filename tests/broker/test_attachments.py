"""Files of operations: asked for beside the exchange, with the identity, within bounds; or a reason."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from fieldpost.broker.attachments import AttachmentFailed, Attachments, folder_of, ids_in
from fieldpost.broker.carriage.address import Address
from fieldpost.broker.carriage.answers import Answer
from fieldpost.broker.carriage.post import PostFailed
from fieldpost.runtime.doors import returns_deferred
from fieldpost.wire.compression import deflate
from fieldpost.wire.local import MAX_ATTACHMENT_OCTETS
from tests.broker.carriage.peers import HOST, a_poster, listen, serving
from tests.broker.carriage.test_http import Keeping
from tests.broker.fakes import result_of
from tests.broker.store.stores import open_store
from tests.broker.test_ping import Post
from tests.fakes import InlineWriter


def attachments(poster: Any, *, secure_id: bytes | None = b"id") -> Attachments:
    store = open_store()
    if secure_id is not None:
        store.set_identity(secure_id=secure_id, insecure_id=1)
    return Attachments(poster=poster, folder="/a", store=store, writer=InlineWriter(), worker=InlineWriter())


def said(body: bytes = b"", *, status: int = 200, whole: bool = True, **headers: str) -> Answer:
    found = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
    return Answer(status=status, phrase="So it is", headers=found, body=body, whole=whole)


def fetched(found: Attachments) -> Any:
    return result_of(Deferred.fromCoroutine(found.fetch(7)))


@pytest.mark.parametrize(
    "answer",
    [
        said(b"\0file\xff", Content_Type="image/png"),
        said(deflate(b"\0file\xff"), Content_Encoding="gzip"),
    ],
)
def test_a_file(answer: Answer) -> None:
    """Its octets, whatever the server calls them and however it packs them."""
    post = Post(answer)

    assert fetched(attachments(post)) == b"\0file\xff"
    (letter,) = post.letters
    assert (letter.method, letter.path, letter.body) == ("GET", "/a/attachment/7", b"")
    assert letter.headers["X-Computer-ID"] == b"id"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (said(status=404), "the server says 404 So it is"),
        (said(b"x", whole=False), "larger than 8323073 octets"),
        (said(deflate(b"\0" * (MAX_ATTACHMENT_OCTETS + 1)), Content_Encoding="gzip"), "8323073"),
        (said(b"x", Content_Encoding="gzip"), "gzip"),
        (PostFailed("nobody answers there"), "nobody answers there"),
    ],
)
def test_none(line: Any, why: str) -> None:
    """The reason names the file and what is wrong."""
    with pytest.raises(AttachmentFailed, match="attachment 7 cannot be fetched") as failed:
        fetched(attachments(Post(line)))

    assert why in str(failed.value)


@pytest.mark.parametrize("secure_id", [None, b"a\r\nb"])
def test_without_identity(secure_id: bytes | None) -> None:
    """Nothing is asked for."""
    post = Post()
    with pytest.raises(AttachmentFailed, match="not registered"):
        fetched(attachments(post, secure_id=secure_id))

    assert post.letters == []


def test_without_server() -> None:
    """There is none to ask, nor to stop."""
    found = attachments(None)
    with pytest.raises(AttachmentFailed, match="no server"):
        fetched(found)

    assert result_of(Deferred.fromCoroutine(found.stop())) is None


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("https://a", ""),
        ("https://a/message-system", ""),
        ("https://a/b/message-system?c=/d/e", "/b"),
        ("https://a/b/", "/b"),
    ],
)
def test_they_are_beside_the_exchange(url: str, folder: str) -> None:
    """Below the path of the exchange without its last part (landscape 1.1)."""
    assert folder_of(Address.of_server(url)) == folder


@pytest.mark.parametrize(
    ("named", "ids"),
    [({"a": 1, "b": 2, "c": "3", "d": True}, {1, 2}), (None, set()), (7, set()), ([1, "2", None], {1})],
)
def test_what_an_operation_names(named: Any, ids: set[int]) -> None:
    """Odd ones name nothing."""
    assert ids_in({"type": "execute-script", "attachments": named}) == ids


class OnTheWire(TestCase):
    """Against a real peer."""

    pytestmark = pytest.mark.process
    timeout = 240

    @returns_deferred
    async def test_a_request_without_a_body(self) -> None:
        """It has no length either, and its connection is kept and ended."""
        peer = Keeping(first=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        port = listen(self, serving(lambda: peer))
        found = attachments(a_poster(self, f"http://{HOST}:{port}/a/message-system"))

        assert await found.fetch(7) == b"one"
        await found.stop()
        with pytest.raises(AttachmentFailed, match="the agent stops"):
            await found.fetch(7)

        head = f"GET /a/attachment/7 HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\nX-Computer-ID: id\r\n"
        rest = "Accept-Encoding: gzip\r\nUser-Agent: fieldpost/0.1\r\n\r\n"
        assert peer.heads == [f"{head}{rest}".encode()]
