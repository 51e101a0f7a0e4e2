"""
One end of a connection under a script: octets and frames come in, our own side does what it likes, and the rules hold.

The rules: nothing is raised but at our own wrong use; a request has one end; behind the end of all nothing comes but what it
aborts; what we send is frames within the peer's limit; what we hold is bounded.
"""

import zlib
from collections.abc import Sequence

from attrs import define, field

from fieldpost.wire.cbor import encode
from fieldpost.wire.errors import LocalProtocolError
from fieldpost.wire.session import events as ev
from fieldpost.wire.session.agreement import Closed, Offered, Opened, Profile, Refused
from fieldpost.wire.session.encodings import NAMES
from fieldpost.wire.session.frame import (
    Frame,
    Framer,
    FrameTooLarge,
    FrameType,
    PartFlag,
    StreamFlag,
    encode_frame,
)
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.limits import KIB, Limits
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.session import Session

from .script import Script

LIMITS = Limits(
    frame=4 * KIB,
    send_frame=1 * KIB,
    request=2 * KIB,
    data=8 * KIB,
    active=4,
    partial=3,
    partial_age=20.0,
    credit=8 * KIB,
    decoded=16 * KIB,
    decoded_request=64 * KIB,
    streams=3,
    control_frames=50,
)
"""Small, so that a fuzzer reaches them."""
_HELLO: dict[bytes, object] = {
    b"versions": [1, 1],
    b"incarnation": bytes(8),
    b"capabilities": [b"cancel", b"credit", b"notify", b"push"],
    b"codecs": [b"cbor"],
    b"contentencodings": [b"zlib"],
}
_DECISION: dict[bytes, object] = {
    b"version": 1,
    b"codec": b"cbor",
    b"capabilities": [b"cancel", b"credit", b"notify", b"push"],
    b"connection": [bytes(8), 1],
    b"keepalive": [25, 20],
    b"encodings": [b"zlib"],
}
_ATOMS = [{b"msg": b"%s and %%", b"args": [b"one"], b"labels": [b"label"]}]
PAYLOADS = (
    b"",
    *map(
        encode,
        (
            {b"status": b"ok"},
            {b"status": b"error", b"error": {b"code": b"no", b"message": _ATOMS}},
            {b"type": b"command", b"code": b"no", b"message": _ATOMS},
            {b"name": b"ask", b"args": {b"a": 1}},
            {b"topic": b"t", b"pos": 1, b"total": 2},
            {b"reason": b"enough", b"last": 1},
            _ATOMS,
            b"zlib",
            b"x" * 900,
            {b"id": b"s:peer", **_HELLO},
            _HELLO,
            _DECISION,
        ),
    ),
    encode({b"status": b"ok"}) + encode(1) + encode([2]) + encode(b"x" * 100)[:50],
    (700).to_bytes(4, "little"),
)
"""What frames hold, of all kinds."""


@define(kw_only=True)
class Requests:
    """How those of one side fare, by the events that told of them."""

    open: set[int] = field(factory=set)

    def begin(self, request: int) -> None:
        """An id in use cannot begin again."""
        assert request not in self.open
        self.open.add(request)

    def end(self, request: int) -> None:
        """Once."""
        assert request in self.open
        self.open.remove(request)


class End:
    """What both kinds of ends have in common."""

    def __init__(self, end: Reactor | Session, role: Role, script: Script, *, peer_frame: int) -> None:
        self.end = end
        self.script = script
        self.now = 0.0
        self.ours, self.theirs = Requests(), Requests()
        self.is_over = False
        self.is_broken = False
        self._sent = Framer(peer_frame)
        self.wire = bytearray()
        """What has left, and nobody has got."""
        self._first_stream = 2 if role is Role.CLIENT else 1
        self._begun: set[int] = set()
        self._packer = zlib.compressobj()

    def tell(self, events: Sequence[object]) -> None:
        """Check them against what was told before."""
        for event in events:
            self._tell(event)

    def _tell(self, event: object) -> None:
        assert not self.is_over, event
        match event:
            case ev.Requested(request):
                self.theirs.begin(request)
            case ev.Responded(request, _, octets, end):
                assert request in self.ours.open
                if self.script.number() & 1:
                    self.end.consume(request, octets)
                if end:
                    self.ours.end(request)
            case ev.Failed(request) | ev.Output(request) | ev.Progress(request):
                assert request in self.ours.open
                if isinstance(event, ev.Failed):
                    assert event.error.text is not None
                    self.ours.end(request)
            case ev.Cancelled(request):
                self.theirs.end(request)
            case ev.Aborted(request):
                self.ours.open.discard(request)
                self.theirs.open.discard(request)
            case Refused() | Closed() | ev.Broken():
                self.is_over = True
                self.is_broken = isinstance(event, ev.Broken)
                assert not self.ours.open
                assert not self.theirs.open

    def act(self) -> None:
        """Our own side does something, right or wrong; only LocalProtocolError may come of it."""
        try:
            self._act(self.script.number())
        except LocalProtocolError as error:
            assert str(error)

    def _act(self, what: int) -> None:
        script, end = self.script, self.end
        request = script.choice(sorted(self.theirs.open) or [2])
        ours = script.choice(sorted(self.ours.open) or [1])
        match what % 8:
            case 0:
                data = script.take(script.number(2) % 3_000) if script.number() & 1 else None
                self.ours.begin(
                    end.request(
                        b"ask", {b"a": script.number()}, data=data, has_data=data is not None, now=self.now
                    )
                )
            case 1:
                is_last = bool(script.number() & 1)
                values = [bytes(script.number(2) % 3_000)] * (script.number() % 4)
                end.respond(request, values, end=is_last, bulk=bool(script.number() & 1))
                if is_last:
                    self.theirs.end(request)
            case 2:
                end.fail(request, "no", "it was not to be")
                self.theirs.end(request)
            case 3:
                end.cancel(ours)
                self.ours.end(ours)
            case 4:
                end.output(request, "said")
            case 5:
                end.progress(request, b"topic", script.number(), 100)
            case 6:
                end.send_data(ours, script.take(script.number()), end=bool(script.number() & 1))
            case _:
                self.drain()

    def drain(self) -> None:
        """Everything that we send is frames that fit."""
        octets = self.end.data_to_send(self.script.number(2) or None)
        for frame in self._sent.feed(octets):
            assert len(frame.payload) <= self._sent.limit
        self.wire += octets

    def has_begun(self, stream: int) -> None:
        """The peer's stream is open, so frames that make sense do not begin it."""
        self._begun.add(stream)

    def incoming(self) -> bytes:
        """Octets as they are, a frame of any kind, or one that a peer in its right mind could send."""
        script = self.script
        match script.number() & 3:
            case 0:
                return script.take(script.number())
            case 1:
                kind, number, stream = script.number(), script.number() % 12, script.number() % 6
                flags, payload = script.number() % 8, script.take(script.number())
                return encode_frame(Frame(kind >> 4, number, stream, flags, kind & 15, payload))
            case _:
                return encode_frame(self._sane_frame())

    def _sane_frame(self) -> Frame:
        script = self.script
        number = script.choice([*sorted(self.ours.open | self.theirs.open), 0, 1, 2, 3, 4])
        stream = self._first_stream + 2 * (script.number() & 1)
        flags = 0 if stream in self._begun else StreamFlag.BEGIN
        self._begun.add(stream)
        kind, payload = script.number(), script.choice(PAYLOADS) + script.take(script.number() & 31)
        if stream > 2 and kind >> 4 in (FrameType.DATA, FrameType.RESPONSE):
            flags |= StreamFlag.ENCODED
            payload = self._packer.compress(payload) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return Frame(kind >> 4, number, stream, flags, kind & 15, payload)


def drive_reactor(octets: bytes, role: Role) -> None:
    """A reactor, its switches and all that happens to it chosen by the script."""
    script = Script(octets)
    switches = script.number()
    peer_limits = Limits(frame=512 + script.number(), credit=2 * KIB, active=3, request=1 * KIB)
    reactor = Reactor(
        role,
        limits=LIMITS,
        peer_limits=peer_limits,
        bare=bool(switches & 1),
        encoding=script.choice((None, *NAMES)),
        deferred=bool(switches & 2) and role is Role.SERVER,
        credit=bool(switches & 4) and not switches & 1,
        most_settings=2,
    )
    framer, end = Framer(LIMITS.frame), End(reactor, role, script, peer_frame=peer_limits.frame)
    while not script.is_over:
        if script.number() & 3:
            try:
                frames = framer.feed(end.incoming())
            except FrameTooLarge:
                return
            for frame in frames:
                end.tell(reactor.receive(frame, end.now))
        else:
            _pass_time_or_act(end)
    end.tell(reactor.end(end.now))
    assert reactor.unsent <= 64 * KIB + 3_000 * len(octets)


def _pass_time_or_act(end: End) -> None:
    if end.script.number() % 8 == 0:
        end.now += end.script.number()
        deadline = end.end.next_deadline()
        assert deadline is None or deadline >= 0
        end.tell(end.end.tick(end.now))
    else:
        end.act()


def drive_session(octets: bytes, role: Role) -> None:
    """A session from its hello on; a master decides as the script says."""
    script = Script(octets)
    session = Session(
        role=role,
        us=Profile(incarnation=bytes(8), nonce=bytes(32), id="s:me" if role is Role.SERVER else None),
        now=0.0,
        limits=LIMITS,
    )
    end = End(session, role, script, peer_frame=0xFFFFFF)
    if script.number() & 1:
        _open(end, session)
    while not script.is_over:
        if script.number() & 3:
            _take(end, session, session.receive_data(end.incoming(), end.now))
        else:
            _pass_time_or_act(end)
        assert session.next_deadline() is not None or end.is_over
    end.tell(session.receive_end(end.now))
    assert end.is_over
    assert session.next_deadline() is None


def _open(end: End, session: Session) -> None:
    """Without the script, which would seldom come so far."""
    is_client = session.role is Role.CLIENT
    stream = 2 if is_client else 1
    hello = {**_HELLO, b"id": b"s:peer"} if is_client else _HELLO
    octets = encode_frame(Frame(FrameType.HELLO, 0, stream, StreamFlag.BEGIN, PartFlag.END, encode(hello)))
    if is_client:
        octets += encode_frame(Frame(FrameType.DECISION, 0, stream, 0, PartFlag.END, encode(_DECISION)))
    end.tell(session.receive_data(octets, end.now))
    if not is_client:
        end.tell(session.decide(connection=(bytes(8), 1), session=bytes(16), now=end.now))
    assert session.agreement is not None
    end.has_begun(stream)


def _take(end: End, session: Session, events: Sequence[object]) -> None:
    end.tell(events)
    if not any(isinstance(event, Offered) for event in events) or end.is_over:
        return
    if end.script.number() & 7:
        decided = session.decide(connection=(bytes(8), 1), session=bytes(16), now=end.now)
        assert any(isinstance(event, Opened) for event in decided)
        end.tell(decided)
    else:
        end.tell(session.refuse("limits", "not now", now=end.now))


def drive_pair(octets: bytes) -> None:
    """
    A client and a server, open, their octets cut as the script says, each side doing what it likes.

    Whatever it is, neither may take it for a breach, for both are ours; and when all has arrived, what was asked is known.
    """
    script = Script(octets)
    ends = [_open_end(role, script) for role in Role]
    if script.number() & 1:
        _greet(*ends)
    while not script.is_over:
        one, other = ends if script.number() & 1 else reversed(ends)
        match script.number() % 4:
            case 0:
                one.act()
            case 1:
                one.drain()
            case 2:
                _deliver(one, other, script.number(2))
            case _:
                _pass_time_or_act(one)
    while any(_pass_all(one, other) for one, other in (ends, ends[::-1])):
        pass
    assert not any(end.is_broken for end in ends)


def _pass_all(one: End, other: End) -> bool:
    """Whether there was anything."""
    one.drain()
    length = len(one.wire)
    _deliver(one, other, length)
    return bool(length)


def _open_end(role: Role, script: Script) -> End:
    id = "s:me" if role is Role.SERVER else None
    session = Session(
        role=role, us=Profile(incarnation=bytes(8), nonce=bytes(32), id=id), now=0.0, limits=LIMITS
    )
    return End(session, role, script, peer_frame=0xFFFFFF)


def _greet(client: End, server: End) -> None:
    """Without the script, as in `_open`."""
    assert isinstance(client.end, Session)
    assert isinstance(server.end, Session)
    hello, answer = client.end.data_to_send(), server.end.data_to_send()
    client.tell(client.end.receive_data(answer, 0.0))
    server.tell(server.end.receive_data(hello, 0.0))
    server.tell(server.end.decide(connection=(bytes(8), 1), session=bytes(16), now=0.0))
    client.tell(client.end.receive_data(server.end.data_to_send(), 0.0))
    assert client.end.agreement is not None


def _deliver(one: End, other: End, size: int) -> None:
    octets = bytes(one.wire[:size])
    del one.wire[:size]
    assert isinstance(other.end, Session)
    other.now = one.now = max(one.now, other.now)
    _take(other, other.end, other.end.receive_data(octets, other.now))
