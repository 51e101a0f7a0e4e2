"""
When to try for a session, and when to leave it (spec, 5.2). A pure object: it is told the time and what happened.

*   What fails is tried again after a pause with full jitter, from 5 s up to 15 min; a session that held for a while starts
    that anew.
*   What the server asks for with `Retry-After`, or in its goodbye, it gets, and a little more, so that its agents do not
    come back as one.
*   Where something on the way does not upgrade, exchanges go by POST, and a session is tried for again after an hour.
*   When exchanges by POST get through again that did not, what kept them kept sessions too: one is tried soon.
*   Where we are not let in, or not under this id, that is for people to mend: it is tried again slowly.
*   A session that was replaced by one of the same identity, which is not ours, is not fought for: two that kick each
    other would do so for ever.

Exchanges do not wait for any of this: without a session they go by POST.
"""

from enum import Enum
from random import Random

from ...wire.errors import FieldpostError

BASE = 5.0
CAP = 900.0
"""Seconds: the longest pause after a first failure, and after any."""
FIRST_SPREAD = 5.0
"""Seconds within which the first attempt comes after a start, unless configured to hurry."""
HOURLY = 3_600.0
SLOW = 1_800.0
HELD = 60.0
"""Seconds: a session that lived for so long was a good one."""
REPLACED_PAUSE = 60.0
"""Seconds to leave the place to whoever took it, at least."""
MAX_RETRY_AFTER = 86_400.0


class CourseError(FieldpostError):
    """The course was told of something that cannot happen in its state: a mistake of ours."""


class State(Enum):
    """Where the course stands."""

    STOPPED = "stopped"
    WAITING = "waiting"
    """For the next attempt, after a failure or an end."""
    FALLBACK = "by POST"
    """Something on the way does not upgrade."""
    BARRED = "barred"
    """We are not let in."""
    OPENING = "opening"
    OPEN = "open"


class Input(Enum):
    """What may happen to it."""

    START = "start"
    STOP = "stop"
    HURRY = "hurry"
    """What stood in the way may be gone."""
    DUE = "due"
    OPENED = "opened"
    FAILED = "failed"
    NO_UPGRADE = "no upgrade"
    REFUSED = "refused"
    ENDED = "ended"


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.STOPPED, Input.START): State.WAITING,
    (State.STOPPED, Input.STOP): State.STOPPED,
    (State.STOPPED, Input.HURRY): State.STOPPED,
    (State.WAITING, Input.STOP): State.STOPPED,
    (State.WAITING, Input.HURRY): State.WAITING,
    (State.WAITING, Input.DUE): State.OPENING,
    (State.FALLBACK, Input.STOP): State.STOPPED,
    (State.FALLBACK, Input.HURRY): State.WAITING,
    (State.FALLBACK, Input.DUE): State.OPENING,
    (State.BARRED, Input.STOP): State.STOPPED,
    (State.BARRED, Input.HURRY): State.WAITING,
    (State.BARRED, Input.DUE): State.OPENING,
    (State.OPENING, Input.STOP): State.STOPPED,
    (State.OPENING, Input.HURRY): State.OPENING,
    (State.OPENING, Input.OPENED): State.OPEN,
    (State.OPENING, Input.FAILED): State.WAITING,
    (State.OPENING, Input.NO_UPGRADE): State.FALLBACK,
    (State.OPENING, Input.REFUSED): State.BARRED,
    (State.OPEN, Input.STOP): State.STOPPED,
    (State.OPEN, Input.HURRY): State.OPEN,
    (State.OPEN, Input.ENDED): State.WAITING,
    (State.OPEN, Input.REFUSED): State.BARRED,
}
"""All that moves the course; a pair that is not here is an error. docs/session.md shows it."""


class Course:
    """One plan, and what moves it. All times are float seconds of one clock."""

    def __init__(self, *, random: Random, first_spread: float = FIRST_SPREAD) -> None:
        self._random = random
        self._first_spread = first_spread
        self._state = State.STOPPED
        self._at: float | None = None
        self._not_before = 0.0
        self._opened_at = 0.0
        self._failures = 0
        self._hurried = False
        self.cause: str | None = None
        """Why there is no session, for people; None while there is one, or nothing is known yet."""

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def due_at(self) -> float | None:
        """When to try; None while a session is open or under way, or nothing is to be tried."""
        return self._at

    @property
    def failures(self) -> int:
        """How many attempts failed in a row."""
        return self._failures

    def start(self, now: float) -> None:
        """Try soon."""
        self._move(Input.START)
        self._at = now + self._random.uniform(0.0, self._first_spread)

    def stop(self) -> None:
        """Try no more."""
        self._move(Input.STOP)
        self._at = None

    def hurry(self, now: float) -> None:
        """What stood in the way may be gone: try now, or once more as soon as what is under way has ended."""
        self._move(Input.HURRY)
        if self._at is not None:
            self._at = now
        elif self._state is not State.STOPPED:
            self._hurried = True

    def reached(self, now: float) -> None:
        """The server is reached again, though by POST: try soon, unless we were asked to wait or are not let in."""
        if self._state in (State.WAITING, State.FALLBACK, State.OPENING):
            self._failures = 0
        if self._at is None or self._state is State.BARRED:
            return
        self._move(Input.HURRY)
        soon = now + self._random.uniform(0.0, self._first_spread)
        self._at = min(self._at, max(soon, self._not_before))

    def begin(self) -> None:
        """It is time, and an attempt begins."""
        self._move(Input.DUE)
        self._at = None
        self._hurried = False

    def opened(self, now: float) -> None:
        """There is a session."""
        self._move(Input.OPENED)
        self._opened_at = now
        self.cause = None

    def failed(self, now: float, cause: str, *, retry_after: float | None = None) -> None:
        """The attempt came to nothing. `retry_after`: seconds that the server asked for."""
        self._move(Input.FAILED)
        self._failures += 1
        self._rest(now, cause, self._pause(), least=self._wish(retry_after))

    def no_upgrade(self, now: float, cause: str) -> None:
        """Something on the way does not upgrade."""
        self._move(Input.NO_UPGRADE)
        self._rest(now, cause, HOURLY * self._random.uniform(0.8, 1.2))

    def refused(self, now: float, cause: str, *, retry_after: float | None = None) -> None:
        """We are not let in, or were sent away for good."""
        self._move(Input.REFUSED)
        slowly = SLOW * self._random.uniform(0.5, 1.0)
        self._rest(now, cause, slowly, least=self._wish(retry_after))

    def ended(
        self, now: float, cause: str, *, retry_after: float | None = None, is_replaced: bool = False
    ) -> None:
        """The session is over."""
        self._move(Input.ENDED)
        if not self._hurried:
            self._failures = 1 if now - self._opened_at >= HELD else self._failures + 1
        left_alone = REPLACED_PAUSE if is_replaced else 0.0
        self._rest(now, cause, left_alone + self._pause(), least=left_alone + self._wish(retry_after))

    def _rest(self, now: float, cause: str, pause: float, *, least: float = 0.0) -> None:
        """`least`: what others asked for; of the rest we may think better."""
        self.cause = cause
        self._not_before = now + least
        self._at = now if self._hurried else now + max(pause, least)
        self._hurried = False

    def _pause(self) -> float:
        return self._random.uniform(0.0, min(CAP, BASE * 2.0 ** min(self._failures - 1, 16)))

    def _wish(self, retry_after: float | None) -> float:
        """What the server asks for, and some more by chance."""
        if retry_after is None or not retry_after > 0:
            return 0.0
        bounded = min(retry_after, MAX_RETRY_AFTER)
        return bounded + self._random.uniform(0.0, max(BASE, bounded / 4))

    def _move(self, happened: Input) -> None:
        try:
            self._state = TRANSITIONS[self._state, happened]
        except KeyError:
            raise CourseError(f"{happened.value} cannot happen to a course {self._state.value}") from None


def diagram() -> str:
    """The table as docs/session.md shows it."""
    width = max(len(state.value) for state in State)
    rows = (
        f"{old.value:{width}} -> {new.value:{width}} {move.value}" for (old, move), new in TRANSITIONS.items()
    )
    return "\n".join(rows)
