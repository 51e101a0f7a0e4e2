"""
Landscape's client as section 1 of the protocol's description has it, faults included: what it sends, and what it takes.

It is strict where the real one is fragile. Whatever would stop, jam or slow the real one (landscape 1.4, 1.6, 3.1) raises `Broken` here, with
the paragraph. What the real one keeps on disk is `disk`; the rest is gone after `kill`.
"""

import zlib
from collections.abc import Iterable
from copy import deepcopy
from hashlib import md5
from typing import Any
from urllib.parse import urlencode

from attrs import define, field

from fieldpost.wire import bpickle

VERSION = "26.08~beta.4-0landscape0"
NEWEST, OLDEST = "3.3", "3.2"
OWN_TYPES = ("accepted-types", "registration", "resynchronize", "set-id", "set-intervals", "unknown-id")
BATCH = 100
LEAST_INTERVAL = 10


class Broken(AssertionError):
    """What a server sent would break the real client."""


def digest(types: Iterable[str]) -> bytes:
    return md5(";".join(sorted(types)).encode("ascii")).digest()


@define
class Disk:
    """What outlives the process."""

    sequence: int = 0
    offset: int = 0
    files: list[dict[str, Any]] = field(factory=list)
    """The previous generation, `offset` of them, then what is pending."""
    held: list[dict[str, Any]] = field(factory=list)
    next_expected: int = 0
    token: bytes | None = None
    secure_id: bytes | None = None
    insecure_id: Any = None
    clone_secure_id: str | None = None
    accepted: list[str] = field(factory=list)
    api: str = OLDEST
    server_uuid: str | None = None
    operations: dict[int, bytes] = field(factory=dict)
    """Ids of operations that have no answer, each with the secure id that it came under."""


@define(kw_only=True)
class LandscapeClient:
    """One client. `now` is the time in its messages; `plugins` are the types that its plugins handle."""

    host: str = "127.0.0.1:18080"
    account: str = "onward"
    key: str | None = "sekret"
    title: str = "box-one"
    hostname: str = "vm"
    tags: str | None = "alpha,beta"
    plugins: tuple[str, ...] = ()
    now: int = 1_795_259_710
    disk: Disk = field(factory=Disk)
    types_hash: bytes | None = None
    """The server's word on the types that we take; in memory alone (landscape 1.3)."""
    sent: int = 0
    is_urgent: bool = True
    received: list[dict[str, Any]] = field(factory=list)
    """Every message that a handler got."""
    intervals: dict[str, int] = field(factory=dict)
    resynchronized: int = 0

    # what it sends

    def add(self, type: str, **fields: Any) -> None:
        """A message of a plugin or of the broker."""
        message = {"type": type, "api": self.disk.api.encode(), "timestamp": self.now}
        message |= {name.replace("_", "-"): value for name, value in fields.items()}
        self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        (self.disk.files if message["type"] in self.disk.accepted else self.disk.held).append(message)

    def finish(self, operation: int, text: str = "done", status: int = 6) -> None:
        """The answer to an operation; it is dropped when the identity has changed since (landscape 1.11)."""
        if self.disk.operations.pop(operation, None) == self.disk.secure_id:
            self.add("operation-result", operation_id=operation, status=status, result_text=text)
            self.is_urgent = True

    def exchange(self) -> bytes:
        """The request of the next exchange; the token is gone from the disk before it leaves (landscape 1.7)."""
        self._register()
        body = bpickle.encode(self.payload())
        token, self.disk.token = self.disk.token, None
        headers = []
        if self.disk.secure_id is not None:
            headers.append(f"X-Computer-ID: {self.disk.secure_id.decode()}")
        if token is not None:
            headers.append(f"X-Exchange-Token: {token.decode()}")
        return self._post(
            "/message-system", "application/octet-stream", body, *headers, f"X-Message-API: {self.api}"
        )

    @property
    def pending(self) -> list[dict[str, Any]]:
        return self.disk.files[self.disk.offset :]

    @property
    def api(self) -> str:
        return self._batch()[0]["api"].decode() if self._batch() else self.disk.api

    def _batch(self) -> list[dict[str, Any]]:
        batch = self.pending[:BATCH]
        return [message for message in batch if message["api"] == batch[0]["api"]]

    def payload(self) -> dict[str, Any]:
        """In the order of its keys, as in all captures (landscape 1.3)."""
        disk, batch = self.disk, self._batch()
        self.sent = len(batch)
        found: dict[str, Any] = {
            "accepted-types": digest(disk.accepted),
            "client-api": b"3.8",
            "messages": batch,
            "next-expected-sequence": disk.next_expected,
            "sequence": disk.sequence,
            "server-api": self.api.encode(),
            "total-messages": len(self.pending),
        }
        types = sorted({*OWN_TYPES, *self.plugins})
        if self.types_hash != digest(types):
            found["client-accepted-types"] = types
        return found

    def _register(self) -> None:
        """Each attempt empties the queue (landscape 1.7, fault L14)."""
        if self.disk.secure_id is not None or "register" not in self.disk.accepted:
            return
        self.disk.files, self.disk.held, self.disk.offset = [], [], 0
        fields = {
            "account_name": self.account,
            "computer_title": self.title,
            "hostname": self.hostname,
            "registration_password": self.key,
            "tags": self.tags,
            "container-info": "",
            "vm-info": b"",
        }
        if self.disk.api == NEWEST:
            fields["ubuntu_pro_info"] = "{}"
        if self.disk.clone_secure_id is not None:
            fields["clone_secure_id"] = self.disk.clone_secure_id
        self._keep({"type": "register", "api": self.disk.api.encode(), "timestamp": self.now, **fields})

    def ping(self) -> bytes:
        """Only when the number is known."""
        body = urlencode({"insecure_id": self.disk.insecure_id}).encode()
        return self._post("/ping", "application/x-www-form-urlencoded", body)

    def attachment(self, number: int) -> bytes:
        """With the identity, which must be octets (landscape 1.6)."""
        if self.disk.secure_id is None:
            raise Broken("1.1: an attachment needs an identity")
        lines = [f"GET /attachment/{number} HTTP/1.1", f"Host: {self.host}", "Accept: */*"]
        lines += [f"User-Agent: landscape-client/{VERSION}", f"X-Computer-ID: {self.disk.secure_id.decode()}"]
        return "\r\n".join([*lines, "", ""]).encode()

    def _post(self, path: str, form: str, body: bytes, *headers: str) -> bytes:
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {self.host}",
            "Accept: */*",
            "Accept-Encoding: gzip,deflate",
            f"Content-Type: {form}",
            f"User-Agent: landscape-client/{VERSION}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        if len(body) > 1024 * 1024:
            lines.append("Expect: 100-continue")
        return "\r\n".join([*lines, "", ""]).encode() + body

    # `landscape-config`, a program of its own

    def configure(self) -> bytes:
        """
        Its registration, of another form than the broker's (landscape 1.5): no identity, no token, no numbers.

        It writes the word `registering` where the identity goes, before it starts the broker (landscape 1.1).
        """
        register = {
            "type": "register",
            "access_group": "",
            "account_name": self.account,
            "computer_title": self.title,
            "container_info": "",
            "hostname": self.hostname,
            "machine_id": "00000000-0000-5000-8000-000000000000",
            "registration_password": self.key,
            "tags": self.tags,
            "ubuntu_pro_info": "{}",
            "vm_info": b"",
        }
        if self.disk.secure_id is None:
            self.disk.secure_id = b"registering"
        body = bpickle.encode({"messages": [register]})
        return self._post("/message-system", "application/octet-stream", body, f"X-Message-API: {NEWEST}")

    def take_configuration(self, octets: bytes) -> str | None:
        """
        Why it was not registered: None when it was. It looks for messages of two types, and counts none.

        Bytes for a type are none that it knows: it says then that no identity came (landscape 1.6).
        """
        status, value = read_answer(octets)
        if status != 200:
            return f"status {status}"
        messages = self._check(value)["messages"]
        if any(type(message.get("type")) is not str for message in messages):
            raise Broken("1.6: it knows types in text alone, and finds no identity")
        for message in messages:
            if message["type"] == "registration":
                self._denied(message)
                return str(message["info"])
            if message["type"] == "set-id":
                self._take_identity(message)
                return None
        return "no identity came"

    # what it takes

    def kill(self) -> None:
        """Stopped and started: memory is gone."""
        self.types_hash, self.is_urgent = None, True

    def take(self, octets: bytes, *, die_in: int | None = None) -> None:
        """
        The answer to an exchange. Only a 200 counts (landscape 1.1); anything else is a failed exchange.

        `die_in`: killed in so manieth of its messages, after it has noted the operation and before it has noted the number.
        """
        status, value = read_answer(octets)
        if status != 200:
            return
        answer = self._check(value)
        self.types_hash = answer.get("client-accepted-types-hash")
        before = self.disk.sequence
        self._settle(answer.get("next-expected-sequence", before + self.sent))
        self.disk.token = answer.get("next-exchange-token")
        self.disk.server_uuid = _text(answer["server-uuid"])
        if _text(answer["server-api"]) > self.disk.api:
            self.disk.api = min(_text(answer["server-api"]), NEWEST)
        self.is_urgent = False
        for index, message in enumerate(answer["messages"]):
            self._note(message)
            if index == die_in:
                self.kill()
                return
            self._hear(message)
            self.disk.next_expected += 1
        if self.pending and answer.get("next-expected-sequence") != before:
            self.is_urgent = True

    def _check(self, value: Any) -> dict[str, Any]:
        """The top level (landscape 1.4)."""
        answer: dict[str, Any] = _keyed(value)
        for name in ("server-api", "server-uuid", "messages"):
            if name not in answer:
                raise Broken(f"1.4: {name} is missing, so the exchange counts as failed")
        for name, kinds in _TOP.items():
            if name in answer and type(answer[name]) not in kinds:
                raise Broken(f"1.4, 1.6: {name} must not be {type(answer[name]).__name__}")
        return answer

    def _settle(self, expected: int) -> None:
        """The acknowledgement, by the table of landscape 1.8."""
        disk = self.disk
        pending = len(disk.files) - disk.offset
        if expected - disk.sequence > pending:
            del disk.files[: disk.offset]
            disk.offset = 0
            self._resynchronize()
        elif expected > disk.sequence:
            del disk.files[: disk.offset]
            disk.offset = expected - disk.sequence
        elif expected >= disk.sequence - disk.offset:
            disk.offset += expected - disk.sequence
        else:
            disk.offset = 0
            self._resynchronize()
        disk.sequence = expected

    def _resynchronize(self, **fields: Any) -> None:
        self.add("resynchronize", **fields)
        self.resynchronized += 1
        self.is_urgent = True

    def _note(self, message: Any) -> None:
        """The type, and the operation's id, which goes to the disk at once (landscape 1.6, 3.1 L6 and L7)."""
        if type(message) is not dict or type(message.get("type")) is not str:
            raise Broken("1.6: a message without a type that is text")
        if "operation-id" not in message:
            return
        operation = message["operation-id"]
        if type(operation) is not int or not -(2**63) <= operation < 2**63:
            raise Broken("1.6: an operation-id that is no integer which a column of its database holds")
        if self.disk.secure_id is None:
            raise Broken("1.6: an operation before there is an identity")
        if operation in self.disk.operations:
            raise Broken(f"3.1 L7: the id {operation} is noted already: the stream is jammed for ever")
        self.disk.operations[operation] = self.disk.secure_id

    def _hear(self, message: dict[str, Any]) -> None:
        self.received.append(message)
        react = _REACTIONS.get(message["type"])
        if react is not None:
            react(self, message)
        elif message["type"] not in self.plugins and "operation-id" in message:
            self.finish(message["operation-id"], "nobody handles it", status=5)

    def _accept(self, message: dict[str, Any]) -> None:
        types = message.get("types")
        if type(types) is not list or any(type(kind) is not str or not kind.isascii() for kind in types):
            raise Broken("1.6: accepted types that are no text: it never exchanges again")
        disk = self.disk
        disk.accepted = sorted(set(types))
        everything = [*self.pending, *disk.held]
        del disk.files[disk.offset :]
        disk.held = []
        for each in everything:
            self._keep(each)
        self.is_urgent = self.is_urgent or bool(self.pending) or "register" in types

    def _identify(self, message: dict[str, Any]) -> None:
        self._take_identity(message)
        self._resynchronize()

    def _take_identity(self, message: dict[str, Any]) -> None:
        if type(message.get("id")) is not bytes:
            raise Broken("1.6: an id that is no octets: attachments fail")
        if type(message.get("insecure-id")) not in (int, str, bytes):
            raise Broken("1.5: without insecure-id the one that is there is lost")
        self.disk.secure_id, self.disk.insecure_id = message["id"], message["insecure-id"]
        self.disk.clone_secure_id = None

    def _denied(self, message: dict[str, Any]) -> None:
        if message.get("info") not in ("unknown-account", "max-pending-computers"):
            raise Broken("1.5, 1.6: a registration's info is one of two texts")

    def _forget(self, message: dict[str, Any]) -> None:
        if type(message.get("clone-of", "")) is not str:
            raise Broken("1.5: clone-of is a title")
        if "clone-of" in message and self.disk.secure_id is not None:
            self.disk.clone_secure_id = self.disk.secure_id.decode()
        self.disk.secure_id = self.disk.insecure_id = None
        self.is_urgent = True

    def _asked_to_resynchronize(self, message: dict[str, Any]) -> None:
        if "operation-id" not in message:
            raise Broken("1.5, 3.1 L6: resynchronize needs an operation-id: the stream is jammed for ever")
        if type(message.get("scopes", [])) is not list:
            raise Broken("1.5: scopes is a list")
        self.disk.operations.pop(message["operation-id"])
        self._resynchronize(operation_id=message["operation-id"])

    def _set_intervals(self, message: dict[str, Any]) -> None:
        for name in ("exchange", "urgent-exchange", "ping"):
            if (
                type(message.get(name, LEAST_INTERVAL)) is not int
                or message.get(name, LEAST_INTERVAL) < LEAST_INTERVAL
            ):
                raise Broken(f"3.1 L11: {name} below {LEAST_INTERVAL}: it never exchanges again")
        self.intervals |= {name: value for name, value in message.items() if name != "type"}

    def take_ping(self, octets: bytes) -> bool:
        """Whether an exchange is wanted: only when the answer equals the one map (landscape 1.10)."""
        status, value = read_answer(octets)
        found = status == 200 and _keyed(value) == {"messages": True}
        self.is_urgent = self.is_urgent or found
        return found

    def take_attachment(self, octets: bytes) -> bytes | None:
        """Anything but 200 is a failure, reported with the operation's result (landscape 1.5)."""
        head, _, body = octets.partition(b"\r\n\r\n")
        return body if int(head.split()[1]) == 200 else None


_TOP: dict[str, tuple[type, ...]] = {
    "server-api": (bytes, str),
    "server-uuid": (bytes, str),
    "messages": (list,),
    "next-expected-sequence": (int,),
    "next-exchange-token": (bytes,),
    "client-accepted-types-hash": (bytes,),
}
_REACTIONS = {
    "accepted-types": LandscapeClient._accept,
    "set-id": LandscapeClient._identify,
    "registration": LandscapeClient._denied,
    "unknown-id": LandscapeClient._forget,
    "resynchronize": LandscapeClient._asked_to_resynchronize,
    "set-intervals": LandscapeClient._set_intervals,
}


def read_answer(octets: bytes) -> tuple[int, Any]:
    """Status and value of an HTTP answer, an interim one before it passed over."""
    head, _, rest = octets.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return read_answer(rest)
    first, *lines = head.decode("latin-1").split("\r\n")
    status, headers = int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines)
    if status != 200:
        return status, None
    body = rest[: int(headers["content-length"])]
    if headers.get("content-encoding") == "gzip":
        body = zlib.decompress(body, 31)
    elif headers.get("content-encoding") is not None:
        raise Broken("1.1: gzip and deflate are all that it unpacks")
    return status, bpickle.decode(body)


def _keyed(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Broken("1.4: an answer that is no map")
    return value


def _text(value: bytes | str) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value


def snapshot(client: LandscapeClient) -> LandscapeClient:
    """The same client as a copy of its machine has it."""
    return deepcopy(client)
