"""Nothing is left out of a text without a word."""

from hypothesis import given
from hypothesis import strategies as st

from fieldpost.runtime.newest import Newest

MOST = 100


def test_what_fits() -> None:
    """It is taken as it came, once."""
    newest = Newest(MOST)
    assert not newest
    newest.add("a" * 60)
    newest.add("b" * 40)

    assert newest
    assert newest.take() == "a" * 60 + "b" * 40
    assert not newest
    assert newest.take() == ""


def test_what_does_not() -> None:
    """The newest stays, behind how much went; what comes later is whole again."""
    newest = Newest(MOST)
    for letter in "abcd":
        newest.add(letter * 50)

    assert newest.take() == "\n[160 characters were left out here]\n" + "d" * 40
    newest.add("e")
    assert newest.take() == "e"


@given(st.lists(st.text(max_size=300)))
def test_every_character_is_there_or_counted(texts: list[str]) -> None:
    """And the whole is never longer than it may be."""
    newest = Newest(MOST)
    for text in texts:
        newest.add(text)

    whole, found = "".join(texts), newest.take()

    assert len(found) <= MOST
    kept = found
    if len(whole) > MOST:
        note, kept = found.split(" characters were left out here]\n", 1)
        assert int(note.removeprefix("\n[")) + len(kept) == len(whole)
    assert whole.endswith(kept)
