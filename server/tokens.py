"""
Exchange tokens: how a server notices that two machines share one identity (landscape 1.7).

Every answer hands out a new token; the next exchange presents it, once. An agent forgets its token before it sends,
so after any failure it presents none and its secure id alone must do. A machine that was copied presents a token that
its twin has used up: that is a clone.

A request may arrive late: after others that the agent sent because no answer came. So what is presented does not tell
which answer the agent has had last, and what it may still hold is not taken from it. Tokens stay good

- until they are presented, or one that was given later is;
- of those given later than a presented one: when they were given to requests without a token. One that was given for a
  token, and then overtaken, went to whoever showed that one, and it is he or the other who goes on.
"""

from collections.abc import Callable
from enum import Enum
from hmac import compare_digest

from attrs import frozen

MOST = 8
"""Tokens that are good at once: so many requests without a token may arrive late, and the agent's own is still known."""
_FREE, _EARNED = b"+", b"="


class Presented(Enum):
    """What a presented token says about who presents it."""

    NEWEST = "newest"
    """It is the one given last: this is the agent's latest word."""
    OLDER = "older"
    """It was given before: the agent did not get what was given later, or this is an old request."""
    ABSENT = "absent"
    """None was presented, or we have none to compare with."""
    FOREIGN = "foreign"
    """It was used before, or never given out: the identity has a second user."""


@frozen
class Token:
    """One that is good; `free` is one that was given to a request without a token."""

    octets: bytes
    free: bool


@frozen
class Tokens:
    """Those of one computer that are good, in the order in which they were given."""

    given: tuple[Token, ...] = ()

    @classmethod
    def read(cls, newest: bytes | None, note: bytes | None) -> "Tokens":
        """From what the database has."""
        if newest is None:
            return cls()
        if note is None:
            return cls((Token(newest, free=False),))
        if note[:1] not in (_FREE, _EARNED):  # as it was noted before there could be more than two
            return cls((Token(note, free=True), Token(newest, free=True)))
        return cls(tuple(Token(word[1:], free=word[:1] == _FREE) for word in note.split()))

    @property
    def newest(self) -> bytes | None:
        """What an answer hands out."""
        return self.given[-1].octets if self.given else None

    @property
    def note(self) -> bytes | None:
        """For the database, beside the newest; None when there is nothing else to know."""
        if all(not token.free for token in self.given):
            return None
        return b" ".join((_FREE if token.free else _EARNED) + token.octets for token in self.given)

    def judge(self, presented: bytes | None) -> Presented:
        """What to make of the token that came with an exchange."""
        if presented is None or not self.given:
            return Presented.ABSENT
        at = self._place_of(presented)
        if at is None:
            return Presented.FOREIGN
        return Presented.NEWEST if at == len(self.given) - 1 else Presented.OLDER

    def after(self, presented: bytes | None, new: Callable[[], bytes]) -> "Tokens":
        """Those that are good after an exchange that was taken; its answer hands out the newest."""
        at = None if presented is None else self._place_of(presented)
        if at is None:
            return Tokens((*self.given, Token(new(), free=True))[-MOST:])
        later = (token for token in self.given[at + 1 :] if token.free)
        return Tokens((*later, Token(new(), free=False)))

    def _place_of(self, presented: bytes) -> int | None:
        places = [at for at, token in enumerate(self.given) if compare_digest(presented, token.octets)]
        return places[0] if places else None
