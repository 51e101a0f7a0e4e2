"""
The stamp on a plugin's messages, kept valid.

The broker gives each plugin a session id per scope, and takes no message without one that is in force. A resynchronize
drops ids: the server forgot what it was told, so the plugin must report afresh. It may hear of that as an event, or
have been away then and learn it when the broker refuses a message. Either way, in this order: a new id is opened; what
was refused under the old one goes out again under the new one; `on_lost` is called. So a plugin never has to look at
session ids, nothing that it sent is dropped, and nothing old comes after what it reports afresh.
"""

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..wire.errors import FieldpostError, RemoteProtocolError
from ..wire.local import OBSOLETE_SESSION
from ..wire.message import Message
from .context import Broker
from .errors import MessageRefused

MAX_ATTEMPTS = 5
"""A message that was refused under so many ids in a row fails: the broker drops them faster than they are opened."""


class Session:
    """
    The session of one plugin in one scope.

    `on_lost` is called when an id that was in use is no longer in force and its follower is; never for the first id.
    """

    log = Logger()

    def __init__(
        self, *, broker: Broker, plugin: str, scope: str | None, on_lost: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._plugin = plugin
        self._scope = scope
        self._on_lost = on_lost
        self._id: str | None = None
        self._opening = False
        self._open_again = False
        self._waiting: list[Deferred[str]] = []
        self._unanswered: Counter[str] = Counter()
        self._lost = False

    async def send(self, message: Message, *, urgent: bool = False) -> None:
        """
        Give the broker a message under the id in force.

        Raises what the broker's `send` fails with, but for an obsolete session.
        """
        sent_under = await self._current()
        answer = self._say(message, sent_under, urgent)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            fresh = sent_under
            try:
                await answer
                return
            except MessageRefused as refusal:
                if refusal.code != OBSOLETE_SESSION or attempt == MAX_ATTEMPTS:
                    raise
                fresh = await (self._asked_for() if sent_under == self._id else self._current())
                answer = self._say(message, fresh, urgent)
            finally:
                self._answered(sent_under)
            sent_under = fresh

    def renew(self) -> None:
        """Ask whether the id is still in force, and put the one that is in its place."""
        if self._id is not None:
            self._open()

    def _say(self, message: Message, session_id: str, urgent: bool) -> "Deferred[None]":
        answer = self._broker.send(self._plugin, message, session_id=session_id, urgent=urgent)
        self._unanswered[session_id] += 1
        return answer

    def _answered(self, session_id: str) -> None:
        self._unanswered[session_id] -= 1
        if not self._unanswered[session_id]:
            del self._unanswered[session_id]
        self._tell_if_lost()

    def _tell_if_lost(self) -> None:
        """Once nothing that was said under an older id is still on its way."""
        if self._lost and not self._opening and all(known == self._id for known in self._unanswered):
            self._lost = False
            self._on_lost()

    def _current(self) -> "Deferred[str]":
        return self._asked_for() if self._id is None or self._opening else succeed(self._id)

    def _asked_for(self) -> "Deferred[str]":
        """What the broker says to the question that is on its way, or is asked now."""
        asked: Deferred[str] = Deferred()
        self._waiting.append(asked)
        if not self._opening:
            self._open()
        return asked

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
        waiting, self._waiting = self._waiting, []
        for current in waiting:
            current.callback(session_id)
        self._tell_if_lost()

    def _not_opened(self, failure: Failure) -> None:
        """The senders are told. The next message asks again; the last id is kept to see whether it was lost."""
        self._opening = self._open_again = False
        if isinstance(failure.value, RemoteProtocolError):
            failure = Failure(MessageRefused(failure.value.code, str(failure.value)))
        waiting, self._waiting = self._waiting, []
        for current in waiting:
            current.errback(failure)
        if not waiting:
            known = failure.check(FieldpostError)
            self.log.warn(
                "{plugin}: its session could not be renewed: {reason}; the next message tries again",
                plugin=self._plugin,
                reason=failure.getErrorMessage(),
                log_failure=None if known else failure,
            )
