"""
The head of a request, octet by octet as a letter wants it.

Twisted's client writes header names as it likes them, and the length first. HTTP does not care; but what stands in for another
program should look like it to whoever looks (landscape 1.1): proxies, filters, and servers that were never tried with
anything else.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from twisted.web.http_headers import Headers


class ExactHeaders(Headers):
    """Headers that are written in their order, under their names as given."""

    def __init__(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        """Each name once, in ASCII."""
        found = {name.encode("ascii"): value for name, value in pairs}
        super().__init__({name: [value] for name, value in found.items()})
        self._exact = tuple(found)

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """See Headers."""
        return ((name, self.getRawHeaders(name, ())) for name in self._exact)


_LENGTH = b"Content-Length: "
_HEAD_END = b"\r\n"


class LengthLast:
    """A transport for Twisted's HTTP client: the length goes to the end of each request's head, all else as it comes."""

    def __init__(self, transport: Any) -> None:
        """Any: whatever carries octets; all that is not here is asked of it."""
        self._transport = transport

    def __getattr__(self, name: str) -> Any:  # whatever a transport has
        return getattr(self._transport, name)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See ITransport. Twisted's client writes each head by one call, line by line, and nothing else by it."""
        self._transport.writeSequence(_with_length_last(list(data)))


def _with_length_last(lines: list[bytes]) -> list[bytes]:
    if lines[-1:] != [_HEAD_END]:
        return lines
    lengths = [line for line in lines if line.startswith(_LENGTH)]
    return [*(line for line in lines[:-1] if line not in lengths), *lengths, _HEAD_END]
