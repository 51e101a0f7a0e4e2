"""
Numbers of messages: how an answer moves the sender on, and what the receiver takes of a batch (landscape 1.8).

A sender numbers its messages without a gap. `sequence` is the number of the first that the receiver has not
acknowledged. Those acknowledged last are kept, in case the receiver lost them after all: `kept` of them, numbered just
below `sequence`. The receiver's answer names the number that it expects next.
"""

from enum import Enum

from attrs import frozen


class Verdict(Enum):
    """What an answer means for the sender."""

    ACKNOWLEDGED = "acknowledged"
    """All messages below the expected number are safe; those acknowledged before are dropped."""
    RESEND = "resend"
    """Nothing new is acknowledged; sending goes on from the expected number, kept messages included."""
    ANCIENT = "ancient"
    """It asks for what is gone. All that is left is numbered anew from there, and both sides resynchronize."""
    AHEAD = "ahead"
    """It has numbers that were never sent. What is pending is numbered anew from there; both sides resynchronize."""

    @property
    def resynchronizes(self) -> bool:
        """Whether plugins must report afresh."""
        return self in (Verdict.ANCIENT, Verdict.AHEAD)


def judge_answer(*, sequence: int, kept: int, sent: int, expected: int) -> Verdict:
    """
    What the receiver's expected number means when `sent` messages have gone out from `sequence` on.

    Those of earlier exchanges count, whose answers were lost: the receiver may have them. Vectors: landscape 1.8, where
    all that was pending had been sent.
    """
    if expected > sequence + sent:
        return Verdict.AHEAD
    if expected > sequence:
        return Verdict.ACKNOWLEDGED
    if expected >= sequence - kept:
        return Verdict.RESEND
    return Verdict.ANCIENT


@frozen(kw_only=True)
class Admission:
    """What a receiver does with a batch: pass over `skip` messages it has, take the rest, unless there is a `gap`."""

    skip: int
    take: int
    gap: bool


def admit(*, expected: int, sequence: int, count: int) -> Admission:
    """
    What to take of `count` messages numbered from `sequence` on when `expected` is due.

    A batch that starts above the expected number is not taken at all: the sender is told the number again.
    """
    if sequence > expected:
        return Admission(skip=count, take=0, gap=True)
    skip = min(count, expected - sequence)
    return Admission(skip=skip, take=count - skip, gap=False)
