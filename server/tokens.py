"""
Exchange tokens: how a server notices that two machines share one identity (landscape 1.7).

Every answer hands out a new token; the next exchange presents it, once. An agent forgets its token before it sends,
so after any failure it presents none and its secure id alone must do. A machine that was copied presents a token that
its twin has used up: that is a clone.

The token before the current one stays good as long as we cannot know whether the agent got the current one: an
exchange without a token hands out a new one, and that exchange may be an old one that the network delivered late.
"""

from enum import Enum
from hmac import compare_digest


class Presented(Enum):
    """What a presented token says about who presents it."""

    FRESH = "fresh"
    """It is the one that we expect: this is the agent's latest word."""
    ABSENT = "absent"
    """None was presented, or we have none to compare with."""
    FOREIGN = "foreign"
    """It was used before, or never given out: the identity has a second user."""


def judge_token(presented: bytes | None, *, current: bytes | None, previous: bytes | None) -> Presented:
    """What to make of the token that came with an exchange."""
    if presented is None or current is None:
        return Presented.ABSENT
    known = compare_digest(presented, current) | compare_digest(presented, previous or current)
    return Presented.FRESH if known else Presented.FOREIGN
