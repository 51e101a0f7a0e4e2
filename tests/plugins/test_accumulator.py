"""Readings become points at the multiples of a step, whatever the clock and the pauses do."""

from hypothesis import given
from hypothesis import strategies as st

from fieldpost.plugins import Means, Point, Sums

T = 1_700_000_100
"""A multiple of 300."""


def test_amounts_of_a_step_are_one_point_at_its_end() -> None:
    """Ten readings of half a minute each, one point."""
    sums = Sums(step=300, now=T)

    points = [point for i in range(1, 11) for point in sums.add(T + 30 * i, [10, 1])]

    assert points == [Point(T + 300, (100, 10))]


def test_a_reading_across_a_cut_is_shared_out() -> None:
    """By the time on each side; whole amounts stay whole, and none is lost."""
    sums = Sums(step=300, now=T + 280)

    assert sums.add(T + 360, [101, 10.0]) == [Point(T + 300, (25, 2.5))]
    assert sums.cut(T + 370) == [Point(T + 370, (76, 7.5))]


def test_a_reading_on_the_cut_belongs_to_the_step_that_ends() -> None:
    """The next begins at nothing."""
    sums = Sums(step=300, now=T)

    assert sums.add(T + 300, [7]) == [Point(T + 300, (7,))]
    assert sums.cut(T + 310) == [Point(T + 310, (0,))]


def test_steps_end_at_the_same_times_on_every_machine() -> None:
    """Whenever it began."""
    sums = Sums(step=300, now=T + 123.4)

    points = [point for i in range(1, 25) for point in sums.add(T + 123.4 + 30 * i, [1])]

    assert [point.time for point in points] == [T + 300, T + 600]


def test_a_cut_ends_a_step_early_and_the_next_one_on_time() -> None:
    """As for the first report."""
    sums = Sums(step=300, now=T)
    sums.add(T + 2, [5])

    assert sums.cut(T + 2) == [Point(T + 2, (5,))]
    assert sums.add(T + 300, [6]) == [Point(T + 300, (6,))]


def test_a_cut_with_nothing_added_makes_no_point() -> None:
    """There is nothing to tell."""
    assert Sums(step=300, now=T).cut(T + 5) == []
    assert Means(step=300, now=T).cut(T + 5) == []


def test_amounts_over_a_long_sleep_are_kept_and_not_spread() -> None:
    """What was before the sleep is a point of its own; the sum is right."""
    sums = Sums(step=300, now=T)
    sums.add(T + 30, [10])

    assert sums.add(T + 8000, [90]) == [Point(T + 30, (10,))]
    assert sums.cut(T + 8010) == [Point(T + 8010, (90,))]


def test_a_clock_that_is_set_back_loses_no_amount() -> None:
    """The points then go back in time, as the clock did."""
    sums = Sums(step=300, now=T + 1000)
    sums.add(T + 1030, [10])

    assert sums.add(T - 5000, [3]) == [Point(T + 1030, (10,))]
    assert sums.cut(T - 4990) == [Point(T - 4990, (3,))]


def test_a_level_is_its_mean_over_time() -> None:
    """A level that held for longer weighs more."""
    means = Means(step=300, now=T)
    means.add(T + 200, [1.0])

    assert means.add(T + 300, [4.0]) == [Point(T + 300, (2.0,))]


def test_a_level_across_a_cut_counts_on_both_sides() -> None:
    """Its mean is the same on both."""
    means = Means(step=300, now=T + 290)

    assert means.add(T + 310, [0.5]) == [Point(T + 300, (0.5,))]
    assert means.cut(T + 310) == [Point(T + 310, (0.5,))]


def test_a_level_during_a_long_sleep_is_not_made_up() -> None:
    """The point before ends with the last reading; counting begins anew."""
    means = Means(step=300, now=T)
    means.add(T + 30, [0.25])

    assert means.add(T + 9000, [1.0]) == [Point(T + 30, (0.25,))]
    assert means.add(T + 9030, [0.75]) == []
    assert means.cut(T + 9030) == [Point(T + 9030, (0.75,))]


def test_a_clock_that_is_set_back_does_not_spoil_a_mean() -> None:
    """No weight is negative."""
    means = Means(step=300, now=T)
    means.add(T + 30, [0.25])

    assert means.add(T - 900, [1.0]) == [Point(T + 30, (0.25,))]
    assert means.add(T - 870, [0.5]) == []
    assert means.cut(T - 870) == [Point(T - 870, (0.5,))]


@given(
    st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 10**12)), max_size=40), st.integers(1, 1000)
)
def test_no_amount_is_lost_or_made_up(readings: list[tuple[int, int]], step: int) -> None:
    """Whatever the clock does, the points add up to the amounts."""
    now = float(T)
    sums = Sums(step=step, now=now)
    points = []

    for passed, amount in readings:
        now += passed
        points += sums.add(now, [amount])
    points += sums.cut(now)

    assert sum(point.values[0] for point in points) == sum(amount for _, amount in readings)


@given(st.lists(st.tuples(st.floats(-5000, 5000), st.floats(0, 1)), max_size=40), st.integers(1, 1000))
def test_a_mean_lies_within_what_was_read(readings: list[tuple[float, float]], step: int) -> None:
    """Whatever the clock does."""
    now = float(T)
    means = Means(step=step, now=now)
    points = []

    for passed, level in readings:
        now += passed
        points += means.add(now, [level])
    points += means.cut(now)

    assert all(-1e-9 <= point.values[0] <= 1 + 1e-9 for point in points)
