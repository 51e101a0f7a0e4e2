"""Attachments over HTTP: put in by operators through the API, fetched by computers (docs/server.md)."""

from collections.abc import Callable
from functools import partial
from sqlite3 import Connection
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..wire.http import COMPUTER_ID
from .api import PAGE, ROOT, number_of, page_answer, page_of
from .attachments import (
    Attachment,
    add_attachment_txn,
    drop_attachment_txn,
    fetch_txn,
    find_attachment_txn,
    list_attachments_txn,
)
from .call import Answer, Call, json_answer
from .commits import Commits
from .computers import Status, find_by_secure_id_txn
from .errors import Refused
from .front import Route
from .queries import parameters, word
from .request_keys import once_txn, read_key

ATTACHMENT_PATH = "/attachment/*"
OCTETS_TYPE = "application/octet-stream"


class Files:
    """Answers both sides."""

    log = Logger()

    def __init__(self, *, commits: Commits, clock: IReactorTime) -> None:
        self._commits = commits
        self._clock = clock

    def routes(self, guard: Callable[[Call], None]) -> list[Route]:
        """The guard stands before the operators' side."""
        return [
            Route("GET", ATTACHMENT_PATH, self._fetch),
            Route("GET", f"{ROOT}/attachments", self._list, guard),
            Route("POST", f"{ROOT}/attachments", self._add, guard),
            Route("DELETE", f"{ROOT}/attachments/*", self._drop, guard),
        ]

    async def _fetch(self, call: Call, id_text: str) -> Answer:
        secure_id = (call.header(COMPUTER_ID) or "").encode("latin-1")
        attachment_id = number_of(id_text, "attachment")
        fetching = partial(_fetch_txn, secure_id=secure_id, attachment_id=attachment_id)
        octets = await self._commits.run(fetching)
        return Answer(headers=(("Content-Type", OCTETS_TYPE),), body=octets)

    async def _list(self, call: Call) -> Answer:
        asked = page_of(parameters(call, PAGE))
        found = await self._commits.run(lambda txn: list_attachments_txn(txn, **asked))
        return page_answer("attachments", list(map(_as_json, found)), asked["limit"])

    async def _add(self, call: Call) -> Answer:
        name = parameters(call, {"name": word}).get("name")
        form = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
        if form != OCTETS_TYPE:
            cause = f"an attachment must be {OCTETS_TYPE}, not {form[:60] or 'unnamed'}"
            raise Refused(415, cause, f"send Content-Type: {OCTETS_TYPE}")
        key, now = read_key(call), self._clock.seconds()
        work = partial(add_attachment_txn, name=name, octets=call.body, now=now)
        once = partial(once_txn, key=key, now=now, work=work, find=_added_txn)
        added, is_repeat = await self._commits.run(once)
        if not is_repeat:
            self.log.info("attachment {attachment}: {size} octets", attachment=added.id, size=added.size)
        place = (("Location", f"{ROOT}/attachments/{added.id}"),)
        return json_answer(_as_json(added), 201, headers=place)

    async def _drop(self, call: Call, id_text: str) -> Answer:
        parameters(call, {})
        attachment_id = number_of(id_text, "attachment")
        if not await self._commits.run(lambda txn: drop_attachment_txn(txn, attachment_id)):
            raise _nothing()
        return json_answer({})


def _fetch_txn(txn: Connection, *, secure_id: bytes, attachment_id: int) -> bytes:
    computer = find_by_secure_id_txn(txn, secure_id)
    if computer is None or computer.status is not Status.APPROVED:
        raise Refused(
            403, "attachments are for registered computers alone", f"send the secure id in {COMPUTER_ID}"
        )
    octets = fetch_txn(txn, computer, attachment_id)
    if octets is None:
        raise _nothing()
    return octets


def _added_txn(txn: Connection, attachment_id: int) -> Attachment:
    found = find_attachment_txn(txn, attachment_id)
    if found is None:
        cause = f"attachment {attachment_id}, which this request put in, was deleted since"
        raise Refused(410, cause, "put it in again, as another request")
    return found


def _nothing() -> Refused:
    """Also for what is there and not for this computer: it need not know."""
    return Refused(404, "there is no such attachment here", "use the id that the operation names")


def _as_json(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.id,
        "name": attachment.name,
        "octets": attachment.size,
        "sha256": attachment.digest.hex(),
        "created": attachment.created,
    }
