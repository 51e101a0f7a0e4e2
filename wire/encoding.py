"""The encodings of an exchange's payloads: the same maps as CBOR, our own, or as bpickle, Landscape's."""

from collections.abc import Callable

from attrs import frozen

from . import bpickle, cbor
from .cbor import Limits, Value

BPICKLE_TYPE = "application/octet-stream"
CBOR_TYPE = "application/cbor"


@frozen
class Encoding:
    """How values become octets; `media_type` is what HTTP calls the octets."""

    media_type: str
    encode: Callable[[Value], bytes]
    """Raises LocalProtocolError for what does not travel."""
    decode: Callable[[bytes, Limits], Value]
    """Raises Malformed and TooLarge."""


CBOR = Encoding(CBOR_TYPE, cbor.encode, cbor.decode)
BPICKLE = Encoding(BPICKLE_TYPE, bpickle.encode, bpickle.decode)
ENCODINGS = {encoding.media_type: encoding for encoding in (CBOR, BPICKLE)}
"""By media type."""
