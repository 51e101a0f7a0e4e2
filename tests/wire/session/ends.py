"""Two ends of a session, joined in memory, with the application's part of the negotiation played for both."""

import random as random_module
from collections.abc import Callable
from typing import Any, TypeVar

from fieldpost.wire.session.agreement import Closed, HelloReceived, Offered, Opened, Profile, Refused
from fieldpost.wire.session.events import Broken, Responded
from fieldpost.wire.session.identity import Evidence, Role
from fieldpost.wire.session.negotiation import State
from fieldpost.wire.session.session import Session

T = TypeVar("T")
AGENT_LIFE, SERVER_LIFE = b"agent-01", b"server-1"
NONCE = {Role.CLIENT: b"c" * 32, Role.SERVER: b"s" * 32}
TRUSTED = Evidence(roles=frozenset({"a:", "s:"}), vouched=True)
"""The carrier believes any id, as the tests that are not about identity do."""
ENDS = (Refused, Closed, Broken)


def profile(role: Role, **more: Any) -> Profile:
    """An agent without an id, or a server."""
    life, id = (AGENT_LIFE, None) if role is Role.CLIENT else (SERVER_LIFE, "s:x")
    return Profile(**{"incarnation": life, "nonce": NONCE[role], "id": id, **more})


def agent(*, us: "dict[str, Any] | None" = None, now: float = 0.0, **more: Any) -> Session:
    """The client's end."""
    return Session(
        role=Role.CLIENT, us=profile(Role.CLIENT, **(us or {})), **{"evidence": TRUSTED, "now": now, **more}
    )


def server(*, us: "dict[str, Any] | None" = None, now: float = 0.0, **more: Any) -> Session:
    """The accepting end."""
    return Session(
        role=Role.SERVER, us=profile(Role.SERVER, **(us or {})), **{"evidence": TRUSTED, "now": now, **more}
    )


class End:
    """One of the two, and what it told."""

    def __init__(self, session: Session, on_event: Callable[["End", Any], None]) -> None:
        self.session = session
        self.events: list[Any] = []
        self._on_event = on_event
        self._depth = 0

    def take(self, events: list[Any]) -> None:
        """The application's turn; what it does brings further events, after which all of it has to be true."""
        self._depth += 1
        for event in events:
            self.events.append(event)
            self._on_event(self, event)
        self._depth -= 1
        if not self._depth:
            self._check()

    def _check(self) -> None:
        ends = [event for event in self.events if isinstance(event, ENDS)]
        assert len(ends) <= 1, ends
        assert (self.session.next_deadline() is None) == (self.session.state is State.CLOSED)
        assert bool(ends) == (self.session.state is State.CLOSED)

    def of(self, kind: type[T]) -> list[T]:
        """Its events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[T]) -> T:
        """Its one event of a kind."""
        (found,) = self.of(kind)
        return found

    @property
    def end(self) -> Any:
        """How it ended; None while it has not."""
        return next((event for event in self.events if isinstance(event, ENDS)), None)


def agreeable(end: End, event: Any) -> None:
    """Prove what was announced under the secret that both have, decide for whatever is offered, use what is told."""
    session, now = end.session, 0.0
    if isinstance(event, Responded):
        session.consume(event.request, event.octets)
    if isinstance(event, HelloReceived) and session._handshake.ours.proof:
        session.send_proof(session.make_proof(b"secret"))
    if isinstance(event, Offered):
        life = session._handshake.ours.incarnation
        assert life
        end.take(session.decide(connection=(life, 1), session=b"i" * 16, now=now))


class Ends:
    """Both, and the wire between."""

    def __init__(
        self,
        client: Session,
        server: Session,
        *,
        on_event: Callable[[End, Any], None] = agreeable,
        seed: int | None = None,
        now: float = 0.0,
    ) -> None:
        self.client, self.server = End(client, on_event), End(server, on_event)
        self.now = now
        self._random = None if seed is None else random_module.Random(seed)
        self.sent: dict[End, bytearray] = {self.client: bytearray(), self.server: bytearray()}

    def run(self) -> "Ends":
        """Until neither has anything to say."""
        while self._pass(self.client, self.server) | self._pass(self.server, self.client):
            pass
        return self

    def _pass(self, source: End, target: End) -> bool:
        octets = source.session.data_to_send()
        self.sent[source] += octets
        for piece in self._cut(octets):
            target.take(target.session.receive_data(piece, self.now))
        return bool(octets)

    def _cut(self, octets: bytes) -> list[bytes]:
        if self._random is None or len(octets) < 2:
            return [octets] if octets else []
        cuts = sorted({self._random.randrange(1, len(octets)) for _ in range(6)})
        places = [0, *cuts, len(octets)]
        return [octets[places[i] : places[i + 1]] for i in range(len(places) - 1)]

    def wait(self, seconds: float) -> "Ends":
        """Time passes, in steps of whatever is due first."""
        until = self.now + seconds
        for _ in range(10_000):
            times = [end.session.next_deadline() for end in (self.client, self.server)]
            due = min((time for time in times if time is not None), default=until)
            self.now = min(until, max(due, self.now))
            for end in (self.client, self.server):
                end.take(end.session.tick(self.now))
            self.run()
            if self.now >= until:
                return self
        raise AssertionError("a deadline stands still")

    @property
    def both(self) -> tuple[End, End]:
        """Client and server."""
        return self.client, self.server


def opened(**more: Any) -> Ends:
    """Two ends that have a session."""
    ends = Ends(agent(us=more.pop("client", None)), server(us=more.pop("server", None)), **more).run()
    assert all(end.of(Opened) for end in ends.both), [end.events for end in ends.both]
    return ends
