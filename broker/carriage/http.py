"""
The exchange over plain HTTP: one POST out, one answer back (landscape 1.1).

An exchange may be repeated, because its messages are numbered; its token may not, because a token shown twice means a
clone. So the token is the header of the letter that goes once. How letters travel is `post`; what answers mean is
`answers`. Encoding payloads and reading answers may take long for large ones, so they run where `worker` runs things.
"""

from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

from ...runtime.writer import Writer
from ...wire.compression import GZIP
from ...wire.encoding import BPICKLE, CBOR, CBOR_TYPE, Encoding
from ...wire.http import COMPUTER_ID, EXCHANGE_TOKEN, MESSAGE_API, is_credential
from .answers import Answer, judge
from .post import Letter, Poster, PostFailed
from .transport import Refused, Reply, Request, Unreachable

_ID_UNFIT = (
    "the secure id that the server gave us fits in no header; remove this computer there, and register again"
)


@frozen(kw_only=True)
class Manner:
    """How a protocol writes its exchange over HTTP; the order of the headers is the same for all (landscape 1.1)."""

    encoding: Encoding
    accept: bytes
    accept_encoding: bytes
    packs: bool
    """Whether requests may be packed, once the server has said that it reads that."""
    any_type: bool = False
    """Whether answers may be of any media type."""


OWN = Manner(encoding=CBOR, accept=CBOR_TYPE.encode(), accept_encoding=GZIP.encode(), packs=True)
LANDSCAPE = Manner(
    encoding=BPICKLE, accept=b"*/*", accept_encoding=b"gzip,deflate", packs=False, any_type=True
)


@frozen(kw_only=True)
class HttpTransport:
    """A Transport over HTTP; `now` tells the time of day. It stops its poster when it stops."""

    log = Logger()

    poster: Poster
    worker: Writer
    now: Callable[[], float]
    manner: Manner = OWN

    @property
    def depth(self) -> int:
        """See Transport."""
        return 1

    async def exchange(self, request: Request) -> Reply:
        """See Transport."""
        if request.secure_id is not None and not is_credential(request.secure_id):
            return Unreachable(reason=_ID_UNFIT)
        body = await self.worker.run(lambda: self.manner.encoding.encode(request.payload.to_map()))
        try:
            answer = await self.poster.post(self._letter(request, body))
        except PostFailed as failure:
            if failure.status is None:
                return Unreachable(reason=failure.reason)
            return Refused(status=failure.status, reason=failure.reason)
        return await self._judge(answer)

    async def stop(self) -> None:
        """End what is under way; later exchanges fail at once."""
        await self.poster.stop()

    async def _judge(self, answer: Answer) -> Reply:
        manner = self.manner
        reply: Reply = await self.worker.run(
            judge,
            answer,
            limit=self.poster.max_answer_octets,
            now=self.now(),
            encoding=manner.encoding,
            any_type=manner.any_type,
        )
        return reply

    def _letter(self, request: Request, body: bytes) -> Letter:
        manner = self.manner
        found = {
            "Accept": manner.accept,
            "Accept-Encoding": manner.accept_encoding,
            "Content-Type": manner.encoding.media_type.encode(),
            "User-Agent": self.poster.user_agent,
            COMPUTER_ID: request.secure_id,
            EXCHANGE_TOKEN: self._token(request),
            MESSAGE_API: bytes(request.payload.server_api),
        }
        return Letter(
            headers={name: value for name, value in found.items() if value is not None},
            body=body,
            may_pack=manner.packs,
            once=frozenset({EXCHANGE_TOKEN}),
        )

    def _token(self, request: Request) -> bytes | None:
        if request.token is None or is_credential(request.token):
            return request.token
        self.log.warn("the server's token fits in no header; this exchange goes without")
        return None
