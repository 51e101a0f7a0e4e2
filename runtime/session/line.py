"""
A connection that carries a session, plain or TLS, of either end.

The line feeds what comes to the session, hands the events to the Peer, and writes what the session has to say: once per
turn of the reactor, however many calls that turn made, and nothing while the transport is full. It keeps one timer. It
decides nothing but this: a connection that does not end after the goodbye is cut.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ...wire.session.agreement import SessionEvent
from ...wire.session.events import Event
from ...wire.session.limits import Limits
from ...wire.session.session import Session
from .errors import LOST
from .peer import Peer

WRITE_OCTETS = 64 * 1024
"""At most so many in one write, so that a full transport is seen before the next."""
HELD_OCTETS = 32 * 1024
"""At most so many that the kernel has and has not sent: what comes later than something bulky stands behind all that it holds."""
_WRITES = 4
"""In a row; then others have their turn: with what packs well a transport does not get full."""
GOODBYE = 5.0


def hold_little(transport: Any) -> None:  # Any: Twisted's interfaces do not promise `fileno`
    """Let the kernel take no more of a TCP connection than it can soon send, where it knows how."""
    try:
        with socket.socket(fileno=os.dup(transport.fileno())) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, HELD_OCTETS)
    except (AttributeError, OSError, ValueError):
        return


@implementer(IPushProducer)
class SessionLine(Protocol):
    """One end of a connection that is the session's from its first octet on."""

    log = Logger()

    def __init__(
        self,
        *,
        session: Session,
        peer: Peer,
        clock: IReactorTime,
        pause_at: int = Limits().unsent_pause,
        goodbye: float = GOODBYE,
    ) -> None:
        """
        While more than `pause_at` octets are unsent, nothing is made to be sent that can wait.

        `goodbye` are the seconds that the last words may take to leave, until the connection is cut.
        """
        self._session = session
        self._peer = peer
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._abort: IDelayedCall | None = None
        self._pause_at = pause_at
        self._goodbye = goodbye
        self._is_open = self._is_taking = self._is_woken = False
        self._is_full = True
        """Whether the transport takes nothing now."""
        peer.start(session, self)

    # From the transport

    def connectionMade(self) -> None:
        """See Protocol."""
        transport = self._wire()
        # Older Twisted takes its UNIX sockets for TCP.
        if ITCPTransport.providedBy(transport) and not isinstance(transport.getHost(), UNIXAddress):
            transport.setTcpNoDelay(True)
            hold_little(transport)
        self._is_open, self._is_full = True, False
        transport.registerProducer(self, True)
        self._turn()

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        if self._is_open:
            self._take(self._session.receive_data(data, self._clock.seconds()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self._stop()
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self._peer.take(self._session.receive_end(self._clock.seconds()))
        self._peer.end(LOST)

    def pauseProducing(self) -> None:
        """Twisted says: the transport is full."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """Twisted says: the transport is empty again."""
        self._is_full = False
        if not self._is_taking:
            self._turn()

    def stopProducing(self) -> None:
        """Twisted says: the connection is gone; `connectionLost` has the rest."""

    # From the peer

    @property
    def is_paused(self) -> bool:
        """Whether nothing should be said now that can wait."""
        return self._is_full or self._session.unsent > self._pause_at

    def wake(self) -> None:
        """There is something to write: it goes at the end of this turn."""
        if not self._is_woken and not self._is_taking and self._is_open:
            self._is_woken = True
            self._clock.callLater(0, self._wakened)

    def finish(self) -> None:
        """The session is over: say the last words, and end the connection."""
        if not self._is_open:
            return
        self._let_go()
        transport = self._wire()
        transport.write(self._session.data_to_send())
        transport.loseConnection()
        # A TLS handshake that never ends, or a peer that reads nothing, would keep it for ever.
        self._abort = self._clock.callLater(self._goodbye, transport.abortConnection)

    def cut(self) -> None:
        """End the connection at once, and whatever is still unsaid with it."""
        if self._is_open:
            self._let_go()
            self._wire().abortConnection()

    # Turns

    def _wakened(self) -> None:
        self._is_woken = False
        self._turn()

    def _timed(self) -> None:
        self._timer = None
        self._take(self._session.tick(self._clock.seconds()))

    def _take(self, events: Sequence[Event | SessionEvent]) -> None:
        self._is_taking = True
        try:
            self._peer.take(events)
        finally:
            self._is_taking = False
        self._turn()

    def _turn(self) -> None:
        """Write what there is, as far as the transport takes it, and see to the timer."""
        if not self._is_open:
            return
        session, transport = self._session, self._wire()
        self._is_taking = True
        try:
            has_more = True
            for _ in range(_WRITES):
                octets = b"" if self._is_full else session.data_to_send(WRITE_OCTETS)
                if octets:
                    transport.write(octets)
                has_more = not self._is_full and (session.has_more or self._peer.produce())
                if not has_more:
                    break
        finally:
            self._is_taking = False
        if has_more:
            self.wake()
        self._arm()

    def _arm(self) -> None:
        """
        One timer, for whatever comes first.

        It is moved only to an earlier time: most deadlines move on with every octet, and a timer that fires too
        early costs less than moving it each time.
        """
        deadline = self._session.next_deadline()
        if deadline is None:
            return
        timer = self._timer
        if timer is None:
            self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._timed)
        elif deadline < timer.getTime():
            timer.reset(max(0.0, deadline - self._clock.seconds()))

    def _stop(self) -> None:
        if self._is_open:
            self._is_open = False
            self._is_full = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _let_go(self) -> None:
        """Not of a connection that is lost: under TLS that began late it has nobody any more who could be told."""
        if self._is_open:
            self._stop()
            self._wire().unregisterProducer()

    def _wire(self) -> Any:  # the interfaces that Twisted declares for a transport vary by release
        return self.transport
