"""Two ends of a session, back to back."""

from contextlib import suppress
from typing import Any

import cbor2
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session.agreement import (
    Closed,
    HelloReceived,
    Offered,
    Opened,
    ProbeAnswered,
    ProbeFailed,
    Refused,
)
from fieldpost.wire.session.events import (
    Aborted,
    Broken,
    Cancelled,
    Failed,
    PeerClosed,
    Requested,
    Responded,
)
from fieldpost.wire.session.frame import Frame, Framer, FrameType, encode_frame
from fieldpost.wire.session.hello import Hello, hello_map
from fieldpost.wire.session.identity import Evidence, Role
from fieldpost.wire.session.limits import Limits
from fieldpost.wire.session.negotiation import State
from fieldpost.wire.session.outcome import Busy, NotActive
from fieldpost.wire.session.proof import key_name
from fieldpost.wire.session.session import Session
from fieldpost.wire.session.waiting import Limit

from .ends import AGENT_LIFE, ENDS, SERVER_LIFE, End, Ends, agent, agreeable, opened, profile, server

SESSION = b"i" * 16


def _ignore(_end: End, _event: Any) -> None:
    """An application that does nothing."""


def _frames(octets: bytes | bytearray) -> list[Frame]:
    return Framer(1 << 20).feed(bytes(octets))


def _types(octets: bytes | bytearray) -> list[int]:
    return [frame.type for frame in _frames(octets)]


def _hello(role: Role, **more: Any) -> bytes:
    """The frame of a hello that a stranger could send."""
    stream = 1 if role is Role.CLIENT else 2
    hello = Hello(**{"versions": (1, 1), "codecs": ("cbor",), **more})
    return encode_frame(
        Frame(FrameType.HELLO, 0, stream, 1, 2, cbor2.dumps(hello_map(hello, says_last=False)))
    )


def _frame(
    type: int, payload: Any, *, flags: int = 2, stream: int = 1, stream_flags: int = 0, request: int = 0
) -> bytes:
    octets = payload if isinstance(payload, bytes) else cbor2.dumps(payload)
    return encode_frame(Frame(type, request, stream, stream_flags, flags, octets))


def _end_of(events: list[Any]) -> Any:
    (end,) = [event for event in events if isinstance(event, ENDS)]
    return end


# Hello and decision


@pytest.mark.conformance("F14", "Z1", "F23")
def test_both_say_hello_at_once_and_the_master_decides() -> None:
    """Neither waits for the other's hello; only the master sends a decision."""
    client, accepting = agent(), server()

    assert _types(client.data_to_send()) == _types(accepting.data_to_send()) == [FrameType.HELLO]

    for session in (client, accepting):
        with pytest.raises(LocalProtocolError):
            session.decide(connection=(SERVER_LIFE, 1), now=0.0)
        assert session.data_to_send() == b""

    ends = opened()
    assert FrameType.DECISION in _types(ends.sent[ends.server])
    assert FrameType.DECISION not in _types(ends.sent[ends.client])


@pytest.mark.conformance("F15")
def test_a_client_says_what_it_heard_last() -> None:
    """So that the server can tell a lost decision from a parallel attempt."""
    ends = opened(client={"last": (SERVER_LIFE, 41), "attempt": 3})

    hello = ends.server.one(Offered).hello
    assert (hello.last, hello.attempt, hello.incarnation) == ((SERVER_LIFE, 41), 3, AGENT_LIFE)


@pytest.mark.conformance("Z5", "Z10", "F17")
@pytest.mark.parametrize("master", ["client", "server"])
@pytest.mark.parametrize(
    ("client", "accepting", "version"),
    [((3, 3), (3, 4), 3), ((3, 4), (3, 3), 3), ((1, 9), (1, 10), 9), ((1, 5), (2, 99999), 5)],
)
def test_both_keep_the_range_and_the_version(
    master: str, client: tuple[int, int], accepting: tuple[int, int], version: int
) -> None:
    """Of either master; the peer's range is not forgotten."""
    us = {"id": "s:z", "versions": client} if master == "client" else {"versions": client}

    ends = opened(client=us, server={"versions": accepting})

    for end, theirs in zip(ends.both, (accepting, client), strict=True):
        agreement = end.one(Opened).agreement
        assert agreement.version == version
        assert agreement.peer.versions == theirs
        assert agreement.is_master == (end is getattr(ends, master))
        assert (FrameType.DECISION in _types(ends.sent[end])) == agreement.is_master


@pytest.mark.conformance("Z4", "Z8", "F18")
@pytest.mark.parametrize("master", ["client", "server"])
@pytest.mark.parametrize(("client", "accepting"), [((3, 3), (4, 4)), ((4, 4), (3, 3))])
def test_ranges_that_do_not_meet_are_refused_on_both_sides(
    master: str, client: tuple[int, int], accepting: tuple[int, int]
) -> None:
    """With a reason that names both; whoever is not the master sends nothing more."""
    us = {"id": "s:z", "versions": client} if master == "client" else {"versions": client}

    ends = Ends(agent(us=us), server(us={"versions": accepting}))
    for end in ends.both:
        end.session.request(b"ping", {}, data=b"x", now=0.0)
    ends.run()

    for end in ends.both:
        assert end.end.code == "version"
        assert f"{client[0]} to {client[1]}" in end.end.text
        assert f"{accepting[0]} to {accepting[1]}" in end.end.text
    other = ends.server if master == "client" else ends.client
    assert _types(ends.sent[other]) == [FrameType.HELLO]
    assert _types(ends.sent[getattr(ends, master)]) == [FrameType.HELLO, FrameType.DECISION]


@pytest.mark.conformance("Z9")
def test_a_refusal_reaches_every_waiting_request() -> None:
    """Each is aborted once, with the reason."""
    client = agent(us={"versions": (9, 9)})
    requests = [client.request(b"ping", {}, now=0.0) for _ in range(3)]

    ends = Ends(client, server()).run()

    assert [event.request for event in ends.client.of(Aborted)] == requests
    assert all("version" in event.reason for event in ends.client.of(Aborted))
    assert ends.client.events[-1] is ends.client.end


@pytest.mark.conformance("F16")
def test_a_newer_peer_may_say_more() -> None:
    """Unknown keys are passed over in hellos and decisions."""
    session = server()
    newer = {**hello_map(Hello(versions=(1, 7), codecs=("x", "cbor")), says_last=True), b"colour": b"blue"}

    events = session.receive_data(_frame(FrameType.HELLO, newer, stream_flags=1), 0.0)

    assert isinstance(events[0], Offered)
    session.decide(connection=(SERVER_LIFE, 1), now=0.0)
    assert session.agreement is not None
    assert session.agreement.version == 1


@pytest.mark.conformance("F26", "F20")
def test_a_refusal_by_the_master_is_told_with_its_reason() -> None:
    """Code, text, and when to come back."""

    def refuse(end: End, event: Any) -> None:
        if isinstance(event, Offered):
            end.take(end.session.refuse("duplicate", "another connection answers", 30, now=0.0))

    ends = Ends(agent(), server(), on_event=refuse).run()

    assert ends.client.end == Refused(
        code="duplicate", text="another connection answers", retry_after=30, by_peer=True
    )
    assert ends.server.end == Refused(code="duplicate", text="another connection answers", retry_after=30)


@pytest.mark.conformance("F20")
def test_a_goodbye_in_place_of_a_hello_is_the_peers_refusal() -> None:
    """Nothing more is sent then."""
    session = agent()
    session.data_to_send()

    events = session.receive_data(
        _frame(FrameType.CLOSE, {b"reason": b"draining", b"retry-after": 7}, stream=2, stream_flags=1), 0.0
    )

    end = _end_of(events)
    assert (end.code, end.retry_after, end.by_peer) == ("draining", 7, True)
    assert session.data_to_send() == b""


@pytest.mark.conformance("F23")
@pytest.mark.parametrize(
    "change", [{b"version": 9}, {b"codec": b"x"}, {b"capabilities": [b"x"]}, {b"encodings": [b"x"]}], ids=str
)
def test_a_decision_that_was_not_offered_is_refused(change: dict[bytes, Any]) -> None:
    """The other end checks it against its own hello."""
    session = agent()
    session.receive_data(_hello(Role.SERVER, id="s:x"), 0.0)
    decision = {b"version": 1, b"codec": b"cbor", **change}

    events = session.receive_data(_frame(FrameType.DECISION, decision, stream=2), 0.0)

    assert _end_of(events).code == "version"
    assert not _end_of(events).by_peer
    assert _types(session.data_to_send())[-1] == FrameType.CLOSE


@pytest.mark.conformance("F24")
def test_there_is_no_table_of_words_to_differ() -> None:
    """Instead of word tables two ends share a codec; with none in common they refuse."""
    ends = Ends(agent(us={"codecs": ("hg-cbor",)}), server(us={"codecs": ("cbor",)})).run()

    assert all("no codec in common" in end.end.text for end in ends.both)


@pytest.mark.conformance("F25", "Z2")
@pytest.mark.parametrize("size", [10, 60_000])
def test_what_follows_the_decision_in_the_same_piece_is_delivered(size: int) -> None:
    """Also when it is longer than anything that a negotiation takes."""
    ends = Ends(agent(), server(limits=Limits(send_frame=65_535)))
    ends.server.session.request(b"exchange-now", {b"filler": b"x" * size}, now=0.0)

    ends.run()

    (asked,) = ends.client.of(Requested)
    assert asked.args == {b"filler": b"x" * size}
    assert ends.client.events.index(asked) > ends.client.events.index(ends.client.one(Opened))


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_frame_that_was_begun_before_the_decision_is_read_to_its_end(cut: int) -> None:
    """The decision falls into its middle."""
    session = server()
    frame = _frame(FrameType.CLOSE, {b"reason": b"changed my mind"})

    session.receive_data(_hello(Role.CLIENT) + frame[:cut], 0.0)
    session.decide(connection=(SERVER_LIFE, 1), now=0.0)
    events = session.receive_data(frame[cut:], 0.0)

    assert isinstance(events[0], PeerClosed)


@pytest.mark.conformance("F21", "F22", "F28")
@pytest.mark.parametrize(
    ("client", "accepting"), [("a:1", "a:2"), ("a:2", "a:1"), ("s:1", "s:2"), (None, None), ("a:1", None)]
)
def test_any_two_ends_agree_on_the_master(client: str | None, accepting: str | None) -> None:
    """Between agents, between servers, and with nobody in particular."""
    ends = opened(client={"id": client}, server={"id": accepting})

    masters = [end.one(Opened).agreement.is_master for end in ends.both]
    expected_client = (client or "") > (accepting or "")
    assert masters == [expected_client, not expected_client]


@pytest.mark.conformance("F28")
@pytest.mark.parametrize(("one", "two"), [("s:1", "s:2"), ("s:2", "s:1")])
def test_of_two_crossing_connections_one_end_decides_both(one: str, two: str) -> None:
    """So it can keep one and refuse the other, and exactly one is left, by which both are served."""
    first = Ends(agent(us={"id": one}), server(us={"id": two}), on_event=_ignore).run()
    second = Ends(agent(us={"id": two}), server(us={"id": one}), on_event=_ignore).run()
    master = max(one, two)
    offered = [end for ends in (first, second) for end in ends.both if end.of(Offered)]

    assert [end.session._handshake.us.id for end in offered] == [master, master]
    offered[0].take(offered[0].session.decide(connection=(SERVER_LIFE, 1), now=0.0))
    offered[1].take(offered[1].session.refuse("duplicate", "one is enough", now=0.0))
    for ends in (first, second):
        ends.run()

    states = [end.session.state for ends in (first, second) for end in ends.both]
    assert sorted(state.value for state in states) == ["closed", "closed", "open", "open"]
    for end in first.both:
        end.session.request(b"ping", {}, now=0.0)
    first.run()
    assert [end.one(Requested).name for end in first.both] == [b"ping", b"ping"]


def test_the_hellos_limits_are_kept() -> None:
    """Frames are cut at what the peer takes, requests bounded by it."""
    ends = Ends(agent(), server(limits=Limits(frame=300, active=1))).run()
    client = ends.client.session

    client.request(b"ping", {b"x": b"y" * 1000}, now=0.0)
    with pytest.raises(Busy):
        client.request(b"ping", {}, now=0.0)
    ends.run()

    assert ends.server.one(Requested).args == {b"x": b"y" * 1000}


# Identity


def test_a_key_that_fits_needs_no_proof() -> None:
    """The certificate's key is the id."""
    ends = Ends(
        agent(us={"id": "a:" + key_name(b"key")}), server(evidence=Evidence(key=key_name(b"key")))
    ).run()

    assert ends.server.one(Offered).proof is None
    assert ends.client.of(Opened)


@pytest.mark.conformance("F19")
@pytest.mark.parametrize("evidence", [Evidence(), Evidence(key=key_name(b"other"))], ids=["none", "other"])
@pytest.mark.parametrize("claim", ["a:" + key_name(b"key"), "s:zzzz"])
def test_an_id_that_nothing_shows_is_refused(evidence: Evidence, claim: str) -> None:
    """Without certificate, and with another's; and nobody makes itself master so."""
    ends = Ends(agent(us={"id": claim}), server(evidence=evidence)).run()

    assert ends.server.end.code == ends.client.end.code == "proof"
    assert ends.client.end.by_peer
    assert not ends.server.of(Offered)
    assert _types(ends.sent[ends.server]) == [FrameType.HELLO, FrameType.DECISION]


@pytest.mark.conformance("F19")
def test_an_agents_key_does_not_make_a_server() -> None:
    """The prefix has to be proved too."""
    name = key_name(b"key")

    ends = Ends(agent(us={"id": "s:" + name}), server(evidence=Evidence(key=name))).run()

    assert ends.server.end.code == "proof"


@pytest.mark.conformance("F19")
def test_a_client_that_reached_another_refuses() -> None:
    """It wanted a certain server."""
    ends = Ends(agent(us={"wanted": "s:other"}), server(), on_event=_ignore).run()

    assert ends.client.end.code == "identity"
    assert ends.client.end.text == "this is s:x, not s:other"
    assert ends.server.end == Refused(
        code="identity", text="the peer said goodbye before there was a session: identity", by_peer=True
    )


def test_a_proof_by_secret_is_offered_to_the_master() -> None:
    """In a second frame, once the other's nonce is known; the secret does not travel."""
    ends = Ends(agent(us={"id": "a:7", "announces_proof": True}), server(evidence=Evidence())).run()

    offered = ends.server.one(Offered)
    assert offered.proof is not None
    assert ends.server.session.is_proved_by(b"secret")
    assert not ends.server.session.is_proved_by(b"other")
    assert b"secret" not in ends.sent[ends.client]
    assert ends.client.of(Opened)


@pytest.mark.parametrize(("secret", "opens"), [(b"secret", True), (b"other", False), (None, False)])
def test_a_master_may_have_to_prove_itself(secret: bytes | None, opens: bool) -> None:
    """A server that connects to another and has the greater id: believed under a secret that both have."""
    connecting = agent(us={"id": "s:z", "announces_proof": True})

    ends = Ends(connecting, server(evidence=Evidence(), master_secret=secret)).run()

    assert bool(ends.server.of(Opened)) is opens
    if secret is None:
        assert FrameType.DECISION in _types(ends.sent[ends.server])
    if not opens:
        assert ends.server.end.code == "proof"
        assert isinstance(ends.client.end, (Refused, Closed))


def test_who_sent_no_proof_is_proved_by_nothing() -> None:
    """Whatever the secret."""
    ends = opened()

    assert not ends.server.session.is_proved_by(b"secret")
    assert not agent().is_proved_by(b"secret")


def test_a_proof_is_sent_when_it_is_due_and_once() -> None:
    """Not before the hello of the peer, not unannounced, not twice."""
    announcing = agent(us={"id": "a:7", "announces_proof": True})
    with pytest.raises(LocalProtocolError):
        announcing.send_proof(b"p" * 32)
    with pytest.raises(LocalProtocolError, match="needs the peer's hello"):
        announcing.make_proof(b"secret")
    announcing.receive_data(_hello(Role.SERVER, id="s:x"), 0.0)
    announcing.send_proof(b"p" * 32)
    with pytest.raises(LocalProtocolError):
        announcing.send_proof(b"p" * 32)

    silent = agent()
    silent.receive_data(_hello(Role.SERVER, id="s:x"), 0.0)
    with pytest.raises(LocalProtocolError):
        silent.send_proof(b"p" * 32)


def test_a_master_that_announced_a_proof_sends_it_before_it_decides() -> None:
    """Else the other could not believe it."""
    session = server(us={"announces_proof": True})
    events = session.receive_data(_hello(Role.CLIENT), 0.0)

    assert [type(event) for event in events] == [HelloReceived, Offered]
    with pytest.raises(LocalProtocolError, match="proof was announced"):
        session.decide(connection=(SERVER_LIFE, 1), now=0.0)
    assert session.state is State.OFFERED


# What waits for the session


@pytest.mark.conformance("Z2", "Z3")
def test_requests_wait_for_the_decision_and_leave_in_order() -> None:
    """Queued ones first, then those made when it opened, then later ones."""

    def ask_more(end: End, event: Any) -> None:
        agreeable(end, event)
        if isinstance(event, Opened) and end.session.role is Role.CLIENT:
            end.session.request(b"during", {}, now=0.0)

    client = agent()
    ids = [client.request(b"queued", {b"n": number}, now=0.0) for number in range(3)]
    assert _types(client.data_to_send()) == [FrameType.HELLO]

    ends = Ends(client, server(), on_event=ask_more)
    ends.server.take(ends.server.session.receive_data(_hello_of(client), 0.0))
    ends.run()
    client.request(b"later", {}, now=0.0)
    ends.run()

    asked = ends.server.of(Requested)
    assert [event.name for event in asked] == [b"queued"] * 3 + [b"during", b"later"]
    assert [event.request for event in asked] == [*ids, 7, 9]


def _hello_of(session: Session) -> bytes:
    """The hello that a session has already handed out, again."""
    return _frame(FrameType.HELLO, hello_map(session._handshake.ours, says_last=True), stream_flags=1)


def test_waiting_data_follow_their_request() -> None:
    """Given at once, or piece by piece."""
    ends = Ends(agent(), server())
    client = ends.client.session
    client.request(b"whole", {}, data=b"abc", now=0.0)
    pieces = client.request(b"pieces", {}, has_data=True, now=0.0)
    client.send_data(pieces, b"de", end=False)
    client.send_data(pieces, b"f", end=True)
    with pytest.raises(LocalProtocolError, match="takes no data"):
        client.send_data(pieces, b"g", end=True)

    ends.run()

    assert [event.data for event in ends.server.of(Requested)] == [b"abc", b"def"]


def test_an_open_session_is_its_reactor() -> None:
    """Data piece by piece, and a request that is taken back."""
    ends = opened()
    client = ends.client.session
    one = client.request(b"one", {}, has_data=True, now=0.0)
    client.send_data(one, b"ab", end=False)
    client.send_data(one, b"c", end=True)
    two = client.request(b"two", {}, now=0.0)
    ends.run()
    client.cancel(two, b"enough")
    ends.run()

    assert {event.name: event.data for event in ends.server.of(Requested)} == {b"one": b"abc", b"two": None}
    assert ends.server.one(Cancelled) == Cancelled(two, b"enough")


def test_what_is_taken_back_while_it_waits_never_leaves() -> None:
    """And the others keep the ids that were told."""
    ends = Ends(agent(), server())
    client = ends.client.session
    ids = [client.request(name, {}, now=0.0) for name in (b"one", b"two", b"three")]
    client.cancel(ids[1])
    with pytest.raises(LocalProtocolError, match="nothing to cancel"):
        client.cancel(ids[1])

    ends.run()

    asked = ends.server.of(Requested)
    assert [(event.request, event.name) for event in asked] == [(1, b"one"), (5, b"three")]
    assert not ends.client.of(Aborted)
    assert FrameType.CANCEL not in _types(ends.sent[ends.client])


def test_what_does_not_fit_the_agreement_fails_alone() -> None:
    """Text under a codec without it; a map longer than the peer takes. The others keep their ids."""
    ends = Ends(agent(us={"codecs": ("hg-cbor",)}), server(limits=Limits(request=300)))
    client = ends.client.session
    text = client.request(b"one", {b"x": "text"}, now=0.0)
    long = client.request(b"two", {b"x": b"x" * 400}, now=0.0)
    good = client.request(b"three", {}, now=0.0)

    ends.run()

    failed = ends.client.of(Failed)
    assert [(event.request, event.error.code) for event in failed] == [
        (text, b"unencodable"),
        (long, b"too-large"),
    ]
    assert ends.server.one(Requested).request == good


@pytest.mark.conformance("Z2", "Z3")
def test_as_many_leave_as_the_peer_takes() -> None:
    """The rest follows when one has ended, and later requests behind it."""
    ends = Ends(agent(), server(limits=Limits(active=2)))
    client = ends.client.session
    ids = [client.request(b"q", {b"n": number}, now=0.0) for number in range(5)]

    ends.run()
    assert [event.request for event in ends.server.of(Requested)] == ids[:2]
    ids.append(client.request(b"q", {}, now=0.0))
    for request in ids:
        ends.server.session.respond(request, [request], end=True)
        ends.run()

    assert [event.request for event in ends.server.of(Requested)] == ids
    assert [event.values for event in ends.client.of(Responded)] == [(request,) for request in ids]


def test_not_more_waits_than_may() -> None:
    """Neither in number nor in octets."""
    session = agent(waiting=Limit(requests=2, octets=100))
    session.request(b"ping", {}, now=0.0)
    with pytest.raises(Busy):
        session.request(b"ping", {}, data=b"x" * 100, now=0.0)
    taken = session.request(b"ping", {}, has_data=True, now=0.0)
    with pytest.raises(Busy):
        session.send_data(taken, b"x" * 100, end=True)
    with pytest.raises(Busy):
        session.request(b"ping", {}, now=0.0)
    with pytest.raises(LocalProtocolError):
        session.request(b"ping", {b"x": object()}, now=0.0)


def test_without_push_the_server_asks_nothing() -> None:
    """What waited there fails, and later requests are wrong use."""
    ends = Ends(agent(us={"capabilities": ("cancel",)}), server())
    request = ends.server.session.request(b"exchange-now", {}, now=0.0)

    ends.run()

    assert ends.server.one(Failed).request == request
    with pytest.raises(LocalProtocolError, match="push"):
        ends.server.session.request(b"exchange-now", {}, now=0.0)


@pytest.mark.parametrize("capabilities", [("cancel", "credit"), ("cancel",)])
def test_credit_is_counted_only_where_it_was_agreed(capabilities: tuple[str, ...]) -> None:
    """Without it, much data is on its way at once and nothing is given back."""
    ends = opened(client={"capabilities": capabilities})
    ends.client.session.request(b"much", {}, data=b"x" * 3_000_000, now=0.0)

    first = ends.client.session.data_to_send()
    ends.server.take(ends.server.session.receive_data(first, 0.0))
    ends.run()

    is_counted = "credit" in capabilities
    assert (len(first) < 300_000) is is_counted
    assert (FrameType.CREDIT in _types(ends.sent[ends.server])) is is_counted
    assert ends.server.one(Requested).data == b"x" * 3_000_000


# What the peer may ask


@pytest.mark.conformance("Z15")
def test_before_registration_only_registration_is_allowed() -> None:
    """Everything else gets a command error that says so; the session lives, and the call can be made once registered."""

    def decide(end: End, event: Any) -> None:
        if isinstance(event, Offered):
            end.take(end.session.decide(connection=(SERVER_LIFE, 1), allowed=[b"exchange"], now=0.0))

    ends = Ends(agent(), server(), on_event=decide).run()
    refused = ends.client.session.request(b"subscribe", {}, now=0.0)
    allowed = ends.client.session.request(b"exchange", {}, now=0.0)
    ends.run()

    failed = ends.client.one(Failed)
    assert (failed.request, failed.error.code) == (refused, b"not-registered")
    assert ends.server.one(Requested).request == allowed


@pytest.mark.conformance("Z15")
def test_a_server_that_asks_without_leave_is_closed() -> None:
    """`push` was not agreed."""
    session = agent(us={"capabilities": ()})
    session.receive_data(_hello(Role.SERVER, id="s:x"), 0.0)
    session.receive_data(_frame(FrameType.DECISION, {b"version": 1, b"codec": b"cbor"}, stream=2), 0.0)

    events = session.receive_data(
        _frame(FrameType.REQUEST, {b"name": b"x"}, stream=2, flags=1, request=2), 0.0
    )

    assert _end_of(events).code == "push-not-agreed"


@pytest.mark.conformance("Z22")
def test_one_bad_command_of_a_piece_does_not_lose_the_rest() -> None:
    """Each event of a piece is told, whatever becomes of the one before it."""
    ends = opened()
    client = ends.client.session
    for name in (b"one", b"two", b"three"):
        client.request(name, {}, now=0.0)
    octets = client.data_to_send()

    events: list[Any] = [*ends.server.session.receive_data(octets, 0.0)]
    ends.server.session.fail(events[0].request, "internal", "it raised")
    ends.run()

    assert [event.name for event in events] == [b"one", b"two", b"three"]
    assert ends.client.one(Failed).error.code == b"internal"


@pytest.mark.conformance("Z20", "Z21")
def test_what_comes_in_one_piece_is_told_in_its_order() -> None:
    """An answer and the peer's own request, either way round."""
    ends = opened()
    first = ends.client.session.request(b"ping", {}, now=0.0)
    second = ends.client.session.request(b"ping", {}, now=0.0)
    ends.run()
    accepting = ends.server.session
    accepting.respond(first, [1], end=True)
    accepting.request(b"notice", {}, now=0.0)
    accepting.respond(second, [2], end=True)

    events: list[Any] = [*ends.client.session.receive_data(accepting.data_to_send(), 0.0)]

    assert [(type(event), event.request) for event in events] == [
        (Responded, 1),
        (Requested, 2),
        (Responded, 3),
    ]


# Breaches


@pytest.mark.conformance("Z12", "Z16")
@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (_frame(FrameType.HELLO, b"", stream_flags=1), "settings-empty"),
        (_frame(FrameType.HELLO, b"\xff", stream_flags=1), "settings-malformed"),
        (_frame(FrameType.HELLO, [1], stream_flags=1), "settings-not-a-map"),
        (_frame(FrameType.HELLO, {b"contentencodings": []}, stream_flags=1), "hello-malformed"),
        (_frame(FrameType.HELLO, {b"versions": b"Z5"}, stream_flags=1), "hello-malformed"),
        (_frame(FrameType.REQUEST, {b"name": b"x"}, stream_flags=1, flags=1, request=1), "early-frame"),
        (
            _frame(FrameType.DECISION, {b"version": 1, b"codec": b"cbor"}, stream_flags=1),
            "decision-unexpected",
        ),
        (_frame(FrameType.DECISION, {b"version": 1}, stream_flags=1), "decision-malformed"),
        (
            _frame(FrameType.ERROR, {b"type": b"protocol", b"message": []}, stream_flags=1, flags=0),
            "error-frame-from-peer",
        ),
        (_frame(4, b"", stream_flags=1), "early-frame"),
        (b"GET / HTTP/1.1\r\n", "frame-too-large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "frame-too-large"),
    ],
)
def test_what_is_no_hello_ends_it_at_once(octets: bytes, code: str) -> None:
    """With one event, a farewell, and nothing left open; a new session is not touched by it."""
    session = server()
    session.data_to_send()

    end = _end_of(session.receive_data(octets, 0.0))

    assert isinstance(end, Broken)
    assert end.code == code
    if code != "error-frame-from-peer":
        assert _types(session.data_to_send())[-1] == FrameType.CLOSE
    assert session.next_deadline() is None
    assert session.receive_data(_hello(Role.CLIENT), 1.0) == []
    assert opened()


@pytest.mark.conformance("Z14", "F9")
def test_a_hello_over_the_limit_is_refused_at_its_header() -> None:
    """Before any of it is kept."""
    session = server()

    events = session.receive_data((16 * 1024 + 1).to_bytes(3, "little") + b"\0\0\1\1\x82", 0.0)

    assert _end_of(events).code == "frame-too-large"


@pytest.mark.conformance("Z14")
@pytest.mark.parametrize(("type", "most"), [(FrameType.HELLO, 16 * 1024), (FrameType.DECISION, 4 * 1024)])
def test_a_hello_in_pieces_has_the_same_limit(type: FrameType, most: int) -> None:
    """All its frames together."""
    session = agent()
    octets = b"".join(
        _frame(type, b"x" * 1000, flags=1, stream=2, stream_flags=int(number == 0))
        for number in range(most // 1000 + 1)
    )

    events = session.receive_data(octets, 0.0)

    assert _end_of(events).code in ("frame-too-large", "decision-too-large", "settings-too-large")


@pytest.mark.parametrize("when", ["offered", "open"])
def test_a_second_hello_is_an_error(when: str) -> None:
    """Unless it is the proof that the first announced."""
    session = server()
    session.receive_data(_hello(Role.CLIENT), 0.0)
    if when == "open":
        session.decide(connection=(SERVER_LIFE, 1), now=0.0)

    events = session.receive_data(_frame(FrameType.HELLO, {b"versions": [1, 1]}), 0.0)

    assert _end_of(events).code == "settings-repeated"


def test_a_proof_that_is_none_is_an_error() -> None:
    """Of another length, say."""
    session = server(evidence=Evidence())
    session.receive_data(_hello(Role.CLIENT, id="a:1", nonce=b"n" * 32, proof=b"hmac-sha256"), 0.0)

    events = session.receive_data(_frame(FrameType.HELLO, {b"proof": b"short"}), 0.0)

    assert _end_of(events).code == "hello-malformed"


@pytest.mark.conformance("Z28")
def test_nothing_is_told_behind_the_end() -> None:
    """Frames that follow a breach in the same piece are dropped."""
    ends = opened()
    good = _frame(FrameType.REQUEST, {b"name": b"x"}, flags=1, request=1)
    bad = _frame(4, b"")
    after = _frame(FrameType.REQUEST, {b"name": b"y"}, flags=1, request=3)

    events = ends.server.session.receive_data(good + bad + after, 0.0)

    assert [event.name for event in events if isinstance(event, Requested)] == [b"x"]
    assert isinstance(events[-1], Broken)
    assert [event.request for event in events if isinstance(event, Aborted)] == [1]


def test_a_frame_over_the_limit_ends_the_session_behind_those_before_it() -> None:
    """They came in good order."""
    ends = opened()
    good = _frame(FrameType.REQUEST, {b"name": b"x"}, flags=1, request=1)

    events = ends.server.session.receive_data(good + b"\xff\xff\xff" + b"\0" * 5, 0.0)

    assert isinstance(events[0], Requested)
    assert _end_of(events).code == "frame-too-large"


# Time


@pytest.mark.conformance("Z13", "F10", "F11")
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
@pytest.mark.parametrize("heard", [b"", b"\x10\x00", None])
def test_without_an_agreement_in_time_it_is_over(role: Role, heard: bytes | None) -> None:
    """After nothing, half a frame, or a hello that nobody decides on: one end, at twenty seconds."""
    session = Session(role=role, us=profile(role), now=100.0)
    octets = _hello(Role.SERVER if role is Role.CLIENT else Role.CLIENT) if heard is None else heard
    session.receive_data(octets, 101.0)

    assert session.next_deadline() == 120.0
    assert session.tick(119.9) == []
    end = _end_of(session.tick(120.0))

    assert end.code == "timeout"
    assert end.text.startswith("negotiation timeout")
    assert session.next_deadline() is None
    assert session.tick(200.0) == []


@pytest.mark.conformance("F40", "Z23")
def test_silence_is_pinged_and_pongs_are_life() -> None:
    """An hour of nothing but pings."""
    ends = opened().wait(3600.0)

    assert ends.client.session.state is ends.server.session.state is State.OPEN
    pings = [frame for frame in _frames(ends.sent[ends.client]) if frame.type == FrameType.PING]
    assert 140 < len(pings) < 300


@pytest.mark.conformance("F41", "Z17")
def test_a_peer_that_says_nothing_is_given_up() -> None:
    """With all that it still owed."""
    ends = opened()
    request = ends.client.session.request(b"ping", {}, now=0.0)
    session = ends.client.session

    session.tick(25.0)
    assert session.tick(44.9) == []
    events = session.tick(45.0)

    assert events == [Aborted(request, "dead"), Closed(reason="dead")]
    assert FrameType.CLOSE in _types(session.data_to_send())


@pytest.mark.conformance("F40")
def test_any_octet_keeps_a_session() -> None:
    """Also when a large frame comes one by one, slowly, and nothing else does."""
    ends = opened()
    session = ends.server.session
    frame = _frame(FrameType.REQUEST, {b"name": b"x"}, flags=1, request=1)

    for number in range(len(frame) - 1):
        now = 40.0 * (number + 1)
        session.tick(now)
        assert session.receive_data(frame[number : number + 1], now) == []
    assert session.next_deadline() is not None

    session.tick(40.0 * len(frame) + 10)
    assert session.next_deadline() is None


@pytest.mark.conformance("Z23")
def test_the_agreed_interval_is_kept_by_both() -> None:
    """The server's; never beyond fifty seconds."""
    ends = opened(client={"keepalive": (10.0, 30.0)}, server={"keepalive": (45.0, 65.0)})

    assert [end.one(Opened).agreement.keepalive for end in ends.both] == [(45.0, 65.0)] * 2


@pytest.mark.conformance("F35", "F37")
def test_a_probe_is_answered_by_a_live_peer_and_fails_with_a_dead_one() -> None:
    """Within five seconds where nothing is known of the round trip; two who ask share one."""
    ends = opened()
    accepting = ends.server.session

    assert accepting.probe(0.0) == accepting.probe(0.0) == []
    ends.run()
    assert ends.server.of(ProbeAnswered) == [ProbeAnswered()]
    assert _types(ends.sent[ends.server]).count(FrameType.PING) == 1

    accepting.probe(10.0)
    accepting.data_to_send()
    assert accepting.next_deadline() == 11.0
    assert accepting.tick(11.0) == [ProbeFailed()]
    assert accepting.state is State.OPEN


def test_a_session_that_is_not_open_fails_its_probe() -> None:
    """There is nobody to ask."""
    assert server().probe(0.0) == [ProbeFailed()]


# Ends


@pytest.mark.conformance("Z17")
def test_a_lost_connection_fails_each_request_once() -> None:
    """Those that were sent, those that wait, and those of the peer."""
    ends = Ends(agent(), server(limits=Limits(active=1)))
    ids = [ends.client.session.request(b"q", {}, now=0.0) for _ in range(3)]
    ends.run()
    theirs = ends.server.session.request(b"exchange-now", {}, now=0.0)
    ends.run()

    ends.client.take(ends.client.session.receive_end(0.0))
    ends.client.take(ends.client.session.receive_end(1.0))

    assert sorted(event.request for event in ends.client.of(Aborted)) == sorted([*ids, theirs])
    assert ends.client.end == Closed(reason="lost", by_peer=True)
    with pytest.raises(LocalProtocolError):
        ends.client.session.request(b"q", {}, now=1.0)
    with pytest.raises(NotActive):
        ends.client.session.respond(theirs, [], end=True)


def test_a_connection_lost_before_there_is_a_session_ends_it() -> None:
    """For those who wait for it too."""
    session = agent()
    request = session.request(b"q", {}, now=0.0)

    assert session.receive_end(0.0) == [Aborted(request, "lost"), Closed(reason="lost", by_peer=True)]


@pytest.mark.conformance("M8")
@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize(
    ("cut", "missing"), [(0, None), (3, "5 octets of its header"), (10, "2 octets of its payload")]
)
def test_what_is_missing_of_a_frame_is_told(opens: bool, cut: int, missing: str | None) -> None:
    """Where the input ends inside one, before there is a session too."""
    session = opened().server.session if opens else server()
    session.receive_data(_frame(FrameType.PING, b"1234", flags=0)[:cut], 0.0)

    end = _end_of(session.receive_end(0.0))

    assert (end.reason, bool(end.missing)) == ("lost", missing is not None)
    assert missing is None or f"{missing} are missing" in end.missing


def test_a_goodbye_ends_both_when_nothing_runs() -> None:
    """With the reason, a time to come back and a place to go."""
    ends = opened()

    ends.server.take(ends.server.session.close("shutdown", 5, "https://b/session/default", now=0.0))
    ends.run()

    assert ends.client.one(PeerClosed).reason == b"shutdown"
    assert ends.client.end == Closed(
        reason="shutdown", by_peer=True, retry_after=5, location="https://b/session/default"
    )
    assert ends.server.end == Closed(reason="shutdown")


def test_what_runs_may_end_after_a_goodbye() -> None:
    """New requests may not begin, on either side; the last says what was taken up."""
    ends = opened()
    request = ends.client.session.request(b"long", {}, now=0.0)
    ends.run()
    crossing = ends.client.session.request(b"late", {}, now=0.0)

    ends.server.take(ends.server.session.close("shutdown", now=0.0))
    ends.run()
    with pytest.raises(LocalProtocolError, match="closing"):
        ends.client.session.request(b"x", {}, now=0.0)
    assert ends.client.one(PeerClosed).last == request
    ends.server.session.respond(request, [1], end=True)
    ends.run()
    ends.wait(5.0)

    assert ends.client.one(Responded).values == (1,)
    assert [event.request for event in ends.client.of(Aborted)] == [crossing]
    assert len(ends.server.of(Requested)) == 1
    assert isinstance(ends.client.end, Closed)
    assert isinstance(ends.server.end, Closed)


def test_an_answer_that_drains_ends_the_session_at_once() -> None:
    """Not after the five seconds."""
    ends = opened()
    request = ends.client.session.request(b"long", {}, now=0.0)
    ends.run()
    ends.server.take(ends.server.session.close("shutdown", now=0.0))
    ends.run()

    ends.server.session.respond(request, [1], end=True)
    ends.client.take(ends.client.session.receive_data(ends.server.session.data_to_send(), 0.0))
    assert ends.server.session.next_deadline() == 0.0
    ends.wait(0.0)

    assert ends.client.end is not None
    assert ends.server.end is not None


def _attempt(phase: str) -> Ends:
    """A client's attempt that has come so far."""
    on_event = agreeable if phase == "open" else _ignore
    ends = Ends(agent(), server(), on_event=on_event)
    return ends if phase == "greeting" else ends.run()


@pytest.mark.conformance("F27", "Z25")
@pytest.mark.parametrize("phase", ["greeting", "awaiting", "open"])
def test_of_several_attempts_the_losers_are_dropped_in_whatever_phase(phase: str) -> None:
    """The first that has a session wins; what is said to the others does not touch it, and each ends once on both sides."""
    winner, loser = opened(), _attempt(phase)
    assert loser.client.session.state.value == phase

    loser.client.take(loser.client.session.close("superseded", now=0.0))
    loser.run()
    request = winner.client.session.request(b"ping", {}, now=0.0)
    winner.run()

    assert all(end.end is not None for end in loser.both)
    assert winner.server.one(Requested).request == request


@pytest.mark.conformance("F29")
def test_later_requests_use_the_session_that_there_is() -> None:
    """In both directions, with no further hello."""
    ends = opened()
    for _ in range(3):
        request = ends.client.session.request(b"ping", {}, now=0.0)
        ends.run()
        ends.server.session.respond(request, [], end=True)
        request = ends.server.session.request(b"exchange-now", {}, now=0.0)
        ends.run()
        ends.client.session.respond(request, [], end=True)
        ends.run()

    for end in ends.both:
        assert _types(ends.sent[end]).count(FrameType.HELLO) == 1
        assert len(end.of(Responded)) == len(end.of(Requested)) == 3


@pytest.mark.conformance("F39")
def test_a_replaced_connections_requests_fail_with_that_reason() -> None:
    """At the latest after five seconds, when the peer is gone."""
    ends = opened()
    request = ends.server.session.request(b"exchange-now", {}, now=0.0)

    ends.server.take(ends.server.session.close("replaced", now=0.0))
    assert ends.server.session.next_deadline() == 5.0
    events = ends.server.session.tick(5.0)

    assert events == [Aborted(request, "replaced"), Closed(reason="replaced")]


def test_goodbye_is_said_once() -> None:
    """However often it is asked for; before a session it ends it."""
    ends = opened()
    assert ends.client.session.close("done", now=0.0) == []
    assert ends.client.session.close("done", now=0.0) == []
    assert ends.client.session.state is State.CLOSING
    assert ends.client.session.next_deadline() == 5.0
    assert _types(ends.client.session.data_to_send()) == [FrameType.CLOSE]

    early = agent()
    assert early.close("done", now=0.0) == [Closed(reason="done")]
    assert early.close("done", now=0.0) == []


@pytest.mark.conformance("Z24")
def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """More than sixteen megabytes lie unsent; writes come in pieces of the size that is asked for."""
    ends = Ends(agent(), server(limits=Limits(unsent_close=100_000))).run()
    request = ends.client.session.request(b"much", {}, now=0.0)
    ends.run()
    accepting = ends.server.session

    accepting.respond(request, [b"x" * 50_000], end=False)
    assert accepting.next_deadline() != 0.0
    accepting.respond(request, [b"x" * 60_000], end=False)
    assert accepting.unsent_of(request) > 100_000
    assert len(accepting.data_to_send(1000)) == 1000
    assert accepting.next_deadline() == 0.0

    assert accepting.tick(0.0) == [Aborted(request, "slow"), Closed(reason="slow")]


def test_wrong_use_raises_and_changes_nothing() -> None:
    """Ours, that is."""
    ends = opened()
    session = ends.server.session
    with pytest.raises(LocalProtocolError, match="we decide"):
        session.decide(connection=(SERVER_LIFE, 2), now=0.0)
    with pytest.raises(LocalProtocolError, match="close it"):
        session.refuse("x", "y", now=0.0)
    with pytest.raises(NotActive):
        session.respond(1, [], end=True)
    assert session.state is State.OPEN

    refused = server()
    refused.refuse("draining", "later", now=0.0)
    assert refused.refuse("draining", "later", now=0.0) == []


def test_a_peers_words_are_safe_in_a_log() -> None:
    """Reasons are bounded and printable."""
    ends = opened()
    goodbye = {b"reason": b"\x1b[31m" + b"x" * 5000, b"retry-after": -5, b"location": b"\n"}

    ends.server.take(ends.server.session.receive_data(_frame(FrameType.CLOSE, goodbye), 0.0))

    end = ends.server.end
    assert end.reason.isprintable()
    assert len(end.reason) == 1000
    assert (end.retry_after, end.location) == (0, "?")


# Anything


RANGES = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda pair: (min(pair), max(pair)))
WORDS = st.lists(st.sampled_from(["cancel", "credit", "notify", "push"]), unique=True).map(tuple)
CODECS = st.lists(st.sampled_from(["cbor", "hg-cbor"]), unique=True, min_size=1).map(tuple)
IDS = st.sampled_from([None, "a:1", "a:2", "s:1", "s:2"])
PROFILES = st.fixed_dictionaries(
    {
        "versions": RANGES,
        "capabilities": WORDS,
        "codecs": CODECS,
        "id": IDS,
        "announces_proof": st.booleans(),
        "keepalive": st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: (pair[0], sum(pair))),
    }
)
LIMITS = st.builds(
    Limits,
    frame=st.integers(256, 70_000),
    request=st.integers(256, 70_000),
    active=st.integers(1, 3),
    credit=st.integers(1024, 70_000),
)


def _usable(us: dict[str, Any]) -> dict[str, Any]:
    return us if us["id"] else {**us, "announces_proof": False}


@given(PROFILES, PROFILES, LIMITS, LIMITS, st.integers(0, 2**32))
def test_any_two_ends_agree_or_both_refuse(
    ours: dict[str, Any], theirs: dict[str, Any], our_limits: Limits, their_limits: Limits, seed: int
) -> None:
    """However they are configured and however the octets are cut; if they agree, requests work."""
    ours, theirs = _usable(ours), _usable(theirs)
    ends = Ends(
        agent(us=ours, limits=our_limits, master_secret=b"secret"),
        server(us=theirs, limits=their_limits, master_secret=b"secret"),
        seed=seed,
    )
    waiting = ends.client.session.request(b"ping", {b"x": b"y"}, now=0.0)
    ends.run()

    agreements = [end.of(Opened) for end in ends.both]
    if not all(agreements):
        assert not any(agreements)
        assert all(isinstance(end.end, Refused) for end in ends.both)
        texts = {end.end.text for end in ends.both}
        assert all(
            f"{low} to {high}" in text
            for text in texts
            for low, high in (ours["versions"], theirs["versions"])
        ) or all("no codec" in text for text in texts)
        return
    one, two = (found[0].agreement for found in agreements)
    assert evolve(one, peer=two.peer, is_master=two.is_master) == two
    assert one.is_master != two.is_master
    assert ends.server.one(Requested).request == waiting
    ends.server.session.respond(waiting, [b"z" * 3000], end=True)
    ends.run()
    assert b"".join(value for event in ends.client.of(Responded) for value in event.values) == b"z" * 3000


FRAME_TYPES = st.integers(0, 15)
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(
            [b"name", b"args", b"versions", b"proof", b"version", b"codec", b"error", b"reason", b"status"]
        ),
        st.one_of(
            st.integers(-3, 3), st.binary(max_size=4), st.lists(st.integers(0, 3), max_size=3), st.none()
        ),
        max_size=4,
    ).map(cbor2.dumps),
)
FRAMES = st.builds(
    lambda type, request, stream, stream_flags, flags, payload: encode_frame(
        Frame(type, request, stream, stream_flags, flags, payload)
    ),
    FRAME_TYPES,
    st.integers(0, 5),
    st.integers(0, 4),
    st.integers(0, 3),
    st.integers(0, 7),
    PAYLOADS,
)
PHASES = st.sampled_from(
    [
        "new",
        "proving",
        "offered",
        "open",
        "busy",
        "closing",
        "client",
        "awaiting",
        "client-open",
        "client-busy",
    ]
)


def _at(phase: str) -> Session:
    """An end in a phase of its life."""
    if "client" in phase or phase == "awaiting":
        return _client_at(phase)
    session = server(evidence=Evidence())
    if phase == "new":
        return session
    proof: dict[str, Any] = (
        {"id": "a:1", "nonce": b"n" * 32, "proof": b"hmac-sha256"} if phase == "proving" else {}
    )
    session.receive_data(_hello(Role.CLIENT, capabilities=("push", "credit", "cancel"), **proof), 0.0)
    if phase in ("open", "busy", "closing"):
        session.decide(connection=(SERVER_LIFE, 1), now=0.0)
    if phase in ("busy", "closing"):
        session.receive_data(_frame(FrameType.REQUEST, {b"name": b"x"}, flags=1, request=1), 0.0)
        session.request(b"y", {}, now=0.0)
        session.data_to_send()
    if phase == "closing":
        session.close("done", now=0.0)
    return session


def _client_at(phase: str) -> Session:
    session = agent(master_secret=b"secret")
    if phase == "client":
        return session
    proof: dict[str, Any] = {"nonce": b"n" * 32, "proof": b"hmac-sha256"} if phase == "awaiting" else {}
    session.receive_data(_hello(Role.SERVER, id="s:x", capabilities=("push", "credit"), **proof), 0.0)
    if phase != "awaiting":
        decision = {b"version": 1, b"codec": b"cbor", b"capabilities": [b"credit", b"push"]}
        session.receive_data(_frame(FrameType.DECISION, decision, stream=2), 0.0)
        assert session.state is State.OPEN
    if phase == "client-busy":
        session.request(b"x", {}, now=0.0)
        session.request(b"y", {}, data=b"z" * 100_000, now=0.0)
        session.data_to_send(1000)
    return session


@pytest.mark.conformance("Z16")
@given(PHASES, st.lists(st.one_of(FRAMES, st.binary(max_size=30)), max_size=8), st.integers(1, 50))
def test_whatever_comes_nothing_is_raised(phase: str, pieces: list[bytes], cut: int) -> None:
    """At most one end, always a deadline until then, and little is kept."""
    session, events = _at(phase), []
    octets = b"".join(pieces)
    for start in range(0, len(octets), cut):
        events += session.receive_data(octets[start : start + cut], float(start))
        ends = [event for event in events if isinstance(event, ENDS)]
        assert len(ends) <= 1
        assert (session.next_deadline() is None) == bool(ends)
        assert len(session._early._buffer) <= 17_000
        session.data_to_send()
    for now in (60.0, 600.0, 6000.0):
        events += session.tick(now)
    assert len([event for event in events if isinstance(event, ENDS)]) == 1
    assert isinstance(events[-1], ENDS)
    aborted = [event.request for event in events if isinstance(event, Aborted)]
    assert len(aborted) == len(set(aborted))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ask",
                "ask",
                "ask-data",
                "answer",
                "answer",
                "part",
                "fail",
                "cancel",
                "drop",
                "wait",
                "close",
                "run",
            ]
        ),
        st.sampled_from(["client", "server"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


class _Use:
    """An application at both ends that does what it is told, as far as there is anything to do it with."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.asked: dict[End, list[int]] = {end: [] for end in ends.both}
        self.cancelled: dict[End, set[int]] = {end: set() for end in ends.both}

    def do(self, step: str, end: End, number: int) -> None:
        """One step. What is wrong use by now, since the other end or the session was quicker, is told as such."""
        with suppress(LocalProtocolError):
            getattr(self, "_" + step.replace("-", "_"))(end, number)
        self.ends.run()

    def _ask(self, end: End, number: int) -> None:
        args = {b"n": number}
        self.asked[end].append(end.session.request(b"ping", args, now=self.ends.now))

    def _ask_data(self, end: End, number: int) -> None:
        data = b"d" * (number * 20_000)
        self.asked[end].append(end.session.request(b"put", {}, data=data, now=self.ends.now))

    def _running(self, end: End, number: int) -> int:
        asked = end.of(Requested)
        return asked[number % len(asked)].request if asked else 1

    def _answer(self, end: End, number: int) -> None:
        end.session.respond(self._running(end, number), [b"v" * (number * 20_000)], end=True)

    def _part(self, end: End, number: int) -> None:
        end.session.respond(self._running(end, number), [number], end=False)

    def _fail(self, end: End, number: int) -> None:
        end.session.fail(self._running(end, number), "no", "not now")

    def _drop(self, end: End, number: int) -> None:
        end.session.drop(self._running(end, number))

    def _cancel(self, end: End, number: int) -> None:
        if self.asked[end]:
            request = self.asked[end][number % len(self.asked[end])]
            end.session.cancel(request)
            self.cancelled[end].add(request)

    def _wait(self, _end: End, number: int) -> None:
        self.ends.wait(number * 2.0)

    def _close(self, end: End, number: int) -> None:
        if not number:
            end.take(end.session.close("done", now=self.ends.now))

    def _run(self, _end: End, _number: int) -> None:
        self.ends.run()


@pytest.mark.conformance("Z17", "F39")
@given(STEPS, LIMITS, LIMITS, st.integers(0, 2**32))
def test_whatever_two_ends_do_each_request_ends_once(
    steps: list[tuple[str, str, int]], ours: Limits, theirs: Limits, seed: int
) -> None:
    """Answered, failed or aborted; one that was taken back has no end. Nobody breaks a rule by using a session."""
    ends = Ends(agent(limits=ours), server(limits=theirs), seed=seed)
    use = _Use(ends)
    for step, who, number in steps:
        use.do(step, getattr(ends, who), number)
    for end in ends.both:
        end.take(end.session.receive_end(ends.now))

    for end in ends.both:
        assert not end.of(Broken)
        over = [event.request for event in end.of(Responded) if event.end]
        over += [event.request for event in end.of(Failed)]
        over += [event.request for event in end.of(Aborted) if event.request in use.asked[end]]
        assert sorted(over) == sorted(set(use.asked[end]) - use.cancelled[end])


def test_a_waiting_request_that_has_all_its_data_takes_no_more() -> None:
    """The one that asks wrongly is told at once, and not whoever opens the session later."""
    client = agent()
    whole = client.request(b"a", {}, data=b"all", has_data=True, now=0.0)
    taken_back = client.request(b"b", {}, has_data=True, now=0.0)
    client.cancel(taken_back)

    for request in (whole, taken_back):
        with pytest.raises(LocalProtocolError, match="takes no data"):
            client.send_data(request, b"more", end=True)
