"""Whether the other end lives."""

import pytest

from fieldpost.wire.session.keepalive import Keepalive


def _keepalive(random: float = 0.5) -> Keepalive:
    return Keepalive(interval=25.0, dead_after=45.0, now=100.0, random=lambda: random)


@pytest.mark.conformance("Z23", "F40")
def test_silence_is_pinged_once() -> None:
    """After the interval, not before; and not again before something came."""
    keepalive = _keepalive()

    assert keepalive.next_deadline() == 125.0
    assert keepalive.ping_due(124.9) is None
    assert keepalive.ping_due(125.0) is not None
    assert keepalive.ping_due(126.0) is None
    assert keepalive.next_deadline() == 145.0


@pytest.mark.conformance("Z23", "F40")
def test_any_octet_is_life() -> None:
    """Each puts the ping and the end off."""
    keepalive = _keepalive()
    keepalive.ping_due(125.0)

    keepalive.heard(130.0)

    assert keepalive.next_deadline() == 155.0
    assert not keepalive.is_dead(174.9)
    assert keepalive.ping_due(155.0) is not None


@pytest.mark.conformance("F41")
def test_a_silent_peer_is_dead() -> None:
    """At the deadline behind the ping."""
    keepalive = _keepalive()

    assert not keepalive.is_dead(144.9)
    assert keepalive.is_dead(145.0)


@pytest.mark.parametrize(("random", "first"), [(0.0, 122.5), (0.5, 125.0), (0.999, 127.495)])
def test_pings_of_many_do_not_come_together(random: float, first: float) -> None:
    """Ten percent earlier or later."""
    assert _keepalive(random).next_deadline() == pytest.approx(first)


def test_a_pong_tells_the_round_trip() -> None:
    """Smoothed over those before; unknown cookies tell nothing."""
    keepalive = _keepalive()
    first = keepalive.ping_due(125.0)
    assert first is not None

    assert not keepalive.answered(b"unknown", 125.1)
    assert not keepalive.answered(first, 125.8)
    assert keepalive.round_trip == pytest.approx(0.8)
    keepalive.answered(keepalive.probe(130.0), 130.0)
    assert keepalive.round_trip == pytest.approx(0.7)
    assert not keepalive.answered(first, 131.0)


def test_a_probe_waits_five_seconds() -> None:
    """When no round trip is known."""
    keepalive = _keepalive()
    keepalive.probe(100.0)

    assert keepalive.is_probing
    assert keepalive.next_deadline() == 105.0
    assert not keepalive.fail_probe(104.9)
    assert keepalive.fail_probe(105.0)
    assert not keepalive.is_probing
    assert not keepalive.fail_probe(106.0)


@pytest.mark.parametrize(("round_trip", "wait"), [(0.01, 1.0), (2.0, 6.0)])
def test_a_probe_waits_three_round_trips(round_trip: float, wait: float) -> None:
    """And a second at least."""
    keepalive = _keepalive()
    keepalive.answered(keepalive.probe(100.0), 100.0 + round_trip)

    keepalive.probe(110.0)

    assert keepalive.next_deadline() == pytest.approx(110.0 + wait)


def test_only_a_pong_answers_a_probe() -> None:
    """Its own, not that of an earlier ping, and no other octet."""
    keepalive = _keepalive()
    earlier = keepalive.ping_due(125.0)
    assert earlier is not None
    probe = keepalive.probe(125.0)

    keepalive.heard(126.0)
    assert not keepalive.answered(earlier, 126.0)
    assert keepalive.is_probing
    assert keepalive.answered(probe, 126.0)
    assert not keepalive.is_probing


def test_unanswered_pings_are_forgotten() -> None:
    """A peer that never answers costs nothing."""
    keepalive = _keepalive()
    cookies = [keepalive.probe(float(number)) for number in range(100, 200)]

    assert len(keepalive._pinged_at) <= 4
    assert not keepalive.answered(cookies[0], 200.0)
