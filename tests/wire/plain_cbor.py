"""
CBOR read the slow and plain way: what the fast walk in `wire.cbor` is compared with.

It follows RFC 8949, section 3, word by word, and shares no line with what it checks.
"""

import struct
from io import BytesIO
from typing import Any


class NotTaken(Exception):
    """These octets are no value that may travel, or above a limit."""


def read_plainly(octets: bytes, *, depth: int, items: int) -> Any:
    """The value, or NotTaken."""
    reading = _Reading(octets, items)
    value = reading.item(depth)
    if reading.rest.read(1):
        raise NotTaken
    return value


class _Reading:
    def __init__(self, octets: bytes, items: int) -> None:
        self.rest = BytesIO(octets)
        self.items = items

    def take(self, count: int) -> bytes:
        taken = self.rest.read(min(count, 2**31))
        if len(taken) < count:
            raise NotTaken
        return taken

    def head(self) -> tuple[int, int, int]:
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info, info
        if info > 27:
            raise NotTaken
        return major, info, int.from_bytes(self.take(2 ** (info - 24)), "big")

    def item(self, depth: int) -> Any:
        self.count()
        major, info, argument = self.head()
        if major < 4:
            return self.integer_or_string(major, argument)
        if major == 6:
            return self.big_integer(argument, info)
        if major == 7:
            return self.simple(info, argument)
        if depth == 0:
            raise NotTaken
        if major == 4:
            return [self.item(depth - 1) for _ in range(argument)]
        return {self.key(): self.item(depth - 1) for _ in range(argument)}

    def key(self) -> Any:
        self.count()
        major, _, argument = self.head()
        return self.integer_or_string(major, argument)

    def count(self) -> None:
        self.items -= 1
        if self.items < 0:
            raise NotTaken

    def integer_or_string(self, major: int, argument: int) -> Any:
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self.take(argument)
        if major == 3:
            return self.text(argument)
        raise NotTaken

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise NotTaken from None

    def big_integer(self, tag: int, info: int) -> int:
        if tag not in (2, 3) or info > 23:
            raise NotTaken
        start = self.rest.tell()
        major, _, length = self.head()
        if major != 2:
            raise NotTaken
        number = int.from_bytes(self.take(length), "big")
        if self.rest.tell() - start > 1024:
            raise NotTaken
        return number if tag == 2 else -1 - number

    def simple(self, info: int, argument: int) -> Any:
        if info in (20, 21, 22):
            return {20: False, 21: True, 22: None}[info]
        if info in (25, 26, 27):
            size, form = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[info]
            return struct.unpack(form, argument.to_bytes(size, "big"))[0]
        raise NotTaken
