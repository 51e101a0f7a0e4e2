"""Octets of a fuzzer, read as what a scene needs: numbers, pieces, choices. At their end all numbers are 0."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """Read from the front."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._position >= len(self._octets)

    def take(self, length: int) -> bytes:
        """So many octets, or what is left."""
        start, self._position = self._position, min(self._position + length, len(self._octets))
        return self._octets[start : self._position]

    def number(self, octets: int = 1) -> int:
        """Without a sign."""
        return int.from_bytes(self.take(octets), "little")

    def choice(self, among: Sequence[T]) -> T:
        """One of them."""
        return among[self.number() % len(among)]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._octets))

    def pieces(self) -> Iterator[bytes]:
        """All that is left, cut as an octet each says: 0 stands for the rest."""
        while not self.is_over:
            yield self.take(self.number()) or self.rest()
