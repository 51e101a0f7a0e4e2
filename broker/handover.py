"""
From the inbox to plugins: each gets its messages in order of number, one at a time, while others get theirs.

A message whose type nobody takes waits a while, because plugins start after the broker, and come back after a crash. Once
a plugin has seen a message, the store knows it (`start_delivery`), so that after a stop nothing is told twice and nothing
is forgotten:

*   An operation is given once. Its end is its plugin's word, or *failed* with the honest addition that the outcome is
    unknown, when the plugin's process went away or never answered.
*   Any other message is given again when the process went away, three times in all; then it goes to the dead letters.

Several plugins may take one type. Each gets the message; an operation has failed when one of them says so.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from functools import partial
from typing import Any, ParamSpec, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.amp import Disconnected
from ..runtime.database import DatabaseError
from ..runtime.writer import Writer
from ..wire.local import FAILED, NOT_HANDLED, Outcome
from ..wire.message import FAILED as OPERATION_FAILED
from ..wire.message import SUCCEEDED as OPERATION_SUCCEEDED
from .bus import Forget
from .carriage.wording import printable
from .handlers import DeliverCall, Handlers, Recipient
from .schedule import Urgency
from .store.records import Conclusion, Incoming, OperationResult
from .store.store import Store

P = ParamSpec("P")
T = TypeVar("T")


@frozen(kw_only=True)
class HandoverLimits:
    """How long and how much to wait. All times are seconds."""

    grace: float = 30.0
    """For a plugin that takes a type which nobody takes now."""
    patience: float = 6 * 3_600.0
    """For a plugin's answer."""
    store_pause: float = 30.0
    """Between attempts when the store fails."""
    stop_grace: float = 5.0
    """At a stop, for answers that are under way."""
    again_after: float = 1.0
    """Before a message is given again whose plugin went away over it."""
    messages: int = 10_000
    """Not handed over at a time; the rest stays on the disk alone."""
    attempts: int = 3
    """To give a message that is no operation to a plugin that goes away over it."""


class _Fate(Enum):
    """What else than an outcome may come of giving a message to a plugin."""

    GONE = "the plugin went away before it saw the message"
    LOST = "the plugin went away with the message in its hands"


@define(eq=False)
class _Job:
    """One message on its way to all who take it."""

    number: int
    type: str
    incoming: Incoming | None = None
    """Read when the first plugin is about to get it."""
    attempts: int = 0
    left: int = 0
    """Plugins that have not said what they made of it."""
    outcomes: list[Outcome | _Fate] = field(factory=list)


@define(eq=False)
class _Queue:
    """The messages of one plugin that it has not seen."""

    jobs: deque[tuple[_Job, Recipient]] = field(factory=deque)
    is_busy: bool = False


class Handover:
    """Takes numbers of messages in the inbox; each ends with `finish_delivery` of the store, sooner or later."""

    log = Logger()

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        handlers: Handlers,
        clock: IReactorTime,
        ask: Callable[[Urgency], None],
        on_room: Callable[[], None],
        limits: HandoverLimits,
    ) -> None:
        self._store = store
        self._writer = writer
        self._handlers = handlers
        self._clock = clock
        self._ask = ask
        self._on_room = on_room
        self._limits = limits
        self._open: set[int] = set()
        self._unclaimed: dict[int, tuple[_Job, float]] = {}
        self._queues: dict[str, _Queue] = {}
        self._is_grace_armed = False
        self._is_stopping = False
        self._calls: set[IDelayedCall] = set()
        self._running: set[Deferred[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether so much waits for plugins that no more should be added."""
        return len(self._open) >= self._limits.messages

    @property
    def waiting(self) -> int:
        """Messages that are not through."""
        return len(self._open)

    def add(self, number: int, type: str) -> None:
        """The message of this number is for plugins; numbers only rise."""
        self._open.add(number)
        self._offer(_Job(number, type))

    def register(self, types: tuple[str, ...], plugin: str, deliver: DeliverCall) -> Forget:
        """From now on a plugin takes these types, those that wait included, until the answer is called."""
        forget = self._handlers.register(types, plugin, deliver)
        claimed = sorted(number for number, (job, _) in self._unclaimed.items() if job.type in types)
        for number in claimed:
            self._offer(self._unclaimed.pop(number)[0])
        return forget

    async def stop(self) -> None:
        """Begin nothing more; wait a little for what is under way. What ends later is not noted any more."""
        self._is_stopping = True
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        running = tuple(self._running)
        timer = self._clock.callLater(self._limits.stop_grace, _cancel_all, running)
        for one in running:
            await one
        if timer.active():
            timer.cancel()

    # To whom

    def _offer(self, job: _Job) -> None:
        """Put it into the queues of all who take it, or let it wait for one."""
        recipients = self._handlers.recipients(job.type)
        if not recipients:
            self._await_claim(job)
            return
        job.left, job.outcomes = len(recipients), []
        for recipient in recipients:
            queue = self._queues.setdefault(recipient.plugin, _Queue())
            queue.jobs.append((job, recipient))
            self._wake(queue)

    def _wake(self, queue: _Queue) -> None:
        """Later, since whoever registers has not been answered yet."""
        if not queue.is_busy and not self._is_stopping:
            queue.is_busy = True
            self._later(0.0, lambda: self._run(self._work(queue)))

    def _await_claim(self, job: _Job) -> None:
        """They come due in the order in which they begin to wait, so one timer is enough, for the first."""
        self._unclaimed[job.number] = (job, self._clock.seconds() + self._limits.grace)
        if not self._is_grace_armed:
            self._is_grace_armed = True
            self._later(self._limits.grace, self._end_grace)

    def _end_grace(self) -> None:
        now = self._clock.seconds()
        for number in [number for number, (_, until) in self._unclaimed.items() if until <= now]:
            job, _ = self._unclaimed.pop(number)
            self._run(self._finish_unhandled(job))
        self._is_grace_armed = bool(self._unclaimed)
        if self._is_grace_armed:
            first = min(until for _, until in self._unclaimed.values())
            self._later(first - now, self._end_grace)

    # One after the other

    async def _work(self, queue: _Queue) -> None:
        try:
            while queue.jobs and not self._is_stopping:
                job, recipient = queue.jobs.popleft()
                job.outcomes.append(await self._give(job, recipient))
                job.left -= 1
                if job.left == 0:
                    await self._conclude(job)
        finally:
            queue.is_busy = False
            if queue.jobs:
                self._wake(queue)

    async def _give(self, job: _Job, recipient: Recipient) -> Outcome | _Fate:
        if recipient not in self._handlers.recipients(job.type):
            return _Fate.GONE
        if job.incoming is None:
            job.incoming = await self._in_store(self._begin, job.number)
        answer = recipient.deliver(recipient.plugin, job.number, job.incoming.message)
        try:
            return await answer.addTimeout(self._limits.patience, self._clock)
        except Disconnected:
            return _Fate.LOST
        except TimeoutError:
            return Outcome(
                status=FAILED,
                result_text=f"The outcome is unknown: {recipient.plugin} gave no answer in "
                f"{self._limits.patience:.0f} seconds. Look at the machine before asking again.",
            )

    def _begin(self, number: int) -> Incoming:
        """In the writer: the message, its delivery being noted."""
        (incoming,) = self._store.next_incoming(1, number - 1)
        assert incoming.number == number  # nobody but us ends a delivery
        self._store.start_delivery(number)
        return incoming

    # How it ends

    async def _conclude(self, job: _Job) -> None:
        heard = [outcome for outcome in job.outcomes if isinstance(outcome, Outcome)]
        if _Fate.LOST in job.outcomes:
            await self._conclude_lost(job)
        elif heard:
            await self._conclude_heard(job, heard)
        else:
            self._offer(job)

    async def _conclude_lost(self, job: _Job) -> None:
        assert job.incoming is not None  # somebody had it in hand
        job.attempts += 1
        if job.incoming.operation_id is not None:
            await self._finish(
                job,
                _failed(
                    "The outcome is unknown: the plugin's process went away while the operation was under way. "
                    "Look at the machine before asking again."
                ),
            )
        elif job.attempts < self._limits.attempts:
            self.log.warn(
                "message {number} of type {type} is given again: its plugin went away over it",
                number=job.number,
                type=job.type,
            )
            self._later(self._limits.again_after, partial(self._offer, job))
        else:
            reason = f"its plugin's process went away {job.attempts} times while it had the message"
            self.log.error(
                "message {number} of type {type} is set aside: {reason}",
                number=job.number,
                type=job.type,
                reason=reason,
            )
            await self._in_store(self._store.refuse_incoming, job.number, reason)
            self._close(job)

    async def _conclude_heard(self, job: _Job, heard: list[Outcome]) -> None:
        handled = [outcome for outcome in heard if outcome.status != NOT_HANDLED]
        if not handled:
            await self._finish_unhandled(job)
            return
        failures = [outcome for outcome in handled if outcome.status == FAILED]
        worst = (failures or handled)[0]
        if failures:
            self.log.warn(
                "message {number} of type {type}: its plugin failed: {text}",
                number=job.number,
                type=job.type,
                text=printable(worst.result_text or "it does not say how"),
            )
        await self._finish(job, _result(worst))

    async def _finish_unhandled(self, job: _Job) -> None:
        text = f"no plugin handles {job.type}"
        self.log.warn("message {number} goes unheard: {text}", number=job.number, text=text)
        await self._finish(job, _failed(text))

    async def _finish(self, job: _Job, result: OperationResult) -> None:
        """The store knows whether the message is an operation that wants the result."""
        conclusion = await self._in_store(self._store.finish_delivery, job.number, result)
        if conclusion is Conclusion.ANSWERED:
            self._ask(Urgency.URGENT)
        if conclusion is Conclusion.OBSOLETE:
            self.log.warn(
                "the result of message {number} is dropped: its operation came under another identity",
                number=job.number,
            )
        self._close(job)

    def _close(self, job: _Job) -> None:
        was_full = self.is_full
        self._open.discard(job.number)
        if was_full:
            self._on_room()

    # Doors

    async def _in_store(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What is known must be noted, and nothing given before it is: so this waits for the store to recover."""
        while True:
            try:
                return await self._writer.run(function, *args, **kwargs)
            except DatabaseError as error:
                self.log.error("a delivery cannot be noted now, and waits: {error}", error=str(error))
            await self._pause()

    def _run(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        running = Deferred.fromCoroutine(work)
        self._running.add(running)
        running.addErrback(self._broke)
        running.addCallback(lambda _: self._running.discard(running))

    def _broke(self, failure: Failure) -> None:
        """Cancelled at a stop: the journal has what is known. Anything else is our mistake."""
        if not failure.check(CancelledError):
            self.log.failure("a delivery broke", failure)

    def _pause(self) -> "Deferred[None]":
        over: Deferred[None] = Deferred()
        self._later(self._limits.store_pause, partial(over.callback, None))
        return over

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        def happen() -> None:
            self._calls.discard(made)
            call()

        made = self._clock.callLater(delay, happen)
        self._calls.add(made)


def _failed(text: str) -> OperationResult:
    return OperationResult(status=OPERATION_FAILED, result_text=text)


def _result(outcome: Outcome) -> OperationResult:
    return OperationResult(
        status=OPERATION_FAILED if outcome.status == FAILED else OPERATION_SUCCEEDED,
        result_code=outcome.result_code,
        result_text=outcome.result_text,
    )


def _cancel_all(running: Iterable["Deferred[None]"]) -> None:
    for one in running:
        one.cancel()
