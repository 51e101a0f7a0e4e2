"""Whatever octets come as a body, they are read or refused: no other error, no unbounded memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.server.parcel import Parcel, ParcelLimits, UnknownLevel, open_parcel
from fieldpost.wire import bpickle, cbor
from fieldpost.wire.compression import deflate
from fieldpost.wire.encoding import BPICKLE, CBOR, Encoding
from fieldpost.wire.errors import LocalProtocolError, Malformed, RemoteProtocolError, TooLarge
from tests.server.wired import client_payload, register_message
from tests.wire.values import values

MESSAGES = [
    {"type": "cpu-usage", "api": b"3.3", "timestamp": 5, "cpu-usages": [[300, 0.5]]},
    {"type": "operation-result", "operation-id": 7, "status": 6},
    register_message(),
]
WHOLE = client_payload(messages=MESSAGES, client_accepted_types=["a", "b"])


def open_map(value: Any, **limits: Any) -> Parcel:
    return open_octets(cbor.encode(value), **limits)


def open_octets(body: bytes, *, encoding: Encoding = CBOR, packed: bool = False, **limits: Any) -> Parcel:
    return open_parcel(
        body,
        encoding=encoding,
        packed=packed,
        level=None,
        secure_id=b"s",
        token=b"t",
        limits=ParcelLimits(**limits),
    )


def _in_bpickle(value: Any) -> bool:
    try:
        bpickle.decode(bpickle.encode(value))
    except (LocalProtocolError, RemoteProtocolError):
        return False
    return True


def test_read() -> None:
    """Each message is made ready, results are noted, and a registration, having a password, is not stored."""
    parcel = open_map(WHOLE)

    assert (parcel.secure_id, parcel.token, parcel.payload.sequence) == (b"s", b"t", 0)
    assert [item.row and item.row[0] for item in parcel.items] == ["cpu-usage", "operation-result", None]
    assert [item.result and item.result.operation for item in parcel.items] == [None, 7, None]


def test_packed() -> None:
    """A gzip body is unpacked."""
    assert open_map(WHOLE) == open_octets(deflate(cbor.encode(WHOLE)), packed=True)


def test_cut_at_every_octet() -> None:
    """A body that ends early is malformed, wherever it ends, packed or not."""
    body = cbor.encode(WHOLE)
    packed = deflate(body)

    for end in range(len(body)):
        with pytest.raises(Malformed):
            open_octets(body[:end])
    for end in range(len(packed)):
        with pytest.raises(Malformed):
            open_octets(packed[:end], packed=True)


def test_one_octet_changed() -> None:
    """A body with any octet changed is read or refused, never worse."""
    body = cbor.encode(WHOLE)

    for place in range(len(body)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            changed = bytearray(body)
            changed[place] ^= flip
            try:
                open_octets(bytes(changed))
            except (RemoteProtocolError, UnknownLevel):
                continue


@given(st.binary(max_size=200), st.booleans())
def test_garbage(octets: bytes, packed: bool) -> None:
    """Random octets are refused as malformed or too large."""
    with pytest.raises(RemoteProtocolError):
        open_octets(octets, packed=packed)


WRONG: tuple[Any, ...] = (None, True, -1, 2**64, 1.5, "text", b"octets", [], [1], {}, {"a": 1})


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_wrong_type_in_every_field(name: str) -> None:
    """Each field of the payload takes its own kind alone, and the refusal names it."""
    for wrong in WRONG:
        if type(wrong) is type(WHOLE[name]) or (name == "client-accepted-types" and wrong is None):
            continue
        if name in ("server-api", "client-api") and isinstance(wrong, (str, bytes)):
            continue
        with pytest.raises(Malformed, match=f"`{name}`"):
            open_map({**WHOLE, name: wrong})


@pytest.mark.parametrize(
    "name", ["accepted-types", "messages", "next-expected-sequence", "sequence", "server-api"]
)
def test_missing_field(name: str) -> None:
    """A payload without one of its fields is refused by the field's name."""
    with pytest.raises(Malformed, match=f"`{name}` is missing"):
        open_map({key: value for key, value in WHOLE.items() if key != name})


@pytest.mark.parametrize(
    "message", [None, 1, "a", [], {}, {"type": None}, {"type": b"a"}, {"type": ""}, {1: 2}]
)
def test_message_that_is_none(message: Any) -> None:
    """A message without a usable type is refused, with its place in the list."""
    with pytest.raises(Malformed, match=r"`messages`.*\[1\]"):
        open_map(client_payload(messages=[{"type": "a"}, message]))


@pytest.mark.parametrize("level", [b"3.1", b"3.4", b"4.0", "9.9"])
def test_level_that_we_do_not_have(level: Any) -> None:
    """A payload in another API level is not read on."""
    with pytest.raises(UnknownLevel):
        open_map(client_payload(server_api=level))


def test_number_at_the_end_of_numbers() -> None:
    """Numbers that would leave the database's integers are refused before they get there."""
    with pytest.raises(Malformed, match="sequence"):
        open_map(client_payload(sequence=2**63 - 2, messages=[{"type": "a"}]))


def test_too_many_messages() -> None:
    """More messages than allowed are too much."""
    with pytest.raises(TooLarge, match="2 messages"):
        open_map(client_payload(messages=[{"type": "a"}] * 2), messages=1)


def test_too_long() -> None:
    """The limit holds for what a body unpacks to, and a bomb is never unpacked whole."""
    bomb = deflate(b"\0" * 10_000_000)

    with pytest.raises(TooLarge, match="unpacks"):
        open_octets(bomb, packed=True, octets=100_000)
    with pytest.raises(TooLarge, match="allowed"):
        open_map(WHOLE, octets=10)


def test_too_many_items() -> None:
    """Short octets cannot stand for more values than memory has room for."""
    with pytest.raises(TooLarge, match="items"):
        open_map(client_payload(messages=[{"type": "a", "x": [0] * 1_000}]), items=500)


def test_too_deep() -> None:
    """Lists in lists in lists end somewhere."""
    body = cbor.encode(client_payload(messages=[{"type": "a", "x": "here"}]))

    with pytest.raises(TooLarge, match="deep"):
        open_octets(body.replace(cbor.encode("here"), b"\x81" * 200 + b"\0"))


def test_name_of_a_client_type_is_bounded() -> None:
    """The types that an agent handles have names, not novels."""
    with pytest.raises(Malformed, match="client-accepted-types"):
        open_map(client_payload(client_accepted_types=["x" * 65]))


def test_bpickle() -> None:
    """What is read from bpickle is what is read from CBOR, and is stored as CBOR; tuples become lists, no more."""
    message = {"type": "cpu-usage", "octets": b"\x00", "text": "\u00e9", "pairs": [(300, 0.5), (600, 1.0)]}
    value = client_payload(messages=[message, register_message()])

    parcel = open_octets(bpickle.encode(value), encoding=BPICKLE)

    stored, unstored = parcel.items
    assert unstored.row is None
    assert stored.row is not None
    assert cbor.decode(stored.row[2]) == {**message, "pairs": [[300, 0.5], [600, 1.0]]}
    assert (parcel.secure_id, parcel.numbered) == (b"s", True)


@given(st.dictionaries(st.text(max_size=10), values, max_size=3).filter(_in_bpickle))
def test_all_that_bpickle_carries_can_be_stored(fields: dict[str, Any]) -> None:
    """Whatever is read from bpickle is stored in octets that are read again."""
    message = {**fields, "type": "odd"}

    (item,) = open_octets(bpickle.encode(client_payload(messages=[message])), encoding=BPICKLE).items

    assert item.row is not None
    assert cbor.decode(item.row[2]).keys() == message.keys()


def test_bare_registration() -> None:
    """A payload of nothing but messages is read in Landscape's encoding alone, and its numbers do not count."""
    bare = {"messages": [register_message(), {"type": "a"}]}

    parcel = open_octets(bpickle.encode(bare), encoding=BPICKLE)

    assert (parcel.secure_id, parcel.token, parcel.numbered, parcel.items) == (None, None, False, ())
    with pytest.raises(Malformed, match="`accepted-types` is missing"):
        open_map(bare)
    with pytest.raises(TooLarge, match="2 messages"):
        open_octets(bpickle.encode(bare), encoding=BPICKLE, messages=1)
