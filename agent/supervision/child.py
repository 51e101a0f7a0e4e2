"""
One supervised process, as a machine: a table, a back-off, and deadlines. It starts nothing itself.

A child that ends without being asked is started again: at once-ish after a long life, later and later after quick
deaths. A child that is asked to end gets a term to do so, then it is killed.
"""

from enum import Enum
from random import Random

from attrs import field, frozen, mutable


class ChildState(Enum):
    """Where a child is."""

    IDLE = "idle"
    """Not started yet."""
    RUNNING = "running"
    WAITING = "waiting"
    """It ended by itself, and is started again at the deadline."""
    STOPPING = "stopping"
    """It was asked to end, and is killed at the deadline."""
    KILLING = "killing"
    ENDED = "ended"
    """It ended as it should, and stays so."""


class ChildInput(Enum):
    """What can happen to a child."""

    START = "start"
    EXITED = "exited"
    STOP = "stop"
    DUE = "due"
    """The deadline has come."""


class ChildAction(Enum):
    """What is to be done now."""

    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"


_S, _I = ChildState, ChildInput
TRANSITIONS: dict[tuple[ChildState, ChildInput], ChildState] = {
    (_S.IDLE, _I.START): _S.RUNNING,
    (_S.IDLE, _I.STOP): _S.ENDED,
    (_S.RUNNING, _I.EXITED): _S.WAITING,
    (_S.RUNNING, _I.STOP): _S.STOPPING,
    (_S.WAITING, _I.DUE): _S.RUNNING,
    (_S.WAITING, _I.STOP): _S.ENDED,
    (_S.STOPPING, _I.EXITED): _S.ENDED,
    (_S.STOPPING, _I.DUE): _S.KILLING,
    (_S.STOPPING, _I.STOP): _S.STOPPING,
    (_S.KILLING, _I.EXITED): _S.ENDED,
    (_S.KILLING, _I.STOP): _S.KILLING,
    (_S.ENDED, _I.STOP): _S.ENDED,
}
"""Any other pair is a mistake of ours."""

ON_ENTRY = {
    _S.RUNNING: ChildAction.SPAWN,
    _S.STOPPING: ChildAction.TERMINATE,
    _S.KILLING: ChildAction.KILL,
}


@frozen(kw_only=True)
class RestartPolicy:
    """Times in seconds: back-off `base` doubled per quick death up to `cap`; what lived for `steady_after` is no quick death."""

    base: float = 1.0
    cap: float = 60.0
    steady_after: float = 30.0
    stop_grace: float = 10.0
    """From the request to end until the kill."""


@mutable(kw_only=True)
class ChildMachine:
    """The state of one child. Each `take` returns what to do; `next_deadline` says when to come back with DUE."""

    policy: RestartPolicy
    random: Random
    state: ChildState = ChildState.IDLE
    quick_deaths: int = 0
    starts: int = 0
    _since: float = field(default=0.0, init=False)
    _deadline: float | None = field(default=None, init=False)

    def take(self, happened: ChildInput, now: float) -> ChildAction | None:
        """
        Move on.

        Raises KeyError for what cannot happen in this state.
        """
        before, self.state = self.state, TRANSITIONS[self.state, happened]
        if self.state is before:
            return None
        if before is ChildState.RUNNING and happened is ChildInput.EXITED:
            self._count_death(now)
        self._since = now
        self._deadline = self._deadline_of(now)
        action = ON_ENTRY.get(self.state)
        self.starts += action is ChildAction.SPAWN
        return action

    def next_deadline(self) -> float | None:
        """When DUE is to be given, if nothing else happens first."""
        return self._deadline

    def _count_death(self, now: float) -> None:
        lived = now - self._since
        self.quick_deaths = 0 if lived >= self.policy.steady_after else self.quick_deaths + 1

    def _deadline_of(self, now: float) -> float | None:
        if self.state is ChildState.WAITING:
            return now + self._restart_delay()
        return now + self.policy.stop_grace if self.state is ChildState.STOPPING else None

    def _restart_delay(self) -> float:
        """Half fixed, half random: children that died together do not all come back together."""
        longest = min(self.policy.cap, self.policy.base * 2.0 ** min(self.quick_deaths - 1, 60))
        return longest * self.random.uniform(0.5, 1.0)
