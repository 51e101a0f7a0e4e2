"""What a plugin may ask of the process around it. All of it is passed in: nothing is global, nothing is the daemon."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, ParamSpec, Protocol, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..wire.local import Output
from ..wire.message import Message
from .topics import Notification, Subscription, Upstream

P = ParamSpec("P")
T = TypeVar("T")


class Broker(Upstream, Protocol):
    """The broker as plugins see it. It may be away: then calls wait, within bounds, until it is back."""

    def send(
        self, plugin: str, message: Message, session_id: str | None = None, urgent: bool = False
    ) -> "Deferred[None]":
        """Fires once the broker's disk has the message; fails with MessageRefused or BufferFull."""

    def open_session(self, plugin: str, scope: str | None = None) -> "Deferred[str]":
        """The session id in force for a scope: the same until a resynchronize drops it."""

    def handle(self, plugin: str, types: Sequence[str]) -> "Deferred[None]":
        """From now on, deliver messages of these types to the plugin; also after a reconnect."""

    def request_exchange(self, at_once: bool = False) -> "Deferred[None]":
        """Ask for an urgent exchange, or for one at once."""

    def report(self, output: Output) -> "Deferred[None]":
        """Tell what an operation writes. It is dropped while the broker is away."""

    def attachment(self, plugin: str, operation: int, id: int) -> "Deferred[bytes]":
        """A file that an operation names which is with the plugin; fails with Refused, which says why."""


class InThread(Protocol):
    """Runs a function that may block in a thread of its own."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """The result or the failure comes with the Deferred, in the reactor's thread."""


class Send(Protocol):
    """Gives the broker a message of this plugin."""

    def __call__(self, message: Message, *, urgent: bool = False) -> "Deferred[None]":
        """Fires once the broker's disk has it; fails with MessageRefused or BufferFull."""


class Later(Protocol):
    """Calls a function after some seconds, unless the plugin is stopped before."""

    def __call__(
        self,
        delay: float,
        function: Callable[P, Awaitable[None] | None],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> IDelayedCall:
        """What the function raises is logged with the plugin's name."""


class Subscribe(Protocol):
    """Hears the server's notifications."""

    def __call__(
        self, topic: str, handler: "Callable[[Notification], Awaitable[None] | None]", /
    ) -> "Subscription":
        """Call the handler with what is notified of a topic, in order and never concurrently, until it is cancelled."""


class ReportProgress(Protocol):
    """Tells how far an operation is."""

    def __call__(self, operation: int, topic: str, position: int, total: int | None = None, /) -> None:
        """Of what, how far, of how much."""


class Spawner(Protocol):
    """Starts processes: the part of Twisted's IReactorProcess that plugins need."""

    def spawnProcess(
        self,
        processProtocol: Any,  # an IProcessProtocol
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        path: str | None,
        uid: int | None,
        gid: int | None,
    ) -> Any:  # an IProcessTransport, which does not declare its `pid`
        """Start a program; `uid` and `gid` are None for those of this process."""


@frozen(kw_only=True)
class Surroundings:
    """What all plugins of one process share."""

    broker: Broker
    clock: IReactorTime
    """Counts seconds and calls back; its zero means nothing."""
    now: Callable[[], float]
    """Seconds since 1970. It may be stepped, forwards and backwards."""
    random: Random
    in_thread: InThread
    spawner: Spawner


@frozen(kw_only=True)
class Context:
    """What one plugin gets."""

    name: str
    settings: Any  # of the class that the plugin names as its Settings
    log: Logger
    clock: IReactorTime
    now: Callable[[], float]
    random: Random = field(repr=False)
    send: Send
    later: Later
    request_exchange: Callable[[], "Deferred[None]"]
    in_thread: InThread
    spawner: Spawner
    subscribe: Subscribe
    report_output: Callable[[int, str], None]
    """Shows what an operation, by its id, writes to those who watch it; its result is another matter."""
    report_progress: ReportProgress
    attachment: Callable[[int, int], "Deferred[bytes]"]
    """Fetches a file that an operation names, by the operation's id and the file's; fails with Refused, which says why."""
