"""What is counted on the way through the store."""

from collections.abc import Iterator

import pytest

from fieldpost.agent.tally import MAX_TYPES, OTHERS, TalliedStore, Tally
from fieldpost.broker.store.records import Answer, Batch, NewMessage, StoreLimits
from fieldpost.wire import cbor
from fieldpost.wire.api import NEWEST_SERVER_API
from fieldpost.wire.local import MALFORMED, Refusal, Stored


@pytest.fixture
def store() -> Iterator[TalliedStore]:
    found = TalliedStore.open(":memory:", limits=StoreLimits(), new_id=lambda: "id", now=lambda: 5.0)
    assert isinstance(found, TalliedStore)
    found.accept_types(["cpu", "load"])
    yield found
    found.close()


def batch(number: int, *types: str, session: str | None = None, refused: tuple[Refusal, ...] = ()) -> Batch:
    return Batch(
        instance="one",
        number=number,
        plugin="p",
        session_id=session,
        messages=tuple(
            NewMessage(type=kind, body=cbor.encode({"type": kind}), timestamp=1) for kind in types
        ),
        refused=refused,
    )


def answer(expected: int | None = None) -> Answer:
    return Answer(
        next_expected_sequence=expected,
        token=None,
        server_uuid="server",
        server_api=NEWEST_SERVER_API,
        client_types_hash=None,
        messages=(),
    )


def exchange(store: TalliedStore, expected: int | None = None) -> None:
    store.begin_exchange(max_messages=100, max_octets=10_000)
    store.commit_answer(answer(expected))


def counts(store: TalliedStore, kind: str) -> tuple[int, int]:
    found = store.tally.report()[kind]
    return found["stored"], found["sent"]


def test_stored_and_sent(store: TalliedStore) -> None:
    """Messages count as stored when they are, and as sent when the server has acknowledged them."""
    store.add([batch(1, "cpu", "cpu", "load")])
    assert store.tally.report()["cpu"] == {"stored": 2, "sent": 0, "first-stored": 5.0}

    exchange(store)

    assert (counts(store, "cpu"), counts(store, "load")) == ((2, 2), (1, 1))


def test_part_is_acknowledged(store: TalliedStore) -> None:
    """Of a payload that the server took in part, that part counts, and the rest when it is taken."""
    store.add([batch(1, "cpu", "cpu", "cpu")])

    exchange(store, expected=2)
    assert counts(store, "cpu") == (3, 2)
    exchange(store)
    assert counts(store, "cpu") == (3, 3)


def test_no_answer(store: TalliedStore) -> None:
    """What nobody acknowledged is not sent, however often it went out."""
    store.add([batch(1, "cpu")])

    store.begin_exchange(max_messages=100, max_octets=10_000)
    assert counts(store, "cpu") == (1, 0)
    exchange(store)
    assert counts(store, "cpu") == (1, 1)


def test_sent_again(store: TalliedStore) -> None:
    """A message that the server asks for once more was still sent once."""
    store.add([batch(1, "cpu", "cpu")])
    exchange(store)

    exchange(store, expected=0)
    exchange(store)

    assert counts(store, "cpu") == (2, 2)


def test_batch_again(store: TalliedStore) -> None:
    """A batch that a plugin sends again counts once."""
    store.add([batch(1, "cpu")])
    store.add([batch(1, "cpu"), batch(2, "cpu")])

    assert counts(store, "cpu") == (2, 0)


def test_refused() -> None:
    """What is refused does not count, whoever refused it."""
    tally = Tally(lambda: 1.0)
    before = (Refusal(index=1, code=MALFORMED, text=""),)
    refused = (*before, Refusal(index=2, code=MALFORMED, text=""))

    tally.note_batches([batch(1, "a", "b", "c", refused=before)], [Stored(stored=2, refused=refused)])

    assert {kind: found["stored"] for kind, found in tally.report().items()} == {"a": 1, "c": 1}


def test_obsolete_session(store: TalliedStore) -> None:
    """Messages under a session that is over are not stored, and not counted."""
    store.add([batch(1, "cpu", session="gone")])

    assert store.tally.report() == {}


def test_own_messages(store: TalliedStore) -> None:
    """The broker's own messages count like others."""
    store.put({"type": "register"})

    assert counts(store, "register") == (1, 0)


def test_many_types() -> None:
    """A plugin that invents types costs no memory without end."""
    tally = Tally(lambda: 1.0)

    tally.note_stored(f"type-{number}" for number in range(MAX_TYPES + 50))

    assert len(tally.report()) == MAX_TYPES + 1
    assert tally.report()[OTHERS]["stored"] == 50
