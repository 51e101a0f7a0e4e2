"""What the broker does about the server's messages (landscape 1.5)."""

from typing import Any

import pytest
from twisted.logger import capturedLogs

from fieldpost.broker.schedule import MAX_INTERVAL, MIN_INTERVAL
from fieldpost.wire.message import Message
from fieldpost.wire.payload import ServerPayload
from tests.broker.fakes import ACCOUNT, Rig, ScriptedTransport, payload, says, started
from tests.broker.store.stores import add_values, open_store

URGENT = 60.0


def hearing(*messages: Message, **parts: Any) -> tuple[Rig, ScriptedTransport]:
    """A rig whose first answer, which it has, brought these; nothing in the next."""
    rig, transport = started(says(*messages), says(), **parts)
    rig.run()
    return rig, transport


def types(*names: str) -> Message:
    return {"type": "accepted-types", "types": list(names)}


# accepted-types


def test_accepted_types_replace_the_list() -> None:
    """The list is kept sorted, and its digest goes to the server from then on."""
    rig, transport = hearing(types("b", "a", "b"))

    rig.run()

    assert rig.store.state().accepted_types == ("a", "b")
    assert transport.requests[0].payload.accepted_types != transport.last.accepted_types


def test_accepted_types_are_told_and_logged() -> None:
    """Plugins hear what changed, type by type; the log shows it in one line."""
    with capturedLogs() as logs:
        rig, _ = hearing(types("disk", "new"), store=open_store(accept=("disk", "load")))

    assert rig.heard("message-type-acceptance-changed") == [
        {"type": "new", "accepted": True},
        {"type": "load", "accepted": False},
    ]
    assert [entry["changes"] for entry in logs if "changes" in entry] == ["+new disk -load"]


def test_accepted_types_release_what_waits_at_once() -> None:
    """Messages that were held go in the next exchange, which comes at once."""
    store = open_store(accept=())
    add_values(store, range(3))

    _, transport = hearing(types("load"), store=store)

    assert transport.sent == [[], [0, 1, 2]]


def test_accepted_types_with_nothing_pending() -> None:
    """There is nothing to hurry for."""
    _, transport = hearing(types("load"), store=open_store(accept=()))

    assert len(transport.requests) == 1


def test_accepted_types_that_change_nothing() -> None:
    """A server that repeats itself in each answer neither wakes plugins nor makes us hurry."""
    store = open_store(accept=("load",))
    add_values(store, range(3))

    rig, transport = started(says(types("load"), expected=0), store=store)
    rig.run()

    assert rig.heard("message-type-acceptance-changed") == []
    assert len(transport.requests) == 1


# set-id


def test_set_id() -> None:
    """The identity is kept and shown from then on; plugins hear it and tell all afresh; the next exchange is at once."""
    rig, transport = hearing({"type": "set-id", "id": b"secret", "insecure-id": 7})

    state = rig.store.state()
    assert (state.secure_id, state.insecure_id) == (b"secret", 7)
    assert rig.heard("registration-done") == [{"insecure-id": 7}]
    assert rig.heard("resynchronize-clients") == [{"scopes": None}]
    assert [request.secure_id for request in transport.requests] == [None, b"secret"]


def test_set_id_keeps_a_missing_insecure_id() -> None:
    """A server that leaves the public number out does not take it away."""
    rig, _ = hearing(
        {"type": "set-id", "id": b"secret", "insecure-id": 7}, {"type": "set-id", "id": b"other"}
    )

    assert rig.store.state().insecure_id == 7


def test_set_id_twice() -> None:
    """The same identity again changes nothing."""
    rig, _ = hearing(*[{"type": "set-id", "id": b"secret", "insecure-id": 7}] * 2)

    assert len(rig.heard("registration-done")) == 1


@pytest.mark.parametrize(
    ("said", "kept"), [("7", 7), (b"7", 7), ([7], None), (2**80, None), ("²", None), ("9" * 30, None)]
)
def test_set_id_with_odd_insecure_ids(said: Any, kept: int | None) -> None:
    """A public number of another form is read if it is one, and never costs us the identity."""
    rig, _ = hearing({"type": "set-id", "id": b"secret", "insecure-id": said})

    state = rig.store.state()
    assert (state.secure_id, state.insecure_id) == (b"secret", kept)


def test_set_id_in_text() -> None:
    """Text in place of octets is read (landscape 1.6)."""
    rig, _ = hearing({"type": "set-id", "id": "secret"})

    assert rig.store.state().secure_id == b"secret"


# unknown-id


def known(**parts: Any) -> Any:
    store = open_store()
    store.set_identity(secure_id=b"secret", insecure_id=7)
    return {"store": store, "account": ACCOUNT, **parts}


def test_unknown_id_registers_at_once() -> None:
    """The identity is gone, and the next exchange, at once, asks for a new one."""
    rig, transport = hearing({"type": "unknown-id"}, **known())

    assert rig.store.state().secure_id is None
    assert [request.secure_id for request in transport.requests] == [b"secret", None]
    assert transport.types == [[], ["register"]]


def test_unknown_id_lets_nothing_else_out() -> None:
    """A server that does not know whose messages they are gets none."""
    parts = known()
    add_values(parts["store"], range(3))

    rig, transport = started(says({"type": "unknown-id"}, expected=0), says(), **parts)
    rig.run()

    assert rig.store.state().accepted_types == ("register",)
    assert transport.types == [["load"] * 3, ["register"]]
    assert rig.store.status().held == 3


def test_unknown_id_of_a_clone() -> None:
    """A clone becomes somebody new, and says which identity it had."""
    rig, transport = started(says({"type": "unknown-id", "clone-of": "Press 7"}), says(), **known())
    before = rig.store.state().registration_id

    rig.run()

    state = rig.store.state()
    assert state.registration_id != before
    assert (state.secure_id, state.clone_secure_id) == (None, b"secret")
    assert transport.last.messages[0]["clone_secure_id"] == "secret"


@pytest.mark.parametrize("title", [b"octets", 7, ["a"], "two\nlines"])
def test_unknown_id_with_an_odd_title(title: Any) -> None:
    """An odd title does not leave us with an identity that is none, nor our log in disorder."""
    rig, _ = hearing({"type": "unknown-id", "clone-of": title}, **known())

    assert rig.store.state().secure_id is None
    assert rig.report()["registration"]["cause"].isprintable()


def test_unknown_id_without_an_identity() -> None:
    """There is nothing to forget, and nothing to hurry for."""
    rig, transport = hearing({"type": "unknown-id"}, account=ACCOUNT)

    assert rig.until_next == 900.0
    assert len(transport.requests) == 1


def test_server_that_forgets_us_in_each_answer() -> None:
    """It is not asked as fast as it answers."""
    answers = [says({"type": "unknown-id"}), says({"type": "set-id", "id": b"a"}, types("register"))] * 500
    rig, transport = started(*answers, **known())

    rig.run()
    rig.clock.pump([0.0] * 100)

    assert len(transport.requests) < 12
    assert rig.until_next == URGENT


# registration


def test_registration_is_refused() -> None:
    """Plugins hear it; the log says what to do."""
    with capturedLogs() as logs:
        rig, _ = hearing({"type": "registration", "info": "max-pending-computers"})

    ((details),) = rig.heard("registration-failed")
    assert details["info"] == "max-pending-computers"
    assert "operator" in details["next-step"]
    assert any("max-pending-computers" in entry.get("info", "") for entry in logs)


# resynchronize


def test_resynchronize_everything() -> None:
    """All sessions end, the answer with the operation's id is queued, plugins hear it, and it is urgent."""
    store = open_store()
    session = store.open_session("plugin-1", "load")

    rig, transport = hearing({"type": "resynchronize", "operation-id": 7}, store=store)

    assert store.open_session("plugin-1", "load") != session
    assert rig.heard("resynchronize-clients") == [{"scopes": None}]
    assert rig.until_next == URGENT
    rig.run()
    (message,) = transport.last.messages
    assert (message["type"], message["operation-id"]) == ("resynchronize", 7)


def test_resynchronize_scopes() -> None:
    """Only the sessions of these scopes end."""
    store = open_store()
    load, disk = (store.open_session("plugin-1", scope) for scope in ("load", "disk"))

    rig, _ = hearing({"type": "resynchronize", "operation-id": 7, "scopes": ["load"]}, store=store)

    assert store.open_session("plugin-1", "disk") == disk
    assert store.open_session("plugin-1", "load") != load
    assert rig.heard("resynchronize-clients") == [{"scopes": ["load"]}]


def test_resynchronize_no_scopes_is_all() -> None:
    """An empty list of scopes means what no list means."""
    rig, _ = hearing({"type": "resynchronize", "operation-id": 7, "scopes": []})

    assert rig.heard("resynchronize-clients") == [{"scopes": None}]


# set-intervals


def test_set_intervals() -> None:
    """The server's intervals count from the exchange that brought them, and survive a restart."""
    rig, _ = hearing({"type": "set-intervals", "exchange": 300, "urgent-exchange": 20, "ping": 5})
    assert rig.until_next == 300.0

    again, _ = started(store=rig.store, clock=rig.clock)

    assert (again.timetable.intervals.normal, again.timetable.intervals.urgent) == (300.0, 20.0)


def test_set_one_interval() -> None:
    """The other one stays as the server set it before."""
    rig, _ = hearing(
        {"type": "set-intervals", "urgent-exchange": 20}, {"type": "set-intervals", "exchange": 300}
    )

    assert (rig.timetable.intervals.normal, rig.timetable.intervals.urgent) == (300.0, 20.0)


@pytest.mark.parametrize(
    ("said", "kept"), [(5, 5), (0, MIN_INTERVAL), (-900, MIN_INTERVAL), (10**12, MAX_INTERVAL)]
)
def test_l11_set_intervals_is_clamped(said: int, kept: float) -> None:
    """No interval stops exchanges, after a restart neither (fault L11)."""
    rig, transport = hearing({"type": "set-intervals", "exchange": said, "urgent-exchange": said})
    assert rig.until_next == kept

    rig.clock.pump([kept / 2] * 4)

    assert len(transport.requests) == 3
    assert rig.store.state().exchange_interval == kept


def test_octets_are_read_where_text_is_due() -> None:
    """And the reverse: Landscape's servers mix them up, and its client does not survive it (landscape 1.6, fault L10)."""
    store = open_store(accept=("receipt",))
    rig, _ = hearing(
        {"type": "accepted-types", "types": [b"load", "disk"]},
        {"type": "set-id", "id": "secure", "insecure-id": b"42"},
        {"type": "registration", "info": b"unknown-account"},
        {"type": "resynchronize", "operation-id": 7, "scopes": [b"cpu"]},
        store=store,
    )

    state = store.state()
    assert (state.accepted_types, state.secure_id, state.insecure_id) == (("disk", "load"), b"secure", 42)
    assert rig.heard("registration-failed")[0]["info"] == "unknown-account"
    assert rig.heard("resynchronize-clients")[-1] == {"scopes": ["cpu"]}
    assert store.dead_letters(9) == []


# What cannot be taken

POISON: list[Message] = [
    {"type": "accepted-types"},
    {"type": "accepted-types", "types": "load"},
    {"type": "accepted-types", "types": [b"\xff"]},
    {"type": "accepted-types", "types": ["a;b"]},
    {"type": "accepted-types", "types": [""]},
    {"type": "accepted-types", "types": ["x" * 65]},
    {"type": "accepted-types", "types": [f"type-{n}" for n in range(1_001)]},
    {"type": "set-id"},
    {"type": "set-id", "id": None},
    {"type": "set-id", "id": b""},
    {"type": "set-id", "id": b"two words"},
    {"type": "set-id", "id": b"line\r\nX-Evil: 1"},
    {"type": "set-id", "id": "é"},
    {"type": "set-id", "id": b"x" * 2_000},
    {"type": "registration"},
    {"type": "registration", "info": 7},
    {"type": "resynchronize"},
    {"type": "resynchronize", "operation-id": "7"},
    {"type": "resynchronize", "operation-id": 2**62},
    {"type": "resynchronize", "operation-id": 2**70},
    {"type": "resynchronize", "operation-id": 7, "scopes": "load"},
    {"type": "resynchronize", "operation-id": 7, "scopes": [7]},
    {"type": "resynchronize", "operation-id": 7, "scopes": ["s"] * 1_001},
    {"type": "set-intervals", "exchange": "5"},
    {"type": "set-intervals", "exchange": 5.5},
    {"type": "set-intervals", "urgent-exchange": True},
]


@pytest.mark.parametrize("poison", POISON, ids=str)
def test_l6_poison_is_set_aside(poison: Message) -> None:
    """It is journaled, logged with its cause and reported, changes nothing, and the stream goes on (fault L6)."""
    before = open_store(accept=("receipt", "operation-result")).state()
    store = open_store(accept=("receipt", "operation-result"))

    with capturedLogs() as logs:
        rig, transport = hearing(poison, {"type": "set-intervals", "exchange": 300}, store=store)

    assert rig.timetable.intervals.normal == 300
    (dead,) = store.dead_letters(9)
    assert dead.type == poison["type"]
    assert any(entry.get("reason") for entry in logs)
    state = store.state()
    assert (state.accepted_types, state.secure_id) == (before.accepted_types, before.secure_id)
    rig.run()
    (report,) = transport.last.messages
    assert report["type"] in ("receipt", "operation-result")
    assert rig.report()["exchange"]["failing"] is False


@pytest.mark.parametrize(
    "wreck", [7, "text", [], {}, {"type": 7}, {"type": "", "a": 1}, {b"type": "octets"}], ids=str
)
def test_l6_what_is_no_message_is_set_aside(wreck: Any) -> None:
    """Something in the list of messages that is none does not spoil the answer (fault L6)."""
    plain = payload().to_map()
    found = ServerPayload.from_map({**plain, "messages": [wreck, {"type": "set-intervals", "exchange": 300}]})

    rig, _ = hearing(*found.messages)

    assert rig.timetable.intervals.normal == 300
    assert rig.record.unusable == 1
    assert rig.store.state().server_sequence == 2


@pytest.mark.parametrize("message", POISON[:1] + [types("load"), {"type": "set-id", "id": b"x"}], ids=str)
def test_l7_delivered_twice(message: Message) -> None:
    """The same message again, under its own number, does no harm (fault L7)."""
    rig, _ = hearing(message, message)

    assert rig.store.status().incoming == 0
    assert rig.report()["exchange"]["failing"] is False
