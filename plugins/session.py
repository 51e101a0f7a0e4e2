"""
The stamp on a plugin's messages, kept valid.

The broker gives each plugin a session id per scope, and takes no message without one that is in force. A resynchronize
drops ids: the server forgot what it was told, so the plugin must report afresh. It may hear of that as an event, or
have been away then and learn it when the broker refuses a message. Either way, in this order: a new id is opened; what
was refused under the old one goes out again under the new one; what was sent meanwhile goes; `on_lost` is called. So a
plugin never has to look at session ids, nothing that it sent is dropped or overtaken by what it sent later, and nothing old
comes after what it reports afresh. For that, nothing goes under the new id while something said under the old one has no
answer yet.
"""

from bisect import insort
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from operator import attrgetter
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire.cbor import encode
from ..wire.errors import FieldpostError, LocalProtocolError, RemoteProtocolError
from ..wire.local import OBSOLETE_SESSION
from ..wire.message import Message
from .context import Broker
from .errors import MessageRefused
from .outbox import OutboxLimits, too_much

T = TypeVar("T")
MAX_ATTEMPTS = 5
"""A message that was refused under so many ids in a row fails: the broker drops them faster than they are opened."""


@define(eq=False)
class _Sending:
    """A message until it is stored, or never will be."""

    place: int
    message: Message
    urgent: bool
    size: int
    """In octets; 0 where it did not have to wait."""
    sent_under: str | None = None
    answer: "Deferred[None]" = field(factory=Deferred)
    is_over: bool = False


class Session:
    """
    The session of one plugin in one scope.

    `on_lost` is called when an id that was in use is no longer in force and its follower is; never for the first id.
    """

    log = Logger()

    def __init__(
        self,
        *,
        broker: Broker,
        plugin: str,
        scope: str | None,
        on_lost: Callable[[], None],
        limits: OutboxLimits = OutboxLimits(),  # noqa: B008 - a frozen value
    ) -> None:
        self._broker = broker
        self._plugin = plugin
        self._scope = scope
        self._on_lost = on_lost
        self._limits = limits
        self._id: str | None = None
        self._opening = False
        self._open_again = False
        self._places = count()
        self._waiting: deque[_Sending] = deque()
        """To be said for the first time; bounded as what waits in the outbox."""
        self._waiting_octets = 0
        self._refused: list[_Sending] = []
        """To be said again; in the order of their places."""
        self._flying: Counter[str] = Counter()
        """How many were said under each id and have no answer yet."""
        self._is_going_on = False
        self._lost = False

    async def send(self, message: Message, *, urgent: bool = False) -> None:
        """
        Give the broker a message under the id in force.

        Raises what the broker's `send` fails with, but for an obsolete session.
        """
        sending = self._wait_in_line(message, urgent)
        try:
            self._go_on()
            for _ in range(1, MAX_ATTEMPTS):
                try:
                    return await sending.answer
                except MessageRefused as refusal:
                    if refusal.code != OBSOLETE_SESSION:
                        raise
                    self._say_again(sending)
            await sending.answer
        finally:
            sending.is_over = True
            self._go_on()

    def renew(self) -> None:
        """Ask whether the id is still in force, and put the one that is in its place."""
        if self._id is not None:
            self._open()

    def _wait_in_line(self, message: Message, urgent: bool) -> "_Sending":
        """For no time at all, mostly; then nobody needs to know how long it is. Raises BufferFull."""
        size = 0 if self._is_clear and not self._waiting else _size_of(message)
        messages, limits = len(self._waiting), self._limits
        if messages and (messages >= limits.messages or self._waiting_octets + size > limits.octets):
            raise too_much(messages, self._waiting_octets)
        sending = _Sending(place=next(self._places), message=message, urgent=urgent, size=size)
        self._waiting.append(sending)
        self._waiting_octets += size
        return sending

    def _say_again(self, sending: "_Sending") -> None:
        sending.answer = Deferred()
        insort(self._refused, sending, key=attrgetter("place"))
        if sending.sent_under == self._id and not self._opening:
            self._open()
        self._go_on()

    def _go_on(self) -> None:
        """Say what may be said now."""
        if self._is_going_on:
            return
        self._is_going_on = True
        try:
            while (sending := self._next()) is not None:
                self._say(sending)
        finally:
            self._is_going_on = False
        if self._lost and self._is_clear and not self._refused:
            self._lost = False
            self._on_lost()

    def _next(self) -> "_Sending | None":
        """What was refused goes before what was never said; nothing goes while something may still be refused."""
        while True:
            if self._id is None and not self._opening and self._waiting:
                self._open()
            if not self._is_clear or not (self._refused or self._waiting):
                return None
            sending = self._refused.pop(0) if self._refused else self._first_in_line()
            if not sending.is_over:
                return sending

    def _first_in_line(self) -> "_Sending":
        sending = self._waiting.popleft()
        self._waiting_octets -= sending.size
        return sending

    @property
    def _is_clear(self) -> bool:
        """Whether there is an id, and nothing that was said under an older one is still on its way."""
        return self._id is not None and not self._opening and self._flying.keys() <= {self._id}

    def _say(self, sending: "_Sending") -> None:
        assert self._id is not None  # see _next
        sending.sent_under = self._id
        self._flying[self._id] += 1
        answer = self._broker.send(self._plugin, sending.message, session_id=self._id, urgent=sending.urgent)
        answer.addBoth(self._landed, self._id)
        answer.chainDeferred(sending.answer)

    def _landed(self, outcome: T, session_id: str) -> T:
        self._flying[session_id] -= 1
        if not self._flying[session_id]:
            del self._flying[session_id]
        return outcome

    def _open(self) -> None:
        if self._opening:
            self._open_again = True
            return
        self._opening = True
        self._broker.open_session(self._plugin, self._scope).addCallbacks(self._opened, self._not_opened)

    def _opened(self, session_id: str) -> None:
        self._opening = False
        if self._open_again:
            self._open_again = False
            self._open()
            return
        self._lost = self._lost or self._id not in (None, session_id)
        self._id = session_id
        self._go_on()

    def _not_opened(self, failure: Failure) -> None:
        """The senders are told. The next message asks again; the last id is kept to see whether it was lost."""
        self._opening = self._open_again = False
        if isinstance(failure.value, RemoteProtocolError):
            failure = Failure(MessageRefused(failure.value.code, str(failure.value)))
        waiting = [*self._refused, *self._waiting]
        self._refused.clear()
        self._waiting.clear()
        self._waiting_octets = 0
        for sending in waiting:
            sending.answer.errback(failure)
        if not waiting:
            known = failure.check(FieldpostError)
            self.log.warn(
                "{plugin}: its session could not be renewed: {reason}; the next message tries again",
                plugin=self._plugin,
                reason=failure.getErrorMessage(),
                log_failure=None if known else failure,
            )


def _size_of(message: Message) -> int:
    """In octets; 0 for what is no message: the broker's connection says so when its turn comes."""
    try:
        return len(encode(message))
    except (LocalProtocolError, RemoteProtocolError):
        return 0
