"""What an answer does to the store: the sequence rules of landscape 1.8, and all that travels beside the messages."""

import pytest

from fieldpost.broker.store.store import Store
from fieldpost.wire.api import NEWEST_SERVER_API, OLDEST_SERVER_API, ApiLevel
from fieldpost.wire.errors import Malformed
from fieldpost.wire.payload import WRECK
from fieldpost.wire.sequence import Verdict
from tests.broker.store.stores import (
    NEWER_API,
    add,
    add_values,
    answer,
    batch,
    begin,
    bodies,
    new,
    numbers,
    open_store,
    values,
)


def store_of_the_vectors() -> Store:
    """20 messages m0..m19, sequence 10, 5 kept: m5 has number 10; all were sent (landscape 1.8)."""
    store = open_store(accept=("load",))
    begin(store)
    store.commit_answer(answer(5))
    add_values(store, range(20))
    begin(store, 5)
    store.commit_answer(answer(10))
    begin(store)
    return store


@pytest.mark.parametrize(
    ("expected", "resynchronizes", "sequence", "kept", "left", "first", "pending"),
    [
        (15, False, 15, 5, 15, 10, 10),
        (10, False, 10, 5, 20, 5, 15),
        (12, False, 12, 2, 15, 7, 13),
        (25, False, 25, 15, 15, None, 0),
        (26, True, 26, 0, 15, 5, 15),
        (7, False, 7, 2, 20, 2, 18),
        (5, False, 5, 0, 20, 0, 20),
        (4, True, 4, 0, 20, 0, 20),
        (-1, True, -1, 0, 20, 0, 20),
    ],
)
def test_vectors(
    expected: int,
    resynchronizes: bool,
    sequence: int,
    kept: int,
    left: int,
    first: int | None,
    pending: int,
) -> None:
    """Each number that a server may expect does what Landscape's own store does."""
    store = store_of_the_vectors()

    settlement = store.commit_answer(answer(expected))

    outgoing = begin(store)
    assert settlement.verdict.resynchronizes == resynchronizes
    assert outgoing.sequence == sequence
    assert settlement.pending == outgoing.total == pending
    assert next(iter(values(outgoing)), None) == first
    assert numbers(outgoing) == list(range(sequence, sequence + pending))
    assert kept_after(expected, sequence) == kept == left - pending


def kept_after(expected: int, sequence: int) -> int:
    """How far back the server can still ask after such an answer."""

    def judge(back: int) -> Verdict:
        store = store_of_the_vectors()
        store.commit_answer(answer(expected))
        return store.commit_answer(answer(sequence - back)).verdict

    return next(back for back in range(20) if judge(back + 1) is Verdict.ANCIENT)


class TestNumbers:
    """The numbers of messages from the first sending to the acknowledgement after."""

    def test_missing_number(self) -> None:
        """An answer without a number accepts what was sent, and no more."""
        store = open_store()
        add_values(store, range(10))
        begin(store, 4)

        settlement = store.commit_answer(answer(None))

        assert (settlement.verdict, settlement.moved) == (Verdict.ACKNOWLEDGED, True)
        assert settlement.pending == 6
        assert values(begin(store)) == list(range(4, 10))

    def test_nothing_moved(self) -> None:
        """A server that accepts nothing moves nothing: the same messages go under the same numbers."""
        store = open_store()
        add_values(store, range(3))
        first = begin(store)

        settlement = store.commit_answer(answer(0))

        assert (settlement.verdict, settlement.moved, settlement.pending) == (Verdict.RESEND, False, 3)
        assert begin(store).messages == first.messages

    def test_lost_answer_then_smaller_payload(self) -> None:
        """The server may have all that was ever sent, even when the last payload held less of it."""
        store = open_store()
        add_values(store, range(10))
        begin(store, 8)
        begin(store, 2)

        settlement = store.commit_answer(answer(8))

        assert (settlement.verdict, settlement.pending) == (Verdict.ACKNOWLEDGED, 2)
        assert values(begin(store)) == [8, 9]

    def test_lost_answer_then_no_number(self) -> None:
        """An answer without a number accepts the last payload alone, not what went in one before."""
        store = open_store()
        add_values(store, range(10))
        begin(store, 8)
        begin(store, 2)

        store.commit_answer(answer(None))

        assert numbers(begin(store, 3)) == [2, 3, 4]

    def test_beyond_what_was_sent(self) -> None:
        """A number that was never given away is not believed: what is pending is numbered anew from there."""
        store = open_store()
        add_values(store, range(10))
        begin(store, 4)

        settlement = store.commit_answer(answer(7))

        outgoing = begin(store)
        assert (settlement.verdict, settlement.moved) == (Verdict.AHEAD, True)
        assert values(outgoing)[:10] == list(range(10))
        assert bodies(outgoing)[10:] == [{"type": "resynchronize"}]
        assert outgoing.sequence == 7

    def test_order_after_renumbering(self) -> None:
        """Messages that are numbered anew take their old places, before what came later."""
        store = open_store()
        add_values(store, range(6))
        begin(store, 2)
        store.commit_answer(answer(2))
        begin(store, 2)

        store.commit_answer(answer(-5))

        assert values(begin(store))[:6] == list(range(6))

    @pytest.mark.parametrize("expected", [2**62, -(2**62), 2**64, -(2**80)])
    def test_unstorable_number(self, expected: int) -> None:
        """A number that no column holds is the server's fault, and changes nothing."""
        store = open_store()
        add_values(store, range(2))
        first = begin(store)

        with pytest.raises(Malformed, match="next-expected-sequence"):
            store.commit_answer(answer(expected, {"type": "x"}))

        assert begin(store).messages == first.messages
        assert store.next_incoming(9) == []

    def test_largest_numbers(self) -> None:
        """The largest numbers that are taken leave room to count on."""
        store = open_store()
        store.commit_answer(answer(2**62 - 1))
        add_values(store, range(3))

        store.commit_answer(answer(begin(store).sequence + 4))

        assert store.state().sequence == 2**62 + 3


class TestResynchronize:
    """What happens when the two sides have lost each other."""

    def test_sessions_end(self) -> None:
        """After an ancient answer every plugin must open a new session."""
        store = open_store()
        session = store.open_session("plugin-1", None)

        store.commit_answer(answer(-3))

        (stored,) = store.add([batch(1, new(), session_id=session)])
        assert [refusal.code for refusal in stored.refused] == ["obsolete-session"]
        assert store.open_session("plugin-1", None) != session

    def test_sessions_stay(self) -> None:
        """An answer that only acknowledges, or asks again, ends no session."""
        store = open_store()
        session = store.open_session("plugin-1", None)
        add(store, new())
        begin(store)

        store.commit_answer(answer(0))
        store.commit_answer(answer(1))

        assert store.open_session("plugin-1", None) == session


class TestBesides:
    """What an answer carries beside its number."""

    def test_token_goes_once(self) -> None:
        """The token is shown in the next exchange and in no other, whatever becomes of that one."""
        store = open_store()
        store.commit_answer(answer(token=b"token-1"))

        assert [begin(store).token, begin(store).token] == [b"token-1", None]

    def test_token_is_replaced(self) -> None:
        """A new token takes the place of one that was not shown; an answer without one leaves it, for it may acknowledge what followed."""
        store = open_store()
        store.commit_answer(answer(token=b"token-1"))
        store.commit_answer(answer(token=b"token-2"))
        store.commit_answer(answer(token=None))

        assert begin(store).token == b"token-2"
        store.commit_answer(answer(token=None))
        assert begin(store).token is None

    def test_digest_of_our_types(self) -> None:
        """The server's digest of our types is remembered; an answer without one forgets it."""
        store = open_store()

        store.commit_answer(answer(client_types_hash=b"d" * 16))
        first = begin(store).client_types_hash
        store.commit_answer(answer(client_types_hash=None))

        assert (first, store.state().client_types_hash) == (b"d" * 16, None)

    def test_server_changed(self) -> None:
        """Another server is noticed once, the first one included."""
        store = open_store()

        changes = [
            store.commit_answer(answer(server_uuid=uuid)).server_uuid_changed for uuid in ("a", "a", "b")
        ]

        assert changes == [(None, "a"), None, ("a", "b")]
        assert store.state().server_uuid == "b"

    def test_level_rises(self) -> None:
        """The level rises to what both speak, and never falls with an answer."""
        store = open_store()

        levels = []
        for level in (ApiLevel(3, 1), NEWER_API, OLDEST_SERVER_API, ApiLevel(99, 9)):
            store.commit_answer(answer(server_api=level))
            levels.append(store.state().api)

        assert levels == [OLDEST_SERVER_API, NEWER_API, NEWER_API, NEWEST_SERVER_API]

    def test_messages(self) -> None:
        """The server's messages and its number are stored together."""
        store = open_store()
        store.set_identity(secure_id=b"secure", insecure_id=1)

        settlement = store.commit_answer(
            answer(None, {"type": "ping"}, {"type": "run", "operation-id": 7, "deep": [b"x", {"y": 1.5}]})
        )

        first, second = store.next_incoming(9)
        assert (settlement.received, store.state().server_sequence) == (2, 2)
        assert (first.number, first.type, first.operation_id) == (0, "ping", None)
        assert (second.number, second.operation_id, second.secure_id) == (1, 7, b"secure")
        assert second.message == {"type": "run", "operation-id": 7, "deep": [b"x", {"y": 1.5}]}
        assert begin(store).next_expected_sequence == 2

    def test_unencodable_message(self) -> None:
        """A message that cannot be kept does not hold up those behind it."""
        store = open_store()

        settlement = store.commit_answer(answer(None, {"type": "odd", "x": object()}, {"type": "even"}))

        assert settlement.received == 2
        assert [incoming.type for incoming in store.next_incoming(9)] == [WRECK, "even"]


class TestLevels:
    """Messages that were numbered while the server spoke a level that it then does not."""

    def store_after_404(self) -> Store:
        store = open_store()
        add_values(store, range(2))
        store.commit_answer(answer(0, server_api=NEWER_API))
        add_values(store, range(2, 4))
        begin(store, 2)
        store.commit_answer(answer(2, server_api=NEWER_API))
        add_values(store, range(4, 6))
        assert values(begin(store)) == [2, 3, 4, 5]
        store.lower_api()
        add_values(store, range(6, 8))
        return store

    def test_asks_first(self) -> None:
        """They do not go, and nothing goes in their place until the server says that it does not have them."""
        store = self.store_after_404()

        outgoing = begin(store)

        assert (outgoing.messages, outgoing.sequence, outgoing.api) == ((), 2, OLDEST_SERVER_API)

    def test_others_go_before(self) -> None:
        """Once it said so, they wait for the level, and their numbers go to messages that can travel."""
        store = self.store_after_404()
        begin(store)

        settlement = store.commit_answer(answer(2))

        outgoing = begin(store)
        assert (settlement.moved, settlement.pending) == (True, 2)
        assert (values(outgoing), numbers(outgoing)) == ([6, 7], [2, 3])
        assert store.status().held == 4

    def test_it_had_them(self) -> None:
        """When it says that it has them after all, they are acknowledged, and not sent twice."""
        store = self.store_after_404()
        begin(store)

        settlement = store.commit_answer(answer(6))

        outgoing = begin(store)
        assert settlement.verdict is Verdict.ACKNOWLEDGED
        assert (values(outgoing), numbers(outgoing)) == ([6, 7], [6, 7])

    def test_level_returns(self) -> None:
        """When the server speaks the level again, they go under their numbers."""
        store = self.store_after_404()
        begin(store)

        store.commit_answer(answer(2, server_api=NEWER_API))

        outgoing = begin(store)
        assert (values(outgoing), outgoing.api) == ([2, 3, 4, 5], NEWER_API)
