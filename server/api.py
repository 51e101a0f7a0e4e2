"""The JSON API for operators and programs: computers, messages, operations (docs/server.md)."""

from collections.abc import Callable, Mapping
from functools import partial
from sqlite3 import Connection
from typing import Any, Protocol, TypeVar

from attrs import evolve
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..runtime.writer import Writer
from ..wire import cbor
from ..wire.catalogue.from_servers import SERVER_MESSAGES
from ..wire.encoding import ENCODINGS
from ..wire.errors import LocalProtocolError, Malformed, RemoteProtocolError
from ..wire.message import BROKER_TYPES, RESYNCHRONIZE, SET_INTERVALS, Message, check_message
from .attachments import ids_in, missing_txn
from .call import Answer, Call, json_answer
from .commits import Commits
from .computers import (
    STATUS_AFTER,
    Computer,
    Status,
    find_computer_txn,
    list_computers_txn,
    save_computer_txn,
)
from .errors import Refused
from .front import Route
from .json_form import from_json, to_json
from .messages import MessageQuery, StoredMessage, list_messages_txn
from .operations import (
    STATUSES,
    Operation,
    add_operation_txn,
    find_operation_txn,
    list_operations_txn,
)
from .outgoing import queue_message_txn
from .queries import Read, check_name, choice, json_body, number, parameters, text_of, word
from .request_keys import once_txn, read_key
from .typed import Typed

T = TypeVar("T")
ROOT = "/api/v1"
MAX_LIMIT = 1_000
INTERVALS = ("exchange", "urgent-exchange", "ping")
LEAST_INTERVAL = 10
"""Seconds. With less, Landscape's client stops to exchange, and no later answer can mend that (landscape 3.1, L11)."""
MOST_INTERVAL = 30 * 24 * 3600
_MEMBERS = {RESYNCHRONIZE: ("scopes",), SET_INTERVALS: INTERVALS}
"""What goes with an action on a computer."""
_RESERVED_FIELDS = ("type", "operation-id", "api", "timestamp")
_OPERATION_LIMITS = cbor.Limits(depth=24)
"""Inside a payload there is less room than in a value alone."""
PAGE: Mapping[str, Read] = {"after": number(), "limit": number(1, MAX_LIMIT)}


class Presence(Protocol):
    """What is known of computers beside the database: their sessions. Any: JSON."""

    def facts(self, computer_id: int) -> dict[str, Any]:
        """What is shown of a computer."""

    def decided(self, computer_id: int, *, approved: bool) -> None:
        """The operator has approved or rejected it."""


class Api:
    """Answers the calls under /api/v1, and /healthz."""

    log = Logger()

    def __init__(
        self, *, commits: Commits, renderer: Writer, clock: IReactorTime, presence: Presence, typed: Typed
    ) -> None:
        self._typed = typed
        self._presence = presence
        self._commits = commits
        self._renderer = renderer
        self._clock = clock

    def routes(self, guard: Callable[[Call], None]) -> list[Route]:
        """All that is answered here; the guard stands before everything but the health."""
        return [
            Route("GET", "/healthz", self._health),
            Route("GET", f"{ROOT}/computers", self._list_computers, guard),
            Route("GET", f"{ROOT}/computers/*", self._show_computer, guard),
            Route("POST", f"{ROOT}/computers/*", self._act_on_computer, guard),
            Route("GET", f"{ROOT}/messages", self._list_messages, guard),
            Route("GET", f"{ROOT}/operations", self._list_operations, guard),
            Route("POST", f"{ROOT}/operations", self._add_operation, guard),
            Route("GET", f"{ROOT}/operations/*", self._show_operation, guard),
        ]

    async def _health(self, call: Call) -> Answer:
        await self._commits.run(lambda txn: txn.execute("SELECT 1").fetchone())
        if self._commits.trouble is not None:
            next_step = "the operator finds the reason in the server's log"
            raise Refused(503, "the database took nothing when last asked to", next_step)
        return json_answer({"status": "ok"})

    async def _list_computers(self, call: Call) -> Answer:
        known = {**PAGE, "status": choice(*(status.value for status in Status)), "account": word}
        asked = page_of(parameters(call, known))
        found = await self._commits.run(lambda txn: list_computers_txn(txn, **asked))
        return page_answer("computers", [self._shown(item) for item in found], asked["limit"])

    async def _show_computer(self, call: Call, number_text: str) -> Answer:
        parameters(call, {})
        computer_id = number_of(number_text, "computer")
        found = await self._commits.run(partial(known_computer_txn, computer_id=computer_id))
        return json_answer(self._shown(found))

    def _shown(self, computer: Computer) -> dict[str, Any]:
        return {**_computer_json(computer), **self._presence.facts(computer.id)}

    async def _act_on_computer(self, call: Call, number_text: str) -> Answer:
        parameters(call, {})
        computer_id = number_of(number_text, "computer")
        body = json_body(call, {"action": str, "scopes": list, **dict.fromkeys(INTERVALS, int)})
        action = body.pop("action", None)
        _check_members(action, body)
        if action == RESYNCHRONIZE:
            fields = {"scopes": _scopes(body["scopes"])} if body else {}
            return await self._queue(call, computer_id, RESYNCHRONIZE, fields)
        work = partial(_decide_txn, computer_id=computer_id, action=action)
        if action == SET_INTERVALS:
            message = {"type": SET_INTERVALS, **_intervals(body)}
            work = partial(_tell_txn, computer_id=computer_id, message=message)
        computer, is_repeat = await self._once(call, work, _computer_txn)
        if action != SET_INTERVALS and not is_repeat:
            self.log.info("computer {computer}: {action}", computer=computer_id, action=action)
            self._presence.decided(computer_id, approved=computer.status is Status.APPROVED)
        return json_answer(self._shown(computer))

    async def _list_messages(self, call: Call) -> Answer:
        query = self._message_query(call)
        found = await self._commits.run(lambda txn: list_messages_txn(txn, query))
        return await self._renderer.run(_messages_answer, found, query.after)

    def _message_query(self, call: Call) -> MessageQuery:
        """Parameters that are none of ours name fields of the type."""
        known = {**PAGE, "computer": number(), "type": word}
        asked = parameters(call, known, others=text_of)
        fields = {name: asked.pop(name) for name in asked.keys() - known}
        if fields and "type" not in asked:
            check_name(next(iter(fields)), known, "parameter")
        conditions = (self._typed.condition(asked["type"], name, text) for name, text in fields.items())
        return MessageQuery(**asked, conditions=tuple(conditions))

    async def _list_operations(self, call: Call) -> Answer:
        asked = page_of(parameters(call, {**PAGE, "computer": number(), "status": choice(*STATUSES)}))
        found = await self._commits.run(lambda txn: list_operations_txn(txn, **asked))
        return page_answer("operations", [_operation_json(item) for item in found], asked["limit"])

    async def _show_operation(self, call: Call, number_text: str) -> Answer:
        parameters(call, {})
        found = await find_operation(self._commits, number_of(number_text, "operation"))
        return json_answer(_operation_json(found))

    async def _add_operation(self, call: Call) -> Answer:
        parameters(call, {})
        body = json_body(call, {"computer": int, "type": str, "fields": dict})
        for name in ("computer", "type"):
            if name not in body:
                raise Malformed(f"`{name}` is missing")
        fields = _operation_fields(body["type"], body.get("fields", {}))
        return await self._queue(call, body["computer"], body["type"], fields)

    async def _queue(self, call: Call, computer_id: int, type: str, fields: dict[str, Any]) -> Answer:
        now = self._clock.seconds()
        work = partial(_queue_txn, computer_id=computer_id, type=type, fields=fields, now=now)
        operation, is_repeat = await self._once(call, work, _operation_txn)
        if not is_repeat:
            text = "operation {operation} for computer {computer}: {type}"
            self.log.info(text, operation=operation.id, computer=computer_id, type=type)
        place = (("Location", f"{ROOT}/operations/{operation.id}"),)
        return json_answer(_operation_json(operation), 201, headers=place)

    async def _once(
        self, call: Call, work: Callable[[Connection], int], find: Callable[[Connection, int], T]
    ) -> tuple[T, bool]:
        key, now = read_key(call), self._clock.seconds()
        return await self._commits.run(partial(once_txn, key=key, now=now, work=work, find=find))


async def find_operation(commits: Commits, operation_id: int) -> Operation:
    """The operation of this id. Raises Refused when there is none."""
    return await commits.run(lambda txn: _operation_txn(txn, operation_id))


def _operation_txn(txn: Connection, operation_id: int) -> Operation:
    found = find_operation_txn(txn, operation_id)
    if found is None:
        raise _nothing("operation", operation_id)
    return found


def known_computer_txn(txn: Connection, *, computer_id: int) -> Computer:
    """The computer of this number. Raises Refused when there is none."""
    found = find_computer_txn(txn, computer_id) if -(2**63) <= computer_id < 2**63 else None
    if found is None:
        raise _nothing("computer", computer_id)
    return found


def _computer_txn(txn: Connection, computer_id: int) -> Computer:
    return known_computer_txn(txn, computer_id=computer_id)


def _decide_txn(txn: Connection, *, computer_id: int, action: str | None) -> int:
    computer = known_computer_txn(txn, computer_id=computer_id)
    status = STATUS_AFTER.get((computer.status, str(action)))
    if status is None:
        known = [*dict.fromkeys(name for _, name in STATUS_AFTER), *_MEMBERS]
        raise Malformed(f"`action` must be one of {', '.join(known)}")
    save_computer_txn(txn, evolve(computer, status=status))
    return computer_id


def _approved_txn(txn: Connection, *, computer_id: int) -> Computer:
    computer = known_computer_txn(txn, computer_id=computer_id)
    if computer.status is not Status.APPROVED:
        raise Refused(
            409,
            f"computer {computer.id} is {computer.status.value}",
            "approve it first, then send operations",
        )
    return computer


def _tell_txn(txn: Connection, *, computer_id: int, message: Message) -> int:
    computer = _approved_txn(txn, computer_id=computer_id)
    queue_message_txn(txn, computer.id, message)
    return computer_id


def _queue_txn(txn: Connection, *, computer_id: int, type: str, fields: dict[str, Any], now: float) -> int:
    computer = _approved_txn(txn, computer_id=computer_id)
    missing = missing_txn(txn, ids_in(fields))
    if missing:
        raise Malformed(f"there is no attachment {missing[0]}; put it in first with POST {ROOT}/attachments")
    return add_operation_txn(txn, computer=computer.id, type=type, fields=fields, now=now).id


def _check_members(action: str | None, body: dict[str, Any]) -> None:
    for name in body:
        if name not in _MEMBERS.get(str(action), ()):
            owner = next(action for action, names in _MEMBERS.items() if name in names)
            raise Malformed(f"`{name}` goes with the action {owner} alone")


def _intervals(given: dict[str, int]) -> dict[str, int]:
    if not given:
        raise Malformed(f"{SET_INTERVALS} needs at least one of {', '.join(INTERVALS)}, in seconds")
    for name, seconds in given.items():
        if not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
            raise Malformed(f"`{name}` must be from {LEAST_INTERVAL} to {MOST_INTERVAL} seconds")
    return given


def _scopes(scopes: list[Any]) -> Any:
    if not scopes or not all(isinstance(scope, str) for scope in scopes):
        raise Malformed("`scopes` must be a list of at least one text; leave it out for all scopes")
    return _travelling(from_json(scopes))


def _operation_fields(type: str, fields: dict[str, Any]) -> Any:
    """The fields as values, when an agent can take them."""
    if type in BROKER_TYPES:
        hint = f"; use the action {type} of the computer" if type in _MEMBERS else ""
        raise Malformed(f"`type`: {type} is the server's own word, not an operation{hint}")
    for name in _RESERVED_FIELDS:
        if name in fields:
            raise Malformed(f"`fields` must not hold `{name}`: the server writes that itself")
    try:
        found = from_json(fields)
        message = check_message({**found, "type": type} if isinstance(found, dict) else found)
    except RecursionError:
        raise Malformed("`fields` is nested too deep") from None
    fitted = SERVER_MESSAGES.fit(message, complete=False)
    return _travelling({name: value for name, value in fitted.items() if name != "type"})


def _travelling(value: Any) -> Any:
    """The same, when it is such as an agent reads, whichever encoding it speaks."""
    try:
        for encoding in ENCODINGS.values():
            encoding.decode(encoding.encode(value), _OPERATION_LIMITS)
    except (LocalProtocolError, RemoteProtocolError) as error:
        raise Malformed(f"no computer could read this: {error}") from None
    return value


def number_of(text: str, kind: str) -> int:
    """The id in a path. Raises Refused when it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(404, f"{text[:60]!r} is no {kind}'s id", f"list them with GET {ROOT}/{kind}s")
    return int(text)


def _nothing(kind: str, number: int) -> Refused:
    return Refused(404, f"there is no {kind} {str(number)[:30]}", f"list them with GET {ROOT}/{kind}s")


def page_of(asked: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a page, with their defaults."""
    return {"after": 0, "limit": 100, **asked}


def page_answer(name: str, items: list[dict[str, Any]], limit: int) -> Answer:
    """`next` is where the next page starts, null when this was the last."""
    return json_answer({name: items, "next": items[-1]["id"] if len(items) == limit else None})


def _messages_answer(found: list[StoredMessage], after: int) -> Answer:
    """Here `next` stays usable at the end: it is where to ask again later."""
    items = [_message_json(message) for message in found]
    return json_answer({"messages": items, "next": found[-1].id if found else after})


def _computer_json(computer: Computer) -> dict[str, Any]:
    """What may be known of a computer: never its secure id nor its tokens."""
    return {
        "id": computer.id,
        "account": computer.account,
        "title": computer.title,
        "hostname": computer.hostname,
        "tags": computer.tags,
        "status": computer.status.value,
        "clone-of": computer.clone_of,
        "created": computer.created,
        "last-exchange": computer.last_exchange,
        "next-expected-sequence": computer.expected,
        "handles": cbor.decode(computer.client_types) if computer.client_types else None,
    }


def _message_json(message: StoredMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "computer": message.computer,
        "number": message.number,
        "type": message.type,
        "timestamp": message.timestamp,
        "received": message.received,
        "body": to_json(cbor.decode(message.body)),
    }


def _operation_json(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "computer": operation.computer,
        "type": operation.type,
        "fields": to_json(cbor.decode(operation.fields)),
        "status": operation.status,
        "created": operation.created,
        "sent": operation.sent,
        "finished": operation.finished,
        "result-code": operation.result_code,
        "result-text": operation.result_text,
    }
