"""What the store remembers of server and identity, and what it says of itself."""

from pathlib import Path

import pytest
from attrs import fields

from fieldpost.broker.store import receipts
from fieldpost.broker.store.dead_letters import MAX_DEAD_LETTERS
from fieldpost.broker.store.feeds import FEEDS_KEPT
from fieldpost.broker.store.lanes import MAX_LANES
from fieldpost.broker.store.operations import OPERATIONS_KEPT
from fieldpost.broker.store.records import StoreLimits
from fieldpost.broker.store.sessions import MAX_SESSIONS
from fieldpost.broker.store.store import Store
from fieldpost.wire.api import OLDEST_SERVER_API
from fieldpost.wire.errors import Malformed
from fieldpost.wire.local import Refused
from tests.broker.store.stores import START, add, answer, batch, begin, bodies, ids, new, open_store


def reopen(store: Store, path: Path) -> Store:
    store.close()
    return open_store(str(path), new_id=ids("later"), accept=None)


class TestState:
    """The one row that says who we are."""

    def test_new(self) -> None:
        """A new store knows nothing of any server, and has a registration id."""
        state = open_store(accept=None).state()

        assert (state.sequence, state.server_sequence, state.api) == (0, 0, OLDEST_SERVER_API)
        assert (state.accepted_types, state.server_uuid, state.client_types_hash) == ((), None, None)
        assert (state.secure_id, state.insecure_id, state.clone_secure_id) == (None, None, None)
        assert (state.exchange_interval, state.urgent_exchange_interval) == (None, None)
        assert state.registration_id == "id-1"

    def test_kept(self, tmp_path: Path) -> None:
        """All of it is there after a restart, the registration id above all (fault L4)."""
        store = open_store(str(tmp_path / "store"))
        store.set_identity(secure_id=b"secure", insecure_id=3)
        store.set_intervals(exchange=30, urgent_exchange=5)
        store.commit_answer(answer(4, {"type": "x"}, client_types_hash=b"d" * 16))
        before = store.state()

        after = reopen(store, tmp_path / "store").state()

        assert after == before
        assert (after.registration_id, after.sequence, after.server_sequence) == ("id-1", 4, 1)

    def test_intervals(self) -> None:
        """The server may set one interval and leave the other."""
        store = open_store()

        store.set_intervals(exchange=30, urgent_exchange=None)
        store.set_intervals(exchange=None, urgent_exchange=None)
        store.set_intervals(exchange=None, urgent_exchange=5)

        assert (store.state().exchange_interval, store.state().urgent_exchange_interval) == (30, 5)

    @pytest.mark.parametrize("number", [2**62, -(2**62), 2**200])
    def test_unstorable(self, number: int) -> None:
        """Numbers that no column holds are refused as the server's fault, and change nothing."""
        store = open_store()
        before = store.state()

        with pytest.raises(Malformed, match="exchange_interval"):
            store.set_intervals(exchange=number, urgent_exchange=7)
        with pytest.raises(Malformed, match="insecure-id"):
            store.set_identity(secure_id=b"secure", insecure_id=number)

        assert store.state() == before

    def test_odd_types(self) -> None:
        """Names of types are kept as they are, whatever is in them."""
        store = open_store()
        odd = ["", "a;b", "\0", "é", "\udcff", '"']

        store.accept_types(odd)

        assert store.state().accepted_types == tuple(sorted(odd))


class TestIdentity:
    """Registration, and its loss."""

    def test_set(self) -> None:
        """A new identity ends all sessions: the server knows nothing of us yet."""
        store = open_store()
        session = store.open_session("plugin-1", None)

        store.set_identity(secure_id=b"secure", insecure_id=3)

        assert (store.state().secure_id, store.state().insecure_id) == (b"secure", 3)
        assert store.open_session("plugin-1", None) != session

    def test_missing_insecure_id(self) -> None:
        """A server that does not repeat the public number does not take it away."""
        store = open_store()
        store.set_identity(secure_id=b"one", insecure_id=3)

        store.set_identity(secure_id=b"two", insecure_id=None)

        assert (store.state().secure_id, store.state().insecure_id) == (b"two", 3)

    def test_forgotten(self) -> None:
        """An unknown computer loses both ids and the token, and registers again as the same one."""
        store = open_store()
        store.set_identity(secure_id=b"secure", insecure_id=3)
        store.commit_answer(answer(token=b"token"))

        store.forget_identity(clone_of=None)

        state = store.state()
        assert (state.secure_id, state.insecure_id, state.clone_secure_id) == (None, None, None)
        assert (state.registration_id, begin(store).token) == ("id-1", None)

    def test_clone(self) -> None:
        """A clone registers as somebody new, and remembers whom it was cloned from until it is registered."""
        store = open_store()
        store.set_identity(secure_id=b"secure", insecure_id=3)

        store.forget_identity(clone_of="web-1")
        store.forget_identity(clone_of="web-1")

        state = store.state()
        assert (state.secure_id, state.clone_secure_id, state.registration_id) == (None, b"secure", "id-3")
        store.set_identity(secure_id=b"other", insecure_id=4)
        assert store.state().clone_secure_id is None

    def test_queue_stays(self) -> None:
        """Neither registration nor its loss drops what waits (fault L14)."""
        store = open_store()
        add(store, new(value=1))
        store.set_identity(secure_id=b"secure", insecure_id=3)
        store.forget_identity(clone_of="web-1")

        assert [body["value"] for body in bodies(begin(store))] == [1]


class TestSessions:
    """Session ids."""

    def test_same_until_resynchronized(self) -> None:
        """A scope has one session id until a resynchronize ends it; scopes and plugins have their own."""
        store = open_store()

        found = [
            store.open_session(plugin, scope)
            for plugin, scope in (("a", None), ("a", ""), ("a", "disk"), ("b", "disk"), ("a", None))
        ]

        assert found[0] == found[4]
        assert len(set(found)) == 4

    def test_durable(self, tmp_path: Path) -> None:
        """A session id is good after a restart at once (fault L9)."""
        store = open_store(str(tmp_path / "store"))
        session = store.open_session("plugin-1", None)

        store = reopen(store, tmp_path / "store")

        (stored,) = store.add([batch(1, new(), session_id=session)])
        assert (stored.stored, store.open_session("plugin-1", None)) == (1, session)

    def test_resynchronize_scopes(self) -> None:
        """A resynchronize of some scopes ends those alone, in all plugins."""
        store = open_store()
        scopes = [("a", None), ("a", "disk"), ("b", "disk"), ("b", "cpu")]
        before = [store.open_session(*scope) for scope in scopes]

        store.resynchronize(operation_id=None, scopes=("disk", "users"))

        after = [store.open_session(*scope) for scope in scopes]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, True]

    def test_resynchronize_all(self) -> None:
        """A resynchronize without scopes ends all, and says so to the server with the operation's id."""
        store = open_store()
        before = [store.open_session("a", scope) for scope in (None, "disk")]

        store.resynchronize(operation_id=5, scopes=None)

        assert not {store.open_session("a", scope) for scope in (None, "disk")} & set(before)
        assert bodies(begin(store)) == [{"type": "resynchronize", "operation-id": 5}]

    def test_bounded(self) -> None:
        """A plugin that makes up scopes without end is stopped; the ones it has, and other plugins, go on."""
        store = open_store()
        for scope in range(MAX_SESSIONS):
            store.open_session("a", str(scope))

        with pytest.raises(Refused, match="1000 scopes open; use fewer"):
            store.open_session("a", "one more")

        assert store.open_session("a", "0")
        assert store.open_session("b", "one more")


class TestStatus:
    """What the store says of itself."""

    def test_new(self) -> None:
        """A new store is empty and well."""
        status = open_store().status()

        assert (status.pending, status.held, status.octets, status.unacknowledged) == (0, 0, 0, 0)
        assert (status.incoming, status.dead_letters, status.oldest_pending) == (0, 0, None)
        assert (status.full, status.quarantined, status.lanes) == (False, (), ())

    def test_filled(self) -> None:
        """What is pending, held, sent and how old it is."""
        store = open_store(accept=("load",))
        add(store, new("disk", timestamp=START - 90), *(new(timestamp=START - 50 + n) for n in range(4)))
        begin(store, 1)

        status = store.status()

        assert (status.pending, status.held, status.unacknowledged) == (4, 1, 1)
        assert (status.octets, status.oldest_pending) == (5 * len(new().body), START - 50)
        assert [(lane.type, str(lane.api), lane.count, lane.held) for lane in status.lanes] == [
            ("disk", "3.2", 1, True),
            ("load", "3.2", 3, False),
        ]

    def test_oldest_waiting(self) -> None:
        """When nothing is under way, the oldest of what waits."""
        store = open_store()
        add(store, new("disk", timestamp=START - 10), new(timestamp=START - 20))

        assert store.status().oldest_pending == START - 20

    def test_numbers(self) -> None:
        """Both sides' numbers."""
        store = open_store()
        store.commit_answer(answer(9, {"type": "x"}))

        assert (store.status().sequence, store.status().server_sequence, store.status().incoming) == (9, 1, 1)


class TestPage:
    """docs/store.md says what is true."""

    @pytest.fixture
    def page(self) -> str:
        page = Path(__file__).parents[3] / "docs" / "store.md"
        if not page.exists():
            pytest.skip("the documentation is not here")
        return page.read_text()

    def test_tables(self, page: str) -> None:
        """Every table is named."""
        connection = open_store()._file._connection
        assert connection
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()

        missing = [name for (name,) in rows if f"`{name}`" not in page and not name.startswith("sqlite_")]

        assert not missing

    def test_settings(self, page: str) -> None:
        """Every limit is named."""
        assert not [field.name for field in fields(StoreLimits) if f"`{field.name}`" not in page]

    def test_receipts(self, page: str) -> None:
        """Every reason of a receipt is named."""
        reasons = [value for name, value in vars(receipts).items() if name.isupper() and name != "RECEIPT"]

        assert {"size", "corrupt"} <= {reason for reason in reasons if isinstance(reason, str)}
        assert not [reason for reason in reasons if isinstance(reason, str) and f"`{reason}`" not in page]

    def test_figures(self, page: str) -> None:
        """The figures are those of the code."""
        figures = (MAX_DEAD_LETTERS, FEEDS_KEPT, OPERATIONS_KEPT, MAX_LANES + 1)

        assert not [figure for figure in figures if f"{figure:,}" not in page]
