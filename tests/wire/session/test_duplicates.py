"""A second connection of an id that has one."""

import pytest

from fieldpost.wire.session.duplicates import (
    Accept,
    CloneWatch,
    Live,
    Offer,
    Probe,
    Reject,
    Verdict,
    after_probe,
    judge,
)

MASTER, FORMER = b"master00", b"former00"
ONE, TWO = b"life-one", b"life-two"
LIVE = Live(incarnation=ONE, attempt=5, sequence=7, opened_at=100.0)


def _judge(
    offer: Offer, live: Live | None = LIVE, *, now: float = 110.0, old_after: float | None = None
) -> Verdict:
    return judge(offer, live, master=MASTER, now=now, old_after=old_after)


def test_the_first_connection_is_accepted() -> None:
    """There is nothing to replace."""
    assert isinstance(_judge(Offer(incarnation=None), None), Accept)


@pytest.mark.conformance("F30")
def test_a_new_incarnation_replaces() -> None:
    """The peer has restarted, whatever it remembers."""
    assert isinstance(_judge(Offer(incarnation=TWO)), Accept)
    assert isinstance(_judge(Offer(incarnation=TWO, last=(MASTER, 7))), Accept)


@pytest.mark.conformance("F31")
def test_a_peer_without_incarnation_is_refused_while_one_lives() -> None:
    """Once the live one has answered."""
    verdict = _judge(Offer(incarnation=None))

    assert isinstance(verdict, Probe)
    assert after_probe(verdict, answered=True) == verdict.otherwise
    assert verdict.otherwise.code == "duplicate"


@pytest.mark.conformance("F32")
def test_with_the_age_option_it_replaces_an_old_connection() -> None:
    """Sixty seconds, say; nought means at once."""
    offer = Offer(incarnation=None)

    assert isinstance(_judge(offer, now=159.0, old_after=60.0), Probe)
    assert isinstance(_judge(offer, now=160.0, old_after=60.0), Accept)
    assert isinstance(_judge(offer, now=100.0, old_after=0.0), Accept)


@pytest.mark.conformance("F33")
def test_a_peer_that_knows_a_former_life_of_mine_replaces() -> None:
    """It lost a decision of mine, or I restarted."""
    assert isinstance(_judge(Offer(incarnation=ONE, last=(FORMER, 9))), Accept)


@pytest.mark.conformance("F34")
def test_a_peer_that_names_the_live_connection_replaces_it() -> None:
    """It has left it, as behind a NAT that forgot."""
    assert isinstance(_judge(Offer(incarnation=ONE, last=(MASTER, 7))), Accept)


@pytest.mark.conformance("F35", "F36", "F37")
@pytest.mark.parametrize("last", [None, (MASTER, 6), (MASTER, 8)], ids=["none", "lower", "higher"])
def test_in_doubt_the_live_connection_is_asked_first(last: tuple[bytes, int] | None) -> None:
    """Lost decisions, parallel attempts and weird numbers: refused with a time to come back, or not at all."""
    verdict = _judge(Offer(incarnation=ONE, last=last))

    assert isinstance(verdict, Probe)
    assert isinstance(after_probe(verdict, answered=False), Accept)
    refused = after_probe(verdict, answered=True)
    assert isinstance(refused, Reject)
    assert refused.code == "duplicate"
    assert refused.retry_after > 0


@pytest.mark.parametrize("last", [None, (MASTER, 6), (MASTER, 8)], ids=["none", "lower", "higher"])
def test_a_newer_attempt_of_the_same_life_replaces(last: tuple[bytes, int] | None) -> None:
    """An agent keeps one session, so its older one is dead to it: no lost decision locks it out."""
    assert isinstance(_judge(Offer(incarnation=ONE, attempt=6, last=last)), Accept)


@pytest.mark.parametrize("attempt", [None, 4, 5])
def test_an_older_attempt_does_not(attempt: int | None) -> None:
    """It came late."""
    assert isinstance(_judge(Offer(incarnation=ONE, attempt=attempt)), Probe)


def _run(watch: CloneWatch, lives: str, *, every: float) -> list[bool]:
    """What the watch says of each life in turn, accepting those that it lets through."""
    found = []
    for number, life in enumerate(lives):
        now = number * every
        is_clone = watch.is_clone("a:1", life.encode(), now)
        found.append(is_clone)
        if not is_clone:
            watch.accepted("a:1", life.encode(), now)
    return found


def test_lives_that_take_turns_are_clones_at_the_fourth_change() -> None:
    """More than three changes within ten minutes, and a life that comes back."""
    assert _run(CloneWatch(), "ABABA", every=10.0) == [False, False, False, False, True]


def test_the_one_that_stays_is_no_clone() -> None:
    """Only the newer is refused; the connection that lives may come again."""
    assert _run(CloneWatch(), "ABABAB", every=10.0)[-1] is False


def test_a_machine_that_restarts_often_is_no_clone() -> None:
    """Each start has its own incarnation, and none comes back."""
    assert not any(_run(CloneWatch(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", every=1.0))


def test_a_life_that_reconnects_is_no_clone() -> None:
    """That is no change."""
    assert not any(_run(CloneWatch(), "AAAABBBBAAAABBBB", every=1.0))


def test_slow_changes_are_no_clones() -> None:
    """What happened more than ten minutes ago is forgotten."""
    assert not any(_run(CloneWatch(), "ABABABAB", every=301.0))


def test_three_machines_of_one_image_are_clones() -> None:
    """However many take turns."""
    assert any(_run(CloneWatch(), "ABCABCABC", every=1.0))


def test_ids_are_watched_apart() -> None:
    """And one that says no incarnation is not watched."""
    watch = CloneWatch()
    _run(watch, "ABAB", every=1.0)

    assert watch.is_clone("a:1", b"A", 5.0)
    assert not watch.is_clone("a:2", b"A", 5.0)
    assert not watch.is_clone("a:1", None, 5.0)
    watch.accepted("a:1", None, 5.0)
    assert watch.refusal().code == "clone"


def test_the_watch_stays_small() -> None:
    """However often an id changes hands."""
    watch = CloneWatch()
    for number in range(1000):
        watch.accepted("a:1", str(number).encode(), number * 0.001)

    assert len(watch._lives["a:1"]) <= 24
