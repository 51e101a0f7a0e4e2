"""An agent that speaks over a real socket and waits for what it asked, without Twisted."""

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from fieldpost.server.session.certificate import exporter_of
from fieldpost.wire import cbor
from fieldpost.wire.payload import ServerPayload
from fieldpost.wire.session.agreement import HelloReceived, Profile
from fieldpost.wire.session.events import Failed, Responded
from fieldpost.wire.session.identity import CHECKED_SERVER, SERVER, Evidence, Role
from fieldpost.wire.session.opening import DEFAULT_SERVER, HeadReader, Upgraded, build_request, judge_answer
from fieldpost.wire.session.session import Session

PATIENCE = 120.0


class BlockingAgent:
    """
    One session.

    `outside` and `inside` are the certificate file to trust, where TLS is there; `client` a certificate to show in either.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        outside: Path | None = None,
        inside: Path | None = None,
        client: Path | None = None,
        id: str | None = None,
        secret: bytes | None = None,
        incarnation: bytes = b"agent--1",
    ) -> None:
        connection.settimeout(PATIENCE)
        self.socket: Any = connection
        self.events: list[Any] = []
        self._secret = secret
        if outside is not None:
            self._start_tls(outside, client)
        self.outcome, left = self._knock(inside=inside is not None)
        self.session: Session | None = None
        if isinstance(self.outcome, Upgraded):
            evidence = CHECKED_SERVER
            if inside is not None:
                self._start_tls(inside, client)
                exporter = exporter_of(self.socket)
                evidence = Evidence(roles=frozenset({SERVER}), vouched=True, exporter=exporter)
            us = Profile(
                id=id, incarnation=incarnation, nonce=b"n" * 32, attempt=1, announces_proof=secret is not None
            )
            self.session = Session(role=Role.CLIENT, us=us, now=time.monotonic(), evidence=evidence)
            self._take(left)

    def _start_tls(self, trusted: Path, client: Path | None) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(trusted))
        context.set_verify(SSL.VERIFY_PEER, lambda *given: bool(given[-1]))
        if client is not None:
            context.use_certificate_file(str(client))
            context.use_privatekey_file(str(client))
        self.socket.setblocking(True)
        self.socket = SSL.Connection(context, self.socket)
        self.socket.set_connect_state()
        self.socket.do_handshake()

    def _knock(self, *, inside: bool) -> tuple[Any, bytes]:
        self.socket.sendall(
            build_request(server=DEFAULT_SERVER, host="localhost", agent="test/1", inside=inside)
        )
        reader = HeadReader()
        head = None
        while head is None:
            octets = self.socket.recv(65536)
            assert octets, "closed before an answer"
            head = reader.feed(octets)
        return judge_answer(head, inside=inside, left=reader.left), reader.left

    def _take(self, octets: bytes) -> None:
        assert self.session is not None
        events = self.session.receive_data(octets, time.monotonic())
        for event in events:
            if isinstance(event, HelloReceived) and self._secret is not None:
                self.session.send_proof(self.session.make_proof(self._secret))
        self.events += events
        self.flush()

    def flush(self) -> None:
        """Send what there is."""
        assert self.session is not None
        octets = self.session.data_to_send()
        if octets:
            self.socket.sendall(octets)

    def wait_for(self, kind: type, request: int | None = None) -> Any:
        """The next event of a kind; what came before it is dropped."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, Failed) and event.request == request:
                    raise AssertionError(event.error)
                if isinstance(event, kind) and request in (None, getattr(event, "request", None)):
                    return event
            octets = b""
            with suppress(SSL.ZeroReturnError, SSL.SysCallError):
                octets = self.socket.recv(65536)
            if octets:
                self._take(octets)
            else:
                assert self.session is not None
                self.events += self.session.receive_end(time.monotonic())
                assert any(isinstance(event, kind) for event in self.events), self.events

    def exchange(self, payload: Any) -> ServerPayload:
        """Exchange, and wait for the answer."""
        assert self.session is not None
        request = self.session.request(b"exchange", {}, data=cbor.encode(payload), now=time.monotonic())
        self.flush()
        values: list[Any] = []
        while True:
            answer = self.wait_for(Responded, request)
            values += answer.values
            if answer.end:
                return ServerPayload.from_map(cbor.decode(values[0]))

    def close(self) -> None:
        """Without a word."""
        self.socket.close()
