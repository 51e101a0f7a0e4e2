"""The book of the counting plugin: what it was told is stored, line by line, through any number of its lives."""

STOP = "."
"""
Ends each line. One that does not end so is the last of a killed process, or is being written: a line across two pages of
the file is written in two steps, and is read, or is left by a kill, between them.
"""
Entry = tuple[str, str]
"""The life that wrote it, and `start` or the number that was answered."""


def entries(text: str) -> list[Entry]:
    """The whole lines of a book, in the order in which they were written; what is no whole line is left out."""
    lines = (line.removesuffix(STOP).split() for line in text.splitlines() if line.endswith(STOP))
    return [(life, word) for life, word in lines]
