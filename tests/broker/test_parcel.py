"""What one payload carries."""

from fieldpost.broker.parcel import pack
from fieldpost.broker.store.records import NewMessage
from fieldpost.broker.store.store import Store
from fieldpost.wire import bpickle, cbor
from fieldpost.wire.digest import types_digest
from tests.broker.store.stores import ACCEPTED, NEWER_API, START, add, add_values, answer, begin, open_store

TYPES = ("accepted-types", "set-id")


def packed(store: Store) -> list[object]:
    """The messages of the next payload, by value."""
    return [message.get("value") for message in pack(store, max_messages=100, max_octets=10**6).messages]


def spoilt(body: bytes) -> NewMessage:
    """A message that was one when it was stored, and is this now."""
    return NewMessage(type="load", body=body, timestamp=START)


def test_all_fields() -> None:
    """The payload says how far both sides are and which types each takes; identity and token go beside it."""
    store = open_store()
    store.set_identity(secure_id=b"secret", insecure_id=None)
    begin(store)
    store.commit_answer(answer(None, {"type": "x"}, token=b"token"))
    add_values(store, range(3))

    request = pack(store, max_messages=2, max_octets=10**6).request(TYPES)

    assert (request.secure_id, request.token) == (b"secret", b"token")
    found = request.payload
    assert found.accepted_types == types_digest(ACCEPTED)
    assert found.client_accepted_types == TYPES
    assert (found.sequence, found.next_expected_sequence, found.total_messages) == (0, 1, 3)
    assert found.messages == (
        {"type": "load", "value": 0, "api": b"3.2", "timestamp": START},
        {"type": "load", "value": 1, "api": b"3.2", "timestamp": START},
    )


def test_types_go_along_until_the_server_has_them() -> None:
    """Once the server's digest of our types is right, they are not repeated."""
    store = open_store()
    begin(store)
    store.commit_answer(answer(None, client_types_hash=types_digest(TYPES)))

    parcel = pack(store, max_messages=2, max_octets=10**6)

    assert parcel.request(TYPES).payload.client_accepted_types is None
    assert parcel.request((*TYPES, "new")).payload.client_accepted_types == (*TYPES, "new")


def test_a_payload_is_of_one_level() -> None:
    """All its messages, and the payload itself, say the level at which they were queued."""
    store = open_store()
    add_values(store, range(1))
    begin(store)
    store.commit_answer(answer(0, server_api=NEWER_API))
    add_values(store, range(1, 2))

    first = pack(store, max_messages=9, max_octets=10**6)
    store.commit_answer(answer(server_api=NEWER_API))
    second = pack(store, max_messages=9, max_octets=10**6)

    assert [message["api"] for message in first.messages + second.messages] == [b"3.2", b"3.3"]
    assert (str(first.outgoing.api), str(second.outgoing.api)) == ("3.2", "3.3")


def test_emptied() -> None:
    """A payload without the messages is as far as the other, and shows no token twice."""
    store = open_store()
    begin(store)
    store.commit_answer(answer(token=b"token"))
    add_values(store, range(1))
    parcel = pack(store, max_messages=2, max_octets=10**6)

    request = parcel.emptied().request(TYPES)

    assert (request.token, request.payload.messages) == (None, ())
    assert request.payload.sequence == parcel.outgoing.sequence


def test_l13_spoilt_messages_are_set_aside() -> None:
    """What the disk has spoilt stops nothing that is behind it, and is not forgotten silently (fault L13)."""
    store = open_store()
    deep = b"\x81" * 10_000 + b"\x00"
    add_values(store, range(1))
    add(
        store,
        spoilt(b""),
        spoilt(b"\xff"),
        spoilt(cbor.encode([1])),
        spoilt(cbor.encode({"no": "type"})),
        spoilt(deep),
    )
    add_values(store, range(1, 2))

    found = packed(store)

    assert [value for value in found if value is not None] == [0, 1]
    assert len(store.dead_letters(99)) == 5
    assert all("the disk has spoilt it" in dead.reason for dead in store.dead_letters(99))


def test_l13_nothing_but_spoilt_messages() -> None:
    """A store full of them, even of spoilt receipts, still makes a payload."""
    store = open_store(accept=("load",))
    add(store, *[spoilt(b"\xff")] * 20)

    assert packed(store) == []


def landscape_store() -> Store:
    """A store whose server is Landscape's, of the newest level, and knows us."""
    store = open_store(accept=("text-message", "computer-info", "cpu-usage", "network-activity", "mine"))
    store.speak_landscape(True)
    store.set_identity(secure_id=b"secret", insecure_id=1)
    store.commit_answer(answer(0, server_api=NEWER_API))
    return store


def queued(**message: object) -> NewMessage:
    return NewMessage(type=str(message["type"]), body=cbor.encode({**message}), timestamp=START)


def test_landscape_gets_what_its_schema_knows() -> None:
    """Fields of no declaration are left out, text and octets put right; types of no declaration go as they are."""
    store = landscape_store()
    add(
        store,
        queued(type="computer-info", hostname=b"press-7", colour="red"),
        queued(type="mine", colour=b"red"),
    )

    first, second = pack(store, max_messages=9, max_octets=10**6).messages

    assert first == {"type": "computer-info", "hostname": "press-7", "api": b"3.3", "timestamp": START}
    assert second == {"type": "mine", "colour": b"red", "api": b"3.3", "timestamp": START}


def test_what_landscape_would_not_take_is_set_aside() -> None:
    """Those behind it go; the reason names the field."""
    store = landscape_store()
    add(store, queued(type="text-message", message=7), queued(type="text-message", message="hello"))

    parcel = pack(store, max_messages=9, max_octets=10**6)

    assert (parcel.outgoing.sequence, [m["message"] for m in parcel.messages]) == (0, ["hello"])
    (dead,) = store.dead_letters(9)
    assert dead.reason == "Landscape's servers do not take it: `message` must be text, not an integer"


def test_rows_of_figures_go_to_landscape_as_tuples() -> None:
    """As its client writes them; our own server gets lists, which is all that CBOR has."""
    store = landscape_store()
    add(
        store,
        queued(type="cpu-usage", **{"cpu-usages": [[300, 0.25], [600, 1.0]]}),
        queued(type="network-activity", activities={"eth0": [[300, 1, 2]]}),
    )

    usage, activity = pack(store, max_messages=9, max_octets=10**6).messages

    assert bpickle.encode(usage["cpu-usages"]) == b"lti300;f0.25;;ti600;f1.0;;;"
    assert bpickle.encode(activity["activities"]) == b"ds4:eth0lti300;i1;i2;;;;"


def test_what_bpickle_cannot_carry_is_set_aside() -> None:
    """It would make every payload fail that it is in (fault L13)."""
    store = landscape_store()
    add(store, queued(type="mine", colours={1: "red", "b": "blue"}), queued(type="mine", colour="red"))

    (message,) = pack(store, max_messages=9, max_octets=10**6).messages

    assert message["colour"] == "red"
    (dead,) = store.dead_letters(9)
    assert dead.reason.endswith("does not travel: keys of one map must be of one type")
