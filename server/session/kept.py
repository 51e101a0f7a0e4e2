"""The newest of a text that an agent writes, piece by piece, as small as it likes."""

_MOST_PIECES = 4_096
"""Each takes more than the characters in it."""


class KeptText:
    """
    At most so many characters.

    Pieces are joined when somebody looks, and dropped when as much again as is kept has come: what one piece costs does
    not grow with what is kept.
    """

    __slots__ = ("_length", "_most", "_pieces", "start")

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[str] = []
        self._length = 0
        self.start = 0
        """Place of the first character that is kept."""

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def end(self) -> int:
        """Place behind the last: how many there were."""
        return self.start + self._length

    def add(self, text: str) -> None:
        """More of it."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * self._most or len(self._pieces) > _MOST_PIECES:
            self._join()

    @property
    def text(self) -> str:
        """What is kept."""
        self._join()
        return self._pieces[0]

    def _join(self) -> None:
        joined = "".join(self._pieces)
        kept = joined[-self._most :]
        self._pieces = [kept]
        self.start += len(joined) - len(kept)
        self._length = len(kept)
