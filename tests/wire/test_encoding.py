"""Either encoding is known by its media type, and carries the same maps."""

import pytest

from fieldpost.wire.cbor import DEFAULT_LIMITS
from fieldpost.wire.encoding import BPICKLE_TYPE, CBOR_TYPE, ENCODINGS


@pytest.mark.parametrize("media_type", [CBOR_TYPE, BPICKLE_TYPE])
def test_an_encoding_reads_what_it_writes(media_type: str) -> None:
    """Octets and text stay apart in both."""
    encoding = ENCODINGS[media_type]
    value = {"sequence": 3, "server-api": b"3.3", "messages": [{"type": "text", "when": None, "load": 0.5}]}

    assert encoding.media_type == media_type
    assert encoding.decode(encoding.encode(value), DEFAULT_LIMITS) == value
