"""Frames: their octets, and how they are cut from a stream of them (M1-M8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.frame import Frame, Framer, FrameTooLarge, encode_frame
from tests.wire.session.link import LARGEST, frame_of, frames_in, octets_of, recorded

FRAMES = st.builds(
    Frame,
    st.integers(0, 15),
    st.integers(0, 65535),
    st.integers(0, 255),
    st.integers(0, 7),
    st.integers(0, 15),
    st.binary(max_size=40),
)
VECTORS = recorded("vectors")


def vector(id: str) -> tuple[Frame, bytes]:
    frame = VECTORS[id]["frames"][0]
    return frame_of(frame), octets_of([frame])


@pytest.mark.conformance("M1")
def test_smallest() -> None:
    """A frame without payload is its eight octets."""
    assert encode_frame(Frame(1, 1, 1)).hex() == "0000000100010010"


@pytest.mark.conformance("M2")
def test_order_of_fields() -> None:
    """Each field has its place."""
    assert encode_frame(Frame(1, 2, 4, 0, 0, b"foo")).hex() == "0300000200040010666f6f"


@pytest.mark.conformance("M3")
def test_largest_fields() -> None:
    """Fields at their maxima come back as they were."""
    frame, octets = vector("F03")

    assert encode_frame(frame) == octets
    assert frames_in(octets) == [frame]


@pytest.mark.conformance("M4")
@pytest.mark.parametrize("id", ["F04", "F05", "F06"])
def test_recorded_lengths(id: str) -> None:
    """A length of three octets is read as one number of 24 bits."""
    frame, octets = vector(id)

    assert encode_frame(frame) == octets
    assert frames_in(octets) == [frame]


@pytest.mark.conformance("M4")
@pytest.mark.parametrize("length", [65535, 65536, 65537, 131072, 16777215])
def test_lengths(length: int) -> None:
    """Lengths around the limits parse to themselves."""
    frame = Frame(2, 1, 1, 1, 2, bytes(length))

    assert frames_in(encode_frame(frame)) == [frame]


@pytest.mark.conformance("M5")
@pytest.mark.parametrize(
    "frame",
    [
        Frame(16, 1, 1),
        Frame(1, 1, 1, 0, 16),
        Frame(1, 65536, 1),
        Frame(1, -1, 1),
        Frame(1, 1, 256),
        Frame(1, 1, 1, 256),
        Frame(1, 1, 1, 0, 1, bytes(101)),
    ],
)
def test_misfits(frame: Frame) -> None:
    """A frame that does not fit is refused when it is made."""
    with pytest.raises(LocalProtocolError):
        encode_frame(frame, 100)


@pytest.mark.conformance("M6")
@given(st.lists(FRAMES, max_size=5), st.data())
def test_any_split(frames: list[Frame], data: st.DataObject) -> None:
    """However the octets are cut, the frames are the same."""
    octets = b"".join(map(encode_frame, frames))
    framer, found, left = Framer(100), list[Frame](), octets
    while left:
        size = data.draw(st.integers(1, len(left)))
        found += framer.feed(left[:size])
        left = left[size:]

    assert found == frames
    assert framer.end() is None


@pytest.mark.conformance("M6")
def test_octet_by_octet() -> None:
    """One octet at a time is the same as all at once."""
    octets = b"".join(encode_frame(Frame(1, 1, 1, 0, 1, bytes(size))) for size in range(20))
    framer = Framer(100)

    found = [frame for octet in octets for frame in framer.feed(bytes([octet]))]

    assert found == frames_in(octets)


@pytest.mark.conformance("M7")
def test_too_large() -> None:
    """A header that announces too much is refused at its eighth octet, and what came before it is kept."""
    good, bad = encode_frame(Frame(1, 1, 1, 0, 1, b"good")), encode_frame(Frame(1, 3, 1, 0, 1, bytes(101)))
    framer = Framer(100)
    assert framer.feed(bad[:7]) == []
    with pytest.raises(FrameTooLarge):
        framer.feed(bad[7:8])

    with pytest.raises(FrameTooLarge) as caught:
        Framer(100).feed(good + bad[:8])

    assert caught.value.frames == frames_in(good)


def test_raised_limit() -> None:
    """The limit may be raised once both ends agreed."""
    framer = Framer(10)
    framer.limit = LARGEST

    assert len(framer.feed(encode_frame(Frame(1, 1, 1, 0, 1, bytes(70_000))))) == 1


@pytest.mark.conformance("M8")
@pytest.mark.parametrize(
    ("octets", "missing"),
    [
        (b"", None),
        (b"\0\0\0", "the input ended inside a frame: 5 octets of its header are missing"),
        (
            bytes.fromhex("0300000100010010ff"),
            "the input ended inside a frame: 2 octets of its payload are missing",
        ),
    ],
)
def test_cut(octets: bytes, missing: str | None) -> None:
    """An input that ends inside a frame says what is missing."""
    framer = Framer(100)
    framer.feed(octets)

    assert framer.end() == missing
