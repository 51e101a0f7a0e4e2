"""Frames as lines of text."""

import pytest
from hypothesis import given

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.frame import Frame
from fieldpost.wire.session.notation import parse, show
from tests.wire.session.test_frame import FRAMES


@given(FRAMES)
def test_back(frame: Frame) -> None:
    """A frame comes back from its line."""
    assert parse(show(frame)) == frame


def test_reads_aloud() -> None:
    """A line says what the frame is."""
    assert show(Frame(1, 5, 1, 1, 13, b"\xa2")) == "request 5 new,more,data on 1+: a2"
    assert show(Frame(11, 0, 2, 0, 1)) == "ping 0 pong on 2:"


@pytest.mark.parametrize("line", ["", "request 1", "nothing 1 - on 1: ", "request 1 - on 1: x"])
def test_nonsense(line: str) -> None:
    """What is no such line is refused."""
    with pytest.raises(LocalProtocolError):
        parse(line)
