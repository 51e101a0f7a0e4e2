"""
Both ends of a session in memory, without sockets: what a request and its answer cost, and what octets cost that come one by one.

    python benchmarks/pair.py [--quick]

Seconds are those of the processor, which a busy machine leaves alone. "Plain" is what no protocol can leave out: the same maps through cbor2, once each way at each end.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import cbor2

from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.events import Event, Requested, Responded
from fieldpost.wire.session.frame import Framer
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.reactor import Reactor
from fieldpost.wire.session.session import Session

PAYLOAD = b"x" * 300
OCTET_BY_OCTET = 1024 * 1024
FRAME = 65_535


def measure_pair(*, rounds: int, calls: int) -> dict[str, float]:
    """Microseconds per request and answer, and seconds for a MiB that comes octet by octet."""
    reactors, sessions, plain = _Reactors(), _Sessions(), _Plain()
    found: list[tuple[float, ...]] = []
    for _ in range(rounds):
        found.append(tuple(_time(one.call, calls) for one in (reactors, sessions, plain)))
    reactor_us, session_us, plain_us = (median(column) * 1e6 for column in zip(*found, strict=True))
    return {
        "reactor_pair_us": reactor_us,
        "session_pair_us": session_us,
        "plain_cbor_us": plain_us,
        "reactor_pair_added_us": reactor_us - plain_us,
        "octet_by_octet_mib_seconds": _drip(OCTET_BY_OCTET),
        "octet_by_octet_two_mib_seconds": _drip(2 * OCTET_BY_OCTET),
    }


def _time(call: Callable[[], object], calls: int) -> float:
    for _ in range(calls // 10):
        call()
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls


class _Plain:
    def call(self) -> None:
        for value in ({b"name": b"echo", b"args": {b"octets": PAYLOAD}}, {b"octets": PAYLOAD}):
            cbor2.loads(cbor2.dumps(value))


class _Reactors:
    def __init__(self) -> None:
        self.client, self.server = Reactor(Role.CLIENT, credit=True), Reactor(Role.SERVER, credit=True)
        self.framers = Framer(FRAME), Framer(FRAME)

    def call(self) -> None:
        self.client.request(b"echo", {b"octets": PAYLOAD})
        asked = self._pass(self.client, self.framers[0], self.server)
        assert type(asked) is Requested
        self.server.respond(asked.request, [{b"octets": asked.args[b"octets"]}], end=True)
        answer = self._pass(self.server, self.framers[1], self.client)
        assert type(answer) is Responded
        assert answer.end
        self.client.consume(answer.request, answer.octets)

    def _pass(self, sender: Reactor, framer: Framer, receiver: Reactor) -> Event:
        """The last frame; credit may come before it, which tells nothing."""
        for frame in framer.feed(sender.data_to_send()):
            events = receiver.receive(frame)
        (event,) = events
        return event


class _Sessions:
    def __init__(self) -> None:
        self.client, self.server = _opened()

    def call(self) -> None:
        client, server = self.client, self.server
        client.request(b"echo", {b"octets": PAYLOAD}, now=0.0)
        (asked,) = server.receive_data(client.data_to_send(), 0.0)
        assert type(asked) is Requested
        server.respond(asked.request, [{b"octets": asked.args[b"octets"]}], end=True)
        (answer,) = client.receive_data(server.data_to_send(), 0.0)
        assert type(answer) is Responded
        client.consume(answer.request, answer.octets)


def _opened() -> tuple[Session, Session]:
    client = Session(role=Role.CLIENT, us=Profile(incarnation=bytes(8), nonce=bytes(32)), now=0.0)
    server = Session(role=Role.SERVER, us=Profile(incarnation=bytes(8), nonce=bytes(32), id="s:me"), now=0.0)
    client.receive_data(server.data_to_send(), 0.0)
    server.receive_data(client.data_to_send(), 0.0)
    server.decide(connection=(bytes(8), 1), session=bytes(16), now=0.0)
    client.receive_data(server.data_to_send(), 0.0)
    return client, server


def _drip(size: int) -> float:
    """Seconds until a session has taken a request with so many octets of data, one octet at a time."""
    client, server = _opened()
    client.request(b"take", {}, data=bytes(size), now=0.0)
    done = False
    seconds = 0.0
    while not done:
        octets = client.data_to_send()
        pieces = [octets[at : at + 1] for at in range(len(octets))]
        started = time.process_time()
        for piece in pieces:
            if server.receive_data(piece, 0.0):
                done = True
        seconds += time.process_time() - started
        client.receive_data(server.data_to_send(), 0.0)
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(json.dumps(measure_pair(rounds=3 if quick else 9, calls=2_000 if quick else 10_000), indent=1))
