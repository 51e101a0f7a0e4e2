"""The store where the server is Landscape's (landscape 1.7)."""

from fieldpost.broker.store.store import Store
from tests.broker.store.stores import add_values, answer, begin, bodies, open_store, values


def a_store() -> Store:
    store = open_store()
    store.speak_landscape(True)
    return store


def test_nothing_goes_before_there_is_an_identity() -> None:
    """What plugins sent waits, and is not counted, though the server says that it takes the type (fault L14)."""
    store = a_store()
    add_values(store, range(3))
    store.put({"type": "register"})

    before = begin(store)
    store.commit_answer(answer())
    store.set_identity(secure_id=b"id", insecure_id=1)
    after = begin(store)

    assert ([body["type"] for body in bodies(before)], before.total) == (["register"], 1)
    assert (values(after), after.total) == ([0, 1, 2], 3)


def test_identity_lost_holds_them_again() -> None:
    """They keep their places, and none of their numbers."""
    store = a_store()
    store.set_identity(secure_id=b"id", insecure_id=1)
    add_values(store, range(3))
    begin(store)

    store.commit_answer(answer(0))
    store.forget_identity(clone_of=None)

    assert (begin(store).messages, begin(store).total) == ((), 0)
    assert store.status().held == 3
    store.set_identity(secure_id=b"id-2", insecure_id=2)
    assert values(begin(store)) == [0, 1, 2]


def test_another_protocol_has_no_such_rule() -> None:
    """It tells by the accepted types."""
    store = a_store()
    add_values(store, range(3))

    store.speak_landscape(False)

    assert values(begin(store)) == [0, 1, 2]


def test_types_are_told_after_each_start() -> None:
    """The digest that the server has is forgotten, as Landscape's client forgets it."""
    store = open_store()
    store.commit_answer(answer(client_types_hash=b"h" * 16))

    store.speak_landscape(True)

    assert store.state().client_types_hash is None


def test_ping_interval_is_kept() -> None:
    """Beside the others, of which each is set on its own."""
    store = a_store()

    store.set_intervals(exchange=100, urgent_exchange=None)
    store.set_intervals(exchange=None, urgent_exchange=None, ping=17)

    assert (store.state().exchange_interval, store.state().ping_interval) == (100, 17)
