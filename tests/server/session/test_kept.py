"""The newest of a text, however small its pieces."""

from hypothesis import given
from hypothesis import strategies as st

from fieldpost.server.session.kept import KeptText


@given(st.lists(st.text(max_size=9), max_size=60), st.integers(1, 20), st.integers(1, 7))
def test_the_newest_is_kept(pieces: list[str], most: int, looks: int) -> None:
    """Whenever somebody looks there are the last characters, and their place."""
    kept, whole = KeptText(most), ""
    for number, piece in enumerate(pieces):
        kept.add(piece)
        whole += piece
        assert kept.end == len(whole)
        if number % looks == 0:
            assert (kept.text, kept.start) == (whole[-most:], max(0, len(whole) - most))
    assert len(kept) <= 2 * most


def test_what_is_held() -> None:
    """However many pieces come unseen, and be they empty: no more is held than twice what is kept."""
    kept = KeptText(100)

    for piece in ["x", ""] * 5_000:
        kept.add(piece)
        assert len(kept._pieces) <= 4_097 and sum(map(len, kept._pieces)) <= 200


def test_small_pieces_cost_little() -> None:
    """What a piece costs does not depend on how much is kept: a million of them take no minute."""
    kept = KeptText(1_000_000)
    kept.add("\U0001f600" * 1_000_000)

    for _ in range(1_000_000):
        kept.add("\U0001f600")

    assert kept.end == 2_000_000
