"""The oracle: what the counting plugin was told, against what the server has."""

from collections import Counter

from .polling import until
from .station import ARRIVAL_LIMIT, COUNTING, Station

Counted = tuple[str, int]
"""The life that sent a message, and its number there."""


def await_exactly_once(station: Station) -> int:
    """
    Stop the counting, wait until the server has all that was answered, and compare. Returns how much that was.

    Raises AssertionError when an answered message is missing, when any is there twice, or when the order is another.
    """
    station.machine.run("systemctl", "stop", COUNTING)
    answered = {(life, int(word)) for life, word in station.book() if word != "start"}
    lives = [life for life, word in station.book() if word == "start"]
    received = until(
        lambda: arrived_with(station, answered), limit=ARRIVAL_LIMIT, what="all that was answered arrives"
    )

    wrong = faults(answered, lives, received)
    assert not wrong, wrong
    return len(answered)


def faults(answered: set[Counted], lives: list[str], received: list[Counted]) -> list[str]:
    """What is wrong with what arrived, in words; `lives` are in the order in which they began."""
    lost = sorted(answered - set(received))
    doubled = sorted({one for one, times in Counter(received).items() if times > 1})
    in_order = sorted(received, key=lambda one: (lives.index(one[0]), one[1]))
    moved = [there for here, there in zip(in_order, received, strict=True) if here != there]
    named = {"lost": lost, "doubled": doubled, "out of order": moved}
    return [f"{len(which)} {word}: {which[:20]}" for word, which in named.items() if which]


def arrived(station: Station) -> list[Counted]:
    """Life and number of each counted message in the server's database, in the order in which they arrived."""
    bodies = [message["body"] for message in station.messages("counting")]
    return [(str(body["life"]), int(body["number"])) for body in bodies]


def arrived_with(station: Station, answered: set[Counted]) -> list[Counted]:
    """What has arrived, once these have; else nothing."""
    received = arrived(station)
    return received if answered <= set(received) else []
