"""When a session is tried for: after which pause, and never as one with the rest of the fleet."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldpost.broker.session.course import (
    BASE,
    CAP,
    FIRST_SPREAD,
    HELD,
    HOURLY,
    MAX_RETRY_AFTER,
    REPLACED_PAUSE,
    SLOW,
    TRANSITIONS,
    Course,
    CourseError,
    Input,
    State,
    diagram,
)
from tests.broker.fakes import NoSpread, SteadyRandom

MOVES: dict[Input, Any] = {
    Input.START: lambda course: course.start(0.0),
    Input.STOP: lambda course: course.stop(),
    Input.HURRY: lambda course: course.hurry(0.0),
    Input.DUE: lambda course: course.begin(),
    Input.OPENED: lambda course: course.opened(0.0),
    Input.FAILED: lambda course: course.failed(0.0, "why"),
    Input.NO_UPGRADE: lambda course: course.no_upgrade(0.0, "why"),
    Input.REFUSED: lambda course: course.refused(0.0, "why"),
    Input.ENDED: lambda course: course.ended(0.0, "why"),
}
WAYS = {
    State.STOPPED: (),
    State.WAITING: (Input.START,),
    State.OPENING: (Input.START, Input.DUE),
    State.OPEN: (Input.START, Input.DUE, Input.OPENED),
    State.FALLBACK: (Input.START, Input.DUE, Input.NO_UPGRADE),
    State.BARRED: (Input.START, Input.DUE, Input.REFUSED),
}


def course(state: State, random: Random | None = None) -> Course:
    found = Course(random=random or SteadyRandom())
    for move in WAYS[state]:
        MOVES[move](found)
    assert found.state is state
    return found


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("move", Input)
def test_every_pair(state: State, move: Input) -> None:
    """Is in the table, or an error that changes nothing."""
    found = course(state)

    if (state, move) in TRANSITIONS:
        MOVES[move](found)
        assert found.state is TRANSITIONS[state, move]
    else:
        with pytest.raises(CourseError, match=f"{move.value} cannot happen to a course {state.value}"):
            MOVES[move](found)
        assert found.state is state


@given(st.lists(st.sampled_from(Input), max_size=30))
def test_something_is_due_exactly_while_it_waits(moves: list[Input]) -> None:
    """Whatever happens."""
    found = Course(random=Random(1))
    for move in moves:
        if (found.state, move) in TRANSITIONS:
            MOVES[move](found)
        assert (found.due_at is not None) == (found.state in (State.WAITING, State.FALLBACK, State.BARRED))


def test_the_first_attempt_comes_soon_but_not_at_once() -> None:
    """A hall of machines that got its power back does not call as one."""
    dues = {course(State.WAITING, Random(seed)).due_at for seed in range(20)}

    assert len(dues) == 20
    assert all(due is not None and 0 <= due <= FIRST_SPREAD for due in dues)


def test_the_pause_grows_to_its_cap() -> None:
    """From 5 s to 15 min, drawn from nothing to that."""
    found, pauses = course(State.WAITING), []
    for _ in range(12):
        found.begin()
        found.failed(100.0, "why")
        assert found.due_at is not None
        pauses.append(found.due_at - 100.0)

    assert pauses[:4] == [BASE, 2 * BASE, 4 * BASE, 8 * BASE]
    assert pauses[-1] == CAP
    lucky = course(State.OPENING, NoSpread())
    lucky.failed(100.0, "why")
    assert lucky.due_at == 100.0


def test_a_session_that_held_ends_the_series() -> None:
    """One that was lost at once does not."""
    for lived, pause in ((HELD, BASE), (HELD - 1, 4 * BASE)):
        found = course(State.OPENING)
        for _ in range(2):
            found.failed(0.0, "why")
            found.begin()
        found.opened(100.0)
        found.ended(100.0 + lived, "lost")

        assert found.due_at == 100.0 + lived + pause


@pytest.mark.conformance("N22")
def test_what_the_server_asks_for() -> None:
    """It gets, and some more by chance, within reason."""
    for wish, least, most in (
        (60.0, 60.0, 75.0),
        (1.0, 1.0, 6.0),
        (1e9, MAX_RETRY_AFTER, 1.25 * MAX_RETRY_AFTER),
    ):
        for random, expected in ((NoSpread(), least), (SteadyRandom(), most)):
            failed, ended = course(State.OPENING, random), course(State.OPEN, random)
            failed.failed(0.0, "busy", retry_after=wish)
            ended.ended(0.0, "drains", retry_after=wish)

            assert failed.due_at == ended.due_at == pytest.approx(expected)


@pytest.mark.parametrize("nonsense", [-1.0, 0.0, float("nan"), None])
def test_a_wish_that_is_none(nonsense: float | None) -> None:
    """Counts for nothing."""
    found = course(State.OPENING)
    found.failed(0.0, "why", retry_after=nonsense)

    assert found.due_at == BASE


def test_no_upgrade() -> None:
    """Tried again after an hour, more or less."""
    for random in (NoSpread(), SteadyRandom()):
        found = course(State.FALLBACK, random)

        assert found.due_at is not None
        assert 0.8 * HOURLY <= found.due_at <= 1.2 * HOURLY


def test_barred() -> None:
    """Tried again slowly, later still when the server says so."""
    assert course(State.BARRED).due_at == SLOW
    assert course(State.BARRED, NoSpread()).due_at == SLOW / 2
    found = course(State.OPENING)
    found.refused(0.0, "why", retry_after=10_000)

    assert found.due_at == 12_500


def test_replaced() -> None:
    """Whoever took our place has it for a while."""
    found = course(State.OPEN, NoSpread())
    found.ended(0.0, "replaced", is_replaced=True)

    assert found.due_at == REPLACED_PAUSE


def test_hurried() -> None:
    """An attempt comes at once, and after what is under way; the cause stays until there is a session."""
    for state in (State.WAITING, State.FALLBACK, State.BARRED):
        found = course(state)
        found.hurry(7.0)
        assert found.due_at == 7.0
    opening, ended = course(State.OPENING), course(State.OPEN)
    opening.hurry(7.0)
    opening.failed(8.0, "why")
    ended.hurry(7.0)
    ended.ended(8.0, "new identity", retry_after=600)

    assert opening.due_at == ended.due_at == 8.0
    assert ended.cause == "new identity"
    ended.begin()
    ended.opened(9.0)
    assert ended.cause is None
    ended.ended(10.0, "lost")
    assert ended.due_at == 10.0 + BASE, "what we end ourselves is no failure"


def test_the_way_is_open_again() -> None:
    """When exchanges get through again a session is tried soon, however long it was to be left alone, and the series ends."""
    for state in (State.WAITING, State.FALLBACK):
        found = course(State.OPENING)
        for _ in range(12):
            found.failed(0.0, "nothing listens there")
            found.begin()
        (found.failed if state is State.WAITING else found.no_upgrade)(0.0, "a login page")

        found.reached(100.0)

        assert found.due_at == 100.0 + FIRST_SPREAD
        assert found.cause is not None
        found.begin()
        found.failed(200.0, "why")
        assert found.due_at == 200.0 + BASE


def test_the_way_opens_under_an_attempt() -> None:
    """One that began before may fail yet; the next comes after the first pause."""
    found = course(State.OPENING)
    for _ in range(12):
        found.failed(0.0, "nothing listens there")
        found.begin()

    found.reached(100.0)
    found.failed(200.0, "nothing listens there")

    assert found.due_at == 200.0 + BASE


def test_the_way_is_open_and_the_server_wants_to_be_left_alone() -> None:
    """What it asked for it gets, and who took our place keeps it for a while; who is not let in, or stopped, is so still."""
    asked, replaced = course(State.OPENING), course(State.OPEN, NoSpread())
    asked.failed(0.0, "busy", retry_after=60.0)
    replaced.ended(0.0, "replaced", is_replaced=True)
    for found in (asked, replaced, *map(course, (State.BARRED, State.STOPPED, State.OPEN))):
        before = found.due_at

        found.reached(1.0)

        assert found.due_at == before


def test_the_page_shows_the_table() -> None:
    """docs/session.md has every move, as the table has it."""
    page = (Path(__file__).parents[3] / "docs" / "session.md").read_text()

    assert f"```\n{diagram()}\n```" in page
