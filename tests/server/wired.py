"""A whole server over a real database, driven by the octets of HTTP, without a socket."""

import json
from itertools import count
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fieldpost.runtime.writer import Writer
from fieldpost.server.composition import build_server, open_server_database
from fieldpost.server.outgoing import Window
from fieldpost.server.parcel import ParcelLimits
from fieldpost.server.policy import Account, Policy
from fieldpost.server.site import Channel, Site, SiteLimits
from fieldpost.wire import cbor
from fieldpost.wire.digest import types_digest
from fieldpost.wire.payload import ServerPayload
from tests.fakes import InlineWriter

TOKEN = "api-secret"
POLICY = Policy(
    accounts={
        "open": Account(name="open", registration_key="key", auto_accept=True),
        "closed": Account(name="closed", registration_key="key", max_pending=2),
        "keyless": Account(name="keyless"),
    }
)
SERVER_DIGEST = POLICY.accepted.digest
NOTHING_DIGEST = types_digest(())
REGISTER_DIGEST = types_digest(("register",))


class HeldWriter:
    """A Writer that runs what it was given when it is told to."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def run(self, function: Any, /, *args: Any, **kwargs: Any) -> "Deferred[Any]":
        done: Deferred[Any] = Deferred()
        self.held.append((done, function, args, kwargs))
        return done

    def release(self) -> None:
        """Run the oldest."""
        done, function, args, kwargs = self.held.pop(0)
        execute(function, *args, **kwargs).chainDeferred(done)


@frozen(kw_only=True)
class Reply:
    """An answer as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def payload(self) -> ServerPayload:
        return ServerPayload.from_map(cbor.decode(self.body))


def read_reply(octets: bytes) -> Reply:
    """The first answer in what a server wrote."""
    head, _, rest = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Reply(
        status=int(first.split()[1]), headers=headers, body=rest[: int(headers.get("content-length", 0))]
    )


def client_payload(**fields: Any) -> dict[str, Any]:
    """The map of an agent's payload; names with underscores become those with dashes."""
    found: dict[str, Any] = {
        "accepted-types": SERVER_DIGEST,
        "client-api": b"3.8",
        "messages": [],
        "next-expected-sequence": 0,
        "sequence": 0,
        "server-api": b"3.3",
    }
    found |= {name.replace("_", "-"): value for name, value in fields.items()}
    return {"total-messages": len(found["messages"]), **found}


def register_message(registration_id: str = "r-1", **fields: Any) -> dict[str, Any]:
    return {
        "type": "register",
        "account_name": "open",
        "registration_password": "key",
        "computer_title": "A computer",
        "hostname": "host",
        "registration-id": registration_id,
        **fields,
    }


class WiredServer:
    """
    The server and a client's hands.

    Ids are `id-1`, `id-2`, ...; tokens `token-1`, ...; the clock stands until it is advanced.
    """

    def __init__(
        self,
        path: str = ":memory:",
        *,
        policy: Policy = POLICY,
        api_token: str | None = TOKEN,
        writer: Writer | None = None,
        decoder: Writer | None = None,
        parcel_limits: ParcelLimits = ParcelLimits(),  # noqa: B008 - a frozen value
        site_limits: SiteLimits = SiteLimits(),  # noqa: B008 - a frozen value
        window: Window = Window(),  # noqa: B008 - a frozen value
        ids: "count[int] | None" = None,
    ) -> None:
        self.clock = Clock()
        self.connection = open_server_database(path)
        self._ids = ids or count(1)
        self._draws = count(1)
        self.server = build_server(
            connection=self.connection,
            writer=writer or InlineWriter(),
            decoder=decoder or InlineWriter(),
            clock=self.clock,
            policy=policy,
            api_token=api_token,
            new_id=lambda: f"id-{next(self._ids)}",
            new_token=lambda: f"token-{next(self._ids)}".encode(),
            limits=parcel_limits,
            new_octets=lambda octets: b"%0*d" % (octets, next(self._draws)),
            window=window,
        )
        self.site = Site(front=self.server.front, clock=self.clock, limits=site_limits)

    def connect(self, host: str = "192.0.2.7") -> tuple[Channel, StringTransport]:
        address = IPv4Address("TCP", host, 5000)
        channel = self.site.buildProtocol(address)
        assert isinstance(channel, Channel)
        transport = StringTransport(peerAddress=address)
        channel.makeConnection(transport)
        return channel, transport

    def send_octets(self, octets: bytes) -> bytes:
        """All that comes back on a new connection."""
        channel, transport = self.connect()
        channel.dataReceived(octets)
        value: bytes = transport.value()
        return value

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        return read_reply(self.send_octets(request_octets(method, path, body, headers)))

    def exchange(
        self,
        payload: Any,
        *,
        secure_id: bytes | None = None,
        token: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        return self.request(*exchange_request(payload, secure_id, token, headers))

    def register(self, registration_id: str = "r-1", *, sequence: int = 0, **fields: Any) -> bytes:
        """Register a computer of the account that accepts at once; its secure id."""
        message = register_message(registration_id, **fields)
        answer = self.exchange(client_payload(sequence=sequence, messages=[message])).payload
        secure_id: bytes = answer.messages[0]["id"]
        return secure_id

    def api(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        token: str | None = TOKEN,
        key: str | None = None,
    ) -> Reply:
        return self.request(*api_request(method, path, value, token=token, key=key))

    def stored(self, computer: int | None = None) -> list[dict[str, Any]]:
        """All messages of the database, as maps, in order of arrival."""
        where = "" if computer is None else f" WHERE computer = {computer}"
        rows = self.connection.execute(f"SELECT body FROM message{where} ORDER BY id")
        return [cbor.decode(body) for (body,) in rows]


def api_request(
    method: str, path: str, value: Any = None, *, token: str | None = TOKEN, key: str | None = None
) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Method, path, body and headers of a call of the API."""
    headers = {"Content-Type": "application/json"} if value is not None else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if key is not None:
        headers["Idempotency-Key"] = key
    body = None if value is None else json.dumps(value).encode()
    return method, f"/api/v1{path}", body, headers


def request_octets(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: server.example"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def exchange_request(
    payload: Any,
    secure_id: bytes | None = None,
    token: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, path, body and headers of an exchange; a payload in octets goes as it is."""
    body = payload if isinstance(payload, bytes) else cbor.encode(payload)
    found = {"Content-Type": "application/cbor"}
    if secure_id is not None:
        found["X-Computer-ID"] = secure_id.decode()
    if token is not None:
        found["X-Exchange-Token"] = token.decode()
    return "POST", "/message-system", body, {**found, **(headers or {})}
