"""What strangers said, made fit for a log line and a terminal."""


def printable(text: str, limit: int = 300) -> str:
    """One line of printable characters, at most `limit` of them."""
    seen = text[: 4 * limit]
    words = " ".join("".join(mark if mark.isprintable() else " " for mark in seen).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def printable_octets(octets: bytes, limit: int = 300) -> str:
    """The same for octets that should be text."""
    return printable(octets[: 4 * limit].decode("utf-8", "replace"), limit)
