"""The words of the local protocol: each travels there and back, and two versions meet."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.wire import local
from fieldpost.wire.cbor import decode, encode
from fieldpost.wire.errors import Malformed, RemoteProtocolError
from fieldpost.wire.local import (
    CALLS,
    EVENTS,
    Attachment,
    Deliver,
    Event,
    ExchangeSoon,
    FetchAttachment,
    Handle,
    Hello,
    Nothing,
    Notification,
    NoVersion,
    OpenSession,
    Outcome,
    Output,
    Ping,
    Refusal,
    Refused,
    Report,
    Send,
    Session,
    Stored,
    Subscribe,
    Unavailable,
    Unsubscribe,
    Welcome,
    choose_version,
)
from fieldpost.wire.schema import from_map, to_map

from .values import same, scalars, types

naturals = st.integers(0, 2**63 - 1)
integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=20)
text_tuples = st.lists(texts, max_size=3).map(tuple)
maps = st.dictionaries(texts, scalars, max_size=3)
small_messages = st.builds(lambda kind, item: {"type": kind, "item": item}, types, scalars)

WORDS = {
    Hello: st.builds(
        Hello, oldest=integers, newest=integers, instance=texts, plugins=text_tuples, events=text_tuples
    ),
    Welcome: st.builds(
        Welcome,
        version=integers,
        accepted_types=text_tuples,
        registered=st.booleans(),
        server_uuid=st.none() | texts,
        last_batch=naturals,
    ),
    OpenSession: st.builds(OpenSession, plugin=texts, scope=st.none() | texts),
    Session: st.builds(Session, session_id=texts),
    Send: st.builds(
        Send,
        plugin=texts,
        batch=naturals,
        session_id=st.none() | texts,
        urgent=st.booleans(),
        messages=st.lists(small_messages.map(encode), max_size=3).map(tuple),
    ),
    Stored: st.builds(
        Stored,
        stored=naturals,
        refused=st.lists(st.builds(Refusal, index=naturals, code=texts, text=texts), max_size=3).map(tuple),
    ),
    Handle: st.builds(Handle, plugin=texts, types=text_tuples),
    Deliver: st.builds(Deliver, plugin=texts, number=naturals, message=small_messages),
    Outcome: st.builds(
        Outcome, status=texts, result_code=st.none() | integers, result_text=st.none() | texts
    ),
    Event: st.builds(Event, name=st.sampled_from(EVENTS), details=maps),
    ExchangeSoon: st.builds(ExchangeSoon, at_once=st.booleans()),
    Report: st.builds(Report, status=maps),
    Output: st.builds(
        Output,
        plugin=texts,
        operation=integers,
        text=texts,
        topic=st.none() | texts,
        position=naturals,
        total=st.none() | naturals,
    ),
    FetchAttachment: st.builds(FetchAttachment, plugin=texts, operation=integers, id=integers),
    Attachment: st.builds(Attachment, octets=st.binary(max_size=20)),
    Subscribe: st.builds(Subscribe, plugin=texts, topic=texts, since=st.none() | integers),
    Unsubscribe: st.builds(Unsubscribe, plugin=texts, topic=texts),
    Notification: st.builds(
        Notification, plugin=texts, topic=texts, seq=integers, value=scalars | maps, gap=st.booleans()
    ),
    Ping: st.builds(Ping, plugin=texts),
    Nothing: st.just(Nothing()),
}


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.__name__)
@given(data=st.data())
def test_every_word_survives_the_way_there_and_back(word: type, data: st.DataObject) -> None:
    """Through CBOR, with every field."""
    said = data.draw(WORDS[word])

    assert same(from_map(word, decode(encode(to_map(said)))), said)


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.__name__)
@given(data=st.data())
def test_any_map_at_all_is_the_word_or_malformed(word: type, data: st.DataObject) -> None:
    """A plugin in another language may send whatever it likes."""
    written = to_map(data.draw(WORDS[word]))
    wrong = data.draw(
        st.dictionaries(st.sampled_from([*written, "other"]), scalars | st.just([1]), max_size=2)
    )

    try:
        assert isinstance(from_map(word, {**written, **wrong}), word)
    except Malformed as error:
        assert any(str(error).startswith(f"`{name}`") for name in wrong)


def test_all_that_calls_and_answers_carry_is_tested_here() -> None:
    """A new word comes with its strategy."""
    carried = {word for pair in CALLS.values() for word in pair}

    assert carried == set(WORDS)


def test_every_event_has_a_name_of_its_own() -> None:
    """Landscape 1.13 has the first seven."""
    assert len(set(EVENTS)) == len(EVENTS) == 9


def test_a_message_that_is_none_is_not_delivered() -> None:
    """The plugin's side checks it as the broker's does."""
    with pytest.raises(Malformed, match=r"^`message`: a message needs a `type` that is text$"):
        from_map(Deliver, {"plugin": "p", "number": 1, "message": {}})


# Versions


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 1), (1, 9), 1),
        ((1, 1), (0, 1), 1),
        ((1, 1), (-5, 9), 1),
        ((1, 1), (2, 3), None),
        ((1, 1), (0, 0), None),
        ((1, 1), (1, 0), None),
        ((1, 1), (9, 1), None),
        ((2, 4), (1, 3), 3),
        ((2, 4), (3, 3), 3),
        ((2, 4), (4, 8), 4),
        ((2, 4), (1, 2), 2),
        ((2, 4), (1, 1), None),
        ((2, 4), (5, 8), None),
        ((2, 4), (4, 3), None),
    ],
)
def test_the_newest_version_that_both_speak_is_chosen(
    ours: tuple[int, int], theirs: tuple[int, int], chosen: int | None
) -> None:
    """And none where the ranges do not meet, or where the peer's is none."""
    if chosen is None:
        with pytest.raises(NoVersion) as caught:
            choose_version(*theirs, ours=ours)
        assert f"{theirs[0]} to {theirs[1]}" in str(caught.value)
        assert "bring the older of the two up to date" in str(caught.value)
    else:
        assert choose_version(*theirs, ours=ours) == chosen


def test_versions_are_ours_when_nothing_else_is_said() -> None:
    """This release speaks one."""
    assert choose_version(local.OLDEST_VERSION, 99) == local.NEWEST_VERSION


@pytest.mark.parametrize(
    ("error", "code"), [(Refused, "REFUSED"), (Unavailable, "UNAVAILABLE"), (NoVersion, "NO-VERSION")]
)
def test_an_error_answer_has_the_code_of_its_kind(
    error: Callable[[str], RemoteProtocolError], code: str
) -> None:
    """The code travels, and so does the text."""
    raised = error("why")

    assert (raised.code, str(raised)) == (code, "why")
