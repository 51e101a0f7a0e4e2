"""
Text on its way to somebody who may be slow, such as who watches an operation.

What waits is bounded. Of what is too much the newest is kept, and in the place of the rest stands how much that was.
"""

_NOTE = "\n[{} characters were left out here]\n"
_NOTE_CHARACTERS = 60
"""At most so many."""


class Newest:
    """What waits: at most so many characters, the note included."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._text = ""
        self._left_out = 0

    def __bool__(self) -> bool:
        return bool(self._text)

    def add(self, text: str) -> None:
        """More of it."""
        joined = self._text + text
        room = self._most - _NOTE_CHARACTERS if self._left_out else self._most
        if len(joined) > room:
            kept = joined[_NOTE_CHARACTERS - self._most :]
            self._left_out += len(joined) - len(kept)
            joined = kept
        self._text = joined

    def take(self) -> str:
        """All that waits; nothing does then."""
        note = _NOTE.format(self._left_out) if self._left_out else ""
        found, self._text, self._left_out = note + self._text, "", 0
        return found
