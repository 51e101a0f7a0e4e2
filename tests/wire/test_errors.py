"""Each error is of one tree, and carries the code that travels."""

import pytest

from fieldpost.wire.errors import (
    FieldpostError,
    LocalProtocolError,
    Malformed,
    RemoteProtocolError,
    TooLarge,
    WireError,
)


@pytest.mark.parametrize(("error", "code"), [(Malformed("x"), "malformed"), (TooLarge("x"), "too-large")])
def test_a_peers_fault_has_its_code_and_a_text(error: RemoteProtocolError, code: str) -> None:
    """The code is for programs, the text for people."""
    assert (error.code, str(error)) == (code, "x")


def test_whose_fault_it_is_can_be_told_apart() -> None:
    """Whoever catches one kind does not catch the other; whoever catches ours catches all of ours."""
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert issubclass(LocalProtocolError, WireError)
    assert issubclass(RemoteProtocolError, WireError)
    assert issubclass(WireError, FieldpostError)
