"""
Echoes of 300 octets over TLS on loopback, server and client as two processes: a bare frame with CBOR, AMP, and a session.

`benchmarks/session.py` starts this file as both. The bare frame is what a session cannot be faster than: a header of eight octets and a
map of CBOR each way, with no check at all.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ClassVar

import cbor2
from intake import cpu_seconds
from twisted.internet import reactor as real_reactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import SSL4ClientEndpoint, SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols import amp

from fieldpost.runtime.session.line import SessionLine
from fieldpost.runtime.session.peer import Peer
from fieldpost.wire.session.agreement import Profile
from fieldpost.wire.session.identity import Role
from fieldpost.wire.session.session import Session

PAYLOAD = b"x" * 300
WARM_UP = 200
IN_FLIGHT = 50
Echo = Callable[[], "Deferred[Any]"]
reactor: Any = real_reactor


class BareServer(Protocol):
    """Sends each request's arguments back."""

    def __init__(self) -> None:
        self._unread = b""

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        frames, self._unread = _split(self._unread + data)
        answers = [_bare(number, cbor2.loads(payload)["args"]) for number, payload in frames]
        self.transport.write(b"".join(answers))


class BareClient(Protocol):
    """Numbers its requests."""

    def __init__(self) -> None:
        self._unread = b""
        self._number = 1
        self._waiting: dict[int, Deferred[Any]] = {}

    def echo(self) -> "Deferred[Any]":
        """One call."""
        number, self._number = self._number, (self._number + 2) & 0xFFFF
        waiting = self._waiting[number] = Deferred()
        self.transport.write(_bare(number, {"name": "echo", "args": {"octets": PAYLOAD}}))
        return waiting

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        frames, self._unread = _split(self._unread + data)
        for number, payload in frames:
            self._waiting.pop(number).callback(cbor2.loads(payload))


def _bare(number: int, value: Any) -> bytes:
    payload: bytes = cbor2.dumps(value)
    return len(payload).to_bytes(3, "little") + number.to_bytes(2, "little") + b"\1\0\x11" + payload


def _split(octets: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    found, start = [], 0
    while len(octets) - start >= 8:
        end = start + 8 + int.from_bytes(octets[start : start + 3], "little")
        if len(octets) < end:
            break
        found.append((int.from_bytes(octets[start + 3 : start + 5], "little"), octets[start + 8 : end]))
        start = end
    return found, octets[start:]


class AmpEcho(amp.Command):  # type: ignore[misc] # it is not typed
    """One call."""

    arguments: ClassVar = [(b"octets", amp.String())]
    response: ClassVar = [(b"octets", amp.String())]


class AmpServer(amp.AMP):  # type: ignore[misc] # it is not typed
    """Sends the octets back."""

    @AmpEcho.responder
    def answer(self, octets: bytes) -> dict[str, bytes]:
        """See AMP."""
        return {"octets": octets}


class AmpClient(amp.AMP):  # type: ignore[misc] # it is not typed
    """Calls."""

    def echo(self) -> "Deferred[Any]":
        """One call."""
        return self.callRemote(AmpEcho, octets=PAYLOAD)


class SessionClient:
    """Calls through the peer of a session."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def echo(self) -> "Deferred[Any]":
        """One call."""
        return self._peer.call("echo", {b"octets": PAYLOAD})


def session_server() -> Protocol:
    """Lets anybody in, and gives the octets back."""
    peer = Peer(
        clock=reactor,
        handlers={"echo": lambda asked: [{b"octets": asked.args[b"octets"]}]},
        on_offered=lambda peer, offered: peer.decide(connection=(bytes(8), 1), session=bytes(16)),
    )
    return _line(Role.SERVER, "s:echo", peer)


def session_client() -> Protocol:
    """Opens at once; calls wait for that."""
    return _line(Role.CLIENT, None, Peer(clock=reactor, handlers={}))


def _line(role: Role, id: str | None, peer: Peer) -> Protocol:
    us = Profile(id=id, incarnation=bytes(8), nonce=bytes(32))
    session = Session(role=role, us=us, now=reactor.seconds())
    line = SessionLine(session=session, peer=peer, clock=reactor)
    line.caller = SessionClient(peer)  # type: ignore[attr-defined]
    return line


SERVERS: dict[str, Callable[[], Protocol]] = {
    "bare": BareServer,
    "amp": AmpServer,
    "session": session_server,
}
CLIENTS: dict[str, Callable[[], Protocol]] = {
    "bare": BareClient,
    "amp": AmpClient,
    "session": session_client,
}


def serve(kind: str, folder: Path) -> None:
    """Until the process is ended; the port is printed."""
    from fieldpost.agent.demo.certificates import make_certificates

    made = make_certificates(("localhost", IPv4Address("127.0.0.1")))
    (folder / "ca.pem").write_bytes(made.authority)
    certificate = ssl.PrivateCertificate.loadPEM(made.key + made.certificate)
    factory = Factory.forProtocol(SERVERS[kind])  # type: ignore[arg-type] # a function makes protocols too
    factory.noisy = False
    listening = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1").listen(factory)
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))
    reactor.run()


def call(kind: str, folder: Path, port: int, calls: int, server: int) -> None:
    """Print what calls cost, one at a time and many in flight; `server` is the other process."""
    authority = ssl.Certificate.loadPEM((folder / "ca.pem").read_bytes())
    options = ssl.optionsForClientTLS("localhost", trustRoot=authority)
    factory = Factory.forProtocol(CLIENTS[kind])  # type: ignore[arg-type] # a function makes protocols too
    factory.noisy = False
    found: list[dict[str, float]] = []

    async def measure() -> None:
        connected: Any = await SSL4ClientEndpoint(reactor, "127.0.0.1", port, options).connect(factory)
        client = getattr(connected, "caller", connected)
        await _in_turn(client.echo, WARM_UP)
        one = await _measure(lambda: _in_turn(client.echo, calls), calls, server)
        many = await _measure(lambda: _at_once(client.echo, calls * 4), calls * 4, server)
        found.append(
            {
                f"{manner}_{what}": figure
                for manner, all in (("one", one), ("many", many))
                for what, figure in all.items()
            }
        )

    def begin() -> None:
        measuring = Deferred.fromCoroutine(measure())
        measuring.addErrback(lambda failure: print(failure, file=sys.stderr))
        measuring.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    print(json.dumps(found[0]))


async def _measure(run: Callable[[], Awaitable[None]], calls: int, server: int) -> dict[str, float]:
    """Calls per second, and microseconds of the processor for each, both ends together."""
    started, used = time.perf_counter(), time.process_time() + cpu_seconds(server)
    await run()
    seconds, used = time.perf_counter() - started, time.process_time() + cpu_seconds(server) - used
    return {"per_second": calls / seconds, "cpu_us": used / calls * 1e6}


async def _in_turn(echo: Echo, calls: int) -> None:
    for _ in range(calls):
        await echo()


async def _at_once(echo: Echo, calls: int) -> None:
    one = Deferred.fromCoroutine
    await gatherResults([one(_in_turn(echo, calls // IN_FLIGHT)) for _ in range(IN_FLIGHT)])


if __name__ == "__main__":
    role, kind, folder, *rest = sys.argv[1:]
    if role == "serve":
        serve(kind, Path(folder))
    else:
        call(kind, Path(folder), *map(int, rest))
