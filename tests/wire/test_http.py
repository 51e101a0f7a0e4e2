"""What a header carries is what a header can carry."""

import pytest

from fieldpost.wire.http import MAX_CREDENTIAL_OCTETS, is_credential


@pytest.mark.parametrize("octets", [b"t", b"!~", b"0" * MAX_CREDENTIAL_OCTETS])
def test_visible_ascii_may_be_a_credential(octets: bytes) -> None:
    """Secure ids and tokens are made of it."""
    assert is_credential(octets)


@pytest.mark.parametrize(
    "octets", [b"", b" ", b"a b", b"a\r\nX-Computer-ID: b", b"a\n", b"\x00", b"\x7f", b"\xff", b"0" * 129]
)
def test_what_would_change_or_leave_its_header_may_not(octets: bytes) -> None:
    """Blanks, line ends, controls, octets above ASCII, and more than a header should hold."""
    assert not is_credential(octets)
