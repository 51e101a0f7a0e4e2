"""
The opening: one HTTP/1.1 GET with Upgrade, one answer, then the channel is the session's (spec, 5.2).

Both sides of it, without a socket. Names of headers and tokens are compared without regard to case, order or how many
lines they stand on: proxies rewrite all three. The client takes an answer for what its status says and nothing else; what
it offers follows from the configured address alone, so no answer can lower it.
"""

from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote, urljoin, urlsplit

from attrs import frozen

from ..errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge

PRODUCT = "fieldpost/1"
TLS_TOKEN = "TLS/1.2"
"""The name of the mechanism; which version of TLS it is, TLS agrees by itself."""
PLAIN_OFFER = (PRODUCT,)
"""TLS is outside already, or the channel needs none."""
INSIDE_OFFER = (TLS_TOKEN, PRODUCT)
"""TLS starts behind the answer."""
SESSION_PATH = "/session/"
DEFAULT_SERVER = "default"
"""The name in the path that always means the server that is asked."""
REFUSAL_TYPE = "text/x-fieldpost-refusal; charset=utf-8"
"""Media type of our 404: tells it from that of a proxy that knows nothing of sessions."""
MAX_HEAD_OCTETS = 8 * 1024
MAX_HEAD_LINES = 64
HEAD_SECONDS = 20.0
MAX_HOPS = 5
MAX_RETRY_AFTER_SECONDS = 7 * 86400
_END = b"\r\n\r\n"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_REASONS = {
    101: "Switching Protocols",
    303: "See Other",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    426: "Upgrade Required",
    501: "Not Implemented",
    503: "Service Unavailable",
}


@frozen(kw_only=True)
class Head:
    """A header block: its first line, and its headers with their names in lower case, in their order."""

    line: str
    headers: tuple[tuple[str, str], ...]

    def first(self, name: str) -> str | None:
        """The value of the first header of this name."""
        return next((value for key, value in self.headers if key == name), None)

    def tokens(self, name: str) -> tuple[str, ...]:
        """The items of all lists under this name, in lower case."""
        lists = (value.split(",") for key, value in self.headers if key == name)
        return tuple(item.strip().lower() for items in lists for item in items if item.strip())


class HeadReader:
    """
    Collects octets until a header block is whole.

    The limit counts the block only: what follows it, in the same piece or later, is `left` and is nobody's concern here.
    """

    def __init__(self, *, octets: int = MAX_HEAD_OCTETS, lines: int = MAX_HEAD_LINES) -> None:
        self._octets = octets
        self._lines = lines
        self._buffer = bytearray()
        self.left = b""
        """What came behind the block."""

    def feed(self, octets: bytes) -> Head | None:
        """
        The block, once it is whole; None while it is not.

        Raises TooLarge and Malformed. Nothing may be fed after either.
        """
        start = max(0, len(self._buffer) - len(_END))
        room = self._octets + len(_END) - len(self._buffer)
        self._buffer += octets[:room]
        end = self._buffer.find(_END, start)
        if end >= 0:
            self.left = bytes(self._buffer[end + len(_END) :]) + octets[room:]
            return parse_head(bytes(self._buffer[: end + len(_END)]), most=self._octets, lines=self._lines)
        if len(self._buffer) >= self._octets:
            raise TooLarge(f"the header block is longer than {self._octets} octets")
        return None


def parse_head(octets: bytes, *, most: int = MAX_HEAD_OCTETS, lines: int = MAX_HEAD_LINES) -> Head:
    """The block that these octets are, its empty line included. Raises TooLarge and Malformed."""
    if len(octets) > most:
        raise TooLarge(f"the header block is longer than {most} octets")
    if not octets.endswith(_END):
        raise Malformed("the header block does not end in an empty line")
    first, *rest = octets[: -len(_END)].decode("latin-1").split("\r\n")
    if len(rest) + 1 > lines:
        raise TooLarge(f"the header block has more than {lines} lines")
    _check_text(first)
    return Head(line=first, headers=tuple(map(_parse_line, rest)))


def _parse_line(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or not _TOKEN.issuperset(name.encode("latin-1")):
        raise Malformed(f"{_show(line)!r} is no header")
    _check_text(value)
    return name.lower(), value.strip(" \t")


def _check_text(text: str) -> None:
    if any(ord(c) < 32 and c != "\t" for c in text) or "\x7f" in text:
        raise Malformed("the header block holds control characters")


def _show(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


# The client's side.


def build_request(*, server: str, host: str, agent: str, inside: bool) -> bytes:
    """
    What the client sends, and nothing after it until the answer.

    `server` is the id asked for, or DEFAULT_SERVER; `host` is what goes into Host, with the port where one is named;
    `inside`: TLS starts behind the answer. Raises LocalProtocolError for what does not fit a line.
    """
    offer = ", ".join(INSIDE_OFFER if inside else PLAIN_OFFER)
    return build_request_to(SESSION_PATH + quote(server, safe=":"), host=host, agent=agent, offer=offer)


def build_request_to(target: str, *, host: str, agent: str, offer: str) -> bytes:
    """The same for a target that is known, as after a redirect."""
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {agent}",
        f"Upgrade: {offer}",
        "Connection: Upgrade",
    )
    if not all(line.isascii() and line.isprintable() for line in lines) or " " in target:
        raise LocalProtocolError(f"the address {host}{target} does not fit into a request")
    return "\r\n".join(lines).encode("ascii") + _END


@frozen(kw_only=True)
class Upgraded:
    """The channel is the session's, or TLS's first."""


@frozen(kw_only=True)
class Moved:
    """Ask there instead, on a new connection."""

    location: str
    permanent: bool


@frozen(kw_only=True)
class NotHere:
    """The server has no such id: report it, come back slowly."""

    text: str


@frozen(kw_only=True)
class NoUpgrade:
    """Something on the way does not upgrade: go by POST. `step` is for people: what it may be, or what is to be done."""

    text: str
    step: str = "something on the way does not let sessions pass"


@frozen(kw_only=True)
class Denied:
    """The credentials are not taken: tell the operator, come back slowly."""

    text: str


@frozen(kw_only=True)
class Later:
    """Come back after so many seconds, where it says how many."""

    text: str
    after: float | None


@frozen(kw_only=True)
class Unusable:
    """Nothing that an opening is answered with: back off."""

    text: str


Outcome = Upgraded | Moved | NotHere | NoUpgrade | Denied | Later | Unusable

_MOVED = {301: True, 302: False, 303: False, 307: False, 308: True}
_NO_UPGRADE = frozenset({200, 400, 405, 426, 501})
_NO_CERTIFICATE = (
    "TLS is to begin inside the session, and the server seems to have no certificate for that: set `session.certificate-file`"
    " in its configuration, or a `url` that begins with https:// here"
)


def judge_answer(head: Head, *, inside: bool, left: bytes = b"", now: float = 0.0) -> Outcome:
    """
    What an answer means. `left` is what came behind it; `now` is the wall clock's time, for a date in Retry-After.

    Never raises: what is no answer of HTTP is Unusable. Each text quotes the status line.
    """
    status = status_of(head)
    text = f"the server answered {_show(head.line)!r}"
    if status is None:
        return Unusable(text=f"{text}, which is not HTTP")
    if status == 101:
        return _judge_switch(head, text, inside, left)
    if status in _MOVED:
        location = head.first("location")
        return (
            Moved(location=location, permanent=_MOVED[status])
            if location
            else Unusable(text=f"{text} to nowhere")
        )
    if status == 404:
        return NotHere(text=text) if _is_ours(head) else NoUpgrade(text=text)
    if status == 501 and inside:
        return NoUpgrade(text=text, step=_NO_CERTIFICATE)
    if status in _NO_UPGRADE:
        return NoUpgrade(text=text)
    if status in (401, 403):
        return Denied(text=text)
    if status in (429, 503):
        return Later(text=text, after=retry_after_of(head, now))
    return Unusable(text=text)


def status_of(head: Head) -> int | None:
    """The status of an answer; None: this is no answer of HTTP/1."""
    version, _, rest = head.line.partition(" ")
    digits = rest[:3]
    known = version in ("HTTP/1.1", "HTTP/1.0") and rest[3:4] in ("", " ")
    return int(digits) if known and len(digits) == 3 and digits.isascii() and digits.isdigit() else None


def retry_after_of(head: Head, now: float) -> float | None:
    """Seconds from now, within a week; None when it is not said or not readable."""
    value = head.first("retry-after") or ""
    try:
        seconds = float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _judge_switch(head: Head, text: str, inside: bool, left: bytes) -> Outcome:
    offer = tuple(token.lower() for token in (INSIDE_OFFER if inside else PLAIN_OFFER))
    chosen = head.tokens("upgrade")
    if chosen != offer:
        return Unusable(
            text=f"{text} with `Upgrade: {_show(', '.join(chosen))}`; offered was {', '.join(offer)}"
        )
    if inside and left:
        return Unusable(text=f"{text} and sent {len(left)} octets before TLS, which no server of ours does")
    return Upgraded()


def _is_ours(head: Head) -> bool:
    kind = (head.first("content-type") or "").partition(";")[0].strip().lower()
    return kind == REFUSAL_TYPE.partition(";")[0]


class Moves:
    """The permanent redirects that this run has met; not kept over its end."""

    def __init__(self, *, most: int = 64) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def note(self, url: str, target: str) -> None:
        """Remember that `url` has moved for good. A later one takes its place; beyond `most`, the oldest goes."""
        self._known.pop(url, None)
        self._known[url] = target
        if len(self._known) > self._most:
            self._known.pop(next(iter(self._known)))

    def resolve(self, url: str) -> str:
        """Where to begin asking for this address."""
        seen: set[str] = set()
        while url in self._known and url not in seen and len(seen) < MAX_HOPS:
            seen.add(url)
            url = self._known[url]
        return url

    def forget(self, url: str) -> None:
        """Ask at this address itself again, for what was remembered of it did not work."""
        while url in self._known:
            url = self._known.pop(url)


class Trail:
    """The redirects of one attempt: at most five, none twice, none from https to http."""

    def __init__(self, url: str, moves: Moves) -> None:
        self.url = moves.resolve(url)
        """Where to ask next."""
        self._moves = moves
        self._visited = {_normal(self.url)}

    def follow(self, moved: Moved) -> str:
        """
        The next address.

        Raises RemoteProtocolError when there must be none; its code is `redirect`.
        """
        target = _join(self.url, moved.location)
        self._check(target)
        if moved.permanent:
            self._moves.note(self.url, target)
        self._visited.add(_normal(target))
        self.url = target
        return target

    def _check(self, target: str) -> None:
        said = _show(target)
        if is_secure(self.url) and not is_secure(target):
            raise RemoteProtocolError(
                "redirect", f"the server leads from https to {said}; that is not followed"
            )
        if _normal(target) in self._visited:
            raise RemoteProtocolError("redirect", f"the redirects go round in a circle, back to {said}")
        if len(self._visited) > MAX_HOPS:
            raise RemoteProtocolError("redirect", f"more than {MAX_HOPS} redirects, the last to {said}")


def is_secure(url: str) -> bool:
    """Whether TLS is outside at this address."""
    return url[:6].lower() == "https:"


def _join(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not target.isascii() or not target.isprintable() or " " in target:
        raise RemoteProtocolError("redirect", f"the server leads to {_show(location)!r}, which is no address")
    return target


def _normal(url: str) -> str:
    """The same text for the same address."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path or '/'}?{parts.query}"


# The server's side.


@frozen(kw_only=True)
class Accepted:
    """Send `octets`, then the channel is the session's, or TLS's first."""

    octets: bytes
    server: str
    """The id that was asked for, or DEFAULT_SERVER."""


@frozen(kw_only=True)
class Answer:
    """Send `octets`, then close."""

    octets: bytes
    status: int
    text: str


def judge_request(
    head: Head,
    *,
    is_served: Callable[[str], bool],
    inside: bool,
    moved: Mapping[str, str] | None = None,
    draining_seconds: float | None = None,
    left: bytes = b"",
) -> Accepted | Answer:
    """
    What the server answers.

    `is_served` tells whether an id is this server's; `moved` has public, absolute addresses of those that went
    elsewhere; `draining_seconds`: new sessions are refused for so long. `left` is what came behind the head.
    """
    method, target = _request_of(head)
    if not target:
        return answer(400, f"{_show(head.line)!r} is no request of HTTP/1.1")
    if method != "GET":
        return answer(405, "a session is asked for with GET", (("Allow", "GET"),))
    offer = INSIDE_OFFER if inside else PLAIN_OFFER
    if not _asks_for(head, offer):
        text = (
            "here sessions begin: send `Upgrade: "
            + ", ".join(offer)
            + "`; a proxy on the way may have taken it out"
        )
        return answer(426, text, (("Upgrade", ", ".join(offer)),))
    if inside and left:
        return answer(400, "octets came before TLS; a client waits for the answer")
    if draining_seconds is not None:
        seconds = str(max(0, round(draining_seconds)))
        return answer(503, "this server takes no new sessions now", (("Retry-After", seconds),))
    return _judge_id(unquote(urlsplit(target).path.removeprefix(SESSION_PATH)), is_served, moved or {}, offer)


def _judge_id(
    server: str, is_served: Callable[[str], bool], moved: Mapping[str, str], offer: tuple[str, ...]
) -> Accepted | Answer:
    if server == DEFAULT_SERVER or is_served(server):
        return Accepted(octets=_switch(offer), server=server)
    if server in moved:
        return answer(303, f"this server is at {moved[server]}", (("Location", moved[server]),))
    return answer(404, f"no server {_show(server)!r} here; ask for `{DEFAULT_SERVER}`", kind=REFUSAL_TYPE)


def _request_of(head: Head) -> tuple[str, str]:
    """Method and target; an empty target is no request for a session."""
    parts = head.line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        return "", ""
    try:
        path = urlsplit(parts[1]).path
    except ValueError:
        return parts[0], ""
    return parts[0], parts[1] if path.startswith(SESSION_PATH) and not parts[1].startswith("//") else ""


def _asks_for(head: Head, offer: tuple[str, ...]) -> bool:
    offered = head.tokens("upgrade")
    if not head.line.endswith("HTTP/1.1") or "upgrade" not in head.tokens("connection"):
        return False
    return all(token.lower() in offered for token in offer)


def _switch(offer: Iterable[str]) -> bytes:
    """A 101 is the one answer without a length: nothing of HTTP follows it."""
    lines = ("HTTP/1.1 101 Switching Protocols", f"Upgrade: {', '.join(offer)}", "Connection: Upgrade")
    return "\r\n".join(lines).encode("ascii") + _END


def answer(
    status: int,
    text: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    kind: str = "text/plain; charset=utf-8",
) -> Answer:
    """An answer that ends the connection, with a text for people."""
    body = text.encode("utf-8", "replace") + b"\n"
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}"]
    connection = "close, Upgrade" if status == 426 else "close"
    said = (("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", connection))
    lines += [f"{name}: {value}" for name, value in (*headers, *said)]
    return Answer(octets="\r\n".join(lines).encode("ascii") + _END + body, status=status, text=text)
