"""One plugin at work, from its start to its end: what it asks for goes out, what the broker says comes in."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ParamSpec

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..runtime.doors import returns_deferred
from ..wire.local import DONE, FAILED, NOT_HANDLED, RESYNCHRONIZE_CLIENTS, Outcome
from ..wire.message import Message
from .activity import Activity, result_of
from .context import Context, Surroundings
from .declaration import HOOKS, declaration_of
from .errors import OperationFailed
from .loop import Loop
from .plugin import Plugin
from .reporter import Reporter
from .session import Session
from .topics import PluginTopics

P = ParamSpec("P")

MAX_RESULT_CHARACTERS = 100_000
"""The longest `result-text` of an operation (landscape 1.5)."""


class Runner:
    """
    Runs one plugin.

    Nothing that the plugin raises leaves it: that is logged with the plugin's name, or is the outcome of a delivery.
    """

    def __init__(
        self,
        kind: type[Plugin],
        *,
        settings: Any,
        surroundings: Surroundings,
        make: Callable[[Context], Plugin] | None = None,
    ) -> None:
        """
        Any: the settings are of the class that the plugin names. `make` makes the plugin where its class alone does not.

        Raises PluginInvalid, and what the plugin's own `__init__` raises.
        """
        self.declaration = declaration_of(kind)
        self.name = self.declaration.name
        self._log = Logger(namespace=f"fieldpost.plugin.{self.name}")
        self._broker = surroundings.broker
        self._clock = surroundings.clock
        self._session = Session(
            broker=self._broker, plugin=self.name, scope=kind.scope, on_lost=self._on_lost
        )
        self._activity = Activity(plugin=self.name, log=self._log, clock=self._clock)
        self._sending = Activity(plugin=self.name, log=self._log, clock=self._clock)
        self._reporter = Reporter(broker=self._broker, plugin=self.name, clock=self._clock)
        self._topics = PluginTopics(broker=self._broker, plugin=self.name, activity=self._activity)
        self._timers: set[IDelayedCall] = set()
        self.plugin = (make or kind)(self._context(settings, surroundings))
        self._loop = Loop(
            plugin=self.plugin, activity=self._activity, clock=self._clock, random=surroundings.random
        )

    def _context(self, settings: Any, surroundings: Surroundings) -> Context:
        return Context(
            name=self.name,
            settings=settings,
            log=self._log,
            clock=surroundings.clock,
            now=surroundings.now,
            random=surroundings.random,
            send=self._send,
            later=self._later,
            request_exchange=surroundings.broker.request_exchange,
            in_thread=surroundings.in_thread,
            spawner=surroundings.spawner,
            subscribe=self._topics.subscribe,
            report_output=self._reporter.output,
            report_progress=self._reporter.progress,
            attachment=partial(surroundings.broker.attachment, self.name),
        )

    # From start to stop

    def start(self) -> None:
        """Start the plugin, whether or not the broker is there."""
        if self.declaration.handlers:
            self._broker.handle(self.name, tuple(self.declaration.handlers)).addErrback(self._not_handling)
        self._activity.call("on_start", self.plugin.on_start)
        self._loop.start()

    @returns_deferred
    async def stop(self, within: float) -> None:
        """
        Stop the plugin: cancel what it does, give it a last word, wait until what it sent is stored.

        Fires after at most so many seconds, whatever the plugin does.
        """
        end = self._clock.seconds() + within
        self._loop.stop()
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._activity.cancel()
        await self._wait(self._activity, end, "what it was doing")
        self._activity.call("on_stop", self.plugin.on_stop)
        await self._wait(self._activity, end, "its on_stop")
        await self._wait(self._sending, end, "storing what it sent")

    async def _wait(self, activity: Activity, end: float, what: str) -> None:
        if not await activity.ended(end - self._clock.seconds()):
            self._log.warn("{plugin}: {what} did not end in time", plugin=self.name, what=what)
            activity.cancel()

    # What the plugin asks of its context

    def _send(self, message: Message, *, urgent: bool = False) -> "Deferred[None]":
        """Cancelling the Deferred ends the waiting, not the sending: the message is on its way."""
        told: Deferred[None] = Deferred()
        sent = Deferred.fromCoroutine(self._session.send(message, urgent=urgent))
        self._sending.track(sent).addBoth(told.callback)
        return told

    def _later(
        self,
        delay: float,
        function: Callable[P, Awaitable[None] | None],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> IDelayedCall:
        self._timers = {timer for timer in self._timers if timer.active()}
        timer = self._clock.callLater(delay, self._activity.call, "a delayed call", function, *args, **kwargs)
        self._timers.add(timer)
        return timer

    # What the broker says

    def event(self, name: str, details: dict[str, Any]) -> None:
        """Tell the plugin what happened, as far as it wants to know. Details are a map of their own per event."""
        values = dict(details)
        if name == RESYNCHRONIZE_CLIENTS:
            values["scopes"] = _scopes_of(details)
        if name in self.declaration.events:
            method, arguments = HOOKS[name]
            self._activity.call(method, getattr(self.plugin, method), *(values.get(key) for key in arguments))
        if name == RESYNCHRONIZE_CLIENTS:
            self._session.renew()

    def welcome(self) -> None:
        """The broker is there, perhaps again: a resynchronize may have been missed."""
        self._session.renew()

    def _on_lost(self) -> None:
        self._loop.start_afresh()

    def deliver(self, message: Message) -> "Deferred[Outcome]":
        """Hand a message of the server to the plugin; the outcome always comes."""
        operation = message.get("operation-id")
        if type(operation) is not int:
            return self._activity.track(self._deliver(message))
        return self._activity.track(self._operate(message, operation))

    @returns_deferred
    async def _operate(self, message: Message, operation: int) -> Outcome:
        outcome = await self._deliver(message)
        await self._reporter.finish(operation)
        return outcome

    @returns_deferred
    async def _deliver(self, message: Message) -> Outcome:
        method = self.declaration.handlers.get(message["type"])
        if method is None:
            return Outcome(status=NOT_HANDLED)
        try:
            return _outcome_of(await result_of(getattr(self.plugin, method), message))
        except OperationFailed as error:
            return _failed(str(error), error.result_code)
        except CancelledError:
            return _failed(f"{self.name} was stopped before it was done")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._log.failure("{plugin}: {method} failed", plugin=self.name, method=method)
            return _failed(f"{self.name} failed: {type(error).__name__}: {error}")

    def _not_handling(self, failure: Failure) -> None:
        self._log.error(
            "{plugin}: the broker gives it no messages of {types}: {reason}",
            plugin=self.name,
            types=", ".join(self.declaration.handlers),
            reason=failure.getErrorMessage(),
        )


def _scopes_of(details: dict[str, Any]) -> tuple[str, ...] | None:
    scopes = details.get("scopes")
    return None if scopes is None else tuple(scopes)


def _outcome_of(result: Any) -> Outcome:
    """What a handler's answer means for the operation. Any: it is the plugin author's."""
    if isinstance(result, Outcome):
        return result
    if result is None or isinstance(result, str):
        return Outcome(status=DONE, result_text=_cut(result))
    return _failed(
        f"it was carried out, but its handler answered {type(result).__name__}, which is no outcome"
    )


def _failed(text: str, code: int | None = None) -> Outcome:
    return Outcome(status=FAILED, result_code=code, result_text=_cut(text))


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_RESULT_CHARACTERS:
        return text
    note = f"\n[cut: it had {len(text)} characters]"
    return text[: MAX_RESULT_CHARACTERS - len(note)] + note
