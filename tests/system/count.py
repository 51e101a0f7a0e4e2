"""The oracle: what the counting plugin was told, against what the server has."""

from .polling import until
from .station import ARRIVAL_LIMIT, COUNTING, Station


def await_exactly_once(station: Station) -> int:
    """
    Stop the counting, wait until the server has all that was answered, and compare. Returns how much that was.

    Raises AssertionError when an answered message is missing, when any is there twice, or when the order is another.
    """
    station.machine.run("systemctl", "stop", COUNTING)
    answered = {(life, int(word)) for life, word in station.book() if word != "start"}
    lives = [life for life, word in station.book() if word == "start"]
    until(lambda: not missing(station, answered), limit=ARRIVAL_LIMIT, what="all that was answered arrives")

    received = arrived(station)

    assert len(received) == len(set(received)), f"doubled: {_doubled(received)[:20]}"
    assert received == sorted(received, key=lambda one: (lives.index(one[0]), one[1])), "another order"
    return len(answered)


def arrived(station: Station) -> list[tuple[str, int]]:
    """Life and number of each counted message in the server's database, in the order in which they arrived."""
    bodies = [message["body"] for message in station.messages("counting")]
    return [(str(body["life"]), int(body["number"])) for body in bodies]


def missing(station: Station, answered: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Which of these the server does not have (yet)."""
    return sorted(answered - set(arrived(station)))


def _doubled(received: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted({one for one in received if received.count(one) > 1})
