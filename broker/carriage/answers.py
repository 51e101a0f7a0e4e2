"""
What an HTTP answer means for an exchange.

Only 200 with the media type of the exchange and a readable payload is the server's answer. Whatever else comes, be it the page of a
hotel's network, a proxy's error or a server's refusal, becomes a reason with what came and what to do; nothing of it is
trusted, and all of it is bounded.
"""

import json

from attrs import frozen
from twisted.web.http import stringToDatetime
from twisted.web.http_headers import Headers

from ...wire.cbor import Limits
from ...wire.compression import DEFLATE, GZIP, inflate, inflate_deflate
from ...wire.encoding import CBOR, Encoding
from ...wire.errors import Malformed, RemoteProtocolError, TooLarge
from ...wire.payload import ServerPayload
from .address import Address, AddressInvalid
from .transport import Answered, Refused, Reply, Unreachable
from .wording import printable

MAX_REASON_OCTETS = 16_384
"""So much of the body of a refusal is read."""
MAX_RETRY_AFTER = 86_400.0
"""Longest time, in seconds, for which a server may send us away."""


@frozen(kw_only=True)
class Answer:
    """An HTTP answer; `whole` is false when the body was longer than what is kept of it."""

    status: int
    phrase: str
    headers: Headers
    body: bytes
    whole: bool

    def header(self, name: bytes) -> str:
        """The values of a header, as one; empty when it is not there."""
        return ", ".join(value.decode("latin-1").strip() for value in self.headers.getRawHeaders(name) or ())

    @property
    def media_type(self) -> str:
        """Lower case, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()


def judge(
    answer: Answer, *, limit: int, now: float, encoding: Encoding = CBOR, any_type: bool = False
) -> Reply:
    """
    What the exchange is told; `limit` bounds the unpacked body, `now` is the time of day.

    With `any_type` the answer may say what it likes of its media type, as long as it is one in this encoding.
    """
    if answer.status != 200:
        return _refused(answer, now)
    if answer.media_type != encoding.media_type and (not any_type or "html" in answer.media_type):
        return Unreachable(reason=f"{_seen(answer)} instead of an answer to the exchange; {_STRANGER}")
    return _taken(answer, limit, encoding)


def takes_gzip(answer: Answer) -> bool | None:
    """Whether the server says that it reads gzip (RFC 7694); None when it says nothing about it."""
    if not answer.headers.hasHeader(b"accept-encoding"):
        return None
    return any(_is_gzip(entry) for entry in answer.header(b"accept-encoding").split(","))


def _is_gzip(entry: str) -> bool:
    coding, _, weight = entry.partition(";")
    return coding.strip().lower() in (GZIP, "x-gzip") and weight.replace(" ", "").lower().strip("0.") != "q="


def _taken(answer: Answer, limit: int, encoding: Encoding) -> Answered | Unreachable:
    try:
        if not answer.whole:
            raise TooLarge(f"it is larger than the {limit} octets allowed")
        payload = ServerPayload.from_map(encoding.decode(body_of(answer, limit), Limits(octets=limit)))
    except RemoteProtocolError as error:
        return Unreachable(reason=f"the server's answer cannot be used: {printable(str(error))}; {_SPOILT}")
    return Answered(payload=payload)


_STRANGER = (
    "a login page of the network or a proxy may answer in the server's place, or `url` in [server] has another path "
    "than the server's exchange"
)
_SPOILT = "see the server's log, and check that server and agent are of versions that go together"


def body_of(answer: Answer, limit: int) -> bytes:
    """The body, unpacked. Raises Malformed and TooLarge."""
    coding = answer.header(b"content-encoding").lower()
    if coding in ("", "identity"):
        return answer.body
    if coding in (GZIP, "x-gzip"):
        return inflate(answer.body, limit)
    if coding == DEFLATE:
        return inflate_deflate(answer.body, limit)
    raise Malformed(f"it is packed as {printable(coding, 40)}, though that was not offered")


def _seen(answer: Answer) -> str:
    """What came, for one who cannot see it."""
    kind = printable(answer.media_type, 60) or "no media type"
    title = _title(_text(answer)) if "html" in kind else ""
    what = f"a page titled “{title}” came" if title else f"{len(answer.body)} octets came"
    return f"{what} ({answer.status}, {kind})"


def _text(answer: Answer) -> str:
    """The body as text, as far as it is any."""
    try:
        body = body_of(answer, MAX_REASON_OCTETS)
    except RemoteProtocolError:
        return ""
    return body[:MAX_REASON_OCTETS].decode("utf-8", "replace")


def _title(page: str) -> str:
    lowered = page.lower()
    start = lowered.find(">", lowered.find("<title")) + 1
    end = lowered.find("</title", start)
    return printable(page[start:end], 80) if 0 < start < end and "<title" in lowered else ""


def _refused(answer: Answer, now: float) -> Refused:
    words, step = _words(answer)
    cause = words or printable(answer.phrase, 80) or "no reason given"
    reason = printable(f"{cause}; {step or _next_step(answer.status)}", 600)
    return Refused(status=answer.status, reason=reason, retry_after=_retry_after(answer, now))


def _words(answer: Answer) -> tuple[str, str]:
    """What the body says: cause, next step; empty where it says nothing."""
    text, kind = _text(answer), answer.media_type
    if "html" in kind:
        return _seen(answer), ""
    if kind == "application/json" or kind.endswith("+json"):
        return _json_words(text)
    return (printable(text), "") if kind.startswith("text/") else ("", "")


def _json_words(text: str) -> tuple[str, str]:
    """Of `{"error": ..., "next": ...}`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(value, dict):
        return "", ""
    cause, step = (value.get(key) for key in ("error", "next"))
    return (
        printable(cause) if isinstance(cause, str) else "",
        printable(step) if isinstance(step, str) else "",
    )


def _next_step(status: int) -> str:
    if status == 429 or status >= 500:
        return "this is tried again later; if it stays so, see the server's log"
    steps = {
        401: "something before the server asks for a login; check `url` in [server], and the login of the proxy if there is one",
        403: "the server or something before it does not let this machine in; ask who runs it",
        404: "check the path of `url` in [server]",
        413: "lower `max-octets` in [exchange], or raise the server's limit",
    }
    return steps.get(status, "see the server's log")


def _retry_after(answer: Answer, now: float) -> float | None:
    """Seconds until the server wants to see us again, from seconds or a date (RFC 9110, 10.2.3)."""
    value = answer.header(b"retry-after")
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value[:20]), MAX_RETRY_AFTER)
    when = _date(value)
    if when is None:
        return None
    # The server's own clock says how far away its date is; ours may be wrong.
    here = _date(answer.header(b"date"))
    return min(max(when - (now if here is None else here), 0.0), MAX_RETRY_AFTER)


def _date(value: str) -> float | None:
    try:
        return float(stringToDatetime(value[:64].encode("latin-1")))
    except (ValueError, IndexError, OverflowError):
        return None


MAX_REDIRECTS = 5
_FOLLOWED = (307, 308)
"""Redirects that keep method and body (RFC 9110, 15.4)."""


def redirection(answer: Answer, trail: list[Address]) -> Address | Refused | None:
    """
    Where an answer sends us: to an address that may have the identity, nowhere, or to where we do not go.

    `trail` holds the addresses asked so far, the last one being that which answered.
    """
    if answer.status not in (300, 301, 302, 303, 305, *_FOLLOWED):
        return None
    location = answer.header(b"location")
    try:
        target = trail[-1].join(location)
    except AddressInvalid:
        return _stays(answer, f"points to “{printable(location, 200)}”, where nobody can go", _FIX)
    if not location:
        return _stays(answer, "points nowhere", _FIX)
    if not trail[-1].may_become(target):
        return _stays(answer, f"points to {target}, another place than the server's", _ELSEWHERE)
    if answer.status not in _FOLLOWED:
        return _stays(answer, f"points to {target} in a way that would lose the messages", _FIX_307)
    if target in trail:
        return _stays(answer, f"points in a circle: {' -> '.join(map(str, [*trail, target]))}", _FIX)
    if len(trail) > MAX_REDIRECTS:
        return _stays(answer, f"points on, after {MAX_REDIRECTS} redirects, to {target}", _FIX)
    return target


_FIX = "set `url` in [server] to the address of the exchange itself"
_FIX_307 = "let it answer 307 or 308, or set `url` in [server] to that address"
_ELSEWHERE = (
    "this machine's identity is not sent there. If that is the server's new address, set `url` in [server] to it; "
    "if it is a login page of the network, log in"
)


def _stays(answer: Answer, what: str, step: str) -> Refused:
    return Refused(status=answer.status, reason=printable(f"the answer {what}; {step}", 1_000))
