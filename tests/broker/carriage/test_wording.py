"""Words of strangers."""

from hypothesis import given
from hypothesis.strategies import binary, text

from fieldpost.broker.carriage.wording import printable, printable_octets


def test_what_cannot_be_printed_becomes_room() -> None:
    """Escape sequences, line ends and marks that turn the writing around do not reach a terminal."""
    assert printable("a\x1b[31m\r\nb\u202ec") == "a [31m b c"


def test_long_words_are_cut() -> None:
    """What is cut shows that it is."""
    assert printable("abcdef", 4) == "abc…"


@given(text(), binary())
def test_always_one_short_printable_line(words: str, octets: bytes) -> None:
    """Whatever comes, a log line stays one line."""
    for line in (printable(words, 20), printable_octets(octets, 20)):
        assert len(line) <= 20
        assert line.isprintable()
