"""
One end of a session behind its framing: frames and the time in, events and octets out (spec/wire.md 1.7, 1.8, 5.6 to 5.9).

Both ends are this class with a role. Either end may make requests of the other; a request's id says who made it. What
the peer does wrong becomes one Broken, whatever it sent, and the farewell is queued by then; what we ask for wrongly
raises LocalProtocolError and changes nothing.

A bare reactor speaks to the framing's ancestor, which has neither credit, cancel, ping nor close: there only the client asks.
"""

from collections.abc import Collection, Iterable

from .. import cbor
from ..errors import LocalProtocolError, RemoteProtocolError
from .answers import Answers
from .arrivals import Arrivals
from .asks import Asks, RequestState
from .control import MOST_COOKIE
from .credit import Ledger, SendWindow
from .encodings import NAMES, choose
from .events import (
    Broken,
    CommandError,
    Event,
    Map,
    Progress,
    Value,
)
from .frame import PONG, Frame, FrameType, PartFlag
from .identity import Role
from .intake import Intake, PeerBrokeOff
from .limits import Limits, Pool
from .outbound import Outbound, Sender
from .outcome import Message, atoms_of, details_of, encode_error_within
from .outstreams import Aside, OutStream
from .values import DEFAULT, Codec


class Reactor:
    """
    See the module.

    `now` is float seconds of any clock that does not go back; each call is told.

    Made with:
        limits: ours, for what comes
        peer_limits: the peer's, for what we send
        codec: how values travel
        most_settings: how often the peer may send settings before its first request
        bare: for the ancestor, without credit, cancel and the rest
        encoding: what the peer can unpack, of encodings.NAMES. A bare reactor packs and announces all its answers with
            it (IDENTITY for the ancestor's final form, None for its first), another one what is `bulk`
        deferred: nothing leaves until the end of input; then the answers, in the order in which they were ended
        credit: both ends count it
        full_duplex: False for a client that sends all its requests at once
        buffer_sends: requests wait for `flush`
        pool: where data are counted that are not whole, with those of other connections
        unpacks: the encodings that we have told that we unpack; None for all that there are
    """

    def __init__(
        self,
        role: Role,
        *,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
        peer_limits: Limits = Limits(),  # noqa: B008, it is frozen
        codec: Codec = DEFAULT,
        most_settings: int = 1,
        bare: bool = False,
        encoding: bytes | None = None,
        deferred: bool = False,
        credit: bool = False,
        full_duplex: bool = True,
        buffer_sends: bool = False,
        pool: Pool | None = None,
        unpacks: Collection[bytes] | None = None,
    ) -> None:
        self.role = role
        self.bare = bare
        self.buffer_sends = buffer_sends
        self._full_duplex = full_duplex
        self._has_sent = False
        self._deferred = deferred
        self._limits = limits
        self._peer_limits = peer_limits
        is_client = role is Role.CLIENT
        self._main = OutStream(1 if is_client else 2)
        self._aside = Aside(self._main)
        self.encoding = encoding
        most = min(limits.send_frame, peer_limits.frame)
        self._sender = Sender(self._main, most=most, window=None, in_turn=not deferred)
        self._sender.is_silent = deferred
        self._asks = Asks(
            odd=is_client, bare=bare, limits=limits, codec=codec, sender=self._sender, ledger=None
        )
        self._answers = Answers(bare=bare, deferred=deferred, limits=limits, codec=codec, sender=self._sender)
        self._arrivals = Arrivals(
            odd=not is_client,
            bare=bare,
            limits=limits,
            codec=codec,
            sender=self._sender,
            answers=self._answers,
        )
        self._arrivals.pool = pool
        self._credit = False
        self.peer_limits = peer_limits
        self.credit = credit
        self._intake = self._make_intake(most_settings, unpacks)
        self.is_over = False
        """Broken, or the input ended: nothing that comes counts."""

    def _make_intake(self, most_settings: int, unpacks: Collection[bytes] | None) -> Intake:
        return Intake(
            role=self.role,
            bare=self.bare,
            limits=self._limits,
            most_settings=most_settings,
            sender=self._sender,
            asks=self._asks,
            arrivals=self._arrivals,
            answers=self._answers,
            unpacks=unpacks,
        )

    # what was agreed

    def agree(
        self, *, peer_limits: Limits, codec: Codec, encodings: tuple[bytes, ...] = (), credit: bool = False
    ) -> None:
        """
        What the two hellos and the decision come to; before the first request.

        `encodings` are those that each end may pack with; we use the first.
        """
        self.peer_limits = peer_limits
        self.codec = codec
        self.encoding = choose(encodings, NAMES)
        self._intake.streams.unpacks = encodings
        self.credit = credit

    @property
    def peer_limits(self) -> Limits:
        """What the peer takes. Set it when the peer has told, before the first request."""
        return self._peer_limits

    @peer_limits.setter
    def peer_limits(self, limits: Limits) -> None:
        self._peer_limits = limits
        self._sender.most = min(self._limits.send_frame, limits.frame)
        if not self.bare:
            self._sender.most_parted = limits.partial
        self._aside.most, self._aside.decoded = limits.streams - 1, limits.decoded
        if self._sender.window is not None:
            self._sender.window.resize(limits.credit)
            self._answers.send_credit = limits.request_credit
        self._asks.resize(limits.request_credit)

    @property
    def credit(self) -> bool:
        """Whether credit is counted. Set it when that is agreed, before the first request leaves."""
        return self._credit

    @credit.setter
    def credit(self, credit: bool) -> None:
        if credit and not self._credit:
            ledger = Ledger(
                connection=self._limits.credit,
                request=self._limits.request_credit,
                send=lambda request, payload: self._sender.put_control(FrameType.CREDIT, request, 0, payload),
            )
            self._asks.ledger = self._arrivals.ledger = ledger
            self._sender.window = SendWindow(self._peer_limits.credit)
            self._answers.send_credit = self._peer_limits.request_credit
            self._asks.grant(self._peer_limits.request_credit)
            self._credit = True

    def distrust(self) -> None:
        """The peer has shown nothing of itself: take less of it from now on."""
        self._arrivals.most_data = min(self._limits.data, self._limits.stranger_data)

    @property
    def encoding(self) -> bytes | None:
        """How bulk is packed, and all answers of a bare reactor. Set it before the first of them."""
        return (self._main if self.bare else self._aside).encoding

    @encoding.setter
    def encoding(self, encoding: bytes | None) -> None:
        (self._main if self.bare else self._aside).encoding = encoding

    @property
    def codec(self) -> Codec:
        """How the values of requests and answers travel. Set it when it is agreed, before the first request."""
        return self._answers.codec

    @codec.setter
    def codec(self, codec: Codec) -> None:
        self._answers.codec = self._arrivals.codec = codec
        self._asks.use(codec)

    # how things are

    @property
    def outstanding(self) -> int:
        """How many requests of ours are not over."""
        return len(self._asks)

    @property
    def active(self) -> int:
        """How many requests of the peer run, or are not all answered."""
        return len(self._answers)

    @property
    def partial(self) -> int:
        """How many requests of the peer are not whole."""
        return self._arrivals.partial_count

    @property
    def is_closing(self) -> bool:
        """One of the ends said goodbye: no new requests."""
        return self._arrivals.is_closing

    @property
    def unsent(self) -> int:
        """Octets that wait to be sent; compare with Limits.unsent_pause."""
        return self._sender.unsent

    def unsent_of(self, request: int) -> int:
        """The same of one request, ours or the peer's."""
        is_ours = request & 1 == (self.role is Role.CLIENT)
        return self._asks.unsent_of(request) if is_ours else self._answers.unsent_of(request)

    def state_of(self, request: int) -> RequestState:
        """How far a request of ours is."""
        return self._asks.state_of(request)

    # input

    def receive(self, frame: Frame, now: float = 0.0) -> list[Event]:
        """What a frame means. Never raises."""
        if self.is_over:
            return []
        try:
            return self._intake.take(frame, now)
        except PeerBrokeOff as error:
            return self._end_with(Broken(error.code, str(error)))
        except RemoteProtocolError as error:
            return self.break_off(error.code, str(error), request=frame.request)

    # time

    def next_deadline(self) -> float | None:
        """When to call `tick`."""
        return None if self.is_over else self._arrivals.deadline

    def tick(self, now: float) -> list[Event]:
        """It is later now."""
        if not self.is_over:
            self._arrivals.drop_old(now)
        return []

    # end

    def end(self, now: float = 0.0) -> list[Event]:
        """
        The input ended, or the connection is lost: what is not over is aborted.

        A deferred reactor lets its answers go now, and those to requests that still run when they are there.
        """
        if self.is_over:
            return []
        if self._deferred:
            self._sender.is_silent = False
            return self._arrivals.abort("the input ended before the request did")
        self.is_over = True
        return self._abort("the connection was lost")

    def break_off(self, code: str, text: str, *, request: int = 0) -> list[Event]:
        """
        Give the connection up for what the peer did; the farewell is queued, and all else is dropped.

        Gives the Aborted of all requests, and Broken, which is the last event ever.
        """
        if self.is_over:
            return []
        events = self._end_with(Broken(code, text))
        if not (self.bare and self.role is Role.CLIENT):
            error = CommandError(code.encode(), atoms_of(text), kind=b"protocol")
            target = request if self.bare else 0
            payload = encode_error_within(self._sender.most, error, bare=self.bare)
            self._sender.put_control(FrameType.ERROR, target, 0, payload)
            if not self.bare:
                self._sender.put_map(FrameType.CLOSE, PartFlag.END, self._goodbye({b"reason": b"protocol"}))
        return events

    def _end_with(self, broken: Broken) -> list[Event]:
        self.is_over = True
        self._sender.clear()
        self._sender.is_silent = False
        return [*self._abort(f"{broken.code}: {broken.text}"), broken]

    def _abort(self, reason: str) -> list[Event]:
        return self._asks.abort(reason) + self._arrivals.abort(reason) + self._answers.abort(reason)

    # our requests

    def request(
        self,
        name: bytes,
        args: Map | None = None,
        *,
        data: bytes | None = None,
        has_data: bool = False,
        bulk: bool = False,
        now: float = 0.0,
    ) -> int:
        """
        Ask the peer for something; gives the id of the request.

        `data` are all of the command data; with `has_data` they follow through `send_data`. `bulk` packs them.
        Raises Busy when no further request can begin, LocalProtocolError otherwise; then nothing has changed.
        """
        self._check_may_ask()
        id, octets = self._asks.begin(name, args, self._peer_limits)
        self._has_sent = not self.buffer_sends
        with_data = has_data or data is not None
        if not with_data and not self.buffer_sends and self._asks.send(id, octets):
            return id
        window = SendWindow(self._peer_limits.request_credit) if self._credit else None
        outbound = Outbound(id, FrameType.DATA, self._main, window)
        outbound.put_head(octets, with_data)
        outbound.aside = self._aside if bulk else None
        if data is not None:
            outbound.put(data) if data else None
            outbound.ended = True
        self._asks.queue(outbound, buffered=self.buffer_sends)
        return id

    def _check_may_ask(self) -> None:
        self._check_alive()
        if self.is_closing:
            raise LocalProtocolError("the connection is being closed; ask on the next one")
        if self.bare and self.role is Role.SERVER:
            raise LocalProtocolError("a bare server asks for nothing")
        if self._has_sent and not self._full_duplex:
            raise LocalProtocolError("the requests were sent; this connection takes no further ones")

    def _check_alive(self) -> None:
        if self.is_over:
            raise LocalProtocolError("the connection is over")

    def flush(self) -> None:
        """Let go the requests that were buffered."""
        self._has_sent = self._has_sent or self._asks.has_buffered
        self._asks.flush()

    def send_data(self, request: int, octets: bytes, *, end: bool) -> None:
        """More data of a request that was begun with `has_data`; any sizes. Raises LocalProtocolError."""
        self._check_alive()
        self._asks.send_data(request, octets, end=end)

    def cancel(self, request: int, reason: bytes | None = None) -> None:
        """
        Take back a request of ours: nothing more is told of it.

        Raises LocalProtocolError when it is over.
        """
        self._check_alive()
        if self.bare and self._asks.state_of(request) is not RequestState.PENDING:
            raise LocalProtocolError("a bare connection cannot cancel what was sent")
        self._asks.cancel(request, reason)

    def consume(self, request: int, octets: int) -> None:
        """Give credit back for values that were used: Responded.octets, together or in parts, also after its end."""
        if octets and not self.is_over:
            self._asks.consume(request, octets)

    # our answers

    def respond(
        self, request: int, values: Iterable[Value], *, end: bool, bulk: bool = False, flush: bool = True
    ) -> None:
        """
        Give values in answer to a request of the peer; the first call says `ok` before them.

        `bulk` packs them, where that was agreed: not for secrets, nor for what strangers write. `flush=False` lets a
        frame that is not full wait for more.

        Raises NotActive when the request is cancelled, over, or none; Unencodable when a value does not travel, which
        has told the peer `internal` and ended the request.
        """
        aside = self._aside if bulk else None
        self._answers.respond(request, values, end=end, aside=aside, flush=flush)

    def fail(
        self,
        request: int,
        code: str | bytes,
        message: Message = (),
        details: Map | None = None,
        *,
        kind: bytes = b"command",
        **more: Value,
    ) -> None:
        """
        End a request of the peer with an error, behind the values that were given.

        `kind` is `command`, or `server` where the fault is ours. `details`, and `more` with `_` as `-`, travel beside
        the text. Raises NotActive; LocalProtocolError for details that do not travel.
        """
        known = {**(details or {}), **details_of(more)}
        cbor.encode(known)
        name = code.encode() if isinstance(code, str) else code
        self._answers.fail(request, CommandError(name, atoms_of(message), known, kind))

    def drop(self, request: int) -> None:
        """Give up answering: what was not sent is dropped, the peer is told `cancelled`. Raises NotActive."""
        self._answers.drop(request)

    def output(self, request: int, atoms: Message) -> None:
        """Text for people, ahead of values that wait. Raises NotActive; LocalProtocolError beyond a frame's size."""
        self._answers.output(request, atoms_of(atoms))

    def progress(
        self,
        request: int,
        topic: bytes,
        position: int,
        total: int,
        *,
        label: bytes | None = None,
        item: bytes | None = None,
    ) -> None:
        """How far it is; position -1 ends the topic. Raises NotActive, LocalProtocolError."""
        self._answers.progress(Progress(request, topic, position, total, label, item))

    # of the connection

    def settings(self, values: Map, *, request: int = 0) -> None:
        """Our settings, or hello. First of all; see `most_settings` of the peer."""
        self._check_alive()
        self._sender.put_map(FrameType.HELLO, PartFlag.END, values, request=request)

    def decision(self, values: Map) -> None:
        """Our decision, as the master."""
        self._check_session()
        self._sender.put_map(FrameType.DECISION, PartFlag.END, values)

    def ping(self, cookie: bytes) -> None:
        """Ask whether the peer lives; at most 32 octets come back in Ponged."""
        self._put_ping(0, cookie)

    def pong(self, cookie: bytes) -> None:
        """Answer a Pinged."""
        self._put_ping(PONG, cookie)

    def _put_ping(self, flags: int, cookie: bytes) -> None:
        self._check_session()
        if len(cookie) > MOST_COOKIE:
            raise LocalProtocolError(f"a ping carries at most {MOST_COOKIE} octets")
        self._sender.put_control(FrameType.PING, 0, flags, cookie)

    def close(self, values: Map) -> None:
        """
        Say goodbye: `reason`, `retry-after`, `location`; `last` is added.

        What the peer asks from now on is dropped. Requests that run are answered still.
        """
        self._check_session()
        self._sender.put_map(FrameType.CLOSE, PartFlag.END, self._goodbye(values))
        self._arrivals.is_closing = True

    def _goodbye(self, values: Map) -> Map:
        return {b"last": self._arrivals.last, **values}

    def _check_session(self) -> None:
        self._check_alive()
        if self.bare:
            raise LocalProtocolError("a bare connection has no such frames")

    # output

    def data_to_send(self, limit: int | None = None) -> bytes:
        """
        What is to be written now, at most `limit` octets; empty when there is nothing, or no credit.

        Takes them as written: ids of answers that end within are free.
        """
        octets = self._sender.take(limit, self._note_sent)
        if self._answers.has_leaving and not self._sender.is_silent:
            self._answers.sent_short()
        return octets

    @property
    def has_more(self) -> bool:
        """Whether `data_to_send` has more to give at once than it just gave."""
        return self._sender.has_more and not self._sender.is_silent

    def _note_sent(self, outbound: Outbound) -> None:
        if outbound.request & 1 == (self.role is Role.CLIENT):
            self._asks.sent(outbound.request)
        else:
            self._answers.sent(outbound.request)
