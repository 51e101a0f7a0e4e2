"""The payloads of an exchange: every field there and back, every wrong one named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.api import CLIENT_API, NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.bpickle import decode as decode_bpickle
from fieldpost.wire.bpickle import encode as encode_bpickle
from fieldpost.wire.cbor import Limits, decode, encode
from fieldpost.wire.digest import types_digest
from fieldpost.wire.errors import Malformed
from fieldpost.wire.local import MAX_MESSAGE_DEPTH, Deliver
from fieldpost.wire.payload import (
    MAX_SEQUENCE,
    MAX_TYPES,
    MAX_UUID_LENGTH,
    WRECK,
    ClientPayload,
    ServerPayload,
)
from fieldpost.wire.schema import from_map, to_map

from .values import messages, same, types, values

numbers = st.integers(-MAX_SEQUENCE, MAX_SEQUENCE)
levels = st.builds(ApiLevel, st.integers(0, 9_999), st.integers(0, 9_999))
digests = st.binary(min_size=16, max_size=16)
message_tuples = st.lists(messages, max_size=3).map(tuple)
client_payloads = st.builds(
    ClientPayload,
    accepted_types=digests,
    client_accepted_types=st.none() | st.lists(types, max_size=4).map(tuple),
    client_api=levels,
    messages=message_tuples,
    next_expected_sequence=numbers,
    sequence=numbers,
    server_api=levels,
    total_messages=st.integers(0, 2**63 - 1),
)
server_payloads = st.builds(
    ServerPayload,
    server_api=levels,
    server_uuid=st.text(min_size=1, max_size=MAX_UUID_LENGTH),
    messages=message_tuples,
    next_expected_sequence=st.none() | numbers,
    next_exchange_token=st.none() | st.text("abc019-!~", min_size=1, max_size=128).map(str.encode),
    client_accepted_types_hash=st.none() | digests,
)

REQUEST: dict[str, Any] = {
    "accepted-types": types_digest(["register"]),
    "client-accepted-types": ["accepted-types", "set-id"],
    "client-api": b"3.8",
    "messages": [{"type": "register", "api": b"3.3", "timestamp": 12}],
    "next-expected-sequence": 3,
    "sequence": 10,
    "server-api": b"3.3",
    "total-messages": 1,
}
ANSWER: dict[str, Any] = {
    "server-api": b"3.3",
    "server-uuid": "the-server",
    "messages": [{"type": "set-id", "id": b"secret", "insecure-id": 1}],
    "next-expected-sequence": 11,
    "next-exchange-token": b"token",
    "client-accepted-types-hash": types_digest(["set-id", "accepted-types"]),
}


# There and back


@given(client_payloads)
def test_a_request_survives_the_way_there_and_back(payload: ClientPayload) -> None:
    """Through CBOR, with every field."""
    assert same(ClientPayload.from_map(decode(encode(payload.to_map()))), payload)


@given(server_payloads)
def test_an_answer_survives_the_way_there_and_back(payload: ServerPayload) -> None:
    """Through CBOR, with every field."""
    assert same(ServerPayload.from_map(decode(encode(payload.to_map()))), payload)


def test_a_request_is_the_map_that_landscape_describes() -> None:
    """Levels and digests are octets, types are text (landscape 1.3)."""
    payload = ClientPayload(
        accepted_types=types_digest(["register"]),
        client_accepted_types=("accepted-types", "set-id"),
        messages=({"type": "register", "api": b"3.3", "timestamp": 12},),
        next_expected_sequence=3,
        sequence=10,
        server_api=NEWEST_SERVER_API,
        total_messages=1,
    )

    assert payload.to_map() == REQUEST
    assert ClientPayload.from_map(REQUEST) == payload


def test_an_answer_is_the_map_that_landscape_describes() -> None:
    """Landscape 1.4."""
    payload = ServerPayload.from_map(ANSWER)

    assert payload.server_api == NEWEST_SERVER_API
    assert payload.next_exchange_token == b"token"
    assert payload.to_map() == ANSWER


def test_both_encodings_carry_the_same_maps() -> None:
    """What is octets here is octets there (landscape 1.2)."""
    for written, payload in ((REQUEST, ClientPayload), (ANSWER, ServerPayload)):
        assert payload.from_map(decode_bpickle(encode_bpickle(written))).to_map() == written


def test_the_agents_types_go_along_only_when_they_are_given() -> None:
    """An agent leaves them out while the server has their digest."""
    written = {key: item for key, item in REQUEST.items() if key != "client-accepted-types"}

    payload = ClientPayload.from_map(written)

    assert payload.client_accepted_types is None
    assert payload.to_map() == written


def test_an_answer_may_leave_out_what_is_optional() -> None:
    """Without a number everything sent is accepted; without a token none is shown next time."""
    payload = ServerPayload.from_map({"server-api": "3.2", "server-uuid": "u", "messages": []})

    assert payload.server_api == OLDEST_SERVER_API
    assert payload.next_expected_sequence is None
    assert payload.next_exchange_token is None
    assert payload.client_accepted_types_hash is None
    assert payload.to_map() == {"server-api": b"3.2", "server-uuid": "u", "messages": []}


def test_an_agent_that_does_not_say_its_api_is_taken_for_one_like_us() -> None:
    """Nothing depends on it yet."""
    written = {key: item for key, item in REQUEST.items() if key != "client-api"}

    assert ClientPayload.from_map(written).client_api == CLIENT_API


def test_levels_and_uuids_are_read_in_text_and_in_octets() -> None:
    """A Landscape server sends them either way (landscape 1.4)."""
    either = ServerPayload.from_map({**ANSWER, "server-api": "3.3", "server-uuid": b"the-server"})

    assert either == ServerPayload.from_map(ANSWER)


def test_unknown_fields_are_ignored() -> None:
    """So either side can be the newer one."""
    assert ClientPayload.from_map({**REQUEST, "new": 1}) == ClientPayload.from_map(REQUEST)
    assert ServerPayload.from_map({**ANSWER, "new": 1}) == ServerPayload.from_map(ANSWER)


def test_numbers_may_be_negative() -> None:
    """A server may ask for one, and then the agent goes on from there (landscape 1.8)."""
    assert ServerPayload.from_map({**ANSWER, "next-expected-sequence": -1}).next_expected_sequence == -1
    assert ClientPayload.from_map({**REQUEST, "sequence": -1}).sequence == -1


def test_the_deepest_message_fits_into_a_payload() -> None:
    """What a plugin's broker takes, the broker can send, and the server can read; and deliver, the other way."""
    value: Any = 0
    for _ in range(MAX_MESSAGE_DEPTH - 1):
        value = [value]
    message = {"type": "deep", "value": value}
    decode(encode(message), Limits(depth=MAX_MESSAGE_DEPTH))

    request = ClientPayload.from_map(decode(encode({**REQUEST, "messages": [message]})))
    delivery = from_map(Deliver, decode(encode(to_map(Deliver(plugin="p", number=1, message=message)))))

    assert request.messages == (message,)
    assert delivery.message == message


# What is wrong

SAMPLES: list[Any] = [None, True, 1, 1.5, "text", b"octets", [], {}]
RIGHT_KINDS: dict[str, tuple[type, ...]] = {
    "accepted-types": (bytes,),
    "client-accepted-types": (list, type(None)),
    "client-api": (bytes, str),
    "messages": (list,),
    "next-expected-sequence": (int,),
    "sequence": (int,),
    "server-api": (bytes, str),
    "total-messages": (int,),
    "server-uuid": (str, bytes),
    "next-exchange-token": (bytes, str, type(None)),
    "client-accepted-types-hash": (bytes, type(None)),
}
OPTIONAL_IN_ANSWER = ("next-expected-sequence",)
FIELDS = [(ClientPayload, REQUEST, name) for name in REQUEST] + [
    (ServerPayload, ANSWER, name) for name in ANSWER
]
Payload = type[ClientPayload] | type[ServerPayload]


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
@pytest.mark.parametrize(
    ("payload", "written", "name"), FIELDS, ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_wrong_type_in_any_field_is_malformed_and_named(
    payload: Payload, written: dict[str, Any], name: str, sample: Any
) -> None:
    """The error says which field, and what it must be."""
    if type(sample) in RIGHT_KINDS[name] or (
        sample is None and payload is ServerPayload and name in OPTIONAL_IN_ANSWER
    ):
        return
    with pytest.raises(Malformed, match=f"^`{name}` must be "):
        payload.from_map({**written, name: sample})


@pytest.mark.parametrize(
    ("payload", "written", "name"), FIELDS, ids=lambda part: part if isinstance(part, str) else ""
)
def test_a_missing_field_is_malformed_and_named_unless_it_is_optional(
    payload: Payload, written: dict[str, Any], name: str
) -> None:
    """Landscape 1.3 and 1.4 say which are optional."""
    optional = {
        ClientPayload: ("client-accepted-types", "client-api"),
        ServerPayload: ("next-expected-sequence", "next-exchange-token", "client-accepted-types-hash"),
    }
    rest = {key: item for key, item in written.items() if key != name}

    if name in optional[payload]:
        payload.from_map(rest)
    else:
        with pytest.raises(Malformed, match=f"^`{name}` is missing$"):
            payload.from_map(rest)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("accepted-types", b"x" * 15, "`accepted-types` must be 16 octets, not 15"),
        ("client-accepted-types", [b"a"], "`client-accepted-types`[0] must be text, not octets"),
        ("client-accepted-types", ["a", "b;c"], "`client-accepted-types`[1] must be 1 to 64 printable characters"),
        ("client-accepted-types", ["a"] * (MAX_TYPES + 1), "`client-accepted-types` must hold at most 1000 types"),
        ("client-api", b"\xff", "`client-api`: not an API level"),
        ("messages", [{"type": "a"}, 3], "`messages`[1]: a message must be a map, not int"),
        ("messages", [{"type": b"a"}], "`messages`[0]: a message needs a `type` that is text"),
        ("sequence", MAX_SEQUENCE + 1, "`sequence` must be from -9007199254740992 to 9007199254740992"),
        ("next-expected-sequence", 2**80, "`next-expected-sequence` must be from "),
        ("server-api", "3", "`server-api`: not an API level: '3'; expected digits, a dot, digits"),
        ("total-messages", -1, "`total-messages` must be from 0 to "),
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_request_is_malformed_and_named(name: str, value: Any, fault: str) -> None:
    """Lengths, counts and ranges are bounded."""
    with pytest.raises(Malformed) as caught:
        ClientPayload.from_map({**REQUEST, name: value})

    assert str(caught.value).startswith(fault)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("server-uuid", "", "`server-uuid` must have 1 to 128 characters, not 0"),
        ("server-uuid", "x" * 129, "`server-uuid` must have 1 to 128 characters, not 129"),
        ("server-uuid", b"\xff", "`server-uuid` must be text, not octets"),
        ("next-expected-sequence", -(2**80), "`next-expected-sequence` must be from "),
        ("next-exchange-token", b"", "`next-exchange-token` must be 1 to 128 octets of visible ASCII"),
        ("next-exchange-token", b"a\r\nX-Computer-ID: b", "`next-exchange-token` must be 1 to 128 octets"),
        ("client-accepted-types-hash", b"", "`client-accepted-types-hash` must be 16 octets, not 0"),
    ],
)
def test_a_wrong_value_in_an_answer_is_malformed_and_named(name: str, value: Any, fault: str) -> None:
    """Above all what would go into a header or a database next."""
    with pytest.raises(Malformed) as caught:
        ServerPayload.from_map({**ANSWER, name: value})

    assert str(caught.value).startswith(fault)


@given(values)
def test_any_value_at_all_is_a_payload_or_malformed(value: Any) -> None:
    """Whatever a body decodes to."""
    for payload in (ClientPayload, ServerPayload):
        with pytest.raises(Malformed):
            payload.from_map(value)


@given(st.dictionaries(st.sampled_from(list(ANSWER)), values))
def test_an_answer_of_any_values_is_an_answer_or_malformed(fields: dict[str, Any]) -> None:
    """Whatever is wrong in it, and however much."""
    try:
        ServerPayload.from_map({**ANSWER, **fields})
    except Malformed as error:
        assert any(str(error).startswith(f"`{name}`") for name in fields)


# Wrecks


@given(st.lists(messages | values, max_size=5))
def test_what_stands_for_a_message_and_is_none_does_not_spoil_the_answer(items: list[Any]) -> None:
    """It is kept in its place, so that the stream goes on behind it (fault L6)."""
    payload = ServerPayload.from_map({**ANSWER, "messages": items})

    assert len(payload.messages) == len(items)
    for item, message in zip(items, payload.messages, strict=True):
        assert same(message, item) or (message["type"] == WRECK and message["cause"])


def test_a_wreck_says_what_was_wrong() -> None:
    """For the log, and for the server's operator."""
    payload = ServerPayload.from_map({**ANSWER, "messages": [{"type": "a"}, {"no": "type"}, {"type": "b"}]})

    assert payload.messages == (
        {"type": "a"},
        {"type": "malformed-message", "cause": "a message needs a `type` that is text"},
        {"type": "b"},
    )


def test_a_servers_types_and_token_may_be_octets_or_text() -> None:
    """Landscape's servers write either (landscape 1.4, 1.6); what comes out is always the same."""
    written = {
        "server-api": b"3.3",
        "server-uuid": b"uuid",
        "messages": [{"type": b"set-id"}, {"type": b"\xff"}],
        "next-exchange-token": "token",
    }

    payload = ServerPayload.from_map(written)

    assert (payload.server_uuid, payload.next_exchange_token) == ("uuid", b"token")
    assert [message["type"] for message in payload.messages] == ["set-id", "malformed-message"]
